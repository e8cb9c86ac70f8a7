//! Subscriptions of callers. `create`, `alter` and `drop` hold the SQL functions.

mod alter;
mod create;
mod drop;
pub mod guard;
mod list;
mod not_received;
pub mod other_databases;
mod owned;
mod removal;
mod sequences;
mod tables;
mod view;

pub use alter::{disable, enable, refresh_publication};
pub use create::{Request, create};
pub use drop::{drop_subscription, without_publisher};
pub use list::list;
pub use not_received::warn as warn_of_not_received;
pub use owned::{Subscription, require_subscriber, user_of_slot, visible};
pub use view::{View, view};
