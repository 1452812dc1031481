//! From an address to an open connection, and back to nothing where that fails.
//!
//! The client gets a socket that is connected, and encrypted with `amqps://`. It can connect by itself, but
//! when that fails its io loop returns before it has stopped the two tasks beside it, which then wait for
//! ever (lapin 4.12): some 10 KiB with every attempt while the broker is away. And where somebody takes the
//! connection and never answers, its thread waits for as long as the socket is open; so whoever gives up
//! shuts it down.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Mutex;

use lapin::tcp::{AsyncTcpStream, OwnedIdentity, OwnedTLSConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties};

use crate::broker::session::BrokerError;
use crate::settings::Broker;
use crate::tls::ClientFiles;

/// Opens a connection. Dropped before its end, it leaves nothing behind either.
pub(super) async fn dial(uri: AMQPUri, trusted: OwnedTLSConfig, name: String) -> lapin::Result<Connection> {
    let runtime = lapin::runtime::default_runtime()?;
    let (host, port) = (uri.authority.host.clone(), uri.authority.port);
    let mut stream = AsyncTcpStream::connect(&runtime, runtime.to_socket_addrs((host.clone(), port))).await?;
    let mut handshake = None;
    if let AsyncTcpStream::Plain(socket) = &stream {
        handshake = Some(Handshake(Some(socket.get_ref().as_fd().try_clone_to_owned()?.into())));
    }
    if uri.scheme == AMQPScheme::AMQPS {
        stream = stream.into_tls(&host, trusted.as_ref()).await?;
    }
    let stream = Mutex::new(Some(stream));
    let once = async move |_, _| {
        let taken = stream.lock().expect("nothing panics under it").take();
        taken.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted).into())
    };
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let connection = Connection::connector(uri, runtime, once, properties).await?;
    handshake.as_mut().map(Handshake::is_done);
    Ok(connection)
}

/// The authorities to trust with `amqps://`, beside the public ones. Read at each connection, so
/// that a renewed file counts without a restart.
pub(super) async fn trust(settings: &Broker, uri: &AMQPUri) -> Result<OwnedTLSConfig, BrokerError> {
    let mut tls = OwnedTLSConfig::default();
    if uri.scheme == AMQPScheme::AMQPS {
        // Fails only where one is installed already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        if let Some(path) = &settings.ca_file {
            let unusable = |reason: String| BrokerError::CaFile { path: path.clone(), reason };
            let pem = tokio::fs::read_to_string(path).await.map_err(|error| unusable(error.to_string()))?;
            if !pem.contains("-----BEGIN CERTIFICATE-----") {
                return Err(unusable("it holds no certificate".to_owned()));
            }
            tls.cert_chain = Some(pem);
        }
        if let Some(files) = &settings.client_files {
            tls.identity = Some(identity(files)?);
        }
    }
    Ok(tls)
}

/// Who we are to a broker that asks.
fn identity(files: &ClientFiles) -> Result<OwnedIdentity, BrokerError> {
    let unusable = |reason: String| BrokerError::ClientFiles { reason };
    // The client says of a file only that something is wrong with it.
    files.read().map_err(unusable)?;
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| unusable(format!("{} cannot be used: {error}", path.display())))
    };
    Ok(OwnedIdentity::PKCS8 { pem: read(&files.certificate)?, key: read(&files.key)? })
}

/// A second handle on a socket, which shuts it down unless it came to a connection.
struct Handshake(Option<TcpStream>);

