//! A throwaway cluster: made by initdb, run as long as its `Cluster` lives, then removed.
//!
//! Each one is a real initdb (0.4 s). A copied template would be faster, but all its copies share
//! one system identifier, which core puts into the names of table synchronization slots and by
//! which the extension tells publishers apart.
//!
//! The superuser `postgres` comes in through the unix socket, whose folder only the server's
//! account and root may enter; everyone else by TCP with a password, over TLS if they ask for it.

use crate::account::{self, Account, Lifetime};
use crate::clock::Clock;
use crate::command;
use crate::majors::{self, Install};
use crate::poll::poll_until;
use crate::port::Port;
use crate::{tls, tools};
use anyhow::{Context, Result, bail, ensure};
use postgres::{Client, NoTls};
use rustix::process::{Pid, Signal, kill_process};
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{LazyLock, Once, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The password of every role that `create_role` makes and `connect` uses.
pub const PASSWORD: &str = "throwaway password";

const SUPERUSER: &str = "postgres";
const DEADLINE: Duration = Duration::from_secs(60);
/// /tmp and nothing deeper: the path of a unix socket may have 107 bytes.
const CLUSTERS: &str = "/tmp";
const PREFIX: &str = "pgmig-";

pub struct Cluster {
    install: Install,
    account: Option<Account>,
    environment: Vec<(String, String)>,
    port: Port,
    postmaster: Option<Child>,
    dir: TempDir,
}

/// How a server is shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Waits for all sessions to end by themselves.
    Smart,
    /// Ends all sessions, then writes a checkpoint.
    Fast,
    /// Stops at once; the next start goes through crash recovery.
    Immediate,
}

/// What a cluster is to be like before it starts.
#[derive(Debug, Clone)]
pub struct Builder {
    major: u16,
    settings: Vec<(String, String)>,
    preload: Vec<String>,
    hba: String,
    tls_only: bool,
    environment: Vec<(String, String)>,
}

impl Builder {
    /// A setting in postgresql.conf; the last one of a name wins.
    pub fn config(mut self, name: &str, value: impl Display) -> Builder {
        self.settings.push((name.to_owned(), value.to_string()));
        self
    }

    /// One more library in shared_preload_libraries.
    pub fn preload(mut self, library: &str) -> Builder {
        self.preload.push(library.to_owned());
        self
    }

    /// Lines of pg_hba.conf that go before the usual ones, and so win over them.
    pub fn hba(mut self, lines: &str) -> Builder {
        self.hba.push_str(lines);
        self.hba.push('\n');
        self
    }

    /// TCP connections without TLS are refused.
    pub fn tls_only(mut self) -> Builder {
        self.tls_only = true;
        self
    }

    /// Off unless asked for. Even then `kill9` loses nothing: the kernel keeps what was written.
    pub fn fsync(self, on: bool) -> Builder {
        self.config("fsync", on)
    }

    /// A wall clock that can be set. It must outlive the server.
    pub fn clock(self, clock: &Clock) -> Builder {
        clock.environment().iter().fold(self, |builder, (name, value)| builder.env(name, value))
    }

    /// A variable in the server's environment, which is empty but for PATH.
    pub fn env(mut self, name: &str, value: &str) -> Builder {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn start(self) -> Result<Cluster> {
        let mut cluster = Cluster::without_data(self.major, self.environment.clone())?;
        cluster.initdb()?;
        cluster.configure(&self)?;
        cluster.launch(Lifetime::OfParent)?;
        Ok(cluster)
    }

    fn postgresql_conf(&self, port: u16, socket_dir: &Path) -> String {
        let mut lines = format!(
            "port = {port}\n\
             listen_addresses = '127.0.0.1'\n\
             unix_socket_directories = {socket_dir}\n\
             ssl = on\n\
             password_encryption = 'scram-sha-256'\n\
             wal_level = logical\n\
             max_worker_processes = 100\n\
             max_replication_slots = 30\n\
             max_wal_senders = 30\n\
             max_logical_replication_workers = 30\n\
             max_sync_workers_per_subscription = 4\n\
             wal_retrieve_retry_interval = '100ms'\n\
             shared_buffers = '32MB'\n\
             fsync = off\n\
             log_line_prefix = '%m [%p] %b %q%u@%d/%a '\n",
            socket_dir = setting_value(&socket_dir.display().to_string()),
        );
        if self.major >= 18 {
            // Until 17 max_replication_slots limits these too.
            lines.push_str("max_active_replication_origins = 30\n");
        }
        if !self.preload.is_empty() {
            let libraries = setting_value(&self.preload.join(","));
            lines.push_str(&format!("shared_preload_libraries = {libraries}\n"));
        }
        for (name, value) in &self.settings {
            lines.push_str(&format!("{name} = {}\n", setting_value(value)));
        }
        lines
    }

    fn pg_hba_conf(&self) -> String {
        let tcp = if self.tls_only { "hostssl" } else { "host" };
        format!(
            "{}\
             local all,replication {SUPERUSER} trust\n\
             {tcp} all,replication all 127.0.0.1/32 scram-sha-256\n",
            self.hba
        )
    }
}

impl Cluster {
    pub fn builder(major: u16) -> Builder {
        Builder {
            major,
            settings: Vec::new(),
            preload: Vec::new(),
            hba: String::new(),
            tls_only: false,
            environment: Vec::new(),
        }
    }

