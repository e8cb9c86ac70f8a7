//! The rules for a connection string with which a server connects on behalf of a role that is not a
//! superuser. libpq does the parsing: the caller passes keywords and values. This module checks
//! them and builds the string that is stored.
//!
//! The stored string is complete. Every keyword for which libpq would otherwise use the server's
//! environment or home directory gets a non-empty value, because an empty value does not override
//! them.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result, invalid};
use crate::{hosts, secret};

/// Keywords that a caller may use. Any other keyword is refused, and the error names it.
const ALLOWED: &[&str] = &[
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "fallback_application_name",
    "client_encoding",
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "sslmode",
    "sslrootcert",
    "sslsni",
    "sslcompression",
    "sslnegotiation",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "channel_binding",
    "gssencmode",
    "target_session_attrs",
];

/// Keywords whose values everyone who may see the subscription may see. A keyword that is not
/// listed, such as one of a later libpq, is shown masked.
const HARMLESS: &[&str] = &[
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "application_name",
    "fallback_application_name",
    "client_encoding",
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "replication",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslcertmode",
    "sslcrl",
    "sslcrldir",
    "sslsni",
    "sslcompression",
    "sslnegotiation",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "min_protocol_version",
    "max_protocol_version",
    "channel_binding",
    "require_auth",
    "requirepeer",
    "passfile",
    "service",
    "gssencmode",
    "gssdelegation",
    "gsslib",
    "krbsrvname",
    "target_session_attrs",
    "load_balance_hosts",
    "oauth_issuer",
    "oauth_client_id",
    "oauth_scope",
];

/// A path that cannot exist: /dev/null is not a directory, so libpq finds no file below it.
const NO_FILE: &str = "/dev/null/none";
const DEFAULT_PORT: &str = "5432";
/// The same, and marks a string whose address `pin` wrote. No caller may use the keyword.
const NO_FILE_PINNED: &str = "/dev/null/pinned";
const NO_PASSFILE: &str = "/dev/null";
const PASSWORD_METHODS: &str = "password,md5,scram-sha-256";

/// The limits that the platform's owner has set, and what this server supports.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// `pgmig_extras.require_password`.
    pub require_password: bool,
    /// `pgmig_extras.allowed_hosts`, see `hosts`. Empty allows every TCP host.
    pub allowed_hosts: Vec<String>,
    /// `pgmig_extras.ssl_directory` with links resolved. Without it, no root certificate file may
    /// be named.
    pub ssl_directory: Option<PathBuf>,
    /// Whether this server's libpq supports `sslcertmode` and `require_auth` (16 and later).
    pub libpq_16: bool,
    /// Names of the PG* variables in the server's environment.
    pub environment: Vec<String>,
}

/// Who wrote the address of a connection string: the caller, or `pin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Caller,
    Pin,
}

/// Keywords and values. Each keyword occurs once, and no value is empty. Debug output masks the
/// password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Conninfo(Vec<(String, String)>);

impl Conninfo {
    /// Built from the output of libpq's parser. An empty value counts as absent, as in libpq.
    pub fn new(params: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(params.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }

    pub fn get(&self, keyword: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == keyword).map(|(_, value)| value.as_str())
    }

    /// Sets a keyword, replacing the value that it had.
    pub fn set(&mut self, keyword: &str, value: impl Into<String>) {
        self.0.retain(|(key, _)| key != keyword);
        self.0.push((keyword.to_owned(), value.into()));
    }

