#!/usr/bin/env python3
"""Every rule of the auditor can go red: each plants a violation in a world where everything holds.

    python3 tests/auditor/test_audit.py
"""

from __future__ import annotations

import base64
import json
import sqlite3
import subprocess
import sys
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

import audit
import evidence
from evidence import Received, Unreadable
from small_world import LATER, World, id_of

Plant = Callable[[World], Any]


def sql(*statements: str) -> Plant:
    return lambda world: world.spoil(*statements)


def booked(name: tuple[str, str], change: Callable[[dict], Any]) -> Plant:
    return lambda world: change(world.books[name])


def twice(authorization: dict) -> None:
    authorization["captures"] *= 2


def of_capture(column: str, cell: Any) -> Callable[[dict], Any]:
    return lambda authorization: authorization["captures"][0].update({column: cell})


def told(number: int, **data: Any) -> Plant:
    """Another event than the one that is in the ledger."""

    def plant(world: World) -> None:
        event = world.events[number]
        changed = {**event.json, "data": {**event.data, **data}}
        world.events[number] = replace(event, json=changed, body=json.dumps(changed).encode())

    return plant


def repeated(**other: Any) -> Plant:
    def plant(world: World) -> None:
        world.events.append(replace(world.events[0], **other))

    return plant


FLEX, FLITT, FAILED = ("flex", "r1"), ("flitt", "r2"), ("flex", "r3")
O3 = str(id_of("o3 a"))


def failed_and_taken(authorization: dict) -> None:
    taken = {"amount_minor": 500, "currency": "EUR", "at": LATER, "status": "done", "automatic": False}
    authorization["captures"].append({**taken, "merchant_reference_id": O3})


# Rule, what is planted, and how.
PLANTED: list[tuple[str, str, Plant]] = [
    ("S1", "one key twice", booked(FLEX, twice)),
    ("S1", "a single capture twice", booked(FLITT, twice)),
    ("S1", "twice in the ledger", sql("UPDATE captures SET capture_id = (SELECT min(capture_id) FROM captures)")),
    ("S2", "no intent", sql(f"UPDATE captures SET capture_id = x'{id_of('x').hex}' WHERE amount = 300")),
    ("S2", "another amount", booked(FLEX, of_capture("amount_minor", 299))),
    ("S2", "another amount, captured once", booked(FLITT, of_capture("amount_minor", 500))),
    ("S2", "intended too late", sql("UPDATE captures SET planned_at = planned_at + 7200000000 WHERE amount = 300")),
    ("S3", "more than authorized", booked(FLEX, lambda one: one.update(amount_minor=999))),
    ("S3", "more than authorized, in the ledger", sql("UPDATE authorizations SET authorized = 999 WHERE captured = 1000")),
    ("S3", "reserved beyond it", sql("UPDATE authorizations SET reserved = 1")),
    ("S4", "an attempt that nobody wrote down", booked(FLITT, lambda one: one.update(capture_requests=2))),
    ("S4", "more than a token explains", booked(FAILED, lambda one: one.update(capture_requests=3))),
    ("S5", "an intent with another amount", sql("UPDATE captures SET amount = 301 WHERE amount = 300")),
    ("S5", "told with another amount", told(0, capture_amount="3.01")),
    ("S5", "told with another authorization", told(0, reference="r3")),
    ("S5", "two intents with one id", sql("UPDATE captures SET capture_id = (SELECT min(capture_id) FROM captures)")),
    ("S6", "two outcomes", repeated(id=str(id_of("other")))),
    ("S6", "another body under the same id", repeated(body=b"{}")),
    ("S6", "another id inside", repeated(json={"id": "x", "data": World().events[0].data})),
    ("S6", "settled without an outcome", sql("UPDATE events SET outcome_of = NULL WHERE kind = 'capture.failed'")),
    ("S6", "two outcomes in the ledger", sql("UPDATE events SET outcome_of = 4")),
    ("S7", "succeeded, and nothing is there", booked(FLEX, lambda one: one["captures"].clear())),
    ("S7", "succeeded with another amount", told(0, capture_amount="2.99")),
    ("S7", "succeeded under another key", booked(FLEX, of_capture("merchant_reference_id", O3))),
    ("S7", "succeeded at no known authorization", told(0, reference="r9")),
    ("S7", "failed, and taken", booked(FAILED, failed_and_taken)),
    ("S7", "failed as expired, too early", told(-1, reason="authorization_expired")),
    ("S7", "money may have moved, and none has", told(-1, money_may_have_moved=True)),
    ("S7", "free, and costs something", told(0, kind="zero")),
    ("S8", "a shipment is lost", sql("DELETE FROM shipments WHERE amount = 300")),
    ("S8", "rubbish is lost", lambda world: world.messages.append(b"\xff")),
    ("S9", "an event is not in the ledger", sql("DELETE FROM events WHERE kind = 'capture.failed'")),
    ("S9", "another body than was written", told(-1, message="x")),
    ("S10", "a balance of captures", sql("UPDATE authorizations SET captured = captured - 1 WHERE captured > 0")),
    ("S10", "a balance of reservations", sql("UPDATE authorizations SET reserved = 1")),
    ("S10", "a capture without its movement", sql("DELETE FROM movements WHERE kind = 'capture' AND amount = 300")),
    ("S10", "a failure that keeps its reservation", sql("DELETE FROM movements WHERE kind = 'release'")),
    ("S10", "an order's sum", sql("UPDATE orders SET captured = 999 WHERE captured = 1000")),
    ("S12", "an intent of nothing", sql("UPDATE captures SET amount = 0 WHERE amount = 300")),
    ("S12", "no currency", sql("UPDATE authorizations SET currency = ''")),
    ("S12", "another currency", booked(FLITT, of_capture("currency", "USD"))),
    ("S13", "an order that comes to less", sql("UPDATE plans SET plan = replace(plan, '501', '502')")),
    ("S13", "a share that is not told", told(1, amount="6.99")),
    ("S14", "a card", sql("UPDATE shipments SET caused_by = 'card 4111 1111 1111 1111' WHERE amount = 300")),
    ("S14", "a card in an event", told(0, message="4111111111111111")),
    ("S14", "an e-mail address", sql("UPDATE captures SET last_seen = 'to olga@shop.ge' WHERE amount = 300")),
    ("S14", "a secret", sql("UPDATE captures SET last_seen = 'password hunter2' WHERE amount = 300")),
    ("A1", "missing in the ledger", sql("UPDATE captures SET state = 'failed' WHERE amount = 300")),
    ("A1", "missing at the provider", booked(FLEX, lambda one: one["captures"].clear())),
    ("A1", "the amount differs", booked(FLEX, of_capture("amount_minor", 299))),
    ("A1", "a duplicate", booked(FLITT, twice)),
    ("A1", "somebody else's", booked(FLEX, of_capture("merchant_reference_id", None))),
    ("A1", "on hold", booked(FLITT, of_capture("status", "hold"))),
    ("L1", "in doubt", sql("UPDATE captures SET state = 'in_doubt', is_open = 1 WHERE amount = 300")),
    ("L1", "waiting", sql("UPDATE shipments SET state = 'waiting' WHERE amount = 300")),
    ("L2", "not published", sql("UPDATE outbox SET published_at = NULL")),
    ("L2", "not received", lambda world: world.events.pop()),
]

