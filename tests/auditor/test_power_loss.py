#!/usr/bin/env python3
"""The parts of power_loss.py: reading a record, reading the wire, and what a disk may have.

    python3 tests/auditor/test_power_loss.py
"""

from __future__ import annotations

import random
import struct
import unittest

from disk import VARIANTS, Disk
from record import Mark, Sync, Timeline, Unclear, Unlink, Write
from wire import Amqp, Http

LEDGER, JOURNAL = "/l/holdfast.db", "/l/holdfast.db-wal"
BROKER, PROVIDER = "127.0.0.1:1", "127.0.0.1:2"


def hexed(data: str | bytes) -> str:
    data = data.encode() if isinstance(data, str) else data
    return "".join(f"\\x{byte:02x}" for byte in data)


def on_file(path: str) -> str:
    return f"7<{hexed(path)}>"


def on_socket(peer: str) -> str:
    return f"9<TCP:[127.0.0.1:5->{peer}]>"


def frame(kind: int, payload: bytes, channel: int = 1) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def content(body: bytes) -> bytes:
    # In two parts, as large ones come.
    head = frame(2, struct.pack(">HHQH", 60, 0, len(body), 0))
    return head + frame(3, body[:3]) + frame(3, body[3:])


def deliver(tag: int, body: bytes) -> bytes:
    return frame(1, struct.pack(">HH", 60, 60) + b"\x01c" + struct.pack(">QB", tag, 0) + b"\x00\x00") + content(body)


def ack(tag: int, multiple: int) -> bytes:
    return frame(1, struct.pack(">HHQB", 60, 80, tag, multiple))


def timeline(*lines: str) -> Timeline:
    return Timeline.of(iter(lines), LEDGER, BROKER, PROVIDER)


class Records(unittest.TestCase):
    def test_what_was_written_and_made_durable(self) -> None:
        items = timeline(
            f'1 pwrite64({on_file(JOURNAL)}, "{hexed("abc")}", 3, 32) = 3',
            f"1 fdatasync({on_file(JOURNAL)}) = 0",
            f"1 ftruncate({on_file(LEDGER)}, 4096) = 0",
            f'1 unlink("{hexed(JOURNAL)}") = 0',
            f'1 pwrite64({on_file("/l/other")}, "{hexed("abc")}", 3, 32) = 3',
            f'1 pwrite64({on_file(JOURNAL)}, "{hexed("abc")}", 3, 35) = -1 ENOSPC (No space left on device)',
        ).items
        expected = [Write(JOURNAL, 32, b"abc"), Sync(JOURNAL, 1), Write(LEDGER, 4096, None), Unlink(JOURNAL)]
        self.assertEqual(expected, items)

    def test_a_sync_covers_what_was_written_before_it_began_and_counts_from_its_end(self) -> None:
        items = timeline(
            f"1 fdatasync({on_file(JOURNAL)} <unfinished ...>",
            f'2 pwrite64({on_file(JOURNAL)}, "{hexed("abc")}", 3, 32) = 3',
            f'2 sendto({on_socket(BROKER)}, "{hexed(frame(8, b""))}", 8, 0, NULL, 0) = 8',
            "1 <... fdatasync resumed>)          = 0",
        ).items
        self.assertEqual([Write(JOURNAL, 32, b"abc"), Sync(JOURNAL, 0)], items)

    def test_a_write_that_never_returned_was_made_and_a_sync_was_not(self) -> None:
        items = timeline(
            f'1 pwrite64({on_file(JOURNAL)}, "{hexed("abc")}", 3, 32 <unfinished ...>',
            f"2 fdatasync({on_file(JOURNAL)} <unfinished ...>",
        ).items
        self.assertEqual([Write(JOURNAL, 32, b"abc")], items)

    def test_what_was_acknowledged_published_and_requested(self) -> None:
        delivered, published = deliver(1, b"first") + deliver(2, b"second"), content(b"told")
        publish = frame(1, struct.pack(">HHH", 60, 40, 0) + b"\x01x\x01k\x00")
        post = b"POST /t/capture HTTP/1.1\r\nIdempotency-Key: k\r\nContent-Length: 2\r\n\r\n{}"
        items = timeline(
            f'1 recvfrom({on_socket(BROKER)}, "{hexed(delivered)}", 999, 0, NULL, NULL) = {len(delivered)}',
            f'1 sendto({on_socket(BROKER)}, "{hexed(ack(2, 1))}", 99, 0, NULL, 0) = {len(ack(2, 1))}',
            f'1 writev({on_socket(BROKER)}, [{{iov_base="{hexed(publish)}", iov_len={len(publish)}}}, '
            f'{{iov_base="{hexed(published)}", iov_len={len(published)}}}], 2) = {len(publish + published)}',
            f'1 writev({on_socket(PROVIDER)}, [{{iov_base="{hexed(post)}", iov_len={len(post)}}}], 1) = {len(post)}',
        ).items
        seen = [(item.kind, item.body) for item in items if isinstance(item, Mark)]
        expected = [("acknowledged", b"first"), ("acknowledged", b"second"), ("published", b"told"), ("request", b"")]
        self.assertEqual(expected, seen)
        request = items[-1].request
        self.assertEqual(("/t/capture", "k", b"{}"), (request.path, request.headers["idempotency-key"], request.body))

    def test_what_cannot_be_read_proves_nothing(self) -> None:
        for line in (
            "strace: something",
            f'1 pwrite64({on_file(JOURNAL)}, "{hexed("abc")}"..., 9999, 32) = 9999',
            f'1 write({on_file(JOURNAL)}, "{hexed("abc")}", 3) = 3',
        ):
            with self.subTest(line=line), self.assertRaises(Unclear):
                timeline(line)


