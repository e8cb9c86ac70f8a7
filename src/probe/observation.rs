//! One observation: what the subscriber knows and what the publisher said, as the tracker takes it in.

use pgmig_core::lag::Observation;
use pgmig_core::lag::observation::{Answer, Received, Subscriber, Tables};
use pgrx::pg_sys::Oid;

use super::subscriber::SubscriberState;
use crate::ffi::wait::monotonic_micros as now;

pub fn observation<'a>(
    subscriber: &'a SubscriberState,
    publisher: Answer,
    received: &[(Oid, Received)],
    tables: Tables,
) -> Observation<'a> {
    let received = received.iter().find(|(oid, _)| *oid == subscriber.oid).map(|(_, got)| *got);
    let subscriber = Subscriber {
        enabled: subscriber.enabled,
        slot: subscriber.slot.as_deref(),
        received,
        worker: subscriber.worker,
        origin: subscriber.origin,
        tables,
        sync_workers: subscriber.copiers,
        shortage: subscriber.shortage,
        errors: subscriber.errors,
    };
    Observation { at: now(), publisher, subscriber }
}
