//! A release build, installed into a real server.

use anyhow::{Context, Result, ensure};
use std::path::Path;
use testbed::{Install, MAJORS, build};

pub fn run(pg_config: &Path, with_aiven_extras: bool) -> Result<()> {
    let pg_config = pg_config
        .canonicalize()
        .with_context(|| format!("there is no pg_config at {}", pg_config.display()))?;
    let install = Install::from_pg_config(&pg_config)?;
    ensure!(
        MAJORS.contains(&install.major),
        "{} is not supported: the majors are {MAJORS:?}",
        install.version
    );
    ensure!(
        install.has_headers(),
        "{} has no server headers in {}: install its development package \
         (postgresql-server-dev-{} on Debian), then run this again",
        install.version,
        install.includedir_server.display(),
        install.major
    );
    build::build_and_install(&install, true)?;
    if with_aiven_extras {
        build::install_aiven_extras(&install)?;
    }
    println!("installed into {}", install.version);
    println!("in a database: CREATE EXTENSION pgmig_extras;");
    if with_aiven_extras {
        println!("for clients of aiven_extras: CREATE EXTENSION aiven_extras;");
    }
    println!("for the watcher: shared_preload_libraries = 'pgmig_extras', then a restart");
    Ok(())
}
