//! A session's connection to a publisher. It is opened under the rules of `conninfo`, used for SQL and
//! replication commands, and closed when dropped. The publisher may be hostile: every wait has a
//! deadline, answers are limited, and its texts are shown without the password.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use pgmig_core::conninfo::{Conninfo, advice};
use pgmig_core::sql;
use pgmig_core::wire::{self, Fault, Rows, ServerError};
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::Oid;

use super::channel::{Broken, Channel, Exchange, Step};
use super::login::{Login, Obstacle};
use crate::caller::Caller;
use crate::conninfo::{self, shown};
use crate::error::{Error, Kind, Result};
use crate::ffi::wait::{self, For, Mode, Waited};
use crate::notice::Notice;
use crate::server::query;
use crate::settings;

/// The largest answer, in bytes: a list of several hundred thousand tables.
const MAX_ANSWER: usize = 64 << 20;
/// How long a thread may take to end before it counts as stuck.
const ENDING_TIME: Duration = Duration::from_millis(500);

/// How long a publisher may take to cancel a query. A cancelled wait lasts so much longer.
const CANCEL_TIME: Duration = Duration::from_millis(400);

/// One of our connections as its server lists it: under a name that only we know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pid: i32,
    nonce: String,
}

pub struct Publisher {
    channel: Channel,
    /// The connection string that was used.
    conninfo: Conninfo,
    nonce: String,
    party: Oid,
    /// The caller's deadline, if it is before the statement's.
    until: Option<Instant>,
}

impl Publisher {
    /// Connects as the apply worker would (`replication=database`), and makes sure that the
    /// publisher asked for the password. Interruptible; ends after `connect_timeout`.
    pub fn connect(conninfo: &Conninfo, caller: Caller) -> Result<Self> {
        Self::connect_until(conninfo, caller, None)
    }

    /// The same. `until` limits the connection and all answers.
    pub fn connect_until(
        conninfo: &Conninfo,
        caller: Caller,
        until: Option<Instant>,
    ) -> Result<Self> {
        let deadline = sooner(soonest(settings::connect_timeout()), until);
        let nonce = format!("pgmig_extras {:016x}", RandomState::new().hash_one(0));
        let mut own = conninfo.clone();
        own.set("replication", "database");
        own.set("application_name", nonce.clone());
        own.set("client_encoding", "UTF8");
        own.set("options", "-c search_path= -c datestyle=ISO -c intervalstyle=postgres");
        let channel = open(&own, caller.oid(), Mode::Interruptible, deadline)?;
        let publisher = Self { channel, conninfo: own, nonce, party: caller.oid(), until };
        if settings::require_password()
            && !caller.is_superuser()
            && !publisher.channel.used_password()
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

    /// A second connection to the same server. Raises nothing.
    pub fn reconnect_quietly(&self, deadline: Instant) -> Result<Self> {
        let channel = open(&self.conninfo, self.party, Mode::Quiet, deadline)?;
        let (conninfo, nonce) = (self.conninfo.clone(), self.nonce.clone());
        Ok(Self { channel, conninfo, nonce, party: self.party, until: None })
    }

    pub fn backend_pid(&self) -> i32 {
        self.channel.backend_pid()
    }

    /// The IP address that was connected to; empty for a unix-domain socket.
    pub fn address(&self) -> String {
        self.channel.address()
    }

    /// The role that it logged in as.
    pub fn role(&self) -> &str {
        self.conninfo.get("user").unwrap_or_default()
    }

    pub fn database(&self) -> &str {
        self.conninfo.get("dbname").unwrap_or_else(|| self.role())
    }

    pub fn mark(&self) -> Mark {
        Mark { pid: self.backend_pid(), nonce: self.nonce.clone() }
    }

    /// Whether another open connection of ours leads to the same server, whatever its address.
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
        self.channel.major()
    }

    /// Runs SQL or a replication command. Interruptible; ends after `publisher_timeout`.
    pub fn query(&mut self, sql: &str) -> Result<Rows> {
        self.ask(sql).map_err(Failure::into_error)
    }

    /// The same, with the cause of a failure.
    pub fn ask(&mut self, sql: &str) -> std::result::Result<Rows, Failure> {
        let deadline = sooner(soonest(settings::publisher_timeout()), self.until);
        self.exchange(sql, Mode::Interruptible, deadline)
    }

    /// Whether the connection is open, as far as can be told without waiting.
    pub fn is_alive(&self) -> bool {
        self.channel.is_open()
    }

    /// Runs SQL or a replication command. Raises nothing, not even for a pending interrupt.
    pub fn query_quietly(
        &mut self,
        sql: &str,
        deadline: Instant,
    ) -> std::result::Result<Rows, Failure> {
        self.exchange(sql, Mode::Quiet, deadline)
    }

