//! What others can see of the running statement: pg_stat_activity, the server log, and what a client
//! receives of the log. Called by `conninfo/secrecy.rs`, `error.rs` and `admin/auto_explain.rs`.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::ffi::{CStr, CString, c_char};
use std::hash::{BuildHasher, RandomState};
use std::ptr::NonNull;

use pgmig_core::error_text::Reported;
use pgmig_core::secret::{self, Head, Kind, Known, Parts};
use pgrx::PgLogLevel;
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::translation::{Catalog, translated};

thread_local! {
    /// The secrets that a statement was given, and the statement's start time. The start time
    /// identifies the statement, so nothing has to be reset at its end.
    static CONCEALED: Cell<(i64, Known)> = const { Cell::new((0, Known::NOTHING)) };
    static MASKED: Cell<Masked> = const { Cell::new(Masked::NONE) };
    static KEY: OnceCell<u64> = const { OnceCell::new() };
    static PLANS_STAY_HERE: Cell<bool> = const { Cell::new(false) };
    static LISTENER: Cell<Option<Listener>> = const { Cell::new(None) };
    static NEXT_HOOK: Cell<pg_sys::emit_log_hook_type> = const { Cell::new(None) };
}

/// A worker of core's for a subscription.
#[derive(Debug, Clone, Copy)]
pub struct SubscriptionWorker {
    pub subscription: u32,
    /// The table that it copies; `None` for one that applies.
    pub table: Option<u32>,
}

/// Functions that get what workers of subscriptions report, at any point: they must neither raise nor
/// allocate.
#[derive(Clone, Copy)]
pub struct Listener {
    pub error: fn(SubscriptionWorker, &Reported),
    /// A WARNING, by its text before it is translated.
    pub warning: fn(SubscriptionWorker, &[u8]),
}

/// From now on secrets are masked in whatever this process logs, and `listener` is told of reports.
pub fn install_log_hook(listener: Listener) {
    LISTENER.set(Some(listener));
    // SAFETY: the previous hook, kept to be called.
    let previous = unsafe { pg_sys::emit_log_hook };
    NEXT_HOOK.set(previous);
    // SAFETY: hooks are set by each backend for itself.
    unsafe { pg_sys::emit_log_hook = Some(redact) };
}

/// From now on, to the end of the session, reports of auto_explain go to the server's log only.
pub fn keep_plans_from_the_client() {
    PLANS_STAY_HERE.set(true);
}

/// While it exists, reports have no CONTEXT. The CONTEXT of a surrounding function would quote its
/// statement, and the server's own would quote the parameters. The log hook does not see a NOTICE that
/// only the client gets.
struct WithoutContext(*mut pg_sys::ErrorContextCallback);

impl WithoutContext {
    fn begin() -> Self {
        // SAFETY: this backend's own stack of callbacks.
        let context = Self(unsafe { pg_sys::error_context_stack });
        // SAFETY: as above; an empty stack is valid.
        unsafe { pg_sys::error_context_stack = std::ptr::null_mut() };
        context
    }
}

impl Drop for WithoutContext {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return; // the ERROR that is on its way has no CONTEXT either; who catches it restores its own
        }
        // SAFETY: the stack as it was when `concealing` was called, which has not returned yet.
        unsafe { pg_sys::error_context_stack = self.0 }
    }
}

/// The secrets that the running statement was given so far.
pub fn known() -> Known {
    let (statement, known) = CONCEALED.get();
    if statement == statement_start() && !known.is_empty() {
        return known;
    }
    Known::new(KEY.with(|key| *key.get_or_init(|| RandomState::new().hash_one(0))))
}

fn statement_start() -> i64 {
    // SAFETY: reads a backend-local variable.
    unsafe { pg_sys::GetCurrentStatementStartTimestamp() }
}

/// Runs `work` without a CONTEXT. From now on, to the end of the running statement, these secrets are
/// known: they are masked in each line of the log, and in pg_stat_activity.
pub fn concealing<R>(known: Known, work: impl FnOnce() -> R) -> R {
    CONCEALED.set((statement_start(), known));
    show_without_secrets(&known);
    let _without_context = WithoutContext::begin();
    work()
}

