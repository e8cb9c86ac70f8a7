//! A publisher and a subscriber small enough to know the truth at every moment, watched by a
//! [`Tracker`](super::Tracker) through what real ones show. Time goes in steps of 10 ms.
//!
//! Truth is the age of the oldest row that is committed on the publisher and missing on the
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
