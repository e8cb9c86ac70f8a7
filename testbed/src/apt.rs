//! Debian's packages: missing ones are installed, those of other suites only unpacked.
//!
//! A package of another suite comes through a private apt configuration (own sources, own lists,
//! own status file), so that nothing on the machine changes. Its mirror is the machine's own.

use crate::command::{self, run};
use crate::workspace;
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Installs `package` unless `program` can be found already.
pub fn require(program: &str, package: &str) -> Result<()> {
    require_that(|| command::find(program).is_some(), package)
}

/// Installs `package` unless what is wanted of it is there already.
pub fn require_that(is_there: impl Fn() -> bool, package: &str) -> Result<()> {
    if is_there() {
        return Ok(());
    }
    ensure!(
        command::find("apt-get").is_some(),
        "{package} is missing and this machine has no apt-get: install it by hand, then run this again"
    );
    let _lock = workspace::lock("apt")?;
    if !is_there() {
        update_once()?;
        run(privileged("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args([
            "install",
            "--quiet",
            "--yes",
            "--no-install-recommends",
            package,
        ]))?;
    }
    ensure!(is_there(), "{package} was installed, yet what is needed of it is not to be found");
    Ok(())
}

fn update_once() -> Result<()> {
    static UPDATED: OnceLock<()> = OnceLock::new();
    if UPDATED.get().is_none() {
        run(privileged("apt-get").args(["update", "--quiet"]))?;
        let _ = UPDATED.set(());
    }
    Ok(())
}

/// The program as root: as it is, or through sudo.
pub fn privileged(program: &str) -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg("--preserve-env=DEBIAN_FRONTEND").arg(program);
    command
}

/// Downloads a package of Debian's `suite` and unpacks it into `into`, without installing it.
pub fn unpack(suite: &str, package: &str, into: &Path) -> Result<()> {
    let apt = PrivateApt::new(suite)?;
    run(apt.get().args(["update", "--quiet"]))?;
    run(apt.get().args(["download", package]).current_dir(apt.dir.path()))?;
    let deb = fs::read_dir(apt.dir.path())?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<PathBuf>>>()?
        .into_iter()
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .with_context(|| format!("apt-get downloaded no package {package}"))?;
    run(Command::new("dpkg-deb").arg("--extract").arg(deb).arg(into))
}

struct PrivateApt {
    dir: tempfile::TempDir,
}

impl PrivateApt {
    fn new(suite: &str) -> Result<PrivateApt> {
        let dir = tempfile::tempdir_in(workspace::pg_dir())?;
        let source = mirror()?;
        let signed_by = source.signed_by.map_or(String::new(), |key| format!("[signed-by={key}] "));
        let line = format!("deb {signed_by}{} {suite} main\n", source.uri);
        fs::write(dir.path().join("sources.list"), line)?;
        fs::write(dir.path().join("status"), "")?;
        for folder in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(dir.path().join(folder))?;
        }
        fs::write(dir.path().join("apt.conf"), configuration(dir.path()))?;
        Ok(PrivateApt { dir })
    }

    fn get(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.arg("--config-file").arg(self.dir.path().join("apt.conf"));
        command
    }
}

/// Hooks of the machine's own configuration would work on its own cache. As root apt would download
/// under the account _apt, which may not write here. Desktop metadata and translations are half of
/// a suite's lists, and of no use here.
fn configuration(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "#clear APT::Update;\n\
         Dir::Etc::sourcelist \"{dir}/sources.list\";\n\
         Dir::Etc::sourceparts \"/dev/null\";\n\
         Dir::Etc::preferences \"/dev/null\";\n\
         Dir::Etc::preferencesparts \"/dev/null\";\n\
         Dir::State::lists \"{dir}/lists\";\n\
         Dir::State::status \"{dir}/status\";\n\
         Dir::Cache \"{dir}/cache\";\n\
         APT::Sandbox::User \"root\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n"
    )
}

/// One archive that the machine takes packages from.
#[derive(Debug, PartialEq)]
struct Source {
    uri: String,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: Option<String>,
}

/// The machine's own source of Debian's main archive.
fn mirror() -> Result<Source> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim_matches('"').to_owned())
    };
    if field("ID").as_deref() != Some("debian") {
        bail!("this machine is not Debian, so packages of Debian's suites cannot be used");
    }
    let codename = field("VERSION_CODENAME").context("/etc/os-release names no codename")?;
    machine_sources()
        .into_iter()
        .find(|source| {
            source.uri.starts_with("http")
                && source.suites.contains(&codename)
                && source.components.iter().any(|component| component == "main")
        })
        .with_context(|| format!("apt's sources on this machine name no mirror of {codename} main"))
}

