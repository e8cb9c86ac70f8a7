//! Rules for names of objects and of replication slots. PostgreSQL truncates a long identifier with
//! a NOTICE. Here it is an error, because the truncated name may belong to another object.

use crate::error::{Error, Kind, Result};
use crate::secret::shown;

/// NAMEDATALEN - 1, in bytes.
pub const MAX_LEN: usize = 63;

/// Checks the name of a subscription, publication, role or table. `what` is the kind of object in
/// the message.
pub fn check(what: &str, name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::new(Kind::InvalidName, format!("{what} name must not be empty")));
    }
    if name.len() > MAX_LEN {
        return Err(Error::new(
            Kind::NameTooLong,
            format!("{what} name \"{}\" is too long", shown(name)),
        )
        .detail(format!("It has {} bytes; the limit is {MAX_LEN}.", name.len())));
    }
    Ok(())
}

/// Checks the name of a publication that is subscribed to. It must not contain a backslash: the
/// apply worker would quote it as E'…', which the grammar of START_REPLICATION does not accept.
pub fn check_subscribed_publication(name: &str) -> Result<()> {
    check("publication", name)?;
    if name.contains('\\') {
        return Err(Error::new(
            Kind::InvalidName,
            format!("publication name \"{}\" contains a backslash", shown(name)),
        )
        .detail("PostgreSQL's apply workers cannot ask for it.")
        .hint("Rename the publication."));
    }
    Ok(())
}

/// Checks a replication slot's name by the server's rule (`ReplicationSlotValidateName`, slot.c): 1
/// to 63 lower-case letters, digits and underscores. `none` is refused too, because in a list of
/// options it means "no slot".
pub fn check_slot(name: &str) -> Result<()> {
    check("replication slot", name)?;
    let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !name.bytes().all(valid) {
        return Err(Error::new(
            Kind::InvalidName,
            format!("replication slot name \"{}\" contains an invalid character", shown(name)),
        )
        .hint("Replication slot names may only contain lower case letters, digits, and the underscore character."));
    }
    if name == "none" {
        return Err(Error::new(Kind::InvalidName, "replication slot name \"none\" is reserved")
            .hint("Choose another name for the replication slot."));
    }
    Ok(())
}

/// Checks the name of an output plugin. The server would load a library from any path, so a path is
/// refused.
pub fn check_output_plugin(name: &str) -> Result<()> {
    check("output plugin", name)?;
    if name.contains('/') {
        return Err(Error::new(
            Kind::InvalidName,
            format!("output plugin name \"{}\" is a path", shown(name)),
        )
        .hint("Name a plugin that is installed, such as pgoutput."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_be_anything_up_to_63_bytes() {
        assert!(check("subscription", "Ünïcode \"quoted\" name").is_ok());
        assert!(check("subscription", &"x".repeat(63)).is_ok());
        assert_eq!(check("subscription", "").unwrap_err().kind, Kind::InvalidName);
        assert_eq!(check("subscription", &"ä".repeat(32)).unwrap_err().kind, Kind::NameTooLong);
    }

    #[test]
    fn an_argument_that_is_not_a_name_is_not_quoted() {
        let conninfo = "host=h user=u password=hidden";
        for error in [
            check("subscription", &conninfo.repeat(3)).unwrap_err(),
            check_slot(conninfo).unwrap_err(),
            check_subscribed_publication("password='hidden\\'").unwrap_err(),
            check_output_plugin("/ postgres://u:hidden@h/d").unwrap_err(),
        ] {
            assert!(!format!("{error:?}").contains("hidden"), "{error:?}");
        }
        let long = check("subscription", &"x".repeat(1 << 20)).unwrap_err();
        assert!(long.message.len() < 200, "{}", long.message.len());
    }

    #[test]
    fn a_publication_with_a_backslash_cannot_be_subscribed_to() {
        assert!(check_subscribed_publication("it's \"p\"").is_ok());
        assert_eq!(check_subscribed_publication("a\\b").unwrap_err().kind, Kind::InvalidName);
    }

    #[test]
    fn a_slot_name_follows_the_servers_rule() {
        assert!(check_slot("orders_2026").is_ok());
        for bad in ["", "Orders", "a b", "ä", "a-b", "a;b", "none"] {
            assert_eq!(check_slot(bad).unwrap_err().kind, Kind::InvalidName, "{bad}");
        }
        assert_eq!(check_slot(&"x".repeat(64)).unwrap_err().kind, Kind::NameTooLong);
    }

    #[test]
    fn an_output_plugin_is_not_a_path() {
        assert!(check_output_plugin("pgoutput").is_ok());
        for bad in ["", "/tmp/evil", "../evil", "$libdir/pgoutput"] {
            assert_eq!(check_output_plugin(bad).unwrap_err().kind, Kind::InvalidName, "{bad}");
        }
    }
}
