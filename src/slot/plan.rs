//! What the running transaction plans for slots of a publisher.

use crate::commit::{Plan, plans_for_slot};
use crate::error::{Error, Kind, Result};
use crate::publisher::Publisher;

/// What this transaction plans for a slot of this publisher.
pub fn plans(publisher: &mut Publisher, name: &str) -> Result<Vec<Plan>> {
    let mut plans = Vec::new();
    for (plan, mark) in plans_for_slot(name) {
        if publisher.is_server_of(&mark)? {
            plans.push(plan);
        }
    }
    Ok(plans)
}

/// Refuses an action on a slot for which this transaction has a plan. The publisher does not know the
/// plan yet, so the two could undo each other.
pub fn refuse_planned(publisher: &mut Publisher, name: &str, refused: &[Plan]) -> Result<()> {
    refuse(name, &plans(publisher, name)?, refused)
}

pub fn refuse(name: &str, plans: &[Plan], refused: &[Plan]) -> Result<()> {
    match plans.iter().find(|plan| refused.contains(plan)) {
        Some(plan) => Err(planned(name, *plan)),
        None => Ok(()),
    }
}

fn planned(name: &str, plan: Plan) -> Error {
    let what = match plan {
        Plan::Create => "created",
        Plan::Drop => "dropped",
    };
    Error::new(
        Kind::ObjectNotInPrerequisiteState,
        format!("slot \"{name}\" is already to be {what} by this transaction"),
    )
    .detail("That happens on the publisher when the transaction commits.")
    .hint("Commit first.")
}
