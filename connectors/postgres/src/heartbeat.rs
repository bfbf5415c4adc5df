//! Signs of life while a stream is read.
//!
//! Duty: say when one is due, and what is done on the query connection then, beside the stream: the
//! user's query, and a small message into the log where the slot does not move by itself.
//!
//! A slot moves when the server's keep-alives say that there is nothing for us up to an LSN: that is
//! stored and confirmed (see [`crate::stream`]). So a message is written only if since the last beat
//! nothing was captured, the slot did not move, and the log is ahead of it: the two do not double each
//! other. Coming back through the stream, the message moves the position and is never shown.
//!
//! Absent: records of heartbeats, which are the stream's.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::Client;
use towpath_sdk::error::Action;
use towpath_sdk::{Error, Result};

use crate::client::failed;
use crate::config::replication::Replication;
use crate::lsn::Lsn;

/// The prefix of the messages that are written here.
pub(crate) const PREFIX: &str = "towpath-heartbeat";

/// What was learnt in a beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Learnt {
    /// Where the slot is.
    Slot(Option<Lsn>),
    /// Nothing is written from now on.
    NoMessages,
}

type Beat<'a> = Pin<Box<dyn Future<Output = Result<Learnt>> + Send + 'a>>;

/// Beats, or none if they are off.
pub(crate) struct Heartbeat<'a> {
    config: &'a Replication,
    client: &'a Client,
    interval: Duration,
    next: Option<Instant>,
    under_way: Option<Beat<'a>>,
    writes_messages: bool,
    /// Where the slot was at the last beat.
    slot: Option<Lsn>,
}

impl<'a> Heartbeat<'a> {
    /// Beats as the configuration says, with queries over `client`.
    #[must_use]
    pub(crate) fn new(config: &'a Replication, client: &'a Client) -> Self {
        let interval = config.heartbeat_interval_ms;
        Self {
            config,
            client,
            interval,
            next: (!interval.is_zero()).then(|| Instant::now() + interval),
            under_way: None,
            // If nobody here moves the slot, a message does not either.
            writes_messages: !config.read_only && config.confirms(),
            slot: None,
        }
    }

    /// When the next beat is due.
    #[must_use]
    pub(crate) const fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Whether one is due.
    #[must_use]
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.next.is_some_and(|next| next <= now)
    }

    /// Begins what is done on the query connection, unless that of the last beat is still under way.
    /// `is_idle` says that nothing was captured since the last one.
    pub(crate) fn beat(&mut self, is_idle: bool) {
        self.next = Some(Instant::now() + self.interval);
        if self.under_way.is_some() {
            return;
        }
        let (config, client) = (self.config, self.client);
        let messages = (is_idle && self.writes_messages).then_some(self.slot);
        if !is_idle {
            self.slot = None;
        }
        if config.heartbeat_action_query.is_some() || messages.is_some() {
            self.under_way = Some(Box::pin(carry_out(config, client, messages)));
        }
    }

    /// Goes on with what is under way; pending for ever if nothing is. May be dropped.
    ///
    /// # Errors
    /// If the query connection is lost.
    pub(crate) async fn go_on(&mut self) -> Result<()> {
        let Some(under_way) = &mut self.under_way else { return std::future::pending().await };
        let learnt = under_way.await;
        self.under_way = None;
        match learnt? {
            Learnt::Slot(slot) => self.slot = slot,
            Learnt::NoMessages => self.writes_messages = false,
        }
        Ok(())
    }
}

/// `messages`: where the slot was at the last beat, if a message may be written.
async fn carry_out(
    config: &Replication,
    client: &Client,
    messages: Option<Option<Lsn>>,
) -> Result<Learnt> {
    if let Some(query) = &config.heartbeat_action_query
        && let Err(error) = client.batch_execute(query).await
    {
        tell_or_fail(failed("run heartbeat.action.query", error))?;
    }
    let Some(before) = messages else { return Ok(Learnt::Slot(None)) };
    match write_if_stuck(&config.slot_name, client, before).await {
        Ok(learnt) => Ok(learnt),
        Err(error) => tell_or_fail(error).map(|()| Learnt::NoMessages),
    }
}

/// A lost connection has to be made anew; all else is for the log.
fn tell_or_fail(error: Error) -> Result<()> {
    if error.action() == Action::Retry && error.kind() == towpath_sdk::ErrorKind::Unavailable {
        return Err(error);
    }
    tracing::warn!(error = %error.chain(), "a heartbeat failed");
    Ok(())
}

async fn write_if_stuck(slot: &str, client: &Client, before: Option<Lsn>) -> Result<Learnt> {
    let what = "write a heartbeat into the log";
    let failed = |error| failed(what, error);
    let sql = "
        select pg_catalog.pg_is_in_recovery(), confirmed_flush_lsn::text,
               case when pg_catalog.pg_is_in_recovery() then null
                    else pg_catalog.pg_current_wal_flush_lsn() end::text
          from pg_catalog.pg_replication_slots where slot_name = $1";
    let Some(row) = client.query_opt(sql, &[&slot]).await.map_err(failed)? else {
        return Ok(Learnt::Slot(None));
    };
    if row.try_get(0).map_err(failed)? {
        tracing::warn!(
            "the server is a standby, where no heartbeat can be written into the log: if nothing is \
             captured for long, write one on its primary, as by SELECT \
             pg_logical_emit_message(true, '{PREFIX}', '')"
        );
        return Ok(Learnt::NoMessages);
    }
    let lsn = |at| -> Result<Option<Lsn>> {
        let text: Option<String> = row.try_get(at).map_err(failed)?;
        Ok(text.and_then(|text| text.parse().ok()))
    };
    let (confirmed, end) = (lsn(1)?, lsn(2)?);
    if before.is_some() && before == confirmed && end > confirmed {
        let sql = format!("select pg_catalog.pg_logical_emit_message(true, '{PREFIX}', '')");
        client.batch_execute(&sql).await.map_err(failed)?;
        tracing::debug!(%slot, "wrote a heartbeat into the log");
    }
    Ok(Learnt::Slot(confirmed))
}
