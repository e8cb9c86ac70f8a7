//! Texts of databases in other encodings. Inside a transaction, but for `of_this_database`.
//!
//! A character that cannot be converted becomes a question mark: a row that others wrote must not make
//! a list fail.

use std::ffi::{c_char, c_int};

use pgrx::pg_sys::{self, Oid};

/// An encoding's number, as pg_database has it.
pub type Encoding = i32;

// pg_wchar.h. In the first any byte is as good as another; the second has a conversion to and from all.
const SQL_ASCII: Encoding = 0;
const UTF8: Encoding = 6;

/// More zeros than a look at a character's length ever reads.
const PADDING: [u8; 8] = [0; 8];

/// A text of an encoding as this database can hold it.
pub fn converted(text: &[u8], from: Encoding) -> Vec<u8> {
    converted_to(of_this_database(), text, from)
}

/// A text of an encoding in UTF-8.
pub fn as_utf8(text: &[u8], from: Encoding) -> String {
    String::from_utf8_lossy(&converted_to(UTF8, text, from)).into_owned()
}

/// Whether a client sees every character of UTF-8.
pub fn is_unicode() -> bool {
    of_this_database() == UTF8 && of_client() == UTF8
}

/// A text of UTF-8 as this database can hold it and the client can be sent it.
pub fn for_client(text: &str) -> Vec<u8> {
    let here = converted(text.as_bytes(), UTF8);
    if here.is_ascii() || [of_this_database(), SQL_ASCII].contains(&of_client()) {
        return here;
    }
    let there = converted_to(of_client(), &here, of_this_database());
    converted(&there, of_client())
}

fn of_client() -> Encoding {
    // SAFETY: reads a variable of this process.
    unsafe { pg_sys::pg_get_client_encoding() }
}

fn converted_to(to: Encoding, text: &[u8], from: Encoding) -> Vec<u8> {
    if text.is_ascii() || to == SQL_ASCII {
        return text.to_vec();
    }
    if from == to || from == SQL_ASCII {
        return valid(text, to);
    }
    match (conversion(from, to), conversion(from, UTF8), conversion(UTF8, to)) {
        (Some(direct), ..) => by_conversion(text, direct, from, to),
        (None, Some(first), Some(second)) => {
            by_conversion(&by_conversion(text, first, from, UTF8), second, UTF8, to)
        }
        _ => ascii(text),
    }
}

fn conversion(from: Encoding, to: Encoding) -> Option<Oid> {
    // SAFETY: a look-up along search_path, which is pg_catalog alone in functions of ours.
    let conversion = unsafe { pg_sys::FindDefaultConversionProc(from, to) };
    (conversion != Oid::INVALID).then_some(conversion)
}

pub fn of_this_database() -> Encoding {
    // SAFETY: reads a variable of this process.
    unsafe { pg_sys::GetDatabaseEncoding() }
}

/// The text with question marks for bytes that are no character.
fn valid(text: &[u8], encoding: Encoding) -> Vec<u8> {
    let padded = [text, &PADDING].concat();
    let (mut at, mut valid) = (0, Vec::new());
    while at < text.len() {
        let length = character(&padded[at..], encoding).min(text.len() - at);
        let start = padded[at..].as_ptr().cast::<c_char>();
        // SAFETY: `length` bytes of the text; it raises nothing.
        if unsafe { pg_sys::pg_verify_mbstr(encoding, start, length as c_int, true) } {
            valid.extend_from_slice(&padded[at..at + length]);
            at += length;
        } else {
            valid.push(b'?');
            at += 1;
        }
    }
    valid
}

/// How many bytes the first character should have.
fn character(padded: &[u8], encoding: Encoding) -> usize {
    // SAFETY: it reads few bytes, which are there.
    let length = unsafe { pg_sys::pg_encoding_mblen(encoding, padded.as_ptr().cast()) };
    usize::try_from(length).unwrap_or(1).max(1)
}

fn ascii(text: &[u8]) -> Vec<u8> {
    text.iter().map(|byte| if byte.is_ascii() { *byte } else { b'?' }).collect()
}

#[cfg(feature = "pg13")]
fn by_conversion(text: &[u8], _: Oid, _: Encoding, _: Encoding) -> Vec<u8> {
    ascii(text) // a conversion of 13 raises an ERROR for what it cannot convert
}

#[cfg(any(
    feature = "pg14",
    feature = "pg15",
    feature = "pg16",
    feature = "pg17",
    feature = "pg18"
))]
fn by_conversion(text: &[u8], conversion: Oid, from: Encoding, to: Encoding) -> Vec<u8> {
    /// pg_wchar.h MAX_CONVERSION_GROWTH, and what it wants besides.
    const GROWTH: usize = 4;
    let mut source = [text, &PADDING].concat();
    let mut buffer = vec![0_u8; (text.len() + 2) * GROWTH];
    let (mut at, mut converted) = (0, Vec::new());
    while at < text.len() {
        // SAFETY: the rest of the text, and room for the longest result; with noError it returns how
        // far it came.
        let done = unsafe {
            pg_sys::pg_do_encoding_conversion_buf(
                conversion,
                from,
                to,
                source[at..].as_mut_ptr(),
                (text.len() - at) as c_int,
                buffer.as_mut_ptr(),
                buffer.len() as c_int,
                true,
            )
        };
        // SAFETY: conversions end what they wrote with a NUL.
        let part = unsafe { std::ffi::CStr::from_ptr(buffer.as_ptr().cast()) };
        converted.extend_from_slice(part.to_bytes());
        at += usize::try_from(done).unwrap_or(0);
        if at < text.len() {
            converted.push(b'?');
            at += character(&source[at..], from);
        }
    }
    converted
}
