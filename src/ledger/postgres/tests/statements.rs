//! How many statements a group takes, and that none of them looks at everything.

use super::*;
use crate::capture::decide::Due;

/// Statements that a group comes to, by what the server counts, each with its time in milliseconds.
fn statements(address: &Address, group: impl FnOnce()) -> Vec<String> {
    sql(address, "SELECT pg_stat_statements_reset()::text").expect("reset");
    group();
    let counted = "SELECT calls || ' x ' || left(regexp_replace(query, '\\s+', ' ', 'g'), 60) || ': '
         || round(total_exec_time::numeric, 2)::text
         FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
         WHERE d.datname = current_database() AND toplevel AND query !~ '^\\s*(SET|UPDATE sequence)'
         AND query !~ 'pg_stat_statements|server_version_num|pg_is_in_recovery|UPDATE workers SET lease_until' ORDER BY query";
    sql(address, counted).expect("counted")
}

#[test]
fn a_group_takes_as_many_statements_whether_it_is_large_or_small() {
    let (address, clock) = (database(), ManualClock::new());
    sql(&address, "CREATE EXTENSION pg_stat_statements").expect("it is installed");
    let usual = Options { lease: Duration::from_hours(1), ..Options::named("usual".to_owned()) };
    let opened = PostgresLedger::open(&address, usual, environment(policy(), &clock));
    let ledger = runtime().block_on(opened).expect("the server is there");
    let mut counted = Vec::new();
    for size in [1, 64] {
        let accepting = (0..size).map(|n| accept(&format!("{size}-{n}"), "1.00")).collect();
        let mut executed = None;
        let accept = statements(&address, || executed = Some(execute(&ledger, accepting)));
        let replies = executed.expect("executed").replies.into_iter();
        let settling: Vec<Command> = replies
            .map(|reply| answered(&reply.expect("decided").ticket.expect("sent"), captured(Some(gel(100)))))
            .collect();
        let mut executed = None;
        let settle = statements(&address, || executed = Some(execute(&ledger, settling)));
        let rows = executed.expect("executed").outbox.iter().map(|event| event.row).collect();
        let publish = statements(&address, || drop(execute(&ledger, vec![Command::Published(rows)])));
        counted.push([accept, settle, publish]);
    }
    for (small, large) in counted[0].iter().zip(&counted[1]) {
        assert_eq!(small.len(), large.len(), "{small:#?} {large:#?}");
        assert!(large.iter().all(|statement| statement.starts_with("1 x ")), "{large:#?}");
    }
    let counts = counted[1].each_ref().map(Vec::len);
    assert!(counts[0] <= 13 && counts[1] <= 18 && counts[2] <= 5, "{:#?}", counted[1]);
}

/// Whatever is asked in a group or by a loop comes from an index, also by a plan that was made before
/// anything was known of the values.
#[test]
fn nothing_that_is_asked_looks_at_a_whole_table() {
    let (address, clock) = (database(), ManualClock::new());
    let ledger = open(&address, &clock);
    let some = (0..50).map(|n| accept(&format!("o{n}"), "1.00")).collect();
    execute(&ledger, some);
    tell(&ledger, Command::Due(Due::Shipment(crate::capture::records::ShipmentKey::new(1))));
    runtime().block_on(async {
        let session = connect(&address, Purpose::Groups).await.expect("connected");
        session.batch("SET plan_cache_mode = force_generic_plan").await.expect("set");
        let written = write::tests::all();
        for (number, statement) in read::tests::ALL.iter().chain(load::tests::ALL).chain(&written).enumerate() {
            session.batch(&format!("PREPARE s{number} AS {statement}")).await.expect(statement);
            let parameters = (1..99).take_while(|n| statement.contains(&format!("${n}"))).count();
            let values = vec!["NULL"; parameters].join(", ");
            let values = if values.is_empty() { String::new() } else { format!("({values})") };
            let explain = format!("EXPLAIN EXECUTE s{number}{values}");
            let steps = session.simple(&explain).await;
            for step in &steps {
                let is_small =
                    ["workers", "restores"].iter().any(|table| step.contains(&format!("Seq Scan on {table}")));
                assert!(!step.contains("Seq Scan") || is_small, "{statement}: {steps:#?}");
            }
        }
    });
}
