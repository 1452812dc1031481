//! Nothing of a test run that is killed goes on.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::support::PATIENCE;
use crate::support::worker::Worker;

/// The directory of a worker, in a test run that was started to be killed.
const DOOMED: &str = "HOLDFAST_TEST_DOOMED";

/// What the doomed run says of its worker.
const SERVES: &str = "the worker serves ";

/// A worker that waits for a broker, and lets whoever reads know where it is.
#[expect(clippy::print_stdout, reason = "who started this run reads it")]
async fn start_a_worker(dir: &Path) {
    let mut worker = Worker::spawn(&dir.join("holdfast.toml"), dir.join("worker.log"), &[]);
    let address = worker.says("worker started").await["http"].as_str().unwrap().to_owned();
    println!("{SERVES}{address}");
    std::future::pending::<()>().await;
}

fn write_settings(dir: &Path) {
    let text = format!(
        r#"
[broker]
url = "amqp://127.0.0.1:1"
[ledger]
url = "sqlite:{}"
[http]
listen = "127.0.0.1:0"
[accounts.flitt]
protocol = "flitt"
base_url = "http://127.0.0.1:1"
merchant_id = 1
secret = {{ env = "PATH" }}
"#,
        dir.join("holdfast.db").display()
    );
    std::fs::write(dir.join("holdfast.toml"), text).unwrap();
}

#[tokio::test]
async fn a_worker_ends_with_the_test_run_that_started_it() {
    if let Some(dir) = std::env::var_os(DOOMED) {
        return start_a_worker(dir.as_ref()).await;
    }
    let dir = TempDir::with_prefix("holdfast-it-").unwrap();
    write_settings(dir.path());
    let mut run = Command::new(std::env::current_exe().unwrap());
    run.args(["--exact", "orphans::a_worker_ends_with_the_test_run_that_started_it", "--nocapture"]);
    run.env(DOOMED, dir.path()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut run = run.spawn().unwrap();
    let mut said = BufReader::new(run.stdout.take().unwrap()).lines();
    let address = loop {
        let line = said.next_line().await.unwrap().expect("the run says where its worker is");
        if let Some((_, address)) = line.split_once(SERVES) {
            break address.to_owned();
        }
    };
    assert!(TcpStream::connect(&address).await.is_ok(), "it is there");
    run.kill().await.unwrap();
    let gone = async {
        while TcpStream::connect(&address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("it has ended too");
}