    /// Whether the publisher is this cluster: the backend of our connection is then one of its own,
    /// under the name that only we know. (Physical clones have the same system identifier.)
    pub fn is_own_cluster(&self) -> Result<bool> {
        // Both queries only read: the caller may need a transaction without an id.
        query::read("SELECT pg_catalog.pg_stat_clear_snapshot()", &[], |_| Ok(()))?;
        let found = query::read(
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
        mode: Mode,
        deadline: Instant,
    ) -> std::result::Result<Rows, Failure> {
        let query = wire::query(sql).ok_or(Failure::Lost)?;
        let mut exchange = Exchange::new(query, MAX_ANSWER);
        loop {
            let waited = match exchange.step(&mut self.channel)? {
                Step::Answered(outcome) => return outcome.map_err(|error| self.refused(error)),
                Step::Again => mode.look(deadline),
                Step::Wait(what) => mode.wait(self.channel.socket(), what, deadline),
            };
            if waited == Waited::Ready {
                continue;
            }
            self.cancel(&mut exchange);
            if waited == Waited::Interrupted {
                pgrx::check_for_interrupts!();
            }
            return Err(Failure::Late);
        }
    }

    /// Cancels the publisher's query. A backend that waits for a lock or for transactions does not
    /// notice that its client is gone, and would keep its temporary slot until then.
    fn cancel(&mut self, exchange: &mut Exchange) {
        let until = Instant::now() + CANCEL_TIME;
        self.channel.cancel(until);
        while let Ok(step) = exchange.step(&mut self.channel) {
            let goes_on = match step {
                Step::Answered(_) => false,
                Step::Again => Instant::now() < until,
                Step::Wait(what) => wait::in_thread(&[(self.channel.socket(), what)], until),
            };
            if !goes_on {
                return;
            }
        }
    }

    fn refused(&self, error: ServerError) -> Failure {
        let message = shown(&error.message, &self.conninfo);
        Failure::Refused { sqlstate: error.sqlstate, message }
    }
}

/// Why a query failed.
#[derive(Debug)]
pub enum Failure {
    Lost,
    Late,
    TooMuch,
    OutOfMemory,
    Refused { sqlstate: String, message: String },
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Lost | Broken::Answer(Fault::Nonsense) => Self::Lost,
            Broken::Answer(Fault::TooMuch) => Self::TooMuch,
            Broken::Answer(Fault::OutOfMemory) => Self::OutOfMemory,
        }
    }
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
            Self::OutOfMemory => {
                Error::new(Kind::OutOfMemory, "out of memory for the publisher's answer")
            }
            Self::Refused { sqlstate, message } => {
                Error::new(Kind::PublisherError, format!("the publisher reported: {message}"))
                    .detail(format!("Its SQLSTATE is {sqlstate}."))
            }
        }
    }

    /// A sentence for the detail of a WARNING.
    pub fn reason(self) -> String {
        let error = self.into_error();
        format!("{}.", error.message)
    }
}

/// The error for a deadline that passed: the statement's own, when the server's timer is already off,
/// or ours.
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

fn sooner(deadline: Instant, until: Option<Instant>) -> Instant {
    until.map_or(deadline, |until| deadline.min(until))
}

fn open(conninfo: &Conninfo, party: Oid, mode: Mode, deadline: Instant) -> Result<Channel> {
    let login = begin(conninfo, party, mode, deadline)?;
    let cause = |cause: &str| unreachable(cause, conninfo);
    if !mode.until_ready(login.socket(), For::Read, deadline) {
        return Err(cause("no answer in time"));
    }
    match login.take() {
        Some(Ok(connection)) => Ok(login.channel(connection)),
        Some(Err(text)) => Err(cause(&text)),
        None => Err(cause("the thread that connects has failed")),
    }
}

/// Starts a login. The thread of an abandoned login ends immediately, unless something in it cannot be
/// interrupted.
fn begin(conninfo: &Conninfo, party: Oid, mode: Mode, deadline: Instant) -> Result<Login> {
    let time = deadline.saturating_duration_since(Instant::now());
    let patience = deadline.min(Instant::now() + ENDING_TIME);
    loop {
        match Login::start(conninfo.clone(), party, time) {
            Ok(login) => return Ok(login),
            Err(Obstacle::Busy) if mode.pause(Duration::from_millis(5), patience) => {}
            Err(obstacle) => return Err(not_begun(obstacle)),
        }
    }
}

fn not_begun(obstacle: Obstacle) -> Error {
    let error = Error::new(Kind::LimitExceeded, obstacle.text());
    match obstacle {
        Obstacle::Busy => error
            .detail("It is still resolving a host name, or computing what the publisher asked for.")
            .hint("Try again later, or in another session."),
        Obstacle::NoDescriptor => {
            error.hint("Raise \"max_files_per_process\", or try again later.")
        }
        Obstacle::NoThread => error.hint("Try again later."),
    }
}

/// One message for all causes: it must not tell which ports are open or which files exist. The cause
/// goes to the server's log. The caller learns it only if the platform's owner has listed the host.
fn unreachable(cause: &str, conninfo: &Conninfo) -> Error {
    if wait::statement_deadline().is_some_and(|deadline| deadline <= Instant::now()) {
        return late("", "");
    }
    let cause = shown(cause, conninfo);
    Notice::log_server_only("pgmig_extras could not connect to the publisher")
        .sqlstate(Kind::ConnectionRefused)
        .detail(&cause)
        .send();
    let error = Error::new(Kind::ConnectionRefused, "could not connect to the publisher");
    if conninfo::is_named(conninfo) {
        let advice = advice(&cause);
        return error.detail(format!("{cause}.")).hint(advice);
    }
    error.hint(format!("{} The cause is in this server's log.", advice("")))
}

/// The error for an answer that no real publisher gives.
pub fn nonsense() -> Error {
    Error::new(Kind::PublisherError, "the publisher's answer makes no sense")
        .hint("Check that host and port are those of a PostgreSQL server.")
}
