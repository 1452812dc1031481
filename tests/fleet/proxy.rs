//! The network between a worker and a server, which can be cut: by a reset, by silence in both directions,
//! by a reset that only one side hears of, and in the middle of a COMMIT. Until then everything passes
//! unchanged.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// How long a server that does not hear of a reset believes in its connection.
const BELIEF: Duration = Duration::from_secs(3);

/// Longer than a transaction takes to end whose COMMIT has come.
const COMMITTED: Duration = Duration::from_millis(500);

/// The end of a transaction, as a worker sends it to PostgreSQL.
const COMMIT: &[u8] = b"COMMIT\0";

/// What a worker says at the beginning of the connection that its captures are written on, and on no other.
const WRITES: &[u8] = b"enable_seqscan";

/// What a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    Postgres,
    Amqp,
}

/// What happens to the next COMMIT of captures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// It arrives, and its answer does not.
    Unanswered,
    /// It never arrives.
    Lost,
}

/// How the network is.
#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    /// Nothing passes, and nobody is told.
    is_silent: bool,
    /// Resets so far. A connection ends with the first one after its beginning.
    resets: u64,
    /// The server does not hear of the last one.
    is_one_sided: bool,
}

/// A proxy in front of one server.
pub struct Proxy {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    line: Arc<Line>,
    _task: AbortOnDropHandle<()>,
}

struct Line {
    server: u16,
    speaks: Speaks,
    weather: watch::Sender<Weather>,
    commit: Mutex<Option<Commit>>,
    cut_commits: AtomicUsize,
    redeliveries: AtomicUsize,
}

impl Proxy {
    /// In front of a port of 127.0.0.1.
    pub async fn start(server: u16, speaks: Speaks) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let weather = watch::Sender::new(Weather::default());
        let (commit, cut_commits, redeliveries) = (Mutex::new(None), AtomicUsize::new(0), AtomicUsize::new(0));
        let line = Arc::new(Line { server, speaks, weather, commit, cut_commits, redeliveries });
        let of_task = Arc::clone(&line);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(carry(client, Arc::clone(&of_task)));
            }
        });
        Self { port, line, _task: AbortOnDropHandle::new(task) }
    }

    /// Every connection ends, and what was on its way is lost. Where only one side hears of it, the server
    /// goes on believing in it for a while.
    pub fn reset(&self, is_one_sided: bool) {
        self.line.weather.send_modify(|weather| {
            weather.resets += 1;
            weather.is_one_sided = is_one_sided;
        });
    }

    /// Nothing passes in either direction until it does again.
    pub fn be_silent(&self, is_silent: bool) {
        self.line.weather.send_modify(|weather| weather.is_silent = is_silent);
    }

    /// The next COMMIT of captures ends its connection.
    pub fn cut_commit(&self, how: Commit) {
        *self.line.commit.lock().unwrap() = Some(how);
    }

    /// COMMITs that have ended their connections.
    pub fn cut_commits(&self) -> usize {
        self.line.cut_commits.load(Ordering::Relaxed)
    }

    /// Messages that RabbitMQ has said to have delivered before.
    pub fn redeliveries(&self) -> usize {
        self.line.redeliveries.load(Ordering::Relaxed)
    }
}

/// One connection, to its end.
async fn carry(mut client: TcpStream, line: Arc<Line>) {
    let mut weather = line.weather.subscribe();
    let begun = weather.borrow().resets;
    let ended = weather.clone();
    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, line.server)).await else {
        // As where nobody listens.
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let is_cut = AtomicBool::new(false);
    {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        tokio::select! {
            () = there(&line, ended.clone(), from_client, to_server, &is_cut) => {}
            () = back(&line, ended, from_server, to_client, &is_cut) => {}
            _ = weather.wait_for(|weather| weather.resets > begun) => is_cut.store(true, Ordering::Relaxed),
        }
    }
    if !is_cut.load(Ordering::Relaxed) {
        return;
    }
    let _ = client.set_zero_linger();
    drop(client);
    if line.weather.borrow().is_one_sided {
        tokio::time::sleep(BELIEF).await;
    }
    let _ = server.set_zero_linger();
}

/// From the worker to the server.
async fn there(
    line: &Line,
    mut weather: watch::Receiver<Weather>,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    is_cut: &AtomicBool,
) {
    let mut buffer = vec![0; 64 << 10];
    let mut writes = false;
    while let Some(read) = pass(&mut weather, &mut from, &mut buffer).await {
        let says = |what: &[u8]| read.windows(what.len()).any(|bytes| bytes == what);
        writes = writes || says(WRITES);
        let cut = if writes && says(COMMIT) { line.commit.lock().unwrap().take() } else { None };
        if cut.is_some() {
            line.cut_commits.fetch_add(1, Ordering::Relaxed);
            is_cut.store(true, Ordering::Relaxed);
        }
        if cut == Some(Commit::Lost) || to.write_all(read).await.is_err() {
            return;
        }
        if cut == Some(Commit::Unanswered) {
            tokio::time::sleep(COMMITTED).await;
            return;
        }
    }
}

/// From the server to the worker.
async fn back(
    line: &Line,
    mut weather: watch::Receiver<Weather>,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    is_cut: &AtomicBool,
) {
    let mut buffer = vec![0; 64 << 10];
    let mut frames = Frames::default();
    while let Some(read) = pass(&mut weather, &mut from, &mut buffer).await {
        if line.speaks == Speaks::Amqp {
            line.redeliveries.fetch_add(frames.redeliveries(read), Ordering::Relaxed);
        }
        // The answer to a COMMIT that is to stay without one goes nowhere.
        if !is_cut.load(Ordering::Relaxed) && to.write_all(read).await.is_err() {
            return;
        }
    }
}

/// The next bytes that pass; none at the end.
async fn pass<'a>(
    weather: &mut watch::Receiver<Weather>,
    from: &mut ReadHalf<'_>,
    buffer: &'a mut [u8],
) -> Option<&'a [u8]> {
    let read = from.read(buffer).await.unwrap_or(0);
    weather.wait_for(|weather| !weather.is_silent).await.ok()?;
    (read > 0).then(|| &buffer[..read])
}

/// AMQP's frames: a type, a channel, a length, so many bytes, and an end.
#[derive(Default)]
struct Frames {
    begun: Vec<u8>,
}

impl Frames {
    /// Counts the deliveries that are said to be repeated.
    fn redeliveries(&mut self, bytes: &[u8]) -> usize {
        /// Method frame; class `basic`, method `deliver`.
        const METHOD: u8 = 1;
        const DELIVER: [u8; 4] = [0, 60, 0, 60];
        self.begun.extend_from_slice(bytes);
        let mut count = 0;
        while let Some((head, rest)) = self.begun.split_first_chunk::<7>() {
            let length = usize::try_from(u32::from_be_bytes([head[3], head[4], head[5], head[6]])).unwrap();
            if rest.len() <= length {
                break;
            }
            if head[0] == METHOD
                && let Some(arguments) = rest[..length].strip_prefix(&DELIVER)
            {
                // A short text (the consumer's tag), eight bytes (the delivery's), a bit.
                count += usize::from(arguments[1 + usize::from(arguments[0]) + 8] & 1);
            }
            self.begun.drain(..=7 + length);
        }
        count
    }
}
