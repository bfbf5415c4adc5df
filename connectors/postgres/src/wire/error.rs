//! What goes wrong on the connection.
//!
//! Duty: say what was being done on which server, as whom, and why it failed; map what the server
//! said (SQLSTATE, <https://www.postgresql.org/docs/current/errcodes-appendix.html>) and what the
//! operating system said to the kinds that the engine acts on. No text holds a password.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use towpath_sdk::error::kind_of_io;
use towpath_sdk::{Error, ErrorKind};

use super::fields::Fields;
use crate::tls::TlsError;

/// The result of a call on the connection.
pub type Result<T, E = WireError> = std::result::Result<T, E>;

/// A call on the connection that failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {peer}: {cause}")]
pub struct WireError {
    doing: &'static str,
    peer: Arc<str>,
    #[source]
    cause: Cause,
}

impl WireError {
    /// `doing` (a verb in the infinitive, and a preposition if it wants one) failed.
    pub(super) fn new(doing: &'static str, peer: &Arc<str>, cause: impl Into<Cause>) -> Self {
        Self { doing, peer: Arc::clone(peer), cause: cause.into() }
    }

    /// What the engine is to make of it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.cause.kind()
    }

    /// Why.
    #[must_use]
    pub const fn cause(&self) -> &Cause {
        &self.cause
    }

    /// What the server said, if it was the server that refused.
    #[must_use]
    pub fn server(&self) -> Option<&ServerError> {
        match &self.cause {
            Cause::Server(error) => Some(error),
            _ => None,
        }
    }
}

impl From<WireError> for Error {
    fn from(error: WireError) -> Self {
        Self::new(error.kind(), error.to_string()).with_source(error)
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The operating system, or TLS on top of it.
    #[error("{}", io_text(.0))]
    Io(#[from] io::Error),
    /// The server is gone without a word.
    #[error("the server closed the connection")]
    Closed,
    /// The server ended the stream, as it does when it is shut down.
    #[error("the server ended the stream, as it does when it is shut down")]
    Ended,
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The server refused.
    #[error("{error}{hint}", error = .0, hint = .0.hint())]
    Server(Box<ServerError>),
    /// The peer does not keep to the protocol: it may not be PostgreSQL.
    #[error("{0}, which a PostgreSQL server does not send there")]
    Protocol(String),
    /// The files that TLS needs.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// This side does not go on.
    #[error("{text}")]
    Refused {
        /// What the engine is to make of it.
        kind: ErrorKind,
        /// Why not, and what would help.
        text: String,
    },
}

impl Cause {
    pub(super) fn refused(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self::Refused { kind, text: text.into() }
    }

    pub(super) fn unexpected(what: impl fmt::Display) -> Self {
        Self::Protocol(what.to_string())
    }

    fn kind(&self) -> ErrorKind {
        match self {
            Self::Io(error) if tls_error(error).is_some() => ErrorKind::Unauthenticated,
            // A text that can't be sent, or a host's name that no certificate can have.
            Self::Io(error) if error.kind() == io::ErrorKind::InvalidInput => ErrorKind::Config,
            // A name that can't be resolved is of no kind that the standard library knows.
            Self::Io(error) => match kind_of_io(error) {
                ErrorKind::Internal => ErrorKind::Unavailable,
                kind => kind,
            },
            Self::Closed | Self::Ended => ErrorKind::Unavailable,
            Self::Timeout(_) => ErrorKind::Timeout,
            Self::Server(error) => kind_of_sqlstate(&error.sqlstate),
            Self::Protocol(_) => ErrorKind::Internal,
            Self::Tls(error) => error.kind(),
            Self::Refused { kind, .. } => *kind,
        }
    }

    /// Whether the server refuses this way of connecting (encrypted or not), before any credentials.
    pub(super) fn is_about_the_way(&self) -> bool {
        match self {
            Self::Server(error) => error.sqlstate == "28000",
            Self::Io(error) => tls_error(error).is_some(),
            _ => false,
        }
    }
}

/// What TLS has to say about an error of a stream.
fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn io_text(error: &io::Error) -> String {
    use rustls::Error::{AlertReceived, InvalidCertificate};
    let hint = match tls_error(error) {
        Some(AlertReceived(_)) => {
            "; the server did not take the handshake: check database.sslcert and database.sslkey"
        }
        Some(InvalidCertificate(_)) => {
            "; the server's certificate is not trusted: check database.sslrootcert, database.hostname \
             and the certificate"
        }
        _ => "",
    };
    format!("{error}{hint}")
}

/// An error or a notice of the server
/// (<https://www.postgresql.org/docs/current/protocol-error-fields.html>).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerError {
    /// `ERROR`, `FATAL`, `PANIC`, or a notice's level, never translated (from 9.6 on).
    pub severity: String,
    /// Five characters that say what it is.
    pub sqlstate: String,
    /// What it is, in the server's language.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What the server suggests.
    pub hint: Option<String>,
}

impl ServerError {
    /// Reads the body of an `ErrorResponse` or a `NoticeResponse`; what can't be read is left out.
    pub(super) fn parse(body: &[u8]) -> Self {
        let mut error = Self::default();
        let mut fields = Fields::new(body);
        while let Some(code) = fields.u8().filter(|code| *code != 0) {
            let Some(text) = fields.text() else { break };
            match code {
                b'V' => error.severity = text,
                b'S' if error.severity.is_empty() => error.severity = text,
                b'C' => error.sqlstate = text,
                b'M' => error.message = text,
                b'D' => error.detail = Some(text),
                b'H' => error.hint = Some(text),
                _ => {}
            }
        }
        error
    }

