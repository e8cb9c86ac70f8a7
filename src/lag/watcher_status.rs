//! `watcher_status`: the launcher and the watchers.

use pgrx::pg_sys::Oid;
use pgrx::prelude::*;

use super::readings::tell_not_preloaded;
use crate::error::entry;
use crate::ffi::call::Call;
use crate::ffi::database;
use crate::ffi::rows::{self, Value};
use crate::ffi::wait::{monotonic_micros, timestamp};
use crate::watcher::Process;
use crate::watcher::shared;

#[pg_extern(sql = false)]
fn watcher_status(call: Call) {
    entry(|| {
        let processes = shared::read(|header, _| (header.launcher, header.databases));
        if processes.is_none() {
            tell_not_preloaded("subscriptions are not watched: the library is not preloaded");
        }
        let rows: Vec<_> = processes
            .iter()
            .flat_map(|(launcher, watchers)| [launcher].into_iter().chain(watchers))
            .filter(|process| process.pid != 0)
            .map(row)
            .collect();
        rows::return_rows(call, &rows);
        Ok(())
    })
}

/// In the order of the view's columns. The launcher watches no database.
fn row(process: &Process) -> Vec<Value> {
    let is_watcher = process.database != Oid::INVALID;
    let kind = if is_watcher { "watcher" } else { "launcher" };
    let database = is_watcher.then(|| database::database_name_bytes(process.database)).flatten();
    let has_cycled = process.cycled_at > 0;
    let age = monotonic_micros().saturating_sub(process.cycled_at).cast_signed();
    let count = |count: u32| Value::Int8(is_watcher.then_some(count.into()));
    vec![
        Value::Text(Some(kind.into())),
        Value::Int4(Some(process.pid)),
        Value::Name(database),
        Value::Timestamp(has_cycled.then(|| timestamp() - age)),
        Value::Interval(Some(process.cycle)),
        count(process.watched),
        count(process.unreachable),
        Value::Int8(Some(process.errors.cast_signed())),
    ]
}
