//! Actions that wait for the end of the caller's transaction. Slots of a publisher and replication
//! origins are not transactional; here they live and die with the transaction.
//!
//! | when | what |
//! |---|---|
//! | before the commit record | new slots become permanent; connections for drops are checked; then
//! subscriptions and their tables are removed, and origins last |
//! | after the commit record | slots are dropped; a failure is a WARNING, because nothing may be raised
//! any more |
//! | rollback | connections close, and temporary slots go with them; the progress of dropped origins is
//! restored |
//! | rollback to a savepoint | the same; no origin is dropped while a savepoint exists |
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
pub use origin::OriginToDrop;
pub use pending::{defer, install, is_to_go, plans_for_slot};
