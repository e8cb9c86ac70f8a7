//! Where the parts of an installation are.

use std::path::PathBuf;

/// The folders of an installation, absolute or relative to its root.
pub struct Layout {
    pub version: String,
    pub bindir: PathBuf,
    pub pkglibdir: PathBuf,
    pub sharedir: PathBuf,
}
