//! The SQL functions that create and drop a slot of a publisher.

use pgmig_core::lsn::Lsn;
use pgmig_core::name;
use pgrx::prelude::*;

use super::existing::{exists, missing};
use super::new::NewSlot;
use super::plan::refuse_planned;
use super::to_drop::SlotsToDrop;
use crate::argument::{Text, required};
use crate::caller::Caller;
use crate::commit::{Plan, defer};
use crate::conninfo::{self, secrecy};
use crate::error::{Result, entry};
use crate::ffi::call::Call;
use crate::ffi::database::require_writable;
use crate::ffi::rows::{self, Value};
use crate::publisher::Publisher;

/// Creates a permanent pgoutput slot on the publisher, with the commit of this transaction.
#[pg_extern(sql = false)]
fn create_replication_slot(conninfo: Text, slot: Text, call: Call) {
    secrecy::concealing(&conninfo, &[&slot], || {
        entry(|| {
            let (name, lsn) = create(conninfo, slot)?;
            let row = vec![Value::Text(Some(name.into_bytes())), Value::Lsn(lsn)];
            rows::return_rows(call, &[row]);
            Ok(())
        })
    })
}

fn create(text: Text, slot: Text) -> Result<(String, Lsn)> {
    let caller = Caller::current()?;
    let (text, name) = (required("conninfo", text)?, required("slot", slot)?);
    name::check_slot(name)?;
    let conninfo = conninfo::given(text, caller)?;
    require_writable(c"create_replication_slot()");
    let (slot, lsn) = NewSlot::create(Publisher::connect(&conninfo, caller)?, name, false)?;
    defer(slot);
    Ok((name.to_owned(), lsn))
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
    defer(SlotsToDrop { publisher, names: vec![name.to_owned()] });
    Ok(())
}