fn machine_sources() -> Vec<Source> {
    let apt = Path::new("/etc/apt");
    let listed = fs::read_dir(apt.join("sources.list.d")).into_iter().flatten().flatten();
    let files = listed.map(|entry| entry.path()).chain([apt.join("sources.list")]);
    files
        .flat_map(|file| {
            let text = fs::read_to_string(&file).unwrap_or_default();
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("list") => one_line_sources(&text),
                Some("sources") => deb822_sources(&text),
                _ => Vec::new(),
            }
        })
        .collect()
}

/// `deb [signed-by=…] URI SUITE COMPONENT…`, as in sources.list.
fn one_line_sources(text: &str) -> Vec<Source> {
    text.lines().filter_map(one_line_source).collect()
}

fn one_line_source(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim().strip_prefix("deb ")?.trim_start();
    let (options, rest) = match line.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => ("", line),
    };
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Source {
        uri: words.next()?,
        suites: vec![words.next()?],
        components: words.collect(),
        signed_by: options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="))
            .map(str::to_owned),
    })
}

/// Stanzas of `Types:`, `URIs:`, `Suites:`, `Components:`, `Signed-By:`, as in *.sources.
fn deb822_sources(text: &str) -> Vec<Source> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines.split(|line| line.trim().is_empty()).flat_map(deb822_source).collect()
}

fn deb822_source(stanza: &[&str]) -> Option<Source> {
    let fields: BTreeMap<String, Vec<String>> = stanza
        .iter()
        .filter(|line| !line.starts_with([' ', '\t']))
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| {
            (name.to_lowercase(), value.split_whitespace().map(str::to_owned).collect())
        })
        .collect();
    let words = |name: &str| fields.get(name).cloned().unwrap_or_default();
    let enabled = words("enabled").first().is_none_or(|value| value == "yes");
    if !enabled || !words("types").iter().any(|kind| kind == "deb") {
        return None;
    }
    Some(Source {
        uri: words("uris").into_iter().next()?,
        suites: words("suites"),
        components: words("components"),
        // A key may also stand in the stanza itself, on continuation lines.
        signed_by: words("signed-by").into_iter().next().filter(|key| key.starts_with('/')),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn one_line_sources_are_read_with_and_without_options() {
        let text = "# deb http://old.example/debian buster main\n\
                    deb http://mirror.example/debian bookworm main contrib # ours\n\
                    deb-src http://mirror.example/debian bookworm main\n\
                    deb [arch=amd64 signed-by=/keys/d.gpg] http://b.example/debian trixie main\n";
        let plain = Source {
            uri: "http://mirror.example/debian".into(),
            suites: strings(&["bookworm"]),
            components: strings(&["main", "contrib"]),
            signed_by: None,
        };
        let signed = Source {
            uri: "http://b.example/debian".into(),
            suites: strings(&["trixie"]),
            components: strings(&["main"]),
            signed_by: Some("/keys/d.gpg".into()),
        };
        assert_eq!(one_line_sources(text), [plain, signed]);
    }

    #[test]
    fn deb822_stanzas_are_read_and_disabled_or_source_only_ones_are_left_out() {
        let text = "Types: deb deb-src\n\
                    # a remark inside the stanza\n\
                    URIs: http://mirror.example/debian\n\
                    Suites: bookworm bookworm-updates\n\
                    Components: main\n\
                    Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\
                    \n\
                    Types: deb-src\nURIs: http://s.example\nSuites: bookworm\nComponents: main\n\
                    \n\
                    Enabled: no\nTypes: deb\nURIs: http://off.example\nSuites: sid\n";
        let expected = Source {
            uri: "http://mirror.example/debian".into(),
            suites: strings(&["bookworm", "bookworm-updates"]),
            components: strings(&["main"]),
            signed_by: Some("/usr/share/keyrings/debian-archive-keyring.gpg".into()),
        };
        assert_eq!(deb822_sources(text), [expected]);
    }

    #[test]
    fn a_key_written_into_the_stanza_is_not_taken_for_a_file() {
        let text = "Types: deb\nURIs: http://m.example\nSuites: sid\nComponents: main\n\
                    Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEY865UxYJ\n";
        assert_eq!(deb822_sources(text)[0].signed_by, None);
    }
}
