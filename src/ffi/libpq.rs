//! libpq, as libpqwalreceiver loaded it into this process: the parser and the client that the apply
//! worker uses. Linking it again would load a second copy. Called by `conninfo/` and `publisher/`.
//!
//! libpq logs in, and closes the connection at the end. In between, this file reads and writes the
//! socket or its TLS session itself, because libpq reads everything that a server sends before its size
//! can be checked.
//!
//! Only a cancel request waits here, with a deadline. Only `load` raises an ERROR.

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_void};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::time::Instant;

use pgrx::pg_sys;

use super::wait::{self, For};

#[repr(C)]
struct PGconn {
    _opaque: [u8; 0],
}

#[repr(C)]
struct PGresult {
    _opaque: [u8; 0],
}

#[repr(C)]
struct PGcancel {
    _opaque: [u8; 0],
}

#[repr(C)]
struct PGcancelConn {
    _opaque: [u8; 0],
}

/// OpenSSL's session.
#[repr(C)]
struct Ssl {
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
    ($(#[$doc:meta])* $library:ident { $($name:ident: fn($($argument:ty),*) $(-> $result:ty)?;)* }) => {
        $(#[$doc])*
        #[allow(non_snake_case)]
        struct $library {
            $($name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl $library {
            fn find(symbol: impl Fn(&CStr) -> *mut c_void) -> Option<Self> {
                Some(Self {
                    $($name: {
                        let name = CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes());
                        let address = NonNull::new(symbol(name.ok()?))?;
                        // SAFETY: the exported function of this name has this signature in every
                        // libpq from 12 on (libpq-fe.h), and in every OpenSSL from 1.1.0 on.
                        unsafe { std::mem::transmute::<NonNull<c_void>, unsafe extern "C" fn($($argument),*) $(-> $result)?>(address) }
                    },)*
                })
            }
        }
    };
}

functions! {
    /// libpq, in which every function is found by its name.
    Libpq {
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
        PQhostaddr: fn(*const PGconn) -> *const c_char;
        PQsslInUse: fn(*mut PGconn) -> c_int;
        PQsslStruct: fn(*mut PGconn, *const c_char) -> *mut Ssl;
        PQsetnonblocking: fn(*mut PGconn, c_int) -> c_int;
        PQsetNoticeReceiver: fn(*mut PGconn, NoticeReceiver, *mut c_void) -> Option<NoticeReceiver>;
        PQgetCancel: fn(*mut PGconn) -> *mut PGcancel;
        PQfreeCancel: fn(*mut PGcancel);
    }
}

functions! {
    /// What libpq 17 and later can cancel a query with, without waiting.
    Canceling {
        PQcancelCreate: fn(*mut PGconn) -> *mut PGcancelConn;
        PQcancelStart: fn(*mut PGcancelConn) -> c_int;
        PQcancelPoll: fn(*mut PGcancelConn) -> c_int;
        PQcancelSocket: fn(*const PGcancelConn) -> c_int;
        PQcancelFinish: fn(*mut PGcancelConn);
    }
}

functions! {
    /// The OpenSSL that libpq uses.
    OpenSsl {
        SSL_read: fn(*mut Ssl, *mut c_void, c_int) -> c_int;
        SSL_write: fn(*mut Ssl, *const c_void, c_int) -> c_int;
        SSL_get_error: fn(*const Ssl, c_int) -> c_int;
        SSL_ctrl: fn(*mut Ssl, c_int, c_long, *mut c_void) -> c_long;
        ERR_clear_error: fn();
    }
}

/// libpq is loaded: threads of ours may use it.
#[derive(Debug, Clone, Copy)]
pub struct Loaded(());

/// Loads libpq, or raises an ERROR.
pub fn load() -> Loaded {
    library();
    Loaded(())
}

fn library() -> &'static Libpq {
    static LIBRARY: OnceLock<Libpq> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        // SAFETY: loads a library of the server from $libdir, or raises; a second load is a no-op.
        unsafe { pg_sys::load_file(c"libpqwalreceiver".as_ptr(), false) };
        // SAFETY: RTLD_DEFAULT searches what is loaded globally; load_file loads with RTLD_GLOBAL.
        let found = Libpq::find(|name| unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) });
        found.expect("libpq lacks a function that every supported version has")
    })
}