    pub fn start(major: u16) -> Result<Cluster> {
        Cluster::builder(major).start()
    }

    /// A streaming standby that accepts connections, configured as this server is but for `settings`.
    /// It has a slot of its own here.
    pub fn standby(&self, settings: &[(&str, &str)]) -> Result<Cluster> {
        let mut standby = Cluster::without_data(self.major(), self.environment.clone())?;
        let slot = format!("standby_{}", standby.port());
        standby.copy_from(self, &slot)?;
        standby.follow(self, &slot, settings)?;
        standby.launch(Lifetime::OfParent)?;
        Ok(standby)
    }

    fn without_data(major: u16, environment: Vec<(String, String)>) -> Result<Cluster> {
        sweep_once();
        let install = majors::prepare(major)?;
        let account = Account::for_servers()?;
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let dir = tempfile::Builder::new().prefix(&prefix).tempdir_in(CLUSTERS)?;
        account::give(dir.path(), account.as_ref())?;
        let port = Port::reserve()?;
        Ok(Cluster { install, account, environment, port, postmaster: None, dir })
    }

    pub fn major(&self) -> u16 {
        self.install.major
    }

    /// On 127.0.0.1; the same one after a restart.
    pub fn port(&self) -> u16 {
        self.port.number
    }

    /// The postmaster's; `None` while the server is stopped.
    pub fn pid(&self) -> Option<u32> {
        self.postmaster.as_ref().map(Child::id)
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn socket_dir(&self) -> &Path {
        self.dir.path()
    }

    /// All that the server logged so far.
    pub fn log(&self) -> String {
        self.log_since(0)
    }

    /// In bytes: the place in the log for `log_since`.
    pub fn log_length(&self) -> u64 {
        fs::metadata(self.log_file()).map_or(0, |file| file.len())
    }

    /// What the server logged after its log had this length.
    pub fn log_since(&self, length: u64) -> String {
        let bytes = self.read_log(length).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn read_log(&self, from: u64) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.log_file())?;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// The superuser by unix socket, any other role by TCP with `PASSWORD`.
    pub fn connect(&self, user: &str, db: &str) -> Result<Client> {
        let conninfo = self.own_conninfo(user, db);
        Client::connect(&conninfo, NoTls)
            .with_context(|| format!("cannot connect to {self} as {user}, database {db}"))
    }

    pub fn superuser(&self, db: &str) -> Result<Client> {
        self.connect(SUPERUSER, db)
    }

    /// A role that may log in with `PASSWORD`; `attributes` as in CREATE ROLE.
    pub fn create_role(&self, name: &str, attributes: &str) -> Result<()> {
        let name = name.replace('"', "\"\"");
        let sql = format!("CREATE ROLE \"{name}\" LOGIN PASSWORD '{PASSWORD}' {attributes}");
        Ok(self.superuser("postgres")?.batch_execute(&sql)?)
    }

    /// libpq's connection string for TCP without a word about TLS.
    pub fn conninfo(&self, user: &str, password: &str, db: &str) -> String {
        format!(
            "host=127.0.0.1 port={} user={} password={} dbname={}",
            self.port(),
            conninfo_value(user),
            conninfo_value(password),
            conninfo_value(db)
        )
    }

    /// The same with TLS and the server's certificate checked in full.
    pub fn tls_conninfo(&self, user: &str, password: &str, db: &str) -> Result<String> {
        let ca = conninfo_value(&tls::ca_file()?.display().to_string());
        Ok(format!("{} sslmode=verify-full sslrootcert={ca}", self.conninfo(user, password, db)))
    }

    fn own_conninfo(&self, user: &str, db: &str) -> String {
        if user == SUPERUSER {
            let socket_dir = conninfo_value(&self.socket_dir().display().to_string());
            let db = conninfo_value(db);
            format!("host={socket_dir} port={} user={SUPERUSER} dbname={db}", self.port())
        } else {
            self.conninfo(user, PASSWORD, db)
        }
    }

    /// psql that stops at the first error and prints bare rows.
    pub fn psql_command(&self, user: &str, db: &str) -> Result<Command> {
        let mut command = self.client(&tools::psql()?);
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]);
        command.arg("-d").arg(self.own_conninfo(user, db));
        Ok(command)
    }

