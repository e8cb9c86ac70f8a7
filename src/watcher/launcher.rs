//! The launcher: keeps a worker in each database that has subscriptions. Connected to no database,
//! as the core launcher is, so that it holds up no DROP DATABASE.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use pgrx::PgLogLevel;
use pgrx::pg_sys::{Datum, Oid};
use pgrx::prelude::*;

use super::process::{self, Claim, Process};
use super::shared;
use crate::error::{Error, Kind, report};
use crate::ffi::{slots, wait, worker};
use crate::settings;

/// How long the postmaster waits before it starts a launcher that ended again, in seconds.
const RESTART: i32 = 5;
/// How soon a new subscription is noticed.
const INTERVAL: Duration = Duration::from_secs(1);

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
    let mut launcher = Launcher { told: None };
    loop {
        worker::reload_configuration();
        let start = Instant::now();
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

struct Launcher {
    /// What the log already says that a database is not watched for.
    told: Option<Obstacle>,
}

/// Why a database can't be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    NoWorker,
    NoPlace,
}

impl Launcher {
    fn cycle(&mut self) {
        let subscriptions = worker::transaction(worker::subscriptions_everywhere);
        let known: BTreeSet<u32> = subscriptions.iter().map(|(_, oid)| oid.to_u32()).collect();
        shared::keep_only(|subscription| known.contains(&subscription.to_u32()));
        let databases: BTreeSet<u32> =
            subscriptions.iter().map(|(database, _)| database.to_u32()).collect();
        process::keep_only(|database| databases.contains(&database.to_u32()));
        for database in databases.into_iter().map(Oid::from) {
            match process::claim(database) {
                Claim::Due if start(database) => self.told = None,
                Claim::Due => self.tell(Obstacle::NoWorker, database),
                Claim::NoPlace => self.tell(Obstacle::NoPlace, database),
                Claim::Taken => {}
            }
        }
    }

    /// Once, until a worker could be started again.
    fn tell(&mut self, obstacle: Obstacle, database: Oid) {
        shared::write(|header, _| header.launcher.errors += 1);
        if self.told.replace(obstacle) == Some(obstacle) {
            return;
        }
        let (message, hint) = match obstacle {
            Obstacle::NoWorker => (
                "no background worker is free to watch subscriptions",
                "Raise \"max_worker_processes\" and restart the server.",
            ),
            Obstacle::NoPlace => (
                "too many databases with subscriptions to watch",
                "Drop the subscriptions that are no longer needed.",
            ),
        };
        let error = Error::new(Kind::LimitExceeded, message)
            .detail(format!("Database {} is not watched.", database.to_u32()))
            .hint(hint);
        report(PgLogLevel::WARNING, error);
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
