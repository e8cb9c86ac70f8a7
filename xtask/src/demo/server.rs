//! One of the two servers, as people reach it: the ordinary role over verified TLS with its
//! password, the superuser through the unix socket.

use super::screen::Screen;
use anyhow::{Context, Result, bail, ensure};
use std::io::Write;
use std::process::{Command, Output, Stdio};
use testbed::{Cluster, PASSWORD, command, tls, tools};

pub const DATABASE: &str = "shop";
pub const ORDINARY: Role = Role { name: "app", prompt: "=>" };
pub const SUPERUSER: Role = Role { name: "postgres", prompt: "=#" };

/// A role, and how psql's prompt ends for it.
#[derive(Clone, Copy, PartialEq)]
pub struct Role {
    pub name: &'static str,
    prompt: &'static str,
}

pub struct Server {
    pub name: &'static str,
    pub version: String,
    pub cluster: Cluster,
}

impl Server {
    /// Nobody comes in by TCP without TLS. pgbench and pg_dump may be built without it, so the
    /// socket lets the ordinary role in too, and asks for its password.
    pub fn start(name: &'static str, major: u16) -> Result<Server> {
        let cluster = Cluster::builder(major)
            .tls_only()
            .hba(&format!("local all {} scram-sha-256", ORDINARY.name))
            .preload("pgmig_extras")
            .start()?;
        let mut server = Server { name, version: String::new(), cluster };
        let version = server.session(SUPERUSER, "postgres").ask("SHOW server_version")?;
        // Some builds add their package's version in parentheses.
        server.version = version.split(' ').next().unwrap_or_default().to_owned();
        Ok(server)
    }

    pub fn session<'a>(&'a self, role: Role, database: &'a str) -> Session<'a> {
        Session { server: self, role, database, variables: Vec::new() }
    }

    /// The ordinary role's session in the database that moves.
    pub fn ordinary(&self) -> Session<'_> {
        self.session(ORDINARY, DATABASE)
    }

    /// How a subscriber reaches this server, with the password or with something in its place.
    pub fn conninfo(&self, password: &str) -> Result<String> {
        self.cluster.tls_conninfo(ORDINARY.name, password, DATABASE)
    }

    pub fn pg_dump(&self) -> Result<Command> {
        let mut pg_dump = Command::new(tools::pg_dump(self.cluster.major())?);
        self.steer(&mut pg_dump, ORDINARY, DATABASE);
        Ok(pg_dump)
    }

    pub fn pgbench(&self) -> Result<Command> {
        let mut pgbench = Command::new(tools::pgbench()?);
        self.steer(&mut pgbench, ORDINARY, DATABASE);
        Ok(pgbench)
    }

    /// Makes a client program come here, through the socket.
    fn steer(&self, client: &mut Command, role: Role, database: &str) {
        command::without_libpq_variables(client)
            .env("PGHOST", self.cluster.socket_dir())
            .env("PGPORT", self.cluster.port().to_string())
            .env("PGUSER", role.name)
            .env("PGPASSWORD", PASSWORD)
            .env("PGDATABASE", database);
    }
}

/// Somebody at a psql prompt.
pub struct Session<'a> {
    server: &'a Server,
    role: Role,
    database: &'a str,
    variables: Vec<(&'static str, String)>,
}

impl Session<'_> {
    /// As `\set` does, out of sight.
    pub fn set(mut self, variable: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((variable, value.into()));
        self
    }

    /// Types a statement and shows what comes back, which is also returned.
    pub fn show(&self, screen: &Screen, statement: &str) -> Result<String> {
        self.show_as(screen, statement, statement)
    }

    /// Shows another text than the one that runs.
    pub fn show_as(&self, screen: &Screen, shown: &str, statement: &str) -> Result<String> {
        screen.typed(&self.prompt(), shown);
        let output = feed(self.psql()?, statement)?;
        let answer = String::from_utf8(output.stdout)?;
        screen.answer(&String::from_utf8_lossy(&output.stderr));
        screen.answer(&answer);
        ensure!(output.status.success(), "the {} refused this", self.server.name);
        Ok(answer)
    }

    /// Asks behind the scenes: bare fields, `|` between them.
    pub fn ask(&self, sql: &str) -> Result<String> {
        let mut psql = self.psql()?;
        psql.args(["--quiet", "--no-align", "--tuples-only"]);
        let output = feed(psql, sql)?;
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            bail!("{} on the {}: {}", self.role.name, self.server.name, complaint.trim_end());
        }
        Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
    }

    pub fn psql(&self) -> Result<Command> {
        let mut psql = Command::new(tools::psql()?);
        psql.args(["--no-psqlrc", "--set=ON_ERROR_STOP=1"]);
        psql.args(self.variables.iter().map(|(name, value)| format!("--set={name}={value}")));
        self.server.steer(&mut psql, self.role, self.database);
        if self.role == ORDINARY {
            psql.env("PGHOST", "127.0.0.1").env("PGSSLMODE", "verify-full");
            psql.env("PGSSLROOTCERT", tls::ca_file()?);
        }
        Ok(psql)
    }

    pub fn prompt(&self) -> String {
        format!("{}@{}:{}{}", self.role.name, self.server.name, self.database, self.role.prompt)
    }
}

/// Runs a program with this on its standard input, which psql takes as if it had been typed.
pub fn feed(mut program: Command, input: &str) -> Result<Output> {
    let mut child = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", program.get_program().display()))?;
    let mut stdin = child.stdin.take().context("its standard input is a pipe")?;
    // A program that ends early says why in its output.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    Ok(child.wait_with_output()?)
}
