//! How much log the slot holds back.
//!
//! Duty: ask the server now and then, show it as gauges, warn before the slot is lost, and end the work
//! at hand once it is: what is done then is [`crate::gap`]'s. Along the way it samples the server's
//! transactions for [`crate::insurance`].
//!
//! The pace at which log is held back is that of the last [`MEMORY`] looks; both the budget and the time
//! that is left by it are decided by [`Budget`], which is pure.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::Client;
use towpath_sdk::context::TaskContext;
use towpath_sdk::instruments::Gauge;
use towpath_sdk::{Error, ErrorKind, Result};

use crate::client::failed;
use crate::config::replication::Replication;
use crate::insurance::{self, Insurance};

/// How often the server is asked.
const INTERVAL: Duration = Duration::from_secs(10);
/// How many looks the pace is taken from: five minutes.
const MEMORY: usize = 30;
/// Less time than this is worth a warning.
const SOON: Duration = Duration::from_secs(3600);

/// States of a slot's log, from good to lost.
const STATES: [&str; 4] = ["reserved", "extended", "unreserved", "lost"];

/// What is shown of a slot.
pub(crate) struct Watch<'a> {
    name: &'a str,
    insurance: &'a Insurance,
    /// Bytes of log that the server keeps for it.
    retained: Gauge,
    /// Bytes of log behind what was confirmed.
    unconfirmed: Gauge,
    /// Since when the confirmed LSN has stood while there is log behind it.
    confirmed_age: Gauge,
    /// Bytes that can be written before it may be lost; -1 is without a bound.
    safe: Gauge,
    /// What is left of the budget, in bytes and in time; -1 is without one, or not to be told.
    budget: Gauge,
    time: Gauge,
    /// 1 for the state that it is in.
    states: [Gauge; 4],
    left: Budget,
    confirmed: Option<(Option<String>, Instant)>,
    is_warned: bool,
}

/// A slot as it was seen.
#[derive(Debug, Clone)]
struct Seen {
    retained: u64,
    unconfirmed: u64,
    confirmed: Option<String>,
    safe: Option<u64>,
    status: Option<String>,
}

/// How much log may still be held back.
#[derive(Debug, Default)]
struct Budget {
    /// Bytes in all; 0 is the server's bound.
    bytes: u64,
    /// When so many bytes were held back.
    looks: VecDeque<(Instant, u64)>,
}

/// What is left of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Left {
    bytes: u64,
    /// At the pace of late; `None` if what is held back does not grow.
    time: Option<Duration>,
    is_little: bool,
}

impl Budget {
    /// What is left if `retained` bytes are held back and the server keeps `safe` more, if it has a
    /// bound; `None` without any bound.
    fn look(&mut self, now: Instant, retained: u64, safe: Option<u64>) -> Option<Left> {
        if self.looks.len() == MEMORY {
            self.looks.pop_front();
        }
        self.looks.push_back((now, retained));
        let of_server = safe.map(|safe| (safe, retained.saturating_add(safe)));
        let own = (self.bytes > 0).then(|| (self.bytes.saturating_sub(retained), self.bytes));
        // Whichever is reached first.
        let (bytes, all) = [own, of_server].into_iter().flatten().min()?;
        let time = self.looks.front().and_then(|(then, before)| {
            let grown = retained.checked_sub(*before).filter(|grown| *grown > 0)?;
            let took = now.duration_since(*then).as_secs_f64();
            let seconds = (took > 0.0).then(|| took * bytes as f64 / grown as f64)?;
            Duration::try_from_secs_f64(seconds).ok()
        });
        let is_little = bytes < all / 5 || time.is_some_and(|time| time < SOON);
        Some(Left { bytes, time, is_little })
    }
}

impl<'a> Watch<'a> {
    /// The gauges of a task.
    pub(crate) fn new(cx: &TaskContext, config: &'a Replication, insurance: &'a Insurance) -> Self {
        Self {
            name: &config.slot_name,
            insurance,
            retained: cx.gauge("slot_retained_bytes", &[]),
            unconfirmed: cx.gauge("slot_unconfirmed_bytes", &[]),
            confirmed_age: cx.gauge("slot_confirmed_age_ms", &[]),
            safe: cx.gauge("slot_safe_bytes", &[]),
            budget: cx.gauge("slot_budget_left_bytes", &[]),
            time: cx.gauge("slot_budget_left_ms", &[]),
            states: STATES.map(|status| cx.gauge("slot_wal_status", &[("status", status)])),
            left: Budget { bytes: config.slot_wal_budget_bytes, looks: VecDeque::new() },
            confirmed: None,
            is_warned: false,
        }
    }

