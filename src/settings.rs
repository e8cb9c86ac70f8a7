//! All settings of the extension, with typed getters.

use std::ffi::{CStr, CString};
use std::path::PathBuf;
use std::time::Duration;

use pgmig_core::lag::history::CAPACITY as HISTORY_CAPACITY;
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};

use crate::ffi;

static REQUIRE_PASSWORD: GucSetting<bool> = GucSetting::<bool>::new(true);
static ALLOWED_HOSTS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static SSL_DIRECTORY: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static CONNECT_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(10);
static CATCH_UP_BEFORE_DROP: GucSetting<bool> = GucSetting::<bool>::new(true);
static PUBLISHER_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(60);

static WATCH: GucSetting<bool> = GucSetting::<bool>::new(true);
static NOTIFY_DETAILS: GucSetting<bool> = GucSetting::<bool>::new(false);
static WATCH_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(1000);
static HISTORY_SIZE: GucSetting<i32> = GucSetting::<i32>::new(HISTORY_CAPACITY as i32);
static LAG_WARNING_BYTES: GucSetting<i32> = GucSetting::<i32>::new(-1);
static LAG_WARNING_TIME: GucSetting<i32> = GucSetting::<i32>::new(-1);
static STALL_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(60_000);
static RETAINED_WARNING_BYTES: GucSetting<i32> = GucSetting::<i32>::new(-1);
static MAX_SUBSCRIPTIONS: GucSetting<i32> = GucSetting::<i32>::new(64);

pub fn define() {
    define_connections();
    define_watching();
    define_warnings();
    define_max_subscriptions();
    ffi::settings::reserve_prefix(c"pgmig_extras");
}

fn define_watching() {
    GucRegistry::define_bool_guc(
        c"pgmig_extras.watch",
        c"Watches the lag of subscriptions.",
        c"Needs the library in shared_preload_libraries.",
        &WATCH,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"pgmig_extras.notify_details",
        c"Sends state and figures of a subscription to every role that listens in its database.",
        c"Off: only its oid and the event are sent. Roles that may see more read subscription_lag.",
        &NOTIFY_DETAILS,
        GucContext::Sighup,
        GucFlags::default(),
    );
    define_int(
        c"pgmig_extras.watch_interval",
        c"Time between two observations of a subscription.",
        &WATCH_INTERVAL,
        (100, 60_000),
        GucFlags::UNIT_MS,
    );
    define_int(
        c"pgmig_extras.history_size",
        c"Samples kept of each subscription: the newest as they came, older ones joined.",
        &HISTORY_SIZE,
        (64, HISTORY_CAPACITY as i32),
        GucFlags::default(),
    );
    define_int(
        c"pgmig_extras.stall_timeout",
        c"Time without progress after which a subscription is called stalled.",
        &STALL_TIMEOUT,
        (1000, 86_400_000),
        GucFlags::UNIT_MS,
    );
}

fn define_warnings() {
    define_int(
        c"pgmig_extras.lag_warning_bytes",
        c"Warns when more than this is written on the publisher and not applied; -1 never.",
        &LAG_WARNING_BYTES,
        (-1, i32::MAX),
        GucFlags::UNIT_KB,
    );
    define_int(
        c"pgmig_extras.lag_warning_time",
        c"Warns when a subscription lags by more than this; -1 never.",
        &LAG_WARNING_TIME,
        (-1, i32::MAX),
        GucFlags::UNIT_MS,
    );
    define_int(
        c"pgmig_extras.retained_warning_bytes",
        c"Warns when a slot keeps more WAL than this on the publisher; -1 never.",
        &RETAINED_WARNING_BYTES,
        (-1, i32::MAX),
        GucFlags::UNIT_KB,
    );
}

/// This setting can only be defined during preload, and has no effect otherwise.
fn define_max_subscriptions() {
    if ffi::worker::is_preloading() {
        GucRegistry::define_int_guc(
            c"pgmig_extras.max_subscriptions",
            c"Subscriptions of this cluster that can be watched at once.",
            c"Each takes a fixed amount of shared memory, about 70 kB.",
            &MAX_SUBSCRIPTIONS,
            1,
            10_000,
            GucContext::Postmaster,
            GucFlags::default(),
        );
    }
}

fn define_int(
    name: &'static CStr,
    description: &'static CStr,
    setting: &'static GucSetting<i32>,
    (min, max): (i32, i32),
    unit: GucFlags,
) {
    let context = GucContext::Sighup;
    GucRegistry::define_int_guc(name, description, c"", setting, min, max, context, unit);
}

