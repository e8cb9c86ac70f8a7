//! One subscription's publisher: a connection that is opened once and kept, never waited for. When it
//! is lost, another one is opened at once, then every quarter of an interval, later less often.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use pgmig_core::conninfo::Conninfo;
use pgmig_core::lag::Micros;
use pgmig_core::lag::observation::{Answer, Publisher};

use super::now;
use super::question::{self, Greeting};
use super::subscriber::Listed;
use crate::ffi::libpq::{Connection, Progress, Status};
use crate::ffi::wait::{For, Task};
use crate::publisher::{self, Row};
use crate::{settings, subscription};

/// The name in the publisher's pg_stat_activity.
const APPLICATION: &str = "pgmig_extras watcher";
/// The list of published tables is read with every look, unless that takes more than one part in so
/// many of the time.
const TABLES_SHARE: u32 = 20;
/// Attempts that are made every quarter of an interval, before they become rarer.
const QUICK_ATTEMPTS: u32 = 40;
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const UNRESOLVED: &str = "its host name could not be resolved";
const NONSENSE: &str = "its answer makes no sense";
/// The most that one answer may have, in bytes.
const MAX_ANSWER: usize = 16 << 20;

pub struct Link {
    target: Option<Target>,
    stage: Stage,
    greeting: Option<Greeting>,
    answer: Option<Publisher>,
    /// The tables of the publications.
    pub published: Vec<(String, String)>,
    pub is_list_new: bool,
    pub unsubscribed: u32,
    tables_due: Instant,
    failures: u32,
    /// The same since they were last taken.
    failed: u32,
    /// Why it is down, until that was told.
    cause: Option<String>,
}

/// Where to connect and what to ask for.
#[derive(PartialEq)]
struct Target {
    conninfo: String,
    slot: String,
    publications: Vec<String>,
    needs_password: bool,
}

enum Stage {
    Down {
        retry: Instant,
    },
    Resolving {
        task: Task<Vec<String>>,
        conninfo: Conninfo,
        until: Instant,
    },
    Connecting {
        connection: Connection,
        waits_for: For,
        until: Instant,
    },
    Idle(Connection),
    Asked {
        connection: Connection,
        what: Question,
        rows: Vec<Row>,
        size: usize,
        asked: Micros,
        until: Instant,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Greeting,
    Look,
    Tables,
}

impl Default for Link {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            target: None,
            stage: Stage::Down { retry: now },
            greeting: None,
            answer: None,
            published: Vec::new(),
            is_list_new: false,
            unsubscribed: 0,
            tables_due: now,
            failures: 0,
            failed: 0,
            cause: None,
        }
    }
}

impl Link {
    /// Takes over what the subscription says now; another target means another connection.
    pub fn follow(&mut self, listed: &Listed) {
        let target = Target {
            conninfo: listed.conninfo.clone(),
            slot: listed.slot.clone().unwrap_or_default(),
            publications: listed.publications.clone(),
            needs_password: settings::require_password() && !listed.is_superusers,
        };
        if self.target.as_ref() != Some(&target) {
            *self = Self { target: Some(target), ..Self::default() };
        }
    }

    pub fn socket(&self) -> Option<(RawFd, For)> {
        match &self.stage {
            Stage::Resolving { task, .. } => Some((task.socket(), For::Read)),
            Stage::Connecting { connection, waits_for, .. } => {
                Some((connection.socket(), *waits_for))
            }
            Stage::Asked { connection, .. } => Some((connection.socket(), For::Read)),
            Stage::Down { .. } | Stage::Idle(_) => None,
        }
    }

    /// When to go on without news from the socket.
    pub fn retry(&self) -> Option<Instant> {
        match self.stage {
            Stage::Down { retry } => Some(retry),
            _ => None,
        }
    }

    /// Whether an answer may come soon.
    pub fn is_asked(&self) -> bool {
        match self.stage {
            Stage::Asked { .. } => true,
            Stage::Resolving { .. } | Stage::Connecting { .. } => !self.is_down(),
            Stage::Down { .. } => self.failures == 1,
            Stage::Idle(_) => false,
        }
    }