/// The statement in pg_stat_activity.
fn show_without_secrets(known: &Known) {
    /// A secret that is cut off is not recognized, so more than the shown part is searched.
    const BEYOND: usize = 16 << 10;
    // SAFETY: reads a setting.
    let shown = unsafe { pg_sys::pgstat_track_activity_query_size }.unsigned_abs() as usize;
    let statement = statement();
    let seen = &statement[..statement.len().min(shown + BEYOND)];
    let Cow::Owned(masked) = secret::masked(seen, sql(), known) else { return };
    let Ok(masked) = CString::new(masked) else { return };
    keeping_query_id(|| {
        // SAFETY: a C string that is copied.
        unsafe {
            pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, masked.as_ptr())
        }
    });
}

/// Reporting a statement resets its query identifier.
#[cfg(any(
    feature = "pg14",
    feature = "pg15",
    feature = "pg16",
    feature = "pg17",
    feature = "pg18"
))]
fn keeping_query_id(report: impl FnOnce()) {
    // SAFETY: reads this backend's own entry.
    let identifier = unsafe { pg_sys::pgstat_get_my_query_id() };
    report();
    // SAFETY: writes this backend's own entry.
    unsafe { pg_sys::pgstat_report_query_id(identifier, true) };
}

/// 13 has no query identifier.
#[cfg(feature = "pg13")]
fn keeping_query_id(report: impl FnOnce()) {
    report();
}

/// Masks secrets in a report before the server log and the client get it. EmitErrorReport (elog.c)
/// calls this hook. The report may be about a lack of memory, so this raises nothing, and allocates
/// only in a way that can fail.
#[pg_guard]
unsafe extern "C-unwind" fn redact(edata: *mut pg_sys::ErrorData) {
    // SAFETY: the hook's argument is valid and this process's own for the time of the call.
    let mut report = Report(unsafe { &mut *edata });
    report.mask();
    if report.0.elevel >= PgLogLevel::WARNING as i32
        && let Some(listener) = LISTENER.get()
        && let Some(worker) = subscription_worker()
    {
        tell(listener, worker, &report);
    }
    if PLANS_STAY_HERE.get() && report.filename().ends_with(b"auto_explain.c") {
        report.0.output_to_client = false;
    }
    if let Some(next) = NEXT_HOOK.get() {
        // SAFETY: the hook that was installed before this one, with its own argument.
        unsafe { next(edata) }
    }
}

/// Finds out which parts of a text can hold secrets.
type PartsOf = fn(&[u8]) -> Parts;

/// A report that is being emitted. Only the hook makes one, of the server's own.
struct Report<'a>(&'a mut pg_sys::ErrorData);

macro_rules! texts {
    ($($field:ident),*) => {$(
        fn $field(&self) -> &[u8] {
            // SAFETY: NULL, or a C string of the report's own.
            unsafe { bytes(self.0.$field) }
        }
    )*};
}

impl Report<'_> {
    texts!(filename, domain, message, message_id, context);
}

fn tell(listener: Listener, worker: SubscriptionWorker, report: &Report) {
    if report.0.elevel < PgLogLevel::ERROR as i32 {
        return (listener.warning)(worker, report.message_id());
    }
    (listener.error)(
        worker,
        &Reported {
            sqlstate: report.0.sqlerrcode,
            is_fatal: report.0.elevel >= PgLogLevel::FATAL as i32,
            message: report.message(),
            template: report.message_id(),
            domain: report.domain(),
            context: report.context(),
        },
    );
}

/// Which worker of core this process is. Its name says what it works on: "logical replication … for
/// subscription 16400 sync 16388" (launcher.c, 13 to 18).
fn subscription_worker() -> Option<SubscriptionWorker> {
    // SAFETY: reads a variable of this process.
    let worker = unsafe { pg_sys::MyBgworkerEntry };
    // SAFETY: NULL, or this worker's entry for as long as it lives.
    let worker = unsafe { worker.as_ref() }?;
    // SAFETY: NUL-terminated within its field.
    if unsafe { bytes(worker.bgw_library_name.as_ptr()) } != b"postgres" {
        return None;
    }
    // SAFETY: as above.
    let name = std::str::from_utf8(unsafe { bytes(worker.bgw_name.as_ptr()) }).ok()?;
    let (_, work) = name.split_once("for subscription ")?;
    let (subscription, table) = match work.split_once(" sync ") {
        Some((subscription, table)) => (subscription, Some(table.parse().ok()?)),
        None => (work, None),
    };
    Some(SubscriptionWorker { subscription: subscription.parse().ok()?, table })
}

