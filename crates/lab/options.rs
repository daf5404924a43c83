//! What may differ from one lab PostgreSQL to the next.

/// How to start a [`Postgres`](crate::Postgres).
#[derive(Debug, Clone)]
pub struct Options {
    /// PostgreSQL's `max_connections`.
    pub max_connections: u32,
    /// Lines for postgresql.conf; they come last, so they win.
    pub conf: Vec<String>,
    /// Lines for pg_hba.conf; they come first, so they win.
    pub hba: Vec<String>,
    /// Files for the data directory, name and content, readable by the server alone: a certificate and its key,
    /// for example, to be named in `conf`.
    pub files: Vec<(String, Vec<u8>)>,
    /// PostgreSQL speaks TLS too (`ssl = on`). The certificates:
    /// [`Postgres::authority`](crate::Postgres::authority).
    pub tls: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { max_connections: 200, conf: Vec::new(), hba: Vec::new(), files: Vec::new(), tls: false }
    }
}

impl Options {
    /// Turns TLS on. Logins without it work as before.
    pub fn tls(mut self) -> Options {
        self.tls = true;
        self
    }

    /// Adds a line to postgresql.conf.
    pub fn conf(mut self, line: impl Into<String>) -> Options {
        self.conf.push(line.into());
        self
    }

    /// Adds a line to pg_hba.conf, before those that are there.
    pub fn hba(mut self, line: impl Into<String>) -> Options {
        self.hba.push(line.into());
        self
    }

    /// Adds a file to the data directory.
    pub fn file(mut self, name: impl Into<String>, content: impl Into<Vec<u8>>) -> Options {
        self.files.push((name.into(), content.into()));
        self
    }
}
