//! The ledger's file: there, where it can be relied on, and with room to grow.

use std::path::Path;

use bytesize::ByteSize;

use super::Check;
use crate::ledger::health::{self, Place};
use crate::ledger::postgres::Address;
use crate::ledger::{LedgerError, Source};
use crate::settings::Settings;

/// The checks, and whether a worker holds the ledger; `None` where that cannot be told.
pub(super) fn check(settings: &Settings) -> (Vec<Check>, Option<bool>) {
    let path = match &settings.ledger {
        Source::Sqlite(path) => path,
        Source::Postgres(address) => return server(address),
    };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let is_served = health::is_served(path).ok();
    let checks =
        vec![file(path, directory, is_served), place(directory), room(directory, settings.worker.disk_free_min)];
    (checks, is_served)
}

/// A server that forgets, that does not write or that is too old does not get so far as to be looked at.
fn server(address: &Address) -> (Vec<Check>, Option<bool>) {
    let (about, shown) = ("ledger", address.shown());
    let health = match health::look_at_server(address) {
        Ok(Some(health)) => health,
        Ok(None) => {
            let found = format!("there is none in {shown} yet: the worker creates it when it first runs");
            return (vec![Check::ok(about, found)], Some(false));
        }
        Err(error @ LedgerError::Away(_)) => {
            let way_out = "check ledger.url, whether PostgreSQL runs there, and who may connect (pg_hba.conf)";
            return (vec![Check::unreachable(about, error.to_string(), way_out)], None);
        }
        Err(error) => {
            let way_out =
                "ledger.url has to name a primary of PostgreSQL 14 or newer, with fsync and full_page_writes on";
            return (vec![Check::wrong(about, error.to_string(), way_out)], None);
        }
    };
    let workers = match &health.workers[..] {
        [] => "no worker runs on it".to_owned(),
        [name] => format!("one worker runs on it, {name}"),
        names => format!("{} workers run on it: {}", names.len(), names.join(", ")),
    };
    let found = format!(
        "{shown}, {}: PostgreSQL {}, committed with synchronous_commit on, fsync and full_page_writes on, the \
         connection {}; {workers}",
        ByteSize(health.bytes),
        health.version,
        if health.is_encrypted { "encrypted" } else { "not encrypted" },
    );
    (vec![Check::ok(about, found)], Some(!health.workers.is_empty()))
}

fn file(path: &Path, directory: &Path, is_served: Option<bool>) -> Check {
    let about = "ledger";
    let shown = path.display();
    if path.try_exists().is_ok_and(|exists| !exists) {
        if rustix::fs::access(directory, rustix::fs::Access::WRITE_OK).is_err() {
            let found = format!("there is none at {shown}, and its directory cannot be written");
            return Check::wrong(about, found, "make the directory, owned by the worker's user");
        }
        return Check::ok(about, format!("there is none at {shown} yet: the worker creates it when it first runs"));
    }
    let health = match health::look(path) {
        Ok(health) => health,
        Err(error) => {
            let way_out = "check ledger.url: it has to name a ledger of this version, which its worker makes";
            return Check::wrong(about, error.to_string(), way_out);
        }
    };
    if !health.journal_mode.eq_ignore_ascii_case("wal") {
        let found = format!("{shown} has journal_mode {}, not WAL", health.journal_mode);
        return Check::wrong(about, found, "put it on a local disk, and start the worker once");
    }
    if !health.is_sqlite_sound {
        return Check::wrong(about, format!("SQLite {} can corrupt it", health.sqlite), "build with a newer one");
    }
    let worker = match is_served {
        Some(true) => "a worker holds it",
        Some(false) => "no worker runs on it",
        None => "whether a worker runs on it cannot be told",
    };
    let size = ByteSize(health.bytes);
    Check::ok(
        about,
        format!(
            "{shown}, {size}: journal_mode WAL, committed with synchronous FULL, SQLite {}; {worker}",
            health.sqlite
        ),
    )
}

fn place(directory: &Path) -> Check {
    let about = "ledger's place";
    let way_out =
        "put ledger.url on a local disk that outlives the machine's stops: it is the memory of what was captured";
    match health::place(directory) {
        None => Check::unknown(about, "the system does not tell what it is on"),
        Some(Place::Disk) => Check::ok(about, "no network file system, and not in memory"),
        Some(Place::Memory) => Check::wrong(about, "in memory: it is gone when the machine stops", way_out),
        Some(Place::Network) => Check::wrong(about, "on a network: locks and syncs cannot be relied on there", way_out),
        Some(Place::Container) => Check::wrong(about, "in the layer of a container: it is gone with it", way_out),
    }
}

fn room(directory: &Path, least: u64) -> Check {
    let about = "ledger's disk";
    let Some(free) = free(directory) else {
        return Check::unknown(about, "the system does not tell how much is free");
    };
    let found = format!("{} free, {} needed", ByteSize(free), ByteSize(least));
    if free < least {
        return Check::wrong(about, found, "make room, or lower capture.disk_free_min: the worker does not consume");
    }
    Check::ok(about, found)
}

fn free(directory: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(directory).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}
