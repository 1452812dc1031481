//! Encrypted connections to a real RabbitMQ and a real PostgreSQL: whom we believe, and who we are. Every
//! certificate is made here, and thrown away.

use std::path::Path;

use holdfast::broker::local_node::LocalNode;
use holdfast::broker::session::Session;
use holdfast::ledger::health;
use holdfast::ledger::postgres::Address;
use holdfast::ledger::postgres::local_server::LocalServer;
use holdfast::settings::Broker;
use holdfast::tls::ClientFiles;
use secrecy::{ExposeSecret, SecretString};

use crate::support::certificates::{Authority, Signed};
use crate::support::order::Account;
use crate::support::world::World;
use crate::support::{broker_at, temp_dir};

/// Our own side of a connection.
struct Client<'a> {
    /// The name by which the server is called.
    host: &'a str,
    /// The authorities that are trusted.
    authority: &'a Path,
    /// Our own certificate.
    files: Option<&'a ClientFiles>,
}

fn broker_for(node: &LocalNode, client: &Client<'_>) -> Broker {
    Broker {
        ca_file: Some(client.authority.to_path_buf()),
        client_files: client.files.cloned(),
        ..broker_at(node.tls_url(client.host, "/"))
    }
}

async fn is_taken_by_broker(node: &LocalNode, client: &Client<'_>) {
    let session = Session::open(&broker_for(node, client), "test").await.unwrap();
    assert!(session.address().is_tls);
    let channel = session.channel().await.unwrap();
    session.close(channel).await;
}

/// Why a connection to the broker is not made.
async fn broker_refusal(node: &LocalNode, client: &Client<'_>) -> String {
    let settings = broker_for(node, client);
    let error = Session::open(&settings, "test").await.expect_err("it is refused").to_string();
    let password = settings.url.expose_secret().split(':').nth(2).unwrap().split('@').next().unwrap().to_owned();
    assert!(!error.contains(&password), "{error}");
    error
}

#[tokio::test]
async fn a_broker_is_believed_by_its_certificate_and_believes_ours() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let (trusted, untrusted) = (ours.file(directory.path(), "ca.pem"), others.file(directory.path(), "other-ca.pem"));
    let right = ours.server("localhost");
    let mut node = LocalNode::start(&temp_dir(), &[]).await.unwrap();
    node.serve_tls(&right.certificate, &right.key, None).await.unwrap();
    let client = Client { host: "localhost", authority: &trusted, files: None };
    is_taken_by_broker(&node, &client).await;

    let wrong_authority = broker_refusal(&node, &Client { authority: &untrusted, ..client }).await;
    assert!(wrong_authority.contains("no authority that is trusted here"), "{wrong_authority}");
    assert!(wrong_authority.contains("broker.ca_file"), "{wrong_authority}");
    let wrong_name = broker_refusal(&node, &Client { host: "127.0.0.1", ..client }).await;
    assert!(wrong_name.contains("of another name"), "{wrong_name}");
    let expired = ours.expired_server("localhost");
    node.renew_certificate(&expired.certificate, &expired.key).await.unwrap();
    let expired = broker_refusal(&node, &client).await;
    assert!(expired.contains("has expired") && expired.contains("renew it"), "{expired}");

    node.serve_tls(&right.certificate, &right.key, Some(&ours.pem)).await.unwrap();
    let without = broker_refusal(&node, &client).await;
    // Whether its word of why arrives before the end of the connection is a matter of luck.
    assert!(
        without.contains("wants a certificate of ours") && without.contains("broker.client_cert_file"),
        "{without}"
    );
    let stranger = others.client("holdfast").files(directory.path(), "stranger");
    let stranger = broker_refusal(&node, &Client { files: Some(&stranger), ..client }).await;
    assert!(stranger.contains("accept") && stranger.contains("broker.client_cert_file"), "{stranger}");
    let known = ours.client("holdfast").files(directory.path(), "known");
    is_taken_by_broker(&node, &Client { files: Some(&known), ..client }).await;
    node.stop();
}

/// A database, by the name that a client calls its server.
fn address(url: &SecretString, client: &Client<'_>) -> Address {
    let url = url.expose_secret().replace("127.0.0.1", client.host);
    let mut url = format!("{url}?sslmode=verify-full&sslrootcert={}", client.authority.display());
    if let Some(files) = client.files {
        let (certificate, key) = (files.certificate.display(), files.key.display());
        url = format!("{url}&sslcert={certificate}&sslkey={key}");
    }
    Address::parse(&url.into()).unwrap()
}

