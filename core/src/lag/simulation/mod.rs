//! A simulated publisher and subscriber, whose true lag is known at every moment. A
//! [`Tracker`](super::Tracker) observes them through the same data that real servers show. Time
//! advances in steps of 10 ms.
//!
//! The true lag is the age of the oldest row that is committed on the publisher and missing on the
//! subscriber.

mod publisher;
mod random;
mod scenarios;
mod score;
mod subscriber;
mod watcher;
mod world;

use super::{Micros, SECOND};

const STEP: Micros = SECOND / 100;