    fn set_default(&mut self, keyword: &str, value: &str) {
        if self.get(keyword).is_none() {
            self.set(keyword, value);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The string `keyword='value' …` in libpq's syntax.
    pub fn to_text(&self) -> String {
        let quote = |value: &str| value.replace('\\', "\\\\").replace('\'', "\\'");
        let pairs: Vec<_> = self.iter().map(|(k, v)| format!("{k}='{}'", quote(v))).collect();
        pairs.join(" ")
    }

    /// The same string with every value masked that is not known to be harmless.
    pub fn masked(&self) -> String {
        let pairs = self.iter().map(|(keyword, value)| (keyword, value.as_bytes()));
        String::from_utf8_lossy(&masked(pairs)).into_owned()
    }

    /// Whether it names a socket directory and not a TCP host.
    pub fn is_local(&self) -> bool {
        self.get("host").is_some_and(|host| host.starts_with(['/', '@']))
    }

    /// Checks a caller's string against the rules and completes it.
    pub fn checked(self, rules: &Rules) -> Result<Self> {
        self.apply(rules, Origin::Caller)
    }

    fn apply(mut self, rules: &Rules, origin: Origin) -> Result<Self> {
        self.check_keywords(origin)?;
        if origin == Origin::Caller {
            self.unpin(rules);
        }
        self.check_target(rules, origin)?;
        self.check_login(rules)?;
        self.check_tls(rules)?;
        self.check_environment(rules)?;
        self.complete(rules);
        Ok(self)
    }

    /// The same for a stored string, which may be complete already.
    pub fn rechecked(mut self, rules: &Rules) -> Result<Self> {
        let is_pinned = self.get("sslcrl") == Some(NO_FILE_PINNED);
        self.0.retain(|(key, value)| !is_completion(key, value));
        self.apply(rules, if is_pinned { Origin::Pin } else { Origin::Caller })
    }

    /// Stores the address that was connected to besides the host name. Needed before 16, where
    /// libpq cannot be told to insist on the password: whoever can change the name's address could
    /// otherwise direct the apply worker to a server that trusts this one.
    pub fn pin(&mut self, address: &str, rules: &Rules) {
        let is_name = self.get("host").is_some_and(|host| host.parse::<IpAddr>().is_err());
        let is_open = self.get("hostaddr").is_none() && !address.is_empty();
        if !rules.libpq_16 && is_name && !self.is_local() && is_open {
            self.set("hostaddr", address);
            self.set("sslcrl", NO_FILE_PINNED);
        }
    }

    /// Removes the address that `pin` wrote if the caller passes a string from a list of
    /// subscriptions. The listed name is then resolved and pinned again. `complete` overwrites
    /// sslcrl, and with it the marker.
    fn unpin(&mut self, rules: &Rules) {
        let is_listed = |target: Option<&str>| target.is_some_and(|it| self.is_listed(it, rules));
        let is_ours = !rules.libpq_16 && self.get("sslcrl") == Some(NO_FILE_PINNED);
        if is_ours && is_listed(self.get("host")) && !is_listed(self.get("hostaddr")) {
            self.0.retain(|(keyword, _)| keyword != "hostaddr");
        }
    }

    /// Whether the password is the mask that a list of subscriptions shows.
    pub fn has_masked_password(&self) -> bool {
        self.get("password").is_some_and(|password| password.as_bytes() == secret::MASK)
    }

    /// Whether the platform's owner has listed the host of a checked string. Only then may the
    /// caller learn why a connection fails. If any host may be named, the causes would reveal which
    /// ports are open on every machine that this server can reach.
    pub fn is_named(&self, rules: &Rules) -> bool {
        !rules.allowed_hosts.is_empty() && self.check_target(rules, Origin::Pin).is_ok()
    }

    fn check_keywords(&self, origin: Origin) -> Result<()> {
        for (keyword, value) in self.iter() {
            if origin == Origin::Caller && is_completion(keyword, value) {
                continue; // a list of subscriptions shows it
            }
            if !ALLOWED.contains(&keyword) {
                return Err(refused(keyword)
                    .hint(format!("Remove it. Allowed are: {}.", ALLOWED.join(", "))));
            }
            if keyword == "gssencmode" && value != "disable" {
                return Err(refused(keyword)
                    .detail("A GSS credential would be this server's own, not yours.")
                    .hint("Remove it or set it to \"disable\"."));
            }
        }
        Ok(())
    }

    fn check_target(&self, rules: &Rules, origin: Origin) -> Result<()> {
        for keyword in ["host", "hostaddr", "port"] {
            if self.get(keyword).is_some_and(|value| value.contains(',')) {
                return Err(invalid(format!(
                    "connection string parameter \"{keyword}\" names several servers"
                ))
                .hint("Name one publisher."));
            }
        }
        let address = self.get("hostaddr");
        if address.is_some_and(|text| text.parse::<IpAddr>().is_err()) {
            return Err(invalid("connection string parameter \"hostaddr\" is not an IP address"));
        }
        if self.get("port").is_some_and(|text| !text.parse::<u16>().is_ok_and(|port| port > 0)) {
            return Err(invalid("connection string parameter \"port\" is not a TCP port")
                .hint("A port is a number from 1 to 65535."));
        }
        // If both are given, libpq connects to hostaddr and uses host only to verify the
        // certificate.
        let Some(target) = address.or(self.get("host")) else {
            return Err(missing("host"));
        };
        let is_listed = |target: &str| self.is_listed(target, rules);
        // An address that `pin` wrote belongs to the listed host. One that a caller wrote must be
        // listed itself, even if it was stored while all hosts were allowed.
        let pinned = self.get("host").filter(|_| origin == Origin::Pin && !rules.libpq_16);
        let listed = is_listed(target) || pinned.is_some_and(is_listed);
        if (self.is_local() || !rules.allowed_hosts.is_empty()) && !listed {
            let what = if self.is_local() { "a unix-domain socket" } else { "this host" };
            return Err(Error::new(
                Kind::InsufficientPrivilege,
                format!("a connection to {what} is not allowed"),
            )
            .hint(allowed_hosts_hint(rules)));
        }
        Ok(())
    }

    fn is_listed(&self, target: &str, rules: &Rules) -> bool {
        hosts::lists(&rules.allowed_hosts, target, self.get("port").unwrap_or(DEFAULT_PORT))
    }

    fn check_login(&self, rules: &Rules) -> Result<()> {
        if self.get("user").is_none() {
            return Err(missing("user"));
        }
        if rules.require_password && self.get("password").is_none() {
            return Err(Error::new(
                Kind::InsufficientPrivilege,
                "the connection string must have a password",
            )
            .detail("Without one the connection could use credentials of this server.")
            .hint("Add password=… of a role on the publisher."));
        }
        Ok(())
    }

    fn check_tls(&self, rules: &Rules) -> Result<()> {
        let verifies = self.get("sslmode").is_some_and(|mode| mode.starts_with("verify-"));
        let Some(file) = self.get("sslrootcert").filter(|file| *file != NO_FILE) else {
            if verifies {
                return Err(missing("sslrootcert")
                    .detail("The certificate would be checked against a file of this server."));
            }
            return Ok(());
        };
        if file == "system" {
            return if rules.libpq_16 {
                Ok(())
            } else {
                Err(Error::new(
                    Kind::FeatureNotSupported,
                    "sslrootcert \"system\" needs PostgreSQL 16 or later on this server",
                ))
            };
        }
        // The message is the same for "no such file" and "not allowed", so it does not tell which
        // files exist.
        let allowed = rules
            .ssl_directory
            .as_deref()
            .is_some_and(|directory| is_file_below(Path::new(file), directory));
        if !allowed {
            return Err(Error::new(
                Kind::InsufficientPrivilege,
                "the file of connection string parameter \"sslrootcert\" is not allowed",
            )
            .hint("A root certificate must be a file in the directory that a superuser names in \"pgmig_extras.ssl_directory\"."));
        }
        Ok(())
    }

    /// Refuses a string to which the server's environment would add something.
    fn check_environment(&self, rules: &Rules) -> Result<()> {
        let unset = |keyword: &str| self.get(keyword).is_none();
        let lends = |name: &str| match name {
            "PGSERVICE" => true,
            "PGHOSTADDR" => unset("hostaddr") && !self.is_local(),
            "PGPASSWORD" => unset("password"),
            _ => false,
        };
        match rules.environment.iter().find(|name| lends(name)) {
            Some(name) => Err(Error::new(
                Kind::ObjectNotInPrerequisiteState,
                format!("the server's environment variable \"{name}\" would change the connection"),
            )
            .hint("Ask a superuser to start the server without it.")),
            None => Ok(()),
        }
    }

    fn complete(&mut self, rules: &Rules) {
        self.set_default("port", DEFAULT_PORT);
        let user = self.get("user").unwrap_or_default().to_owned();
        self.set_default("dbname", &user);
        self.set_default("gssencmode", "disable");
        self.set_default("sslmode", "prefer");
        self.set_default("sslrootcert", NO_FILE);
        self.set("sslcrl", NO_FILE);
        if rules.libpq_16 {
            self.set("sslcertmode", "disable");
        } else {
            self.set("sslcert", NO_FILE);
        }
        if self.get("password").is_none() {
            self.set("passfile", NO_PASSFILE);
        } else if rules.libpq_16 && rules.require_password {
            // The apply worker's libpq then refuses a publisher that does not ask for the password.
            self.set("require_auth", PASSWORD_METHODS);
        }
    }
}

/// The hint for a connection that failed, chosen by the text of libpq or of the publisher. A text
/// in another language gets the general hint.
pub fn advice(cause: &str) -> &'static str {
    const ADVICE: [(&str, &str); 12] = [
        ("password authentication failed", "Check user and password."),
        ("no password supplied", "Add password=… of a role on the publisher."),
        (
            "pg_hba.conf",
            "Add a line for this server, user and database to pg_hba.conf of the publisher, and reload it.",
        ),
        ("replication role", REPLICATION),
        ("to start WAL sender", REPLICATION),
        ("is not permitted to log in", "Run ALTER ROLE … LOGIN on the publisher."),
        (
            "connection slots",
            "Wait until a connection of the publisher is free, or raise its \"max_connections\".",
        ),
        ("max_wal_senders", "Raise \"max_wal_senders\" of the publisher and restart it."),
        ("Connection refused", "Check host and port, and \"listen_addresses\" of the publisher."),
        ("resolve the host name", "Check the host's name."),
        ("database \"", "Check the database's name."),
        ("SSL", "Check the TLS settings: sslmode, sslrootcert, and \"ssl\" of the publisher."),
    ];
    const REPLICATION: &str = "Run ALTER ROLE … REPLICATION on the publisher.";
    ADVICE.iter().find(|(text, _)| cause.contains(text)).map_or(
        "Check host, port, database, user, password, TLS settings, and that the role has REPLICATION \
         and pg_hba.conf lets it in.",
        |(_, advice)| advice,
    )
}

/// Whether a keyword's value may be shown.
pub fn is_harmless(keyword: &str) -> bool {
    HARMLESS.contains(&keyword)
}

/// The string `keyword='value' …` in any encoding, with every value masked that is not known to be
/// harmless. A harmless value may itself be a connection string, as `dbname` may: secrets in it are
/// masked too.
pub fn masked<'a>(params: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut text = Vec::new();
    for (keyword, value) in params.into_iter().filter(|(_, value)| !value.is_empty()) {
        let shown = if is_harmless(keyword) {
            secret::masked(value, secret::Kind::Text, &secret::Known::NOTHING)
        } else {
            secret::MASK.into()
        };
        if !text.is_empty() {
            text.push(b' ');
        }
        text.extend_from_slice(keyword.as_bytes());
        text.extend_from_slice(b"='");
        for byte in shown.iter() {
            if matches!(byte, b'\'' | b'\\') {
                text.push(b'\\');
            }
            text.push(*byte);
        }
        text.push(b'\'');
    }
    text
}

