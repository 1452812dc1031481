//! The database itself refuses what must never be.

use super::*;

#[test]
fn the_database_itself_refuses_what_must_never_be() {
    let (address, clock) = (database(), ManualClock::new());
    let ledger = open(&address, &clock);
    let done = tell(&ledger, accept("done", "10.00"));
    tell(&ledger, accept("open", "20.00"));
    tell(&ledger, answered(&done.ticket.expect("sent"), captured(Some(gel(1_000)))));
    for (rule, statement, word) in [
        ("S3", "UPDATE authorizations SET captured = authorized + 1", "check constraint"),
        ("S3", "UPDATE authorizations SET reserved = authorized + 1", "check constraint"),
        ("S3", "UPDATE authorizations SET reserved = -1", "check constraint"),
        ("S5", "UPDATE captures SET amount = amount - 1", "an intent never changes"),
        ("S5", "UPDATE captures SET capture_id = '\\x00'", "an intent never changes"),
        ("S5", "UPDATE captures SET authorization_row = 0", "an intent never changes"),
        ("S5", "UPDATE captures SET order_row = 0", "an intent never changes"),
        ("S5", "UPDATE captures SET generation = 1", "an intent never changes"),
        ("S5", "UPDATE captures SET shipment_row = NULL, fee = 1", "an intent never changes"),
        (
            "S12",
            "INSERT INTO captures SELECT 99, '\\x01', authorization_row, order_row, shipment_row, NULL, NULL, kind,
             generation, 0, 'planned', 1, 0, NULL, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
             NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, account, 0, NULL, NULL
             FROM captures LIMIT 1",
            "check constraint",
        ),
        (
            "S1",
            "INSERT INTO captures SELECT 99, capture_id, authorization_row, order_row, shipment_row, NULL, NULL, kind,
             generation, 1, state, is_open, 0, NULL, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
             NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, account, 0, NULL, NULL
             FROM captures WHERE is_open = 1",
            "unique constraint",
        ),
        ("S6", "UPDATE captures SET state = 'failed' WHERE state = 'captured'", "the outcome of a capture stands"),
        ("S6", "UPDATE captures SET state = 'planned', is_open = 1 WHERE state = 'captured'", "stands"),
        ("C1", "UPDATE authorizations SET held = planned + 1", "check constraint"),
        ("S6", "UPDATE captures SET is_open = 0 WHERE state = 'sending'", "check constraint"),
        ("S6", "UPDATE captures SET state = 'lost' WHERE state = 'sending'", "check constraint"),
        ("S6", "UPDATE shipments SET state = 'covered' WHERE state = 'settled'", "the outcome of a shipment stands"),
        (
            "S6",
            "INSERT INTO events SELECT 99, event_id, kind, body, NULL, outcome_of, generation FROM events",
            "unique constraint",
        ),
        ("S10", "UPDATE movements SET amount = 1", "movements are append-only"),
        ("S10", "DELETE FROM movements", "movements are append-only"),
        ("S10", "TRUNCATE movements", "movements are append-only"),
        ("S10", "INSERT INTO movements SELECT * FROM movements LIMIT 1", "unique constraint"),
        ("S10", "INSERT INTO movements VALUES (99, 'reserve', 1, 0, 0)", "check constraint"),
        ("", "DELETE FROM captures", "captures are never deleted"),
        ("", "TRUNCATE captures", "captures are never deleted"),
        (
            "",
            "INSERT INTO orders SELECT 99, order_id, mode, progress, is_cancelled, is_closed, closes_at, stored,
             captured, open, fees, refund_revision, newest_authorization, final_at, awaiting, kept, sequence FROM orders",
            "unique constraint",
        ),
        ("", "UPDATE shipments SET order_row = 4711 WHERE state = 'settled'", "foreign key"),
    ] {
        let refused = sql(&address, statement).expect_err(statement);
        assert!(refused.contains(word), "{rule} {statement}: {refused}");
    }
    let allowed = "UPDATE shipments SET state = 'awaiting', generation = generation + 1 WHERE state = 'settled'";
    sql(&address, allowed).expect("a replay starts a new generation");
}

/// What the tables refuse fails alone, and is a fault of the command and not of the ledger.
#[test]
fn a_command_that_a_constraint_refuses_fails_alone() {
    let (address, clock) = (database(), ManualClock::new());
    let ledger = open(&address, &clock);
    let begun = tell(&ledger, accept("a", "10.00"));
    // Somebody has put an outcome of the shipment there.
    let forged =
        "INSERT INTO events SELECT 1000000, '\\x00'::bytea, 'x', ''::bytea, NULL, shipment_row, 0 FROM shipments";
    sql(&address, forged).expect("forged");
    let settled = answered(&begun.ticket.expect("sent"), captured(Some(gel(1_000))));
    let executed = execute(&ledger, vec![accept("b", "1.00"), settled, accept("c", "1.00")]);
    let decided: Vec<bool> = executed.replies.iter().map(Result::is_ok).collect();
    assert_eq!(decided, [true, false, true], "{:?}", executed.replies);
    assert_eq!(tell(&ledger, accept("c", "1.00")).note, Note::Repeated);
}

#[test]
fn a_row_that_nobody_wrote_is_an_error_and_not_a_guess() {
    let (address, clock) = (database(), ManualClock::new());
    let ledger = open(&address, &clock);
    tell(&ledger, accept("a", "10.00"));
    sql(&address, "UPDATE orders SET progress = 'nonsense'").expect("changed by hand");
    let again = runtime().block_on(ledger.execute(vec![accept("a", "10.00")]));
    assert!(matches!(again, Err(LedgerError::Failed(_))), "{again:?}");
    // What is durable is for a fresh start to find out.
    let after = runtime().block_on(ledger.execute(vec![accept("b", "10.00")]));
    assert!(matches!(after, Err(LedgerError::Failed(_))), "{after:?}");
    assert!(runtime().block_on(ledger.vitals()).is_err());
}
