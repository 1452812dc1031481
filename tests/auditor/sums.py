"""The rules about sums and about what must not be there; and those that hold only at rest."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from typing import Any, Iterator

from evidence import Evidence, Row, is_single
from rules import OPEN, captures_of, first_of_each, is_captured, ours

# What a capture has moved, by what became of it.
MOVED = {
    **dict.fromkeys(OPEN, [{"reserve"}]),
    "captured": [{"reserve", "capture"}],
    "failed": [{"reserve", "release"}],
    "unresolved": [{"reserve"}],
}
CORRECTED = [{"reserve", "release", "correct"}, {"reserve", "capture"}, {"reserve", "correct"}]

CARD = re.compile(rb"(?<![0-9A-Za-z.-])(?:[0-9]{13,19}|[0-9]{4}(?:[ -][0-9]{4}){2}[ -][0-9]{1,7})(?![0-9A-Za-z.-])")
EMAIL = re.compile(rb"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+\.[A-Za-z]{2,}")

# Messages are kept as they came: what is in them is their sender's. And leads are instants in microseconds, of
# which one in ten would do for a card's number.
LEFT_OUT = {("dead_letters", "body"), ("dead_letters", "origin"), ("authorizations", "leads")}


def s10_movements_add_up(case: Evidence) -> Iterator[str]:
    moved, kinds = Counter(), defaultdict(set)
    for row in case.ledger["movements"]:
        kind, amount, of = row["kind"], row["amount"], row["authorization_row"]
        if kind in kinds[row["capture_row"]]:
            yield f"capture {row['capture_row']} has moved twice: {kind}"
        kinds[row["capture_row"]].add(kind)
        moved[of, "captured"] += amount if kind in ("capture", "correct") else 0
        moved[of, "reserved"] += {"reserve": amount, "correct": 0}.get(kind, -amount)
    for row in case.ledger["authorizations"]:
        for balance in ("captured", "reserved"):
            sum_of = moved[row["authorization_row"], balance]
            if row[balance] != sum_of:
                yield f"{row['account']} {row['reference']}: {balance} {row[balance]}, movements make {sum_of}"
    of_order = Counter()
    for capture in case.ledger["captures"]:
        of_order[capture["order_row"]] += capture["amount"] if is_captured(capture) else 0
        may_be = CORRECTED if capture["corrected_at"] is not None else MOVED[capture["state"]]
        if kinds[capture["capture_row"]] not in may_be:
            yield f"{capture['capture_id']} is {capture['state']} and has moved {sorted(kinds[capture['capture_row']])}"
    for row in case.ledger["orders"]:
        if row["captured"] != of_order[row["order_row"]]:
            yield f"order {row['order_id']}: {row['captured']} captured, captures make {of_order[row['order_row']]}"
    for earlier in case.before:
        rows = {tuple(sorted(row.items())) for row in case.ledger["movements"]}
        gone = [row for row in earlier["movements"] if tuple(sorted(row.items())) not in rows]
        if gone:
            yield f"{len(gone)} movements are gone or were changed, such as {gone[0]}"


def s12_amounts_and_currencies(case: Evidence) -> Iterator[str]:
    for capture in case.ledger["captures"]:
        if capture["amount"] <= 0 or not re.fullmatch("[A-Z]{3}", capture["currency"]):
            yield f"{capture['capture_id']} is of {capture['amount']} {capture['currency']!r}"
    for name, booked in case.books.items():
        for theirs in ours(booked):
            if theirs["amount_minor"] <= 0 or theirs["currency"] != booked["currency"]:
                yield f"{name}: {theirs['amount_minor']} {theirs['currency']!r} was taken"


def s13_whole_orders(case: Evidence) -> Iterator[str]:
    captured, given, failed = Counter(), Counter(), set()
    for capture in case.ledger["captures"]:
        captured[capture["order_row"]] += capture["amount"] if is_captured(capture) else 0
        if capture["fee"] is not None:
            given[capture["order_row"]] += capture["amount"]
            failed |= set() if is_captured(capture) else {capture["order_row"]}
    for shipment in case.ledger["shipments"]:
        given[shipment["order_row"]] += shipment["amount"] or 0
        if shipment["reason"] is not None or shipment["state"] != "settled":
            failed.add(shipment["order_row"])
    told = told_of_orders(case)
    plans = {row["order_row"]: json.loads(row["plan"]) for row in case.ledger["plans"]}
    for order in case.ledger["orders"]:
        row, plan = order["order_row"], plans.get(order["order_row"])
        if plan is None or row in failed or not is_whole(order, plan):
            continue
        sums = {captured[row], given[row], told[order["order_id"]]}
        if sums != {plan["total"]}:
            yield f"order {order['order_id']} owes {plan['total']}: captured, given or told {sorted(sums)}"


def is_whole(order: Row, plan: Row) -> bool:
    """Has every line of it shipped, and was nothing cancelled or revised?"""
    progress = json.loads(order["progress"])
    units = [ordered for _, ordered, _ in plan["lines"]]
    shipped = [tuple(line) for line in progress] == [(ordered, 0) for ordered in units]
    return shipped and order["mode"] == "planned" and plan["revision"] == 1 and not order["is_cancelled"]


def told_of_orders(case: Evidence) -> Counter:
    told = Counter()
    for event in first_of_each(case.events):
        if event.kind == "capture.succeeded":
            told[event.data["order_id"]] += event.minor("amount")
    return told


def shares(case: Evidence) -> Iterator[str]:
    """The shares of a capture come to the whole of it."""
    whole, told = {}, Counter()
    for event in first_of_each(case.events):
        if event.kind == "capture.succeeded" and event.data["kind"] != "zero":
            whole[event.data["capture_id"]] = event.minor("capture_amount")
            told[event.data["capture_id"]] += event.minor("amount")
    for key, amount in whole.items():
        if told[key] != amount:
            yield f"the shares of {key} come to {told[key]} of {amount}"


def s13_totals(case: Evidence) -> Iterator[str]:
    yield from shares(case)
    yield from s13_whole_orders(case)


def s14_no_secrets(case: Evidence) -> Iterator[str]:
    for where, text in texts(case):
        for number in CARD.findall(text):
            digits = re.sub(rb"[ -]", b"", number)
            if 13 <= len(digits) <= 19 and luhn(digits):
                yield f"{where} has what looks like a card's number"
        if EMAIL.search(text):
            yield f"{where} has an e-mail address"
        for secret in case.secrets:
            if secret.encode() in text:
                yield f"{where} has a secret"


def texts(case: Evidence) -> Iterator[tuple[str, bytes]]:
    for table, rows in case.ledger.tables.items():
        for row in rows:
            for column, cell in row.items():
                if (table, column) not in LEFT_OUT and isinstance(cell, (str, bytes)):
                    yield f"{table}.{column}", cell.encode() if isinstance(cell, str) else cell
    for event in case.events:
        yield f"event {event.id}", event.body
    for name, text in case.logs.items():
        for number, line in enumerate(text.splitlines(), 1):
            yield f"{name}:{number}", line.encode()


def luhn(digits: bytes) -> bool:
    values = [int(chr(digit)) for digit in reversed(digits)]
    doubled = [sum(divmod(2 * value, 10)) for value in values[1::2]]
    return (sum(values[::2]) + sum(doubled)) % 10 == 0


Named = tuple[Any, ...]


def a1_the_same_captures(case: Evidence) -> Iterator[str]:
    """Every difference is of one kind: missing here or there, another amount, a double, somebody else's."""
    theirs: Counter[Named] = Counter()
    by_name = captures_of(case.ledger)
    for name, booked in case.books.items():
        known = [capture for capture in by_name[name] if is_captured(capture)]
        for capture in booked["captures"]:
            # Its own capture of a hold that has ended is ours only where the ledger says so.
            if capture["automatic"] and not known:
                continue
            key = None if is_single(booked) else capture["merchant_reference_id"]
            theirs[name, key, capture["amount_minor"], capture["currency"]] += 1
            if capture["status"] != "done":
                yield f"{name}: still on hold at the provider"
    ours_: Counter[Named] = Counter()
    for capture in case.ledger["captures"]:
        if is_captured(capture):
            booked = case.books.get(capture["name"])
            key = None if booked and is_single(booked) else capture["capture_id"]
            ours_[capture["name"], key, capture["amount"], capture["currency"]] += 1
    yield from typed(theirs, ours_)


