//! What is opened, and what is refused.

use secrecy::ExposeSecret;

use super::super::local_server::LocalServer;
use super::*;

fn pem(kind: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
}

fn certificate(made: &rcgen::CertifiedKey<rcgen::KeyPair>) -> String {
    pem("CERTIFICATE", made.cert.der())
}

fn refused(address: &Address) -> String {
    let opened = PostgresLedger::open(address, options(), environment(policy(), &ManualClock::new()));
    let Err(LedgerError::Open { path, cause }) = runtime().block_on(opened) else { panic!("it was opened") };
    assert_eq!(path, address.shown());
    cause
}

#[test]
fn a_server_that_forgets_is_refused_and_a_session_is_made_to_remember() {
    let server = LocalServer::start().expect("PostgreSQL is installed");
    let address = Address::parse(&server.create_database().expect("created").url).expect("an address");
    server.psql("ALTER SYSTEM SET synchronous_commit = off").expect("set");
    server.psql("SELECT pg_reload_conf()").expect("reloaded");
    let setting = sql(&address, "SELECT current_setting('synchronous_commit')").expect("shown");
    assert_eq!(setting, ["on"], "the session is made to");
    drop(open(&address, &ManualClock::new()));
    for setting in ["fsync", "full_page_writes"] {
        server.psql(&format!("ALTER SYSTEM SET {setting} = off")).expect("set");
        server.crash_and_restart().expect("it starts");
        let cause = refused(&address);
        assert!(cause.contains(&format!("{setting} = off")), "{cause}");
        server.psql(&format!("ALTER SYSTEM RESET {setting}")).expect("set");
        server.crash_and_restart().expect("it starts");
    }
    drop(open(&address, &ManualClock::new()));
}

#[test]
fn a_standby_is_refused() {
    let server = LocalServer::start().expect("PostgreSQL is installed");
    let address = Address::parse(&server.create_database().expect("created").url).expect("an address");
    server.crash().expect("it stops");
    server.become_standby().expect("written");
    server.start_again().expect("it starts");
    let cause = refused(&address);
    assert!(cause.contains("standby"), "{cause}");
}

#[test]
fn an_empty_database_is_migrated_once_and_a_newer_one_is_left_alone() {
    let (address, clock) = (database(), ManualClock::new());
    let opened = std::thread::scope(|scope| {
        let opening = [(); 4].map(|()| scope.spawn(|| open(&address, &clock)));
        opening.map(|thread| thread.join().expect("all of them open it"))
    });
    drop(opened);
    assert_eq!(count(&address, "SELECT max(version) FROM schema_version"), 1);
    sql(&address, "INSERT INTO schema_version VALUES (2)").expect("inserted");
    let cause = refused(&address);
    assert!(cause.contains("newer Holdfast (version 2"), "{cause}");
}

#[test]
fn who_may_not_come_in_is_told_so_without_the_password() {
    let database = server().create_database().expect("created");
    let wrong = database.tcp_url.expose_secret().replace("holdfast:", "holdfast:wrong");
    let cause = refused(&Address::parse(&wrong.into()).expect("an address"));
    assert!(cause.contains("password authentication failed") && !cause.contains("wrong"), "{cause}");
    drop(open(&Address::parse(&database.tcp_url).expect("an address"), &ManualClock::new()));
}

#[test]
fn a_connection_is_encrypted_and_the_server_is_who_it_says() {
    let server = LocalServer::start().expect("PostgreSQL is installed");
    let database = server.create_database().expect("created");
    let at = |parameters: &str| {
        let url = format!("{}?{parameters}", database.tcp_url.expose_secret().replace("127.0.0.1", "localhost"));
        Address::parse(&url.into()).expect("an address")
    };
    assert!(refused(&at("sslmode=require")).contains("TLS"), "it has none");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    server.serve_tls(&certificate(&made), &pem("PRIVATE KEY", &made.signing_key.serialize_der())).expect("it starts");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (ours, others) = (directory.path().join("ours.pem"), directory.path().join("others.pem"));
    std::fs::write(&ours, certificate(&made)).expect("written");
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    std::fs::write(&others, certificate(&other)).expect("written");
    let verify = |root: &std::path::Path| at(&format!("sslmode=verify-full&sslrootcert={}", root.display()));
    let is_encrypted = "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    for (address, expected) in
        [(at("sslmode=disable"), "false"), (at(""), "true"), (at("sslmode=require"), "true"), (verify(&ours), "true")]
    {
        assert_eq!(sql(&address, is_encrypted).expect("connected"), [expected], "{:?}", address.tls);
    }
    assert!(refused(&verify(&others)).contains("certificate"));
    let by_address = database.tcp_url.expose_secret();
    let other_name = format!("{by_address}?sslmode=verify-full&sslrootcert={}", ours.display());
    assert!(refused(&Address::parse(&other_name.into()).expect("an address")).contains("certificate"));
}
