//! pgmig_extras: live migrations by roles that are not superusers. Wiring only.
//!
//! SQL signatures stand in `sql/`; the functions behind them are in the module of their subject.

mod aiven;
mod argument;
mod auto_explain;
mod caller;
mod conninfo;
mod error;
mod explain;
mod ffi;
mod operators;
mod pgaudit;
mod public_schema;
mod publication;
mod publisher;
mod query;
mod secrecy;
mod session;
mod settings;
mod slot;
mod standby_slot;
mod subscription;
mod table;
mod text;
mod transaction;
mod watcher;

use pgrx::prelude::*;

/// The major version of the server that this library is built for.
const MAJOR: u16 = pgrx::pg_sys::PG_MAJORVERSION_NUM as u16;

::pgrx::pg_module_magic!(name = c"pgmig_extras", version = c"0.1.0");

// `cargo pgrx install` writes the extension's script from this; `cargo x install` copies the same file.
pgrx::extension_sql_file!("../sql/pgmig_extras--0.1.0.sql", name = "pgmig_extras", bootstrap);

#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    settings::define();
    secrecy::install();
    transaction::install();
    watcher::install();
}
