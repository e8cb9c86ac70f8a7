//! Reading JSON arguments.

use serde::de::{DeserializeOwned, Error};
use serde_json::Value;

/// Reads an object only: serde would also read a struct from an array, field by field.
pub fn from_object<T: DeserializeOwned>(value: Value) -> serde_json::Result<T> {
    if value.is_object() {
        return serde_json::from_value(value);
    }
    Err(serde_json::Error::custom("expected an object"))
}
