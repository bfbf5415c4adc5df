//! Connections for queries.
//!
//! Duty: connect as the configuration says, with settings under which values have one text, and turn
//! the client's errors into ours.

use std::time::Duration;

use futures::TryStreamExt as _;
use tokio_postgres::Client;
use towpath_sdk::background::Background;
use towpath_sdk::context::TaskContext;
use towpath_sdk::{Error, ErrorKind, Result};

use crate::config::Config;
use crate::config::database::Database;
use crate::snapshot::copy::{Format, Row, Rows};
use crate::wire::{Ssl, Target, connect_sql, kind_of_sqlstate};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Settings of a session under which values have one text, whatever the server's are.
const SETTINGS: [(&str, &str); 8] = [
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "1"),
    ("lc_monetary", "C"),
    // Literals in our queries have no escapes.
    ("standard_conforming_strings", "on"),
];

/// Settings of a session under which a snapshot takes as long as it takes, on the connection that has
/// exported it, too.
const PATIENCE: [(&str, &str); 2] =
    [("statement_timeout", "0"), ("idle_in_transaction_session_timeout", "0")];

/// The server and how to be let in.
#[must_use]
pub(crate) fn target(config: &Config, connector: &str) -> Target {
    Target {
        host: config.database.hostname.clone(),
        port: config.database.port,
        user: config.database.user.clone(),
        password: config.database.password.clone(),
        cleartext_password: false,
        database: config.database.dbname.clone(),
        ssl: Ssl {
            mode: config.database.sslmode,
            root_cert: config.database.sslrootcert.clone(),
            cert: config.database.sslcert.clone(),
            key: config.database.sslkey.clone(),
            key_password: config.database.sslpassword.clone(),
        },
        tcp_keepalive: config.database.tcp_keep_alive,
        connect_timeout: CONNECT_TIMEOUT,
        application_name: format!("towpath {connector}"),
        options: SETTINGS
            .iter()
            .chain(&PATIENCE)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

/// A connection, with the work that keeps it going: it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    _work: Background,
}

impl std::ops::Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Questions with short answers.
    Queries,
    /// Rows of tables, which take as long as they take.
    Rows,
}

/// Connects.
///
/// # Errors
/// If the server can't be reached or does not let us in, or `database.initial.statements` fail.
pub(crate) async fn connect(
    target: &Target,
    cx: &TaskContext,
    config: &Database,
    purpose: Purpose,
) -> Result<Session> {
    let (client, connection) = connect_sql(target).await?;
    let work = cx.spawn("PostgreSQL connection", async move {
        // The client's calls tell what became of it.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to PostgreSQL ended");
        }
        Ok(())
    });
    let session = Session { client, _work: work };
    session.prepare(config, purpose).await?;
    Ok(session)
}

impl Session {
    async fn prepare(&self, config: &Database, purpose: Purpose) -> Result<()> {
        if purpose == Purpose::Queries {
            let set = format!("set statement_timeout = {}", config.query_timeout_ms.as_millis());
            let what = "set the time that a query may take";
            self.client.batch_execute(&set).await.map_err(|error| failed(what, error))?;
        }
        if config.initial_statements.0.is_empty() {
            return Ok(());
        }
        for statement in &config.initial_statements.0 {
            let what = "run database.initial.statements";
            self.client.batch_execute(statement).await.map_err(|error| failed(what, error))?;
        }
        // Values have one text all the same.
        let settings = SETTINGS.map(|(name, value)| format!("set {name} = '{value}'")).join("; ");
        let what = "set how values are written";
        self.client.batch_execute(&settings).await.map_err(|error| failed(what, error))
    }
}

/// Gives `take` each row that a COPY in text writes.
///
/// # Errors
/// If the server breaks off or refuses `sql`, and those of `take`.
pub(crate) async fn copy_text(
    client: &Client,
    what: &str,
    sql: &str,
    mut take: impl FnMut(Row) -> Result<()>,
) -> Result<()> {
    let copy = client.copy_out(sql).await.map_err(|error| failed(what, error))?;
    let mut copy = std::pin::pin!(copy);
    let mut rows = Rows::new(Format::Text);
    while let Some(data) = copy.try_next().await.map_err(|error| failed(what, error))? {
        rows.push(data);
        while let Some(row) = rows.next()? {
            take(row)?;
        }
    }
    Ok(())
}

/// An error of a query.
pub(crate) fn failed(what: &str, error: tokio_postgres::Error) -> Error {
    let kind = match error.as_db_error() {
        Some(refusal) => kind_of_sqlstate(refusal.code().code()),
        None if error.is_closed() => ErrorKind::Unavailable,
        None => {
            let io = std::error::Error::source(&error).is_some_and(|e| e.is::<std::io::Error>());
            if io { ErrorKind::Unavailable } else { ErrorKind::Internal }
        }
    };
    let text = match error.as_db_error() {
        Some(refusal) => {
            let detail = refusal.detail().map(|d| format!(" ({d})")).unwrap_or_default();
            format!("{what}: {}{detail} [{}]", refusal.message(), refusal.code().code())
        }
        None => what.to_owned(),
    };
    Error::new(kind, text).with_source(error)
}
