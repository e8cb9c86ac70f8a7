//! Limits on the size of arguments, in bytes unless stated otherwise. Rust aborts the process when
//! it cannot allocate, and PostgreSQL then restarts all other sessions. So data from outside is not
//! copied before its size is known to be within a limit.

use crate::error::{Error, Kind, invalid};

/// A name, a connection string, or the value of a setting.
pub const TEXT: usize = 8 << 10;
/// A list of names, with PostgreSQL's overhead per element.
pub const LIST: usize = 16 << 20;
/// The number of elements of such a list.
pub const ELEMENTS: usize = 100_000;
/// The publications of a subscription, as an array.
pub const PUBLICATIONS: usize = 16 << 10;
/// The same as stored, perhaps compressed. A watcher reads it for each subscription every second.
pub const STORED_PUBLICATIONS: usize = 4 << 10;
/// A jsonb, both as stored and as text.
pub const JSON: usize = 8 << 20;
/// A statement that is only explained.
pub const STATEMENT: usize = 16 << 20;
/// What a message, a detail and a hint may quote together.
pub const ECHO: usize = 4 << 10;

/// 22023: an argument has more bytes than its limit.
pub fn too_long(argument: &str, bytes: usize, limit: usize) -> Error {
    invalid(format!("argument \"{argument}\" is too long"))
        .detail(format!("It has {bytes} bytes; the limit is {limit}."))
}

/// 22023: a list has more elements than its limit.
pub fn too_many(argument: &str, elements: usize) -> Error {
    invalid(format!("argument \"{argument}\" has too many elements"))
        .detail(format!("It has {elements} elements; the limit is {ELEMENTS}."))
}

/// 53200: the process cannot allocate the memory.
pub fn out_of_memory(bytes: usize) -> Error {
    Error::new(Kind::OutOfMemory, "out of memory")
        .detail(format!("Failed on a request of {bytes} bytes."))
}

/// A text of at most `ECHO` bytes. A longer one is truncated.
pub fn echo(mut text: String) -> String {
    if text.len() > ECHO {
        text.truncate(text.floor_char_boundary(ECHO));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_quoted_whole_or_truncated_between_characters() {
        assert_eq!(echo("ü".into()), "ü");
        let whole = "x".repeat(ECHO);
        assert_eq!(echo(whole.clone()), whole);
        let cut = echo(format!("x{}", "ü".repeat(ECHO)));
        assert!(cut.len() <= ECHO + '…'.len_utf8() && cut.ends_with("ü…"), "{}", cut.len());
    }

    #[test]
    fn the_error_for_a_long_argument_names_the_limit() {
        let error = too_long("name", 9000, TEXT);
        assert_eq!(error.kind, Kind::InvalidParameter);
        assert_eq!(error.detail.unwrap(), "It has 9000 bytes; the limit is 8192.");
    }
}
