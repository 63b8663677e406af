#!/usr/bin/env python3
"""The other end of `lua/socket.lua`: connects to a port, and does what it is told over that connection.

    echo CONNECTIONS ROUNDS SIZE   lines of SIZE bytes go out on every connection, and come back; ROUNDS times
    take CONNECTIONS               opens connections that only read
    expect BYTES                   until each of those has got so many bytes more
    close                          closes them

It answers `done` after each. The server's CPU is what is measured, so that this end need not be fast.
"""

import select
import socket
import sys


def connect(port, count):
    made = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    for one in made:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def read(one, size):
    while size > 0:
        got = one.recv(min(size, 1 << 18))
        if not got:
            raise EOFError
        size -= len(got)


def echo(made, rounds, size):
    line = b"x" * (size - 1) + b"\n"
    for _ in range(rounds):
        for one in made:
            one.sendall(line)
        for one in made:
            read(one, size)


def expect(made, size):
    poller = select.epoll()
    left = {}
    for one in made:
        left[one.fileno()] = (one, size)
        poller.register(one.fileno(), select.EPOLLIN)
    while left:
        for fd, _ in poller.poll():
            one, rest = left[fd]
            rest -= len(one.recv(min(rest, 1 << 18)))
            if rest:
                left[fd] = (one, rest)
            else:
                poller.unregister(fd)
                del left[fd]
    poller.close()


def main():
    port = int(sys.argv[1])
    control = connect(port, 1)[0]
    control.sendall(b"control\n")
    lines = control.makefile("r")
    made = []
    for line in lines:
        what, *numbers = line.split()
        numbers = [int(it) for it in numbers]
        if what == "take":
            made = connect(port, numbers[0])
            for one in made:
                one.sendall(b"take\n")
        elif what == "open":
            made = connect(port, numbers[0])
            for one in made:
                one.sendall(b"echo %d\n" % numbers[1])
        elif what == "echo":
            echo(made, *numbers)
        elif what == "expect":
            expect(made, *numbers)
        elif what == "close":
            for one in made:
                one.close()
        control.sendall(b"done\n")


if __name__ == "__main__":
    main()
