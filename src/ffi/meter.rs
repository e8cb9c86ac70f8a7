//! Limits how much of a server's data reaches libpq during a login. Called by `publisher/login.rs`, in
//! a thread of its own.
//!
//! libpq reads as long as data arrives, in one call. So its socket is replaced by one end of a socket
//! pair, and the server's data is passed on in pieces that are counted.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use super::wait::For;

/// What is handed on at once, in bytes.
const PIECE: usize = 4096;

pub struct Meter {
    /// The socket that was exchanged. The type stands for any stream: only bytes are moved.
    server: UnixStream,
    /// The other end of the one that libpq has now.
    libpq: UnixStream,
    /// What libpq has now: the device and the inode of its socket.
    identity: (u64, u64),
    received: usize,
    to_libpq: Vec<u8>,
    to_server: Vec<u8>,
    ended: bool,
}

impl Meter {
    /// Takes the place of a connected socket. `None` when no descriptor is left.
    pub fn place(socket: RawFd) -> Option<Self> {
        // SAFETY: another descriptor of an open socket, or -1.
        let real = unsafe { libc::fcntl(socket, libc::F_DUPFD_CLOEXEC, 0) };
        if real < 0 {
            return None;
        }
        // SAFETY: just created, owned by nobody else.
        let server = UnixStream::from(unsafe { OwnedFd::from_raw_fd(real) });
        let (libpq, theirs) = UnixStream::pair().ok()?;
        for stream in [&server, &libpq, &theirs] {
            stream.set_nonblocking(true).ok()?;
        }
        let identity = identity(theirs.as_raw_fd())?;
        // SAFETY: two open descriptors; libpq has read and written nothing that is kept elsewhere.
        if unsafe { libc::dup3(theirs.as_raw_fd(), socket, libc::O_CLOEXEC) } < 0 {
            return None;
        }
        let (to_libpq, to_server) = (Vec::new(), Vec::new());
        Some(Self { server, libpq, identity, received: 0, to_libpq, to_server, ended: false })
    }

    /// Whether libpq still has the end that it was given; it may have gone to another address.
    pub fn is_at(&self, socket: RawFd) -> bool {
        identity(socket) == Some(self.identity)
    }

    /// Bytes that came from the server.
    pub fn received(&self) -> usize {
        self.received
    }

    /// Moves what can be moved now. Tells whether libpq has something to read.
    pub fn pump(&mut self) -> bool {
        let Self { server, libpq, to_libpq, to_server, .. } = self;
        move_on(libpq, server, to_server);
        let (came, ended) = move_on(server, libpq, to_libpq);
        self.received += came;
        if ended && self.to_libpq.is_empty() && !std::mem::replace(&mut self.ended, true) {
            let _ = self.libpq.shutdown(Shutdown::Write);
        }
        came > 0 || self.ended
    }

    /// What `pump` waits for.
    pub fn waits_for(&self) -> (RawFd, For) {
        let what = if self.to_server.is_empty() { For::Read } else { For::ReadOrWrite };
        (self.server.as_raw_fd(), what)
    }

    /// Whether something that libpq wrote has not been sent.
    pub fn has_output(&self) -> bool {
        !self.to_server.is_empty() || unread(self.libpq.as_raw_fd()) != Some(0)
    }

    /// Whether libpq has read everything that was received.
    pub fn is_drained(&self, socket: RawFd) -> bool {
        self.to_libpq.is_empty() && unread(socket) == Some(0)
    }

    /// Gives libpq its socket back.
    pub fn remove(self, socket: RawFd) -> bool {
        // SAFETY: two open descriptors.
        unsafe { libc::dup3(self.server.as_raw_fd(), socket, libc::O_CLOEXEC) >= 0 }
    }
}

/// Moves one piece. Returns the bytes that came, and whether no more will.
fn move_on(mut from: &UnixStream, mut to: &UnixStream, kept: &mut Vec<u8>) -> (usize, bool) {
    let (mut came, mut ended) = (0, false);
    if kept.is_empty() {
        let mut piece = [0; PIECE];
        match from.read(&mut piece) {
            Ok(0) => ended = true,
            Ok(length) => {
                kept.extend_from_slice(&piece[..length]);
                came = length;
            }
            Err(error) => ended = !is_temporary(error.kind()),
        }
    }
    while !kept.is_empty() {
        match to.write(kept) {
            Ok(length) => drop(kept.drain(..length)),
            Err(error) if is_temporary(error.kind()) => break,
            Err(_) => kept.clear(), // who does not read any more is told by the end of the stream
        }
    }
    (came, ended)
}

fn is_temporary(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// How many bytes can be read from a socket.
fn unread(socket: RawFd) -> Option<libc::c_int> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: an open socket, and room for the answer.
    (unsafe { libc::ioctl(socket, libc::FIONREAD, &mut bytes) } == 0).then_some(bytes)
}

fn identity(socket: RawFd) -> Option<(u64, u64)> {
    let mut status = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: room for the answer.
    if unsafe { libc::fstat(socket, status.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: filled in by the call, which succeeded.
    let status = unsafe { status.assume_init() };
    Some((status.st_dev, status.st_ino))
}

/// Whether a socket has a peer: its connection is made.
pub fn is_connected(socket: RawFd) -> bool {
    let mut address = std::mem::MaybeUninit::<libc::sockaddr_storage>::uninit();
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: an open socket, and room for its address.
    unsafe { libc::getpeername(socket, address.as_mut_ptr().cast(), &mut length) == 0 }
}
