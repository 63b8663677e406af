"""Python's own HTTP client, TLS and sockets against the server of main.lua: python3 client.py HTTP HTTPS."""

import base64
import hashlib
import http.client
import os
import socket
import ssl
import struct
import sys

http_port, https_port = int(sys.argv[1]), int(sys.argv[2])


def requests(connection):
    connection.request("POST", "/there?a=b", body=b"x" * 1000)
    response = connection.getresponse()
    assert response.status == 200, response.status
    body = response.read()
    assert body.startswith(b"POST /there 127.0.0.1"), body
    assert b" 1000 xxx" in body, body
    connection.close()
    connection.request("PUT", "/chunks", body=iter([b"one", b"two" * 1000]), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    assert b" 3003 onetwo" in connection.getresponse().read()
    connection.close()
    connection.request("GET", "/large")
    assert connection.getresponse().read() == b"0123456789abcdef" * 65536


requests(http.client.HTTPConnection("127.0.0.1", http_port))
for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
    context = ssl.create_default_context(cafile="ca.pem")
    context.minimum_version = context.maximum_version = version
    requests(http.client.HTTPSConnection("127.0.0.1", https_port, context=context))


def frame(opcode, payload):
    key = os.urandom(4)
    head = bytes([0x80 | opcode]) + (bytes([0x80 | len(payload)]) if len(payload) < 126 else struct.pack(">BH", 0xFE, len(payload)))
    return head + key + bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))


# A WebSocket by hand: the accept key, and an echo.
with socket.create_connection(("127.0.0.1", http_port)) as stream:
    key = base64.b64encode(os.urandom(16)).decode()
    request = f"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    stream.sendall(request.encode())
    reader = stream.makefile("rb")
    assert reader.readline().startswith(b"HTTP/1.1 101 "), "no upgrade"
    fields = {}
    while (line := reader.readline().strip()):
        name, _, value = line.decode().partition(": ")
        fields[name.lower()] = value
    expected = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
    assert fields["sec-websocket-accept"] == expected, fields
    for size in (5, 125, 126, 5000):
        stream.sendall(frame(2, b"y" * size))
        head = reader.read(2)
        length = head[1] if head[1] < 126 else struct.unpack(">H", reader.read(2))[0]
        assert head[0] == 0x82 and length == size and reader.read(size) == b"y" * size
    stream.sendall(frame(8, struct.pack(">H", 1000)))
    assert reader.read(2) == b"\x88\0" and reader.read() == b""
print("python is content")
