"""The rules, by their names in the protocol. Each takes the evidence and gives every violation in words.

Those of `AT_REST` hold once nothing is under way any more; all others at every moment.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from datetime import datetime, timezone
from typing import Callable, Iterator

from evidence import Evidence, Ledger, Received, Row, is_single

Rule = Callable[[Evidence], Iterator[str]]

OPEN = ("planned", "sending", "in_doubt")


def is_captured(capture: Row) -> bool:
    return capture["state"] == "captured" or capture["corrected_at"] is not None


def ours(booked: Row) -> list[Row]:
    """What was captured, but for what the provider did by itself."""
    return [theirs for theirs in booked["captures"] if not theirs["automatic"]]


def captures_of(ledger: Ledger) -> dict[tuple[str, str], list[Row]]:
    found = defaultdict(list)
    for capture in ledger["captures"]:
        found[capture["name"]].append(capture)
    return found


def first_of_each(events: list[Received]) -> list[Received]:
    return list({event.id: event for event in reversed(events)}.values())


def instant(text: str) -> datetime:
    """Microseconds are as fine as a ledger is."""
    text = re.sub(r"(\.\d{6})\d+", r"\1", text).replace("Z", "+00:00")
    # Before 3.11, Python reads three or six decimals only.
    text = re.sub(r"\.(\d{1,6})", lambda digits: "." + digits[1].ljust(6, "0"), text)
    return datetime.fromisoformat(text)


def at_of(micros: int) -> datetime:
    return datetime.fromtimestamp(micros // 1_000_000, timezone.utc).replace(microsecond=micros % 1_000_000)


def s1_captured_once(case: Evidence) -> Iterator[str]:
    keys = Counter()
    for name, booked in case.books.items():
        if is_single(booked) and len(booked["captures"]) > 1:
            yield f"{name} was captured {len(booked['captures'])} times"
        keys.update(theirs["merchant_reference_id"] for theirs in booked["captures"])
    del keys[None]
    for key, times in keys.items():
        if times > 1:
            yield f"{times} captures under the key {key}"
    ids = Counter(capture["capture_id"] for capture in case.ledger["captures"] if is_captured(capture))
    for key, times in ids.items():
        if times > 1:
            yield f"the ledger has {key} as captured {times} times"


def s2_intent_first(case: Evidence) -> Iterator[str]:
    by_id = {capture["capture_id"]: capture for capture in case.ledger["captures"]}
    by_name = captures_of(case.ledger)
    for name, booked in case.books.items():
        for theirs in ours(booked):
            key, amount = theirs["merchant_reference_id"], theirs["amount_minor"]
            known = [by_id[key]] if key in by_id else [] if key else by_name[name]
            fits = [
                intent
                for intent in known
                if (intent["name"], intent["amount"], intent["currency"]) == (name, amount, theirs["currency"])
            ]
            if not fits:
                yield f"{name}: {amount} {theirs['currency']} under {key} has no such intent"
            elif all(at_of(intent["planned_at"]) > instant(theirs["at"]) for intent in fits):
                yield f"{name}: {amount} {theirs['currency']} was taken before it was intended"


def s3_within_the_authorization(case: Evidence) -> Iterator[str]:
    for name, booked in case.books.items():
        taken = sum(theirs["amount_minor"] for theirs in booked["captures"])
        if taken > booked["amount_minor"]:
            yield f"{name}: {taken} of {booked['amount_minor']} taken"
    late = {capture["authorization_row"] for capture in case.ledger["captures"] if capture["corrected_at"] is not None}
    for row in case.ledger["authorizations"]:
        committed = row["captured"] + row["reserved"]
        if committed > row["authorized"] and row["authorization_row"] not in late:
            yield f"{row['account']} {row['reference']}: {committed} of {row['authorized']} captured or reserved"


def s4_attempts_written_down(case: Evidence) -> Iterator[str]:
    """Each request belongs to an attempt. Where there are tokens, one that was rejected is sent once more."""
    attempts = Counter()
    for capture in case.ledger["captures"]:
        attempts[capture["name"]] += capture["attempts"]
    for name, booked in case.books.items():
        arrived, of_each = booked["capture_requests"], 1 if is_single(booked) else 2
        if arrived > attempts[name] * of_each:
            yield f"{name}: {arrived} requests arrived, {attempts[name]} attempts are in the ledger"


FROZEN = (
    "capture_id authorization_row order_row shipment_row fee generation amount name currency".split()
)


def s5_intents_never_change(case: Evidence) -> Iterator[str]:
    by_row = {capture["capture_row"]: capture for capture in case.ledger["captures"]}
    by_id = {capture["capture_id"]: capture for capture in case.ledger["captures"]}
    if len(by_id) != len(by_row):
        yield f"{len(by_row)} intents have {len(by_id)} ids"
    for moved in case.ledger["movements"]:
        capture = by_row.get(moved["capture_row"])
        if capture is None:
            yield f"a {moved['kind']} of {moved['amount']} belongs to no capture"
        elif any(moved[column] != capture[column] for column in ("amount", "authorization_row")):
            yield f"{capture['capture_id']} is of {capture['amount']}, its {moved['kind']} of {moved['amount']}"
    for event in first_of_each(case.events):
        capture = by_id.get(event.data.get("capture_id")) if event.is_outcome else None
        if capture is not None:
            told = (event.name, event.minor("capture_amount"), event.data["currency"])
            if told != (capture["name"], capture["amount"], capture["currency"]):
                yield f"{event.kind} {event.id} tells {told} of the intent {capture['capture_id']}"
    for earlier in case.before:
        for was in earlier["captures"]:
            now = by_row.get(was["capture_row"])
            if now is None or any(now[column] != was[column] for column in FROZEN):
                yield f"the intent {was['capture_id']} was {[was[column] for column in FROZEN]}"


def s6_one_outcome(case: Evidence) -> Iterator[str]:
    bodies, outcomes = {}, defaultdict(set)
    for event in case.events:
        if bodies.setdefault(event.id, event.body) != event.body:
            yield f"{event.id} came with two bodies"
        if (event.json.get("id"), event.json.get("type")) != (event.id, event.kind):
            yield f"{event.id} says that it is {event.json.get('id')}"
        if event.is_outcome:
            outcomes[event.about].add(event.id)
    for about, ids in outcomes.items():
        if len(ids) > 1:
            yield f"{len(ids)} outcomes of {about}: {sorted(ids)}"
    written = Counter(
        (row["outcome_of"], row["generation"]) for row in case.ledger["events"] if row["outcome_of"] is not None
    )
    for about, times in written.items():
        if times > 1:
            yield f"the ledger has {times} outcomes of {about}"
    for shipment in case.ledger["shipments"]:
        is_over = shipment["state"] in ("settled", "refused")
        has_outcome = (shipment["shipment_row"], shipment["generation"]) in written
        if is_over != has_outcome:
            yield f"{shipment['order_id']} {shipment['shipment_id']} is {shipment['state']}, outcome {has_outcome}"
    yield from outcomes_that_changed(case)


def outcomes_that_changed(case: Evidence) -> Iterator[str]:
    captures = {capture["capture_row"]: capture for capture in case.ledger["captures"]}
    shipments = {shipment["shipment_row"]: shipment for shipment in case.ledger["shipments"]}
    for earlier in case.before:
        for was in earlier["captures"]:
            now = captures.get(was["capture_row"], {}).get("state")
            if was["state"] not in OPEN and now != was["state"]:
                yield f"{was['capture_id']} was {was['state']} and is {now}"
        for was in earlier["shipments"]:
            now = shipments.get(was["shipment_row"], {"state": None, "generation": was["generation"]})
            is_same = now["generation"] == was["generation"]
            if was["state"] in ("settled", "refused") and is_same and now["state"] != was["state"]:
                yield f"{was['order_id']} {was['shipment_id']} was {was['state']} and is {now['state']}"


def s7_what_is_told_is_true(case: Evidence) -> Iterator[str]:
    by_name = captures_of(case.ledger)
    for event in first_of_each(case.events):
        booked = case.books.get(event.name)
        lie = None
        if event.kind == "capture.succeeded" and event.data["kind"] == "zero":
            lie = None if event.minor("amount") == 0 else "free, and costs something"
        elif event.kind in ("capture.succeeded", "capture.corrected"):
            lie = None if booked and is_there(event, booked) else "no such capture at the provider"
        elif event.kind == "capture.failed":
            lie = lie_of_failure(event, booked, by_name[event.name])
        elif event.kind == "capture.unresolved":
            lie = None if event.data["money_may_have_moved"] is True else "nobody knows, and it says so"
        if lie:
            yield f"{event.kind} {event.about if event.is_outcome else event.id}: {lie}"


def is_there(event: Received, booked: Row) -> bool:
    whole = (event.minor("capture_amount"), event.data["currency"])
    return any(
        (theirs["amount_minor"], theirs["currency"]) == whole
        and theirs["merchant_reference_id"] in (None if is_single(booked) else event.data["capture_id"],)
        for theirs in booked["captures"]
    )


def lie_of_failure(event: Received, booked: Row | None, known: list[Row]) -> str | None:
    """What is wrong with a failure that was told, in view of the provider's books."""
    if booked is None:
        return None
    taken = ours(booked)
    if event.data["money_may_have_moved"]:
        return None if booked["captures"] else "money may have moved, and none has"
    if event.data["reason"] == "authorization_expired" and instant(booked["expires_at"]) > datetime.now(timezone.utc):
        return f"it expires at {booked['expires_at']}"
    if not is_single(booked):
        keys = [theirs["merchant_reference_id"] for theirs in taken]
        return "the provider took the money" if event.data["capture_id"] in keys else None
    # Its one capture may have gone to shipments after this one.
    others = [capture for capture in known if is_captured(capture)]
    is_others = others and all(capture["capture_id"] != event.data["capture_id"] for capture in others)
    return "the provider took the money" if taken and not is_others else None


