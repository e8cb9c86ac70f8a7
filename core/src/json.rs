//! Reads JSON arguments.

use serde::de::{DeserializeOwned, Error as _};
use serde_json::Value;

use crate::error::{Error, Kind, Result};
use crate::secret;

/// Reads a JSON object only. serde alone would also accept an array and fill the struct's fields in
/// order.
pub fn from_object<T: DeserializeOwned>(value: Value) -> serde_json::Result<T> {
    if value.is_object() {
        // serde's own message quotes the whole value and does not name the key with the wrong type.
        return serde_path_to_error::deserialize(value).map_err(
            |error: serde_path_to_error::Error<serde_json::Error>| {
                serde_json::Error::custom(secret::cut(&error.to_string()))
            },
        );
    }
    Err(serde_json::Error::custom("expected an object"))
}

/// Refuses the first option of a `kind` that is given but that a server of `major` does not have.
/// Each option is (name, whether it is given, the first major that has it).
pub fn refuse_later<const N: usize>(
    kind: &str,
    options: [(&str, bool, u16); N],
    major: u16,
) -> Result<()> {
    match options.into_iter().find(|(_, given, since)| *given && major < *since) {
        Some((option, _, since)) => Err(Error::new(
            Kind::FeatureNotSupported,
            format!("{kind} option \"{option}\" needs PostgreSQL {since} or later"),
        )
        .detail(format!("This server is PostgreSQL {major}."))
        .hint("Remove it.")),
        None => Ok(()),
    }
}
