#!/usr/bin/env python3
"""Holds the provider's books, the ledger and what a consumer received against each other.

It has nothing in common with Holdfast but what it reads: its own language, its own reading of the rows, its own
rules (by their names in docs/proof.md). Python 3.9 or newer and nothing else; `psql` where the ledger is in
PostgreSQL.

    curl -s http://127.0.0.1:8080/sandbox/books > books.json
    python3 tests/auditor/audit.py --ledger holdfast.db --books books.json flitt-ge=1549901 flex=client-1 \\
        --events events.jsonl

It exits with 0 where everything holds, 1 where something does not, 2 where there is no verdict. The worker must
not be running: a file of SQLite is copied, and only the copy is opened.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Iterator

import evidence
import rules
import sums
from evidence import Evidence
from rules import Rule

# At every moment.
ALWAYS: dict[str, Rule] = {
    "S1": rules.s1_captured_once,
    "S2": rules.s2_intent_first,
    "S3": rules.s3_within_the_authorization,
    "S4": rules.s4_attempts_written_down,
    "S5": rules.s5_intents_never_change,
    "S6": rules.s6_one_outcome,
    "S7": rules.s7_what_is_told_is_true,
    "S8": rules.s8_acknowledged_is_kept,
    "S9": rules.s9_published_is_committed,
    "S10": sums.s10_movements_add_up,
    "S12": sums.s12_amounts_and_currencies,
    "S14": sums.s14_no_secrets,
}

# Once nothing is under way any more.
AT_REST: dict[str, Rule] = {
    "S13": sums.s13_totals,
    "A1": sums.a1_the_same_captures,
    "L1": sums.l1_nothing_is_open,
    "L2": sums.l2_everything_is_published,
}

# Shown of each rule.
SHOWN = 20


def violations(case: Evidence, at_rest: bool) -> Iterator[tuple[str, str]]:
    """Every violation, with its rule's name."""
    for name, rule in {**ALWAYS, **(AT_REST if at_rest else {})}.items():
        for words in rule(case):
            yield name, words


def counts(case: Evidence) -> Iterator[str]:
    captures = [capture for capture in case.ledger["captures"] if rules.is_captured(capture)]
    different = {event.id for event in case.events}
    yield f"{len(case.books)} authorizations in the books, {len(case.ledger['authorizations'])} in the ledger"
    yield f"{len(case.ledger['captures'])} captures in the ledger, {len(captures)} of them captured"
    yield f"{len(case.messages)} messages acknowledged, {len(case.ledger['shipments'])} shipments in the ledger"
    yield f"{len(case.events)} events received, {len(different)} different, {len(case.ledger['events'])} in the ledger"
    both: Counter[tuple[str, str, str]] = Counter()
    # What the provider did by itself is ours where the ledger says so.
    taken = {capture["name"] for capture in captures}
    for name, booked in case.books.items():
        for theirs in booked["captures"]:
            side = "automatic" if theirs["automatic"] and name not in taken else "books"
            both[name[0], theirs["currency"], side] += theirs["amount_minor"]
    for capture in captures:
        both[capture["name"][0], capture["currency"], "ledger"] += capture["amount"]
    for account, currency in sorted({(account, currency) for account, currency, _ in both}):
        books, ledger, automatic = (both[account, currency, side] for side in ("books", "ledger", "automatic"))
        by_itself = f", and {automatic} by the provider itself" if automatic else ""
        yield f"{account} {currency}: {books} minor units in the books, {ledger} in the ledger{by_itself}"


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ledger", required=True, metavar="PLACE", help="a file of SQLite, or postgres://…")
    parser.add_argument(
        "--books",
        required=True,
        nargs="+",
        action="append",
        metavar=("FILE", "NAME=MERCHANT"),
        help="what GET /sandbox/books answered, and what each account in it is called in the settings; repeatable",
    )
    parser.add_argument("--events", required=True, metavar="FILE", help="JSON lines: message_id, type, body_base64")
    parser.add_argument("--messages", metavar="FILE", help="JSON lines with body_base64: what was acknowledged")
    parser.add_argument("--before", metavar="PLACE", action="append", default=[], help="the same ledger, earlier")
    parser.add_argument("--secrets", metavar="FILE", help="lines that must be nowhere in ledger, events and logs")
    parser.add_argument("--log", metavar="FILE", action="append", default=[], help="a worker's log")
    parser.add_argument("--under-way", action="store_true", help="leave out what holds only at rest")
    parser.add_argument("--psql", metavar="PROGRAM", default="psql", help="PostgreSQL's own client")
    return parser


def read(given: argparse.Namespace) -> Evidence:
    books = {}
    for path, *accounts in given.books:
        books.update(evidence.read_books(path, accounts))
    return Evidence(
        ledger=evidence.read_ledger(given.ledger, given.psql),
        books=books,
        events=evidence.read_events(given.events),
        messages=evidence.read_messages(given.messages) if given.messages else [],
        before=[evidence.read_ledger(place, given.psql) for place in given.before],
        secrets=[line for line in Path(given.secrets).read_text().splitlines() if line] if given.secrets else [],
        logs={path: Path(path).read_text(encoding="utf-8", errors="replace") for path in given.log},
    )


def main() -> int:
    given = arguments().parse_args()
    try:
        case = read(given)
        found = list(violations(case, not given.under_way))
    except (evidence.Unreadable, OSError, ValueError, KeyError) as error:
        print(f"no verdict: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    for line in counts(case):
        print(line)
    shown: Counter[str] = Counter()
    for name, words in found:
        shown[name] += 1
        if shown[name] <= SHOWN:
            print(f"{name}: {words}")
    for name, times in shown.items():
        print(f"{name}: {times} violations")
    print("everything holds" if not found else f"{len(found)} violations")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
