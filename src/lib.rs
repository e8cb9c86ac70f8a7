//! pgmig_extras: live migrations by roles that are not superusers. This file only connects the modules.
//!
//! SQL signatures are in `sql/`. The functions behind them are in the room of their subject: see
//! ARCHITECTURE.md.
//!
//! SQL signatures stand in `sql/`; the functions behind them are in the module of their subject.

mod admin;
mod aiven;
mod argument;
mod caller;
mod check;
mod commit;
mod conninfo;
mod error;
mod ffi;
mod lag;
mod migration;
mod notice;
mod probe;
mod publication;
mod publisher;
mod reports;
mod server;
mod settings;
mod slot;
mod subscription;
mod watcher;

use pgrx::prelude::*;

use ffi::activity::Listener;

::pgrx::pg_module_magic!(name = c"pgmig_extras", version = c"0.1.0");

// `cargo pgrx install` writes the extension's script from this; `cargo x install` copies the same file.
pgrx::extension_sql_file!("../sql/pgmig_extras--0.1.0.sql", name = "pgmig_extras", bootstrap);

#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    settings::define();
    let listener = Listener { error: reports::keep, warning: reports::keep_shortage };
    ffi::activity::install_log_hook(listener);
    commit::install();
    watcher::install();
}