    /// The apply worker hears from the publisher: it can be reached again.
    pub fn hurry(&mut self) {
        if let Stage::Down { retry } = &mut self.stage {
            *retry = Instant::now();
        }
    }

    /// Whether it has an answer that no look has taken.
    pub fn has_news(&self) -> bool {
        self.answer.is_some()
    }

    /// A lost connection that is being opened again is not down yet.
    pub fn is_down(&self) -> bool {
        self.failures > 1
    }

    /// How often it failed since the last time.
    pub fn take_failed(&mut self) -> u32 {
        std::mem::take(&mut self.failed)
    }

    /// Why it went down, once.
    pub fn take_cause(&mut self) -> Option<String> {
        self.cause.take()
    }

    /// What came since the last look.
    pub fn take_answer(&mut self) -> Answer {
        match self.answer.take() {
            Some(answer) => Answer::Given(answer),
            None if self.is_down() => Answer::Failed,
            None => Answer::Pending,
        }
    }

    pub fn ask(&mut self) {
        match self.stage {
            Stage::Idle(_) => self.send(Question::Look),
            _ => self.go_on(),
        }
    }

    /// Lets the connection go on as far as it can without waiting, or opens it when it is time to.
    pub fn go_on(&mut self) {
        let stage = std::mem::replace(&mut self.stage, Stage::Down { retry: Instant::now() });
        match stage {
            Stage::Resolving { task, conninfo, until } => self.resolve(task, conninfo, until),
            Stage::Connecting { connection, waits_for, until } => {
                self.connect(connection, waits_for, until);
            }
            Stage::Asked { .. } => self.receive(stage),
            Stage::Down { retry } if retry <= Instant::now() => self.start(),
            Stage::Down { .. } | Stage::Idle(_) => self.stage = stage,
        }
    }

    fn start(&mut self) {
        let Some(target) = &self.target else { return };
        let Some(mut conninfo) = publisher::parse(&target.conninfo) else {
            return self.fail("the connection string makes no sense");
        };
        conninfo.set("application_name", APPLICATION);
        conninfo.set("client_encoding", "UTF8");
        conninfo.set("options", "-c search_path= -c statement_timeout=60000");
        let until = Instant::now() + settings::connect_timeout();
        match publisher::resolution(&conninfo) {
            Some(task) => self.stage = Stage::Resolving { task, conninfo, until },
            None => self.open(&conninfo, until),
        }
    }

    fn resolve(&mut self, task: Task<Vec<String>>, conninfo: Conninfo, until: Instant) {
        match task.take() {
            Some(addresses) => match publisher::with_addresses(&conninfo, addresses) {
                Some(conninfo) => self.open(&conninfo, until),
                None => self.fail(UNRESOLVED),
            },
            None if Instant::now() >= until => self.fail(UNRESOLVED),
            None => self.stage = Stage::Resolving { task, conninfo, until },
        }
    }

    fn open(&mut self, conninfo: &Conninfo, until: Instant) {
        match Connection::start(conninfo.iter()) {
            Some(connection) if !connection.has_failed() => {
                self.stage = Stage::Connecting { connection, waits_for: For::ReadOrWrite, until };
            }
            Some(connection) => self.fail(&connection.error_message()),
            None => self.fail("out of memory"),
        }
    }

    fn connect(&mut self, mut connection: Connection, waits_for: For, until: Instant) {
        if Instant::now() >= until {
            return self.fail("it did not answer within connect_timeout");
        }
        if !crate::ffi::wait::is_ready(connection.socket(), waits_for) {
            self.stage = Stage::Connecting { connection, waits_for, until };
            return;
        }
        let waits_for = match connection.poll() {
            Progress::Connected => return self.connected(connection),
            Progress::Failed => return self.fail(&connection.error_message()),
            Progress::Readable => For::Read,
            Progress::Writable => For::ReadOrWrite,
        };
        self.stage = Stage::Connecting { connection, waits_for, until };
    }

