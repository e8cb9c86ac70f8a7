//! Settings of the session, as aiven_extras has them.

use pgrx::prelude::*;

use super::entry;
use crate::admin::session;
use crate::argument::Text;

#[pg_extern(sql = false)]
fn aiven_session_replication_role(arg_parameter: Text) -> Option<String> {
    entry(|| session::set_replication_role(arg_parameter, Some(false)))
}
