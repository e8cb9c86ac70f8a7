//! Replication slots on a publisher that live and die with the caller's transaction.

mod existing;
mod functions;
mod new;
mod plan;
mod to_drop;

pub use existing::{exists, is_there_and_fit, missing, resting};
pub use new::NewSlot;
pub use plan::{plans, refuse, refuse_planned};
pub use to_drop::SlotsToDrop;