class Wires(unittest.TestCase):
    def test_bytes_come_in_any_pieces(self) -> None:
        amqp, seen = Amqp(), []
        for byte in deliver(1, b"first"):
            amqp.received(bytes([byte]))
        for byte in ack(1, 0):
            seen += amqp.sent(bytes([byte]))
        self.assertEqual([("acknowledged", b"first")], seen)
        http, requests = Http(), []
        for byte in b"POST /a HTTP/1.1\r\nContent-Length: 1\r\n\r\nxGET /b HTTP/1.1\r\n\r\n":
            requests += http.sent(bytes([byte]))
        self.assertEqual([("/a", b"x"), ("/b", b"")], [(request.path, request.body) for request in requests])


class Disks(unittest.TestCase):
    def images(self, *items, never: bool = False) -> dict[str, set]:
        found = {name: set() for name in VARIANTS}
        for seed in range(200):
            disk = Disk({LEDGER: bytearray(), JOURNAL: bytearray(b"old")}, never)
            for number, item in enumerate(items):
                disk.take(number, item)
            for name, variant in VARIANTS.items():
                content = variant(disk, random.Random(seed))[JOURNAL]
                found[name].add(None if content is None else bytes(content))
        return found

    def test_of_what_was_not_durable_there_is_none_all_or_any_part(self) -> None:
        found = self.images(Write(JOURNAL, 0, b"A"), Sync(JOURNAL, 1), Write(JOURNAL, 1, b"B"), Write(JOURNAL, 5, b"C"))
        self.assertEqual({b"Ald"}, found["none"])
        self.assertEqual({b"ABd\0\0C"}, found["all"])
        self.assertEqual({b"Ald", b"ABd", b"Ald\0\0C", b"ABd\0\0C"}, found["some"])

    def test_a_write_is_torn_between_sectors(self) -> None:
        found = self.images(Write(JOURNAL, 511, b"abc"))
        whole = b"old".ljust(511, b"\0")
        self.assertEqual({b"old", whole + b"a", whole + b"\0bc", whole + b"abc"}, found["torn"])

    def test_files_are_cut_and_taken_away(self) -> None:
        found = self.images(Write(JOURNAL, 1, None), Unlink(JOURNAL))
        self.assertEqual(({b"old"}, {None}), (found["none"], found["all"]))
        self.assertIn(b"o", found["some"])

    def test_a_disk_that_lies_keeps_nothing(self) -> None:
        found = self.images(Write(JOURNAL, 0, b"A"), Sync(JOURNAL, 1), never=True)
        self.assertEqual({b"old"}, found["none"])


if __name__ == "__main__":
    unittest.main()
