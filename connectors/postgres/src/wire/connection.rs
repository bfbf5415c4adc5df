//! A connection in replication mode, before it streams.
//!
//! Duty: connect, log in, and ask for one thing after the other in simple queries
//! (<https://www.postgresql.org/docs/current/protocol-flow.html>). The commands of replication are in
//! `command`, streaming in `stream`.
//!
//! Invariants: one query at a time; a connection whose query was dropped half-way takes no other.

use std::collections::BTreeMap;
use std::sync::Arc;

use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncWrite};
use towpath_sdk::ErrorKind;

use super::auth::{self, Way};
use super::channel::{Channel, Message};
use super::error::{Cause, Result, ServerError, WireError};
use super::fields::{self, Fields};
use super::socket::{self, Transport};
use super::target::Target;

/// How many settings a server may report: they are kept.
const PARAMETERS_MAX: usize = 256;

/// A connection in replication mode.
#[derive(Debug)]
pub struct Connection<S = Transport> {
    pub(super) channel: Channel<S>,
    pub(super) peer: Arc<str>,
    parameters: BTreeMap<String, String>,
    is_ready: bool,
}

/// What a query gave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rows {
    /// The columns' names.
    pub columns: Vec<String>,
    /// The rows: of each column its value as text, `None` for null.
    pub rows: Vec<Vec<Option<String>>>,
}

impl Rows {
    /// The value of the column called `name` in the first row, if there is one and it is not null.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&str> {
        let column = self.columns.iter().position(|column| column == name)?;
        self.rows.first()?.get(column)?.as_deref()
    }
}

impl Connection {
    /// Connects and logs in, within [`Target::connect_timeout`].
    ///
    /// # Errors
    ///
    /// What goes wrong with the network, TLS or the login; the text names the server and the user.
    pub async fn connect(target: &Target) -> Result<Self> {
        socket::connect(target).await
    }

    /// Whether it is encrypted.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        self.channel.stream().is_encrypted()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Logs in on a stream of bytes to the server (TLS, if any, inside it).
    pub(super) async fn start(stream: S, target: &Target, way: &Way) -> Result<Self> {
        let mut connection = Self {
            channel: Channel::new(stream),
            peer: target.peer(),
            parameters: BTreeMap::new(),
            is_ready: false,
        };
        match connection.start_up(target, way).await {
            Ok(()) => Ok(connection),
            Err(cause) => Err(connection.error("log in to", cause)),
        }
    }

    async fn start_up(&mut self, target: &Target, way: &Way) -> Result<(), Cause> {
        let options = target.option_text();
        let mut parameters = vec![
            ("user", target.user.as_str()),
            ("database", target.database.as_str()),
            ("replication", "database"),
            ("client_encoding", "UTF8"),
            ("application_name", target.application_name.as_str()),
        ];
        if !options.is_empty() {
            parameters.push(("options", options.as_str()));
        }
        if parameters.iter().any(|(_, value)| value.contains('\0')) {
            let text = "the user, the database or a setting contains a zero character";
            return Err(Cause::refused(ErrorKind::Config, text));
        }
        frontend::startup_message(parameters, self.channel.outbox())?;
        self.channel.flush().await?;
        auth::log_in(&mut self.channel, target, way).await?;
        self.channel.trust();
        loop {
            let Message { tag, .. } = self.receive().await?;
            match tag {
                // What a cancel request would need.
                b'K' => {}
                b'Z' => break,
                other => return Err(unexpected(other, "after the login")),
            }
        }
        self.is_ready = true;
        Ok(())
    }

    /// Runs `sql`, a command of replication or a statement, and waits for its end. If there are several
    /// statements, the last one's rows are given.
    ///
    /// Not cancel-safe: the connection takes no other query if this is dropped.
    ///
    /// # Errors
    ///
    /// What the server says, or a lost connection.
    pub async fn query(&mut self, sql: &str) -> Result<Rows> {
        self.ask(sql).await.map_err(|cause| self.error("query", cause))
    }

    pub(super) async fn ask(&mut self, sql: &str) -> Result<Rows, Cause> {
        self.send(sql).await?;
        let mut rows = Rows::default();
        let mut refusal = None;
        loop {
            match self.receive().await {
                Ok(Message { tag: b'T', body }) => {
                    rows = Rows { columns: fields::column_names(&body)?, rows: Vec::new() };
                }
                Ok(Message { tag: b'D', body }) => rows.rows.push(fields::column_values(&body)?),
                // The end of a statement, or that it was empty.
                Ok(Message { tag: b'C' | b'I', .. }) => {}
                Ok(Message { tag: b'Z', .. }) => break,
                Ok(Message { tag, .. }) => return Err(unexpected(tag, "in answer to a query")),
                Err(Cause::Server(error)) if !error.is_fatal() => refusal = Some(error),
                Err(cause) => return Err(cause),
            }
        }
        self.is_ready = true;
        refusal.map_or(Ok(rows), |error| Err(Cause::Server(error)))
    }

    /// Sends a query, whose answer is then to be received.
    pub(super) async fn send(&mut self, sql: &str) -> Result<(), Cause> {
        if !std::mem::replace(&mut self.is_ready, false) {
            let text = "the query before was given up half-way; connect again";
            return Err(Cause::refused(ErrorKind::Unavailable, text));
        }
        frontend::query(sql, self.channel.outbox())?;
        self.channel.flush().await
    }

    /// The next message that is part of an answer; an error of the server is an error.
    pub(super) async fn receive(&mut self) -> Result<Message, Cause> {
        loop {
            let message = self.channel.next().await?;
            match message.tag {
                b'E' => return Err(Cause::Server(Box::new(ServerError::parse(&message.body)))),
                b'N' => notice(&message.body),
                b'S' => self.keep_parameter(&message.body),
                // A notification that nobody asked for.
                b'A' => {}
                _ => return Ok(message),
            }
        }
    }

    fn keep_parameter(&mut self, body: &[u8]) {
        let mut fields = Fields::new(body);
        if let (Some(name), Some(value)) = (fields.text(), fields.text())
            && (self.parameters.len() < PARAMETERS_MAX || self.parameters.contains_key(&name))
        {
            self.parameters.insert(name, value);
        }
    }

    /// What the server reported under `name`, for example `server_version`.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// The server's major version: 15 of `15.14 (Debian 15.14-0+deb12u1)`; 0 if it says none.
    #[must_use]
    pub fn server_major(&self) -> u32 {
        let version = self.parameter("server_version").unwrap_or_default();
        let digits = version.split(|c: char| !c.is_ascii_digit()).next();
        digits.and_then(|digits| digits.parse().ok()).unwrap_or_default()
    }

    /// Says goodbye, as far as that works.
    pub async fn close(mut self) {
        frontend::terminate(self.channel.outbox());
        let flushed = self.channel.flush().await.is_ok();
        let closed = self.channel.shutdown().await.is_ok();
        if !(flushed && closed) {
            tracing::debug!(peer = %self.peer, "the server did not hear the goodbye");
        }
    }

    pub(super) fn error(&self, doing: &'static str, cause: impl Into<Cause>) -> WireError {
        WireError::new(doing, &self.peer, cause)
    }
}

/// Logs what the server thinks that somebody should know.
pub(super) fn notice(body: &[u8]) {
    let notice = ServerError::parse(body);
    tracing::debug!(severity = notice.severity, "the server says: {notice}");
}

pub(super) fn unexpected(tag: u8, place: &str) -> Cause {
    Cause::unexpected(format_args!("a message '{}' {place}", tag.escape_ascii()))
}
