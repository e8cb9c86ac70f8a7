//! Connection strings: the rules for what a caller may use, masking, and the resolution of host names.

pub mod address;
mod rules;
pub mod secrecy;

pub use rules::{given, is_named, parse, shown, stored, to_store, written};
