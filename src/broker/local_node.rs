//! A private RabbitMQ node for the demo and the tests: installed programs, own directory, own ports,
//! loopback only, any user.
//!
//! Nothing of it outlives us: a shell beside the node waits for the end of its standard input, which
//! comes even when this process is killed, then ends the node and removes the directory. This is no
//! way to run a broker for production.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use uuid::Uuid;

/// A node starts in about 6 s; a busy machine may need much longer.
const START_LIMIT: Duration = Duration::from_mins(2);

/// Longest wait for one answer while we ask whether it is up.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// Between two such questions.
const PROBE_PAUSE: Duration = Duration::from_millis(50);

/// Below the ports that systems hand out by themselves, so that a node that was killed finds its own
/// free again.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

/// Where the programs are, beside `PATH`. Debian's own `/usr/sbin/rabbitmq-server` insists on the
/// `rabbitmq` user, the script behind it does not; so these come first.
const PROGRAM_DIRS: [&str; 5] = [
    "/usr/lib/rabbitmq/bin",
    "/opt/rabbitmq/sbin",
    "/opt/homebrew/opt/rabbitmq/sbin",
    "/usr/local/opt/rabbitmq/sbin",
    "/home/linuxbrew/.linuxbrew/opt/rabbitmq/sbin",
];

/// Runs beside the node. Its own `epmd` (Erlang's name server) keeps the node off the machine's.
const KEEPER: &str = r#"
epmd -port "$ERL_EPMD_PORT" -address 127.0.0.1 >/dev/null 2>&1 &
epmd=$!
tries=0
until epmd -port "$ERL_EPMD_PORT" -names >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" -gt 200 ]; then break; fi
    sleep 0.05
done
"$HOLDFAST_SERVER" </dev/null >"$HOLDFAST_DIR/out.log" 2>&1 &
node=$!
word=
read -r word
if [ "$word" = stop ]; then kill -TERM "$node"; else kill -KILL "$node"; fi
wait "$node"
kill -KILL "$epmd"
wait
rm -rf "$HOLDFAST_DIR"
"#;

/// Why there is no local node.
#[derive(Debug, Error)]
pub enum LocalNodeError {
    /// RabbitMQ is not installed.
    #[error(
        "rabbitmq-server is not installed: install it (apt-get install rabbitmq-server, brew install rabbitmq), or name a broker with HOLDFAST_BROKER__URL"
    )]
    NotInstalled,
    /// A file, directory or process could not be made.
    #[error("cannot start a local RabbitMQ in {dir}: {source}")]
    Io {
        /// The node's directory.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It did not come up.
    #[error("the local RabbitMQ did not start within {limit:?}; the end of its log:\n{log}")]
    NotStarted {
        /// How long we waited.
        limit: Duration,
        /// The last lines it wrote.
        log: String,
    },
    /// `rabbitmqctl` failed.
    #[error("rabbitmqctl {command} failed: {reason}")]
    Ctl {
        /// Its first argument.
        command: String,
        /// What it said.
        reason: String,
    },
}

/// A running (or killed) node. Dropping it ends it and removes its directory.
#[derive(Debug)]
pub struct LocalNode {
    dir: PathBuf,
    programs: PathBuf,
    ports: [u16; 4],
    password: SecretString,
    keeper: Option<Child>,
}

impl LocalNode {
    /// Starts a node in a new directory under `parent`, with these virtual hosts beside `/`, and
    /// waits until it answers.
    ///
    /// # Errors
    /// [`LocalNodeError`]; nothing is left behind.
    pub async fn start(parent: &Path, vhosts: &[String]) -> Result<Self, LocalNodeError> {
        let programs = find_programs().ok_or(LocalNodeError::NotInstalled)?;
        let id = Uuid::new_v4().simple();
        let password = Uuid::new_v4().simple().to_string();
        let dir = parent.join(format!("holdfast-rabbitmq-{id}"));
        let lost = |source| LocalNodeError::Io { dir: dir.clone(), source };
        write_files(&dir, &definitions(&password, vhosts)).map_err(lost)?;
        let ports = free_ports().map_err(lost)?;
        let mut node = Self { dir: dir.clone(), programs, ports, password: password.into(), keeper: None };
        node.restart().await?;
        Ok(node)
    }

