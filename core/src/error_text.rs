//! What may be told of an error that an apply worker reports: what kind it is and which objects it
//! names, never a value of a row. Who owns the subscription need not be able to read the table.

/// SQLSTATE classes whose messages name objects and never values, where the server itself reports
/// them: feature not supported, integrity violation, transaction state, rollback, resources, object
/// state, intervention, system error.
const CLASSES: [&[u8; 2]; 8] = [b"0A", b"23", b"25", b"40", b"53", b"55", b"57", b"58"];
/// insufficient_privilege
const DENIED: i32 = packed(b"42501");
const CONNECTION: &[u8; 2] = b"08";

const NO_CONNECTION: &[u8] =
    b"the connection to the publisher failed; the cause is in this server's log";
const RAISED: &[u8] = b"a function raised an exception; its text is in this server's log";

/// Six bits a character, the first one lowest (elog.h MAKE_SQLSTATE).
const fn packed(code: &[u8]) -> i32 {
    let (mut packed, mut at) = (0, 0);
    while at < code.len() {
        packed |= (code[at] as i32 - b'0' as i32) << (6 * at);
        at += 1;
    }
    packed
}

/// Hands out, piece by piece, what may be told of an error. `template` is its message's format, and
/// `domain` the catalog of its translations: "postgres-15" for the server's own.
pub fn write(
    sqlstate: i32,
    message: &[u8],
    template: &[u8],
    domain: &[u8],
    mut write: impl FnMut(&[u8]),
) {
    let is_of = |class: &[u8; 2]| sqlstate & 0xFFF == packed(class);
    if is_of(CONNECTION) {
        write(NO_CONNECTION);
    } else if !domain.starts_with(b"postgres") || !has_words(template) {
        write(RAISED);
    } else if sqlstate == DENIED || CLASSES.into_iter().any(is_of) {
        write(message);
    } else {
        write_template(template, write);
    }
}

/// Whether a format says anything besides what is put into it, as that of RAISE or of an extension
/// that has formatted its text before does not.
fn has_words(template: &[u8]) -> bool {
    pieces(template)
        .any(|piece| piece.iter().filter(|byte| byte.is_ascii_alphabetic()).count() >= 3)
}

fn write_template(template: &[u8], mut write: impl FnMut(&[u8])) {
    for (number, piece) in pieces(template).enumerate() {
        if number > 0 {
            write("…".as_bytes());
        }
        write(piece);
    }
}

/// What stands between the conversions of a format of printf.
fn pieces(template: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(template);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(at) = text.iter().position(|byte| *byte == b'%') else {
            rest = None;
            return Some(text);
        };
        let conversion =
            text[at + 1..].iter().position(|byte| b"diouxXeEfFgGaAcspm%".contains(byte));
        rest = conversion.map(|length| &text[at + length + 2..]);
        Some(&text[..at])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(code: &[u8; 5], message: &str, template: &str, domain: &str) -> String {
        let mut told = Vec::new();
        let (message, template, domain) =
            (message.as_bytes(), template.as_bytes(), domain.as_bytes());
        write(packed(code), message, template, domain, |piece| told.extend_from_slice(piece));
        String::from_utf8(told).unwrap()
    }

    #[test]
    fn values_are_not_told() {
        let server = "postgres-15";
        for (code, message, template, expected) in [
            (
                b"22003",
                "value \"3000000001\" is out of range for type integer",
                "value \"%s\" is out of range for type %s",
                "value \"…\" is out of range for type …",
            ),
            (
                b"22007",
                "date/time field value out of range: \"hidden\"",
                "date/time field value out of range: \"%s\"",
                "date/time field value out of range: \"…\"",
            ),
            (
                b"22P02",
                "Syntaxe en entrée invalide pour le type integer : « hidden »",
                "invalid input syntax for type %s: \"%s\"",
                "invalid input syntax for type …: \"…\"",
            ),
            (
                b"42704",
                "role \"hidden\" does not exist",
                "role \"%s\" does not exist",
                "role \"…\" does not exist",
            ),
            (b"22021", "bytes 0x68", "bytes %*.2x: 100%% of %-5ld", "bytes …: 100… of …"),
        ] {
            assert_eq!(told(code, message, template, server), expected);
        }
    }

    #[test]
    fn names_of_objects_are_told() {
        for (code, message) in [
            (b"23505", "duplicate key value violates unique constraint \"t_pkey\""),
            (b"55000", "logical replication target relation \"public.t\" does not exist"),
            (b"42501", "permission denied for table t"),
        ] {
            assert_eq!(told(code, message, "any \"%s\" format", "postgres-18"), message);
        }
    }

    #[test]
    fn what_a_function_says_is_not_told() {
        for (code, domain, template) in [
            (b"P0001", "plpgsql-15", "%s"),
            (b"23505", "plpgsql-15", "%s"),
            (b"22003", "plperl-18", "hidden"),
            (b"XX000", "postgres-15", "%s"),
            (b"23505", "postgres-15", "%s"),
            (b"23505", "postgres-15", ""),
        ] {
            assert_eq!(told(code, "hidden", template, domain), String::from_utf8_lossy(RAISED));
        }
        assert_eq!(
            told(b"08006", "port 5 is closed", "%s", "postgres"),
            String::from_utf8_lossy(NO_CONNECTION)
        );
    }
}
