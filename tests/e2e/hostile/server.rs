//! The server that a test starts, and what it remembers of its connections.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use testbed::poll_until;

use super::connection::Connection;
use super::script::{Behaviour, Moment, Script, Twist};
use crate::support::DEADLINE;

pub struct Hostile {
    port: u16,
    state: Arc<State>,
}

pub struct State {
    pub version: u16,
    pub script: Mutex<Script>,
    pub slots: Mutex<BTreeSet<String>>,
    pub queries: Mutex<Vec<String>>,
    /// How many connections have come to the twist.
    pub twisted: AtomicUsize,
    pub sockets: Mutex<Vec<TcpStream>>,
    pub open: AtomicUsize,
    pub gone: AtomicBool,
}

impl Hostile {
    /// Claims to be PostgreSQL of a major; behaves until told otherwise, and publishes `tables`.
    pub fn start(version: u16, tables: &[(&str, &str)]) -> Hostile {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let script = Script {
            asks_for_password: true,
            tables: owned(tables),
            transactions: Vec::new(),
            copy: Vec::new(),
            twists: Vec::new(),
        };
        let state = Arc::new(State {
            version,
            script: Mutex::new(script),
            slots: Mutex::default(),
            queries: Mutex::default(),
            twisted: AtomicUsize::new(0),
            sockets: Mutex::default(),
            open: AtomicUsize::new(0),
            gone: AtomicBool::new(false),
        });
        let shared = state.clone();
        thread::spawn(move || accept(&listener, &shared));
        Hostile { port, state }
    }

    pub fn conninfo(&self, password: &str) -> String {
        format!("host=127.0.0.1 port={} user=mallory password='{password}' dbname=trap", self.port)
    }

    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.state.script.lock().unwrap()
    }

    pub fn publishes(&self, tables: &[(&str, &str)]) {
        self.script().tables = owned(tables);
    }

    /// From now on, in this way only.
    pub fn misbehaves(&self, when: Moment, what: Behaviour) {
        self.script().twists = vec![Twist { when, what }];
    }

    pub fn also_misbehaves(&self, when: Moment, what: Behaviour) {
        self.script().twists.push(Twist { when, what });
    }

    pub fn behaves(&self) {
        self.script().twists.clear();
    }

    pub fn slots(&self) -> Vec<String> {
        self.state.slots.lock().unwrap().iter().cloned().collect()
    }

    /// Everything that was asked so far.
    pub fn queries(&self) -> Vec<String> {
        self.state.queries.lock().unwrap().clone()
    }

    /// How many connections have seen it misbehave.
    pub fn twisted(&self) -> usize {
        self.state.twisted.load(Ordering::SeqCst)
    }

    /// Waits until every connection was closed by the other side.
    #[track_caller]
    pub fn wait_until_left_alone(&self) {
        poll_until(DEADLINE, "connections to the fake publisher to be closed", || {
            Ok((self.state.open.load(Ordering::SeqCst) == 0).then_some(()))
        });
    }

    /// Closes every connection; nobody listens any more.
    pub fn vanish(&self) {
        self.state.gone.store(true, Ordering::SeqCst);
        // Wakes the listener, which then ends.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        for socket in self.state.sockets.lock().unwrap().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
        poll_until(DEADLINE, "the fake publisher's port to be closed", || {
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err().then_some(()))
        });
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.vanish();
        }
    }
}

fn owned(tables: &[(&str, &str)]) -> Vec<(String, String)> {
    tables.iter().map(|(schema, table)| (schema.to_string(), table.to_string())).collect()
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    for socket in listener.incoming().flatten() {
        if state.gone.load(Ordering::SeqCst) {
            return;
        }
        state.sockets.lock().unwrap().extend(socket.try_clone());
        state.open.fetch_add(1, Ordering::SeqCst);
        let state = state.clone();
        thread::spawn(move || {
            // An error is the other side's leaving, in one way or another.
            let _ = Connection::new(&socket, &state).and_then(Connection::serve);
            let _ = socket.shutdown(Shutdown::Both);
            state.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}
