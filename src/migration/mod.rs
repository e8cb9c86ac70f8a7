//! The steps of a migration, above single subscriptions.

pub mod catch_up;
