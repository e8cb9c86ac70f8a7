//! Bounded waits for locks on catalogs before the commit record.

use std::ffi::CString;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use crate::error::{Error, Kind, raise};
use crate::ffi::settings::{lock_timeout, with_settings};
use crate::ffi::{transaction, wait};

/// How long the commit waits for a lock on a catalog.
const LOCK_TIME: Duration = Duration::from_secs(5);

/// Runs steps that lock catalogs and then wait for workers to end. Other sessions queue behind such a
/// lock, even while it is waited for, and `statement_timeout` is off during a commit. A worker that
/// computes in libpq does not notice that it has to end.
pub fn without_long_lock_waits<R>(work: impl FnOnce() -> R) -> R {
    let (start, time) = (Instant::now(), lock_time());
    let timeout = CString::new(time.as_millis().max(1).to_string()).unwrap_or_default();
    let settings =
        [(c"search_path", c"pg_catalog, pg_temp"), (c"lock_timeout", timeout.as_c_str())];
    let bounded = || with_settings(&settings, || transaction::within(time, work));
    PgTryBuilder::new(AssertUnwindSafe(bounded))
        .catch_when(PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE, |_| raise(Err(locked(time))))
        .catch_when(PgSqlErrorCode::ERRCODE_QUERY_CANCELED, |error| {
            if start.elapsed() + Duration::from_millis(10) >= time {
                raise(Err(locked(time)))
            } else {
                error.rethrow()
            }
        })
        .execute()
}

fn lock_time() -> Duration {
    let statement = wait::statement_deadline()
        .map(|deadline| deadline.saturating_duration_since(Instant::now()));
    [statement, lock_timeout()].into_iter().flatten().fold(LOCK_TIME, Duration::min)
}

fn locked(time: Duration) -> Error {
    Error::new(
        Kind::LockNotAvailable,
        "could not lock the catalogs of subscriptions to commit this transaction",
    )
    .detail(format!(
        "Another session has held pg_subscription, pg_subscription_rel or pg_replication_origin, or a \
         worker of the subscription has not ended, for {} ms. Nothing is changed.",
        time.as_millis()
    ))
    .hint(
        "Find that session in pg_locks or that worker in pg_stat_subscription, let it end, and run this \
         again.",
    )
}
