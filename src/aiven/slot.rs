//! A slot of a publisher, as aiven_extras has it: made unless it is there, dropped if it is there.

use pgmig_core::name;
use pgmig_core::secret::shown;
use pgrx::prelude::*;

use super::answer;
use crate::argument::Text;
use crate::caller::Caller;
use crate::conninfo;
use crate::error::{Result, invalid, required};
use crate::ffi::catalog::require_writable;
use crate::publisher::Publisher;
use crate::secrecy;
use crate::slot::{self, DoomedSlots, NewSlot};
use crate::transaction::{Action, Plan, defer};

#[pg_extern(sql = false)]
fn aiven_dblink_slot_create_or_drop(
    arg_connection_string: Text,
    arg_slot_name: Text,
    arg_action: Text,
) {
    let _concealed = secrecy::conceal(&arg_connection_string, &[&arg_slot_name, &arg_action]);
    answer(create_or_drop(arg_connection_string, arg_slot_name, arg_action))
}

fn create_or_drop(text: Text, slot: Text, action: Text) -> Result<()> {
    let caller = Caller::current()?;
    let conninfo = conninfo::given(required("arg_connection_string", text)?, caller)?;
    let name = required("arg_slot_name", slot)?;
    name::check_slot(name)?;
    let action = required("arg_action", action)?;
    if !matches!(action, "create" | "drop") {
        return Err(invalid(format!("invalid action: \"{}\"", shown(action)))
            .hint("Use \"create\" or \"drop\"."));
    }
    require_writable(c"dblink_slot_create_or_drop()");
    let mut publisher = Publisher::connect(&conninfo, caller)?;
    let contrary: &[Plan] = match action {
        "create" => &[Plan::Create, Plan::Drop],
        _ => &[Plan::Create],
    };
    slot::refuse_planned(&mut publisher, name, contrary)?;
    match (action, slot::exists(&mut publisher, name)?) {
        ("create", false) => {
            let (slot, _) = NewSlot::create(publisher, name, false)?;
            defer(Action::KeepSlot(slot));
        }
        ("drop", true) => {
            defer(Action::DropSlots(DoomedSlots { publisher, names: vec![name.to_owned()] }));
        }
        _ => {} // it is as it was asked to be
    }
    Ok(())
}