    /// The address of a virtual host, with its credentials.
    pub fn url(&self, vhost: &str) -> SecretString {
        let vhost = percent_encoding::utf8_percent_encode(vhost, percent_encoding::NON_ALPHANUMERIC);
        let password = self.password.expose_secret();
        format!("amqp://holdfast:{password}@127.0.0.1:{}/{vhost}", self.ports[0]).into()
    }

    /// The address of a virtual host over TLS, by the name `host` of this machine, with its credentials; see
    /// [`LocalNode::serve_tls`].
    pub fn tls_url(&self, host: &str, vhost: &str) -> SecretString {
        let vhost = percent_encoding::utf8_percent_encode(vhost, percent_encoding::NON_ALPHANUMERIC);
        let password = self.password.expose_secret();
        format!("amqps://holdfast:{password}@{host}:{}/{vhost}", self.ports[3]).into()
    }

    /// Starts it again, and has it serve TLS on a port of its own from now on, with this certificate and key
    /// (PEM). With the certificate of an authority, only clients come in over TLS that have one of its.
    ///
    /// # Errors
    /// [`LocalNodeError`].
    pub async fn serve_tls(
        &mut self,
        certificate: &str,
        key: &str,
        clients_of: Option<&str>,
    ) -> Result<(), LocalNodeError> {
        let lost = |source| LocalNodeError::Io { dir: self.dir.clone(), source };
        self.write_pair(certificate, key).map_err(lost)?;
        std::fs::write(self.dir.join("clients.pem"), clients_of.unwrap_or(certificate)).map_err(lost)?;
        let demand = clients_of.is_some();
        let file = |name: &str| self.dir.join(name).display().to_string();
        let config = format!(
            "{}listeners.ssl.default = 127.0.0.1:{}\n\
             ssl_options.certfile = {}\n\
             ssl_options.keyfile = {}\n\
             ssl_options.cacertfile = {}\n\
             ssl_options.verify = {}\n\
             ssl_options.fail_if_no_peer_cert = {demand}\n",
            config(&self.dir),
            self.ports[3],
            file("server.pem"),
            file("server-key.pem"),
            file("clients.pem"),
            if demand { "verify_peer" } else { "verify_none" },
        );
        std::fs::write(self.dir.join("rabbitmq.conf"), config).map_err(lost)?;
        self.restart().await
    }

    /// Has it serve TLS with another certificate and key from the next connection on.
    ///
    /// # Errors
    /// [`LocalNodeError`].
    pub async fn renew_certificate(&self, certificate: &str, key: &str) -> Result<(), LocalNodeError> {
        self.write_pair(certificate, key).map_err(|source| LocalNodeError::Io { dir: self.dir.clone(), source })?;
        // It would look at the files again after two minutes.
        self.ctl(&["eval", "ssl:clear_pem_cache()."]).await.map(drop)
    }

    fn write_pair(&self, certificate: &str, key: &str) -> std::io::Result<()> {
        std::fs::write(self.dir.join("server.pem"), certificate)?;
        std::fs::write(self.dir.join("server-key.pem"), key)
    }

