//! A private PostgreSQL server for the tests: installed programs, own directory, own port, loopback only,
//! any user.
//!
//! Nothing of it outlives us: a shell beside the server waits for the end of its standard input, which
//! comes even when this process is killed, then ends the server and removes the directory. Everything
//! that keeps data durable stays switched on. This is no way to run a database for production.

use std::fs::DirBuilder;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use uuid::Uuid;

/// Where Debian has the programs of each major version, and Homebrew those of one.
const DEBIAN: &str = "/usr/lib/postgresql";
const HOMEBREW: [&str; 2] = ["/opt/homebrew/opt", "/usr/local/opt"];

/// In memory, so that a sync costs next to nothing, where there is room for so much.
const MEMORY: &str = "/dev/shm";
const MEMORY_MIN: u64 = 512 << 20;

/// Runs beside the server. `pg_ctl` waits until it answers.
const KEEPER: &str = r#"
cd "$HOLDFAST_DIR" || exit 1
"$HOLDFAST_PROGRAMS/initdb" -D data -U holdfast --pwfile=password --auth-local=trust \
    --auth-host=scram-sha-256 -E UTF8 --locale=C --no-sync >init.log 2>&1 || { cat init.log; exit 1; }
cp postgresql.conf data/postgresql.auto.conf
"$HOLDFAST_PROGRAMS/pg_ctl" -D data -l server.log -t 120 -w start >init.log 2>&1 || { cat init.log server.log; exit 1; }
echo ready
exec >/dev/null
read -r word
"$HOLDFAST_PROGRAMS/pg_ctl" -D data -m immediate stop >/dev/null 2>&1
cd /
# Who may not remove it from where it is leaves it empty.
rm -rf "$HOLDFAST_DIR" 2>/dev/null
"#;

/// Why there is no local server.
#[derive(Debug, Error)]
pub enum LocalServerError {
    /// PostgreSQL is not installed.
    #[error(
        "PostgreSQL's programs are not installed: install them (apt-get install postgresql, brew install postgresql)"
    )]
    NotInstalled,
    /// A file, directory or process could not be made.
    #[error("cannot start a local PostgreSQL in {dir}: {source}")]
    Io {
        /// The server's directory.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// One of its programs failed.
    #[error("{program} failed: {output}")]
    Failed {
        /// Which one.
        program: &'static str,
        /// What it said.
        output: String,
    },
}

/// A running server. Dropping it ends it and removes its directory.
#[derive(Debug)]
pub struct LocalServer {
    dir: PathBuf,
    programs: PathBuf,
    port: u16,
    password: SecretString,
    /// Whom the programs run as: they refuse to run as root.
    user: Option<(u32, u32)>,
    databases: AtomicU32,
    keeper: Option<Child>,
}

impl LocalServer {
    /// Starts a server in a new directory, in memory where there is room, which takes a second or two.
    ///
    /// # Errors
    /// [`LocalServerError`]; nothing is left behind.
    pub fn start() -> Result<Self, LocalServerError> {
        Self::start_in(&parent())
    }

    /// Starts a server in a new directory in this one, on its disk.
    ///
    /// # Errors
    /// [`LocalServerError`]; nothing is left behind.
    pub fn start_in(parent: &Path) -> Result<Self, LocalServerError> {
        let programs = find_programs().ok_or(LocalServerError::NotInstalled)?;
        // The path of its socket is in there, and must not have more than 107 characters.
        let (id, _) = Uuid::new_v4().as_u64_pair();
        let dir = parent.join(format!("holdfast-postgres-{id:016x}"));
        let lost = |source| LocalServerError::Io { dir: dir.clone(), source };
        let password = Uuid::new_v4().simple().to_string();
        let port = free_port().map_err(lost)?;
        let user = unprivileged_user();
        write_files(&dir, &password, port, user).map_err(lost)?;
        let databases = AtomicU32::new(0);
        let mut server =
            Self { dir: dir.clone(), programs, port, password: password.into(), user, databases, keeper: None };
        let mut command = server.command("sh");
        command.arg("-c").arg(KEEPER).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut keeper = command.spawn().map_err(lost)?;
        let mut said = BufReader::new(keeper.stdout.take().expect("it is piped"));
        server.keeper = Some(keeper);
        let mut output = String::new();
        said.read_line(&mut output).map_err(lost)?;
        if output.trim() == "ready" {
            return Ok(server);
        }
        let _ = said.read_to_string(&mut output);
        Err(LocalServerError::Failed { program: "initdb", output })
    }

