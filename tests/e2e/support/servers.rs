//! The servers that tests share: a source and a target of each major, started when first asked for
//! and ended with the test process. All of them log as much as they can be told to, so that every
//! test also looks for secrets in the log.

use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

use testbed::{Builder, Cluster, MAJORS, PASSWORD};

/// Roles of every server. `app` owns the source's databases; `operator` migrates on the target;
/// `rival` is an operator too, of other tables; the tables of `victim` are nobody else's.
const ROLES: &str = "
    CREATE ROLE shop;
    CREATE ROLE victim;
    CREATE ROLE app IN ROLE shop REPLICATION;
    CREATE ROLE operator IN ROLE shop;
    CREATE ROLE rival;
    CREATE ROLE stranger;
    CREATE ROLE trusted IN ROLE shop REPLICATION";
const LOGINS: [&str; 5] = ["app", "operator", "rival", "stranger", "trusted"];

/// The publisher of a major that tests share.
pub fn source(major: u16) -> &'static Cluster {
    static SOURCES: LazyLock<BTreeMap<u16, OnceLock<Cluster>>> = LazyLock::new(one_each);
    SOURCES[&major].get_or_init(|| start(major))
}

/// The subscriber of a major that tests share.
pub fn target(major: u16) -> &'static Cluster {
    static TARGETS: LazyLock<BTreeMap<u16, OnceLock<Cluster>>> = LazyLock::new(one_each);
    TARGETS[&major].get_or_init(|| start(major))
}

fn one_each() -> BTreeMap<u16, OnceLock<Cluster>> {
    MAJORS.into_iter().map(|major| (major, OnceLock::new())).collect()
}

/// A server like the shared ones, of one test alone: for what would disturb others.
pub fn start(major: u16) -> Cluster {
    start_with(major, |builder| builder)
}

/// One that differs from the shared ones.
pub fn start_with(major: u16, change: impl FnOnce(Builder) -> Builder) -> Cluster {
    install_extension(major);
    let builder = Cluster::builder(major)
        .preload("auto_explain")
        .config("auto_explain.log_min_duration", 0)
        .config("auto_explain.log_nested_statements", true)
        .config("log_min_duration_statement", 0)
        .config("log_min_error_statement", "error")
        .config("log_error_verbosity", "verbose")
        .config("log_parameter_max_length_on_error", -1)
        .config("max_prepared_transactions", 10)
        .config("max_connections", 200)
        .hba("host all,replication trusted 127.0.0.1/32 trust");
    let cluster = change(builder).start().expect("a server starts");
    create_roles(&cluster);
    cluster
}

/// Without the logging of each statement, which would take most of the time of short ones.
pub fn quiet(builder: Builder) -> Builder {
    builder.config("auto_explain.log_min_duration", -1).config("log_min_duration_statement", -1)
}

/// A target that watches lag every 200 ms.
pub fn start_watching(major: u16, change: impl FnOnce(Builder) -> Builder) -> Cluster {
    start_with(major, |builder| {
        let builder = quiet(builder).preload("pgmig_extras");
        change(builder.config("pgmig_extras.watch_interval", "200ms"))
    })
}

fn create_roles(cluster: &Cluster) {
    let logins: String = LOGINS
        .iter()
        .map(|role| format!(";\nALTER ROLE {role} LOGIN PASSWORD '{PASSWORD}'"))
        .collect();
    // These statements do hold a password; what others are logged must not.
    let sql = format!("SET log_min_duration_statement = -1; {ROLES}{logins}");
    let mut superuser = cluster.superuser("postgres").expect("the superuser can connect");
    superuser.batch_execute(&sql).expect("roles are made");
}

/// Builds and installs the extension, once per major and test process.
fn install_extension(major: u16) {
    static INSTALLED: LazyLock<BTreeMap<u16, OnceLock<()>>> =
        LazyLock::new(|| MAJORS.into_iter().map(|major| (major, OnceLock::new())).collect());
    INSTALLED[&major].get_or_init(|| {
        let install = testbed::majors::prepare(major).expect("the major is there");
        testbed::build::build_and_install(&install, false).expect("the extension builds");
        testbed::build::install_aiven_extras(&install).expect("the other one is there too");
    });
}