    fn connected(&mut self, connection: Connection) {
        let needs_password = self.target.as_ref().is_some_and(|target| target.needs_password);
        if needs_password && !connection.used_password() {
            return self.fail("it did not ask for a password");
        }
        self.stage = Stage::Idle(connection);
        self.send(Question::Greeting);
    }

    fn send(&mut self, what: Question) {
        let Some(text) = self.text(what) else { return };
        let retry = Stage::Down { retry: Instant::now() };
        let Stage::Idle(mut connection) = std::mem::replace(&mut self.stage, retry) else { return };
        let asked = now();
        if !connection.send(&text) || connection.flush().is_none() {
            return self.fail(&connection.error_message());
        }
        let until = Instant::now() + settings::publisher_timeout();
        self.stage = Stage::Asked { connection, what, rows: Vec::new(), size: 0, asked, until };
    }

    fn text(&self, what: Question) -> Option<String> {
        let Stage::Idle(connection) = &self.stage else { return None };
        let target = self.target.as_ref()?;
        let major = connection.server_major();
        Some(match what {
            Question::Greeting => question::GREETING.to_owned(),
            Question::Look => question::text(&target.slot, major, self.greeting?.extension),
            Question::Tables => subscription::tables_query(major, &target.publications),
        })
    }

    fn receive(&mut self, stage: Stage) {
        let Stage::Asked { mut connection, what, mut rows, mut size, asked, until } = stage else {
            return;
        };
        if Instant::now() >= until {
            return self.fail("it did not answer a query within publisher_timeout");
        }
        if connection.flush().is_none() || !connection.consume() {
            return self.fail(&connection.error_message());
        }
        while !connection.is_busy() {
            let Some(result) = connection.next_result() else {
                self.stage = Stage::Idle(connection);
                return self.answered(what, rows, asked);
            };
            match result.status() {
                Status::Row => {
                    let row = result.row();
                    size += row.iter().flatten().map(String::len).sum::<usize>() + 64;
                    rows.push(row);
                }
                Status::Done => {}
                Status::Failed => return self.fail(&result.message()),
            }
            if size > MAX_ANSWER {
                return self.fail(NONSENSE);
            }
        }
        self.stage = Stage::Asked { connection, what, rows, size, asked, until };
    }

    fn answered(&mut self, what: Question, rows: Vec<Row>, asked: Micros) {
        let answered = now();
        match what {
            Question::Greeting => {
                self.greeting = question::greeting(rows);
                match self.greeting {
                    Some(_) => self.send(Question::Look),
                    None => self.fail(NONSENSE),
                }
            }
            Question::Look => {
                let source = self.greeting.map(|greeting| greeting.source).unwrap_or_default();
                self.answer = question::answer(rows, source, (asked, answered));
                if self.answer.is_none() {
                    return self.fail(NONSENSE);
                }
                self.failures = 0;
                if self.tables_due <= Instant::now() {
                    self.send(Question::Tables);
                }
            }
            Question::Tables => {
                let tables =
                    rows.into_iter().filter_map(|row| subscription::schema_and_name(row).ok());
                self.published = tables.collect();
                self.is_list_new = true;
                let took = Duration::from_micros(answered.saturating_sub(asked));
                self.tables_due = Instant::now() + took * TABLES_SHARE;
            }
        }
    }

    fn fail(&mut self, cause: &str) {
        self.failures += 1;
        self.failed += 1;
        // The first failure may be no more than the end of a connection.
        if self.failures == 2 {
            self.cause =
                self.target.as_ref().map(|target| publisher::shown_of(cause, &target.conninfo));
        }
        let interval = settings::watch_interval();
        let longest = LONGEST_PAUSE.max(interval);
        let pause = match self.failures.checked_sub(QUICK_ATTEMPTS) {
            None if self.failures == 1 => Duration::ZERO,
            None => interval / 4,
            Some(more) => interval.saturating_mul(1 << more.min(10)).min(longest),
        };
        self.stage = Stage::Down { retry: Instant::now() + pause };
    }
}