    /// Creates a database with a name of its own and returns its address, through a socket in the
    /// server's directory.
    ///
    /// # Errors
    /// [`LocalServerError::Failed`].
    pub fn create_database(&self) -> Result<Database, LocalServerError> {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let port = self.port.to_string();
        self.run("createdb", &["-h", &self.dir.display().to_string(), "-p", &port, "-U", "holdfast", &name])?;
        let socket = percent_encoding::utf8_percent_encode(
            self.dir.to_str().expect("its name is ours"),
            percent_encoding::NON_ALPHANUMERIC,
        );
        let password = self.password.expose_secret();
        Ok(Database {
            url: format!("postgres://holdfast@{socket}:{port}/{name}").into(),
            tcp_url: format!("postgres://holdfast:{password}@127.0.0.1:{port}/{name}").into(),
            name,
        })
    }

    /// The port on 127.0.0.1.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The server's own directory; the programs' user may write there.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Restarts it as a crash does: nobody is waited for, and what was not durable is lost.
    ///
    /// # Errors
    /// [`LocalServerError::Failed`].
    pub fn crash_and_restart(&self) -> Result<(), LocalServerError> {
        self.crash()?;
        self.start_again()
    }

    /// Stops it as a crash does, until [`LocalServer::start_again`].
    ///
    /// # Errors
    /// [`LocalServerError::Failed`].
    pub fn crash(&self) -> Result<(), LocalServerError> {
        self.pg_ctl(&["-m", "immediate", "stop"])
    }

    /// Starts it again on the same directory and port.
    ///
    /// # Errors
    /// [`LocalServerError::Failed`].
    pub fn start_again(&self) -> Result<(), LocalServerError> {
        self.pg_ctl(&["start"])
    }

    /// Serves TLS from now on, with this certificate and key (PEM).
    ///
    /// # Errors
    /// [`LocalServerError`].
    pub fn serve_tls(&self, certificate: &str, key: &str) -> Result<(), LocalServerError> {
        let lost = |source| LocalServerError::Io { dir: self.dir.clone(), source };
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let path = self.dir.join("data").join(name);
            write_private(&path, text, self.user).map_err(lost)?;
        }
        let path = self.dir.join("data/postgresql.auto.conf");
        let settings = std::fs::read_to_string(&path).map_err(lost)?;
        std::fs::write(&path, settings + "ssl = on\n").map_err(lost)?;
        self.crash_and_restart()
    }

    /// Has only clients come in over TCP that have a certificate of this authority (PEM) in the name of their
    /// user, instead of a password; to be called after [`LocalServer::serve_tls`].
    ///
    /// # Errors
    /// [`LocalServerError`].
    pub fn demand_certificates(&self, authority: &str) -> Result<(), LocalServerError> {
        let data = self.dir.join("data");
        let write = || {
            write_private(&data.join("clients.crt"), authority, self.user)?;
            let rules = "local all all trust\nhostssl all all 127.0.0.1/32 cert\nhostssl all all ::1/128 cert\n";
            write_private(&data.join("pg_hba.conf"), rules, self.user)?;
            let path = data.join("postgresql.auto.conf");
            let settings = std::fs::read_to_string(&path)?;
            std::fs::write(&path, settings + "ssl_ca_file = 'clients.crt'\n")
        };
        write().map_err(|source| LocalServerError::Io { dir: self.dir.clone(), source })?;
        self.crash_and_restart()
    }

    /// The next start is as a standby, of nobody.
    ///
    /// # Errors
    /// [`LocalServerError::Io`].
    pub fn become_standby(&self) -> Result<(), LocalServerError> {
        let path = self.dir.join("data/standby.signal");
        write_private(&path, "", self.user).map_err(|source| LocalServerError::Io { dir: self.dir.clone(), source })
    }

    /// Runs a statement as the server's owner, in the database of the same name as it, by `psql`; returns
    /// what it prints.
    ///
    /// # Errors
    /// [`LocalServerError::Failed`].
    pub fn psql(&self, sql: &str) -> Result<String, LocalServerError> {
        let (dir, port) = (self.dir.display().to_string(), self.port.to_string());
        self.run("psql", &["-h", &dir, "-p", &port, "-U", "holdfast", "-d", "postgres", "-qAtc", sql])
    }

    fn pg_ctl(&self, arguments: &[&str]) -> Result<(), LocalServerError> {
        let (data, log) = (self.dir.join("data"), self.dir.join("server.log"));
        let (data, log) = (data.display().to_string(), log.display().to_string());
        let common = ["-D", &data, "-l", &log, "-t", "120", "-w"];
        let ran = self.run("pg_ctl", &[&common[..], arguments].concat());
        ran.map(drop).map_err(|error| match error {
            LocalServerError::Failed { program, output } => {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let end = lines[lines.len().saturating_sub(10)..].join("\n");
                LocalServerError::Failed { program, output: format!("{output}\n{end}") }
            }
            LocalServerError::NotInstalled | LocalServerError::Io { .. } => error,
        })
    }

    fn run(&self, program: &'static str, arguments: &[&str]) -> Result<String, LocalServerError> {
        let failed = |output: String| LocalServerError::Failed { program, output };
        // The server inherits what it is started with: a pipe would stay open with it.
        let answer = self.dir.join(format!("{program}-{}.out", Uuid::new_v4().simple()));
        let file = std::fs::File::create(&answer).map_err(|error| failed(error.to_string()))?;
        let also = file.try_clone().map_err(|error| failed(error.to_string()))?;
        let mut command = self.command(self.programs.join(program));
        command.args(arguments).stdin(Stdio::null()).stdout(file).stderr(also);
        let status = command.status().map_err(|error| failed(error.to_string()))?;
        let output = std::fs::read_to_string(&answer).unwrap_or_default();
        let _ = std::fs::remove_file(&answer);
        if status.success() { Ok(output) } else { Err(failed(output.trim().to_owned())) }
    }

    /// A command that sees nothing of our environment but `PATH`.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("LC_ALL", "C").env("TZ", "UTC");
        command.env("HOLDFAST_DIR", &self.dir).env("HOLDFAST_PROGRAMS", &self.programs);
        command.current_dir("/");
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        if let Some(keeper) = &mut self.keeper {
            // Waiting closes its standard input first.
            let _ = keeper.wait();
        }
        // One that never started has not removed it.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A database of a local server.
