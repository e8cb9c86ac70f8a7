//! Replication origins that are dropped with the commit. Dropping one loses its progress even if the
//! transaction rolls back. So origins are dropped last, and their progress is restored after a
//! rollback.

use std::cell::RefCell;

use pgmig_core::lsn::Lsn;
use pgmig_core::sql;

use crate::error::Kind;
use crate::ffi::origin as origin_catalog;
use crate::ffi::transaction::Ending;
use crate::notice::Notice;

/// A replication origin to be dropped with the commit. It was renamed, so that DROP SUBSCRIPTION does
/// not drop it too early.
pub struct OriginToDrop {
    pub number: u16,
    /// Its name before.
    pub name: String,
    pub renamed: String,
}

/// An origin that was dropped by a transaction that may still roll back.
struct Dropped {
    origin: OriginToDrop,
    progress: Lsn,
}

thread_local! {
    static DROPPED: RefCell<Vec<Dropped>> = const { RefCell::new(Vec::new()) };
}

/// For a committed transaction: no progress has to be restored.
pub fn forget() {
    DROPPED.take();
}

/// For a rolled back transaction, while its locks still keep workers from using the origins.
pub fn put_all_back(ending: &Ending) {
    DROPPED.take().into_iter().for_each(|dropped| put_back(ending, dropped));
}

/// After this only the commit itself can fail. Then the progress is restored.
pub fn drop(origin: OriginToDrop) {
    let renamed = origin.renamed.clone();
    let progress = origin_catalog::progress(origin.number);
    DROPPED.with_borrow_mut(|all| all.push(Dropped { origin, progress }));
    origin_catalog::drop(&renamed);
}

/// A failed commit restores the origin, but not its progress: the subscription would apply changes a
/// second time.
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