    /// Asks for as long as it is polled.
    ///
    /// # Errors
    /// If the connection is lost, or the slot is.
    pub(crate) async fn run(mut self, client: &Client) -> Result<()> {
        loop {
            let seen = self.ask(client).await?;
            self.show(&seen, Instant::now());
            if seen.status.as_deref() == Some("lost") {
                return Err(self.lost("lost"));
            }
            self.insurance.take(insurance::sample(client).await?);
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// What was begun with the slot is for nothing.
    fn lost(&self, how: &str) -> Error {
        let text = format!("the replication slot {} is {how}", self.name);
        Error::new(ErrorKind::Unavailable, text)
    }

    async fn ask(&self, client: &Client) -> Result<Seen> {
        let what = "look at the replication slot";
        let failed = |error| -> Error { failed(what, error) };
        // PostgreSQL 12 has neither of the last two.
        let sql = "
            with now as (select case when pg_catalog.pg_is_in_recovery()
                then pg_catalog.pg_last_wal_replay_lsn()
                else pg_catalog.pg_current_wal_lsn() end as lsn)
            select pg_catalog.pg_wal_lsn_diff(now.lsn, s.restart_lsn)::int8,
                   pg_catalog.pg_wal_lsn_diff(now.lsn, s.confirmed_flush_lsn)::int8,
                   s.confirmed_flush_lsn::text,
                   (pg_catalog.to_jsonb(s) ->> 'safe_wal_size')::int8,
                   pg_catalog.to_jsonb(s) ->> 'wal_status'
              from pg_catalog.pg_replication_slots s, now where s.slot_name = $1";
        let row = client.query_opt(sql, &[&self.name]).await.map_err(failed)?;
        let Some(row) = row else { return Err(self.lost("gone")) };
        let number = |at| row.try_get::<_, Option<i64>>(at).map_err(failed);
        let bytes = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).unwrap_or_default();
        Ok(Seen {
            retained: bytes(number(0)?),
            unconfirmed: bytes(number(1)?),
            confirmed: row.try_get(2).map_err(failed)?,
            safe: number(3)?.map(|safe| bytes(Some(safe))),
            status: row.try_get(4).map_err(failed)?,
        })
    }

    fn show(&mut self, seen: &Seen, now: Instant) {
        let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        self.retained.set(whole(seen.retained));
        self.unconfirmed.set(whole(seen.unconfirmed));
        self.safe.set(seen.safe.map_or(-1, whole));
        let status = seen.status.as_deref();
        for (name, gauge) in STATES.iter().zip(&self.states) {
            gauge.set((status == Some(*name)).into());
        }
        let since = match &self.confirmed {
            Some((confirmed, since)) if *confirmed == seen.confirmed && seen.unconfirmed > 0 => {
                *since
            }
            _ => now,
        };
        self.confirmed = Some((seen.confirmed.clone(), since));
        self.confirmed_age.set(millis(now.duration_since(since)));
        let left = self.left.look(now, seen.retained, seen.safe);
        self.budget.set(left.map_or(-1, |left| whole(left.bytes)));
        self.time.set(left.and_then(|left| left.time).map_or(-1, millis));
        let is_threatened = matches!(status, Some("unreserved" | "lost"));
        let is_little = is_threatened || left.is_some_and(|left| left.is_little);
        if is_little && !self.is_warned {
            let time =
                left.and_then(|left| left.time).map(|time| Duration::from_secs(time.as_secs()));
            tracing::warn!(
                slot = self.name,
                retained = seen.retained,
                status,
                left = left.map(|left| left.bytes),
                ?time,
                "the replication slot holds back nearly as much log as it may: records are taken too \
                 slowly, or slot.wal.budget.bytes or the server's max_slot_wal_keep_size is too small"
            );
        }
        self.is_warned = is_little;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_bytes_and_time() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut none = Budget::default();
        assert_eq!(none.look(at(0), 5, None), None);
        let mut budget = Budget { bytes: 100_000, ..Budget::default() };
        let look = |budget: &mut Budget, seconds, retained, safe| {
            let left = budget.look(at(seconds), retained, safe).unwrap();
            (left.bytes, left.time.map(|time| time.as_secs()), left.is_little)
        };
        assert_eq!(look(&mut budget, 0, 10_000, None), (90_000, None, false));
        // A byte a second.
        assert_eq!(look(&mut budget, 10, 10_010, None), (89_990, Some(89_990), false));
        assert_eq!(look(&mut budget, 20, 79_999, None), (20_001, Some(5), true));
        // It shrinks.
        assert_eq!(look(&mut budget, 30, 9_000, None), (91_000, None, false));
        assert_eq!(look(&mut budget, 31, 10_000, Some(70)), (70, None, true));
        // The server's bound alone.
        let mut server = Budget::default();
        assert_eq!(look(&mut server, 0, 79, Some(21)), (21, None, false));
        assert_eq!(look(&mut server, 1, 81, Some(19)), (19, Some(9), true));
        for second in 2..100 {
            server.look(at(second), 81, Some(19));
        }
        assert_eq!(server.looks.len(), MEMORY);
    }
}
