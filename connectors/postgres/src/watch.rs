//! How much log the slot holds back.
//!
//! Duty: ask the server now and then, show it as gauges, and warn before the slot is lost. A slot that
//! reaches `max_slot_wal_keep_size` is invalidated by the server; what is done then is [`crate::gap`]'s.

use std::time::Duration;

use tokio_postgres::Client;
use towpath_sdk::context::TaskContext;
use towpath_sdk::instruments::Gauge;
use towpath_sdk::{Error, Result};

use crate::client::failed;

/// How often the server is asked.
const INTERVAL: Duration = Duration::from_secs(10);

/// What is shown of a slot.
pub(crate) struct Watch {
    /// Bytes of log that the server keeps for it.
    retained: Gauge,
    /// Bytes of log behind what was confirmed.
    unconfirmed: Gauge,
    /// Bytes that can be written before it may be lost; -1 is without a bound.
    safe: Gauge,
    is_warned: bool,
}

impl Watch {
    /// The gauges of a task.
    pub(crate) fn new(cx: &TaskContext) -> Self {
        Self {
            retained: cx.gauge("slot_retained_bytes", &[]),
            unconfirmed: cx.gauge("slot_unconfirmed_bytes", &[]),
            safe: cx.gauge("slot_safe_bytes", &[]),
            is_warned: false,
        }
    }

    /// Asks for as long as it is polled.
    ///
    /// # Errors
    /// If the connection is lost.
    pub(crate) async fn run(mut self, client: &Client, slot: &str) -> Result<()> {
        loop {
            self.look(client, slot).await?;
            tokio::time::sleep(INTERVAL).await;
        }
    }

    async fn look(&mut self, client: &Client, slot: &str) -> Result<()> {
        let what = "look at the replication slot";
        let failed = |error| -> Error { failed(what, error) };
        // PostgreSQL 12 has neither of the last two.
        let sql = "
            with now as (select case when pg_catalog.pg_is_in_recovery()
                then pg_catalog.pg_last_wal_replay_lsn()
                else pg_catalog.pg_current_wal_lsn() end as lsn)
            select pg_catalog.pg_wal_lsn_diff(now.lsn, s.restart_lsn)::int8,
                   pg_catalog.pg_wal_lsn_diff(now.lsn, s.confirmed_flush_lsn)::int8,
                   (pg_catalog.to_jsonb(s) ->> 'safe_wal_size')::int8,
                   pg_catalog.to_jsonb(s) ->> 'wal_status'
              from pg_catalog.pg_replication_slots s, now where s.slot_name = $1";
        let Some(row) = client.query_opt(sql, &[&slot]).await.map_err(failed)? else {
            return Ok(());
        };
        let number = |at| row.try_get::<_, Option<i64>>(at).map_err(failed);
        let (retained, unconfirmed, safe) = (number(0)?, number(1)?, number(2)?);
        self.retained.set(retained.unwrap_or_default().max(0));
        self.unconfirmed.set(unconfirmed.unwrap_or_default().max(0));
        self.safe.set(safe.unwrap_or(-1));
        let status: Option<String> = row.try_get(3).map_err(failed)?;
        let is_threatened = matches!(status.as_deref(), Some("unreserved" | "lost"));
        if is_threatened && !std::mem::replace(&mut self.is_warned, is_threatened) {
            tracing::warn!(
                %slot, retained, status,
                "the server is about to remove log that the replication slot needs: records are taken \
                 too slowly, or max_slot_wal_keep_size is too small"
            );
        }
        self.is_warned = is_threatened;
        Ok(())
    }
}
