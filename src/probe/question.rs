//! The query of each observation: one round trip, by the connection's plain REPLICATION role, on 13 to
//! 18. It names only objects of pg_catalog, even if the publisher has this extension: before the next
//! observation somebody could create another object of the same name.

use pgmig_core::lag::Micros;
use pgmig_core::lag::observation::{Name, Publications, Publisher, Slot, Source, Walsender};
use pgmig_core::lag::wait::SenderWait;
use pgmig_core::lsn::Lsn;
use pgmig_core::sql;
use pgmig_core::wire::Rows;

/// Asked once per connection.
pub const GREETING: &str = "SELECT s.system_identifier, c.timeline_id \
    FROM pg_catalog.pg_control_system() s, pg_catalog.pg_control_checkpoint() c";

pub fn source(rows: &Rows) -> Option<Source> {
    let row = rows.first()?;
    let system: i64 = row.get(0)?.parse().ok()?;
    Some(Source { system_identifier: system.cast_unsigned(), timeline: row.get(1)?.parse().ok()? })
}

pub fn text(slot: &str, publications: &[String], major: u16) -> String {
    let invalidated = match major {
        17.. => "s.wal_status OPERATOR(pg_catalog.=) 'lost' OR s.invalidation_reason IS NOT NULL",
        16 => "s.wal_status OPERATOR(pg_catalog.=) 'lost' OR s.conflicting",
        _ => "s.wal_status OPERATOR(pg_catalog.=) 'lost'",
    };
    let spill = match major {
        14.. => {
            "(SELECT t.spill_bytes FROM pg_catalog.pg_stat_get_replication_slot(s.slot_name) t)"
        }
        _ => "NULL",
    };
    let micros = |time: &str| {
        format!("(EXTRACT(epoch FROM {time}) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8")
    };
    format!(
        "SELECT pg_catalog.pg_current_wal_flush_lsn(), pg_catalog.pg_current_wal_insert_lsn(), \
                {started}, {uptime}, \
                pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()), \
                s.slot_name, s.confirmed_flush_lsn, s.restart_lsn, {invalidated}, s.safe_wal_size, {spill}, \
                a.pid, {backend_start}, a.wait_event, w.sent_lsn, w.replay_lsn, \
                (SELECT n.name FROM pg_catalog.unnest(ARRAY[{publications}]::pg_catalog.text[]) n(name) \
                  WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_publication p \
                                     WHERE p.pubname OPERATOR(pg_catalog.=) n.name::pg_catalog.name) \
                  LIMIT 1), \
                (SELECT pg_catalog.max(p.oid) FROM pg_catalog.pg_publication p \
                  WHERE p.pubname OPERATOR(pg_catalog.=) ANY (ARRAY[{publications}]::pg_catalog.name[])) \
           FROM (SELECT) one \
           LEFT JOIN pg_catalog.pg_get_replication_slots() s \
             ON s.slot_name OPERATOR(pg_catalog.=) {slot}::pg_catalog.name \
           LEFT JOIN LATERAL pg_catalog.pg_stat_get_activity(s.active_pid) a \
             ON s.active_pid IS NOT NULL \
           LEFT JOIN LATERAL (SELECT w.sent_lsn, w.replay_lsn FROM pg_catalog.pg_stat_get_wal_senders() w \
                               WHERE w.pid OPERATOR(pg_catalog.=) s.active_pid) w ON true",
        started = micros("pg_catalog.pg_postmaster_start_time()"),
        uptime = micros(
            "pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) pg_catalog.pg_postmaster_start_time()"
        ),
        backend_start = micros("a.backend_start"),
        slot = sql::literal(slot),
        publications = sql::literals(publications),
    )
}

/// Reads the answer of a publisher of `major` about a `list` of publications. `None` if it makes no
/// sense.
pub fn answer(
    rows: &Rows,
    source: Source,
    major: u16,
    list: u64,
    (asked, answered): (Micros, Micros),
) -> Option<Publisher> {
    let row = rows.first()?;
    let field = |index: usize| row.get(index);
    let lsn = |index| field(index)?.parse::<Lsn>().ok();
    let walsender = field(11).map(|pid| Walsender {
        pid: pid.parse().unwrap_or_default(),
        started: field(12).and_then(|text| text.parse().ok()).unwrap_or_default(),
        wait: SenderWait::parse(field(13)),
        sent_lsn: lsn(14),
        replay_lsn: lsn(15),
    });
    let slot = field(5).map(|_| Slot {
        confirmed_flush: lsn(6),
        restart_lsn: lsn(7),
        invalidated: field(8) == Some("t"),
        safe_wal_size: field(9).and_then(|text| text.parse().ok()),
        spill_bytes: field(10).and_then(|text| text.parse().ok()),
        walsender,
    });
    let publications = Publications {
        list,
        missing: field(16).map(Name::of),
        newest: field(17).and_then(|oid| oid.parse().ok()).unwrap_or_default(),
    };
    Some(Publisher {
        asked,
        answered,
        source,
        started: field(2)?.parse().ok()?,
        major,
        uptime: field(3)?.parse().ok()?,
        flush_lsn: lsn(0)?,
        insert_lsn: lsn(1)?,
        oldest_xid: field(4)?.parse().ok()?,
        slot,
        publications,
    })
}
