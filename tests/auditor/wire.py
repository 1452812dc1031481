"""What went over the wire, read from its bytes: AMQP 0-9-1 in both directions, and HTTP/1.1 requests."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Iterator

METHOD, HEADER, BODY = 1, 2, 3
PUBLISH, DELIVER, ACK = (60, 40), (60, 60), (60, 80)


class Frames:
    """Frames out of bytes as they come: kind, channel, payload."""

    def __init__(self) -> None:
        self.rest = b""

    def read(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        self.rest += data
        while len(self.rest) >= 7:
            kind, channel, size = struct.unpack(">BHI", self.rest[:7])
            if len(self.rest) < size + 8:
                return
            assert self.rest[size + 7] == 0xCE, "a frame ends as frames do"
            payload, self.rest = self.rest[7 : size + 7], self.rest[size + 8 :]
            yield kind, channel, payload


class Contents:
    """A message follows its method: a header with its size, and its body."""

    def __init__(self) -> None:
        self.methods: dict[int, object] = {}
        self.sizes: dict[int, int] = {}
        self.bodies: dict[int, bytes] = {}

    def begin(self, channel: int, method: object) -> None:
        self.methods[channel] = method

    def read(self, kind: int, channel: int, payload: bytes) -> Iterator[tuple[object, bytes]]:
        if channel not in self.methods:
            return
        if kind == HEADER:
            self.sizes[channel] = struct.unpack(">Q", payload[4:12])[0]
            self.bodies[channel] = b""
        elif kind == BODY:
            self.bodies[channel] += payload
        if channel in self.sizes and len(self.bodies[channel]) >= self.sizes[channel]:
            del self.sizes[channel]
            yield self.methods.pop(channel), self.bodies.pop(channel)


class Amqp:
    """A connection: what was delivered on it and not acknowledged, and what was published."""

    def __init__(self) -> None:
        self.inward, self.outward = Frames(), Frames()
        self.deliveries, self.publications = Contents(), Contents()
        self.unacknowledged: dict[int, dict[int, bytes]] = {}

    def received(self, data: bytes) -> None:
        for kind, channel, payload in self.inward.read(data):
            if kind == METHOD and struct.unpack(">HH", payload[:4]) == DELIVER:
                tag_at = 5 + payload[4]
                self.deliveries.begin(channel, struct.unpack(">Q", payload[tag_at : tag_at + 8])[0])
            for tag, body in self.deliveries.read(kind, channel, payload):
                self.unacknowledged.setdefault(channel, {})[tag] = body

    def sent(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        """What it says with these bytes: acknowledged or published, and the message's body."""
        for kind, channel, payload in self.outward.read(data):
            method = struct.unpack(">HH", payload[:4]) if kind == METHOD else None
            if method == PUBLISH:
                self.publications.begin(channel, PUBLISH)
            elif method == ACK:
                tag, multiple = struct.unpack(">QB", payload[4:13])
                known = self.unacknowledged.get(channel, {})
                for number in sorted(known):
                    if number == tag or (multiple & 1 and number < tag):
                        yield "acknowledged", known.pop(number)
            for _, body in self.publications.read(kind, channel, payload):
                yield "published", body


@dataclass
class Request:
    """A request over HTTP."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Http:
    """Requests out of what was sent on a connection."""

    def __init__(self) -> None:
        self.rest = b""

    def sent(self, data: bytes) -> Iterator[Request]:
        self.rest += data
        while b"\r\n\r\n" in self.rest:
            head, _, after = self.rest.partition(b"\r\n\r\n")
            first, *fields = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in fields)}
            size = int(headers.get("content-length", "0"))
            if len(after) < size:
                return
            method, path, _ = first.split(" ")
            self.rest = after[size:]
            yield Request(method, path, headers, after[:size])
