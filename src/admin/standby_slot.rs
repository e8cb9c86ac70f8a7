//! Logical slots on a standby. From 16 on the server creates them itself. Before 16 a standby cannot
//! decode, but a slot can be created, kept and advanced there, to be used after a promotion.

use std::ffi::CStr;

use pgmig_core::lsn::Lsn;
use pgmig_core::name;
use pgrx::AllocatedByRust;
use pgrx::heap_tuple::PgHeapTuple;
use pgrx::prelude::*;

use crate::admin::session;
use crate::argument::required;
use crate::caller::Caller;
use crate::error::{Error, Kind, Result, denied, entry};
use crate::ffi::call::Call;
use crate::ffi::lsn::PgLsn;
use crate::ffi::rows::{self, Value};
use crate::ffi::{identity, major, standby, worker};
use crate::notice::Notice;
use crate::server::query;

#[pg_extern(sql = false)]
fn pg_create_logical_replication_slot_on_standby(
    slot_name: Option<&CStr>,
    plugin: Option<&CStr>,
    temporary: Option<bool>,
    twophase: Option<bool>,
    failover: Option<bool>,
    synced: Option<bool>,
    call: Call,
) -> PgHeapTuple<'static, AllocatedByRust> {
    entry(|| {
        let caller = Caller::current()?;
        let slot = standby::Slot {
            name: required("slot_name", slot_name)?,
            plugin: required("plugin", plugin)?,
            temporary: required("temporary", temporary)?,
            two_phase: required("twophase", twophase)?,
        };
        name::check_slot(&slot.name.to_string_lossy())?;
        name::check_output_plugin(&slot.plugin.to_string_lossy())?;
        check_options(&slot, required("failover", failover)?, required("synced", synced)?)?;
        check_caller(caller)?;
        check_server()?;
        let lsn = standby::making_a_slot(|| create(&slot))?;
        let name = slot.name.to_bytes().to_vec();
        Ok(rows::row(call, &[Value::Name(Some(name)), Value::Lsn(lsn)]))
    })
}

fn create(slot: &standby::Slot) -> Result<Lsn> {
    match standby::create_slot(slot) {
        Some(lsn) => Ok(lsn),
        None => create_by_function(slot),
    }
}

fn create_by_function(slot: &standby::Slot) -> Result<Lsn> {
    let lsns = query::read(
        "SELECT s.lsn FROM pg_catalog.pg_create_logical_replication_slot($1, $2, $3, $4) s",
        &[
            slot.name.to_string_lossy().as_ref().into(),
            slot.plugin.to_string_lossy().as_ref().into(),
            slot.temporary.into(),
            slot.two_phase.into(),
        ],
        |row| Ok(row.get::<PgLsn>(1)?),
    )?;
    let lsn = lsns.into_iter().flatten().next();
    lsn.map(|PgLsn(lsn)| lsn)
        .ok_or_else(|| Error::new(Kind::Internal, "the slot was made without an LSN"))
}

/// A failover slot is created on the primary and synchronized by the server; `failover` and `synced`
/// mark such slots.
fn check_options(slot: &standby::Slot, failover: bool, synced: bool) -> Result<()> {
    let refused = |option: &str| {
        Error::new(
            Kind::FeatureNotSupported,
            format!("a slot that is made on a standby cannot be \"{option}\""),
        )
    };
    if slot.two_phase && !major::SLOTS_HAVE_TWO_PHASE {
        return Err(refused("twophase").detail("PostgreSQL 14 is the first that has it."));
    }
    for (option, is_on) in [("failover", failover), ("synced", synced)] {
        if is_on {
            return Err(refused(option).hint(
                "From PostgreSQL 17 on, create the slot on the primary with failover, and set sync_replication_slots on the standby.",
            ));
        }
    }
    Ok(())
}

fn check_caller(caller: Caller) -> Result<()> {
    if identity::may_replicate(caller.oid()) {
        return Ok(());
    }
    Err(denied("replication slots")
        .detail(format!("Role \"{}\" does not have the REPLICATION attribute.", caller.name())))
}

/// Checks what the slot needs of this server and of its primary to be useful.
fn check_server() -> Result<()> {
    let wrong = |message: &str| Error::new(Kind::ObjectNotInPrerequisiteState, message);
    if !worker::in_recovery() {
        return Err(wrong("this server is not a standby")
            .hint("Use pg_create_logical_replication_slot() on a primary."));
    }
    if setting("wal_level")? != "logical" {
        return Err(wrong("a logical slot requires wal_level to be logical")
            .hint("Set it on this server and on its primary."));
    }
    if !standby::primary_logs_for_decoding() {
        return Err(wrong("a logical slot requires the primary's wal_level to be logical")
            .hint("Set it there, and wait until this server has replayed that."));
    }
    // Without feedback the primary removes catalog rows that the slot needs, and the standby follows.
    if setting("hot_standby_feedback")? != "on" || setting("wal_receiver_status_interval")? == "0" {
        return Err(wrong("a logical slot on a standby requires hot_standby_feedback")
            .hint("Set hot_standby_feedback to on, and wal_receiver_status_interval above 0."));
    }
    if setting("primary_slot_name")?.is_empty() {
        warn_of_a_primary_that_forgets();
    }
    Ok(())
}

fn setting(parameter: &str) -> Result<String> {
    Ok(session::setting(parameter)?.unwrap_or_default())
}

/// A walsender with a physical slot keeps the feedback while the standby is away.
fn warn_of_a_primary_that_forgets() {
    Notice::warning("the primary keeps nothing for this slot while it is not connected")
        .hint("Set primary_slot_name to a physical replication slot of the primary.")
        .send();
}
