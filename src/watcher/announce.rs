//! Reports changes of state: once in the log, and as JSON on NOTIFY channel `pgmig_extras` in the
//! subscription's database, where any role may listen.

use pgmig_core::lag::threshold::{Crossing, Measure};
use pgmig_core::lag::units;
use pgmig_core::lag::{Outcome, Reading, SECOND, State};
use serde_json::{Value, json};

use super::shared;
use crate::error::raise;
use crate::ffi::wait::monotonic_micros as now;
use crate::ffi::worker;
use crate::notice::Notice;
use crate::probe::SubscriberState;
use crate::server::query;
use crate::settings;

pub fn announce(outcomes: &[(&SubscriberState, Outcome)]) {
    let told = outcomes.iter().filter(|(_, outcome)| {
        outcome.change.is_some() || outcome.crossings.iter().any(Option::is_some)
    });
    for (subscriber, outcome) in told {
        let reading = shared::reading(subscriber.oid, now());
        let Some(reading) = reading else { continue };
        if let Some(change) = outcome.change {
            log_change(subscriber, &reading);
            notify("state", subscriber, &reading, change.previous);
        }
        for crossing in outcome.crossings.iter().flatten() {
            log_crossing(subscriber, crossing);
            notify(event(crossing), subscriber, &reading, reading.previous);
        }
    }
}

fn log_change(subscriber: &SubscriberState, reading: &Reading) {
    let is_bad = matches!(
        reading.state,
        State::Stalled | State::Erroring | State::SlotLost | State::Unreachable
    );
    let text = format!("subscription \"{}\" is {}", subscriber.name, reading.state);
    log(is_bad, text, Some(reading.sentence()));
}

fn log(is_warning: bool, text: String, detail: Option<String>) {
    let line = if is_warning { Notice::warning(text) } else { Notice::log(text) };
    match detail {
        Some(detail) => line.detail(detail).send(),
        None => line.send(),
    }
}

fn log_crossing(subscriber: &SubscriberState, crossing: &Crossing) {
    let (what, unit, setting): (_, fn(u64) -> String, _) = match crossing.measure {
        Measure::LagBytes => ("pending", units::bytes, "lag_warning_bytes"),
        Measure::LagTime => ("lag", units::duration, "lag_warning_time"),
        Measure::RetainedBytes => ("retained", units::bytes, "retained_warning_bytes"),
    };
    let side = if crossing.over { "above" } else { "not above" };
    let text = format!(
        "subscription \"{}\": {} {what} is {side} pgmig_extras.{setting} ({})",
        subscriber.name,
        unit(crossing.value),
        unit(crossing.limit)
    );
    log(crossing.over, text, None);
}

fn event(crossing: &Crossing) -> &'static str {
    match (crossing.measure, crossing.over) {
        (Measure::LagBytes, true) => "lag_bytes_over",
        (Measure::LagBytes, false) => "lag_bytes_under",
        (Measure::LagTime, true) => "lag_time_over",
        (Measure::LagTime, false) => "lag_time_under",
        (Measure::RetainedBytes, true) => "retained_bytes_over",
        (Measure::RetainedBytes, false) => "retained_bytes_under",
    }
}

/// Any role of the database may listen. So the message only says that something happened, unless
/// `pgmig_extras.notify_details` is on.
fn notify(event: &str, subscriber: &SubscriberState, reading: &Reading, previous: State) {
    let (notify, payload) = match settings::notify_details() {
        false => (NOTIFY, json!({ "event": event, "subscription": subscriber.oid.to_u32() })),
        true => (NOTIFY_DETAILS, details(event, subscriber, reading, previous)),
    };
    worker::transaction(|| raise(query::execute(notify, &[payload.to_string().into()])));
}

const NOTIFY: &str = "SELECT pg_catalog.pg_notify('pgmig_extras', $1)";
/// The server fills in the database and the time.
const NOTIFY_DETAILS: &str = "\
    SELECT pg_catalog.pg_notify('pgmig_extras', ($1::pg_catalog.jsonb \
           OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object( \
               'database', pg_catalog.current_database(), \
               'at', pg_catalog.clock_timestamp()))::pg_catalog.text)";

fn details(event: &str, subscriber: &SubscriberState, reading: &Reading, previous: State) -> Value {
    json!({
        "event": event,
        "subscription": subscriber.name,
        "state": reading.state.as_str(),
        "previous": previous.as_str(),
        "lag_seconds": reading.lag.map(|lag| lag as f64 / SECOND as f64),
        "pending_bytes": reading.metrics.pending,
    })
}
