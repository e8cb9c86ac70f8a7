//! `subscription_lag`: one row for each subscription that the caller may see, in all databases.

use pgmig_core::lag::{Micros, Reading};
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::readings::{Known, readings};
use crate::caller::Caller;
use crate::error::{Result, entry};
use crate::ffi::call::Call;
use crate::ffi::database;
use crate::ffi::encoding;
use crate::ffi::rows::{self, Value};
use crate::ffi::subscription::{self as catalog, Subscribed, SubscriptionRow};
use crate::ffi::wait::{monotonic_micros, timestamp};
use crate::reports;
use crate::subscription::{View, view};
use crate::watcher::Unwatched;

#[pg_extern(sql = false)]
fn subscription_lag(call: Call) {
    entry(|| {
        rows::return_rows(call, &list()?);
        Ok(())
    })
}

/// A subscription that the caller may see. Names are bytes in the encoding of its database.
struct Shown {
    subscription: Subscribed,
    database: Vec<u8>,
    name: Vec<u8>,
    view: View,
}

fn list() -> Result<Vec<Vec<Value>>> {
    let caller = Caller::current()?;
    let mut readings = readings(caller)?;
    let there = catalog::everywhere().into_iter();
    let mut shown: Vec<Shown> = there.filter_map(|it| Shown::to(caller, it)).collect();
    shown.sort_by(|a, b| (&a.database, &a.name).cmp(&(&b.database, &b.name)));
    let row = |it: Shown| {
        let known = readings.remove(&it.subscription.subscription.to_u32());
        it.row(&known.unwrap_or(Known::Unwatched(Unwatched::NotObserved)))
    };
    Ok(shown.into_iter().map(row).collect())
}

impl Shown {
    fn to(caller: Caller, subscription: Subscribed) -> Option<Self> {
        let view = view(subscription.subscription, caller)?;
        let row = SubscriptionRow::by_oid(subscription.subscription)?;
        let name = row.name;
        let database = database::database_name_bytes(subscription.database)?;
        Some(Self { subscription, database, name, view })
    }

    /// In the order of the view's columns.
    fn row(self, known: &Known) -> Vec<Value> {
        let reading = known.reading();
        let figure = |of: fn(&Reading) -> Option<u64>| {
            Value::Int8(reading.and_then(of).map(u64::cast_signed))
        };
        let count = |of: fn(&Reading) -> u64| Value::Int8(reading.map(|it| of(it).cast_signed()));
        let time = |of: fn(&Reading) -> Option<Micros>| Value::Interval(reading.and_then(of));
        let may_see_rows = self.view == View::All;
        let last_error =
            may_see_rows.then(|| reports::last(self.subscription.subscription)).flatten();
        vec![
            Value::Name(Some(self.database)),
            Value::Name(Some(self.name)),
            Value::Text(Some(known.state().as_str().into())),
            time(|it| it.lag),
            Value::Bool(reading.map(|it| it.lag_is_lower_bound)),
            figure(|it| it.metrics.pending),
            figure(|it| it.metrics.decode_backlog),
            figure(|it| it.metrics.inflight),
            figure(|it| it.metrics.retained),
            Value::Int8(reading.and_then(|it| it.metrics.headroom)),
            figure(|it| it.metrics.open_transaction),
            count(|it| it.tables.ready.into()),
            count(|it| it.tables.total().into()),
            count(|it| it.errors.apply),
            count(|it| it.errors.sync),
            figure(|it| it.errors.conflicts.map(|conflicts| conflicts.all)),
            Value::Text(last_error.map(|text| for_client(&text))),
            time(|it| it.eta),
            Value::Timestamp(reading.and_then(sampled_at)),
            Value::Text(Some(for_client(&known.reason()))),
        ]
    }
}

/// When the observation was made, by the wall clock.
fn sampled_at(reading: &Reading) -> Option<pg_sys::TimestampTz> {
    let age = monotonic_micros().saturating_sub(reading.sampled_at?);
    Some(timestamp() - age.cast_signed())
}

/// The text in an encoding that the client can show.
fn for_client(text: &str) -> Vec<u8> {
    if encoding::is_unicode() {
        return text.as_bytes().to_vec();
    }
    encoding::for_client(&text.replace('…', "..."))
}
