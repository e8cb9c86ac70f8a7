//! libpq, as libpqwalreceiver brought it into this process: the parser and the client that the apply
//! worker itself uses. Linking it again would pull a second copy in. Called by `publisher.rs`.
//!
//! Nothing here raises an ERROR or waits: a connection is non-blocking from its first step.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::NonNull;
use std::sync::OnceLock;

use pgrx::pg_sys;

#[repr(C)]
struct PGconn {
    _opaque: [u8; 0],
}

#[repr(C)]
struct PGresult {
    _opaque: [u8; 0],
}

/// libpq-fe.h `PQconninfoOption`.
#[repr(C)]
struct ConninfoOption {
    keyword: *mut c_char,
    envvar: *mut c_char,
    compiled: *mut c_char,
    val: *mut c_char,
    label: *mut c_char,
    dispchar: *mut c_char,
    dispsize: c_int,
}

type NoticeReceiver = extern "C" fn(*mut c_void, *const PGresult);

macro_rules! functions {
    ($($name:ident: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions used, found by name.
        #[allow(non_snake_case)]
        struct Library {
            $($name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Library {
            fn find() -> Option<Self> {
                Some(Self {
                    $($name: {
                        let address = symbol(concat!(stringify!($name), "\0"))?;
                        // SAFETY: the exported function of this name has this signature in every
                        // libpq from 9.0 on (libpq-fe.h).
                        unsafe { std::mem::transmute::<NonNull<c_void>, unsafe extern "C" fn($($argument),*) $(-> $result)?>(address) }
                    },)*
                })
            }
        }
    };
}

functions! {
    PQconninfoParse: fn(*const c_char, *mut *mut c_char) -> *mut ConninfoOption;
    PQconninfoFree: fn(*mut ConninfoOption);
    PQfreemem: fn(*mut c_void);
    PQconnectStartParams: fn(*const *const c_char, *const *const c_char, c_int) -> *mut PGconn;
    PQconnectPoll: fn(*mut PGconn) -> c_int;
    PQstatus: fn(*const PGconn) -> c_int;
    PQsocket: fn(*const PGconn) -> c_int;
    PQfinish: fn(*mut PGconn);
    PQerrorMessage: fn(*const PGconn) -> *const c_char;
    PQconnectionUsedPassword: fn(*const PGconn) -> c_int;
    PQbackendPID: fn(*const PGconn) -> c_int;
    PQserverVersion: fn(*const PGconn) -> c_int;
    PQsetnonblocking: fn(*mut PGconn, c_int) -> c_int;
    PQsetNoticeReceiver: fn(*mut PGconn, NoticeReceiver, *mut c_void) -> Option<NoticeReceiver>;
    PQsendQuery: fn(*mut PGconn, *const c_char) -> c_int;
    PQsetSingleRowMode: fn(*mut PGconn) -> c_int;
    PQflush: fn(*mut PGconn) -> c_int;
    PQconsumeInput: fn(*mut PGconn) -> c_int;
    PQisBusy: fn(*mut PGconn) -> c_int;
    PQgetResult: fn(*mut PGconn) -> *mut PGresult;
    PQresultStatus: fn(*const PGresult) -> c_int;
    PQresultErrorField: fn(*const PGresult, c_int) -> *const c_char;
    PQnfields: fn(*const PGresult) -> c_int;
    PQgetvalue: fn(*const PGresult, c_int, c_int) -> *const c_char;
    PQgetisnull: fn(*const PGresult, c_int, c_int) -> c_int;
    PQclear: fn(*mut PGresult);
}

fn symbol(name: &'static str) -> Option<NonNull<c_void>> {
    let name = CStr::from_bytes_with_nul(name.as_bytes()).ok()?;
    // SAFETY: RTLD_DEFAULT searches what is loaded globally; load_file loads with RTLD_GLOBAL.
    NonNull::new(unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) })
}

fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        // SAFETY: loads a library of the server from $libdir, or raises; a second load is a no-op.
        unsafe { pg_sys::load_file(c"libpqwalreceiver".as_ptr(), false) };
        Library::find().expect("libpq lacks a function that every supported version has")
    })
}

fn copied(text: *const c_char) -> String {
    String::from_utf8_lossy(&copied_bytes(text)).into_owned()
}