/// `None` before 17.
fn canceling() -> Option<&'static Canceling> {
    static CANCELING: OnceLock<Option<Canceling>> = OnceLock::new();
    // SAFETY: as for the library, which is loaded.
    let symbol = |name: &CStr| unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    CANCELING.get_or_init(|| Canceling::find(symbol)).as_ref()
}

/// `None` where libpq was built with something else.
fn openssl() -> Option<&'static OpenSsl> {
    static OPENSSL: OnceLock<Option<OpenSsl>> = OnceLock::new();
    let find = || {
        let libpq = libpq_handle()?;
        // SAFETY: an open handle: libpq itself and what it was linked with are searched.
        OpenSsl::find(|name| unsafe { libc::dlsym(libpq.as_ptr(), name.as_ptr()) })
    };
    OPENSSL.get_or_init(find).as_ref()
}

fn libpq_handle() -> Option<NonNull<c_void>> {
    let mut found = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: an address in libpq, and room for the answer.
    if unsafe { libc::dladdr(library().PQfinish as *const c_void, found.as_mut_ptr()) } == 0 {
        return None;
    }
    // SAFETY: zero is a valid value, which the call has filled in.
    let path = unsafe { found.assume_init() }.dli_fname;
    // SAFETY: a path that the loader knows; RTLD_NOLOAD loads nothing.
    NonNull::new(unsafe { libc::dlopen(path, libc::RTLD_NOW | libc::RTLD_NOLOAD) })
}

/// # Safety
/// As of `copied_bytes`.
unsafe fn copied(text: *const c_char) -> String {
    // SAFETY: the caller's word.
    String::from_utf8_lossy(&unsafe { copied_bytes(text) }).into_owned()
}

/// # Safety
/// `text` is NULL or a string of libpq's, and the caller holds the object that it came from.
unsafe fn copied_bytes(text: *const c_char) -> Vec<u8> {
    if text.is_null() {
        return Vec::new();
    }
    // SAFETY: the caller's word.
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
            // SAFETY: strings of the array, which is held.
            let keyword = unsafe { copied(option.keyword) };
            // SAFETY: as above.
            params.push((keyword, unsafe { copied_bytes(option.val) }));
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

impl Progress {
    /// PostgresPollingStatusType of libpq-fe.h.
    fn of(status: c_int) -> Self {
        match status {
            1 => Self::Readable,
            2 => Self::Writable,
            3 => Self::Connected,
            _ => Self::Failed,
        }
    }
}

/// A connection that libpq cancels a query by.
struct CancelConnection {
    library: &'static Canceling,
    request: NonNull<PGcancelConn>,
}

impl CancelConnection {
    fn run(&self, deadline: Instant) {
        // SAFETY: a live request.
        if unsafe { (self.library.PQcancelStart)(self.request.as_ptr()) } == 0 {
            return;
        }
        let mut what = For::Write;
        while wait::in_thread(&[(self.socket(), what)], deadline) {
            // SAFETY: a live request.
            let status = unsafe { (self.library.PQcancelPoll)(self.request.as_ptr()) };
            what = match Progress::of(status) {
                Progress::Readable => For::Read,
                Progress::Writable => For::Write,
                Progress::Connected | Progress::Failed => return,
            };
        }
    }

    fn socket(&self) -> c_int {
        // SAFETY: a live request.
        unsafe { (self.library.PQcancelSocket)(self.request.as_ptr()) }
    }
}

impl Drop for CancelConnection {
    fn drop(&mut self) {
        // Closing must not wait for the server to read, as with a connection.
        // SAFETY: an open socket, or -1.
        unsafe { libc::shutdown(self.socket(), libc::SHUT_RDWR) };
        // SAFETY: made by PQcancelCreate, freed once.
        unsafe { (self.library.PQcancelFinish)(self.request.as_ptr()) }
    }
}

/// Begins to connect to where a socket is connected to.
fn connect_to_peer(socket: c_int) -> Option<OwnedFd> {
    let mut address = std::mem::MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: an open socket, and room for any address.
    if unsafe { libc::getpeername(socket, address.as_mut_ptr().cast(), &mut length) } != 0 {
        return None;
    }
    // SAFETY: zero is valid, and the call has filled it in.
    let address = unsafe { address.assume_init() };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: creates a descriptor, or returns -1.
    let own = unsafe { libc::socket(address.ss_family.into(), kind, 0) };
    if own < 0 {
        return None;
    }
    // SAFETY: just created, owned by nobody else.
    let own = unsafe { OwnedFd::from_raw_fd(own) };
    // SAFETY: an address of this length. It goes on while somebody waits.
    unsafe { libc::connect(own.as_raw_fd(), (&raw const address).cast(), length) };
    Some(own)
}

/// What came of reading or writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Io {
    /// So many bytes were moved, at least one.
    Moved(usize),
    /// Nothing can be done before the socket is readable, or writable.
    UntilReadable,
    UntilWritable,
    /// The connection is closed or broken.
    Lost,
}

