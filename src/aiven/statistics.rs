//! Walsenders, as aiven_extras lists them.

use pgrx::prelude::*;

use super::entry;
use crate::caller::Caller;
use crate::error::{Result, internal};
use crate::ffi::call::Call;
use crate::ffi::rows;

/// The walsenders of the roles whose rights the caller has.
#[pg_extern(sql = false)]
fn aiven_pg_stat_replication_list(call: Call) {
    entry(|| list(call))
}

fn list(call: Call) -> Result<()> {
    const WALSENDERS: &str = "\
        SELECT r.pid, r.usesysid, r.usename, r.application_name, r.client_addr, r.client_hostname, \
               r.client_port, r.backend_start, r.backend_xmin, r.state, r.sent_lsn, r.write_lsn, \
               r.flush_lsn, r.replay_lsn, r.write_lag, r.flush_lag, r.replay_lag, r.sync_priority, \
               r.sync_state \
          FROM pg_catalog.pg_stat_replication r \
         WHERE pg_catalog.pg_has_role($1, r.usesysid, 'USAGE')";
    let caller = Caller::current()?;
    rows::return_query(call, WALSENDERS, &[caller.oid().into()]).map_err(internal)
}
