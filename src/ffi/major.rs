//! What this server has or does by its major. Each such fact is decided here, for every major.

/// The major version of the server that this library is built for.
pub const MAJOR: u16 = pgrx::pg_sys::PG_MAJORVERSION_NUM as u16;

const _: () = assert!(
    matches!(MAJOR, 13..=18),
    "a new major: compare each constant of this file with its sources, then add it to the range"
);

/// Logical slots can be made for two-phase commit.
pub const SLOTS_HAVE_TWO_PHASE: bool = MAJOR >= 14;

/// pg_stat_progress_copy.
pub const COPY_SHOWS_PROGRESS: bool = MAJOR >= 14;

/// Apply workers check the table privileges of the subscription's owner (15), and change to the
/// tables' owners (16).
pub const APPLY_CHECKS_PRIVILEGES: bool = MAJOR >= 15;

/// Publications may have column lists and row filters.
pub const PUBLICATIONS_HAVE_LISTS_AND_FILTERS: bool = MAJOR >= 15;

/// Ordinary roles may own subscriptions by `ALTER SUBSCRIPTION … OWNER TO`.
pub const ORDINARY_ROLES_TAKE_SUBSCRIPTIONS: bool = MAJOR >= 16;

/// Ordinary roles can own subscriptions, but the server does not check what they change about them.
pub const SUBSCRIPTIONS_NEED_GUARD: bool =
    APPLY_CHECKS_PRIVILEGES && !ORDINARY_ROLES_TAKE_SUBSCRIPTIONS;

/// The option `password_required` of subscriptions.
pub const SUBSCRIPTIONS_HAVE_PASSWORD_REQUIRED: bool = MAJOR >= 16;

/// The option `origin` of subscriptions.
pub const SUBSCRIPTIONS_HAVE_ORIGIN: bool = MAJOR >= 16;

/// CREATEROLE is the right to alter every role that is not a superuser.
pub const CREATEROLE_ADMINISTERS_ALL: bool = MAJOR < 16;

/// libpq's parameters `sslcertmode` and `require_auth`.
pub const LIBPQ_HAS_REQUIRE_AUTH: bool = MAJOR >= 16;

/// Publications may have stored generated columns, and the initial copy of a table takes them.
pub const GENERATED_COLUMNS_REPLICATE: bool = MAJOR >= 18;