impl fmt::Debug for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

/// Whether `file`, with links followed, is a regular file somewhere below `directory`.
fn is_file_below(file: &Path, directory: &Path) -> bool {
    let resolved = || Some((file.canonicalize().ok()?, directory.canonicalize().ok()?));
    file.is_absolute()
        && resolved().is_some_and(|(file, directory)| file.starts_with(directory) && file.is_file())
}

/// Whether `complete` writes this, for a keyword or a value that a caller may not use.
fn is_completion(keyword: &str, value: &str) -> bool {
    match keyword {
        "sslcrl" => matches!(value, NO_FILE | NO_FILE_PINNED),
        "sslcert" | "sslrootcert" => value == NO_FILE,
        "sslcertmode" => value == "disable",
        "passfile" => value == NO_PASSFILE,
        "require_auth" => value == PASSWORD_METHODS,
        _ => false,
    }
}

fn refused(keyword: &str) -> Error {
    Error::new(
        Kind::InsufficientPrivilege,
        format!("connection string parameter \"{keyword}\" is not allowed"),
    )
}

fn allowed_hosts_hint(rules: &Rules) -> String {
    let list =
        "A superuser lists allowed hosts and socket directories in \"pgmig_extras.allowed_hosts\".";
    if hosts::has_ranges(&rules.allowed_hosts) {
        return format!(
            "{list} It has ranges of addresses: write an address as host, or as hostaddr beside a name."
        );
    }
    list.to_owned()
}

