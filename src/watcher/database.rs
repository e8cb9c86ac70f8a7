//! One worker per database: looks at each of its subscriptions once per interval.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pgmig_core::lag::observation::{Answer, Publisher, Received, Subscriber, Tables};
use pgmig_core::lag::{Observation, Outcome};
use pgrx::PgLogLevel;
use pgrx::pg_sys::{Datum, Oid};
use pgrx::prelude::*;

use super::announce::announce;
use super::link::Link;
use super::shared::{self, Header, Process};
use super::subscriber::{self, Listed, Look};
use super::{next_tick, now, question};
use crate::caller::Caller;
use crate::error::{Error, Kind, Result, raise, report};
use crate::ffi::{wait, worker};
use crate::{publisher, settings};

impl Process {
    pub const NONE: Self = Self {
        pid: 0,
        database: Oid::INVALID,
        asked_at: 0,
        cycled_at: 0,
        cycle: 0,
        unreachable: 0,
        watched: 0,
    };
}

/// Where a database's process stands or may stand. `None` when there are too many databases.
pub fn place(header: &Header, database: Oid) -> Option<usize> {
    let free = |process: &Process| process.pid == 0 && process.database == Oid::INVALID;
    header
        .databases
        .iter()
        .position(|process| process.database == database)
        .or_else(|| header.databases.iter().position(free))
}

#[pg_guard]
#[unsafe(no_mangle)]
#[allow(unsafe_code)]
pub extern "C-unwind" fn pgmig_extras_watcher(argument: Datum) {
    let database = Oid::from(argument.value() as u32);
    worker::handle_signals();
    worker::at_exit(on_exit);
    if !enter(database) {
        return;
    }
    worker::connect_to_database(database);
    let mut watcher = Watcher { database, links: BTreeMap::new(), full: false };
    let mut tick = Instant::now();
    loop {
        worker::reload_configuration();
        if !settings::watch() || worker::in_recovery() || !watcher.cycle() {
            return;
        }
        tick = next_tick(tick, settings::watch_interval());
        watcher.go_on_until(tick, Links::All);
    }
}

/// Makes this the database's watcher, unless another one is.
fn enter(database: Oid) -> bool {
    shared::write(|header, _| {
        let Some(at) = place(header, database) else { return false };
        let process = &mut header.databases[at];
        let free = process.pid == 0;
        if free {
            *process = Process { pid: worker::my_pid(), database, ..Process::NONE };
        }
        free
    })
    .unwrap_or(false)
}

extern "C-unwind" fn on_exit(_code: i32, _argument: Datum) {
    shared::write(|header, _| {
        let own = header.databases.iter_mut().find(|process| process.pid == worker::my_pid());
        if let Some(process) = own {
            *process = Process::NONE;
        }
    });
}

/// How long a look waits for publishers; an answer that comes later counts for the next one.
const ANSWER_TIME: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Links {
    All,
    AnyAsked,
}

struct Watcher {
    database: Oid,
    links: BTreeMap<u32, Link>,
    /// Whether the log already has that there is no room for more subscriptions.
    full: bool,
}

impl Watcher {
    /// One look at every subscription. False when there is none left.
    fn cycle(&mut self) -> bool {
        let start = Instant::now();
        let listed = worker::transaction(|| raise(subscriber::list()));
        if listed.is_empty() {
            return false;
        }
        self.follow(&listed);
        self.links.values_mut().for_each(Link::ask);
        self.go_on_until(start + ANSWER_TIME, Links::AnyAsked);

        // What the publishers say comes first, then what was received, then the rest.
        let received = worker::transaction(|| raise(subscriber::received()));
        let looks = worker::transaction(|| raise(subscriber::look()));
        let outcomes = looks.iter().filter_map(|look| Some((look, self.observe(look, &received)?)));
        let outcomes: Vec<_> = outcomes.collect();
        announce(&outcomes);
        self.finish(start);
        true
    }

