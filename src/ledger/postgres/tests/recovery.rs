//! Connections that are cut and a server that crashes, in the middle of groups.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;
use std::thread::ScopedJoinHandle;

use secrecy::ExposeSecret;

use super::super::local_server::LocalServer;
use super::*;

/// Takes orders until `is_over`, each of which nobody has seen before; how many.
fn take_orders(ledger: &PostgresLedger, is_over: impl Fn(u32) -> bool) -> u32 {
    let mut orders = 0;
    while !is_over(orders) {
        let group = (0..3).map(|n| accept(&format!("o{orders}-{n}"), "1.00")).collect();
        for reply in execute(ledger, group).replies {
            let reply = reply.expect("decided");
            // Had it been done twice, it would be repeated; had it been half done, nothing would be sent.
            assert!(matches!(reply.note, Note::Planned(_)) && reply.ticket.is_some(), "{orders}: {reply:?}");
        }
        orders += 1;
    }
    orders
}

fn wait_for_another_group<T>(address: &Address, working: &ScopedJoinHandle<'_, T>) {
    let done = || count(address, "SELECT count(*) FROM shipments");
    let then = done();
    while done() == then && !working.is_finished() {}
}

fn is_all_there(address: &Address, groups: u32) {
    assert_eq!(count(address, "SELECT count(*) FROM captures WHERE state = 'sending'"), i64::from(groups) * 3);
    assert_eq!(count(address, "SELECT count(*) FROM shipments"), i64::from(groups) * 3);
}

#[test]
fn a_group_is_done_once_however_often_its_connection_is_ended() {
    let (address, clock) = (database(), ManualClock::new());
    let ledger = open(&address, &clock);
    let is_over = AtomicBool::new(false);
    let groups = std::thread::scope(|scope| {
        let working = scope.spawn(|| take_orders(&ledger, |_| is_over.load(Ordering::Relaxed)));
        let end = "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let mut ended = 0;
        while ended < 60 && !working.is_finished() {
            ended += sql(&address, end).expect("ended").len();
            // One that is ended before it has done anything waits for longer and longer.
            wait_for_another_group(&address, &working);
        }
        is_over.store(true, Ordering::Relaxed);
        working.join().expect("it works")
    });
    is_all_there(&address, groups);
    assert!(runtime().block_on(ledger.vitals()).expect("it reads").open_captures >= u64::from(groups));
}

#[test]
fn a_worker_survives_crashes_of_the_server_and_everything_it_was_told_is_there() {
    let server = LocalServer::start().expect("PostgreSQL is installed");
    let address = Address::parse(&server.create_database().expect("created").url).expect("an address");
    let clock = ManualClock::new();
    let ledger = open(&address, &clock);
    let is_over = AtomicBool::new(false);
    let groups = std::thread::scope(|scope| {
        let working = scope.spawn(|| take_orders(&ledger, |_| is_over.load(Ordering::Relaxed)));
        for _ in 0..3 {
            server.crash().expect("it stops");
            // A question waits for it too.
            let asking = scope.spawn(|| runtime().block_on(ledger.vitals()));
            server.start_again().expect("it starts");
            asking.join().expect("asked").expect("it reads");
            wait_for_another_group(&address, &working);
        }
        is_over.store(true, Ordering::Relaxed);
        working.join().expect("it works")
    });
    is_all_there(&address, groups);
}

/// What happens to the next COMMIT that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    No,
    /// It never arrives.
    Before,
    /// It arrives, and its answer does not.
    After,
}

/// A way to the server that is cut at the end of a transaction.
struct Proxy {
    port: u16,
    next: Arc<Mutex<Cut>>,
    cuts: Arc<AtomicU32>,
}

impl Proxy {
    fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let own = listener.local_addr().expect("bound").port();
        let (next, cuts) = (Arc::new(Mutex::new(Cut::No)), Arc::new(AtomicU32::new(0)));
        let shared = (Arc::clone(&next), Arc::clone(&cuts));
        // It ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let (next, cuts) = (Arc::clone(&shared.0), Arc::clone(&shared.1));
                std::thread::spawn(move || carry(&client, &server, &next, &cuts));
            }
        });
        Self { port: own, next, cuts }
    }

    fn cut(&self, how: Cut) {
        *self.next.lock().expect("nothing panics under it") = how;
    }
}

