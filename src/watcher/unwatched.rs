//! Why a subscription is not watched, and how that is said.

use pgmig_core::lag::State;
use pgrx::pg_sys::Oid;

use super::place::Process;
use super::process::{self, Presence};
use crate::ffi::worker;
use crate::settings;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unwatched {
    /// It is disabled, and nobody observes it.
    Disabled,
    Off,
    InRecovery,
    /// The rules for connection strings forbid it: the text says what to do.
    Refused(String),
    NoPlace,
    NoWorker,
    NoLauncher,
    NotYet,
    /// Without preload, for a subscription of another owner or another database.
    NotObserved,
}

impl Unwatched {
    /// For a subscription of `database`. `places`: the watchers' entries. `is_full`: no entry is free
    /// for another subscription. `launcher`: its process, 0 for none.
    pub fn of(database: Oid, places: &[Process], is_full: bool, launcher: i32) -> Self {
        if !settings::watch() {
            return Self::Off;
        }
        if worker::in_recovery() {
            return Self::InRecovery;
        }
        let watched = places.iter().filter(|place| place.database != Oid::INVALID).count();
        match process::presence(places, database) {
            Presence::Watched if is_full => Self::NoPlace,
            Presence::Failed => Self::NoWorker,
            Presence::Absent if watched >= process::limit() => Self::NoWorker,
            Presence::Asked | Presence::Absent if launcher == 0 => Self::NoLauncher,
            Presence::Watched | Presence::Asked | Presence::Absent => Self::NotYet,
        }
    }

    pub fn state(&self) -> State {
        match self {
            Self::Disabled => State::Disabled,
            _ => State::Unknown,
        }
    }

    pub fn reason(&self) -> String {
        let why = match self {
            Self::NotObserved => return "It is not watched yet.".to_owned(),
            Self::Disabled => return "The subscription is disabled.".to_owned(),
            Self::Off => "pgmig_extras.watch is off",
            Self::InRecovery => "this server is a standby",
            Self::Refused(why) => why,
            Self::NoPlace => "every place is taken (pgmig_extras.max_subscriptions)",
            Self::NoWorker => {
                "no background worker is left for its database (max_worker_processes)"
            }
            Self::NoLauncher => "the launcher is not running (max_worker_processes)",
            Self::NotYet => {
                return "It is not watched yet: its watcher comes to it within seconds.".to_owned();
            }
        };
        format!("It is not watched: {why}.")
    }
}
