"""Files as a disk may have them after a power cut: what was made durable, and any part of what was not."""

from __future__ import annotations

import random
from typing import Callable, Iterator

from record import Item, Sync, Unlink, Write

# Disks write so much or nothing.
SECTOR = 512

Files = dict[str, "bytearray | None"]


def apply(files: Files, change: Write | Unlink) -> None:
    """In place: files are large, and changes many."""
    if isinstance(change, Unlink):
        files[change.file] = None
        return
    if files.get(change.file) is None:
        files[change.file] = bytearray()
    content = files[change.file]
    end = change.offset + len(change.data or b"")
    content.extend(bytes(max(0, end - len(content))))
    if change.data is None:
        del content[change.offset :]
    else:
        content[change.offset : end] = change.data


def copy_of(files: Files) -> Files:
    return {name: None if content is None else bytearray(content) for name, content in files.items()}


class Disk:
    """What is durable, and what else was written since, in order. `never` forgets to make anything durable."""

    def __init__(self, files: Files, never: bool = False) -> None:
        self.durable, self.never = copy_of(files), never
        self.pending: list[tuple[int, Write | Unlink]] = []

    def take(self, number: int, item: Item) -> None:
        if isinstance(item, (Write, Unlink)):
            self.pending.append((number, item))
        elif isinstance(item, Sync) and not self.never:
            is_covered = lambda at, change: at < item.covers and change.file == item.file  # noqa: E731
            for at, change in self.pending:
                if is_covered(at, change):
                    apply(self.durable, change)
            self.pending = [(at, change) for at, change in self.pending if not is_covered(at, change)]

    def with_changes(self, changes: Iterator[Write | Unlink]) -> Files:
        files = copy_of(self.durable)
        for change in changes:
            apply(files, change)
        return files

    def none(self, _: random.Random) -> Files:
        return copy_of(self.durable)

    def all(self, _: random.Random) -> Files:
        return self.with_changes(change for _, change in self.pending)

    def some(self, rng: random.Random) -> Files:
        """Any of them, whatever came before."""
        return self.with_changes(change for _, change in self.pending if rng.random() < 0.5)

    def torn(self, rng: random.Random) -> Files:
        """Any sectors of them."""
        return self.with_changes(part for _, change in self.pending for part in sectors(change, rng))


def sectors(change: Write | Unlink, rng: random.Random) -> Iterator[Write | Unlink]:
    if isinstance(change, Unlink) or change.data is None:
        if rng.random() < 0.5:
            yield change
        return
    begin, end = change.offset, change.offset + len(change.data)
    while begin < end:
        until = min(end, (begin // SECTOR + 1) * SECTOR)
        if rng.random() < 0.5:
            yield Write(change.file, begin, change.data[begin - change.offset : until - change.offset])
        begin = until


# What may have become of what was not durable.
VARIANTS: dict[str, Callable[[Disk, random.Random], Files]] = {
    "none": Disk.none,
    "all": Disk.all,
    "some": Disk.some,
    "torn": Disk.torn,
}
