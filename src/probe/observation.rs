//! One observation: what the subscriber knows and what the publisher said, as the tracker takes it in.

use pgmig_core::lag::Observation;
use pgmig_core::lag::observation::{Answer, Received, Subscriber, Tables};
use pgrx::pg_sys::Oid;

use super::subscriber::Look;
use crate::ffi::wait::monotonic_micros as now;

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
        sync_workers: look.copiers,
        shortage: look.shortage,
        errors: look.errors,
    };
    Observation { at: now(), publisher, subscriber }
}