    /// pgbench, told by its environment where to go.
    pub fn pgbench_command(&self, user: &str, db: &str) -> Result<Command> {
        let mut command = self.client(&tools::pgbench()?);
        command.env("PGUSER", user).env("PGPASSWORD", PASSWORD).env("PGDATABASE", db);
        command.env("PGPORT", self.port().to_string());
        if user == SUPERUSER {
            command.env("PGHOST", self.socket_dir());
        } else {
            command.env("PGHOST", "127.0.0.1");
        }
        Ok(command)
    }

    /// pg_dump as the superuser.
    pub fn pg_dump_command(&self, db: &str) -> Result<Command> {
        let mut command = self.client(&tools::pg_dump(self.major())?);
        command.arg("-d").arg(self.own_conninfo(SUPERUSER, db));
        Ok(command)
    }

    fn client(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command::without_libpq_variables(&mut command);
        command
    }

    /// Asks the superuser's question until its answer is true.
    #[track_caller]
    pub fn wait_for(&self, db: &str, sql: &str) {
        let mut client = self.superuser(db).expect("the superuser can connect");
        poll_until(DEADLINE, &format!("{self} to say yes to: {sql}"), || {
            let yes: Option<bool> = client.query_one(sql, &[])?.try_get(0)?;
            Ok((yes == Some(true)).then_some(()))
        });
    }

