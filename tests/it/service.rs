//! The systemd unit as it is delivered: its own lines start the worker, which tells the service manager that
//! it has started, that its event loop turns, how ready it is, and that it drains.
//!
//! The manager is a socket of the test; systemd itself is not needed.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use holdfast::private_file;
use holdfast::settings::Settings;
use secrecy::ExposeSecret as _;
use tokio::process::Command;

use crate::support::PATIENCE;
use crate::support::order::Account;
use crate::support::worker::Worker;
use crate::support::world::World;

const UNIT: &str = include_str!("../../deploy/holdfast.service");
const GUIDE: &str = include_str!("../../docs/operations.md");

/// How long the manager waits for a sign of life.
const WATCHDOG: Duration = Duration::from_secs(2);

/// What stands behind `KEY=`, once.
fn value(key: &str) -> &'static str {
    let mut found = UNIT.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let value = found.next().unwrap_or_else(|| panic!("the unit has no {key}"));
    assert_eq!(found.next(), None, "{key} is there twice");
    value
}

/// What the guide says that the broker's user needs.
fn permission(kind: &str) -> String {
    let guide = GUIDE.split_whitespace().collect::<Vec<_>>().join(" ");
    let stands_after = format!("`{kind}` on `");
    let rest = guide.split_once(&stands_after).unwrap_or_else(|| panic!("the guide says nothing of {kind}")).1;
    rest.split_once('`').unwrap().0.to_owned()
}

/// The address of the world's broker for a user who may do what the guide asks for, and no more.
async fn url_of_a_user_of_its_own(world: &World) -> String {
    let mut url = url::Url::parse(world.broker.url.expose_secret()).unwrap();
    let vhost = url.path().trim_start_matches('/').to_owned();
    let user = format!("holdfast-{vhost}");
    let node = crate::support::node().await;
    node.ctl(&["add_user", &user, "a-password"]).await.unwrap();
    // To declare a queue that is there already takes less than to make one.
    for queue in [&world.broker.work_queue, &world.broker.dead_queue] {
        node.ctl(&["delete_queue", "-p", &vhost, queue]).await.unwrap();
    }
    let [configure, write, read] = ["configure", "write", "read"].map(permission);
    node.ctl(&["set_permissions", "-p", &vhost, &user, &configure, &write, &read]).await.unwrap();
    url.set_username(&user).unwrap();
    url.set_password(Some("a-password")).unwrap();
    url.into()
}

/// A service manager: a socket, and what came in.
struct Manager {
    socket: UnixDatagram,
    world: World,
    /// What stands in the credentials' directory.
    credentials: std::path::PathBuf,
    said: Vec<String>,
}

