//! The list `pgmig_extras.allowed_hosts`. An entry is a host name, an address, a range of
//! addresses, a socket directory, or a directory with all directories below it (with a slash at its
//! end).

use std::net::IpAddr;
use std::path::{Component, Path};

use ipnet::IpNet;

/// Whether the list allows `target`: the host, address or socket directory that libpq connects to.
///
/// A range contains addresses only, never names. The address of a name is not known before the
/// connection is made, and it may be another one at the next connection.
pub fn lists(entries: &[String], target: &str, port: &str) -> bool {
    let address = target.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    entries.iter().any(|entry| {
        entry.eq_ignore_ascii_case(target)
            || address.is_some_and(|address| has_address(entry, address))
            || is_tree(entry) && is_socket_below(Path::new(target), Path::new(entry), port)
    })
}

/// Whether the list contains ranges. If it does, a connection string may have to give an address
/// besides the name.
pub fn has_ranges(entries: &[String]) -> bool {
    entries.iter().any(|entry| entry.parse::<IpNet>().is_ok())
}

fn has_address(entry: &str, address: IpAddr) -> bool {
    match (entry.parse::<IpNet>(), entry.parse::<IpAddr>()) {
        (Ok(range), _) => range.contains(&address),
        (_, Ok(listed)) => listed.to_canonical() == address,
        _ => false,
    }
}

/// An entry `/` is only the root directory itself: nobody means to allow every directory.
fn is_tree(entry: &str) -> bool {
    entry.starts_with('/') && !entry.trim_end_matches('/').is_empty() && entry.ends_with('/')
}

/// Whether a socket in `directory` lies in `tree` or below it, by its name and after following
/// links. A path that does not exist has no links to follow, and connecting to it fails.
fn is_socket_below(directory: &Path, tree: &Path, port: &str) -> bool {
    let is_plain = |part: Component| matches!(part, Component::RootDir | Component::Normal(_));
    if !directory.components().all(is_plain) || !directory.starts_with(tree) {
        return false;
    }
    let Ok(tree) = tree.canonicalize() else { return true };
    let socket = directory.join(format!(".s.PGSQL.{port}"));
    [directory, &socket].into_iter().all(|path| match path.canonicalize() {
        Ok(resolved) => resolved.starts_with(&tree),
        Err(_) => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(entries: &[&str], target: &str) -> bool {
        let entries: Vec<_> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        lists(&entries, target, "5432")
    }

    #[test]
    fn a_range_contains_addresses_of_its_own_family() {
        let entries = ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"];
        for inside in [
            "10.0.0.0",
            "10.255.255.255",
            "::ffff:10.1.2.3",
            "192.0.2.7",
            "2001:db8:1::1",
            "2001:DB8::",
        ] {
            assert!(has(&entries, inside), "{inside}");
        }
        for outside in ["9.255.255.255", "11.0.0.0", "192.0.2.8", "2001:db9::1", "::ffff:11.0.0.1"]
        {
            assert!(!has(&entries, outside), "{outside}");
        }
        // IPv4 addresses written as IPv6 addresses belong to no IPv6 range.
        assert!(has(&["::/0"], "::1") && !has(&["::/0"], "::ffff:127.0.0.1"));
        assert!(has(&["10.1.2.3/8"], "10.0.0.1"));
    }

    #[test]
    fn a_range_contains_no_names() {
        let everything = ["0.0.0.0/0", "::/0"];
        // getaddrinfo would take the last ones as addresses.
        for name in ["db.example", "localhost", "", "10.1", "0x0a000001", "167772161", "10.0.0.01"]
        {
            assert!(!has(&everything, name), "{name}");
        }
        assert!(has(&["0.0.0.0/0", "db.example"], "DB.example"));
    }

    #[test]
    fn an_address_is_the_same_in_every_spelling() {
        assert!(has(&["::1"], "0:0:0:0:0:0:0:1") && has(&["10.0.0.1"], "::ffff:10.0.0.1"));
    }

    #[test]
    fn an_invalid_range_allows_nothing() {
        for entry in ["10.0.0.0/33", "10.0.0.0/-1", "10.0/8", "10.0.0.0/", "/8", "db.example/24"] {
            assert!(!has(&[entry], "10.0.0.0"), "{entry}");
        }
    }

    #[test]
    fn a_directory_with_a_slash_includes_the_directories_below_it() {
        for inside in ["/run/source", "/run/source/", "/run/source/a", "/run/source/a/b/"] {
            assert!(has(&["/run/source/"], inside), "{inside}");
        }
        for outside in [
            "/run",
            "/run/sourcery",
            "/run/source/../target",
            "/run/source/a/../../target",
            "run/source/a",
            "@/run/source/a",
        ] {
            assert!(!has(&["/run/source/"], outside), "{outside}");
        }
        assert!(!has(&["/run/source"], "/run/source/a"));
        assert!(!has(&["/", "//"], "/tmp"));
    }

    #[test]
    fn a_link_that_leads_out_of_the_directory_is_refused() {
        let folder = std::env::temp_dir().join(format!("pgmig_hosts_{}", std::process::id()));
        let tree = folder.join("tree");
        for made in ["tree/real", "tree/trap", "elsewhere"] {
            std::fs::create_dir_all(folder.join(made)).unwrap();
        }
        std::fs::write(folder.join("elsewhere/.s.PGSQL.5432"), "").unwrap();
        let link = |from: &str, to: &str| {
            std::os::unix::fs::symlink(folder.join(from), folder.join(to)).unwrap();
        };
        link("elsewhere", "tree/out");
        link("tree/real", "tree/in");
        link("elsewhere/.s.PGSQL.5432", "tree/trap/.s.PGSQL.5432");
        let entry = format!("{}/", tree.display());
        let allowed = |name: &str| has(&[&entry], &tree.join(name).display().to_string());
        assert!(allowed("real") && allowed("in") && allowed("not/there"));
        assert!(!allowed("out") && !allowed("trap"));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
