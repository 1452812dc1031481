//! The programs of `docs/producers.md`, as they stand there: each sends a shipment, whose money is captured,
//! and says so where no queue takes what it sends.
//!
//! Needs Python 3 with `venv`, Node with npm, and curl, which `./deploy/test.sh` installs; and their package
//! indices the first time.

use std::path::{Path, PathBuf};
use std::process::Command;

use holdfast::broker::local_node::LocalNode;
use secrecy::ExposeSecret as _;

use crate::doctor::managed;
use crate::official_client;
use crate::support::order::Account;
use crate::support::world::World;
use crate::support::{PATIENCE, broker_at};

const GUIDE: &str = include_str!("../../docs/producers.md");
const PACKAGES: [(&str, &str); 2] = [
    ("package.json", include_str!("producers/package.json")),
    ("package-lock.json", include_str!("producers/package-lock.json")),
];

/// The first block of a language under a heading.
fn program(heading: &str, language: &str) -> &'static str {
    let part = GUIDE.split_once(&format!("\n### {heading}\n")).unwrap_or_else(|| panic!("no {heading}")).1;
    let block = part.split_once(&format!("```{language}\n")).expect("a block").1;
    block.split_once("\n```").expect("its end").0
}

/// A directory of this name below `target` from which Node finds what `packages` name: the texts of `package.json` and
/// its lock file. Installed where it is not there.
pub(crate) fn node_packages(name: &str, packages: &[(&str, &str); 2]) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&dir).unwrap();
    let lock = std::fs::File::create(dir.join("lock")).unwrap();
    lock.lock().unwrap();
    let complete = dir.join("complete");
    if std::fs::read_to_string(&complete).is_ok_and(|installed| installed == packages[1].1) {
        return dir;
    }
    for (name, text) in packages {
        std::fs::write(dir.join(name), text).unwrap();
    }
    let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    let ran = Command::new("npm").args(arguments).current_dir(&dir).output();
    let ran = ran.unwrap_or_else(|error| panic!("this test needs npm, as ./deploy/test.sh installs it: {error}"));
    assert!(ran.status.success(), "npm cannot install {}: {}", packages[0].1, String::from_utf8_lossy(&ran.stderr));
    std::fs::write(&complete, packages[1].1).unwrap();
    dir
}

/// A way to send a file.
struct Sender {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<PathBuf>,
}

impl Sender {
    /// All of the guide's, written down in files.
    fn all(world: &World) -> [Self; 3] {
        let write = |path: PathBuf, text: &str| {
            std::fs::write(&path, text).unwrap();
            path
        };
        let python = write(world.directory().join("send.py"), program("Python", "python"));
        let shell = write(world.directory().join("send.sh"), program("A shell", "sh"));
        // Node looks for packages beside the program.
        let node = write(
            node_packages("producers", &PACKAGES).join(format!("send-{}.mjs", std::process::id())),
            program("Node", "js"),
        );
        [
            Self { name: "python", program: official_client::installed(), arguments: vec!["-I".into(), python] },
            Self { name: "node", program: "node".into(), arguments: vec![node] },
            Self { name: "shell", program: "sh".into(), arguments: vec!["-e".into(), shell] },
        ]
    }

    /// Sends a message. Whether the program called it taken, and what else it said.
    async fn sends(
        &self,
        world: &World,
        node: &LocalNode,
        management: &str,
        message: &str,
        key: Option<(&str, &str)>,
    ) -> (bool, String) {
        let file = world.directory().join(format!("{}.json", self.name));
        std::fs::write(&file, message).unwrap();
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.arguments).arg(&file).kill_on_drop(true);
        let url = url::Url::parse(node.url("/").expose_secret()).unwrap();
        let login = format!("http://{}:{}@", url.username(), url.password().unwrap());
        command.env("AMQP_URL", url.as_str()).env("VHOST", "%2F");
        command.env("MANAGEMENT_URL", management.replace("http://", &login));
        if let Some((id, key)) = key {
            command.env("SIGNING_KEY_ID", id).env("SIGNING_KEY", key);
        }
        let ended = tokio::time::timeout(PATIENCE, command.output()).await.expect("an end in time").unwrap();
        (ended.status.success(), String::from_utf8_lossy(&ended.stderr).into_owned())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guides_programs_send_what_is_captured() {
    let (node, management) = managed().await;
    let world = World::at(broker_at(node.url("/"))).await;
    let mut settings = std::fs::read_to_string(world.config()).unwrap();
    settings.push_str("[notices.keys]\nshop-2026 = { env = \"SIGNING_KEY\" }\n");
    std::fs::write(world.config(), settings).unwrap();
    let mut worker = world.worker_with(&[("SIGNING_KEY", "0123456789abcdef0123456789abcdef")]);
    worker.consuming().await;
    let senders = Sender::all(&world);
    let mut orders = Vec::new();
    for sender in &senders {
        let order = world.order(sender.name, Account::Flex, &[("l1", 1, 1_999)]);
        let message = order.shipped("s1", &[("l1", 1)]).to_string();
        let (taken, said) = sender.sends(&world, &node, &management, &message, None).await;
        assert!(taken, "{} could not send: {said}", sender.name);
        let lost = message.replace("order.shipped", "nobody.listens");
        assert_ne!(lost, message);
        let (taken, said) = sender.sends(&world, &node, &management, &lost, None).await;
        assert!(!taken, "{} does not notice that its message is lost: {said}", sender.name);
        orders.push(order);
    }
    let outcomes = world.outcomes(senders.len()).await;
    assert!(outcomes.iter().all(|event| event.kind == "capture.succeeded"), "{outcomes:?}");
    let books = world.books();
    assert!(orders.iter().all(|order| books.find(&order.reference).unwrap().captured_minor == 1_999));
    worker.stop().await;

    // And to a worker that takes no other: the same programs sign.
    let key = ("shop-2026", "0123456789abcdef0123456789abcdef");
    let mut worker = world.worker_with(&[("HOLDFAST_NOTICES__SIGNATURES", "require"), ("SIGNING_KEY", key.1)]);
    worker.consuming().await;
    for sender in &senders {
        let order = world.order(&format!("{}-signed", sender.name), Account::Flex, &[("l1", 1, 1_999)]);
        let message = order.shipped("s1", &[("l1", 1)]).to_string();
        let (taken, said) = sender.sends(&world, &node, &management, &message, Some(key)).await;
        assert!(taken, "{} could not send: {said}", sender.name);
    }
    let outcomes = world.outcomes(2 * senders.len()).await;
    assert!(outcomes.iter().all(|event| event.kind == "capture.succeeded"), "{outcomes:?}");
    worker.stop().await;
}
