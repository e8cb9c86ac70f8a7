//! Reading JSON arguments.

use serde::de::{DeserializeOwned, Error as _};
use serde_json::Value;

use crate::error::{Error, Kind, Result};
use crate::secret;

/// Reads an object only: serde would also read a struct from an array, field by field.
pub fn from_object<T: DeserializeOwned>(value: Value) -> serde_json::Result<T> {
    if value.is_object() {
        // serde's own message does not say which key has the wrong value, but the whole value.
        return serde_path_to_error::deserialize(value).map_err(
            |error: serde_path_to_error::Error<serde_json::Error>| {
                serde_json::Error::custom(secret::cut(&error.to_string()))
            },
        );
    }
    Err(serde_json::Error::custom("expected an object"))
}

/// Refuses the first option of a `kind` that is given and that a server of `major` does not know.
/// Options are (name, whether it is given, the major that it came with).
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
