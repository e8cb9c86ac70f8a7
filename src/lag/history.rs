//! `subscription_lag_history`: the samples of one subscription.

use pgmig_core::lag::Micros;
use pgmig_core::lag::history::Sample;
use pgrx::datum::Interval;
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::readings::tell_not_preloaded;
use crate::argument::{Text, required};
use crate::caller::Caller;
use crate::error::{Result, entry};
use crate::ffi::call::Call;
use crate::ffi::rows::{self, Value};
use crate::ffi::wait::{monotonic_micros, timestamp};
use crate::subscription;
use crate::watcher::shared;

#[pg_extern(sql = false)]
fn subscription_lag_history(subscription: Text, since: Option<Interval>, call: Call) {
    entry(|| {
        let samples = samples(subscription, span(since)?)?;
        let (monotonic, wall) = (monotonic_micros(), timestamp());
        let rows: Vec<_> = samples
            .iter()
            .map(|sample| {
                let age = monotonic.saturating_sub(sample.at);
                row(sample, wall - age.cast_signed())
            })
            .collect();
        rows::return_rows(call, &rows);
        Ok(())
    })
}

/// In the order of the function's columns.
fn row(sample: &Sample, at: pg_sys::TimestampTz) -> Vec<Value> {
    let bytes = |bytes: Option<u64>| Value::Int8(bytes.map(u64::cast_signed));
    vec![
        Value::Timestamp(Some(at)),
        Value::Interval(Some(sample.at.saturating_sub(sample.from))),
        Value::Text(Some(sample.state.as_str().into())),
        Value::Interval(sample.lag()),
        Value::Bool(Some(sample.lag_is_lower_bound)),
        bytes(sample.pending_bytes()),
        bytes(sample.retained_bytes()),
    ]
}

/// How far back the caller wants to look. A month has 30 days; a negative interval is none.
pub fn span(since: Option<Interval>) -> Result<Micros> {
    let micros = required("since", since)?.as_micros().max(0);
    Ok(Micros::try_from(micros).unwrap_or(Micros::MAX))
}

/// The samples of a subscription of this database that are younger than `span`, oldest first.
pub fn samples(subscription: Text, span: Micros) -> Result<Vec<Sample>> {
    let name = required("subscription", subscription)?;
    let subscription = subscription::visible(name, Caller::current()?)?;
    let from = monotonic_micros().saturating_sub(span);
    let samples = shared::read(|_, entries| {
        let entry = entries.iter().find(|entry| entry.subscription == subscription)?;
        Some(entry.tracker.history(from).to_vec())
    });
    if samples.is_none() {
        tell_not_preloaded("subscriptions are not watched, so there is no history");
    }
    Ok(samples.flatten().unwrap_or_default())
}
