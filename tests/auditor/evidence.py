"""What the auditor looks at: the sandbox's books, the ledger, what a consumer received, what was sent.

Nothing here is Holdfast's own code. A ledger in SQLite is copied first, with its write-ahead log, and only the
copy is opened: the system's SQLite may be older than the one that a live ledger needs.
"""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
import subprocess
import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterable

Row = dict[str, Any]

TABLES = (
    "orders",
    "plans",
    "authorizations",
    "shipments",
    "captures",
    "movements",
    "history",
    "events",
    "outbox",
    "dead_letters",
)

# Columns with bytes in them, which PostgreSQL tells as hexadecimal digits.
BYTES = {
    "capture_id",
    "event_id",
    "dead_letter_id",
    "body",
    "content",
    "body_sha256",
    "window_boot",
    "send_by_boot",
    "look_begun_boot",
    "terminal_seen_boot",
}

# Columns with an id in them.
IDS = {"capture_id", "event_id", "dead_letter_id"}

# ISO 4217: decimals, where they are not two.
DECIMALS = {
    **dict.fromkeys(
        "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(),
        0,
    ),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),
    **dict.fromkeys("CLF UYW".split(), 4),
}

OUTCOMES = ("capture.succeeded", "capture.failed", "capture.unresolved")


class Unreadable(Exception):
    """The evidence itself is not what it should be: no verdict."""


@dataclass(frozen=True)
class Received:
    """An event as it came."""

    id: str
    kind: str
    body: bytes
    json: Row

    @property
    def data(self) -> Row:
        return self.json.get("data", {})

    @property
    def is_outcome(self) -> bool:
        return self.kind in OUTCOMES

    @property
    def about(self) -> tuple[str, str, int]:
        """Whose outcome it is: order, shipment (a fee: its capture), generation."""
        which = "capture_id" if self.data["kind"] == "fee" else "shipment_id"
        return (self.data["order_id"], self.data[which], self.data["generation"])

    @property
    def name(self) -> tuple[str, str]:
        """Its authorization."""
        return (self.data.get("account") or "", self.data.get("reference") or "")

    def minor(self, what: str) -> int | None:
        """An amount of it in minor units."""
        text = self.data.get(what)
        return None if text is None else minor(text, self.data["currency"])


@dataclass
class Ledger:
    """The rows of a ledger, as they are."""

    tables: dict[str, list[Row]]

    def __post_init__(self) -> None:
        by_row = {row["authorization_row"]: row for row in self.tables["authorizations"]}
        for capture in self.tables["captures"]:
            authorization = by_row.get(capture["authorization_row"])
            if authorization is None:
                raise Unreadable(f"capture {capture['capture_id']} has no authorization")
            capture["name"] = (authorization["account"], authorization["reference"])
            capture["currency"] = authorization["currency"]
        orders = {row["order_row"]: row["order_id"] for row in self.tables["orders"]}
        for shipment in self.tables["shipments"]:
            shipment["order_id"] = orders.get(shipment["order_row"])

    def __getitem__(self, table: str) -> list[Row]:
        return self.tables[table]


@dataclass
class Evidence:
    """Everything that a verdict is reached from."""

    ledger: Ledger
    # Account as configured and reference, to the authorization in the provider's books.
    books: dict[tuple[str, str], Row]
    events: list[Received] = field(default_factory=list)
    # Bodies of the messages that were acknowledged, or confirmed to their sender.
    messages: list[bytes] = field(default_factory=list)
    # The same ledger, earlier.
    before: list[Ledger] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)


def minor(major: str, currency: str) -> int:
    """An amount in major units, with exactly the decimals of its currency, in minor units."""
    whole, _, fraction = major.partition(".")
    if not (whole + fraction).isdecimal() or len(fraction) != DECIMALS.get(currency, 2):
        raise Unreadable(f"{major!r} is no amount of {currency}")
    return int(whole + fraction)


def is_single(booked: Row) -> bool:
    """May it be captured once only?"""
    return booked["protocol"] != "flex_pay"


def read_books(path: str, accounts: Iterable[str]) -> dict[tuple[str, str], Row]:
    """`GET /sandbox/books`, by the accounts' names: each is given as NAME=MERCHANT."""
    names = {}
    for account in accounts:
        name, _, merchant = account.partition("=")
        names[merchant] = name
    books = {}
    for booked in json.loads(Path(path).read_bytes())["authorizations"]:
        name = names.get(booked["account"])
        if name is None:
            raise Unreadable(f"{path}: nobody says what the account of {booked['account']!r} is called")
        books[name, booked["reference"]] = booked
    return books


def read_events(path: str) -> list[Received]:
    """JSON lines: `message_id`, `type` (the routing key), and `body` or `body_base64`."""
    events = []
    for line in lines(path):
        body = body_of(line)
        events.append(Received(line["message_id"], line["type"], body, json.loads(body)))
    return events


def read_messages(path: str) -> list[bytes]:
    """JSON lines: `body` or `body_base64`."""
    return [body_of(line) for line in lines(path)]


def lines(path: str) -> Iterable[Row]:
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if line.strip():
            yield json.loads(line)


def body_of(line: Row) -> bytes:
    if "body_base64" in line:
        return base64.b64decode(line["body_base64"], validate=True)
    return line["body"].encode()


def read_ledger(place: str, psql: str) -> Ledger:
    """A file of SQLite, or an address of PostgreSQL."""
    if place.startswith(("postgres://", "postgresql://")):
        return read_postgres(place, psql)
    return read_sqlite(place.removeprefix("sqlite:"))


def read_sqlite(place: str) -> Ledger:
    with tempfile.TemporaryDirectory(prefix="holdfast-audit-") as directory:
        copy = Path(directory, "ledger.db")
        shutil.copyfile(place, copy)
        journal = Path(f"{place}-wal")
        if journal.exists():
            shutil.copyfile(journal, f"{copy}-wal")
        connection = sqlite3.connect(copy)
        try:
            return read_connection(connection)
        finally:
            connection.close()


def read_connection(connection: sqlite3.Connection) -> Ledger:
    connection.row_factory = sqlite3.Row
    damage = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    if damage != ["ok"]:
        raise Unreadable(f"the file is damaged: {damage}")
    tables = {}
    for table in TABLES:
        rows = connection.execute(f"SELECT * FROM {table}")
        tables[table] = [named(dict(row)) for row in rows]
    return Ledger(tables)


def read_postgres(url: str, psql: str) -> Ledger:
    """All of it as it was at one moment. JSON, because CSV cannot tell an empty text from none."""
    script = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\n"
    for table in TABLES:
        script += f"SELECT json_build_array('{table}', row_to_json(t)) FROM {table} t;\n"
    command = [psql, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url, "-f", "-"]
    told = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
    if told.returncode != 0:
        raise Unreadable(f"psql: {told.stderr.strip()}")
    tables: dict[str, list[Row]] = {table: [] for table in TABLES}
    # Not `splitlines`: a text may have other ends of lines in it.
    for line in told.stdout.split("\n"):
        if line:
            table, row = json.loads(line)
            tables[table].append(named({column: plain(column, cell) for column, cell in row.items()}))
    return Ledger(tables)


def plain(column: str, cell: Any) -> Any:
    if column in BYTES and isinstance(cell, str):
        return bytes.fromhex(cell.removeprefix("\\x"))
    return cell


def named(row: Row) -> Row:
    """Ids as they are written."""
    for column in IDS & row.keys():
        row[column] = str(uuid.UUID(bytes=row[column]))
    return row
