#!/usr/bin/env python3
"""Reads a shared table of a domain, by docs/share-layout.md and nothing else: prints it as JSON.

    read_table.py /dev/shm/skein-1000-game items

A file that was published is never written again, so a mapping of it stays good, also when the version is replaced or removed
meanwhile. Addresses in the file are absolute; this program maps it anywhere and subtracts.
"""

import json
import mmap
import os
import struct
import sys

NIL, EMPTY, FALSE, TRUE, INTEGER, FLOAT = 0, 16, 1, 17, 3, 19
SHORT, LONG, TABLE = 68, 84, 69


def find(domain, name):
    """The file of the current version of a table, by the catalogue."""
    folder = os.path.join(domain, "tables")
    with open(os.path.join(folder, "catalogue"), "rb") as file:
        data = file.read()
    magic, layout, count = struct.unpack_from("<8sII", data, 0)
    if magic != b"skeincat" or layout != 1:
        sys.exit("not a catalogue that this program knows")
    for place in range(64, 64 + 192 * count, 192):
        found = data[place : place + 128].split(b"\0")[0]
        if found == name.encode():
            number, base, size = struct.unpack_from("<QQQ", data, place + 128)
            return os.path.join(folder, f"segment.{number:x}.{base:x}.{size:x}")
    sys.exit(f"no table {name}")


class Segment:
    """A segment, mapped read-only."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        magic, layout = struct.unpack_from("<8sI", self.data, 0)
        if magic != b"skeinseg" or layout != 1:
            sys.exit("not a segment that this program knows")
        self.base, self.size, self.root = struct.unpack_from("<QQQ", self.data, 24)
        self.tables = {}

    def get(self, form, address):
        """What stands at an address."""
        return struct.unpack_from("<" + form, self.data, address - self.base)

    def value(self, kind, at):
        """A value of a type, whose eight bytes are at an address."""
        if kind in (NIL, EMPTY):
            return None
        if kind in (FALSE, TRUE):
            return kind == TRUE
        if kind in (INTEGER, FLOAT):
            return self.get("q" if kind == INTEGER else "d", at)[0]
        (address,) = self.get("Q", at)
        if kind == SHORT:
            (length,) = self.get("B", address + 11)
            return self.text(address + 24, length)
        if kind == LONG:
            (length,) = self.get("Q", address + 16)
            return self.text(self.get("Q", address + 24)[0], length)
        if kind == TABLE:
            return self.table(address)
        return f"<type {kind}>"

    def text(self, address, length):
        start = address - self.base
        return self.data[start : start + length].decode(errors="backslashreplace")

    def table(self, address):
        """A table as a dict, keys as text; the same one each time it is met."""
        if address in self.tables:
            return self.tables[address]
        found = self.tables[address] = {}
        nodes_log, array_size, array, nodes = self.get("BIQQ", address + 11)
        for place in range(array_size):
            (kind,) = self.get("B", array + 4 + place)
            value = self.value(kind, array - 8 * (place + 1))
            if value is not None:
                found[str(place + 1)] = value
        for node in range(nodes, nodes + (24 << nodes_log), 24):
            kind, key_kind = self.get("BB", node + 8)
            value = self.value(kind, node)
            if value is not None:
                found[str(self.value(key_kind, node + 16))] = value
        return found


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: read_table.py DIRECTORY NAME")
    segment = Segment(find(sys.argv[1], sys.argv[2]))
    print(json.dumps(segment.table(segment.root), sort_keys=True, ensure_ascii=False))