impl Report<'_> {
    fn mask(&mut self) {
        let (statement, known) = CONCEALED.get();
        let known = if statement == statement_start() { known } else { Known::NOTHING };
        let memory = self.0.assoc_context;
        let parts = message_parts(self);
        // SAFETY: a text of this report in its own memory.
        unsafe { mask_field(&mut self.0.message, memory, |_| parts, &known) };
        let fields: [(&mut *mut c_char, PartsOf); 5] = [
            (&mut self.0.detail, |text| Parts::quoted(text, &heads_in_detail())),
            (&mut self.0.detail_log, |text| Parts::quoted(text, &heads_in_detail())),
            (&mut self.0.hint, |text| Parts::whole(text, Kind::Text)),
            (&mut self.0.context, |text| Parts::quoted(text, &heads_in_context())),
            (&mut self.0.internalquery, |text| Parts::whole(text, sql())),
        ];
        for (field, parts) in fields {
            // SAFETY: as above.
            unsafe { mask_field(field, memory, parts, &known) };
        }
        if !self.0.hide_stmt && !mask_statement(&known) {
            self.0.hide_stmt = true;
        }
    }
}

/// The texts before a statement that a DETAIL quotes (postgres.c, postmaster.c, deadlock.c).
fn heads_in_detail() -> [Head; Parts::HEADS] {
    let statement = |format| Head::of(translated(Catalog::Server, format));
    [
        statement(c"prepare: %s"),
        statement(c"Failed process was running: %s"),
        statement(c"Process %d: %s"),
        Head::NONE,
        Head::NONE,
        Head::NONE,
    ]
}

/// The same for a CONTEXT (spi.c; assignments since 14; expressions have two names), and the texts
/// before a name there (pl_exec.c, functions.c).
fn heads_in_context() -> [Head; Parts::HEADS] {
    let statement = |format| Head::of(translated(Catalog::Server, format));
    [
        statement(c"SQL statement \"%s\""),
        statement(c"SQL expression \"%s\""),
        statement(c"PL/pgSQL expression \"%s\""),
        statement(c"PL/pgSQL assignment \"%s\""),
        Head::of_line(translated(Catalog::PlPgSql, c"PL/pgSQL function %s line %d at %s")),
        Head::of_line(translated(Catalog::Server, c"SQL function \"%s\" statement %d")),
    ]
}

/// Which parts of a message are a statement. The message's format decides, because no client chooses
/// it: RAISE has "%s".
fn message_parts(report: &Report) -> Parts {
    /// Formats of log_statement and log_min_duration_statement (postgres.c) and of walsender.c without a
    /// name before the statement.
    const STATEMENTS: [&[u8]; 3] =
        [b"statement: %s", b"duration: %s ms  statement: %s", b"received replication command: %s"];
    /// The same with the names of a prepared statement and of a portal.
    const NAMED: [&[u8]; 4] = [
        b"duration: %s ms  parse %s: %s",
        b"duration: %s ms  bind %s%s%s: %s",
        b"%s %s%s%s: %s",
        b"duration: %s ms  %s %s%s%s: %s",
    ];
    let (text, format) = (report.message(), report.message_id());
    if format.starts_with(b"AUDIT: ") {
        return Parts::audit(text, sql());
    }
    if format == b"duration: %.3f ms  plan:\n%s" {
        return Parts::plan(text, sql());
    }
    let is_log = [pg_sys::LOG, pg_sys::LOG_SERVER_ONLY].contains(&(report.0.elevel as u32));
    let is_named = NAMED.contains(&format);
    match start_of_statement(text).filter(|_| is_log) {
        Some(start) => Parts::from(text, start, sql()),
        None if is_named => Parts::whole(text, Kind::Names),
        None if STATEMENTS.contains(&format) => Parts::whole(text, sql()),
        None => Parts::whole(text, Kind::Text),
    }
}

/// Where the client's statement begins in a line that ends with it.
fn start_of_statement(text: &[u8]) -> Option<usize> {
    let statement = statement();
    if statement.is_empty() {
        return None;
    }
    if text.ends_with(statement) {
        return Some(text.len() - statement.len());
    }
    let start = text.len().checked_sub(MASKED.get().length()?)?;
    let unmasked = statement.windows(secret::MASK.len()).position(|part| part == secret::MASK)?;
    text[start..].starts_with(&statement[..unmasked]).then_some(start)
}

