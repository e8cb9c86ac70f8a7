//! The launcher: keeps a worker in each database that has subscriptions. Connected to no database,
//! as the core launcher is, so that it holds up no DROP DATABASE.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use pgmig_core::lag::SECOND;
use pgrx::PgLogLevel;
use pgrx::pg_sys::{Datum, Oid};
use pgrx::prelude::*;

use super::shared::{self, Process};
use super::{database, now};
use crate::error::{Error, Kind, report};
use crate::ffi::{wait, worker};
use crate::settings;

/// How long the postmaster waits before it starts a launcher that ended again, in seconds.
const RESTART: i32 = 5;
/// How long a worker may take to show up before it is asked for again.
const START_TIME: u64 = 10 * SECOND;

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
    shared::write(|header, _| header.launcher.pid = worker::my_pid());
    let mut launcher = Launcher { warned: false };
    loop {
        worker::reload_configuration();
        let start = Instant::now();
        if settings::watch() && !worker::in_recovery() {
            launcher.cycle();
        }
        shared::write(|header, _| {
            header.launcher.cycled_at = now();
            header.launcher.cycle = start.elapsed().as_micros() as u64;
        });
        wait::until(start + settings::watch_interval().min(Duration::from_secs(5)));
    }
}

extern "C-unwind" fn on_exit(_code: i32, _argument: Datum) {
    shared::write(|header, _| header.launcher.pid = 0);
}

struct Launcher {
    /// Whether the log already has that no worker could be started.
    warned: bool,
}

impl Launcher {
    fn cycle(&mut self) {
        let subscriptions = worker::transaction(worker::subscriptions_everywhere);
        let known: BTreeSet<u32> = subscriptions.iter().map(|(_, oid)| oid.to_u32()).collect();
        shared::keep_only(|subscription| known.contains(&subscription.to_u32()));
        let databases: BTreeSet<u32> =
            subscriptions.iter().map(|(database, _)| database.to_u32()).collect();
        for database in databases.into_iter().map(Oid::from) {
            if claim(database) {
                self.start(database);
            }
        }
    }

    fn start(&mut self, database: Oid) {
        let started = worker::Worker {
            name: format!("pgmig_extras watcher for database {}", database.to_u32()),
            kind: "pgmig_extras watcher",
            function: "pgmig_extras_watcher",
            argument: Datum::from(database),
        }
        .start();
        if !started && !self.warned {
            report(
                PgLogLevel::WARNING,
                Error::new(
                    Kind::LimitExceeded,
                    "no background worker is free to watch subscriptions",
                )
                .detail(format!("Database {} is not watched.", database.to_u32()))
                .hint("Raise \"max_worker_processes\"."),
            );
        }
        self.warned = !started;
    }
}

/// Whether a worker has to be asked for: none is there, and none was asked for just now. A worker
/// that could not be started is asked for again with the next cycle after that.
fn claim(database: Oid) -> bool {
    shared::write(|header, _| {
        let at = database::place(header, database)?;
        let process = &mut header.databases[at];
        let due = process.pid == 0
            && (process.database != database
                || now().saturating_sub(process.asked_at) > START_TIME);
        if due {
            *process = Process { database, asked_at: now(), ..Process::NONE };
        }
        Some(due)
    })
    .flatten()
    .unwrap_or(false)
}
