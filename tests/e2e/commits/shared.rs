//! What these tests share.

use crate::support::{Bed, source, start_with};

pub fn subscribed_tables(bed: &Bed) -> Vec<String> {
    bed.superuser().column("SELECT srrelid::regclass::text FROM pg_subscription_rel ORDER BY 1")
}

/// Servers of one test alone, whose commits wait for a standby that is not there if they are told to.
pub fn alone(major: u16, test: &str) -> Bed {
    let target = start_with(major, |builder| {
        builder.config("synchronous_standby_names", "nobody").config("synchronous_commit", "local")
    });
    Bed::on(source(major), Box::leak(Box::new(target)), test)
}
