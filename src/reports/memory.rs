//! The reports of each subscription's workers, in shared memory that is accessed with atomics only: a
//! worker can report at any point, even when memory or locks are short.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use pgrx::pg_sys::Oid;

use super::record::Record;
use crate::ffi::shared::{Atomics, Plain};

/// One record for the apply worker, the others for tables that are copied. By default core copies two
/// at a time (max_sync_workers_per_subscription).
const RECORDS: usize = 5;

static MEMORY: Atomics<Reports> = Atomics::new(c"pgmig_extras reports");

/// The reports of one subscription. All zero is a free place. The first worker that fails takes one.
#[repr(C)]
pub struct Reports {
    subscription: AtomicU32,
    pub failures: Counters,
    pub shortage: Shortage,
    /// The first is the apply worker's.
    pub last: [Record; RECORDS],
    /// Why the watcher cannot reach the publisher, if the owner may learn it.
    pub watcher: Record,
}

/// Failures that pg_stat_subscription_stats does not count.
#[repr(C)]
pub struct Counters {
    pub apply: AtomicU32,
    pub sync: AtomicU32,
    pub connection: AtomicU32,
}

/// When a table last found no worker to copy it, and the setting that limits workers.
#[repr(C)]
pub struct Shortage {
    pub at: AtomicU64,
    pub setting: AtomicU64,
}

// SAFETY: atomics; zero is a free place.
#[allow(unsafe_code)]
unsafe impl Plain for Reports {}

/// Requests `count` places. In the postmaster, while libraries are preloaded.
pub fn request(count: usize) {
    MEMORY.request(count);
}

pub fn find(subscription: u32) -> Option<&'static Reports> {
    let own = |it: &&Reports| it.subscription.load(Ordering::Acquire) == subscription;
    MEMORY.get()?.iter().find(own)
}

/// The place of a subscription, or a free one that becomes its own.
pub fn place(subscription: u32) -> Option<&'static Reports> {
    let take = |it: &&Reports| {
        it.subscription
            .compare_exchange(0, subscription, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    };
    find(subscription).or_else(|| MEMORY.get()?.iter().find(take))
}

/// Frees the places of subscriptions that are gone.
pub fn keep_only(exists: impl Fn(Oid) -> bool) {
    for reports in MEMORY.get().into_iter().flatten() {
        let subscription = reports.subscription.load(Ordering::Acquire);
        if subscription != 0 && !exists(Oid::from(subscription)) {
            reports.free();
        }
    }
}

impl Reports {
    /// Clears the place first, because others may see the reports of the next subscription.
    fn free(&self) {
        self.last.iter().chain([&self.watcher]).for_each(Record::clear);
        let Counters { apply, sync, connection } = &self.failures;
        [apply, sync, connection].into_iter().for_each(|it| it.store(0, Ordering::Relaxed));
        self.shortage.at.store(0, Ordering::Relaxed);
        self.subscription.store(0, Ordering::Release);
    }
}
