#!/usr/bin/env python3
"""Cuts the power at every moment of a recorded run, and looks at what may be on the disk then.

Of each moment it makes images of the ledger's files: with nothing of what was not durable, with all of it, with
any of it, with any sectors of it. Each must open, be intact, and hold everything that others had seen by then:
what was acknowledged, what was published, what was requested from the provider. `audit.py` has the rules.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import random
import sqlite3
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterator

import audit
import evidence
from disk import VARIANTS, Disk, Files
from evidence import Evidence, Received, Row, Unreadable
from record import Mark, Sync, Timeline, Write

SHOWN = 20


@dataclass
class Seen:
    """What others had seen by then."""

    acknowledged: list[bytes] = field(default_factory=list)
    published: list[Received] = field(default_factory=list)
    requests: list[Mark] = field(default_factory=list)

    def take(self, mark: Mark) -> None:
        if mark.kind == "acknowledged":
            self.acknowledged.append(mark.body)
        elif mark.kind == "published":
            event = json.loads(mark.body)
            self.published.append(Received(event["id"], event["type"], mark.body, event))
        elif is_capture(mark):
            self.requests.append(mark)

    def books(self, books: dict[tuple[str, str], Row]) -> dict[tuple[str, str], Row]:
        """The provider's books as of then: with what was requested, and nothing else."""
        keys = {mark.request.headers.get("idempotency-key") for mark in self.requests}
        named = Counter(reference_of(mark) for mark in self.requests)
        then = {}
        for (account, reference), booked in books.items():
            captures = [
                theirs
                for theirs in booked["captures"]
                if (theirs["merchant_reference_id"] or "") in keys
                or (theirs["merchant_reference_id"] is None and named[reference])
            ]
            then[account, reference] = {**booked, "captures": captures, "capture_requests": named[reference]}
        return then


def digest(file: tuple[str, bytearray | None]) -> bytes:
    name, content = file
    return hashlib.sha1(name.encode() + (b"" if content is None else b"=" + content)).digest()


def is_capture(mark: Mark) -> bool:
    return mark.request.path.endswith("/capture") or mark.request.path.endswith("/capture/order_id")


def reference_of(mark: Mark) -> str:
    if mark.request.path.endswith("/capture"):
        return mark.request.path.split("/")[-2]
    return json.loads(mark.request.body)["request"]["order_id"]


def violations(image: Path, seen: Seen, books: dict[tuple[str, str], Row], schema: str) -> Iterator[str]:
    """What is wrong with an image. It is opened as it is, and never used again."""
    connection = sqlite3.connect(image)
    try:
        # What closing it does to the image matters to nobody.
        connection.execute("PRAGMA synchronous = OFF")
        ledger = evidence.read_connection(connection)
        if schema_of(connection) != schema:
            yield "the tables are not those of the ledger"
    except (sqlite3.Error, Unreadable) as error:
        yield f"does not open: {error}"
        return
    finally:
        connection.close()
    case = Evidence(ledger, seen.books(books), seen.published, seen.acknowledged)
    for rule, words in audit.violations(case, at_rest=False):
        yield f"{rule}: {words}"


def schema_of(connection: sqlite3.Connection) -> str:
    rows = connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    return repr((version, [tuple(row) for row in rows]))


