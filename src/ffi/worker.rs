//! Background workers: registration, start, transactions. Called by `watcher/`.

use std::ffi::{CStr, c_char};

use pgrx::pg_sys::{self, Datum, Oid};

/// BOOTSTRAP_SUPERUSERID (pg_authid.h).
const BOOTSTRAP_SUPERUSER: Oid = Oid::from_u32(10);

/// Whether `_PG_init` runs in the postmaster, from shared_preload_libraries.
pub fn is_preloading() -> bool {
    // SAFETY: reads a variable of this process.
    unsafe { pg_sys::process_shared_preload_libraries_in_progress }
}

/// Whether pg_upgrade runs this server: nobody else may be in its databases then.
pub fn is_upgrading() -> bool {
    // SAFETY: reads a variable of this process.
    unsafe { pg_sys::IsBinaryUpgrade }
}

/// A worker as it is registered.
pub struct Worker {
    pub name: String,
    pub kind: &'static str,
    /// The exported `extern "C-unwind"` function it starts in.
    pub function: &'static str,
    pub argument: Datum,
}

impl Worker {
    fn describe(&self, restart_seconds: i32) -> pg_sys::BackgroundWorker {
        let mut worker = pg_sys::BackgroundWorker {
            bgw_flags: (pg_sys::BGWORKER_SHMEM_ACCESS
                | pg_sys::BGWORKER_BACKEND_DATABASE_CONNECTION) as i32,
            bgw_start_time: pg_sys::BgWorkerStartTime::BgWorkerStart_ConsistentState,
            bgw_restart_time: restart_seconds,
            bgw_main_arg: self.argument,
            ..Default::default()
        };
        put(&mut worker.bgw_name, &self.name);
        put(&mut worker.bgw_type, self.kind);
        put(&mut worker.bgw_library_name, "pgmig_extras");
        put(&mut worker.bgw_function_name, self.function);
        worker
    }

    /// Registers a worker that the postmaster starts, and starts again when it ends.
    pub fn register(&self, restart_seconds: i32) {
        let mut worker = self.describe(restart_seconds);
        // SAFETY: a filled-in description, copied by the callee.
        unsafe { pg_sys::RegisterBackgroundWorker(&mut worker) }
    }

    /// Starts a worker that runs once. False when all max_worker_processes are in use.
    pub fn start(&self) -> bool {
        let mut worker = self.describe(pg_sys::BGW_NEVER_RESTART);
        // SAFETY: a filled-in description, copied by the callee; no handle is asked for.
        unsafe { pg_sys::RegisterDynamicBackgroundWorker(&mut worker, std::ptr::null_mut()) }
    }
}

fn put<const N: usize>(field: &mut [c_char; N], text: &str) {
    for (to, from) in field[..N - 1].iter_mut().zip(text.bytes()) {
        *to = from as c_char;
    }
}

/// Installs PostgreSQL's own signal handlers: SIGTERM interrupts whatever is being done at the next
/// check, SIGHUP asks for the configuration to be read again.
pub fn handle_signals() {
    type Handler = unsafe extern "C-unwind" fn(std::ffi::c_int);
    unsafe extern "C-unwind" {
        // Not pgrx's wrappers: what is handed to the kernel must be the server's functions.
        fn die(signal: std::ffi::c_int);
        fn SignalHandlerForConfigReload(signal: std::ffi::c_int);
        #[cfg(any(
            feature = "pg13",
            feature = "pg14",
            feature = "pg15",
            feature = "pg16",
            feature = "pg17"
        ))]
        #[link_name = "pqsignal"]
        fn set_handler(signal: std::ffi::c_int, handler: Handler) -> Option<Handler>;
        #[cfg(feature = "pg18")]
        #[link_name = "pqsignal_be"]
        fn set_handler(signal: std::ffi::c_int, handler: Handler);
    }
    // SAFETY: the handler that background workers of the server use.
    unsafe { set_handler(libc::SIGTERM, die) };
    // SAFETY: as above.
    unsafe { set_handler(libc::SIGHUP, SignalHandlerForConfigReload) };
    // SAFETY: handlers are in place.
    unsafe { pg_sys::BackgroundWorkerUnblockSignals() };
}