/// A client connection; dropping it closes it without waiting.
pub struct Connection {
    conn: NonNull<PGconn>,
    /// Whether it is logged in, and `read` and `write` can be used.
    is_taken_over: bool,
    tls: Option<NonNull<Ssl>>,
}

// SAFETY: libpq lets any thread use a connection, one at a time (libpq, "Behavior in Threaded
// Programs"), and the borrow checker sees to that.
unsafe impl Send for Connection {}

impl Connection {
    /// Starts to connect. `None` when out of memory.
    pub fn start<'a>(
        _loaded: Loaded,
        params: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Option<Self> {
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
        let connection = Self { conn: NonNull::new(conn)?, is_taken_over: false, tls: None };
        // A publisher's notices would otherwise go to stderr, which is this server's log.
        // SAFETY: live connection; the receiver ignores its arguments.
        unsafe {
            (library().PQsetNoticeReceiver)(conn, ignore_notice, std::ptr::null_mut());
        }
        Some(connection)
    }

    fn raw(&self) -> *mut PGconn {
        self.conn.as_ptr()
    }

    pub fn has_failed(&self) -> bool {
        const CONNECTION_BAD: c_int = 1;
        // SAFETY: live connection.
        unsafe { (library().PQstatus)(self.raw()) == CONNECTION_BAD }
    }

    /// One step of connecting.
    pub fn poll(&mut self) -> Progress {
        // SAFETY: live connection.
        Progress::of(unsafe { (library().PQconnectPoll)(self.raw()) })
    }

    /// Asks the server to end the query that it works on, which it does a moment later. Waits until the
    /// server has taken the request, and raises nothing.
    pub fn cancel(&self, deadline: Instant) {
        match canceling() {
            Some(library) => {
                // SAFETY: live connection, of which it is made a copy.
                let request = unsafe { (library.PQcancelCreate)(self.raw()) };
                if let Some(request) = NonNull::new(request) {
                    CancelConnection { library, request }.run(deadline);
                }
            }
            None => drop(self.cancel_key().map(|key| self.send_cancel(key, deadline))),
        }
    }

