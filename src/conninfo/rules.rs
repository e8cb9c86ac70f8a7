//! The rules for connection strings: what ordinary roles may use, and what may be shown.

use std::ffi::CString;

use pgmig_core::conninfo::{Conninfo, Rules};
use pgmig_core::limits::TEXT as MAX_LENGTH;

use crate::caller::Caller;
use crate::error::{Error, Hint, Kind, Result, invalid};
use crate::ffi::{libpq, major};
use crate::settings;

/// The longest part of a publisher's text that is shown, in characters.
const MAX_TEXT: usize = 500;

/// Parses a caller's string, applies the rules and completes the string. The rules do not bind
/// superusers.
pub fn given(text: &str, caller: Caller) -> Result<Conninfo> {
    let parsed = written(text)?;
    if parsed.has_masked_password() {
        return Err(invalid("the password in the connection string is masked")
            .detail("Lists of subscriptions show \"********\" in place of every password.")
            .hint("Write the real password of the role on the publisher."));
    }
    if caller.is_superuser() {
        return Ok(parsed);
    }
    let checked = parsed.checked(&rules())?;
    check_length(&checked.to_text())?;
    Ok(checked)
}

/// Parses a caller's string without checking its values.
pub fn written(text: &str) -> Result<Conninfo> {
    check_length(text)?;
    parse(text).ok_or_else(|| invalid("invalid connection string").hint(how_to_write(text)))
}

fn how_to_write(text: &str) -> &'static str {
    if text.starts_with("postgresql://") || text.starts_with("postgres://") {
        "In a URI, write special characters of a value as % and their code: % as %25, @ as %40, \
         : as %3A, / as %2F, # as %23, ? as %3F, a space as %20."
    } else {
        "Write keyword='value' pairs separated by spaces, or a postgresql:// URI; \
         escape a quote in a value as \\'."
    }
}

fn check_length(text: &str) -> Result<()> {
    if text.len() <= MAX_LENGTH {
        return Ok(());
    }
    Err(invalid("connection string is too long").detail(format!(
        "With what is added to it, it has {} bytes; the limit is {MAX_LENGTH}.",
        text.len()
    )))
}

/// The string to be stored after a connection was made with it. `address`: the IP address that was
/// reached.
pub fn to_store(conninfo: &Conninfo, address: &str, caller: Caller) -> String {
    let mut conninfo = conninfo.clone();
    if !caller.is_superuser() {
        conninfo.pin(address, &rules());
    }
    conninfo.to_text()
}

/// Parses a stored string, and applies the rules for stored strings: ALTER SUBSCRIPTION … CONNECTION
/// may have written it. `is_superusers`: the role whose rights apply is a superuser. `text` is `None`
/// if the string is too long.
pub fn stored(text: Option<&str>, is_superusers: bool) -> Result<Conninfo> {
    let text = text.filter(|text| text.len() <= MAX_LENGTH).ok_or_else(|| {
        wrong("the stored connection string is too long")
            .detail(format!("The limit is {MAX_LENGTH} bytes."))
    })?;
    let parsed = parse(text).ok_or_else(|| wrong("the stored connection string is invalid"))?;
    if is_superusers { Ok(parsed) } else { parsed.rechecked(&rules()) }
}

fn wrong(message: &str) -> Error {
    Error::new(Kind::ObjectNotInPrerequisiteState, message).hint(Hint::call(
        "Set a new one with ",
        "pg_alter_subscription_connection",
        "().",
    ))
}

/// `None` if libpq cannot parse the string, or if it is too long.
pub fn parse(text: &str) -> Option<Conninfo> {
    let text = Some(text).filter(|text| text.len() <= MAX_LENGTH)?;
    libpq::parse_conninfo(&CString::new(text).ok()?).map(Conninfo::new)
}

/// Whether the caller may learn why a connection with a checked string fails.
pub fn is_named(conninfo: &Conninfo) -> bool {
    conninfo.is_named(&rules())
}

fn rules() -> Rules {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    Rules {
        require_password: settings::require_password(),
        allowed_hosts: settings::allowed_hosts(),
        ssl_directory: settings::ssl_directory(),
        libpq_16: major::LIBPQ_HAS_REQUIRE_AUTH,
        environment: names.filter(|name| name.starts_with("PG")).collect(),
    }
}

/// A publisher's text, shortened, in one line and without the password.
pub fn shown(text: &str, conninfo: &Conninfo) -> String {
    let text = match conninfo.get("password") {
        Some(password) => text.replace(password, "********"),
        None => text.to_owned(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_TEXT).collect()
}