# Planted in what a ledger became, against what it was.
PLANTED_SINCE: list[tuple[str, str, str]] = [
    ("S5", "an intent was changed", "UPDATE captures SET amount = 301 WHERE amount = 300"),
    ("S5", "an intent is gone", "DELETE FROM captures WHERE amount = 300"),
    ("S6", "what failed was captured", "UPDATE captures SET state = 'captured' WHERE state = 'failed'"),
    ("S6", "an outcome was taken back", "UPDATE shipments SET state = 'waiting' WHERE amount = 300"),
    ("S9", "an event is gone", "DELETE FROM events WHERE kind = 'capture.failed'"),
    ("S9", "an event was changed", "UPDATE events SET body = x'7b7d' WHERE kind = 'capture.failed'"),
    ("S10", "a movement is gone", "DELETE FROM movements WHERE kind = 'release'"),
]

SECRETS = ["hunter2"]


class Rules(unittest.TestCase):
    def test_a_world_in_order_has_nothing_against_it(self) -> None:
        world = World()
        case = world.evidence(secrets=SECRETS, before=[world.evidence().ledger])
        self.assertEqual([], list(audit.violations(case, at_rest=True)))

    def test_every_rule_finds_what_is_planted(self) -> None:
        for rule, what, plant in PLANTED:
            with self.subTest(rule=rule, what=what):
                world = World()
                plant(world)
                found = {name for name, _ in audit.violations(world.evidence(secrets=SECRETS), at_rest=True)}
                self.assertIn(rule, found)

    def test_what_a_ledger_was_is_held_against_what_it_is(self) -> None:
        for rule, what, statement in PLANTED_SINCE:
            with self.subTest(rule=rule, what=what):
                world = World()
                before = world.evidence().ledger
                world.spoil(statement)
                since = set(audit.violations(world.evidence(before=[before]), at_rest=True))
                since -= set(audit.violations(world.evidence(), at_rest=True))
                self.assertIn(rule, {name for name, _ in since})

    def test_no_rule_is_left_out(self) -> None:
        self.assertEqual({**audit.ALWAYS, **audit.AT_REST}.keys(), {rule for rule, _, _ in PLANTED})

    def test_what_holds_only_at_rest_is_left_out_before(self) -> None:
        world = World()
        world.spoil("UPDATE outbox SET published_at = NULL")
        self.assertEqual([], list(audit.violations(world.evidence(), at_rest=False)))

    def test_a_log_is_searched(self) -> None:
        case = World().evidence(secrets=SECRETS, logs={"worker.log": "fine\nnot hunter2\n"})
        self.assertEqual([("S14", "worker.log:2 has a secret")], list(audit.violations(case, at_rest=True)))

    def test_amounts_are_exact(self) -> None:
        self.assertEqual(1_234_567_890_123_456_78, evidence.minor("1234567890123456.78", "EUR"))
        self.assertEqual(1_999, evidence.minor("1.999", "KWD"))
        self.assertEqual(1_999, evidence.minor("1999", "JPY"))
        for text, currency in (("1.9", "EUR"), ("1.999", "EUR"), ("1.0", "JPY"), ("-1.00", "EUR"), ("1e2", "EUR")):
            with self.assertRaises(Unreadable):
                evidence.minor(text, currency)


