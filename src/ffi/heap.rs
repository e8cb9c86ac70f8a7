//! Reads a table without a plan: no code of the table's owner runs, and no privilege or policy is
//! checked. Called by `check/`, inside a statement.

use pgrx::pg_sys::{self, Oid};

use super::catalog::OpenRelation;

/// Whether a table has a row among its first blocks that this statement sees. `false` for a table that
/// is stored in another way than a heap. The caller holds a lock on it.
pub fn has_row(table: Oid, blocks: u32) -> bool {
    let relation = OpenRelation::open(table, pg_sys::AccessShareLock);
    // SAFETY: the relation is open.
    let method = unsafe { (*relation.0).rd_tableam };
    // SAFETY: returns the address of a constant.
    if method != unsafe { pg_sys::GetHeapamTableAmRoutine() } {
        return false;
    }
    let main_fork = pg_sys::ForkNumber::MAIN_FORKNUM;
    // SAFETY: the relation is open.
    let size = unsafe { pg_sys::RelationGetNumberOfBlocksInFork(relation.0, main_fork) };
    size > 0 && scan(&relation, size.min(blocks))
}

pub fn is_partitioned(table: Oid) -> bool {
    // SAFETY: a catalog cache look-up; a table that is gone has no kind.
    let kind = unsafe { pg_sys::get_rel_relkind(table) };
    kind as u8 == pg_sys::RELKIND_PARTITIONED_TABLE
}

fn scan(relation: &OpenRelation, blocks: u32) -> bool {
    let flags = pg_sys::ScanOptions::SO_TYPE_SEQSCAN
        | pg_sys::ScanOptions::SO_ALLOW_STRAT
        | pg_sys::ScanOptions::SO_ALLOW_PAGEMODE;
    // SAFETY: reads a variable of this process.
    assert!(unsafe { pg_sys::ActiveSnapshotSet() }, "no statement is running");
    // SAFETY: there is one.
    let snapshot = unsafe { pg_sys::GetActiveSnapshot() };
    let (no_keys, not_parallel) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: an open heap, a snapshot that outlives the scan.
    let scan =
        unsafe { pg_sys::heap_beginscan(relation.0, snapshot, 0, no_keys, not_parallel, flags) };
    // SAFETY: a scan that has not begun, within the size of the heap.
    unsafe { pg_sys::heap_setscanlimits(scan, 0, blocks) };
    // SAFETY: the scan that was begun above.
    let row = unsafe { pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection) };
    let found = !row.is_null();
    // SAFETY: ends the scan that was begun above.
    unsafe { pg_sys::heap_endscan(scan) };
    found
}
