//! What the audience sees: psql's prompts and answers, and lines of our own between them.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often a line that goes on changing is repeated where it can't be rewritten.
const REPEAT: Duration = Duration::from_secs(2);

pub struct Screen {
    is_terminal: bool,
}

impl Screen {
    pub fn new() -> Screen {
        Screen { is_terminal: io::stdout().is_terminal() }
    }

    pub fn heading(&self, text: &str) {
        println!("\n{}", self.bold(&format!("--- {text}")));
    }

    pub fn note(&self, text: &str) {
        println!("{text}");
    }

    /// What somebody typed, after the prompt of psql or of the shell.
    pub fn typed(&self, prompt: &str, text: &str) {
        println!("{prompt} {}", self.bold(text));
    }

    /// An answer, without the blank line that psql puts after a table, and without the table that
    /// it draws around the void that a function returned.
    pub fn answer(&self, text: &str) {
        let lines: Vec<&str> = text.trim_end().lines().map(str::trim_end).collect();
        let shown = match lines[..] {
            [_, _, "", count] => &[count],
            _ => &lines[..],
        };
        for line in shown {
            println!("{line}");
        }
    }

    /// A text as it is.
    pub fn lines(&self, text: &str) {
        println!("{}", text.trim_end());
    }

    pub fn progress(&self) -> Progress<'_> {
        Progress { screen: self, shown: String::new(), since: None }
    }

    fn bold(&self, text: &str) -> String {
        if self.is_terminal { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// One line that changes in place on a terminal, and is repeated now and then elsewhere.
pub struct Progress<'a> {
    screen: &'a Screen,
    shown: String,
    since: Option<Instant>,
}

impl Progress<'_> {
    pub fn show(&mut self, line: &str) {
        let is_due = self.screen.is_terminal || self.since.is_none_or(|at| at.elapsed() >= REPEAT);
        if line != self.shown && is_due {
            self.print(line);
        }
    }

    /// The last state of the line.
    pub fn finish(mut self, line: &str) {
        self.print(line);
        if self.screen.is_terminal {
            println!();
        }
    }

    fn print(&mut self, line: &str) {
        if self.screen.is_terminal {
            print!("\r\x1b[K{line}");
            // A line that can't be shown now will be shown with the next one.
            let _ = io::stdout().flush();
        } else {
            println!("{line}");
        }
        self.shown = line.to_owned();
        self.since = Some(Instant::now());
    }
}
