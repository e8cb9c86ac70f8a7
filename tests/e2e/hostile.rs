//! A publisher that lies. A real TCP server that speaks as much of PostgreSQL's protocol, version 3,
//! and of its replication protocol as a subscriber needs to hear, and says whatever its script wants:
//! any list of tables, any rows for any table, garbage, or nothing at all.
//!
//! Its own slots are a list of names. Connections are served by one thread each.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use testbed::poll_until;

use crate::support::DEADLINE;

/// How the publisher misbehaves, and when.
#[derive(Debug, Clone)]
pub struct Twist {
    pub when: Moment,
    pub what: Behaviour,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Moment {
    /// The connection is accepted.
    Accept,
    /// TLS is declined and the startup message read.
    Startup,
    /// The same for a startup message that has this text in it.
    StartupOf(&'static str),
    /// The password is accepted, before the server is ready for a query.
    Login,
    /// A query that has this text in it; it is not carried out.
    Query(&'static str),
    /// The answer to a query that has this text in it; it was carried out.
    Answer(&'static str),
}

/// Any query at all.
pub const ANY_QUERY: Moment = Moment::Query("");

#[derive(Debug, Clone)]
pub enum Behaviour {
    /// Says nothing until the other side goes away.
    Silence,
    /// Announces a message of this type and sends its beginning.
    HalfMessage(u8),
    /// Sends a row, and then no end of the result.
    HalfResult,
    /// A small row now and then, for ever.
    Drip,
    /// Rows as fast as they go, for ever.
    Flood,
    /// Notices as fast as they go, for ever.
    Notices,
    /// Parameters as fast as they go, each with a name of its own, for ever.
    Parameters,
    /// A row of as many NULLs as the protocol allows, for ever.
    WideRows,
    /// A message of this type that is announced as 1 GB long, as fast as it goes.
    LongMessage(u8),
    /// A message of this type and content, and nothing more.
    Message(u8, &'static [u8]),
    /// Asks for SCRAM with so many iterations.
    Scram(u32),
    /// Bytes that are no message.
    Garbage,
    /// Closes the connection.
    HangUp,
    /// An error of the publisher.
    Error(&'static str, String),
    /// A result of these rows.
    Rows(Vec<Row>),
    /// The same, after which it goes on as if nothing had been.
    Answer(Vec<Row>),
}

/// Values of a row, `None` for NULL; bytes, since a liar need not send UTF-8.
pub type Row = Vec<Option<Vec<u8>>>;

/// What the publisher says.
#[derive(Debug, Clone)]
pub struct Script {
    /// Whether it asks for a password (and takes any).
    pub asks_for_password: bool,
    /// Tables that every publication has, as (schema, table).
    pub tables: Vec<(String, String)>,
    /// Transactions that are streamed: each a list of rows to insert.
    pub transactions: Vec<Vec<Insert>>,
    /// Rows of every table, in the text format of COPY.
    pub copy: Vec<String>,
    pub twists: Vec<Twist>,
}

/// A row for a table, with the columns that the publisher claims it has.
#[derive(Debug, Clone)]
pub struct Insert {
    pub schema: &'static str,
    pub table: &'static str,
    pub values: Vec<(&'static str, String)>,
}

pub struct Hostile {
    port: u16,
    state: Arc<State>,
}

struct State {
    version: u16,
    script: Mutex<Script>,
    slots: Mutex<BTreeSet<String>>,
    queries: Mutex<Vec<String>>,
    /// How many connections have come to the twist.
    twisted: AtomicUsize,
    sockets: Mutex<Vec<TcpStream>>,
    open: AtomicUsize,
    gone: AtomicBool,
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

/// Reads and writes messages. Only the subset that subscribers use.
struct Connection<'a> {
    state: &'a State,
    input: BufReader<TcpStream>,
    output: TcpStream,
    /// Prepared statements by their names, and the one that is to run.
    statements: BTreeMap<String, String>,
    bound: String,
}

impl<'a> Connection<'a> {
    fn new(socket: &TcpStream, state: &'a State) -> io::Result<Self> {
        let (input, output) = (BufReader::new(socket.try_clone()?), socket.try_clone()?);
        Ok(Self { state, input, output, statements: BTreeMap::new(), bound: String::new() })
    }

    fn serve(mut self) -> io::Result<()> {
        self.twist(|when| *when == Moment::Accept)?;
        self.start_up()?;
        loop {
            let (tag, body) = self.read_message()?;
            match tag {
                b'Q' => self.answer(&text(&body))?,
                b'P' => {
                    let [name, sql] = strings(&body);
                    self.statements.insert(name, sql);
                    self.send(b'1', &[])?;
                }
                b'B' => {
                    let [_, name] = strings(&body);
                    self.bound = self.statements.get(&name).cloned().unwrap_or_default();
                    self.send(b'2', &[])?;
                }
                b'S' => self.answer(&self.bound.clone())?,
                b'X' => return Ok(()),
                _ => {}
            }
        }
    }

    fn start_up(&mut self) -> io::Result<()> {
        const SSL: u32 = 80_877_103;
        const GSS: u32 = 80_877_104;
        const CANCEL: u32 = 80_877_102;
        let packet = loop {
            let packet = self.read_packet()?;
            match packet.first_chunk().map(|code| u32::from_be_bytes(*code)) {
                Some(SSL | GSS) => self.output.write_all(b"N")?,
                Some(CANCEL) => return Err(io::ErrorKind::ConnectionAborted.into()),
                _ => break text(&packet),
            }
        };
        self.twist(|when| match when {
            Moment::Startup => true,
            Moment::StartupOf(name) => packet.contains(name),
            _ => false,
        })?;
        if self.state.script.lock().unwrap().asks_for_password {
            self.send(b'R', &3_u32.to_be_bytes())?;
            self.read_message()?;
        }
        self.send(b'R', &0_u32.to_be_bytes())?;
        self.twist(|when| *when == Moment::Login)?;
        let version = format!("{}.1", self.state.version);
        for (name, value) in [
            ("server_version", version.as_str()),
            ("server_encoding", "UTF8"),
            ("client_encoding", "UTF8"),
            ("integer_datetimes", "on"),
            ("standard_conforming_strings", "on"),
        ] {
            self.send(b'S', &[cstring(name), cstring(value)].concat())?;
        }
        self.send(b'K', &[0, 0, 0, 1, 0, 0, 0, 2])?;
        self.ready()
    }

    fn answer(&mut self, query: &str) -> io::Result<()> {
        self.state.queries.lock().unwrap().push(query.to_owned());
        if let Some(rows) = self.scripted(query) {
            self.rows(&rows)?;
            return self.ready();
        }
        self.twist(|when| matches!(when, Moment::Query(text) if query.contains(text)))?;
        let reply = self.carry_out(query);
        self.twist(|when| matches!(when, Moment::Answer(text) if query.contains(text)))?;
        match reply {
            Reply::Rows(rows) => self.rows(&rows)?,
            Reply::Done => self.complete("OK")?,
            Reply::Missing(slot) => {
                self.error("42704", &format!("replication slot \"{slot}\" does not exist"))?;
            }
            Reply::Copy => self.copy()?,
            Reply::Stream => self.stream(query)?,
        }
        self.ready()
    }

    /// What the script has it answer.
    fn scripted(&self, query: &str) -> Option<Vec<Row>> {
        self.state.script.lock().unwrap().twists.iter().find_map(|twist| match twist {
            Twist { when: Moment::Query(text), what: Behaviour::Answer(rows) } => {
                query.contains(text).then(|| rows.clone())
            }
            _ => None,
        })
    }

    /// What an honest publisher of these tables and slots would do.
    fn carry_out(&self, query: &str) -> Reply {
        let has = |text: &str| query.contains(text);
        let mut slots = self.state.slots.lock().unwrap();
        if has("START_REPLICATION") {
            Reply::Stream
        } else if query.starts_with("COPY") {
            Reply::Copy
        } else if has("DROP_REPLICATION_SLOT") {
            let name = argument(query);
            if slots.remove(&name) { Reply::Done } else { Reply::Missing(name) }
        } else if has("CREATE_REPLICATION_SLOT") {
            let name = argument(query);
            slots.insert(name.clone());
            Reply::row(&[&name, "0/1000", "snapshot", "pgoutput"])
        } else if has("IDENTIFY_SYSTEM") {
            Reply::row(&["7", "1", "0/1000", "trap"])
        } else if has("pg_create_logical_replication_slot") {
            // A temporary one, of which nobody else hears.
            Reply::row(&["0/1000"])
        } else if has("pg_copy_logical_replication_slot") {
            slots.insert(quoted_by('\'', query).remove(1));
            Reply::row(&["1"])
        } else if has("pg_replication_slots") {
            let asked = quoted_by('\'', query);
            Reply::names(asked.iter().filter(|name| slots.contains(*name)))
        } else if has("pg_stat_get_activity") {
            Reply::Rows(Vec::new())
        } else if has("SELECT l.schema, l.name") {
            self.published(select_list(query).max(2))
        } else if has("c.relreplident") {
            Reply::row(&["4711", "d", "r"])
        } else if has("a.attname") {
            Reply::row(&["1", "id", "23", "t"])
        } else if has("pg_get_expr(") {
            Reply::Rows(Vec::new())
        } else if has("array_length(gpt.attrs") {
            Reply::Rows(vec![vec![None]])
        } else if has("pg_publication_tables") || has("pg_get_publication_tables") {
            self.published(select_list(query))
        } else if has("pg_publication") {
            Reply::names(quoted_by('\'', query).iter())
        } else if query.starts_with("SELECT") {
            Reply::row(&["1"])
        } else {
            Reply::Done
        }
    }

    /// Schema, table, and as many NULLs as the query has further columns.
    fn published(&self, width: usize) -> Reply {
        let tables = &self.state.script.lock().unwrap().tables;
        let table = |(schema, table): &(String, String)| {
            let mut row = row(&[schema, table]);
            row.resize(width, None);
            row
        };
        Reply::Rows(tables.iter().map(table).collect())
    }

    fn copy(&mut self) -> io::Result<()> {
        self.send(b'H', &[0, 0, 1, 0, 0])?;
        let rows = self.state.script.lock().unwrap().copy.clone();
        for row in rows {
            self.send(b'd', format!("{row}\n").as_bytes())?;
        }
        self.send(b'c', &[])?;
        self.complete("COPY 1")
    }

    /// Sends each transaction once, those after the position that was asked for, also when they come
    /// into the script only now; ends when the other side has had enough.
    fn stream(&mut self, command: &str) -> io::Result<()> {
        self.send(b'W', &[0, 0, 0])?;
        let mut sent = transactions_before(command);
        while !self.has_stopped()? {
            let transactions = self.state.script.lock().unwrap().transactions.clone();
            while let Some(transaction) = transactions.get(sent) {
                sent += 1;
                self.send_transaction(sent, transaction)?;
            }
            self.keepalive(sent)?;
        }
        self.send(b'c', &[])?;
        self.complete("START_REPLICATION")
    }

    /// Waits a moment for a message of the subscriber, and tells whether it ends the stream. Its
    /// feedback is read and forgotten.
    fn has_stopped(&mut self) -> io::Result<bool> {
        self.output.set_read_timeout(Some(Duration::from_millis(20)))?;
        let is_silent = matches!(
            self.input.fill_buf(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock
        );
        self.output.set_read_timeout(None)?;
        Ok(!is_silent && self.read_message()?.0 == b'c')
    }

    fn send_transaction(&mut self, number: usize, inserts: &[Insert]) -> io::Result<()> {
        let end = lsn_of(number);
        let begin = [&end.to_be_bytes()[..], &0_u64.to_be_bytes(), &[0, 0, 3, number as u8]];
        self.wal(end, b'B', &begin.concat())?;
        for (relation, insert) in inserts.iter().enumerate() {
            let relation = (number * 100 + relation) as u32;
            self.wal(end, b'R', &insert.relation_message(relation))?;
            self.wal(end, b'I', &insert.insert_message(relation))?;
        }
        let commit = [&[0][..], &end.to_be_bytes(), &end.to_be_bytes(), &0_u64.to_be_bytes()];
        self.wal(end, b'C', &commit.concat())
    }

    fn wal(&mut self, lsn: u64, tag: u8, message: &[u8]) -> io::Result<()> {
        let lsn = lsn.to_be_bytes();
        self.send(b'd', &[b"w", &lsn[..], &lsn, &[0; 8], &[tag], message].concat())
    }

    fn keepalive(&mut self, sent: usize) -> io::Result<()> {
        self.send(b'd', &[b"k", &lsn_of(sent).to_be_bytes()[..], &[0; 8], &[0]].concat())
    }

    /// Misbehaves, if this is the moment. Comes back only for what is an answer.
    fn twist(&mut self, is_moment: impl Fn(&Moment) -> bool) -> io::Result<()> {
        let twists = self.state.script.lock().unwrap().twists.clone();
        let twist = twists.into_iter().find(|twist| is_moment(&twist.when));
        let Some(twist) = twist else { return Ok(()) };
        self.state.twisted.fetch_add(1, Ordering::SeqCst);
        match twist.what {
            Behaviour::Silence => {}
            Behaviour::HalfMessage(tag) => {
                self.output.write_all(&[&[tag][..], b"\0\0\x01\0half"].concat())?;
            }
            Behaviour::HalfResult => {
                self.describe(1)?;
                self.data(&row(&["half"]))?;
            }
            Behaviour::Drip => {
                self.describe(1)?;
                loop {
                    self.data(&row(&["drop"]))?;
                    thread::sleep(Duration::from_millis(20));
                }
            }
            Behaviour::Flood => {
                self.describe(1)?;
                loop {
                    self.data(&row(&["x"]))?;
                }
            }
            Behaviour::Notices => loop {
                self.send(b'N', &report("NOTICE", "00000", "listen to me"))?;
            },
            Behaviour::Parameters => {
                for number in 0_u64.. {
                    self.send(b'S', &[cstring(&format!("p{number}")), cstring("x")].concat())?;
                }
            }
            Behaviour::WideRows => {
                let row = vec![None; usize::from(u16::MAX)];
                self.describe(row.len())?;
                loop {
                    self.data(&row)?;
                }
            }
            Behaviour::LongMessage(tag) => {
                self.output.write_all(&[&[tag][..], &(1_u32 << 30).to_be_bytes()].concat())?;
                for _ in 0..1 << 14 {
                    self.output.write_all(&[b'x'; 1 << 16])?;
                }
            }
            Behaviour::Message(tag, body) => self.send(tag, body)?,
            Behaviour::Scram(iterations) => self.ask_for_scram(iterations)?,
            Behaviour::Garbage => self.output.write_all(&[0xff; 64])?,
            Behaviour::HangUp => return Err(io::ErrorKind::ConnectionAborted.into()),
            Behaviour::Error(code, message) => {
                self.error(code, &message)?;
                self.ready()?;
            }
            Behaviour::Answer(_) => return Ok(()),
            Behaviour::Rows(rows) => {
                self.rows(&rows)?;
                self.ready()?;
            }
        }
        // Until the other side leaves.
        io::copy(&mut self.input, &mut io::sink())?;
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    fn ask_for_scram(&mut self, iterations: u32) -> io::Result<()> {
        self.send(b'R', &[&10_u32.to_be_bytes()[..], b"SCRAM-SHA-256\0\0"].concat())?;
        let first = text(&self.read_message()?.1);
        let nonce = first.split("r=").nth(1).unwrap_or_default().to_owned();
        let challenge = format!("r={nonce}0,s=c2FsdHNhbHQ=,i={iterations}");
        self.send(b'R', &[&11_u32.to_be_bytes()[..], challenge.as_bytes()].concat())
    }

    fn rows(&mut self, rows: &[Row]) -> io::Result<()> {
        self.describe(rows.first().map_or(1, Vec::len))?;
        for row in rows {
            self.data(row)?;
        }
        self.complete(&format!("SELECT {}", rows.len()))
    }

    /// Text columns, as many as asked for.
    fn describe(&mut self, columns: usize) -> io::Result<()> {
        let mut body = (columns as u16).to_be_bytes().to_vec();
        for _ in 0..columns {
            body.extend(cstring("column"));
            body.extend([0; 6]);
            body.extend(25_u32.to_be_bytes());
            body.extend([0xff; 6]);
            body.extend([0; 2]);
        }
        self.send(b'T', &body)
    }

    fn data(&mut self, row: &Row) -> io::Result<()> {
        let mut body = (row.len() as u16).to_be_bytes().to_vec();
        for value in row {
            match value {
                Some(value) => {
                    body.extend((value.len() as u32).to_be_bytes());
                    body.extend(value);
                }
                None => body.extend([0xff; 4]),
            }
        }
        self.send(b'D', &body)
    }

    fn error(&mut self, code: &str, message: &str) -> io::Result<()> {
        self.send(b'E', &report("ERROR", code, message))
    }

    fn complete(&mut self, tag: &str) -> io::Result<()> {
        self.send(b'C', &cstring(tag))
    }

    fn ready(&mut self) -> io::Result<()> {
        self.send(b'Z', b"I")
    }

    fn send(&mut self, tag: u8, body: &[u8]) -> io::Result<()> {
        let length = (body.len() as u32 + 4).to_be_bytes();
        self.output.write_all(&[&[tag], &length[..], body].concat())
    }

    fn read_message(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut tag = [0];
        self.input.read_exact(&mut tag)?;
        Ok((tag[0], self.read_packet()?))
    }

    fn read_packet(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.input.read_exact(&mut length)?;
        let mut body = vec![0; (u32::from_be_bytes(length) as usize).saturating_sub(4)];
        self.input.read_exact(&mut body)?;
        Ok(body)
    }
}

enum Reply {
    Rows(Vec<Row>),
    Done,
    Missing(String),
    Copy,
    Stream,
}

impl Reply {
    fn row(values: &[&str]) -> Reply {
        Reply::Rows(vec![row(values)])
    }

    fn names<'a>(names: impl Iterator<Item = &'a String>) -> Reply {
        Reply::Rows(names.map(|name| row(&[name])).collect())
    }
}

impl Insert {
    /// `id` is the key; every type is text but that of `id`.
    fn relation_message(&self, relation: u32) -> Vec<u8> {
        let mut body = relation.to_be_bytes().to_vec();
        body.extend([cstring(self.schema), cstring(self.table), b"d".to_vec()].concat());
        body.extend((self.values.len() as u16).to_be_bytes());
        for (column, _) in &self.values {
            let (flags, kind) = if *column == "id" { (1, 23_u32) } else { (0, 25) };
            body.push(flags);
            body.extend(cstring(column));
            body.extend(kind.to_be_bytes());
            body.extend([0xff; 4]);
        }
        body
    }

    fn insert_message(&self, relation: u32) -> Vec<u8> {
        let mut body = [&relation.to_be_bytes()[..], b"N"].concat();
        body.extend((self.values.len() as u16).to_be_bytes());
        for (_, value) in &self.values {
            body.push(b't');
            body.extend((value.len() as u32).to_be_bytes());
            body.extend(value.as_bytes());
        }
        body
    }
}

/// The end of a transaction; the first is number 1, at 0/1100.
fn lsn_of(transaction: usize) -> u64 {
    0x1000 + 0x100 * transaction as u64
}

/// How many transactions end at or before the position in a START_REPLICATION command.
fn transactions_before(command: &str) -> usize {
    let position = command.split(" 0/").nth(1).unwrap_or_default();
    let digits: String = position.chars().take_while(char::is_ascii_hexdigit).collect();
    let lsn = u64::from_str_radix(&digits, 16).unwrap_or_default();
    (lsn.saturating_sub(lsn_of(0)) / 0x100) as usize
}

/// How many columns a query asks for: core's has one more for column lists, by major.
fn select_list(query: &str) -> usize {
    let list = query.split("FROM").next().unwrap_or_default();
    list.matches(',').count() + 1
}

/// The name after a replication command: core quotes it, or not, by major.
fn argument(command: &str) -> String {
    command.split_whitespace().nth(1).unwrap_or_default().trim_matches('"').to_owned()
}

/// What stands between quotes.
fn quoted_by(quote: char, text: &str) -> Vec<String> {
    text.split(quote).skip(1).step_by(2).map(str::to_owned).collect()
}

pub fn row(values: &[&str]) -> Row {
    values.iter().map(|value| Some(value.as_bytes().to_vec())).collect()
}

fn report(severity: &str, code: &str, message: &str) -> Vec<u8> {
    let field = |tag: u8, value: &str| [&[tag], &cstring(value)[..]].concat();
    [field(b'S', severity), field(b'V', severity), field(b'C', code), field(b'M', message), vec![0]]
        .concat()
}

fn cstring(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

/// The strings at the beginning of a message.
fn strings<const N: usize>(body: &[u8]) -> [String; N] {
    let mut parts = body.split(|byte| *byte == 0);
    std::array::from_fn(|_| text(parts.next().unwrap_or_default()))
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).trim_end_matches('\0').to_owned()
}
