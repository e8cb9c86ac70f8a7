//! The lag watcher as a citizen of the server: it comes back whatever ends it, holds nothing up, and
//! says what it lacks. Whether what it says of lag is true is for other tests.

mod pair;

mod lifetime;
mod odd_settings;
mod places;
mod requirements;
mod views;
