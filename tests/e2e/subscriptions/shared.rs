//! What these tests share.

use crate::support::Session;

pub fn subscribed_tables(session: &mut Session) -> Vec<String> {
    session.column("SELECT relname::text FROM pg_subscription_rel JOIN pg_class c ON c.oid = srrelid ORDER BY 1")
}
