//! A client that speaks the protocol message by message, to name statements and portals as it likes.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use testbed::Cluster;

const DEADLINE: Duration = Duration::from_secs(60);

pub struct Wire(UnixStream);

impl Wire {
    /// As the superuser.
    pub fn open(cluster: &Cluster) -> Wire {
        let path = cluster.socket_dir().join(format!(".s.PGSQL.{}", cluster.port()));
        let socket = UnixStream::connect(path).expect("the server listens");
        socket.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        let mut wire = Wire(socket);
        let body = [&196_608_i32.to_be_bytes()[..], b"user\0postgres\0\0"].concat();
        wire.write(&[&length(&body), &body]);
        wire.read_until_ready();
        wire
    }

    pub fn query(&mut self, sql: &str) {
        self.send(b'Q', &[sql.as_bytes(), b"\0"]);
        self.read_until_ready();
    }

    /// Parse, Bind, Execute without parameters.
    pub fn run_prepared(&mut self, statement: &str, portal: &str, sql: &str) {
        let (statement, portal) = (statement.as_bytes(), portal.as_bytes());
        self.send(b'P', &[statement, b"\0", sql.as_bytes(), b"\0\0\0"]);
        self.send(b'B', &[portal, b"\0", statement, b"\0\0\0\0\0\0\0"]);
        self.send(b'E', &[portal, b"\0\0\0\0\0"]);
        self.send(b'C', &[b"S", statement, b"\0"]);
        self.send(b'S', &[]);
        self.read_until_ready();
    }

    fn send(&mut self, tag: u8, body: &[&[u8]]) {
        let body = body.concat();
        self.write(&[&[tag], &length(&body), &body]);
    }

    fn write(&mut self, parts: &[&[u8]]) {
        self.0.write_all(&parts.concat()).expect("the server reads");
    }

    fn read_until_ready(&mut self) {
        loop {
            let mut head = [0; 5];
            self.0.read_exact(&mut head).expect("the server answers");
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) - 4;
            let mut body = vec![0; length as usize];
            self.0.read_exact(&mut body).expect("the server answers");
            if head[0] == b'Z' {
                return;
            }
        }
    }
}

fn length(body: &[u8]) -> [u8; 4] {
    (body.len() as u32 + 4).to_be_bytes()
}