    pub fn stop(&mut self, mode: Mode) -> Result<()> {
        let signal = match mode {
            Mode::Smart => Signal::TERM,
            Mode::Fast => Signal::INT,
            Mode::Immediate => Signal::QUIT,
        };
        let Some(postmaster) = &mut self.postmaster else {
            bail!("{self} is not running");
        };
        kill_process(Pid::from_child(postmaster), signal)?;
        let end = Instant::now() + DEADLINE;
        while postmaster.try_wait()?.is_none() {
            if Instant::now() > end {
                bail!("{self} did not stop within {DEADLINE:?} of {mode:?} shutdown");
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.postmaster = None;
        Ok(())
    }

    /// SIGKILL for the postmaster and all its processes: as if the server's machine had lost its
    /// power, but for what the kernel had already been given to write.
    pub fn kill9(&mut self) -> Result<()> {
        let Some(mut postmaster) = self.postmaster.take() else {
            bail!("{self} is not running");
        };
        // Stopped first, it can have no more children than those that are listed.
        kill_process(Pid::from_child(&postmaster), Signal::STOP)?;
        let children = children(postmaster.id())?;
        postmaster.kill()?;
        postmaster.wait()?;
        for pid in &children {
            // One that has ended by itself is as good as killed.
            let _ = kill_process(*pid, Signal::KILL);
        }
        poll_until(DEADLINE, "killed server processes to end", || {
            Ok(children.iter().all(|pid| has_ended(*pid)).then_some(()))
        });
        Ok(())
    }

    /// Starts the server again, after a fast shutdown if it is running.
    pub fn restart(&mut self) -> Result<()> {
        if self.postmaster.is_some() {
            self.stop(Mode::Fast)?;
        }
        self.launch(Lifetime::OfParent)
    }

    /// Restarts the server to run on after this process, and returns the postmaster's pid. Once it
    /// is stopped, the next process with a cluster removes its folder.
    pub fn detach(mut self) -> Result<u32> {
        self.stop(Mode::Fast)?;
        self.launch(Lifetime::Own)?;
        self.dir.disable_cleanup(true);
        let postmaster = self.postmaster.take().context("a running server has a postmaster")?;
        Ok(postmaster.id())
    }

    fn initdb(&self) -> Result<()> {
        let mut command = self.server_program("initdb", Lifetime::OfParent);
        command.arg("-D").arg(self.data_dir()).args(["-U", SUPERUSER]);
        command.args(["--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums", "--no-sync"]);
        // Only initdb's own server trusts: pg_hba.conf is written anew before the first start.
        command.arg("--auth=trust");
        command::output(&mut command).map(drop).with_context(|| match &self.account {
            Some(_) => format!(
                "initdb failed; as root it runs under an ordinary account, which must be able \
                 to reach {}",
                self.install.bindir.display()
            ),
            None => "initdb failed".to_owned(),
        })
    }

    fn copy_from(&self, primary: &Cluster, slot: &str) -> Result<()> {
        let program = tools::pg_basebackup(self.major())?;
        let mut command =
            account::server_command(&program, &[], self.account.as_ref(), Lifetime::OfParent);
        command.arg("-D").arg(self.data_dir());
        command.arg("-d").arg(primary.own_conninfo(SUPERUSER, "postgres"));
        command.args(["--checkpoint=fast", "--no-sync", "--create-slot", "--slot", slot]);
        command::output(&mut command).map(drop).with_context(|| format!("cannot copy {primary}"))
    }

    /// Makes the copied configuration this server's own. Not by pg_basebackup, whose libpq may be newer
    /// than the server's and know keywords that the server's does not.
    fn follow(&self, primary: &Cluster, slot: &str, settings: &[(&str, &str)]) -> Result<()> {
        let port = self.port().to_string();
        let socket_dir = self.socket_dir().display().to_string();
        let conninfo = primary.own_conninfo(SUPERUSER, "postgres");
        let own = [
            ("port", port.as_str()),
            ("unix_socket_directories", &socket_dir),
            ("primary_conninfo", &conninfo),
            ("primary_slot_name", slot),
            ("hot_standby_feedback", "on"),
        ];
        let mut conf = fs::read_to_string(self.data_dir().join("postgresql.conf"))?;
        for (name, value) in own.iter().chain(settings) {
            conf.push_str(&format!("{name} = {}\n", setting_value(value)));
        }
        fs::write(self.data_dir().join("postgresql.conf"), conf)?;
        Ok(fs::write(self.data_dir().join("standby.signal"), "")?)
    }

    fn configure(&self, builder: &Builder) -> Result<()> {
        let data = self.data_dir();
        let conf = data.join("postgresql.conf");
        fs::write(&conf, builder.postgresql_conf(self.port(), self.socket_dir()))?;
        fs::write(data.join("pg_hba.conf"), builder.pg_hba_conf())?;
        for (from, name) in
            [(tls::server_certificate()?, "server.crt"), (tls::server_key()?, "server.key")]
        {
            let to = data.join(name);
            fs::copy(from, &to)?;
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600))?;
            account::give(&to, self.account.as_ref())?;
        }
        Ok(())
    }

