//! The SQL functions that create and drop a slot of a publisher.

use pgmig_core::name;
use pgrx::prelude::*;

use super::doomed::DoomedSlots;
use super::existing::{exists, missing};
use super::new::NewSlot;
use super::plan::refuse_planned;
use crate::argument::{Text, required};
use crate::caller::Caller;
use crate::commit::{Plan, defer};
use crate::conninfo::{self, secrecy};
use crate::error::{Result, entry};
use crate::ffi::database::require_writable;
use crate::publisher::Publisher;

/// Creates a permanent pgoutput slot on the publisher with the commit of this transaction.
#[pg_extern(sql = false)]
fn create_replication_slot(
    conninfo: Text,
    slot: Text,
) -> TableIterator<'static, (name!(slot_name, String), name!(lsn, i64))> {
    secrecy::concealing(&conninfo, &[&slot], || {
        TableIterator::once(entry(|| create(conninfo, slot)))
    })
}

fn create(text: Text, slot: Text) -> Result<(String, i64)> {
    let caller = Caller::current()?;
    let (text, name) = (required("conninfo", text)?, required("slot", slot)?);
    name::check_slot(name)?;
    let conninfo = conninfo::given(text, caller)?;
    require_writable(c"create_replication_slot()");
    let (slot, lsn) = NewSlot::create(Publisher::connect(&conninfo, caller)?, name, false)?;
    defer(slot);
    // A pg_lsn is eight bytes by value, as an i64 is.
    Ok((name.to_owned(), lsn.0.cast_signed()))
}

/// Drops a slot of the publisher once this transaction is committed.
#[pg_extern(sql = false)]
fn drop_replication_slot(conninfo: Text, slot: Text) {
    secrecy::concealing(&conninfo, &[&slot], || entry(|| drop_slot(conninfo, slot)))
}

fn drop_slot(text: Text, slot: Text) -> Result<()> {
    let caller = Caller::current()?;
    let (text, name) = (required("conninfo", text)?, required("slot", slot)?);
    name::check_slot(name)?;
    let conninfo = conninfo::given(text, caller)?;
    require_writable(c"drop_replication_slot()");
    let mut publisher = Publisher::connect(&conninfo, caller)?;
    refuse_planned(&mut publisher, name, &[Plan::Create])?;
    if !exists(&mut publisher, name)? {
        return Err(missing(name));
    }
    defer(DoomedSlots { publisher, names: vec![name.to_owned()] });
    Ok(())
}
