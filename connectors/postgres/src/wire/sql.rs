//! Connections that do not replicate.
//!
//! Duty: connect tokio-postgres to a [`Target`] by the same rules as a replication connection: modes of
//! TLS, certificates, time, errors.
//!
//! Absent: [`Target::cleartext_password`]. tokio-postgres sends a password in clear text to whoever asks,
//! so a replication connection, which does not, is better made first.

use std::error::Error as _;
use std::io;

use tokio_postgres::config::SslMode as Mode;
use tokio_postgres::{Client, Socket};
use towpath_sdk::ErrorKind;

use super::error::{Cause, Result, ServerError, WireError};
use super::socket::{Encryption, by_mode, load_tls};
use super::target::Target;
use crate::tls::{Tls, TlsStream};

/// What does a [`Client`]'s work, and is to be polled for as long as that is used.
pub type SqlConnection = tokio_postgres::Connection<Socket, TlsStream<Socket>>;

/// Connects and logs in, within [`Target::connect_timeout`].
///
/// # Errors
///
/// As [`Connection::connect`](super::Connection::connect).
pub async fn connect_sql(target: &Target) -> Result<(Client, SqlConnection)> {
    let tls = match load_tls(target).await? {
        Some(tls) => tls,
        // Not to be used.
        None => Tls::load(&super::Ssl::default())
            .await
            .map_err(|error| WireError::new("connect to", &target.peer(), error))?,
    };
    let tls = &tls;
    by_mode(target, |encryption| {
        let mut config = target.sql_config();
        config.ssl_mode(match encryption {
            Encryption::No => Mode::Disable,
            Encryption::IfOffered => Mode::Prefer,
            Encryption::Yes => Mode::Require,
        });
        Box::pin(async move {
            let connected = config.connect(tls.clone()).await;
            connected.map_err(|error| WireError::new("connect to", &target.peer(), cause(error)))
        })
    })
    .await
}

/// What tokio-postgres says, in our words.
fn cause(error: tokio_postgres::Error) -> Cause {
    if let Some(said) = error.as_db_error() {
        return Cause::Server(Box::new(ServerError {
            severity: said.severity().to_owned(),
            sqlstate: said.code().code().to_owned(),
            message: said.message().to_owned(),
            detail: said.detail().map(str::to_owned),
            hint: said.hint().map(str::to_owned),
        }));
    }
    if error.is_closed() {
        return Cause::Closed;
    }
    let is_io = error.source().is_some_and(|source| source.is::<io::Error>());
    let text = match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    match error.into_source().and_then(|source| source.downcast::<io::Error>().ok()) {
        Some(source) if is_io => Cause::Io(*source),
        // No password, no TLS, no way of logging in that both know.
        _ => Cause::refused(ErrorKind::Config, text),
    }
}