    /// Ends it as `kill -9` does, everything at once. What it had on disk stays; see
    /// [`LocalNode::flush`].
    pub fn kill9(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            // The group: keeper, node and name server. One that is gone already is as good.
            let _ = kill_process_group(Pid::from_child(&keeper), Signal::KILL);
            let _ = keeper.wait();
        }
    }

    /// Starts it again on the same directory and port, and waits until it answers.
    ///
    /// # Errors
    /// [`LocalNodeError`].
    pub async fn restart(&mut self) -> Result<(), LocalNodeError> {
        self.kill9();
        let keeper = self.command("sh").arg("-c").arg(KEEPER).stdin(Stdio::piped()).process_group(0).spawn();
        self.keeper = Some(keeper.map_err(|source| LocalNodeError::Io { dir: self.dir.clone(), source })?);
        self.wait_until_up().await
    }

    /// Ends it in order, which takes a second or two, and removes its directory.
    pub fn stop(mut self) {
        if let Some(keeper) = &mut self.keeper
            && let Some(stdin) = &mut keeper.stdin
        {
            // A keeper that is gone has done its work.
            let _ = stdin.write_all(b"stop\n");
        }
    }

    /// Makes one more virtual host; the ones known at the start are cheaper.
    ///
    /// # Errors
    /// [`LocalNodeError::Ctl`].
    pub async fn add_vhost(&self, name: &str) -> Result<(), LocalNodeError> {
        self.ctl(&["add_vhost", name]).await?;
        self.ctl(&["set_permissions", "-p", name, "holdfast", ".*", ".*", ".*"]).await.map(drop)
    }

    /// Waits until everything declared so far survives [`LocalNode::kill9`]. RabbitMQ 3.10 writes its
    /// list of quorum queues to disk up to 3 s late; a queue that is killed before has lost its log
    /// and never elects a leader again.
    ///
    /// # Errors
    /// [`LocalNodeError::Ctl`].
    pub async fn flush(&self) -> Result<(), LocalNodeError> {
        self.ctl(&["eval", "[ok = dets:sync(Table) || Table <- dets:all()], ok."]).await.map(drop)
    }

    /// Runs `rabbitmqctl` (half a second) and returns what it prints.
    ///
    /// # Errors
    /// [`LocalNodeError::Ctl`].
    pub async fn ctl(&self, arguments: &[&str]) -> Result<String, LocalNodeError> {
        let program = self.programs.join("rabbitmqctl");
        let mut command = tokio::process::Command::from(self.command(&program));
        command.arg("--quiet").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let failed = |reason: String| LocalNodeError::Ctl {
            command: arguments.first().copied().unwrap_or_default().to_owned(),
            reason,
        };
        let output = command.output().await.map_err(|error| failed(error.to_string()))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
        }
    }

    /// A command that sees nothing of our environment but `PATH`, and nothing of the system's
    /// settings for RabbitMQ.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let file = |name: &str| self.dir.join(name).into_os_string();
        let text = |text: &str| OsString::from(text);
        let [port, distribution, epmd, _] = self.ports.map(|port| OsString::from(port.to_string()));
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).envs([
            ("HOME", file("")),
            ("LANG", text("C.UTF-8")),
            ("HOLDFAST_DIR", file("")),
            ("HOLDFAST_SERVER", self.programs.join("rabbitmq-server").into_os_string()),
            ("ERL_EPMD_PORT", epmd),
            ("ERL_EPMD_ADDRESS", text("127.0.0.1")),
            ("RABBITMQ_NODENAME", text("holdfast@localhost")),
            ("RABBITMQ_NODE_PORT", port),
            ("RABBITMQ_DIST_PORT", distribution),
            ("RABBITMQ_NODE_IP_ADDRESS", text("127.0.0.1")),
            ("RABBITMQ_MNESIA_BASE", file("data")),
            ("RABBITMQ_LOG_BASE", file("log")),
            ("RABBITMQ_PID_FILE", file("pid")),
            ("RABBITMQ_CONFIG_FILE", file("rabbitmq.conf")),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", file("advanced.config")),
            ("RABBITMQ_CONF_ENV_FILE", file("rabbitmq-env.conf")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", file("enabled_plugins")),
            // The script then becomes the node instead of standing in front of it.
            ("RABBITMQ_ALLOW_INPUT", text("1")),
            (
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                text("-noinput +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"),
            ),
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// The port of TLS, where it serves that, listens a moment after the other one answers.
    async fn is_up(&self) -> bool {
        let serves_tls = self.dir.join("server.pem").exists();
        answers(self.ports[0]).await && (!serves_tls || connect(self.ports[3]).await.is_ok())
    }

    async fn wait_until_up(&mut self) -> Result<(), LocalNodeError> {
        let began = Instant::now();
        loop {
            if tokio::time::timeout(PROBE_LIMIT, self.is_up()).await.is_ok_and(|up| up) {
                return Ok(());
            }
            let log = std::fs::read_to_string(self.dir.join("out.log")).unwrap_or_default();
            if began.elapsed() > START_LIMIT || log.contains("BOOT FAILED") {
                let lines: Vec<&str> = log.lines().collect();
                let log = lines[lines.len().saturating_sub(30)..].join("\n");
                return Err(LocalNodeError::NotStarted { limit: began.elapsed(), log });
            }
            tokio::time::sleep(PROBE_PAUSE).await;
        }
    }
}

impl Drop for LocalNode {
    fn drop(&mut self) {
        match &mut self.keeper {
            // Waiting closes its standard input first.
            Some(keeper) => drop(keeper.wait()),
            None => drop(std::fs::remove_dir_all(&self.dir)),
        }
    }
}

fn find_programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = PROGRAM_DIRS.iter().map(PathBuf::from).chain(std::env::split_paths(&path));
    dirs.into_iter().find(|dir| dir.join("rabbitmq-server").is_file() && dir.join("rabbitmqctl").is_file())
}

/// The only user, and the virtual hosts. Importing definitions also keeps `guest` from being made.
fn definitions(password: &str, vhosts: &[String]) -> Value {
    let vhosts: Vec<&str> = std::iter::once("/").chain(vhosts.iter().map(String::as_str)).collect();
    let named: Vec<Value> = vhosts.iter().map(|name| json!({ "name": name })).collect();
    let permissions: Vec<Value> = vhosts
        .iter()
        .map(|vhost| json!({ "user": "holdfast", "vhost": vhost, "configure": ".*", "write": ".*", "read": ".*" }))
        .collect();
    json!({
        "users": [{ "name": "holdfast", "password": password, "tags": "administrator" }],
        "vhosts": named,
        "permissions": permissions,
    })
}

fn config(dir: &Path) -> String {
    format!(
        "definitions.import_backend = local_filesystem\n\
         definitions.local.path = {}\n\
         log.file.level = warning\n",
        dir.join("definitions.json").display()
    )
}

fn write_files(dir: &Path, definitions: &Value) -> std::io::Result<()> {
    DirBuilder::new().mode(0o700).create(dir)?;
    let path = dir.join("definitions.json");
    std::fs::write(&path, definitions.to_string())?;
    std::fs::write(dir.join("rabbitmq.conf"), config(dir))?;
    std::fs::write(dir.join("rabbitmq-env.conf"), "")?;
    std::fs::write(dir.join("enabled_plugins"), "[].\n")
}

/// Four ports that are free now: AMQP, Erlang's distribution, its name server, AMQP over TLS.
fn free_ports() -> std::io::Result<[u16; 4]> {
    let mut listeners = Vec::new();
    let mut tries = 0;
    while listeners.len() < 4 {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, fastrand::u16(PORTS))) {
            Ok(listener) => listeners.push(listener),
            Err(error) if tries > 100 => return Err(error),
            Err(_) => tries += 1,
        }
    }
    let mut ports = [0; 4];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

async fn connect(port: u16) -> std::io::Result<tokio::net::TcpStream> {
    tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await
}

/// Does a broker answer the protocol header with a method frame?
async fn answers(port: u16) -> bool {
    let greeting = async {
        let mut socket = connect(port).await?;
        socket.write_all(b"AMQP\0\0\x09\x01").await?;
        socket.read_u8().await
    };
    greeting.await.is_ok_and(|kind| kind == 1)
}