    /// The number that proves that we may cancel. Before 17 libpq cancels only in a way that waits
    /// without end, and has no function for the number: it follows the process's id, after an address
    /// (libpq-int.h `pg_cancel`, 12 to 16, which have no more releases to change it in).
    fn cancel_key(&self) -> Option<[u8; 8]> {
        const AT: usize = 136;
        const _: () = assert!(size_of::<libc::sockaddr_storage>() + 8 == AT);
        // SAFETY: live connection.
        let cancel = NonNull::new(unsafe { (library().PQgetCancel)(self.raw()) })?;
        let mut numbers = [0_i32; 2];
        // SAFETY: both numbers lie within what was allocated.
        let from = unsafe { cancel.as_ptr().cast::<u8>().add(AT) };
        // SAFETY: as above, and room for both.
        unsafe { from.copy_to_nonoverlapping(numbers.as_mut_ptr().cast(), 8) };
        // SAFETY: made above, freed once.
        unsafe { (library().PQfreeCancel)(cancel.as_ptr()) };
        let [pid, key] = numbers;
        let mut sent = [0; 8];
        sent[..4].copy_from_slice(&pid.to_be_bytes());
        sent[4..].copy_from_slice(&key.to_be_bytes());
        (pid == self.backend_pid()).then_some(sent)
    }

    /// A CancelRequest on a connection of its own to the same address. A server takes it without TLS,
    /// and closes the connection when it has passed it on.
    fn send_cancel(&self, key: [u8; 8], deadline: Instant) -> Option<()> {
        const HEAD: [u8; 8] = [0, 0, 0, 16, 4, 210, 22, 46];
        let socket = connect_to_peer(self.socket())?;
        let is_ready = |what| wait::in_thread(&[(socket.as_raw_fd(), what)], deadline);
        if !is_ready(For::Write) {
            return None;
        }
        let message = [HEAD, key].concat();
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: an open socket and as many bytes.
        unsafe { libc::send(socket.as_raw_fd(), message.as_ptr().cast(), message.len(), flags) };
        is_ready(For::Read).then_some(())
    }

    /// From now on `read` and `write` can be used. False where they can't: TLS that is not OpenSSL's.
    pub fn take_over(&mut self) -> bool {
        // Closing it must not wait for the server to read.
        // SAFETY: live connection; without pending output this can't fail.
        unsafe { (library().PQsetnonblocking)(self.raw(), 1) };
        // SAFETY: live connection.
        if unsafe { (library().PQsslInUse)(self.raw()) } == 0 {
            self.is_taken_over = true;
            return true;
        }
        // SAFETY: live connection and a C string.
        let tls = unsafe { (library().PQsslStruct)(self.raw(), c"OpenSSL".as_ptr()) };
        let (Some(tls), Some(openssl)) = (NonNull::new(tls), openssl()) else { return false };
        // Comes back after each record that is no data, so that a flood of them is noticed (ssl.h).
        const SSL_CTRL_CLEAR_MODE: c_int = 78;
        const SSL_MODE_AUTO_RETRY: c_long = 4;
        // SAFETY: the session of this live connection.
        unsafe {
            (openssl.SSL_ctrl)(
                tls.as_ptr(),
                SSL_CTRL_CLEAR_MODE,
                SSL_MODE_AUTO_RETRY,
                std::ptr::null_mut(),
            )
        };
        self.tls = Some(tls);
        self.is_taken_over = true;
        true
    }

    pub fn socket(&self) -> c_int {
        // SAFETY: live connection.
        unsafe { (library().PQsocket)(self.raw()) }
    }

    /// libpq's own words. May name files, hosts and ports of this server: for its log only.
    pub fn error_message(&self) -> String {
        // SAFETY: live connection, which owns the string.
        let text = unsafe { (library().PQerrorMessage)(self.raw()) };
        // SAFETY: as above.
        unsafe { copied(text) }.trim().to_owned()
    }

    pub fn used_password(&self) -> bool {
        // SAFETY: live connection.
        unsafe { (library().PQconnectionUsedPassword)(self.raw()) != 0 }
    }

    pub fn backend_pid(&self) -> i32 {
        // SAFETY: live connection.
        unsafe { (library().PQbackendPID)(self.raw()) }
    }

    /// The server's IP address; empty for a unix-domain socket.
    pub fn address(&self) -> String {
        // SAFETY: live connection, which owns the string.
        let text = unsafe { (library().PQhostaddr)(self.raw()) };
        // SAFETY: as above.
        unsafe { copied(text) }
    }