/// Reads the configuration again if SIGHUP asked for it.
pub fn reload_configuration() {
    let pending = &raw mut pg_sys::ConfigReloadPending;
    // SAFETY: a flag of this process that its signal handler sets.
    if unsafe { pending.read_volatile() } == 0 {
        return;
    }
    // SAFETY: as above.
    unsafe { pending.write_volatile(0) };
    // SAFETY: outside a transaction, as workers of the server do.
    unsafe { pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP) };
}

/// How long launcher and watchers wait for a lock, in milliseconds. Then they end with an ERROR and
/// are started again some seconds later.
const LOCK_TIMEOUT: &CStr = c"1000";

/// Only a process that the postmaster started as one of our workers has this.
fn require_worker() {
    // SAFETY: reads a variable of this process.
    assert!(!unsafe { pg_sys::MyBgworkerEntry }.is_null(), "this process is no background worker");
}

/// Also before this process is connected: that reads catalogs, too. Stands over what the database and
/// the role set.
fn bound_lock_waits() {
    super::settings::override_for_process(c"lock_timeout", LOCK_TIMEOUT);
}

/// Connects to the shared catalogs only.
pub fn connect_to_shared_catalogs() {
    require_worker();
    bound_lock_waits();
    // SAFETY: once per worker, with signals unblocked.
    unsafe { pg_sys::BackgroundWorkerInitializeConnection(std::ptr::null(), std::ptr::null(), 0) }
    stand_apart();
}

/// Connects to a database as the bootstrap superuser. Ends the worker if the database is gone.
pub fn connect_to_database(database: Oid) {
    require_worker();
    bound_lock_waits();
    // SAFETY: once per worker, with signals unblocked.
    unsafe { pg_sys::BackgroundWorkerInitializeConnectionByOid(database, Oid::INVALID, 0) };
    stand_apart();
    be_the_bootstrap_superuser();
}

/// A database may set session_authorization to its owner, who owns nothing that is done here. Names of
/// roles are looked up in a transaction; role comes last, since it falls back to the session's.
fn be_the_bootstrap_superuser() {
    transaction(|| {
        // SAFETY: in a transaction; a palloc'd C string, or raises.
        let name = unsafe { pg_sys::GetUserNameFromId(BOOTSTRAP_SUPERUSER, false) };
        // SAFETY: as above, valid until the transaction ends.
        let name = unsafe { CStr::from_ptr(name) };
        super::settings::override_for_process(c"session_authorization", name);
    });
    super::settings::override_for_process(c"role", c"none");
}

/// Parameters for `stand_apart` that not every major has.
#[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15", feature = "pg16"))]
const PARAMETERS_OF_THIS_MAJOR: &[(&CStr, &CStr)] = &[];
#[cfg(any(feature = "pg17", feature = "pg18"))]
const PARAMETERS_OF_THIS_MAJOR: &[(&CStr, &CStr)] = &[(c"transaction_timeout", c"0")];

/// What the server, the database or the role sets does not bind this worker: the database's owner
/// must not lend it names, a timeout must not end it, its statements mean what they say and are not
/// logged, and its NOTIFY waits for no standby. Left out are parameters that change how fast a
/// statement runs or how a value is shown to a client.
fn stand_apart() {
    const PARAMETERS: &[(&CStr, &CStr)] = &[
        (c"search_path", c"pg_catalog, pg_temp"),
        (c"statement_timeout", c"0"),
        (c"idle_in_transaction_session_timeout", c"0"),
        (c"default_transaction_isolation", c"read committed"),
        (c"default_transaction_read_only", c"off"),
        (c"default_transaction_deferrable", c"off"),
        (c"exit_on_error", c"off"),
        (c"row_security", c"on"),
        (c"standard_conforming_strings", c"on"),
        (c"transform_null_equals", c"off"),
        (c"array_nulls", c"on"),
        (c"quote_all_identifiers", c"off"),
        (c"debug_print_parse", c"off"),
        (c"debug_print_rewritten", c"off"),
        (c"debug_print_plan", c"off"),
        (c"synchronous_commit", c"off"),
        // Estimates of what functions return are high enough to make it worth while, once a second.
        (c"jit", c"off"),
        (c"max_parallel_workers_per_gather", c"0"),
    ];
    for (name, value) in PARAMETERS.iter().chain(PARAMETERS_OF_THIS_MAJOR) {
        super::settings::override_for_process(name, value);
    }
}

