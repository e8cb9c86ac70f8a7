//! The user part of a URI, `scheme://user:secret@host`.

use std::ops::Range;

use super::layers::Layers;
use super::written::is_space;

pub struct UserPart {
    pub secret: Option<Range<usize>>,
    /// Where the search ended.
    pub end: usize,
    /// Whether there is an `@` before that place.
    pub has_at: bool,
}

/// Searches the text after `://` for a password. libpq ends the password at the first `@` and
/// allows no slash in it. Here it ends at the last `@`: somebody who did not percent-encode these
/// characters meant them as part of the password. Without any `@`, text that cannot be a port is a
/// password if the scheme is PostgreSQL's. There is no `@` before `without_at`.
///
/// `is_all`: the URI is the whole literal, so everything in the literal belongs to it.
pub fn user_part(
    layers: &Layers,
    start: usize,
    is_postgres: bool,
    is_all: bool,
    without_at: usize,
) -> UserPart {
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
    UserPart { secret, end: at, has_at }
}
