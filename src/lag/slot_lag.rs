//! `slot_lag`: the logical slots of this cluster, for the source of a migration.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

use crate::error::{entry, internal};
use crate::ffi::call::Call;
use crate::ffi::rows;
use crate::watcher::shared;

/// $1 and $2: slots without a subscriber, and since when the launcher has seen that. From 17 on the
/// server has a column for it, which is read as JSON because older majors do not have it.
const SLOTS: &str = "\
    SELECT s.slot_name, s.database, s.active, \
           pg_catalog.pg_wal_lsn_diff(w.lsn, s.confirmed_flush_lsn)::pg_catalog.int8, \
           pg_catalog.pg_wal_lsn_diff(w.lsn, s.restart_lsn)::pg_catalog.int8, \
           s.safe_wal_size, \
           CASE WHEN NOT s.active THEN COALESCE( \
               (pg_catalog.to_jsonb(s) OPERATOR(pg_catalog.->>) 'inactive_since')::pg_catalog.timestamptz, \
               i.since) END, \
           CASE WHEN s.wal_status OPERATOR(pg_catalog.=) 'lost' THEN \
                    'Its WAL is gone: the subscription must be made again.' \
                WHEN s.wal_status OPERATOR(pg_catalog.=) 'unreserved' THEN \
                    'The next checkpoint may take WAL that it needs.' \
                WHEN NOT s.active THEN \
                    'No subscriber is connected; WAL is kept until one comes or the slot is dropped.' \
                ELSE pg_catalog.format('The subscriber has confirmed all but %s.', \
                    pg_catalog.pg_size_pretty(pg_catalog.pg_wal_lsn_diff(w.lsn, s.confirmed_flush_lsn))) \
           END \
      FROM pg_catalog.pg_replication_slots s \
      LEFT JOIN ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.timestamptz[])) i(slot, since) \
        ON i.slot OPERATOR(pg_catalog.=) s.slot_name::pg_catalog.text \
     CROSS JOIN (SELECT CASE WHEN pg_catalog.pg_is_in_recovery() \
                             THEN pg_catalog.pg_last_wal_replay_lsn() \
                             ELSE pg_catalog.pg_current_wal_flush_lsn() END AS lsn) w \
     WHERE s.slot_type OPERATOR(pg_catalog.=) 'logical'";

#[pg_extern(sql = false)]
fn slot_lag(call: Call) {
    entry(|| {
        let inactive = shared::read(|header, _| header.inactive.list()).unwrap_or_default();
        let time = |since| TimestampWithTimeZone::try_from(since).ok();
        let (names, times): (Vec<String>, Vec<Option<TimestampWithTimeZone>>) =
            inactive.into_iter().map(|(slot, since)| (slot, time(since))).unzip();
        rows::return_query(call, SLOTS, &[names.into(), times.into()]).map_err(internal)
    })
}