    /// The publisher's major, as it says.
    pub fn server_major(&self) -> u16 {
        // SAFETY: live connection.
        let version = unsafe { (library().PQserverVersion)(self.raw()) };
        u16::try_from(version / 10_000).unwrap_or_default()
    }

    /// Reads what has arrived, without waiting, and no more than there is room for.
    pub fn read(&mut self, buffer: &mut [u8]) -> Io {
        let Some((tls, openssl)) = self.tls.zip(openssl()) else {
            let (to, length) = (buffer.as_mut_ptr().cast(), buffer.len());
            // SAFETY: an open socket and a buffer of this length.
            let read = unsafe { libc::recv(self.socket(), to, length, libc::MSG_DONTWAIT) };
            return io_of_socket(read, Io::UntilReadable);
        };
        let length = c_int::try_from(buffer.len()).unwrap_or(c_int::MAX);
        // SAFETY: forgets errors of this thread, which would be taken for this call's.
        unsafe { (openssl.ERR_clear_error)() };
        // SAFETY: the session of this live connection, and a buffer of this length.
        let read = unsafe { (openssl.SSL_read)(tls.as_ptr(), buffer.as_mut_ptr().cast(), length) };
        io_of_tls(openssl, tls, read)
    }

    /// Writes what the socket takes, without waiting. Over TLS the same bytes must be offered again
    /// until some are taken.
    pub fn write(&mut self, bytes: &[u8]) -> Io {
        let Some((tls, openssl)) = self.tls.zip(openssl()) else {
            let (from, length) = (bytes.as_ptr().cast(), bytes.len());
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: an open socket and as many bytes.
            let written = unsafe { libc::send(self.socket(), from, length, flags) };
            return io_of_socket(written, Io::UntilWritable);
        };
        let length = c_int::try_from(bytes.len()).unwrap_or(c_int::MAX);
        // SAFETY: forgets errors of this thread, which would be taken for this call's.
        unsafe { (openssl.ERR_clear_error)() };
        // SAFETY: the session of this live connection, and as many bytes.
        let written = unsafe { (openssl.SSL_write)(tls.as_ptr(), bytes.as_ptr().cast(), length) };
        io_of_tls(openssl, tls, written)
    }
}

fn io_of_socket(moved: isize, would_block: Io) -> Io {
    match usize::try_from(moved) {
        Ok(0) => Io::Lost,
        Ok(moved) => Io::Moved(moved),
        Err(_) => match std::io::Error::last_os_error().kind() {
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted => would_block,
            _ => Io::Lost,
        },
    }
}

fn io_of_tls(openssl: &OpenSsl, tls: NonNull<Ssl>, moved: c_int) -> Io {
    if let Ok(moved @ 1..) = usize::try_from(moved) {
        return Io::Moved(moved);
    }
    // SSL_ERROR_WANT_READ and SSL_ERROR_WANT_WRITE of ssl.h.
    // SAFETY: a live session, right after the call that returned this.
    match unsafe { (openssl.SSL_get_error)(tls.as_ptr(), moved) } {
        2 => Io::UntilReadable,
        3 => Io::UntilWritable,
        _ => Io::Lost,
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        /// Terminate, the last message of a client. Sent once, if the socket takes it.
        const TERMINATE: [u8; 5] = [b'X', 0, 0, 0, 4];
        if self.is_taken_over {
            self.write(&TERMINATE);
        }
        // Over TLS libpq would else try without end to say the same to a server that does not read.
        // SAFETY: an open socket, or -1.
        unsafe { libc::shutdown(self.socket(), libc::SHUT_RDWR) };
        // SAFETY: closed once; the socket is non-blocking and nothing can be read or written any more.
        unsafe { (library().PQfinish)(self.raw()) }
    }
}

extern "C" fn ignore_notice(_: *mut c_void, _: *const PGresult) {}
