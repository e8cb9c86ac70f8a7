//! A connection to a publisher: opened under the rules of `pgmig_core::conninfo`, used for SQL and
//! replication commands, closed when dropped. The publisher may be hostile: every wait has a
//! deadline, answers are bounded, and what it says is shown without the password.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, ToSocketAddrs};
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use pgmig_core::conninfo::{Conninfo, Rules};
use pgmig_core::sql;
use pgrx::PgLogLevel;
use pgrx::datum::DatumWithOid;

use crate::caller::Caller;
use crate::error::{Error, Kind, Result, invalid, report};
use crate::ffi::libpq::{self, Connection, Progress, Status};
use crate::ffi::wait::{self, For, Task};
use crate::{query, settings};

pub type Row = Vec<Option<String>>;

/// The most that one answer may have, in bytes: a list of several hundred thousand tables.
const MAX_ANSWER: usize = 64 << 20;
/// The longest text of a publisher that is shown, in characters.
const MAX_TEXT: usize = 500;

/// How to wait for a socket: `wait::interruptible` or `wait::quiet`.
type Wait = fn(RawFd, For, Instant) -> bool;

/// A connection of ours as its server lists it: under a name that only we know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pid: i32,
    nonce: String,
}

pub struct Publisher {
    connection: Connection,
    /// As connected, addresses resolved.
    conninfo: Conninfo,
    nonce: String,
}

/// Parses what a caller gave, applies the rules (which do not bind superusers), completes it.
pub fn conninfo(text: &str, caller: Caller) -> Result<Conninfo> {
    let parsed = parse(text).ok_or_else(|| {
        invalid("invalid connection string").hint(
            "Write keyword='value' pairs separated by spaces, or a postgresql:// URI; \
             escape a quote in a value as \\'.",
        )
    })?;
    if caller.is_superuser() { Ok(parsed) } else { parsed.checked(&rules()) }
}

/// Applies the rules to a stored connection string, which may have been written by ALTER
/// SUBSCRIPTION … CONNECTION. `responsible`: whose word it is.
pub fn stored(parsed: Conninfo, responsible: Caller) -> Result<Conninfo> {
    if responsible.is_superuser() { Ok(parsed) } else { parsed.rechecked(&rules()) }
}

/// Parses a stored connection string.
pub fn parse(text: &str) -> Option<Conninfo> {
    let text = std::ffi::CString::new(text).ok()?;
    libpq::parse_conninfo(&text).map(Conninfo::new)
}

fn rules() -> Rules {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    Rules {
        require_password: settings::require_password(),
        allowed_hosts: settings::allowed_hosts(),
        ssl_directory: settings::ssl_directory(),
        libpq_16: crate::MAJOR >= 16,
        environment: names.filter(|name| name.starts_with("PG")).collect(),
    }
}

impl Publisher {
    /// Connects as the apply worker would (`replication=database`), and makes sure that the
    /// publisher asked for the password. Interruptible; ends after `connect_timeout`.
    pub fn connect(conninfo: &Conninfo, caller: Caller) -> Result<Self> {
        let deadline = soonest(settings::connect_timeout());
        let nonce = format!("pgmig_extras {:016x}", RandomState::new().hash_one(0));
        let mut own = resolved(conninfo.clone(), deadline)?;
        own.set("replication", "database");
        own.set("application_name", nonce.clone());
        own.set("client_encoding", "UTF8");
        own.set("options", "-c search_path= -c datestyle=ISO -c intervalstyle=postgres");
        let connection = open(&own, wait::interruptible, deadline)?;
        let publisher = Self { connection, conninfo: own, nonce };
        if settings::require_password()
            && !caller.is_superuser()
            && !publisher.connection.used_password()
        {
            return Err(Error::new(
                Kind::InsufficientPrivilege,
                "the publisher did not ask for a password",
            )
            .detail("It may trust this server instead of you.")
            .hint("Change pg_hba.conf of the publisher so that it asks for scram-sha-256."));
        }
        Ok(publisher)
    }

    /// A second connection to the same place, without raising anything.
    pub fn reconnect_quietly(&self, deadline: Instant) -> Result<Self> {
        let connection = open(&self.conninfo, wait::quiet, deadline)?;
        Ok(Self { connection, conninfo: self.conninfo.clone(), nonce: self.nonce.clone() })
    }

    pub fn backend_pid(&self) -> i32 {
        self.connection.backend_pid()
    }

    pub fn mark(&self) -> Mark {
        Mark { pid: self.backend_pid(), nonce: self.nonce.clone() }
    }

