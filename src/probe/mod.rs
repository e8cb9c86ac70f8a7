//! One observation of a subscription, from both of its ends: for the watcher, for the views and for
//! waiting. Nothing here is kept in shared memory.

mod compare;
mod definition;
mod observation;
mod publisher;
mod publishers;
mod question;
mod subscriber;
pub mod wait;

pub use compare::{compare, unsubscribed};
pub use definition::{Listed, list, too_many_publications};
pub use observation::observation;
pub use publisher::Link;
pub use publishers::Links;
pub use subscriber::{Look, received, states};
