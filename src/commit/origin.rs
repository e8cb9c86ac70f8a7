//! Replication origins that go with the commit. Dropping one loses its progress even if the transaction
//! rolls back: so it is dropped last, and its progress is put back after a rollback.

use std::cell::RefCell;

use pgmig_core::lsn::Lsn;
use pgmig_core::sql;

use crate::error::Kind;
use crate::ffi::origin as origin_catalog;
use crate::ffi::transaction::Ending;
use crate::notice::Notice;

/// A replication origin that goes with the commit, under the name that keeps DROP SUBSCRIPTION from
/// dropping it before its time.
pub struct DoomedOrigin {
    pub number: u16,
    /// As it was called before.
    pub name: String,
    pub renamed: String,
}

/// An origin that this transaction has dropped, while it may still roll back.
struct Dropped {
    origin: DoomedOrigin,
    progress: Lsn,
}

thread_local! {
    static DROPPED: RefCell<Vec<Dropped>> = const { RefCell::new(Vec::new()) };
}

/// The transaction is committed: no progress has to be put back.
pub fn forget() {
    DROPPED.take();
}

/// The transaction is rolled back. To be called while its locks keep workers from using the origins.
pub fn put_all_back(ending: &Ending) {
    DROPPED.take().into_iter().for_each(|dropped| put_back(ending, dropped));
}

/// From here on only a failure of the commit itself is expected; then the progress is put back.
pub fn drop(origin: DoomedOrigin) {
    let renamed = origin.renamed.clone();
    let progress = origin_catalog::progress(origin.number);
    DROPPED.with_borrow_mut(|all| all.push(Dropped { origin, progress }));
    origin_catalog::drop(&renamed);
}

/// A commit that failed brings the origin back, but not how far it was: its subscription would apply
/// again what it has applied already.
fn put_back(ending: &Ending, dropped: Dropped) {
    let Dropped { origin, progress } = dropped;
    if progress.0 == 0 {
        return;
    }
    let restore = || origin_catalog::restore_progress(origin.number, progress);
    let Err(reason) = ending.caught(restore) else { return };
    let name = &origin.name;
    let lost =
        Notice::warning(format!("the progress of replication origin \"{name}\" is lost: {reason}"))
            .sqlstate(Kind::Internal)
            .detail(format!(
                "Its subscription had applied its publisher's changes up to {progress}."
            ))
            .hint(format!(
                "Before the subscription runs again, let a superuser run: \
         SELECT pg_replication_origin_advance({}, '{progress}');",
                sql::literal(name)
            ));
    let _ = ending.caught(|| lost.send());
}