    fn launch(&mut self, lifetime: Lifetime) -> Result<()> {
        ensure!(self.postmaster.is_none(), "{self} is running already");
        let log = File::options().create(true).append(true).open(self.log_file())?;
        let mut command = self.server_program("postgres", lifetime);
        command.arg("-D").arg(self.data_dir());
        command.stdin(std::process::Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.postmaster = Some(spawn_for_life(command)?);
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let end = Instant::now() + DEADLINE;
        while !self.is_ready() {
            let postmaster = self.postmaster.as_mut().expect("launched just now");
            if let Some(status) = postmaster.try_wait()? {
                self.postmaster = None;
                bail!("{self} ended while starting ({status}):\n{}", self.last_lines_of_log());
            }
            if Instant::now() > end {
                bail!("{self} was not ready in {DEADLINE:?}:\n{}", self.last_lines_of_log());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// As pg_ctl finds out: the first line of postmaster.pid is the postmaster's, the eighth its
    /// state (LOCK_FILE_LINE_PM_STATUS in miscadmin.h).
    fn is_ready(&self) -> bool {
        let file = fs::read_to_string(self.data_dir().join("postmaster.pid")).unwrap_or_default();
        let line = |number: usize| file.lines().nth(number - 1).unwrap_or_default().trim();
        line(1).parse().ok() == self.pid() && line(8) == "ready"
    }

    fn server_program(&self, name: &str, lifetime: Lifetime) -> Command {
        let program = self.install.bindir.join(name);
        account::server_command(&program, &self.environment, self.account.as_ref(), lifetime)
    }

    fn last_lines_of_log(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Display for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PostgreSQL {} on port {}", self.major(), self.port())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- the log of {self} ends:\n{}", self.last_lines_of_log());
        }
        if self.postmaster.is_some()
            && let Err(error) = self.stop(Mode::Immediate)
        {
            eprintln!("{error:#}");
            let _ = self.kill9();
        }
    }
}

/// Starts a process that is to die with this one.
///
/// PR_SET_PDEATHSIG fires when the *thread* that forked ends, and a test's thread ends with its
/// test, though the cluster may be shared with others. So one thread that never ends forks for all.
fn spawn_for_life(command: Command) -> Result<Child> {
    type Job = (Command, mpsc::Sender<std::io::Result<Child>>);
    static JOBS: LazyLock<mpsc::Sender<Job>> = LazyLock::new(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for (mut command, reply) in jobs {
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    let (reply, child) = mpsc::channel();
    let shown = command::line(&command);
    JOBS.send((command, reply)).expect("the thread never ends");
    child.recv().expect("the thread answers").with_context(|| format!("cannot run `{shown}`"))
}

fn children(pid: u32) -> Result<Vec<Pid>> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .context("this kernel does not list a process's children")?;
    Ok(list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect())
}

/// A process that is gone, or a zombie that nobody collects: its memory is free either way.
fn has_ended(pid: Pid) -> bool {
    fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default().is_empty()
}

/// Removes what processes left behind that were killed, and stopped servers that were detached.
fn sweep_once() {
    static SWEPT: Once = Once::new();
    SWEPT.call_once(|| {
        for entry in fs::read_dir(CLUSTERS).into_iter().flatten().flatten() {
            let owner = owner(&entry.file_name().to_string_lossy());
            if owner.is_some_and(is_gone) && !has_server(&entry.path()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    });
}

/// The process whose cluster a folder of this name is.
fn owner(folder: &str) -> Option<u32> {
    folder.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

/// Whether a postmaster runs there: its command line names the data directory, the pid alone may
/// be another process's by now.
fn has_server(folder: &Path) -> bool {
    let data = folder.join("data");
    let file = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let Some(Ok(pid)) = file.lines().next().map(str::parse::<u32>) else { return false };
    let command_line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    command_line.split(|byte| *byte == 0).any(|word| word == data.as_os_str().as_encoded_bytes())
}

/// A value in postgresql.conf.
fn setting_value(value: &str) -> String {
    format!("'{}'", value.replace('\\', r"\\").replace('\'', "''"))
}

/// A value in a keyword/value connection string.
fn conninfo_value(value: &str) -> String {
    format!("'{}'", value.replace('\\', r"\\").replace('\'', r"\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_for_their_file() {
        assert_eq!(setting_value(r"it's C:\"), r"'it''s C:\\'");
        assert_eq!(conninfo_value(r"it's C:\"), r"'it\'s C:\\'");
    }

    #[test]
    fn later_settings_come_after_ours_so_that_they_win() {
        let conf = Cluster::builder(18)
            .config("wal_level", "replica")
            .preload("pgmig_extras")
            .preload("auto_explain")
            .postgresql_conf(20_000, Path::new("/tmp/x"));
        let position = |line: &str| conf.find(line).unwrap_or_else(|| panic!("no {line}"));
        assert!(position("wal_level = 'replica'") > position("wal_level = logical"));
        position("shared_preload_libraries = 'pgmig_extras,auto_explain'");
        position("max_active_replication_origins = 30");
    }

    #[test]
    fn with_tls_only_no_line_lets_plain_tcp_in() {
        let hba = Cluster::builder(15).hba("host all joe 127.0.0.1/32 trust").tls_only();
        let hba = hba.pg_hba_conf();
        let lines: Vec<&str> = hba.lines().collect();
        assert_eq!(lines[0], "host all joe 127.0.0.1/32 trust");
        assert!(lines[1..].iter().all(|line| !line.starts_with("host ")), "{hba}");
    }

    #[test]
    fn only_folders_of_clusters_have_an_owner() {
        assert_eq!(owner("pgmig-123-a1B2"), Some(123));
        assert_eq!(owner("pgmig-x"), None);
        assert_eq!(owner("pgmig-123"), None);
        assert_eq!(owner("other-123-x"), None);
    }
}
