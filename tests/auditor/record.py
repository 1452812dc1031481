"""What `strace` wrote down of a worker, as a timeline: what it did to its files, and what it sent and received.

It is to be called with `-f -yy -xx -s` large enough, on a worker that was idle when `strace` attached.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Iterator

from wire import Amqp, Http, Request

LINE = re.compile(r"^(\d+) +(.*)$")
UNFINISHED = re.compile(r"^(\w+)\((.*?) *<unfinished \.\.\.>$")
RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>(.*)$")
WHOLE = re.compile(r"^(\w+)\((.*)$")
RESULT = re.compile(r"\) += (-?\d+)[^=]*$")
DESCRIPTOR = re.compile(r"^(\d+)<(.*?)>(?=[,)]|$)")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
PEER = re.compile(r"TCP:\[.*->(.*)\]$")

SENDS = ("sendto", "writev", "write")
RECEIVES = ("recvfrom", "readv", "read")


class Unclear(ValueError):
    """The record cannot be read, and proves nothing."""


@dataclass
class Call:
    """A system call that did something: when it began and ended, by the lines of the record."""

    begun: int
    ended: int
    name: str
    on: str
    data: bytes
    numbers: list[int]
    result: int


@dataclass
class Write:
    """`data` is None where it cuts the file, to `offset` bytes."""

    file: str
    offset: int
    data: bytes | None


@dataclass
class Sync:
    """Makes durable what was written to the file before the item of that number."""

    file: str
    covers: int = 0


@dataclass
class Unlink:
    file: str


@dataclass
class Mark:
    """Something that others see, and that must not be lost from then on."""

    kind: str
    body: bytes = b""
    request: Request | None = None


Item = Write | Sync | Unlink | Mark


def unescape(text: str) -> str:
    return re.sub(r"\\x([0-9a-f]{2})", lambda digits: chr(int(digits[1], 16)), text)


def calls(lines: Iterator[str]) -> Iterator[Call]:
    begun: dict[str, tuple[int, str, str]] = {}
    for number, line in enumerate(lines):
        told = LINE.match(line)
        if told is None:
            raise Unclear(f"line {number + 1}: {line[:100]!r}")
        thread, text = told.groups()
        if resumed := RESUMED.match(text):
            if thread in begun:
                start, name, head = begun.pop(thread)
                yield from call(start, number, name, head + resumed[2])
        elif unfinished := UNFINISHED.match(text):
            begun[thread] = (number, unfinished[1], unfinished[2])
        elif whole := WHOLE.match(text):
            yield from call(number, number, whole[1], whole[2])
    for start, name, head in begun.values():
        # It never returned: what it did is unknown, so it has made nothing durable; what it sent, it has sent.
        if name in SENDS or name == "pwrite64":
            yield from call(start, start, name, head + f") = {2**62}")


def call(begun: int, ended: int, name: str, text: str) -> Iterator[Call]:
    told = RESULT.search(text)
    if told is None or int(told[1]) < 0:
        return
    arguments = text[: told.start()]
    texts = TEXT.findall(arguments)
    if any(cut for _, cut in texts) and name not in RECEIVES:
        raise Unclear(f"line {begun + 1}: more was written than was recorded")
    data = b"".join(bytes.fromhex(digits.replace("\\x", "")) for digits, _ in texts)
    descriptor = DESCRIPTOR.match(arguments)
    on = unescape(descriptor[2]) if descriptor else data.decode("utf-8", "replace")
    numbers = [int(word) for word in re.findall(r", (\d+)(?=,|$)", TEXT.sub('""', arguments))]
    yield Call(begun, ended, name, on, data, numbers, int(told[1]))


@dataclass
class Timeline:
    """The items, each at the moment from which it counts."""

    ledger: str
    broker: str
    provider: str
    items: list[Item] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.files = (self.ledger, f"{self.ledger}-wal", f"{self.ledger}-journal")
        self.amqp: dict[str, Amqp] = {}
        self.http: dict[str, Http] = {}

    @classmethod
    def of(cls, lines: Iterator[str], ledger: str, broker: str, provider: str) -> Timeline:
        made = cls(ledger, broker, provider)
        moments = []
        for one in calls(lines):
            # What is written or sent counts from the beginning; what is received or made durable, at the end.
            late = one.name in RECEIVES or one.name in ("fdatasync", "fsync")
            moments.append((one.ended if late else one.begun, one))
        at_line: list[tuple[int, int]] = []
        for line, one in sorted(moments, key=lambda moment: moment[0]):
            for item in made.items_of(one):
                if isinstance(item, Sync):
                    item.covers = sum(1 for begun, _ in at_line if begun < one.begun)
                at_line.append((line, len(made.items)))
                made.items.append(item)
        return made

    def items_of(self, one: Call) -> Iterator[Item]:
        if one.on in self.files:
            yield from self.of_file(one)
        elif peer := PEER.search(one.on):
            yield from self.of_socket(one, peer[1])

    def of_file(self, one: Call) -> Iterator[Item]:
        if one.name == "pwrite64":
            yield Write(one.on, one.numbers[-1], one.data[: one.result])
        elif one.name == "ftruncate":
            yield Write(one.on, one.numbers[-1], None)
        elif one.name in ("fdatasync", "fsync"):
            yield Sync(one.on)
        elif one.name == "unlink":
            yield Unlink(one.on)
        elif one.name not in RECEIVES:
            raise Unclear(f"line {one.begun + 1}: {one.name} on a file of the ledger")

    def of_socket(self, one: Call, peer: str) -> Iterator[Item]:
        if peer == self.broker:
            amqp = self.amqp.setdefault(one.on, Amqp())
            if one.name in RECEIVES:
                amqp.received(one.data[: one.result])
            elif one.name in SENDS:
                for kind, body in amqp.sent(one.data[: one.result]):
                    yield Mark(kind, body)
        elif peer == self.provider and one.name in SENDS:
            for request in self.http.setdefault(one.on, Http()).sent(one.data[: one.result]):
                yield Mark("request", request=request)