fn copied_bytes(text: *const c_char) -> Vec<u8> {
    if text.is_null() {
        return Vec::new();
    }
    // SAFETY: libpq's strings are NUL-terminated and live as long as the object they came from,
    // which the caller still holds.
    unsafe { CStr::from_ptr(text) }.to_bytes().to_vec()
}

/// Parses a connection string or URI of UTF-8.
pub fn parse_conninfo(text: &CStr) -> Option<Vec<(String, String)>> {
    let lossy = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
    Some(parse_conninfo_bytes(text)?.into_iter().map(|(key, value)| (key, lossy(value))).collect())
}

/// Parses a connection string or URI of any encoding of a server. The error text can quote the string,
/// so it is not returned.
pub fn parse_conninfo_bytes(text: &CStr) -> Option<Vec<(String, Vec<u8>)>> {
    let library = library();
    let mut message = std::ptr::null_mut();
    // SAFETY: valid C string and out pointer.
    let options = unsafe { (library.PQconninfoParse)(text.as_ptr(), &mut message) };
    if !message.is_null() {
        // SAFETY: allocated by PQconninfoParse, freed once.
        unsafe { (library.PQfreemem)(message.cast()) };
    }
    if options.is_null() {
        return None;
    }
    let mut params = Vec::new();
    for index in 0.. {
        // SAFETY: the array ends with an entry whose keyword is NULL, where this loop ends.
        let entry = unsafe { options.add(index) };
        // SAFETY: an entry of the array, see above.
        let option = unsafe { &*entry };
        if option.keyword.is_null() {
            break;
        }
        if !option.val.is_null() {
            params.push((copied(option.keyword), copied_bytes(option.val)));
        }
    }
    // SAFETY: allocated by PQconninfoParse, freed once.
    unsafe { (library.PQconninfoFree)(options) };
    Some(params)
}

/// What a connection attempt waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Readable,
    Writable,
    Connected,
    Failed,
}

/// A client connection; dropping it closes it without waiting.
pub struct Connection(NonNull<PGconn>);