    /// Whether the session is over.
    pub(super) fn is_fatal(&self) -> bool {
        matches!(self.severity.as_str(), "FATAL" | "PANIC")
    }

    /// What would help, where the server does not say so itself.
    fn hint(&self) -> &'static str {
        match self.sqlstate.as_str() {
            "28P01" => "; correct database.user and database.password",
            "42501" => "; the user needs this right, or the attribute REPLICATION (ALTER ROLE)",
            "53300" => "; raise max_connections or max_wal_senders, or wait",
            "53400" => "; drop unused replication slots, or raise max_replication_slots",
            "55006" => "; wait, or end the session that uses it",
            "55000" if self.message.contains("wal_level") => {
                "; set wal_level=logical and restart the server"
            }
            _ => "",
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.sqlstate)?;
        for more in [&self.detail, &self.hint].into_iter().flatten() {
            write!(f, "; {}", more.trim_end_matches('.'))?;
        }
        Ok(())
    }
}

/// The kind that a SQLSTATE means; also for what is asked over other connections to the same server.
#[must_use]
pub fn kind_of_sqlstate(sqlstate: &str) -> ErrorKind {
    match sqlstate {
        "42501" => ErrorKind::Forbidden,
        // Database, schema, table, object (a slot, a publication), WAL segment.
        "3D000" | "3F000" | "42P01" | "42704" | "58P01" => ErrorKind::NotFound,
        "42710" | "42P07" => ErrorKind::Conflict,
        // The slot is in use, or the object is locked.
        "55006" | "55P03" => ErrorKind::Unavailable,
        // The server is a standby, and may be promoted, or get from its primary what it lacks.
        "25006" => ErrorKind::Unavailable,
        // The server's settings do not allow it (wal_level), or the slot is not usable any more; a value
        // or a name that can't be.
        "55000" | "22023" | "42602" => ErrorKind::Config,
        "42601" | "0A000" => ErrorKind::Unsupported,
        "53100" => ErrorKind::OutOfSpace,
        // statement_timeout, or somebody cancelled it.
        "57014" => ErrorKind::Timeout,
        _ => match sqlstate.get(..2) {
            Some("28") => ErrorKind::Unauthenticated,
            // Connection, rollback by the server, resources, operator.
            Some("08" | "40" | "53" | "57") => ErrorKind::Unavailable,
            _ => ErrorKind::Internal,
        },
    }
}

#[cfg(test)]
mod tests {
    use towpath_sdk::error::Action;

    use super::*;

    fn said(sqlstate: &str, message: &str) -> WireError {
        let body = format!("SFEHLER\0VFATAL\0C{sqlstate}\0M{message}\0HDo it.\0Ffile.c\0\0");
        let error = ServerError::parse(body.as_bytes());
        assert!(error.is_fatal());
        WireError::new("log in to", &"PostgreSQL at db:5432".into(), Cause::Server(Box::new(error)))
    }

    #[test]
    fn texts_say_where_and_hint() {
        let error = Error::from(said("28P01", "no"));
        assert_eq!(
            error.chain(),
            "log in to PostgreSQL at db:5432: no (SQLSTATE 28P01); Do it; correct database.user and \
             database.password"
        );
    }

    #[test]
    fn each_state_has_its_kind() {
        for (sqlstate, kind) in [
            ("28P01", ErrorKind::Unauthenticated),
            ("28000", ErrorKind::Unauthenticated),
            ("42501", ErrorKind::Forbidden),
            ("57P03", ErrorKind::Unavailable),
            ("57P01", ErrorKind::Unavailable),
            ("53300", ErrorKind::Unavailable),
            ("53100", ErrorKind::OutOfSpace),
            ("08006", ErrorKind::Unavailable),
            ("42704", ErrorKind::NotFound),
            ("55006", ErrorKind::Unavailable),
            ("25006", ErrorKind::Unavailable),
            ("55000", ErrorKind::Config),
            ("XX000", ErrorKind::Internal),
            ("", ErrorKind::Internal),
            ("ä", ErrorKind::Internal),
        ] {
            assert_eq!(said(sqlstate, "x").kind(), kind, "{sqlstate}");
        }
    }

    #[test]
    fn a_lost_connection_is_retried() {
        for error in [io::ErrorKind::ConnectionRefused, io::ErrorKind::ConnectionReset] {
            let cause = Cause::from(io::Error::from(error));
            assert_eq!(cause.kind().action(), Action::Retry);
        }
        for cause in [Cause::Closed, Cause::Ended, Cause::Timeout(Duration::from_secs(1))] {
            assert_eq!(cause.kind().action(), Action::Retry);
        }
    }

    #[test]
    fn any_bytes_are_an_error_of_the_server() {
        for body in [&b""[..], b"\0", b"M", b"Mhalf", b"M\xff\0", b"MmC\0"] {
            let _ = ServerError::parse(body).to_string();
        }
    }
}
