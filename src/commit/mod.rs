//! What waits for the end of the caller's transaction. Remote slots and replication origins are not
//! transactional; here they are made to live and die with the transaction that asked.
//!
//! | when | what |
//! |---|---|
//! | before the commit record | new slots become permanent, connections for drops are checked; then subscriptions and their tables go, and last of all origins |
//! | after it | slots are dropped; what can't be is a WARNING: nothing may be raised any more |
//! | rollback | connections are closed, and temporary slots go with them; the progress of origins that were dropped already is put back |
//! | rollback to a savepoint | as above; no origin is dropped before all savepoints are gone |

mod at_end;
mod locks;
mod origin;
mod pending;

pub use at_end::{AtEnd, Plan, Removes};
pub use origin::DoomedOrigin;
pub use pending::{defer, install, is_to_go, plans_for_slot};