/// Runs `work` in a transaction. An ERROR in it ends the worker, and with it the transaction.
pub fn transaction<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: reads the transaction state.
    assert!(!unsafe { pg_sys::IsTransactionState() }, "a transaction is running already");
    report_state(pg_sys::BackendState::STATE_RUNNING);
    // SAFETY: outside any transaction.
    unsafe { pg_sys::SetCurrentStatementStartTimestamp() };
    // SAFETY: as above.
    unsafe { pg_sys::StartTransactionCommand() };
    // SAFETY: in the transaction that was just started.
    let snapshot = unsafe { pg_sys::GetTransactionSnapshot() };
    // SAFETY: as above.
    unsafe { pg_sys::PushActiveSnapshot(snapshot) };
    let value = work();
    // SAFETY: pops what was pushed.
    unsafe { pg_sys::PopActiveSnapshot() };
    // SAFETY: ends the transaction that was started above.
    unsafe { pg_sys::CommitTransactionCommand() };
    // SAFETY: outside any transaction; sends what has been counted, at most once a second.
    unsafe { pg_sys::pgstat_report_stat(false) };
    report_state(pg_sys::BackendState::STATE_IDLE);
    value
}

/// For pg_stat_activity, which would show no state otherwise.
fn report_state(state: pg_sys::BackendState::Type) {
    // SAFETY: no text is given.
    unsafe { pg_sys::pgstat_report_activity(state, std::ptr::null()) }
}

pub fn in_recovery() -> bool {
    // SAFETY: reads shared memory.
    unsafe { pg_sys::RecoveryInProgress() }
}

pub fn my_pid() -> i32 {
    // SAFETY: reads a variable of this process.
    unsafe { pg_sys::MyProcPid }
}

/// Ends what a process of this server waits for.
pub fn wake(pid: i32) {
    // SAFETY: looks through shared memory under a lock that it takes and releases.
    let process = unsafe { pg_sys::BackendPidGetProc(pid) };
    if process.is_null() {
        return;
    }
    // SAFETY: places of processes stay in shared memory; this one may be another's by now.
    let latch = unsafe { &raw mut (*process).procLatch };
    // SAFETY: a latch in shared memory; one that is set for nothing harms nobody.
    unsafe { pg_sys::SetLatch(latch) }
}

/// Runs a function at the end of this process, be it orderly or not. It may take our lock, which is
/// never held where anything could raise.
pub fn at_exit(work: extern "C-unwind" fn(i32, Datum)) {
    // SAFETY: a static function without an argument of its own.
    unsafe { pg_sys::before_shmem_exit(Some(work), Datum::null()) }
}

/// How many workers this server has for others than core's own launcher, workers of subscriptions, and
/// our launcher. Both settings are fixed at its start.
pub fn workers_to_spare() -> usize {
    unsafe extern "C" {
        // replication/logicallauncher.h
        static max_logical_replication_workers: std::ffi::c_int;
    }
    // SAFETY: reads a variable of the configuration.
    let all = unsafe { pg_sys::max_worker_processes };
    // SAFETY: as above.
    let of_subscriptions = unsafe { max_logical_replication_workers };
    usize::try_from(all - of_subscriptions - 2).unwrap_or(0)
}
