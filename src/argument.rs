//! The arguments of SQL functions. An argument whose size varies (text, text[], jsonb) has a type of
//! this module, which checks the size before it reads the value.

use std::hint::black_box;

use pgmig_core::limits;
use pgrx::datum::Interval;
use serde_json::Value;

use crate::error::{Error, Kind, Result, invalid};
use crate::ffi::argument;
use crate::ffi::lsn::PgLsn;

/// An argument of type text.
pub type Text<'a> = Option<argument::Text<'a>>;
/// An argument of type text[].
pub type Texts<'a> = Option<argument::TextArray<'a>>;
/// An argument of type jsonb.
pub type Json<'a> = Option<argument::Jsonb<'a>>;

/// A type of argument.
pub trait Argument {
    type Value;

    /// The value, or 22023 if it is too large.
    fn value(self, argument: &str) -> Result<Self::Value>;
}

/// The value of an argument that must not be NULL or too large.
pub fn required<A: Argument>(argument: &str, value: Option<A>) -> Result<A::Value> {
    not_null(argument, value)?.value(argument)
}

/// 22004 for a NULL inside a value.
pub fn not_null<T>(argument: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| {
        Error::new(Kind::NullNotAllowed, format!("argument \"{argument}\" must not be null"))
    })
}

impl<'a> Argument for argument::Text<'a> {
    type Value = &'a str;

    fn value(self, argument: &str) -> Result<&'a str> {
        utf8(bytes(&self, argument, limits::TEXT)?)
    }
}

/// The bytes of a text, in the encoding of the database.
pub fn bytes<'a>(text: &argument::Text<'a>, argument: &str, limit: usize) -> Result<&'a [u8]> {
    check_size(argument, text.size(), limit)?;
    Ok(text.bytes())
}

impl Argument for argument::TextArray<'_> {
    type Value = Vec<Option<String>>;

    fn value(self, argument: &str) -> Result<Self::Value> {
        check_size(argument, self.size(), limits::LIST)?;
        let elements = self.elements();
        if elements.len() > limits::ELEMENTS {
            return Err(limits::too_many(argument, elements.len()));
        }
        // Each element is copied, and takes an entry of the list.
        check_room(2 * self.size() + 64 * elements.len())?;
        let element = |text: &[u8]| {
            check_size(&format!("{argument}[]"), text.len(), limits::TEXT)?;
            utf8(text).map(str::to_owned)
        };
        elements.iter().map(|text| text.map(element).transpose()).collect()
    }
}

impl Argument for argument::Jsonb<'_> {
    type Value = Value;

    fn value(self, argument: &str) -> Result<Value> {
        /// How many bytes one byte of JSON text may need at most, including what is made of the value.
        /// In `["a", "a", …]` each five bytes become a `Value` of 64 bytes and a table name of 104, in
        /// lists that grow by doubling.
        const GROWTH: usize = 100;
        check_size(argument, self.size(), limits::JSON)?;
        self.with_text(|text| {
            check_size(argument, text.len(), limits::JSON)?;
            check_room(GROWTH * text.len())?;
            serde_json::from_str(utf8(text)?).map_err(|error| {
                invalid(format!("argument \"{argument}\" can't be read"))
                    .detail(format!("{error}."))
            })
        })
    }
}

/// Types of limited size.
macro_rules! plain {
    ($($type:ty),*) => {$(
        impl Argument for $type {
            type Value = Self;

            fn value(self, _argument: &str) -> Result<Self> {
                Ok(self)
            }
        }
    )*};
}

plain!(bool, i32, i64, &std::ffi::CStr, Interval, PgLsn);

fn check_size(argument: &str, size: usize, limit: usize) -> Result<()> {
    if size > limit {
        return Err(limits::too_long(argument, size, limit));
    }
    Ok(())
}

/// 53200 unless this process can get so many bytes. If an allocation of Rust fails, the process ends,
/// so a large one is tried first.
fn check_room(size: usize) -> Result<()> {
    let mut room = Vec::<u8>::new();
    let found = room.try_reserve_exact(size);
    black_box(&room); // or the compiler leaves out what is not used
    found.map_err(|_| limits::out_of_memory(size))
}

fn utf8(text: &[u8]) -> Result<&str> {
    let text = std::str::from_utf8(text).map_err(|_| only_ascii())?;
    require_readable(text)?;
    Ok(text)
}

/// 0A000 for a text that is not ASCII, in a database with another encoding than UTF-8.
pub fn require_readable(text: &str) -> Result<()> {
    if argument::may_be_utf8() || text.is_ascii() { Ok(()) } else { Err(only_ascii()) }
}

fn only_ascii() -> Error {
    Error::new(Kind::FeatureNotSupported, "only ASCII is supported where the database is not UTF8")
        .hint("Use names of ASCII characters, or a database with encoding UTF8.")
}
