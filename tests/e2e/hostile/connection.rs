//! One connection: reads and writes messages.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::message::{
    Reply, argument, cstring, lsn_of, quoted_by, report, row, select_list, strings, text,
    transactions_before,
};
use super::script::{Behaviour, Insert, Moment, Row, Twist};
use super::server::State;

/// Reads and writes messages. Only the subset that subscribers use.
pub struct Connection<'a> {
    state: &'a State,
    input: BufReader<TcpStream>,
    output: TcpStream,
    /// Prepared statements by their names, and the one that is to run.
    statements: BTreeMap<String, String>,
    bound: String,
}

impl<'a> Connection<'a> {
    pub fn new(socket: &TcpStream, state: &'a State) -> io::Result<Self> {
        let (input, output) = (BufReader::new(socket.try_clone()?), socket.try_clone()?);
        Ok(Self { state, input, output, statements: BTreeMap::new(), bound: String::new() })
    }

    pub fn serve(mut self) -> io::Result<()> {
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
