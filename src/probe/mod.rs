//! One observation of a subscription, from both of its ends. The watcher, the views and the waits use
//! it. Nothing here is kept in shared memory.

mod compare;
mod definition;
mod observation;
mod publisher;
mod publishers;
mod question;
mod subscriber;
pub mod wait;

pub use compare::{compare, unsubscribed};
pub use definition::{Definition, definitions, too_many_publications};
pub use observation::observation;
pub use publisher::PublisherProbe;
pub use publishers::PublisherProbes;
pub use subscriber::{SubscriberState, received, states};
