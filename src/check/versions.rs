//! Options that the publisher's major must support.

use crate::error::{Error, Kind, Result};
use crate::publisher::Publisher;

/// A publisher before 16 cannot leave out changes of other origins: it sends them all. Between two
/// servers that subscribe to each other, each change would be sent back for ever.
pub fn check_origin(publisher: &Publisher, origin: Option<&str>) -> Result<()> {
    check(
        publisher,
        origin == Some("none"),
        "origin = none",
        16,
        "Use origin = any, with a \
        subscription in one direction only.",
    )
}

pub fn check_failover(publisher: &Publisher, failover: bool) -> Result<()> {
    check(publisher, failover, "failover", 17, "Remove the option \"failover\".")
}

fn check(
    publisher: &Publisher,
    is_wanted: bool,
    option: &str,
    since: u16,
    hint: &str,
) -> Result<()> {
    let major = publisher.major();
    if !is_wanted || major >= since {
        return Ok(());
    }
    Err(Error::new(
        Kind::FeatureNotSupported,
        format!("{option} needs PostgreSQL {since} or later on the publisher"),
    )
    .detail(format!("The publisher is PostgreSQL {major}."))
    .hint(hint))
}
