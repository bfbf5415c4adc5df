//! `database.*`: the server and how to be let in.

use std::path::PathBuf;
use std::time::Duration;

use towpath_sdk::config::{ConfigValue, ConnectorConfig, FieldError, FieldType, Secret};

use crate::wire::SslMode;

/// Keys under `database.`.
#[derive(Debug, Clone, ConnectorConfig)]
#[config(group = "Connection", validate = Database::check)]
pub struct Database {
    /// The server's host name or address; a path is the directory of a Unix socket.
    #[config(importance = high, non_empty)]
    pub hostname: String,
    /// The server's port.
    #[config(default = 5432, importance = high, range(min = 1, max = 65535))]
    pub port: u16,
    /// The user. It needs the attribute REPLICATION and SELECT on the tables.
    #[config(importance = high, non_empty)]
    pub user: String,
    /// The password.
    #[config(importance = high)]
    pub password: Option<Secret<String>>,
    /// The database.
    #[config(importance = high, non_empty)]
    pub dbname: String,
    /// Whether and how TLS is used, as libpq understands it.
    #[config(default = "prefer")]
    pub sslmode: SslMode,
    /// A file with the client's certificate, PEM.
    #[config(none = "")]
    pub sslcert: Option<PathBuf>,
    /// A file with the client's private key, PEM.
    #[config(none = "")]
    pub sslkey: Option<PathBuf>,
    /// The password of the private key.
    pub sslpassword: Option<Secret<String>>,
    /// A file with the certificates that are trusted, PEM.
    #[config(none = "")]
    pub sslrootcert: Option<PathBuf>,
    /// Whether TCP looks now and then whether the server is still there.
    #[config(key = "tcpKeepAlive", default = true, importance = low)]
    pub tcp_keep_alive: bool,
    /// SQL that is run on each new connection for queries, separated by semicolons; a doubled one is one
    /// of the SQL's own. It may set what it likes of a session but how values are written.
    #[config(default = "", importance = low)]
    pub initial_statements: Statements,
    /// How long a query may take, in milliseconds; 0 is for ever. Not the reading of a snapshot's rows,
    /// which lasts as long as it takes.
    #[config(default = 600_000, importance = low)]
    pub query_timeout_ms: Duration,
}

/// Statements of SQL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statements(pub(crate) Vec<String>);

impl ConfigValue for Statements {
    const KIND: FieldType = FieldType::String;

    fn parse_value(text: &str) -> Result<Self, String> {
        let mut statements = vec![String::new()];
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            match statements.last_mut() {
                Some(last) if c != ';' || rest.next_if_eq(&';').is_some() => last.push(c),
                _ => statements.push(String::new()),
            }
        }
        let trimmed = statements.iter().map(|statement| statement.trim().to_owned());
        Ok(Self(trimmed.filter(|statement| !statement.is_empty()).collect()))
    }
}

impl Database {
    fn check(&self) -> Vec<FieldError> {
        if self.sslcert.is_some() == self.sslkey.is_some() {
            return Vec::new();
        }
        vec![FieldError::other("sslcert", "database.sslcert and database.sslkey go together")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_separated() {
        let text = "SET a = 1; DO $$ BEGIN x();; END;; $$ ;; ;";
        let statements = Statements::parse_value(text).unwrap().0;
        assert_eq!(statements, ["SET a = 1", "DO $$ BEGIN x(); END; $$ ;"]);
        assert_eq!(Statements::parse_value("").unwrap(), Statements::default());
    }
}
