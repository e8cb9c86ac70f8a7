//! Existing slots of a publisher.

use pgmig_core::lsn::Lsn;
use pgmig_core::secret::shown;
use pgmig_core::sql;
use pgmig_core::wire::Row;

use crate::error::{Error, Kind, Result};
use crate::publisher::Publisher;

pub fn exists(publisher: &mut Publisher, name: &str) -> Result<bool> {
    let rows = publisher.query(&format!(
        "SELECT 1 FROM pg_catalog.pg_replication_slots \
         WHERE slot_name OPERATOR(pg_catalog.=) {}::pg_catalog.name",
        sql::literal(name)
    ))?;
    Ok(!rows.is_empty())
}

/// The confirmed LSN of a slot that nobody uses. `None` if the slot is in use or missing.
pub fn resting(publisher: &mut Publisher, name: &str) -> Result<Option<Lsn>> {
    let rows = publisher.query(&format!(
        "SELECT confirmed_flush_lsn FROM pg_catalog.pg_replication_slots \
         WHERE slot_name OPERATOR(pg_catalog.=) {}::pg_catalog.name AND NOT active",
        sql::literal(name)
    ))?;
    Ok(rows.first().and_then(|row| row.get(0)?.parse().ok()))
}

/// Whether the slot exists. An error if it exists and a new subscription cannot safely use it.
pub fn is_there_and_fit(publisher: &mut Publisher, name: &str) -> Result<bool> {
    // A slot can be invalidated for another reason than removed WAL. Up to 16 its wal_status is
    // "reserved" then.
    let is_invalid = match publisher.major() {
        17.. => "s.invalidation_reason IS NOT NULL",
        16 => "s.conflicting",
        _ => "false",
    };
    let rows = publisher.query(&format!(
        "SELECT s.plugin, s.database, s.database OPERATOR(pg_catalog.=) pg_catalog.current_database(), \
                s.wal_status OPERATOR(pg_catalog.=) 'lost' OR {is_invalid}, s.active_pid, s.temporary \
           FROM pg_catalog.pg_replication_slots s \
          WHERE s.slot_name OPERATOR(pg_catalog.=) {}::pg_catalog.name",
        sql::literal(name)
    ))?;
    match rows.first().map(unfit) {
        None => Ok(false),
        Some(None) => Ok(true),
        Some(Some(why)) => Err(Error::new(
            Kind::ObjectNotInPrerequisiteState,
            format!("replication slot \"{name}\" of the publisher cannot be used"),
        )
        .detail(why)
        .hint("Choose another name for the slot, or drop that slot on the publisher.")),
    }
}

/// Why no new subscription can use this slot.
fn unfit(slot: Row) -> Option<String> {
    match [0, 1, 2, 3, 4, 5].map(|column| slot.get(column)) {
        [None, ..] => Some("It is a physical slot.".to_owned()),
        [Some(plugin), ..] if plugin != "pgoutput" => {
            Some(format!("Its output plugin is \"{}\", not \"pgoutput\".", shown(plugin)))
        }
        [_, Some(database), Some("f"), ..] => {
            Some(format!("It belongs to database \"{}\".", shown(database)))
        }
        [.., Some("t"), _, _] => {
            Some("The publisher has invalidated it: it no longer has what is needed.".to_owned())
        }
        [.., Some(pid), _] => Some(format!("Process {} of the publisher uses it.", shown(pid))),
        [.., Some("t")] => Some("It is a temporary slot.".to_owned()),
        _ => None,
    }
}

pub fn missing(name: &str) -> Error {
    Error::new(
        Kind::UndefinedObject,
        format!("replication slot \"{name}\" does not exist on the publisher"),
    )
}