#[derive(Debug, Clone)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Its address, through the socket.
    pub url: SecretString,
    /// Its address over TCP, with a password.
    pub tcp_url: SecretString,
}

fn parent() -> PathBuf {
    let has_room =
        rustix::fs::statvfs(MEMORY).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) > MEMORY_MIN);
    if has_room { PathBuf::from(MEMORY) } else { std::env::temp_dir() }
}

fn find_programs() -> Option<PathBuf> {
    let under = |dir: &str| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let version = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?;
        name.strip_prefix("postgresql@").unwrap_or(name).parse::<u32>().ok()
    };
    let mut versions: Vec<PathBuf> = under(DEBIAN).chain(HOMEBREW.into_iter().flat_map(under)).collect();
    versions.retain(|path| version(path).is_some());
    versions.sort_unstable_by_key(|path| std::cmp::Reverse(version(path)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = versions.into_iter().map(|version| version.join("bin")).chain(std::env::split_paths(&path));
    dirs.into_iter().find(|dir| dir.join("initdb").is_file() && dir.join("pg_ctl").is_file())
}

/// Somebody else, where we are root: the package's own user, or nobody.
fn unprivileged_user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    ["postgres", "nobody"].into_iter().find_map(|wanted| {
        let line = users.lines().find(|line| line.split(':').next() == Some(wanted))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}

fn write_files(dir: &Path, password: &str, port: u16, user: Option<(u32, u32)>) -> std::io::Result<()> {
    DirBuilder::new().mode(0o700).create(dir)?;
    let settings = format!(
        "port = {port}\n\
         listen_addresses = '127.0.0.1'\n\
         unix_socket_directories = '{}'\n\
         max_connections = 300\n\
         shared_preload_libraries = 'pg_stat_statements'\n\
         compute_query_id = on\n",
        dir.display()
    );
    write_private(&dir.join("postgresql.conf"), &settings, user)?;
    write_private(&dir.join("password"), password, user)?;
    user.map_or(Ok(()), |(user, group)| chown(dir, Some(user), Some(group)))
}

fn write_private(path: &Path, text: &str, user: Option<(u32, u32)>) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    user.map_or(Ok(()), |(user, group)| chown(path, Some(user), Some(group)))
}

/// A port that is free now.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::OnceLock;

    use super::*;

    /// The one server of a test run. It ends with the process.
    pub(crate) fn server() -> &'static LocalServer {
        static SERVER: OnceLock<LocalServer> = OnceLock::new();
        SERVER.get_or_init(|| LocalServer::start().expect("PostgreSQL is installed"))
    }

    #[test]
    fn a_server_keeps_what_is_durable_through_a_crash_and_leaves_nothing_behind() {
        let server = LocalServer::start().expect("PostgreSQL is installed");
        let dir = server.dir().to_path_buf();
        for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
            assert_eq!(server.psql(&format!("SHOW {setting}")).expect("it answers").trim(), "on", "{setting}");
        }
        server.psql("CREATE TABLE kept AS SELECT 7 AS number").expect("it answers");
        server.crash_and_restart().expect("it comes back");
        assert_eq!(server.psql("SELECT number FROM kept").expect("it answers").trim(), "7");
        let database = server.create_database().expect("created");
        assert!(!format!("{server:?}{database:?}").contains(server.password.expose_secret()));
        drop(server);
        assert!(!dir.exists(), "{}", dir.display());
    }
}