def typed(theirs: Counter[Named], ours_: Counter[Named]) -> Iterator[str]:
    amounts = defaultdict(set)
    for name, key, amount, _ in ours_:
        amounts[name, key].add(amount)
    for capture, times in theirs.items():
        name, key, amount, currency = capture
        if times > 1:
            yield f"duplicate: {times} captures of {amount} {currency} at {name} under {key}"
        if capture not in ours_:
            other = amounts.get((name, key))
            kind = f"amount differs ({sorted(other)} in the ledger)" if other else "missing in ledger, or foreign"
            yield f"{kind}: {amount} {currency} at {name} under {key}"
    booked = {(name, key) for name, key, _, _ in theirs}
    for capture in ours_:
        name, key, amount, currency = capture
        if capture not in theirs and (name, key) not in booked:
            yield f"missing at provider: {amount} {currency} at {name} under {key}"


def l1_nothing_is_open(case: Evidence) -> Iterator[str]:
    for capture in case.ledger["captures"]:
        if capture["state"] in OPEN:
            yield f"the capture {capture['capture_id']} is {capture['state']}"
    for shipment in case.ledger["shipments"]:
        if shipment["state"] not in ("settled", "refused"):
            yield f"{shipment['order_id']} {shipment['shipment_id']} is {shipment['state']}"


def l2_everything_is_published(case: Evidence) -> Iterator[str]:
    received = {event.id for event in case.events}
    rows = {row["event_row"]: row["event_id"] for row in case.ledger["events"]}
    for row in case.ledger["outbox"]:
        if row["published_at"] is None:
            yield f"the event {rows[row['event_row']]} is not published"
    for event in rows.values():
        if event not in received:
            yield f"the event {event} was never received"