/// Masks one text of a report. The text is allocated separately, and elog.c frees it with the report.
///
/// # Safety
/// `field` is NULL or such a text, and `memory` a context that lives as long as the report.
unsafe fn mask_field(
    field: &mut *mut c_char,
    memory: pg_sys::MemoryContext,
    parts: impl FnOnce(&[u8]) -> Parts,
    known: &Known,
) {
    // SAFETY: the caller's word.
    let text = unsafe { bytes(*field) };
    if text.is_empty() {
        return;
    }
    let parts = &parts(text);
    let Some(length) = secret::masked_length(text, parts, known) else { return };
    match masked_copy(text, length, memory, parts, known) {
        Some(masked) => {
            // SAFETY: nothing refers to it any more.
            unsafe { pg_sys::pfree(field.cast()) };
            *field = masked;
        }
        None => {
            // SAFETY: as long as it was, and this report's own.
            unsafe { field.cast::<u8>().write_bytes(b'*', text.len()) }
        }
    }
}

/// A statement whose text was replaced by one without its secrets. Lines still end with the original.
#[derive(Clone, Copy)]
struct Masked {
    /// Of the replacement, only to be compared.
    address: usize,
    statement: i64,
    /// Of the original.
    length: usize,
}

impl Masked {
    const NONE: Self = Self { address: 0, statement: 0, length: 0 };

    /// The length of the original, if the running statement was replaced.
    fn length(self) -> Option<usize> {
        // SAFETY: reads a variable of this process.
        let address = unsafe { pg_sys::debug_query_string }.addr();
        let is_running = address == self.address && self.statement == statement_start();
        is_running.then_some(self.length)
    }
}

/// Replaces the text that the STATEMENT line shows. The client's message lives until MessageContext is
/// reset, and then the server forgets it (postgres.c, 13 to 18). False if the line must be left out.
fn mask_statement(known: &Known) -> bool {
    let statement = statement();
    let parts = Parts::whole(statement, sql());
    let Some(length) = secret::masked_length(statement, &parts, known) else { return true };
    // SAFETY: reads a variable of this process. NULL in a background worker.
    let memory = unsafe { pg_sys::MessageContext };
    if memory.is_null() {
        return false;
    }
    let Some(masked) = masked_copy(statement, length, memory, &parts, known) else {
        return false;
    };
    MASKED.set(Masked {
        address: masked.addr(),
        statement: statement_start(),
        length: MASKED.get().length().unwrap_or(statement.len()),
    });
    // SAFETY: only read by others, and valid as long as what it replaces.
    unsafe { pg_sys::debug_query_string = masked };
    true
}

/// `None` when there is no memory.
fn masked_copy(
    text: &[u8],
    length: usize,
    memory: pg_sys::MemoryContext,
    parts: &Parts,
    known: &Known,
) -> Option<*mut c_char> {
    let flags = pg_sys::MCXT_ALLOC_HUGE | pg_sys::MCXT_ALLOC_NO_OOM;
    // SAFETY: a valid context; with these flags it returns NULL instead of raising.
    let place = unsafe { pg_sys::MemoryContextAllocExtended(memory, length + 1, flags as _) };
    let place = NonNull::new(place.cast::<u8>())?;
    // SAFETY: so many bytes; zero is valid, and ends the text.
    unsafe { place.write_bytes(0, length + 1) };
    // SAFETY: written above, and nobody else knows of it.
    let mut rest = unsafe { std::slice::from_raw_parts_mut(place.as_ptr(), length) };
    secret::mask(text, parts, known, |piece| {
        let (to, after) = std::mem::take(&mut rest).split_at_mut(piece.len());
        to.copy_from_slice(piece);
        rest = after;
    });
    Some(place.as_ptr().cast())
}

/// How this session reads literals.
fn sql() -> Kind {
    // SAFETY: reads a setting.
    if unsafe { pg_sys::standard_conforming_strings } { Kind::Sql } else { Kind::EscapedSql }
}

/// The text of the client's message. Empty in a background worker.
fn statement() -> &'static [u8] {
    // SAFETY: NULL, or a C string that lives as long as the message is worked on.
    let text = unsafe { pg_sys::debug_query_string };
    // SAFETY: as above.
    unsafe { bytes(text) }
}

/// # Safety
/// NULL, or a C string that lives and stays as it is for `'a`.
unsafe fn bytes<'a>(text: *const c_char) -> &'a [u8] {
    if text.is_null() {
        return &[];
    }
    // SAFETY: the caller's word.
    unsafe { CStr::from_ptr(text) }.to_bytes()
}