impl Connection {
    /// Starts to connect. `None` when out of memory.
    pub fn start<'a>(params: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Self> {
        let (keywords, values): (Vec<_>, Vec<_>) = params
            .map(|(keyword, value)| Some((CString::new(keyword).ok()?, CString::new(value).ok()?)))
            .collect::<Option<Vec<_>>>()?
            .into_iter()
            .unzip();
        let pointers = |strings: &[CString]| -> Vec<*const c_char> {
            strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
        };
        let (keyword_pointers, value_pointers) = (pointers(&keywords), pointers(&values));
        // SAFETY: two NULL-terminated arrays of C strings that outlive the call; libpq copies them.
        let conn = unsafe {
            (library().PQconnectStartParams)(keyword_pointers.as_ptr(), value_pointers.as_ptr(), 0)
        };
        let connection = Self(NonNull::new(conn)?);
        // A publisher's notices would otherwise go to stderr, which is this server's log.
        // SAFETY: live connection; the receiver ignores its arguments.
        unsafe {
            (library().PQsetNoticeReceiver)(conn, ignore_notice, std::ptr::null_mut());
        }
        Some(connection)
    }

    fn raw(&self) -> *mut PGconn {
        self.0.as_ptr()
    }

    pub fn has_failed(&self) -> bool {
        const CONNECTION_BAD: c_int = 1;
        // SAFETY: live connection.
        unsafe { (library().PQstatus)(self.raw()) == CONNECTION_BAD }
    }

    /// One step of connecting.
    pub fn poll(&mut self) -> Progress {
        // SAFETY: live connection.
        match unsafe { (library().PQconnectPoll)(self.raw()) } {
            1 => Progress::Readable,
            2 => Progress::Writable,
            3 => {
                // SAFETY: live connection; without pending output this can't fail.
                unsafe { (library().PQsetnonblocking)(self.raw(), 1) };
                Progress::Connected
            }
            _ => Progress::Failed,
        }
    }

    pub fn socket(&self) -> c_int {
        // SAFETY: live connection.
        unsafe { (library().PQsocket)(self.raw()) }
    }

    /// libpq's own words. May name files, hosts and ports of this server: for its log only.
    pub fn error_message(&self) -> String {
        // SAFETY: live connection, which owns the string.
        copied(unsafe { (library().PQerrorMessage)(self.raw()) }).trim().to_owned()
    }

    pub fn used_password(&self) -> bool {
        // SAFETY: live connection.
        unsafe { (library().PQconnectionUsedPassword)(self.raw()) != 0 }
    }

    pub fn backend_pid(&self) -> i32 {
        // SAFETY: live connection.
        unsafe { (library().PQbackendPID)(self.raw()) }
    }

    /// The publisher's major, as it says.
    pub fn server_major(&self) -> u16 {
        // SAFETY: live connection.
        let version = unsafe { (library().PQserverVersion)(self.raw()) };
        u16::try_from(version / 10_000).unwrap_or_default()
    }

    /// Sends a query whose rows then come one by one. False when the connection is broken.
    pub fn send(&mut self, sql: &str) -> bool {
        let Ok(sql) = CString::new(sql) else { return false };
        // SAFETY: live connection and a C string that libpq copies.
        let sent = unsafe { (library().PQsendQuery)(self.raw(), sql.as_ptr()) } == 1;
        // SAFETY: live connection, right after PQsendQuery.
        sent && unsafe { (library().PQsetSingleRowMode)(self.raw()) } == 1
    }

    /// Pushes out what is queued: `Some(true)` when all is sent, `None` when the connection is broken.
    pub fn flush(&mut self) -> Option<bool> {
        // SAFETY: live connection.
        match unsafe { (library().PQflush)(self.raw()) } {
            0 => Some(true),
            1 => Some(false),
            _ => None,
        }
    }

    /// Takes what has arrived. False when the connection is broken.
    pub fn consume(&mut self) -> bool {
        // SAFETY: live connection.
        unsafe { (library().PQconsumeInput)(self.raw()) == 1 }
    }

    /// Whether the next result has not arrived whole.
    pub fn is_busy(&mut self) -> bool {
        // SAFETY: live connection.
        unsafe { (library().PQisBusy)(self.raw()) == 1 }
    }

    /// The next result; only to be asked when not busy, or it would block.
    pub fn next_result(&mut self) -> Option<Answer> {
        // SAFETY: live connection, not busy.
        NonNull::new(unsafe { (library().PQgetResult)(self.raw()) }).map(Answer)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: closed once; the socket is non-blocking.
        unsafe { (library().PQfinish)(self.raw()) }
    }
}

extern "C" fn ignore_notice(_: *mut c_void, _: *const PGresult) {}

pub enum Status {
    /// One row, more may follow.
    Row,
    /// The end of the rows, or of a command without any.
    Done,
    Failed,
}

/// A result that the publisher sent.
pub struct Answer(NonNull<PGresult>);

impl Answer {
    pub fn status(&self) -> Status {
        // PGRES_COMMAND_OK, PGRES_TUPLES_OK and PGRES_SINGLE_TUPLE of libpq-fe.h.
        // SAFETY: live result.
        match unsafe { (library().PQresultStatus)(self.0.as_ptr()) } {
            1 | 2 => Status::Done,
            9 => Status::Row,
            _ => Status::Failed,
        }
    }

    pub fn row(&self) -> Vec<Option<String>> {
        // SAFETY: live result.
        let fields = unsafe { (library().PQnfields)(self.0.as_ptr()) };
        (0..fields).map(|field| self.value(field)).collect()
    }

    fn value(&self, field: c_int) -> Option<String> {
        // SAFETY: live result with one row and this field.
        if unsafe { (library().PQgetisnull)(self.0.as_ptr(), 0, field) } != 0 {
            return None;
        }
        // SAFETY: as above; the string lives as long as the result.
        Some(copied(unsafe { (library().PQgetvalue)(self.0.as_ptr(), 0, field) }))
    }

    pub fn sqlstate(&self) -> String {
        self.error_field(b'C')
    }

    pub fn message(&self) -> String {
        self.error_field(b'M')
    }

    fn error_field(&self, code: u8) -> String {
        // SAFETY: live result, which owns the string.
        copied(unsafe { (library().PQresultErrorField)(self.0.as_ptr(), code.into()) })
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: freed once.
        unsafe { (library().PQclear)(self.0.as_ptr()) }
    }
}
