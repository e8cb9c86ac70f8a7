//! The connection to one subscription's publisher. It is kept open, and nothing waits for it. If it is
//! lost, a new one is opened immediately, then every quarter of an interval, later less often.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use pgmig_core::conninfo::Conninfo;
use pgmig_core::lag::Micros;
use pgmig_core::lag::observation::{Answer, Compared, Publisher, Source};
use pgmig_core::wire::{self, Fault, Rows, ServerError};
use pgrx::pg_sys::Oid;

use super::definition::{Definition, too_many_publications};
use super::question;
use crate::error::{Error, Result};
use crate::ffi::wait::{For, monotonic_micros as now};
use crate::publisher::channel::{Broken, Channel, Exchange, Step};
use crate::publisher::login::Login;
use crate::publisher::tables;
use crate::{conninfo, settings};

/// The name in the publisher's pg_stat_activity.
const APPLICATION: &str = "pgmig_extras watcher";
/// All lists of published tables together take at most 1/TABLES_SHARE of the watcher's time.
const TABLES_SHARE: u32 = 20;
/// After so many attempts, one every quarter of an interval, attempts become rarer.
const QUICK_ATTEMPTS: u32 = 40;
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const NONSENSE: &str = "its answer makes no sense";
/// The largest answers, in bytes: of one row, and of a list of some ten thousand tables.
const MAX_ANSWER: usize = 64 << 10;
const MAX_TABLES: usize = 2 << 20;
/// How long the publisher is not asked again for a list that was too long.
const TOO_LONG_PAUSE: Duration = Duration::from_secs(600);
/// How many pieces of an answer are read before it is another publisher's turn.
const PIECES: u32 = 8;

pub struct PublisherProbe {
    target: Option<Target>,
    stage: Stage,
    source: Option<Source>,
    answer: Option<Publisher>,
    /// A new list of the publications' tables that was not taken yet.
    list: Option<Rows>,
    /// How the subscription's tables compare with the last list.
    pub compared: Option<Compared>,
    /// How many subscribed tables the last list did not have.
    pub lacking: Option<u32>,
    tables_due: Instant,
    /// How the publisher is asked.
    asking: Asking,
    failures: u32,
    /// Failures since they were last taken.
    failed: u32,
    /// Why the connection failed, until that was taken.
    cause: Option<String>,
    /// Why the rules for connection strings forbid a connection.
    refusal: Option<String>,
}

/// Where to connect and what to ask for.
#[derive(PartialEq)]
struct Target {
    /// `None` if it is longer than `limits::TEXT`.
    conninfo: Option<String>,
    slot: String,
    publications: Option<Vec<String>>,
    owner: Oid,
    is_superusers: bool,
}

enum Stage {
    Down {
        retry: Instant,
    },
    Connecting(Login),
    Idle(Channel),
    Asked {
        channel: Channel,
        what: Question,
        exchange: Box<Exchange>,
        waits_for: For,
        asked: Micros,
        until: Instant,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Greeting,
    Slot,
    Tables,
}

/// The query about the slot is prepared once for each connection. A pooler in between may not support
/// prepared statements. Then the whole query is sent every time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asking {
    ToPrepare,
    Prepared,
    Whole,
}

impl Default for PublisherProbe {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            target: None,
            stage: Stage::Down { retry: now },
            source: None,
            answer: None,
            list: None,
            compared: None,
            lacking: None,
            tables_due: now,
            asking: Asking::ToPrepare,
            failures: 0,
            failed: 0,
            cause: None,
            refusal: None,
        }
    }
}

impl PublisherProbe {
    /// Takes the subscription's present definition. If it changed, a new connection is opened.
    pub fn follow(&mut self, definitions: &Definition) {
        let target = Target {
            conninfo: definitions.conninfo.clone(),
            slot: definitions.slot.clone().unwrap_or_default(),
            publications: definitions.publications.clone(),
            owner: definitions.owner,
            is_superusers: definitions.is_superusers,
        };
        if self.target.as_ref() != Some(&target) {
            *self = Self { target: Some(target), ..Self::default() };
        }
    }

    pub fn socket(&self) -> Option<(RawFd, For)> {
        match &self.stage {
            Stage::Connecting(login) => Some((login.socket(), For::Read)),
            Stage::Asked { channel, waits_for, .. } => Some((channel.socket(), *waits_for)),
            Stage::Down { .. } | Stage::Idle(_) => None,
        }
    }