impl Handshake {
    fn is_done(&mut self) {
        self.0 = None;
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        if let Some(socket) = &self.0 {
            // One that is closed already has ended its thread.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// What a process of its own keeps of attempts that fail.
#[cfg(test)]
#[cfg(target_os = "linux")]
#[expect(clippy::print_stdout, reason = "the figures of a run")]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use tokio::net::TcpListener;

    use crate::broker::session::Session;
    use crate::broker::session::tests::settings;
    use crate::settings::Broker;

    /// Names the kind of peer, in a process that was started to try it.
    const PEER: &str = "HOLDFAST_TEST_PEER";

    /// Bytes that an attempt may leave: what the allocator does, and not what the client kept.
    const KEPT_MAX: u64 = 1 << 10;

    /// Threads that the runtime keeps for some seconds, to look up names with.
    const POOL: u64 = 4;

    /// What grows where something is left behind.
    #[derive(Debug, Clone, Copy)]
    struct Held {
        bytes: u64,
        threads: u64,
        sockets: usize,
        tasks: usize,
    }

    impl Held {
        fn now() -> Self {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let number = |name: &str| -> u64 {
                let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
                line.split_whitespace().next().unwrap().parse().unwrap()
            };
            Self {
                bytes: number("VmRSS:") << 10,
                threads: number("Threads:"),
                sockets: std::fs::read_dir("/proc/self/fd").unwrap().count(),
                tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            }
        }

        fn is_no_more_than(self, before: Self) -> bool {
            self.threads <= before.threads + POOL && self.sockets <= before.sockets && self.tasks <= before.tasks
        }

        /// What ends by itself has a moment to do so.
        async fn at_rest(before: Self) -> Self {
            let began = Instant::now();
            loop {
                let now = Self::now();
                if now.is_no_more_than(before) || began.elapsed() > Duration::from_secs(10) {
                    return now;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    async fn try_in_vain(broker: &Broker, times: u64) {
        for _ in 0..times {
            assert!(Session::open(broker, "test").await.is_err());
        }
    }

    /// How often a peer is tried, and for how long each time.
    async fn peer(kind: &str) -> (Broker, u64) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let scheme = if kind.ends_with("TLS") { "amqps" } else { "amqp" };
        let mut broker = settings(&format!("{scheme}://u:p@127.0.0.1:{port}/%2f"));
        let (times, limit) = match kind {
            "refuses" => (4_000, 10_000),
            "closes" | "closes TLS" => (2_000, 10_000),
            "is silent" | "is silent to TLS" => (100, 30),
            _ => panic!("{kind}"),
        };
        broker.connect_timeout = Duration::from_millis(limit);
        if kind != "refuses" {
            // A thread, so that it is no task of ours.
            let listener = listener.into_std().unwrap();
            listener.set_nonblocking(false).unwrap();
            let closes = kind.starts_with("closes");
            std::thread::spawn(move || {
                for socket in listener.incoming().filter(|_| !closes) {
                    // Until the other side has enough of it.
                    std::thread::spawn(move || std::io::copy(&mut socket.unwrap(), &mut std::io::sink()));
                }
            });
        }
        (broker, times)
    }

    async fn try_a_peer(kind: &str) {
        let (broker, times) = peer(kind).await;
        let alone = Held::now();
        try_in_vain(&broker, times / 4).await;
        let before = Held::at_rest(alone).await;
        try_in_vain(&broker, times).await;
        let after = Held::at_rest(before).await;
        let kept = after.bytes.saturating_sub(before.bytes) / times;
        println!("{times} attempts at a peer that {kind}: {kept} bytes each; {before:?}, {after:?}");
        assert!(after.is_no_more_than(before));
        // With so few, the pages that a thread touched for the first time count for more than what is kept.
        assert!(times < 1_000 || kept < KEPT_MAX, "{kept} bytes");
    }

    #[test]
    fn attempts_in_vain_leave_nothing_behind() {
        if let Ok(kind) = std::env::var(PEER) {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            return runtime.block_on(try_a_peer(&kind));
        }
        let this = "broker::dial::tests::attempts_in_vain_leave_nothing_behind";
        for kind in ["refuses", "closes", "closes TLS", "is silent", "is silent to TLS"] {
            let mut child = Command::new(std::env::current_exe().unwrap());
            let output = child.args(["--exact", this, "--nocapture"]).env(PEER, kind).output().unwrap();
            let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            print!("{said}");
            assert!(output.status.success() && said.contains("1 passed"), "a peer that {kind}:\n{said}");
        }
    }
}
