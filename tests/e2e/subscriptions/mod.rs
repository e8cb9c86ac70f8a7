//! The life of a subscription that an ordinary role owns: create, follow, change, drop.

mod changes;
mod connections;
mod drops;
mod options;
mod shared;
mod slots;