class Run:
    """A recorded run, cut at moments."""

    def __init__(self, given: argparse.Namespace) -> None:
        with open(given.record, encoding="latin-1") as lines:
            self.timeline = Timeline.of(iter(lines), given.ledger, given.broker, given.provider)
        self.books = evidence.read_books(given.books[0], given.books[1:])
        self.given, self.rng = given, random.Random(given.seed)
        base = Path(given.base)
        self.begin: Files = {given.ledger: bytearray(base.read_bytes())}
        journal = Path(f"{given.base}-wal")
        self.begin[f"{given.ledger}-wal"] = bytearray(journal.read_bytes()) if journal.exists() else None
        with tempfile.TemporaryDirectory(prefix="holdfast-image-") as directory:
            connection = sqlite3.connect(self.lay_out(self.begin, Path(directory)))
            self.schema = schema_of(connection)
            connection.close()

    def lay_out(self, files: Files, directory: Path) -> Path:
        """The files of an image, under names of their own."""
        image = directory / "holdfast.db"
        for name, content in files.items():
            path = Path(str(image) + name.removeprefix(self.given.ledger))
            path.unlink(missing_ok=True)
            if content is not None:
                path.write_bytes(content)
        return image

    def chosen(self) -> set[tuple[int, str]]:
        """Moments and variants: all, or so many of them."""
        every = [(number, name) for number in range(len(self.timeline.items)) for name in VARIANTS]
        if self.given.images == "all":
            return set(every)
        return set(self.rng.sample(every, min(int(self.given.images), len(every))))

    def images(self) -> Iterator[tuple[int, str, Files, Seen]]:
        disk, seen, chosen = Disk(self.begin, self.given.never_durable), Seen(), self.chosen()
        keep = set(self.rng.sample(sorted(chosen), min(self.given.keep, len(chosen))))
        known = set()
        for number, item in enumerate(self.timeline.items):
            disk.take(number, item)
            if isinstance(item, Mark):
                seen.take(item)
            for name, variant in VARIANTS.items():
                if (number, name) in chosen:
                    files = variant(disk, self.rng)
                    if (number, name) in keep:
                        self.save(number, name, files, seen)
                    looks = (*map(digest, files.items()), *map(len, (seen.acknowledged, seen.published, seen.requests)))
                    if looks not in known:
                        known.add(looks)
                        yield number, name, files, seen

    def check(self) -> int:
        counts, wrong = Counter(), []
        with tempfile.TemporaryDirectory(prefix="holdfast-image-") as directory:
            for number, name, files, seen in self.images():
                counts[name] += 1
                image = self.lay_out(files, Path(directory))
                # SQLite's own, of the image before.
                Path(f"{image}-shm").unlink(missing_ok=True)
                found = list(violations(image, seen, self.books, self.schema))
                wrong += [f"moment {number}, {name} of the rest: {words}" for words in found]
        for words in wrong[:SHOWN]:
            print(words)
        print(self.summary(counts, len(wrong)))
        return 1 if wrong else 0

    def save(self, number: int, name: str, files: Files, seen: Seen) -> None:
        """For a worker to be started on, with a provider that has had the same requests."""
        directory = Path(self.given.kept, f"{number:05}-{name}")
        directory.mkdir(parents=True)
        self.lay_out(files, directory)
        requests = [
            {
                "path": mark.request.path,
                "key": mark.request.headers.get("idempotency-key"),
                "body": mark.request.body.decode(),
            }
            for mark in seen.requests
        ]
        published = [
            {"message_id": event.id, "type": event.kind, "body_base64": base64.b64encode(event.body).decode()}
            for event in seen.published
        ]
        about = {"acknowledged": len(seen.acknowledged), "requests": requests, "published": published}
        directory.joinpath("about.json").write_text(json.dumps(about))

    def summary(self, counts: Counter, wrong: int) -> str:
        items = self.timeline.items
        marks = Counter(item.kind for item in items if isinstance(item, Mark))
        writes = sum(isinstance(item, Write) for item in items)
        syncs = sum(isinstance(item, Sync) for item in items)
        variants = ", ".join(f"{counts[name]} with {name}" for name in VARIANTS)
        return (
            f"{writes} writes, {syncs} times made durable; {marks['acknowledged']} acknowledged, "
            f"{marks['published']} published, {marks['request']} requests\n"
            f"{counts.total()} images ({variants} of what was not durable): {wrong} violations"
        )


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", required=True, metavar="FILE", help="what strace -f -yy -xx wrote down")
    parser.add_argument("--base", required=True, metavar="FILE", help="the ledger's file as it was at the beginning")
    parser.add_argument("--ledger", required=True, metavar="FILE", help="what it is called in the record")
    parser.add_argument("--broker", required=True, metavar="ADDRESS", help="of RabbitMQ, as in the record")
    parser.add_argument("--provider", required=True, metavar="ADDRESS", help="of the sandbox, as in the record")
    parser.add_argument("--books", required=True, nargs="+", metavar=("FILE", "NAME=MERCHANT"))
    parser.add_argument("--images", default="all", metavar="COUNT", help="how many, of any moments; default: all")
    parser.add_argument("--seed", type=int, default=1, metavar="NUMBER")
    parser.add_argument("--keep", type=int, default=0, metavar="COUNT", help="images to keep for a worker")
    parser.add_argument("--kept", metavar="DIRECTORY", help="where to")
    parser.add_argument("--never-durable", action="store_true", help="as on a disk that lies: to see the rules fail")
    return parser


def main() -> int:
    try:
        return Run(arguments().parse_args()).check()
    except (OSError, ValueError, KeyError) as error:
        print(f"no verdict: {type(error).__name__}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
