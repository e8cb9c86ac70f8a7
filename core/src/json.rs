//! Reading JSON arguments.

use serde::de::{DeserializeOwned, Error};
use serde_json::Value;

/// Reads an object only: serde would also read a struct from an array, field by field.
pub fn from_object<T: DeserializeOwned>(value: Value) -> serde_json::Result<T> {
    if value.is_object() {
        // serde's own message does not say which key has the wrong value.
        return serde_path_to_error::deserialize(value).map_err(serde_json::Error::custom);
    }
    Err(serde_json::Error::custom("expected an object"))
}
