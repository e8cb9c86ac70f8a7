//! Every setting of the extension, with typed getters.

use std::ffi::CString;
use std::path::PathBuf;
use std::time::Duration;

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};

use crate::ffi;

static REQUIRE_PASSWORD: GucSetting<bool> = GucSetting::<bool>::new(true);
static ALLOWED_HOSTS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static SSL_DIRECTORY: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static CONNECT_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(10);
static PUBLISHER_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(60);

pub fn define() {
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
        c"Empty allows every TCP host and no socket.",
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
    ffi::settings::reserve_prefix(c"pgmig_extras");
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

pub fn connect_timeout() -> Duration {
    seconds(&CONNECT_TIMEOUT)
}

pub fn publisher_timeout() -> Duration {
    seconds(&PUBLISHER_TIMEOUT)
}

fn seconds(setting: &GucSetting<i32>) -> Duration {
    Duration::from_secs(setting.get().unsigned_abs().into())
}

fn text(setting: &GucSetting<Option<CString>>) -> String {
    setting.get().map(|value| value.to_string_lossy().into_owned()).unwrap_or_default()
}
