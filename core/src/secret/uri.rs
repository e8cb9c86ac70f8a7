//! The user part of a URI, `scheme://user:secret@host`.

use std::ops::Range;

use super::layers::Layers;
use super::written::is_space;

pub struct Look {
    pub secret: Option<Range<usize>>,
    /// Where the look ended.
    pub end: usize,
    /// Whether there is an `@` before that.
    pub has_at: bool,
}

/// Looks at what follows `://`. libpq ends the secret at the first `@`, and knows no slash in it; here
/// it goes to the last `@`, since whoever does not encode these characters means them so. Without any
/// `@`, what cannot be a port is a secret if the scheme is PostgreSQL's. Up to `without_at` there is
/// no `@`.
///
/// `is_all`: the URI is all of a literal, and what is in it belongs to it.
pub fn user_part(
    layers: &Layers,
    start: usize,
    is_postgres: bool,
    is_all: bool,
    without_at: usize,
) -> Look {
    let mut secret = None;
    let mut port = true;
    let (mut at, mut last, mut has_at) = (start, None, false);
    while let Some((byte, next)) = layers.byte(at) {
        let ends_port = secret.is_some() && port && last.is_none();
        match byte {
            b'[' if at == start => break, // an address of IPv6, without a user
            b'"' | b'\'' | b'(' | b')' | b';' if !is_all => break,
            _ if is_space(byte) && !is_all => break,
            b'/' if !is_all && layers.byte(next).is_some_and(|(byte, _)| byte == b'*') => break,
            b'-' if !is_all && layers.byte(next).is_some_and(|(byte, _)| byte == b'-') => break,
            b'#' if last.is_some() => break,
            b'/' | b'?' if last.is_some() || secret.is_none() || port => break,
            b'/' if at < without_at => break,
            b'@' => {
                has_at = true;
                last = secret.map(|_| at);
            }
            b':' if secret.is_none() => secret = Some(next),
            b',' if ends_port => secret = None, // the next host
            _ if last.is_none() && secret.is_some() => port &= byte.is_ascii_digit(),
            _ => {}
        }
        at = next;
    }
    let end = last.or_else(|| (is_postgres && !port && !has_at).then_some(at));
    let secret = secret.zip(end).map(|(start, end)| start..end);
    Look { secret, end: at, has_at }
}