def s8_acknowledged_is_kept(case: Evidence) -> Iterator[str]:
    shipments = {(row["order_id"], row["shipment_id"]) for row in case.ledger["shipments"]}
    orders = {row["order_id"] for row in case.ledger["orders"]}
    dead = {bytes(row["body"]) for row in case.ledger["dead_letters"] if row["body"] is not None}
    for body in case.messages:
        try:
            message = json.loads(body)
            data = message.get("data", message)
            kind, order, shipment = message.get("type"), data.get("order_id"), data.get("shipment_id")
        except (ValueError, AttributeError):
            kind = order = shipment = None
        is_companion = kind in ("order.authorized", "order.cancelled") and order in orders
        if (order, shipment) not in shipments and not is_companion and body not in dead:
            yield f"lost: {body[:200]!r}"


def s9_published_is_committed(case: Evidence) -> Iterator[str]:
    written = {row["event_id"]: row for row in case.ledger["events"]}
    for event in first_of_each(case.events):
        row = written.get(event.id)
        if row is None:
            yield f"{event.kind} {event.id} is not in the ledger"
        elif row["body"] and bytes(row["body"]) != event.body:
            yield f"{event.kind} {event.id} is not as it was written"
    for earlier in case.before:
        for was in earlier["events"]:
            now = written.get(was["event_id"])
            if now is None or (now["body"] and now["body"] != was["body"]):
                yield f"the event {was['event_id']} is gone or was changed"
