//! Lag as SQL shows it: one C function behind each view.

mod chart;
mod history;
mod readings;
mod slot_lag;
mod subscription_lag;
mod watcher_status;
