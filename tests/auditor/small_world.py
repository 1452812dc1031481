"""A small world in which everything holds, for the auditor's tests: three orders, in tables of the real schema."""

from __future__ import annotations

import json
import sqlite3
import uuid
from pathlib import Path
from typing import Any

from evidence import Evidence, Received, Row, read_connection

SCHEMA = Path(__file__).parents[2] / "src/ledger/sqlite/migrations/0001_ledger.sql"

NAMESPACE = uuid.UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8")

# Microseconds since 1970: when everything was planned; and an hour later.
PLANNED = 1_760_000_000_000_000
LATER = "2025-10-09T09:53:20.123456789Z"
NEVER = "2100-01-01T00:00:00Z"


def id_of(name: str) -> uuid.UUID:
    return uuid.uuid5(NAMESPACE, name)


def columns(connection: sqlite3.Connection, table: str) -> dict[str, Any]:
    """Something for every column that must have something."""
    kinds = {"INTEGER": 0, "TEXT": "", "BLOB": b""}
    info = connection.execute(f"PRAGMA table_info({table})")
    return {name: kinds[kind] for _, name, kind, not_null, default, _ in info if not_null and default is None}


class World:
    """`flex` captures twice for order o1 and fails for o3; `flitt` captures once for both shipments of o2."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:")
        self.connection.executescript(SCHEMA.read_text(encoding="utf-8"))
        self.books: dict[tuple[str, str], Row] = {}
        self.events: list[Received] = []
        self.messages: list[bytes] = []
        self.row = 0
        self.order("o1", "flex", "r1", [("a", 300), ("b", 700)])
        self.order("o2", "flitt", "r2", [("a", 400), ("b", 101)])
        self.order("o3", "flex", "r3", [("a", 500)], fails=True)

    def put(self, table: str, **cells: Any) -> int:
        self.row += 1
        cells = {**columns(self.connection, table), **cells}
        names, holes = ", ".join(cells), ", ".join("?" * len(cells))
        self.connection.execute(f"INSERT INTO {table} ({names}) VALUES ({holes})", list(cells.values()))
        return self.row

    def order(self, order: str, account: str, reference: str, shares: list, fails: bool = False) -> None:
        total = sum(amount for _, amount in shares)
        captured = 0 if fails else total
        row = self.row + 1
        progress = json.dumps([[len(shares) * 1_000_000, 0]])
        self.put("orders", order_row=row, order_id=order, mode="planned", progress=progress, captured=captured)
        plan = {"revision": 1, "total": total, "lines": [["l1", len(shares) * 1_000_000, total]]}
        self.put("plans", order_row=row, plan=json.dumps(plan))
        authorization = self.row + 1
        self.put(
            "authorizations",
            authorization_row=authorization,
            account=account,
            reference=reference,
            order_row=row,
            currency="EUR",
            authorized=total,
            captured=captured,
            single="free",
        )
        protocol = "flitt" if account == "flitt" else "flex_pay"
        booked = {
            "protocol": protocol,
            "account": account,
            "reference": reference,
            "amount_minor": total,
            "currency": "EUR",
            "expires_at": NEVER,
            "capture_requests": 0,
            "captures": [],
        }
        self.books[account, reference] = booked
        groups = [shares] if account == "flitt" else [[share] for share in shares]
        for group in groups:
            self.capture(order, row, authorization, booked, group, fails)

    def capture(self, order: str, order_row: int, authorization: int, booked: Row, group: list, fails: bool) -> None:
        amount, key = sum(share for _, share in group), id_of(f"{order} {group[-1][0]}")
        shipments = [self.shipment(order, order_row, shipment, share, fails) for shipment, share in group]
        row = self.row + 1
        self.put(
            "captures",
            capture_row=row,
            capture_id=key.bytes,
            authorization_row=authorization,
            order_row=order_row,
            shipment_row=shipments[-1],
            kind="shipment",
            amount=amount,
            state="failed" if fails else "captured",
            planned_at=PLANNED,
            attempts=1,
            account=booked["account"],
        )
        for kind in ("reserve", "release" if fails else "capture"):
            self.put("movements", capture_row=row, kind=kind, authorization_row=authorization, amount=amount)
        booked["capture_requests"] += 1
        if not fails:
            taken = {"amount_minor": amount, "currency": "EUR", "at": LATER, "status": "done", "automatic": False}
            known = booked["protocol"] == "flex_pay"
            booked["captures"].append({**taken, "merchant_reference_id": str(key) if known else None})
        for (shipment, share), of in zip(group, shipments):
            self.tell(order, shipment, of, key, amount, share, booked, fails)

    def shipment(self, order: str, order_row: int, shipment: str, share: int, fails: bool) -> int:
        notice = {"type": "order.shipped", "data": {"order_id": order, "shipment_id": shipment}}
        self.messages.append(json.dumps(notice).encode())
        row = self.row + 1
        self.put(
            "shipments",
            shipment_row=row,
            order_row=order_row,
            shipment_id=shipment,
            state="settled",
            amount=share,
            reason="declined" if fails else None,
        )
        return row

    def tell(self, order, shipment, of, key, amount, share, booked, fails) -> None:
        kind, event = "capture.failed" if fails else "capture.succeeded", id_of(f"{order} {shipment} outcome")
        data = {
            "order_id": order,
            "shipment_id": shipment,
            "capture_id": str(key),
            "kind": "shipment",
            "generation": 0,
            "account": booked["account"],
            "reference": booked["reference"],
            "currency": "EUR",
            "amount": major(share),
            "capture_amount": major(amount),
        }
        if fails:
            data |= {"reason": "declined", "money_may_have_moved": False}
        body = json.dumps({"id": str(event), "type": kind, "data": data}).encode()
        row = self.row + 1
        self.put(
            "events", event_row=row, event_id=event.bytes, kind=kind, body=body, outcome_of=of, generation=0
        )
        self.put("outbox", event_row=row, written_at=PLANNED, published_at=PLANNED)
        self.events.append(Received(str(event), kind, body, json.loads(body)))

    def spoil(self, *statements: str) -> None:
        """Changes rows past everything by which a ledger would refuse it."""
        schema = self.connection.execute("SELECT type, name FROM sqlite_schema WHERE sql IS NOT NULL")
        guards = [(kind, name) for kind, name in schema if kind in ("trigger", "index")]
        for kind, name in guards:
            self.connection.execute(f"DROP {kind} {name}")
        self.connection.execute("PRAGMA ignore_check_constraints = ON")
        for statement in statements:
            changed = self.connection.execute(statement).rowcount
            assert changed, f"changes nothing: {statement}"

    def evidence(self, **more: Any) -> Evidence:
        ledger = read_connection(self.connection)
        return Evidence(ledger=ledger, books=self.books, events=self.events, messages=self.messages, **more)


def major(minor: int) -> str:
    return f"{minor // 100}.{minor % 100:02}"