    /// Whether another open connection of ours ends at the same server, by whatever address.
    pub fn is_server_of(&mut self, other: &Mark) -> Result<bool> {
        let rows = self.query(&format!(
            "SELECT 1 FROM pg_catalog.pg_stat_get_activity({}) a \
             WHERE a.application_name OPERATOR(pg_catalog.=) {}",
            other.pid,
            sql::literal(&other.nonce)
        ))?;
        Ok(!rows.is_empty())
    }

    pub fn major(&self) -> u16 {
        self.connection.server_major()
    }

    /// Runs SQL or a replication command. Interruptible; ends after `publisher_timeout`.
    pub fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        self.ask(sql).map_err(Failure::into_error)
    }

    /// The same, telling how it failed.
    pub fn ask(&mut self, sql: &str) -> std::result::Result<Vec<Row>, Failure> {
        let deadline = soonest(settings::publisher_timeout());
        self.exchange(sql, wait::interruptible, deadline)
    }

    /// Whether the connection is open, as far as can be told without waiting.
    pub fn is_alive(&mut self) -> bool {
        self.connection.consume() && !self.connection.has_failed()
    }

    /// The same, raising nothing, not even for a pending interrupt.
    pub fn query_quietly(
        &mut self,
        sql: &str,
        deadline: Instant,
    ) -> std::result::Result<Vec<Row>, Failure> {
        self.exchange(sql, wait::quiet, deadline)
    }

    /// Whether the publisher is this very cluster: the backend that serves us is one of its own,
    /// under the name that only we know. System identifiers are shared by physical clones.
    pub fn is_own_cluster(&self) -> Result<bool> {
        query::execute("SELECT pg_catalog.pg_stat_clear_snapshot()", &[])?;
        let found = query::rows(
            "SELECT 1 FROM pg_catalog.pg_stat_get_activity($1) a \
             WHERE a.application_name OPERATOR(pg_catalog.=) $2",
            &[DatumWithOid::from(self.backend_pid()), DatumWithOid::from(self.nonce.as_str())],
            |_| Ok(()),
        )?;
        Ok(!found.is_empty())
    }

    fn exchange(
        &mut self,
        sql: &str,
        wait: Wait,
        deadline: Instant,
    ) -> std::result::Result<Vec<Row>, Failure> {
        if !self.connection.send(sql) {
            return Err(Failure::Lost);
        }
        let mut rows = Vec::new();
        let mut size = 0;
        let mut failure = None;
        loop {
            self.await_result(wait, deadline)?;
            let Some(answer) = self.connection.next_result() else { break };
            match answer.status() {
                Status::Done => {}
                Status::Row => {
                    let row = answer.row();
                    size += row.iter().flatten().map(String::len).sum::<usize>() + 64;
                    rows.push(row);
                }
                Status::Failed if self.connection.has_failed() => return Err(Failure::Lost),
                Status::Failed => {
                    failure = Some(Failure::Refused {
                        sqlstate: answer.sqlstate(),
                        message: self.shown(&answer.message()),
                    });
                }
            }
            if size > MAX_ANSWER {
                return Err(Failure::TooMuch);
            }
        }
        failure.map_or(Ok(rows), Err)
    }

    fn await_result(&mut self, wait: Wait, deadline: Instant) -> std::result::Result<(), Failure> {
        loop {
            let sent = self.connection.flush().ok_or(Failure::Lost)?;
            if sent && !self.connection.is_busy() {
                return Ok(());
            }
            let what = if sent { For::Read } else { For::ReadOrWrite };
            if !wait(self.connection.socket(), what, deadline) {
                return Err(Failure::Late);
            }
            if !self.connection.consume() {
                return Err(Failure::Lost);
            }
        }
    }

    fn shown(&self, text: &str) -> String {
        shown(text, &self.conninfo)
    }
}

/// Why a query has no answer.
#[derive(Debug)]
pub enum Failure {
    Lost,
    Late,
    TooMuch,
    Refused { sqlstate: String, message: String },
}

impl Failure {
    pub fn is_missing_object(&self) -> bool {
        matches!(self, Self::Refused { sqlstate, .. } if sqlstate == "42704")
    }

    pub fn into_error(self) -> Error {
        match self {
            Self::Lost => Error::new(Kind::ConnectionLost, "lost the connection to the publisher")
                .hint("Look at the publisher's log, then run this again: nothing was changed."),
            Self::Late => {
                late("the publisher did not answer in time", "pgmig_extras.publisher_timeout")
            }
            Self::TooMuch => {
                Error::new(Kind::PublisherError, "the publisher's answer is too large")
                    .detail(format!("The limit is {} MB.", MAX_ANSWER >> 20))
            }
            Self::Refused { sqlstate, message } => {
                Error::new(Kind::PublisherError, format!("the publisher reported: {message}"))
                    .detail(format!("Its SQLSTATE is {sqlstate}."))
            }
        }
    }

    /// For a WARNING's detail.
    pub fn reason(self) -> String {
        let error = self.into_error();
        format!("{}.", error.message)
    }
}