impl Manager {
    /// Secrets and the broker's address come as credentials, as the unit has them.
    async fn new(world: World) -> Self {
        let (name, directory) = value("LoadCredential").split_once(':').unwrap();
        assert_eq!((name, directory), ("secret", "/etc/holdfast/secrets"));
        let credentials = world.directory().join("credentials");
        std::fs::create_dir(&credentials).unwrap();
        let flitt = Account::Flitt.name();
        private_file::write(&credentials.join(format!("{name}_{flitt}")), Account::Flitt.secret()).unwrap();
        let own = url_of_a_user_of_its_own(&world).await;
        private_file::write(&credentials.join(format!("{name}_amqp-url")), &own).unwrap();
        let url = world.broker.url.expose_secret();
        let written = std::fs::read_to_string(world.config()).unwrap();
        let file = world.directory().join(format!("{flitt}-secret"));
        let settings = written
            .replace("declare_orders = true", "declare_orders = false")
            .replace(&format!("url = \"{url}\""), &format!("url = {{ credential = \"{name}_amqp-url\" }}"))
            .replace(
                &format!("secret = {{ file = \"{}\" }}", file.display()),
                &format!("secret = {{ credential = \"{name}_{flitt}\" }}"),
            );
        assert_eq!(settings.matches("credential =").count(), 2, "{settings}");
        std::fs::write(world.config(), settings).unwrap();
        let socket = UnixDatagram::bind(world.directory().join("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, world, credentials, said: Vec::new() }
    }

    /// A line of the unit, as the manager runs it: only its paths are others.
    fn command(&self, key: &str) -> Command {
        let mut words = value(key).split(' ');
        assert_eq!(words.next(), Some("/usr/bin/holdfast"), "{key}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
        for word in words {
            if word == "/etc/holdfast/holdfast.toml" {
                command.arg(self.world.config());
            } else {
                command.arg(word);
            }
        }
        command
            .env("NOTIFY_SOCKET", self.world.directory().join("notify"))
            .env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())
            .env("CREDENTIALS_DIRECTORY", &self.credentials);
        command
    }

    fn start(&self) -> Worker {
        self.world.worker_from(self.command("ExecStart"))
    }

    /// Takes in what has come.
    fn listen(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            self.said.extend(text.lines().map(str::to_owned));
        }
    }

    /// Waits until it has heard this.
    async fn hears(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            self.listen();
            if let Some(said) = self.said.iter().find(|said| wanted(said)) {
                return said.clone();
            }
            assert!(begun.elapsed() < PATIENCE, "the worker has only told {:?}", self.said);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn beats(&mut self) -> usize {
        self.listen();
        self.said.iter().filter(|said| *said == "WATCHDOG=1").count()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_unit_starts_watches_and_drains_a_worker() {
    let mut manager = Manager::new(World::new().await).await;
    let checked = manager.command("ExecStartPre").output().await.unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));

    let mut worker = manager.start();
    manager.hears(|said| said == "READY=1").await;
    manager.hears(|said| said == "STATUS=ready").await;
    let at = worker.says("worker started").await["http"].as_str().unwrap().to_owned();
    let (code, said, _) = manager.world.holdfast_json(&["health", "--ready", "--at", &at]).await;
    assert_eq!((code, &said["ok"], &said["said"]["ready"]), (0, &true.into(), &true.into()), "{said}");
    let order = manager.world.order("ord-1", Account::Flitt, &[("l1", 1, 500)]);
    manager.world.publish([order.shipped("s1", &[("l1", 1)])]).await;
    manager.world.outcomes(1).await;

    // It says so in time: the manager would end one that is late.
    let (alive, before) = (Instant::now(), manager.beats());
    while manager.beats() < before + 3 {
        assert!(alive.elapsed() < WATCHDOG * 3, "signs of life come too late: {} in all", manager.beats());
        tokio::time::sleep(WATCHDOG / 20).await;
    }
    // A worker that stands still gives none.
    worker.freeze();
    worker.stands_still().await;
    let beats = manager.beats();
    tokio::time::sleep(WATCHDOG).await;
    assert_eq!(manager.beats(), beats, "it stands still and says that it lives");
    worker.thaw();
    while manager.beats() == beats {
        assert!(alive.elapsed() < PATIENCE, "no sign of life after it went on");
        tokio::time::sleep(WATCHDOG / 20).await;
    }

    worker.terminate();
    manager.hears(|said| said == "STOPPING=1").await;
    // 10 s is the grace in the world's settings.
    manager.hears(|said| said == "EXTEND_TIMEOUT_USEC=55000000").await;
    assert_eq!(worker.ended().await.code(), Some(0));
    let (code, _, said) = manager.world.holdfast(&["health", "--at", &at]).await;
    assert_eq!(code, 3);
    assert!(said.contains(&format!("no worker answers at {at}")), "{said}");
    let is_of_life = |said: &&str| said.starts_with("STATUS") || *said == "WATCHDOG=1";
    let told = manager.said.iter().map(String::as_str).find(|said| !is_of_life(said));
    assert_eq!(told, Some("READY=1"), "nothing but signs of life comes before it");
    manager.world.check_books().await;
}

/// Else a machine that starts while the broker is away ends its worker again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_started_while_the_broker_is_away_and_says_so() {
    let mut manager = Manager::new(World::new().await).await;
    private_file::write(&manager.credentials.join("secret_amqp-url"), "amqp://guest:guest@127.0.0.1:1/%2f").unwrap();
    let mut worker = manager.start();
    manager.hears(|said| said == "READY=1").await;
    manager.hears(|said| said.starts_with("STATUS=not ready: consuming: ")).await;
    let at = worker.says("worker started").await["http"].as_str().unwrap().to_owned();
    let asked = manager.world.holdfast(&["health", "--at", &at]).await;
    assert_eq!((asked.0, asked.1.as_str()), (0, "alive\n"), "nobody restarts it for the broker's outage");
    let (code, said, _) = manager.world.holdfast(&["health", "--ready", "--at", &at]).await;
    assert_eq!(code, 1);
    assert!(said.starts_with("not ready: consuming: "), "{said}");
    worker.terminate();
    assert_eq!(worker.ended().await.code(), Some(0));
}

#[test]
fn the_unit_waits_longer_than_the_default_drain() {
    let grace = Settings::load(None, std::iter::empty()).map(|settings| settings.worker.drain_grace);
    let grace = grace.expect("the defaults are settings").as_secs();
    let stop: u64 = value("TimeoutStopSec").parse().unwrap();
    assert!(stop >= grace + 45, "TimeoutStopSec={stop} is less than the grace of {grace} s and the closing after it");
    assert_eq!(value("Type"), "notify");
}

/// What operators start from, with secrets where each names them.
#[test]
fn every_settings_file_that_is_delivered_is_one() {
    let dir = tempfile::tempdir().unwrap();
    for (name, secret) in [
        ("amqp-url", "amqp://holdfast:secret@rabbit/%2f"),
        ("ledger-url", "postgres://holdfast:secret@db/holdfast"),
        ("flitt-ge", "a secret"),
    ] {
        private_file::write(&dir.path().join(name), secret).unwrap();
    }
    let environment = || [("FLITT_TEST_SECRET".to_owned(), "test".to_owned())].into_iter();
    for delivered in
        ["kubernetes/overlays/sqlite/holdfast.toml", "kubernetes/overlays/postgres/holdfast.toml", "compose.toml"]
    {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(delivered);
        let text = std::fs::read_to_string(path).unwrap();
        let here = dir.path().join("holdfast.toml");
        std::fs::write(&here, text.replace("/run/secrets/holdfast", &dir.path().display().to_string())).unwrap();
        let settings = Settings::load(Some(&here), environment());
        let settings = settings.unwrap_or_else(|problems| panic!("{delivered}: {problems}"));
        assert_eq!(settings.accounts.len(), 1, "{delivered}");
    }
}
