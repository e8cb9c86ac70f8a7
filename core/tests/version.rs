//! Each extension has one version. The files that repeat it must agree.

use std::fs;
use std::path::{Path, PathBuf};

/// The version of the workspace, which every package inherits.
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The value of `default_version` in a control file.
fn default_version(control: &str) -> String {
    let text = text(control);
    let value = text.lines().find_map(|line| line.strip_prefix("default_version = "));
    value.expect("default_version is there").trim_matches('\'').to_owned()
}

/// The names of the scripts of an extension, without their suffix.
fn scripts(extension: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join("sql")).expect("sql/ is there");
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let prefix = format!("{extension}--");
    names
        .filter_map(|name| Some(name.strip_prefix(&prefix)?.strip_suffix(".sql")?.to_owned()))
        .collect()
}

/// The one install script is of this version, and its first line names it.
fn assert_installs(extension: &str, version: &str) {
    let mut scripts = scripts(extension);
    scripts.retain(|script| !script.contains("--"));
    assert_eq!(scripts, [version], "install scripts of {extension}");
    let install = text(&format!("sql/{extension}--{version}.sql"));
    let title = format!("-- {extension} {version}:");
    assert!(install.starts_with(&title), "the install script begins with {title}");
}

#[test]
fn the_control_file_and_the_scripts_have_the_version_of_the_workspace() {
    assert_eq!(default_version("pgmig_extras.control"), VERSION);
    assert_installs("pgmig_extras", VERSION);
}

#[test]
fn the_library_installs_the_script_of_its_version_and_reports_it() {
    let library = text("src/lib.rs");
    assert!(library.contains(&format!("\"../sql/pgmig_extras--{VERSION}.sql\"")));
    let (_, magic) = library.split_once("pg_module_magic!(").expect("the magic block is there");
    let (magic, _) = magic.split_once(");").expect("the macro call ends");
    let is_written = magic.contains(&format!("version = c\"{VERSION}\""));
    assert!(is_written || magic.contains("CARGO_PKG_VERSION"), "{magic}");
}

#[test]
fn the_changelog_begins_with_the_version() {
    let changelog = text("CHANGELOG.md");
    let heading = changelog.lines().find(|line| line.starts_with("## ")).unwrap_or_default();
    let version = heading.trim_start_matches("## ").split(' ').next();
    assert_eq!(version, Some(VERSION), "{heading}");
}

#[test]
fn aiven_extras_has_one_version_of_its_own() {
    let version = default_version("sql/aiven_extras.control");
    assert_installs("aiven_extras", &version);
    let upgrades = scripts("aiven_extras").into_iter().filter(|script| script.contains("--"));
    let others: Vec<_> = upgrades.filter(|upgrade| !upgrade.ends_with(&version)).collect();
    assert!(others.is_empty(), "upgrades from the original to another version: {others:?}");
    let documented = text("docs/aiven_extras.md");
    assert!(documented.contains(&version), "docs/aiven_extras.md names {version}");
}