    /// Keeps one link per subscription that there is.
    fn follow(&mut self, listed: &[Listed]) {
        self.links.retain(|oid, _| listed.iter().any(|there| there.oid.to_u32() == *oid));
        for there in listed {
            self.links.entry(there.oid.to_u32()).or_default().follow(there);
        }
    }

    /// Lets every link go on until `until`, or until none is waiting for an answer. One publisher
    /// that hangs delays no other: each has a connection of its own.
    fn go_on_until(&mut self, until: Instant, links: Links) {
        while Instant::now() < until {
            if links == Links::AnyAsked && !self.links.values().any(Link::is_asked) {
                return;
            }
            let sockets: Vec<_> = self.links.values().filter_map(Link::socket).collect();
            wait::any(&sockets, until);
            self.links.values_mut().for_each(Link::go_on);
        }
    }

    fn observe(&mut self, look: &Look, received: &[(Oid, Received)]) -> Option<Outcome> {
        let link = self.links.get_mut(&look.oid.to_u32())?;
        let tables = Tables { total: look.tables.total + unsubscribed(link, look), ..look.tables };
        let observation = observation(look, link.take_answer(), received, tables);
        let settings = settings::lag();
        let outcome = shared::track(self.database, look.oid, |tracker| {
            tracker.observe(&observation, &settings)
        });
        if outcome.is_none() {
            self.warn_full();
        }
        outcome
    }

    fn warn_full(&mut self) {
        if std::mem::replace(&mut self.full, true) {
            return;
        }
        report(
            PgLogLevel::WARNING,
            Error::new(Kind::LimitExceeded, "too many subscriptions to watch")
                .detail("Those without room are not watched.")
                .hint("Raise \"pgmig_extras.max_subscriptions\" and restart the server."),
        );
    }

    fn finish(&self, start: Instant) {
        let unreachable = self.links.values().filter(|link| link.is_down()).count() as u32;
        shared::write(|header, _| {
            let own = header.databases.iter_mut().find(|process| process.pid == worker::my_pid());
            if let Some(process) = own {
                process.cycled_at = now();
                process.cycle = start.elapsed().as_micros() as u64;
                process.unreachable = unreachable;
                process.watched = self.links.len() as u32;
            }
        });
    }
}

/// Tables that are published and not subscribed to. Asked when the publisher's list is new, and
/// while there are any, since a REFRESH changes that on this side.
fn unsubscribed(link: &mut Link, look: &Look) -> u32 {
    if link.unsubscribed == 0 && !std::mem::take(&mut link.is_list_new) {
        return 0;
    }
    link.unsubscribed =
        worker::transaction(|| raise(subscriber::unsubscribed(look.oid, &link.published)));
    link.unsubscribed
}

/// What the tracker takes in.
pub fn observation<'a>(
    look: &'a Look,
    publisher: Answer,
    received: &[(Oid, Received)],
    tables: Tables,
) -> Observation<'a> {
    let received = received.iter().find(|(oid, _)| *oid == look.oid).map(|(_, got)| *got);
    let subscriber = Subscriber {
        enabled: look.enabled,
        slot: look.slot.as_deref(),
        received,
        worker: look.worker,
        origin: look.origin,
        tables,
        errors: look.errors,
    };
    Observation { at: now(), publisher, subscriber }
}

/// Asks a publisher once, on a connection that ends with the call.
pub fn ask_once(listed: &Listed, caller: Caller) -> Result<Publisher> {
    let conninfo = publisher::parse(&listed.conninfo).ok_or_else(publisher::nonsense)?;
    let mut connection = publisher::Publisher::connect(&conninfo, caller)?;
    let greeting = question::greeting(connection.query(question::GREETING)?);
    let greeting = greeting.ok_or_else(publisher::nonsense)?;
    let slot = listed.slot.as_deref().unwrap_or_default();
    let asked = now();
    let text = question::text(slot, connection.major(), greeting.extension);
    let rows = connection.query(&text)?;
    question::answer(rows, greeting.source, (asked, now())).ok_or_else(publisher::nonsense)
}