fn missing(keyword: &str) -> Error {
    invalid(format!("connection string parameter \"{keyword}\" is missing"))
        .hint(format!("Add {keyword}=… to the connection string."))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const BASE: &[(&str, &str)] = &[("host", "db.example"), ("user", "app"), ("password", "s3")];

    fn conninfo(params: &[(&str, &str)]) -> Conninfo {
        Conninfo::new(params.iter().map(|(k, v)| (k.to_string(), v.to_string())))
    }

    fn rules() -> Rules {
        Rules { require_password: true, ..Rules::default() }
    }

    fn with(extra: &[(&str, &str)]) -> Conninfo {
        let mut all = conninfo(BASE);
        extra.iter().for_each(|(keyword, value)| all.set(keyword, *value));
        all
    }

    fn refusal(params: &[(&str, &str)], rules: &Rules) -> Kind {
        with(params).checked(rules).expect_err("must be refused").kind
    }

    #[test]
    fn a_plain_string_is_completed() {
        let checked = conninfo(BASE).checked(&rules()).unwrap();
        for (keyword, value) in [
            ("port", "5432"),
            ("dbname", "app"),
            ("sslmode", "prefer"),
            ("gssencmode", "disable"),
            ("sslcert", NO_FILE),
            ("sslrootcert", NO_FILE),
        ] {
            assert_eq!(checked.get(keyword), Some(value));
        }
        assert_eq!(checked.get("require_auth"), None);
    }

    #[test]
    fn libpq_16_enforces_the_password_itself() {
        let checked = conninfo(BASE).checked(&Rules { libpq_16: true, ..rules() }).unwrap();
        assert_eq!(checked.get("require_auth"), Some("password,md5,scram-sha-256"));
        assert_eq!(checked.get("sslcertmode"), Some("disable"));
    }

    #[test]
    fn a_completed_string_passes_the_rules_again_unchanged() {
        let same = |one: &Conninfo, other: &Conninfo| {
            let sorted = |c: &Conninfo| BTreeMap::from_iter(c.0.clone());
            assert_eq!(sorted(one), sorted(other));
        };
        for libpq_16 in [false, true] {
            for (params, require_password) in [(BASE, true), (&BASE[..2], false)] {
                let rules = Rules { libpq_16, require_password, ..Rules::default() };
                let stored = conninfo(params).checked(&rules).unwrap();
                same(&stored.clone().rechecked(&rules).unwrap(), &stored);
            }
        }
        for (keyword, value) in [
            ("sslcert", "/tmp/x"),
            ("passfile", "/tmp/x"),
            ("require_auth", "none"),
            ("host", "/tmp"),
        ] {
            let refused = with(&[(keyword, value)]).rechecked(&rules()).unwrap_err();
            assert_eq!(refused.kind, Kind::InsufficientPrivilege, "{keyword}={value}");
        }
    }

    #[test]
    fn a_caller_may_pass_the_keywords_that_we_add_with_our_values_only() {
        for libpq_16 in [false, true] {
            for (params, require_password) in [(BASE, true), (&BASE[..2], false)] {
                let rules = Rules { libpq_16, require_password, ..Rules::default() };
                let completed = conninfo(params).checked(&rules).unwrap();
                assert_eq!(completed.clone().checked(&rules).unwrap(), completed);
            }
        }
        for (keyword, value) in [
            ("sslcert", "/tmp/x"),
            ("sslcrl", "/dev/null/other"),
            ("sslcertmode", "allow"),
            ("passfile", "/dev/null/none"),
            ("require_auth", "none"),
        ] {
            assert_eq!(refusal(&[(keyword, value)], &rules()), Kind::InsufficientPrivilege);
        }
        let verified = [("sslmode", "verify-full"), ("sslrootcert", NO_FILE)];
        assert_eq!(refusal(&verified, &rules()), Kind::InvalidParameter);
    }

    #[test]
    fn a_masked_password_is_recognized() {
        let masked = with(&[("password", "********")]);
        assert!(masked.has_masked_password() && masked.masked().contains("********"));
        assert!(!with(&[]).has_masked_password() && !conninfo(&BASE[..2]).has_masked_password());
    }

    #[test]
    fn every_dangerous_keyword_is_refused() {
        for keyword in [
            "passfile",
            "service",
            "servicefile",
            "options",
            "krbsrvname",
            "gsslib",
            "gssdelegation",
            "sslcert",
            "sslkey",
            "sslpassword",
            "sslcrl",
            "sslcrldir",
            "sslcertmode",
            "requirepeer",
            "require_auth",
            "replication",
            "load_balance_hosts",
            "sslkeylogfile",
            "oauth_issuer",
            "scram_client_key",
        ] {
            assert_eq!(
                refusal(&[(keyword, "x")], &rules()),
                Kind::InsufficientPrivilege,
                "{keyword}"
            );
        }
        assert_eq!(refusal(&[("gssencmode", "prefer")], &rules()), Kind::InsufficientPrivilege);
    }

    #[test]
    fn one_tcp_host_is_required() {
        for (keyword, value) in [
            ("host", "a,b"),
            ("hostaddr", "127.0.0.1,127.0.0.2"),
            ("port", "5432,5433"),
            ("port", "0"),
            ("port", "65536"),
            ("port", "x"),
            ("hostaddr", "localhost"),
            ("host", ""),
            ("user", ""),
        ] {
            let params = with(&[(keyword, value)]);
            let refused = Conninfo::new(params.0).checked(&rules()).unwrap_err();
            assert_eq!(refused.kind, Kind::InvalidParameter, "{keyword}={value}");
        }
    }

    #[test]
    fn sockets_and_unlisted_hosts_are_refused() {
        for socket in ["/tmp", "@abstract"] {
            assert_eq!(refusal(&[("host", socket)], &rules()), Kind::InsufficientPrivilege);
        }
        let listed = Rules { allowed_hosts: vec!["/tmp".into(), "db.example".into()], ..rules() };
        assert!(with(&[("host", "/tmp")]).checked(&listed).is_ok());
        assert!(with(&[("host", "DB.example")]).checked(&listed).is_ok());
        assert_eq!(refusal(&[("host", "evil")], &listed), Kind::InsufficientPrivilege);
        let ranges = Rules { allowed_hosts: vec!["10.0.0.0/8".into()], ..rules() };
        assert!(with(&[("host", "10.1.2.3")]).checked(&ranges).is_ok());
        assert!(with(&[("hostaddr", "10.1.2.3")]).checked(&ranges).is_ok());
        let name = with(&[]).checked(&ranges).unwrap_err();
        let hint = name.hint.unwrap().into_text(|_| "pgmig_extras");
        assert!(hint.ends_with("or as hostaddr beside a name."));
        // libpq connects to hostaddr, so an allowed name does not cover it.
        assert_eq!(refusal(&[("hostaddr", "10.0.0.1")], &listed), Kind::InsufficientPrivilege);
    }

    #[test]
    fn only_a_listed_host_counts_as_named() {
        let listed = Rules { allowed_hosts: vec!["db.example".into(), "/tmp".into()], ..rules() };
        assert!(!conninfo(BASE).is_named(&rules()));
        assert!(conninfo(BASE).is_named(&listed));
        assert!(with(&[("host", "/tmp")]).is_named(&listed));
        assert!(!with(&[("host", "other")]).is_named(&listed));
        let libpq_16 = Rules { libpq_16: true, ..listed };
        assert!(!with(&[("hostaddr", "10.0.0.1")]).is_named(&libpq_16));
    }

    #[test]
    fn before_16_a_host_name_is_stored_with_the_address_that_was_checked() {
        let pinned = |params: &[(&str, &str)], rules: &Rules| {
            let mut checked = with(params).checked(rules).unwrap();
            checked.pin("10.0.0.1", rules);
            checked
        };
        let old = Rules { allowed_hosts: vec!["db.example".into(), "::1".into()], ..rules() };
        let stored = pinned(&[], &old);
        assert_eq!(stored.get("hostaddr"), Some("10.0.0.1"));
        assert_eq!(stored.clone().rechecked(&old).unwrap().get("hostaddr"), Some("10.0.0.1"));
        // The address in a caller's string is ignored: the allowed name is resolved again.
        assert_eq!(stored.clone().checked(&old).unwrap().get("hostaddr"), None);
        assert!(with(&[("hostaddr", "10.0.0.1")]).checked(&old).is_err());
        let elsewhere = Rules { allowed_hosts: vec!["other".into()], ..rules() };
        assert!(stored.clone().rechecked(&elsewhere).is_err());
        // An address that the caller wrote while all hosts were allowed does not belong to the
        // host.
        let written = pinned(&[("hostaddr", "10.0.0.2")], &rules());
        assert_eq!(written.get("hostaddr"), Some("10.0.0.2"));
        assert!(written.clone().rechecked(&rules()).is_ok());
        assert!(written.rechecked(&old).is_err());
        let new = Rules { libpq_16: true, ..old.clone() };
        assert!(stored.rechecked(&new).is_err());
        assert_eq!(pinned(&[], &new).get("hostaddr"), None);
        assert_eq!(pinned(&[("host", "::1")], &old).get("hostaddr"), None);
        assert_eq!(pinned(&[("hostaddr", "::1")], &old).get("hostaddr"), Some("::1"));
    }

    #[test]
    fn a_password_is_required_unless_switched_off() {
        assert_eq!(
            conninfo(&BASE[..2]).checked(&rules()).unwrap_err().kind,
            Kind::InsufficientPrivilege
        );
        let open = Rules::default();
        let checked = conninfo(&BASE[..2]).checked(&open).unwrap();
        assert_eq!(checked.get("passfile"), Some("/dev/null"));
        let lending = Rules { environment: vec!["PGPASSWORD".into()], ..open };
        assert_eq!(
            conninfo(&BASE[..2]).checked(&lending).unwrap_err().kind,
            Kind::ObjectNotInPrerequisiteState
        );
    }

    #[test]
    fn root_certificates_come_from_the_named_directory_only() {
        let directory = std::env::temp_dir().join(format!("pgmig_core_{}", std::process::id()));
        std::fs::create_dir_all(directory.join("ssl")).unwrap();
        let inside = directory.join("ssl/root.crt");
        let outside = directory.join("root.crt");
        let link = directory.join("ssl/link.crt");
        std::fs::write(&inside, "").unwrap();
        std::fs::write(&outside, "").unwrap();
        std::os::unix::fs::symlink(&outside, &link).unwrap();
        let rules = Rules { ssl_directory: Some(directory.join("ssl")), ..rules() };
        let name = |path: &Path| path.to_str().unwrap().to_owned();

        let inside = name(&inside);
        assert!(
            with(&[("sslmode", "verify-full"), ("sslrootcert", &inside)]).checked(&rules).is_ok()
        );
        for bad in [
            name(&outside),
            name(&link),
            name(&directory.join("ssl/../root.crt")),
            "/etc/passwd".into(),
            "ssl/root.crt".into(),
            "/nonexistent".into(),
        ] {
            assert_eq!(
                refusal(&[("sslrootcert", &bad)], &rules),
                Kind::InsufficientPrivilege,
                "{bad}"
            );
        }
        std::fs::remove_dir_all(&directory).unwrap();

        assert_eq!(refusal(&[("sslmode", "verify-ca")], &rules), Kind::InvalidParameter);
        assert_eq!(refusal(&[("sslrootcert", "system")], &rules), Kind::FeatureNotSupported);
        assert!(
            with(&[("sslrootcert", "system")]).checked(&Rules { libpq_16: true, ..rules }).is_ok()
        );
    }

    #[test]
    fn the_servers_environment_adds_nothing() {
        for name in ["PGSERVICE", "PGHOSTADDR"] {
            let rules = Rules { environment: vec![name.into()], ..rules() };
            assert_eq!(refusal(&[], &rules), Kind::ObjectNotInPrerequisiteState, "{name}");
        }
    }

    #[test]
    fn values_are_quoted_and_secrets_masked() {
        let params = with(&[("password", r"it's \ secret")]);
        assert!(params.to_text().contains(r"password='it\'s \\ secret'"));
        assert!(!format!("{params:?}").contains("secret"));
        assert!(params.masked().contains("password='********'"));
    }

    #[test]
    fn only_what_is_known_to_be_harmless_is_shown() {
        for keyword in [
            "password",
            "sslpassword",
            "oauth_client_secret",
            "scram_client_key",
            "scram_server_key",
            "options",
            "sslkey",
            "a_keyword_of_a_later_libpq",
        ] {
            let masked = with(&[(keyword, "its value")]).masked();
            assert!(masked.contains(&format!("{keyword}='********'")), "{masked}");
            assert!(!masked.contains("its value"), "{masked}");
        }
        for keyword in ALLOWED.iter().filter(|keyword| **keyword != "password") {
            let masked = with(&[(keyword, "it's \\")]).masked();
            assert!(masked.contains(&format!(r"{keyword}='it\'s \\'")), "{masked}");
        }
        let nested = with(&[("dbname", "postgres://u:hidden@h/d?x=1 password='hidden too'")]);
        assert!(!nested.masked().contains("hidden"), "{}", nested.masked());
        assert_eq!(
            masked([("host", &b"\xC6\xFC"[..]), ("password", b"x")]),
            b"host='\xC6\xFC' password='********'"
        );
    }
}
