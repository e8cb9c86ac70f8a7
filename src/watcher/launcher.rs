//! The launcher keeps a watcher running in each database that has subscriptions to watch. Like core's
//! launcher it is connected to no database, so it does not block DROP DATABASE.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use pgmig_core::fairness;
use pgrx::pg_sys::{Datum, Oid};
use pgrx::prelude::*;

use super::place::Process;
use super::process::{self, Claim};
use super::shared;
use crate::error::Kind;
use crate::ffi::subscription::{self as catalog, Subscribed};
use crate::ffi::{slots, wait, worker};
use crate::notice::Notice;
use crate::settings;

/// After how many seconds the postmaster starts the launcher again.
const RESTART: i32 = 5;
/// How soon a new subscription is noticed.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a database is still watched after all its subscriptions were disabled: the view reports it,
/// and a subscription that is enabled again is watched without delay.
const GRACE: Duration = Duration::from_secs(15);
/// The most databases that one log line names.
const MAX_NAMED: usize = 5;

pub fn register() {
    worker::Worker {
        name: "pgmig_extras launcher".to_owned(),
        kind: "pgmig_extras launcher",
        function: "pgmig_extras_launcher",
        argument: Datum::null(),
    }
    .register(RESTART);
}

#[pg_guard]
#[unsafe(no_mangle)]
#[allow(unsafe_code)]
pub extern "C-unwind" fn pgmig_extras_launcher(_argument: Datum) {
    worker::handle_signals();
    worker::connect_to_shared_catalogs();
    worker::at_exit(on_exit);
    shared::write(|header, _| header.launcher = Process::launcher(worker::my_pid()));
    let mut launcher = Launcher::default();
    loop {
        worker::reload_configuration();
        let start = Instant::now();
        shared::write(|header, _| header.timeouts = settings::timeouts());
        remember_inactive_slots();
        if settings::watch() && !worker::in_recovery() {
            launcher.cycle();
        }
        shared::write(|header, _| header.launcher.finish_cycle(start.elapsed()));
        wait::until(start + INTERVAL);
    }
}

fn remember_inactive_slots() {
    let inactive = if settings::watch() { slots::inactive() } else { Vec::new() };
    let now = wait::timestamp();
    shared::write(|header, _| header.inactive.follow(&inactive, now));
}

extern "C-unwind" fn on_exit(_code: i32, _argument: Datum) {
    shared::write(|header, _| header.launcher.pid = 0);
}

#[derive(Default)]
struct Launcher {
    /// Databases whose subscriptions are all disabled, and since when.
    disabled: BTreeMap<u32, Instant>,
    /// Databases that are not watched though they should be.
    obstacles: BTreeMap<u32, Obstacle>,
    /// Those of them that the log already names.
    told: BTreeMap<u32, Obstacle>,
}

/// Why a database is not watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    /// All background workers are in use.
    NoWorker,
    /// The limit of watched databases is reached.
    TooMany,
}

impl Launcher {
    fn cycle(&mut self) {
        let subscriptions = worker::transaction(catalog::everywhere);
        shared::follow(&subscriptions);
        let enabled = subscriptions.iter().filter(|it| it.enabled);
        let wanted: BTreeSet<(u32, u32)> =
            enabled.map(|it| (it.database.to_u32(), it.owner.to_u32())).collect();
        let chosen = fairness::databases(&wanted, process::limit());
        let staying = self.staying(&subscriptions, &wanted, process::limit() - chosen.len());
        process::keep_only(|database| {
            let database = database.to_u32();
            chosen.contains(&database) || staying.contains(&database)
        });
        self.start(&chosen);
        for (database, _) in wanted.iter().filter(|(database, _)| !chosen.contains(database)) {
            self.obstacles.insert(*database, Obstacle::TooMany);
        }
        self.obstacles.retain(|known, _| wanted.iter().any(|(database, _)| database == known));
        self.tell();
    }

    /// Databases without an enabled subscription whose watchers may stay: at most `room`, those that
    /// were disabled last.
    fn staying(
        &mut self,
        subscriptions: &[Subscribed],
        wanted: &BTreeSet<(u32, u32)>,
        room: usize,
    ) -> BTreeSet<u32> {
        let is_wanted =
            |database: u32| wanted.range((database, 0)..=(database, u32::MAX)).next().is_some();
        let now = Instant::now();
        let disabled = subscriptions.iter().map(|it| it.database.to_u32());
        let disabled: BTreeSet<u32> = disabled.filter(|database| !is_wanted(*database)).collect();
        self.disabled.retain(|database, _| disabled.contains(database));
        for database in disabled {
            self.disabled.entry(database).or_insert(now);
        }
        let is_recent = |(_, since): &(&u32, &Instant)| since.elapsed() < GRACE;
        let mut recent: Vec<_> = self.disabled.iter().filter(is_recent).collect();
        recent.sort_by_key(|(_, since)| std::cmp::Reverse(**since));
        recent.into_iter().take(room).map(|(database, _)| *database).collect()
    }

    fn start(&mut self, chosen: &BTreeSet<u32>) {
        for database in chosen {
            match process::claim(Oid::from(*database)) {
                Claim::Due if start(Oid::from(*database)) => {}
                Claim::Due => {
                    process::fail(Oid::from(*database));
                    self.obstacles.insert(*database, Obstacle::NoWorker);
                }
                Claim::Watched => {
                    self.obstacles.remove(database);
                }
                // The worker was requested already, or has to wait until another one leaves.
                Claim::Pending => {}
            }
        }
    }

    /// Logs the obstacles that the log does not have yet.
    fn tell(&mut self) {
        let told = std::mem::replace(&mut self.told, self.obstacles.clone());
        for obstacle in [Obstacle::NoWorker, Obstacle::TooMany] {
            let of_kind = self.obstacles.iter().filter(|(_, other)| **other == obstacle);
            let databases: Vec<u32> = of_kind.map(|(database, _)| *database).collect();
            if databases.iter().any(|database| told.get(database) != Some(&obstacle)) {
                obstacle.warning(&databases).send();
            }
        }
    }
}

impl Obstacle {
    fn warning(self, databases: &[u32]) -> Notice {
        let message = match self {
            Self::NoWorker => "no background worker is free to watch subscriptions".to_owned(),
            Self::TooMany => format!(
                "too many databases with subscriptions to watch: there are workers for {}",
                process::limit()
            ),
        };
        let named: Vec<_> = databases.iter().take(MAX_NAMED).map(u32::to_string).collect();
        let more = match databases.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Notice::warning(message)
            .sqlstate(Kind::LimitExceeded)
            .detail(format!("Not watched are the databases with oid {}{more}.", named.join(", ")))
            .hint("Raise \"max_worker_processes\" and restart the server.")
    }
}

fn start(database: Oid) -> bool {
    worker::Worker {
        name: format!("pgmig_extras watcher for database {}", database.to_u32()),
        kind: "pgmig_extras watcher",
        function: "pgmig_extras_watcher",
        argument: Datum::from(database),
    }
    .start()
}
