//! A server's wall clock that can be set while it runs: libfaketime, from a file that it reads at
//! every look at the clock. The monotonic clock goes on as it is.

use crate::apt;
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tempfile::TempDir;

pub struct Clock {
    library: PathBuf,
    dir: TempDir,
}

impl Clock {
    /// As the machine's own.
    pub fn new() -> Result<Clock> {
        apt::require_that(|| library().is_some(), "libfaketime")?;
        let dir =
            tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir()?;
        let clock = Clock { library: library().context("libfaketime is there")?, dir };
        clock.set(0)?;
        Ok(clock)
    }

    /// Sets it, as an administrator or a time server would, to so many seconds off the machine's.
    pub fn set(&self, seconds: i64) -> Result<()> {
        let new = self.dir.path().join("new");
        fs::write(&new, format!("{seconds:+}s\n"))?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o644))?;
        Ok(fs::rename(new, self.file())?)
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("offset")
    }

    pub(crate) fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }
}

/// Debian has it in the directory of the machine's architecture.
fn library() -> Option<PathBuf> {
    let architectures = fs::read_dir("/usr/lib").ok()?.flatten();
    let mut paths = architectures.map(|entry| entry.path().join("faketime/libfaketime.so.1"));
    paths.find(|path| path.exists())
}