fn define_connections() {
    GucRegistry::define_bool_guc(
        c"pgmig_extras.require_password",
        c"Requires that a publisher asks for the password of the connection string.",
        c"Off lets a role connect to servers that trust this one, with whatever rights they give it.",
        &REQUIRE_PASSWORD,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_string_guc(
        c"pgmig_extras.allowed_hosts",
        c"Hosts, addresses and socket directories to which connections may go, separated by commas.",
        c"Also ranges such as 10.0.0.0/8, and with a slash at its end a directory with what is below it. \
          Empty allows every TCP host and no socket.",
        &ALLOWED_HOSTS,
        GucContext::Suset,
        GucFlags::SUPERUSER_ONLY,
    );
    GucRegistry::define_string_guc(
        c"pgmig_extras.ssl_directory",
        c"Directory whose files a connection string may name as sslrootcert.",
        c"Empty allows none.",
        &SSL_DIRECTORY,
        GucContext::Suset,
        GucFlags::SUPERUSER_ONLY,
    );
    GucRegistry::define_int_guc(
        c"pgmig_extras.connect_timeout",
        c"Time to wait for a connection to a publisher.",
        c"Covers name resolution, TLS and the login.",
        &CONNECT_TIMEOUT,
        1,
        600,
        GucContext::Userset,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_int_guc(
        c"pgmig_extras.publisher_timeout",
        c"Time to wait for one answer of a publisher.",
        c"A new slot waits for the transactions that are open on the publisher.",
        &PUBLISHER_TIMEOUT,
        1,
        86_400,
        GucContext::Userset,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_bool_guc(
        c"pgmig_extras.catch_up_before_drop",
        c"Lets aiven_extras.pg_drop_subscription() first wait until nothing is missing.",
        c"It waits until tables are copied and what the publisher had at the call is applied.",
        &CATCH_UP_BEFORE_DROP,
        GucContext::Userset,
        GucFlags::default(),
    );
}

pub fn watch() -> bool {
    WATCH.get()
}

pub fn notify_details() -> bool {
    NOTIFY_DETAILS.get()
}

pub fn watch_interval() -> Duration {
    milliseconds(&WATCH_INTERVAL)
}

pub fn max_subscriptions() -> usize {
    MAX_SUBSCRIPTIONS.get().unsigned_abs() as usize
}

/// The settings that the rules of lag use.
pub fn lag() -> pgmig_core::lag::Settings {
    let positive = |setting: &GucSetting<i32>| u64::try_from(setting.get()).ok();
    let bytes = |setting| positive(setting).map(|kilobytes| kilobytes * 1024);
    pgmig_core::lag::Settings {
        interval: watch_interval().as_micros() as u64,
        stall_timeout: milliseconds(&STALL_TIMEOUT).as_micros() as u64,
        lag_warning_bytes: bytes(&LAG_WARNING_BYTES),
        lag_warning_time: positive(&LAG_WARNING_TIME).map(|time| time * 1000),
        retained_warning_bytes: bytes(&RETAINED_WARNING_BYTES),
        history_size: HISTORY_SIZE.get().unsigned_abs() as usize,
    }
}

fn milliseconds(setting: &GucSetting<i32>) -> Duration {
    Duration::from_millis(setting.get().unsigned_abs().into())
}

pub fn require_password() -> bool {
    REQUIRE_PASSWORD.get()
}

pub fn allowed_hosts() -> Vec<String> {
    let list = text(&ALLOWED_HOSTS);
    list.split(',').map(str::trim).filter(|host| !host.is_empty()).map(str::to_owned).collect()
}

pub fn ssl_directory() -> Option<PathBuf> {
    Some(text(&SSL_DIRECTORY)).filter(|path| !path.is_empty()).map(PathBuf::from)
}

pub fn catch_up_before_drop() -> bool {
    CATCH_UP_BEFORE_DROP.get()
}

pub fn connect_timeout() -> Duration {
    seconds(&CONNECT_TIMEOUT)
}

pub fn publisher_timeout() -> Duration {
    seconds(&PUBLISHER_TIMEOUT)
}

/// The timeouts that roles may set for their sessions, and owners for their databases.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Timeouts {
    connect: i32,
    publisher: i32,
}

pub fn timeouts() -> Timeouts {
    Timeouts { connect: CONNECT_TIMEOUT.get(), publisher: PUBLISHER_TIMEOUT.get() }
}

/// Takes these values, which come from a process that no database has set them for.
pub fn take_timeouts(from: Timeouts) {
    let own = timeouts();
    for (name, own, value) in [
        (c"pgmig_extras.connect_timeout", own.connect, from.connect),
        (c"pgmig_extras.publisher_timeout", own.publisher, from.publisher),
    ] {
        if value != 0 && value != own {
            let value = CString::new(value.to_string()).expect("a number has no NUL");
            ffi::settings::override_for_process(name, &value);
        }
    }
}

fn seconds(setting: &GucSetting<i32>) -> Duration {
    Duration::from_secs(setting.get().unsigned_abs().into())
}

fn text(setting: &GucSetting<Option<CString>>) -> String {
    setting.get().map(|value| value.to_string_lossy().into_owned()).unwrap_or_default()
}