class Command(unittest.TestCase):
    """The program itself, on files."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="holdfast-auditor-")
        self.addCleanup(directory.cleanup)
        self.dir = Path(directory.name)

    def run_on(self, world: World) -> subprocess.CompletedProcess:
        ledger = sqlite3.connect(self.dir / "holdfast.db")
        world.connection.commit()
        world.connection.backup(ledger)
        ledger.close()
        books = {"authorizations": list(world.books.values())}
        self.dir.joinpath("books.json").write_text(json.dumps(books))
        self.lines("events.jsonl", [{"message_id": e.id, "type": e.kind, **base64_of(e.body)} for e in world.events])
        self.lines("messages.jsonl", [base64_of(body) for body in world.messages])
        program = [sys.executable, str(Path(__file__).with_name("audit.py"))]
        books = ["--books", "books.json", "flex=flex", "flitt=flitt"]
        given = [*books, "--ledger", "holdfast.db", "--events", "events.jsonl", "--messages", "messages.jsonl"]
        return subprocess.run(program + given, cwd=self.dir, capture_output=True, text=True, check=False)

    def lines(self, name: str, rows: list[dict]) -> None:
        self.dir.joinpath(name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    def test_it_exits_with_0_where_everything_holds(self) -> None:
        ended = self.run_on(World())
        self.assertEqual((0, ""), (ended.returncode, ended.stderr), ended.stdout)
        self.assertIn("4 captures in the ledger, 3 of them captured", ended.stdout)
        self.assertIn("flex EUR: 1000 minor units in the books, 1000 in the ledger", ended.stdout)
        self.assertTrue(ended.stdout.endswith("everything holds\n"))

    def test_it_exits_with_1_and_names_the_rule_where_something_does_not(self) -> None:
        world = World()
        world.books[FLITT]["captures"].clear()
        ended = self.run_on(world)
        self.assertEqual(1, ended.returncode, ended.stderr)
        self.assertIn("A1: missing at provider: 501 EUR", ended.stdout)

    def test_it_exits_with_2_where_the_evidence_cannot_be_read(self) -> None:
        world = World()
        world.books["pay", "r4"] = {"account": "stranger", "reference": "r4"}
        self.assertEqual(2, self.run_on(world).returncode)

    def test_a_write_ahead_log_is_read_too(self) -> None:
        ended = self.run_on(World())
        self.assertEqual(0, ended.returncode)
        ledger = sqlite3.connect(self.dir / "holdfast.db")
        ledger.execute("PRAGMA journal_mode = WAL")
        ledger.execute("UPDATE outbox SET published_at = NULL")
        ledger.commit()
        copied = evidence.read_sqlite(str(self.dir / "holdfast.db"))
        ledger.close()
        self.assertEqual({None}, {row["published_at"] for row in copied["outbox"]})


def base64_of(body: bytes) -> dict[str, str]:
    return {"body_base64": base64.b64encode(body).decode()}


if __name__ == "__main__":
    unittest.main()
