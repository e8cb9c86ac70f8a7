//! Slots of a publisher, as aiven_extras has them: one call creates a slot unless it exists, or drops
//! it if it exists.

use pgmig_core::secret::shown;
use pgmig_core::{name, sql};
use pgrx::prelude::*;

use super::entry;
use crate::argument::{Text, required};
use crate::caller::Caller;
use crate::commit::{Plan, defer};
use crate::conninfo;
use crate::conninfo::secrecy;
use crate::error::{Error, Kind, Result, invalid};
use crate::ffi::database::require_writable;
use crate::notice::Notice;
use crate::publisher::Publisher;
use crate::slot::{self, NewSlot, SlotsToDrop};
use crate::subscription;

#[pg_extern(sql = false)]
fn aiven_dblink_slot_create_or_drop(
    arg_connection_string: Text,
    arg_slot_name: Text,
    arg_action: Text,
) {
    secrecy::concealing(&arg_connection_string, &[&arg_slot_name, &arg_action], || {
        entry(|| create_or_drop(arg_connection_string, arg_slot_name, arg_action))
    })
}

fn create_or_drop(text: Text, slot: Text, action: Text) -> Result<()> {
    let caller = Caller::current()?;
    let text = required("arg_connection_string", text)?;
    let name = required("arg_slot_name", slot)?;
    name::check_slot(name)?;
    let action = plan(required("arg_action", action)?)?;
    if action == Plan::Drop && conninfo::written(text)?.has_masked_password() {
        return leave_to_subscription(name, caller);
    }
    let conninfo = conninfo::given(text, caller)?;
    require_writable(c"dblink_slot_create_or_drop()");
    let mut publisher = Publisher::connect(&conninfo, caller)?;
    let contrary: &[Plan] = match action {
        Plan::Create => &[Plan::Create, Plan::Drop],
        Plan::Drop => &[Plan::Create],
    };
    slot::refuse_planned(&mut publisher, name, contrary)?;
    match (action, slot::exists(&mut publisher, name)?) {
        (Plan::Create, false) => {
            let (slot, _) = NewSlot::create(publisher, name, false)?;
            defer(slot);
        }
        (Plan::Drop, true) => {
            defer(SlotsToDrop { publisher, names: vec![name.to_owned()] });
        }
        _ => {} // it is as it was asked to be
    }
    Ok(())
}

/// Clients write this argument in upper or lower case.
fn plan(action: &str) -> Result<Plan> {
    match action.to_ascii_lowercase().as_str() {
        "create" => Ok(Plan::Create),
        "drop" => Ok(Plan::Drop),
        _ => Err(invalid(format!("invalid action: \"{}\"", shown(action)))
            .hint("Use \"create\" or \"drop\".")),
    }
}

/// Clients read the connection string from the list of subscriptions, drop the subscription, and then
/// drop its slot with that string. Here its password is masked, and the slot was dropped with the
/// subscription.
fn leave_to_subscription(name: &str, caller: Caller) -> Result<()> {
    if let Some(subscription) = subscription::user_of_slot(name, caller) {
        return Err(Error::new(
            Kind::ObjectNotInPrerequisiteState,
            format!("replication slot \"{name}\" is used by subscription \"{subscription}\""),
        )
        .detail("The password in the connection string is masked.")
        .hint("Drop the subscription: its slot goes with it."));
    }
    Notice::warning(format!(
        "replication slot \"{name}\" was not looked for on the publisher: the password is masked"
    ))
    .detail(
        "A slot goes with its subscription, unless pg_drop_subscription() was told to leave it \
             or said that it is left.",
    )
    .hint(format!(
        "Where it is left, run this on the publisher: SELECT pg_drop_replication_slot({});",
        sql::literal(name)
    ))
    .send();
    Ok(())
}