fn carry(client: &TcpStream, server: &TcpStream, next: &Mutex<Cut>, cuts: &AtomicU32) {
    let is_cut = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut from, mut to, mut buffer) = (server, client, [0; 8_192]);
            while let Ok(length @ 1..) = from.read(&mut buffer) {
                if is_cut.load(Ordering::SeqCst) || to.write_all(&buffer[..length]).is_err() {
                    break;
                }
            }
            let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
        });
        let (mut from, mut to, mut buffer) = (client, server, [0; 8_192]);
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let passing = &buffer[..length];
            if passing.windows(7).any(|bytes| bytes == b"COMMIT\0") {
                let how = std::mem::replace(&mut *next.lock().expect("nothing panics under it"), Cut::No);
                if how != Cut::No {
                    cuts.fetch_add(1, Ordering::SeqCst);
                    is_cut.store(true, Ordering::SeqCst);
                }
                if how == Cut::Before {
                    break;
                }
            }
            if to.write_all(passing).is_err() {
                break;
            }
        }
        // Where the answer is still to come, it is waited for: the transaction has ended then.
        let _ = server.shutdown(Shutdown::Write);
        if !is_cut.load(Ordering::SeqCst) {
            let _ = client.shutdown(Shutdown::Both);
        }
    });
}

#[test]
fn of_a_commit_whose_answer_is_lost_it_is_found_out_whether_it_is_durable() {
    let database = server().create_database().expect("created");
    let proxy = Proxy::to(server().port());
    let through = database.tcp_url.expose_secret().replace(&server().port().to_string(), &proxy.port.to_string());
    let address = Address::parse(&format!("{through}?sslmode=disable").into()).expect("an address");
    let direct = Address::parse(&database.url).expect("an address");
    let clock = ManualClock::new();
    let ledger = open(&address, &clock);
    for (number, how) in [Cut::No, Cut::Before, Cut::After, Cut::After, Cut::Before].into_iter().enumerate() {
        let order = format!("o{number}");
        let groups = count(&direct, "SELECT groups FROM workers");
        proxy.cut(how);
        let reply = tell(&ledger, accept(&order, "1.00"));
        // Decided once; after a second time it would be repeated, and nothing would be sent.
        assert!(matches!(reply.note, Note::Planned(_)) && reply.ticket.is_some(), "{how:?}: {reply:?}");
        assert_eq!(count(&direct, "SELECT groups FROM workers"), groups + 1, "{how:?}: in one transaction");
        let there = format!("SELECT count(*) FROM orders WHERE order_id = '{order}'");
        assert_eq!(count(&direct, &there), 1, "{how:?}: durable");
    }
    assert_eq!(proxy.cuts.load(Ordering::SeqCst), 4);
    // A group that is executed one by one, because one of its commands breaks an invariant.
    let unknown =
        Command::Due(crate::capture::decide::Due::Authorization(crate::capture::records::AuthorizationKey::new(4_711)));
    proxy.cut(Cut::After);
    let replies = execute(&ledger, vec![accept("x", "1.00"), unknown, accept("y", "1.00")]).replies;
    let planned = |reply: &Result<Reply, _>| reply.as_ref().is_ok_and(|reply| matches!(reply.note, Note::Planned(_)));
    assert!(planned(&replies[0]) && replies[1].is_err() && planned(&replies[2]), "{replies:?}");
}

/// A worker that stands still with orders locked does not hold up the others for ever, and changes nothing
/// when it goes on.
#[test]
fn a_transaction_that_stands_still_is_ended_by_the_server() {
    let (address, clock) = (database(), ManualClock::new());
    let ledger = open(&address, &clock);
    tell(&ledger, accept("a", "1.00"));
    let timeout = sql(&address, "SELECT current_setting('idle_in_transaction_session_timeout')");
    assert_eq!(timeout.expect("shown"), ["10s"]);
    let stalled = runtime();
    let session = stalled.block_on(async {
        let session = connect(&address, Purpose::Groups).await.expect("connected");
        session.batch("SET idle_in_transaction_session_timeout = '50ms'; BEGIN").await.expect("begun");
        session.batch("UPDATE orders SET sequence = 99").await.expect("locked");
        session
    });
    let reply = tell(&ledger, draft("a", "s2").amount("1.00").command());
    assert!(matches!(reply.note, Note::Planned(_)), "{reply:?}");
    assert!(stalled.block_on(session.batch("COMMIT")).is_err());
    assert_eq!(count(&address, "SELECT sequence FROM orders"), 0);
}

#[test]
fn what_waits_for_a_server_that_is_away_ends_with_the_ledger() {
    let server = LocalServer::start().expect("PostgreSQL is installed");
    let address = Address::parse(&server.create_database().expect("created").url).expect("an address");
    let ledger = open(&address, &ManualClock::new());
    server.crash().expect("it stops");
    runtime().block_on(async {
        let waiting = ledger.execute(vec![accept("a", "1.00")]);
        let done = tokio::time::timeout(Duration::from_millis(300), waiting).await;
        assert!(done.is_err(), "it waits: {done:?}");
    });
    drop(ledger);
    let gone = PostgresLedger::open(&address, options(), environment(policy(), &ManualClock::new()));
    let gone = runtime().block_on(gone).err();
    assert!(matches!(gone, Some(LedgerError::Away(ref why)) if !why.is_empty()), "{gone:?}");
}