/// A deadline that passed: the statement's own, where the server's timer is already off, or ours.
fn late(message: &str, setting: &str) -> Error {
    if wait::statement_deadline().is_some_and(|deadline| deadline <= Instant::now()) {
        return Error::new(Kind::QueryCanceled, "canceling statement due to statement timeout");
    }
    Error::new(Kind::ConnectionLost, message)
        .hint(format!("Look for long transactions on the publisher, or raise \"{setting}\"."))
}

/// `timeout` from now, or the end of the statement if that is sooner.
fn soonest(timeout: Duration) -> Instant {
    let own = Instant::now() + timeout;
    wait::statement_deadline().map_or(own, |statement| own.min(statement))
}

fn open(conninfo: &Conninfo, wait: Wait, deadline: Instant) -> Result<Connection> {
    let mut connection =
        Connection::start(conninfo.iter()).ok_or_else(|| unreachable("out of memory", conninfo))?;
    if connection.has_failed() {
        return Err(unreachable(&connection.error_message(), conninfo));
    }
    // libpq asks to be treated as if it had said "writable" before the first step.
    let mut waits_for = For::ReadOrWrite;
    loop {
        if !wait(connection.socket(), waits_for, deadline) {
            return Err(unreachable("no answer in time", conninfo));
        }
        waits_for = match connection.poll() {
            Progress::Connected => return Ok(connection),
            Progress::Failed => return Err(unreachable(&connection.error_message(), conninfo)),
            Progress::Readable => For::Read,
            Progress::Writable => For::ReadOrWrite,
        };
    }
}

/// One message for every cause: it must not tell which ports are open or which files exist. The
/// cause goes to the server's log.
fn unreachable(cause: &str, conninfo: &Conninfo) -> Error {
    if wait::statement_deadline().is_some_and(|deadline| deadline <= Instant::now()) {
        return late("", "");
    }
    report(
        PgLogLevel::LOG_SERVER_ONLY,
        Error::new(Kind::ConnectionRefused, "pgmig_extras could not connect to the publisher")
            .detail(shown(cause, conninfo)),
    );
    Error::new(Kind::ConnectionRefused, "could not connect to the publisher").hint(
        "Check host, port, database, user, password, TLS settings, and that the role has REPLICATION \
         and pg_hba.conf lets it in. The cause is in this server's log.",
    )
}

/// A publisher's text, bounded, in one line and without the password.
fn shown(text: &str, conninfo: &Conninfo) -> String {
    let text = match conninfo.get("password") {
        Some(password) => text.replace(password, "********"),
        None => text.to_owned(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_TEXT).collect()
}

/// The same, of a publisher that is known by its connection string.
pub fn shown_of(text: &str, conninfo: &str) -> String {
    parse(conninfo).map_or_else(String::new, |conninfo| shown(text, &conninfo))
}

/// Resolves the host's name where nothing else can interrupt it, and names its addresses.
fn resolved(conninfo: Conninfo, deadline: Instant) -> Result<Conninfo> {
    let Some(task) = resolution(&conninfo) else { return Ok(conninfo) };
    let resolved = wait::interruptible(task.socket(), For::Read, deadline);
    let addresses = resolved.then(|| task.take()).flatten();
    with_addresses(&conninfo, addresses.unwrap_or_default())
        .ok_or_else(|| unreachable("could not resolve the host name", &conninfo))
}

/// The look-up of a host's name, if there is one to look up.
pub fn resolution(conninfo: &Conninfo) -> Option<Task<Vec<String>>> {
    let host = conninfo.get("host")?.to_owned();
    let known = conninfo.is_local() || host.contains(',') || host.parse::<IpAddr>().is_ok();
    if known || conninfo.get("hostaddr").is_some() {
        return None;
    }
    Task::start(move || {
        let addresses = (host.as_str(), 0).to_socket_addrs();
        let mut texts: Vec<_> =
            addresses.map(|all| all.map(|a| a.ip().to_string()).collect()).unwrap_or_default();
        texts.dedup();
        texts
    })
}

/// With a host's addresses: as many hosts as addresses; each keeps the name for the certificate.
pub fn with_addresses(conninfo: &Conninfo, addresses: Vec<String>) -> Option<Conninfo> {
    let host = conninfo.get("host").filter(|_| !addresses.is_empty())?;
    let mut conninfo = conninfo.clone();
    conninfo.set("host", vec![host; addresses.len()].join(","));
    conninfo.set("hostaddr", addresses.join(","));
    Some(conninfo)
}

/// For an answer that no real publisher gives.
pub fn nonsense() -> Error {
    Error::new(Kind::PublisherError, "the publisher's answer makes no sense")
        .hint("Check that host and port are those of a PostgreSQL server.")
}