    /// When the next step is due if nothing arrives on the socket.
    pub fn retry(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Down { retry } => Some(*retry),
            Stage::Connecting(login) => Some(login.until()),
            Stage::Asked { until, .. } => Some(*until),
            Stage::Idle(_) => None,
        }
    }

    /// Whether an answer may come soon.
    pub fn is_asked(&self) -> bool {
        match self.stage {
            Stage::Asked { .. } => true,
            Stage::Connecting(_) => !self.is_down(),
            Stage::Down { .. } => self.failures == 1,
            Stage::Idle(_) => false,
        }
    }

    /// The apply worker has received a message from the publisher, so a new attempt is made now.
    pub fn hurry(&mut self) {
        if let Stage::Down { retry } = &mut self.stage
            && self.refusal.is_none()
        {
            *retry = Instant::now();
        }
    }

    /// Whether it has an answer that was not taken yet.
    pub fn has_news(&self) -> bool {
        self.answer.is_some()
    }

    /// False for a lost connection until the first attempt to open a new one has failed.
    pub fn is_down(&self) -> bool {
        self.failures > 1
    }

    /// Why the rules for connection strings forbid a connection.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// How often it failed since the last call.
    pub fn take_failed(&mut self) -> u32 {
        std::mem::take(&mut self.failed)
    }

    /// Why it failed. Returned once for each failure.
    pub fn take_cause(&mut self) -> Option<String> {
        self.cause.take()
    }

    /// Whether the subscription's owner may learn why it failed.
    pub fn is_named(&self) -> bool {
        let target = self.target.as_ref();
        target.and_then(|target| target.checked().ok()).is_some_and(|it| conninfo::is_named(&it))
    }

    /// The answer that arrived since the last call.
    pub fn take_answer(&mut self) -> Answer {
        match self.answer.take() {
            Some(answer) => Answer::Given(answer),
            None if self.is_down() => Answer::Failed,
            None => Answer::Pending,
        }
    }

    /// The publications' tables, if a new list has arrived.
    pub fn take_list(&mut self) -> Option<Rows> {
        self.list.take()
    }

    /// Delays the next list: this one took `took` of the watcher's time, which all connections share.
    pub fn pay_for_list(&mut self, took: Duration, probes: usize) {
        let share = TABLES_SHARE.saturating_mul(u32::try_from(probes).unwrap_or(u32::MAX));
        self.tables_due = self.tables_due.max(Instant::now() + took.saturating_mul(share));
    }

    pub fn ask(&mut self) {
        match self.stage {
            Stage::Idle(_) => self.send(Question::Slot),
            _ => self.go_on(),
        }
    }

    /// Advances the connection as far as possible without waiting. Opens it if that is due.
    pub fn go_on(&mut self) {
        let stage = std::mem::replace(&mut self.stage, Stage::Down { retry: Instant::now() });
        match stage {
            Stage::Connecting(login) => self.connect(login),
            Stage::Asked { .. } => self.receive(stage),
            Stage::Down { retry } if retry <= Instant::now() => self.start(),
            Stage::Down { .. } | Stage::Idle(_) => self.stage = stage,
        }
    }

    fn start(&mut self) {
        let Some(target) = &self.target else { return };
        let conninfo = match target.checked() {
            Ok(conninfo) => conninfo,
            Err(error) => return self.refuse(error),
        };
        self.refusal = None;
        match Login::start(conninfo, target.owner, settings::connect_timeout()) {
            Ok(login) => self.stage = Stage::Connecting(login),
            Err(obstacle) => self.fail(obstacle.text()),
        }
    }

    fn connect(&mut self, login: Login) {
        match login.take() {
            Some(Ok(connection)) => self.connected(login.channel(connection)),
            Some(Err(cause)) => self.fail(&cause),
            None if Instant::now() >= login.until() => {
                self.fail("it did not answer within connect_timeout");
            }
            None => self.stage = Stage::Connecting(login),
        }
    }

    fn connected(&mut self, channel: Channel) {
        let is_bound = self.target.as_ref().is_some_and(|target| !target.is_superusers);
        if is_bound && settings::require_password() && !channel.used_password() {
            return self.fail("it did not ask for a password");
        }
        if self.asking == Asking::Prepared {
            self.asking = Asking::ToPrepare;
        }
        self.stage = Stage::Idle(channel);
        self.send(Question::Greeting);
    }

    fn send(&mut self, what: Question) {
        let retry = Stage::Down { retry: Instant::now() };
        let Stage::Idle(channel) = std::mem::replace(&mut self.stage, retry) else { return };
        let Some(query) = self.query(what, channel.major()) else { return self.fail(NONSENSE) };
        let limit = if what == Question::Tables { MAX_TABLES } else { MAX_ANSWER };
        let exchange = Box::new(Exchange::new(query, limit));
        let until = Instant::now() + settings::publisher_timeout();
        let waits_for = For::ReadOrWrite;
        self.receive(Stage::Asked { channel, what, exchange, waits_for, asked: now(), until });
    }

    fn query(&self, what: Question, major: u16) -> Option<Vec<u8>> {
        let target = self.target.as_ref()?;
        let publications = target.publications.as_ref()?;
        let slot = || question::text(&target.slot, publications, major);
        match (what, self.asking) {
            (Question::Greeting, _) => wire::query(question::GREETING),
            (Question::Slot, Asking::ToPrepare) => wire::prepared("slot", Some(&slot())),
            (Question::Slot, Asking::Prepared) => wire::prepared("slot", None),
            (Question::Slot, Asking::Whole) => wire::query(&slot()),
            (Question::Tables, _) => wire::query(&tables::query(major, publications)),
        }
    }

    fn receive(&mut self, stage: Stage) {
        let Stage::Asked { mut channel, what, mut exchange, asked, until, .. } = stage else {
            return;
        };
        if Instant::now() >= until {
            return self.fail("it did not answer a query within publisher_timeout");
        }
        let mut waits_for = For::Read;
        for _ in 0..PIECES {
            match exchange.step(&mut channel) {
                Ok(Step::Again) => {}
                Ok(Step::Wait(what)) => {
                    waits_for = what;
                    break;
                }
                Ok(Step::Answered(Ok(rows))) => {
                    let major = channel.major();
                    self.stage = Stage::Idle(channel);
                    return self.answered(what, rows, major, asked);
                }
                Ok(Step::Answered(Err(error))) => return self.refused(what, &error),
                Err(broken) => return self.broken(what, broken),
            }
        }
        self.stage = Stage::Asked { channel, what, exchange, waits_for, asked, until };
    }

    fn answered(&mut self, what: Question, rows: Rows, major: u16, asked: Micros) {
        let answered = now();
        match what {
            Question::Greeting => {
                self.source = question::source(&rows);
                match self.source {
                    Some(_) => self.send(Question::Slot),
                    None => self.fail(NONSENSE),
                }
            }
            Question::Slot => {
                if self.asking == Asking::ToPrepare {
                    self.asking = Asking::Prepared;
                }
                let source = self.source.unwrap_or_default();
                let list = self.target.as_ref().map_or(0, Target::list);
                self.answer = question::answer(&rows, source, major, list, (asked, answered));
                if self.answer.is_none() {
                    return self.fail(NONSENSE);
                }
                self.failures = 0;
                if self.tables_due <= Instant::now() {
                    // If the publisher ends the connection instead of answering, it is not asked again
                    // immediately.
                    self.tables_due = Instant::now() + settings::watch_interval() / 2;
                    self.send(Question::Tables);
                }
            }
            Question::Tables => {
                self.list = Some(rows);
                let took = Duration::from_micros(answered.saturating_sub(asked));
                self.pay_for_list(took, 1);
            }
        }
    }

    /// The publisher reported an error.
    fn refused(&mut self, what: Question, error: &ServerError) {
        if what == Question::Slot {
            self.asking = Asking::Whole;
        }
        self.fail(&error.message);
    }

    fn broken(&mut self, what: Question, broken: Broken) {
        if what == Question::Tables && broken == Broken::Answer(Fault::TooMuch) {
            self.tables_due = Instant::now() + TOO_LONG_PAUSE;
            self.compared = None;
        }
        self.fail(match broken {
            Broken::Lost => "the connection was lost",
            Broken::Answer(Fault::TooMuch) => "its answer is too large",
            Broken::Answer(Fault::OutOfMemory) => "out of memory for its answer",
            Broken::Answer(Fault::Nonsense) => NONSENSE,
        });
    }

    fn fail(&mut self, cause: &str) {
        self.failures += 1;
        self.failed += 1;
        // The first failure may just be the end of an old connection.
        if self.failures == 2 {
            self.cause = self.target.as_ref().map(|target| target.shown(cause));
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

    /// The rules are settings that can change, so they are applied again later.
    fn refuse(&mut self, error: Error) {
        self.refusal = Some(error.message);
        self.answer = None;
        self.stage = Stage::Down { retry: Instant::now() + LONGEST_PAUSE };
    }
}

impl Target {
    /// The connection string, if the subscription's owner may connect with it.
    fn checked(&self) -> Result<Conninfo> {
        if self.publications.is_none() {
            return Err(too_many_publications());
        }
        let mut conninfo = conninfo::stored(self.conninfo.as_deref(), self.is_superusers)?;
        conninfo.set("application_name", APPLICATION);
        conninfo.set("client_encoding", "UTF8");
        conninfo.set("options", "-c search_path= -c statement_timeout=60000");
        Ok(conninfo)
    }

    /// A hash that tells one list of publications from another.
    fn list(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.publications.hash(&mut hasher);
        hasher.finish()
    }

    fn shown(&self, cause: &str) -> String {
        let conninfo = self.conninfo.as_deref().and_then(conninfo::parse);
        conninfo.map_or_else(String::new, |conninfo| conninfo::shown(cause, &conninfo))
    }
}