/// Connects, and finds an empty database there.
fn is_taken_by_server(url: &SecretString, client: &Client<'_>) {
    let found = health::look_at_server(&address(url, client)).expect("it is let in");
    assert!(found.is_none(), "nobody has made a ledger there");
}

/// Why a connection to PostgreSQL is not made.
fn server_refusal(url: &SecretString, client: &Client<'_>) -> String {
    let error = health::look_at_server(&address(url, client)).expect_err("it is refused").to_string();
    let password = url.expose_secret().split(':').nth(2).unwrap().split('@').next().unwrap().to_owned();
    assert!(!error.contains(&password), "{error}");
    error
}

#[test]
fn a_postgresql_is_believed_by_its_certificate_and_believes_ours() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let (trusted, untrusted) = (ours.file(directory.path(), "ca.pem"), others.file(directory.path(), "other-ca.pem"));
    let server = LocalServer::start().unwrap();
    let url = server.create_database().unwrap().tcp_url;
    let serve = |signed: &Signed| server.serve_tls(&signed.certificate, &signed.key).unwrap();
    let client = Client { host: "localhost", authority: &trusted, files: None };
    serve(&ours.expired_server("localhost"));
    let expired = server_refusal(&url, &client);
    assert!(expired.contains("has expired") && expired.contains("renew it"), "{expired}");
    serve(&ours.server("localhost"));
    is_taken_by_server(&url, &client);

    let wrong_authority = server_refusal(&url, &Client { authority: &untrusted, ..client });
    assert!(wrong_authority.contains("no authority that is trusted here"), "{wrong_authority}");
    assert!(wrong_authority.contains("sslrootcert"), "{wrong_authority}");
    let wrong_name = server_refusal(&url, &Client { host: "127.0.0.1", ..client });
    assert!(wrong_name.contains("of another name"), "{wrong_name}");

    server.demand_certificates(&ours.pem).unwrap();
    let without = server_refusal(&url, &client);
    assert!(without.contains("sslcert and sslkey of the ledger's address"), "{without}");
    let stranger = others.client("holdfast").files(directory.path(), "stranger");
    let stranger = server_refusal(&url, &Client { files: Some(&stranger), ..client });
    assert!(stranger.contains("does not accept our certificate"), "{stranger}");
    let somebody = ours.client("somebody").files(directory.path(), "somebody");
    let somebody = server_refusal(&url, &Client { files: Some(&somebody), ..client });
    assert!(somebody.contains("certificate authentication failed for user"), "{somebody}");
    let known = ours.client("holdfast").files(directory.path(), "known");
    is_taken_by_server(&url, &Client { files: Some(&known), ..client });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_waits_for_a_postgresql_until_its_certificate_is_renewed() {
    let world = World::new().await;
    let directory = tempfile::tempdir().unwrap();
    let ours = Authority::new("ours");
    let authority = ours.file(directory.path(), "ca.pem");
    let server = LocalServer::start().unwrap();
    let serve = |signed: &Signed| server.serve_tls(&signed.certificate, &signed.key).unwrap();
    serve(&ours.server("localhost"));
    let url = server.create_database().unwrap().tcp_url.expose_secret().replace("127.0.0.1", "localhost");
    let url = format!("{url}?sslmode=verify-full&sslrootcert={}", authority.display());
    let mut worker = world.worker_with(&[("HOLDFAST_LEDGER__URL", &url)]);
    worker.consuming().await;
    let ship = async |name: &str| {
        let order = world.order(name, Account::Flex, &[("l1", 1, 500)]);
        world.publish([order.shipped("s1", &[("l1", 1)])]).await;
    };
    ship("before").await;
    world.outcomes(1).await;

    serve(&ours.expired_server("localhost"));
    ship("meanwhile").await;
    worker.readiness("the ledger has not answered for").await;
    assert!(worker.log().contains("has expired"), "{}", worker.log());
    serve(&ours.server("localhost"));
    world.outcomes(2).await;
    worker.readiness("\"ready\":true").await;
    worker.stop().await;
}
