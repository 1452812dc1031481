//! The ledger is on a small file system of its own, and that gets full at any moment: the worker ends with exit
//! code 4, and goes on once there is room. A file system can be mounted by root only; for anybody else the
//! files of the worker are bounded, as in the tests of replays.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::geteuid;

use crate::say;
use crate::stage::{IMPATIENT, Stage, Workload};
use crate::support::worker::Worker;

/// How often it gets full.
const TIMES: usize = 6;

/// The file system's size.
const SIZE: &str = "size=16m";

/// Longest that a page of the ledger's journal can be short of room, in bytes.
const ROOM_MAX: u64 = 48 << 10;

/// Between two orders while it is nearly full.
const PAUSE: Duration = Duration::from_millis(20);

/// A file system in memory. Dropping it takes it away.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf) -> Self {
        std::fs::create_dir(&at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", SIZE, "holdfast-test"]).arg(&at).status();
        assert!(mounted.unwrap().success(), "root can mount a file system");
        Self(at)
    }

    /// Nothing fits any more but so many bytes.
    fn fill(&self, but: u64) {
        let disk = rustix::fs::statvfs(&self.0).unwrap();
        let size = (disk.f_bavail * disk.f_frsize).saturating_sub(but);
        let mut file = std::fs::File::create(self.ballast()).unwrap();
        file.write_all(&vec![0; usize::try_from(size).unwrap()]).unwrap();
    }

    fn make_room(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Where the ledger is, and how it gets full.
enum Disk {
    Small(SmallDisk),
    Bounded,
}

impl Disk {
    /// Before the first worker. Everybody finds the ledger where it always is.
    fn of(ledger: &Path) -> Self {
        if !geteuid().is_root() {
            return Self::Bounded;
        }
        let disk = SmallDisk::mount(ledger.with_file_name("small-disk"));
        std::os::unix::fs::symlink(disk.0.join("holdfast.db"), ledger).unwrap();
        Self::Small(disk)
    }

    fn fill(&self, worker: &Worker, ledger: &Path, room: u64) {
        match self {
            Self::Small(disk) => disk.fill(room),
            Self::Bounded => {
                let journal = std::fs::metadata(format!("{}-wal", ledger.display())).map_or(0, |file| file.len());
                worker.fill_disk(journal + room);
            }
        }
    }

    fn make_room(&self) {
        match self {
            Self::Small(disk) => disk.make_room(),
            // It was the worker's that has ended.
            Self::Bounded => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_ends_the_worker_and_loses_nothing() {
    let seed = std::env::var("HOLDFAST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    say(&format!("seed {seed}: HOLDFAST_SEED={seed} cargo test --test syscalls a_disk_that_is_full"));
    let mut stage = Stage::new(Workload::Often).await;
    let ledger = stage.ledger();
    let disk = Disk::of(&ledger);
    // It would stop taking messages long before.
    let environment = [&IMPATIENT[..], &[("HOLDFAST_CAPTURE__DISK_FREE_MIN", "1")]].concat();
    for _ in 0..TIMES {
        let mut worker = stage.world.worker_on_a_small_disk(&environment);
        worker.readiness("\"ready\":true").await;
        stage.ship().await;
        stage.is_done().await;
        disk.fill(&worker, &ledger, random.random_range(0..ROOM_MAX));
        // What is left of the room is soon used up.
        let ended = loop {
            stage.ship().await;
            if let Ok(status) = tokio::time::timeout(PAUSE, worker.ended()).await {
                break status;
            }
        };
        assert_eq!(ended.code(), Some(4), "seed {seed}: the ledger failed, and the worker ends: {ended}");
        disk.make_room();
        stage.recovers().await;
    }
    let how = if matches!(disk, Disk::Small(_)) { "a file system of 16 MiB" } else { "bounded files" };
    say(&format!(
        "proof: full disk, seed {seed}: {how} got full {TIMES} times, the worker ended with exit code 4 each time, and \
         all books agree"
    ));
}
