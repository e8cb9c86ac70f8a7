//! Lag as SQL shows it.

mod readings;
