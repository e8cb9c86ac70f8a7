//! The extension against real servers: a source and a target of each pair of majors. One module per
//! behaviour; `support` and `source` are what all of them stand on, `hostile` is a publisher that
//! lies.

mod hints;
mod hostile;
mod last_error;
mod source;
mod support;

mod aiven;
mod arguments;
mod attacks;
mod auto_explain;
mod catalog;
mod checks;
mod claims;
mod commits;
mod docs;
mod encodings;
mod ended_waits;
mod explain;
mod floods;
mod hang;
mod log_lines;
mod operators;
mod outer_user;
mod pgaudit;
mod public_schema;
mod publications;
mod rights;
mod secrets;
mod session;
mod sizes;
mod smoke;
mod standby_slot;
mod subscriptions;
mod transactions;
mod truth;
mod watched_publishers;
mod watcher;
