//! What becomes of deletes that were lost with a slot.
//!
//! Duty: say that they are missing from the moment on at which the loss is noticed; under
//! `slot.loss.policy=backfill` look for them before rows are read again; say what is missing still.
//!
//! They come before the rows, as a table's rows may need the room: a value that is unique may have moved
//! from a row that is gone to another. Whatever is deleted after that the stream will tell, which begins
//! before it.

use std::sync::Arc;

use towpath_sdk::context::Waiting;
use towpath_sdk::guarantee::Guarantee;
use towpath_sdk::{Error, ErrorKind, Result};

use super::{Run, Server};
use crate::catalog::{self, Listed};
use crate::client::{Purpose, Session, failed};
use crate::config::replication::Loss;
use crate::deletes::{Search, Shown, Way, is_answer};
use crate::envelope::{Operation, SnapshotMark, Source};
use crate::insurance::{self, Missing, Of};
use crate::lsn::Lsn;
use crate::offset::Stored;
use crate::pieces::Piece;
use crate::table::Table;

/// So many tables are named in the label, with so many characters of why: it is part of every offset.
const LABEL_TABLES: usize = 20;
const LABEL_WHY: usize = 200;

/// Which tables deletes are missing of, and why.
fn label(lacks: &[(String, String)]) -> String {
    let named = lacks.iter().take(LABEL_TABLES).map(|(table, why)| {
        let short: String = why.chars().take(LABEL_WHY).collect();
        format!("{table} ({short})")
    });
    let named: Vec<String> = named.collect();
    match lacks.len().saturating_sub(LABEL_TABLES) {
        0 => named.join(", "),
        more => format!("{} and {more} more, which the log names", named.join(", ")),
    }
}

impl Run {
    /// Says that deletes between `stored` and `to` are missing.
    pub(super) fn miss_deletes(&self, stored: &Stored, to: Lsn) {
        let from = stored.position.end;
        self.insurance.miss(from, to, self.cx.clock().now().millis());
        self.searched.lock().clear();
        self.cx.count("slot_losses", 1);
        self.show_missing();
        if !self.seeks_deletes() {
            tracing::warn!(
                connector = %self.cx.connector, %from, %to,
                "rows that were deleted in this part of the log stay in the topics: compare keys with the \
                 table, or reset the offsets and fill new topics"
            );
        }
    }

    /// Whether deletes are still to be looked for.
    pub(super) fn seeks_deletes(&self) -> bool {
        let is_open = self.insurance.missing().is_some_and(|missing| missing.of == Of::Any);
        self.config.loss() == Loss::Backfill && is_open
    }

    /// Shows what is missing as long as the offset says so.
    pub(super) fn show_missing(&self) {
        let missing = self.insurance.missing().filter(|missing| !missing.of.is_none());
        self.cx.gauge("missing_deletes", &[]).set(missing.is_some().into());
        if self.seeks_deletes() {
            return;
        }
        let Some(Missing { from, to, at_ms, of }) = missing else { return };
        let tables = match of {
            Of::Any => String::new(),
            Of::These(tables) => format!(" of {tables}"),
        };
        self.cx.guarantee(Guarantee::at_least_once(format!(
            "changes were lost with the replication slot: rows were read again, but deletes{tables} in \
             the log from {from} to {to} are missing, as was noticed at {at_ms} (milliseconds since \
             1970); the stored offset says so until it is reset"
        )));
    }

    /// Looks for rows that are in the topics and in no table any more, hands their deletes over, and
    /// stores of which tables that can't be done. The offset stands at `base` meanwhile.
    ///
    /// # Errors
    /// If server or cluster can't be reached, or nobody polls any more.
    pub(super) async fn find_deletes(
        &self,
        server: &Server,
        captured: &[Listed],
        base: &Stored,
    ) -> Result<()> {
        let lacks = match self.config.filters.skips(Operation::Delete.text()) {
            // Nobody misses them.
            true => Vec::new(),
            false => self.search(server, captured, base).await?,
        };
        let connector = &self.cx.connector;
        for (table, why) in &lacks {
            tracing::warn!(%connector, table, why, "rows that were deleted may stay in the topics");
        }
        self.insurance.miss_only(&label(&lacks));
        if base.is_snapshot_done {
            self.insurance.settle();
        }
        self.show_missing();
        let marks = vec![self.mark_at(base), self.barrier.forget()];
        self.output.send(Piece { records: Vec::new(), marks }, 0).await?;
        self.searched.lock().clear();
        Ok(())
    }

    /// Waits until all that was handed over is in its topics.
    async fn all_is_stored(&self) -> Result<()> {
        let reason = self.cx.reason();
        reason.give(Waiting {
            reason:
                "what was read before is to be in its topics before these are searched for rows \
                     that were deleted"
                    .to_owned(),
            next_try: None,
        });
        self.barrier.all_is_stored(&self.output).await
    }

    /// Hands deletes over; of which tables that can't be done, and why.
    async fn search(
        &self,
        server: &Server,
        captured: &[Listed],
        base: &Stored,
    ) -> Result<Vec<(String, String)>> {
        self.all_is_stored().await?;
        let key_bytes = self.config.replication.slot_loss_keys_max_bytes;
        let search = Search {
            cx: &self.cx,
            written: self.cx.written(),
            output: &self.output,
            mark: self.mark_at(base),
            envelopes: &self.envelopes,
            source: Source {
                snapshot: SnapshotMark::Yes,
                ts_us: self.cx.clock().now().millis().saturating_mul(1000),
                tx_id: None,
                lsn: base.position.end,
                last_commit: None,
            },
            server: &self.config.topic_prefix,
            bytes: usize::try_from(key_bytes).unwrap_or(usize::MAX),
            max_records: self.config.engine.max_batch_size as usize,
        };
        let mut lacks = Vec::new();
        let mut lack = |table: &Table, why: String| lacks.push((table.collection.to_string(), why));
        let mut targets: Vec<(Shown, Way)> = Vec::new();
        for shown in self.shown(server, captured).await? {
            let table = &shown.table;
            if !table.has_key() {
                lack(table, "it has no key".to_owned());
                continue;
            }
            match search.way(table) {
                Ok(way) => targets.push((shown, way)),
                Err(error) => lack(table, error.chain()),
            }
        }
        let topics: Vec<_> = targets.iter().flat_map(|(_, way)| &way.topics).cloned().collect();
        let mut scan = match search.written.scan(topics.clone()).await {
            Ok(scan) => scan,
            Err(error) if is_answer(&error) => {
                targets.iter().for_each(|(shown, _)| lack(&shown.table, error.chain()));
                return Ok(lacks);
            }
            Err(error) => return Err(error),
        };
        let client = self.seeing_all(base.position.end).await?;
        for (shown, way) in targets {
            let shares = |topic| topics.iter().filter(|other| *other == topic).count() > 1;
            let oid = shown.table.shape.oid;
            let known = self.searched.lock().get(&oid).cloned();
            let found = match (known, way.topics.iter().find(|topic| shares(*topic))) {
                (Some(known), _) => known,
                (None, Some(topic)) => Some(format!("other tables are in topic {topic}, too")),
                (None, None) => search.table(&client, &mut *scan, &shown, way).await?,
            };
            self.searched.lock().insert(oid, found.clone());
            if let Some(why) = found {
                lack(&shown.table, why);
            }
        }
        Ok(lacks)
    }

    /// A connection that sees all rows that were there at `position`, and all rows of each table.
    async fn seeing_all(&self, position: Lsn) -> Result<Session> {
        let client = self.connect(Purpose::Rows).await?;
        // Where several servers share a name, this may be one that is behind.
        let reached = insurance::sample(&client).await?.lsn;
        if reached < position {
            let text =
                format!("the server has come to {reached}, not to {position}: is it another one?");
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        // Rows that a policy hides are not gone: the server is to refuse instead.
        let set = client.batch_execute("set row_security = off").await;
        set.map_err(|error| failed("see all rows", error))?;
        Ok(client)
    }

    /// The tables as which rows are shown.
    async fn shown(&self, server: &Server, captured: &[Listed]) -> Result<Vec<Shown>> {
        let mut all: Vec<Shown> = Vec::new();
        for (_, shown) in self.heaps(server, captured).await? {
            if all.iter().any(|other| other.table.shape.oid == shown.oid) {
                continue;
            }
            let shape = catalog::shape(&server.client, &shown, &server.types).await?;
            let table = Arc::new(Table::new(shape, &self.config, &self.rules)?);
            all.push(Shown { table, from: shown.selected_from() });
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_stays_short() {
        let lacks = |count: usize| -> Vec<(String, String)> {
            (0..count).map(|n| (format!("s.t{n}"), "ä".repeat(1000))).collect()
        };
        assert_eq!(label(&lacks(0)), "");
        let two = label(&lacks(2));
        assert!(two.starts_with("s.t0 (ä") && two.contains("), s.t1 (") && two.ends_with("ä)"));
        let many = label(&lacks(3000));
        assert!(many.ends_with(" and 2980 more, which the log names"), "{many}");
        assert!(many.chars().count() < 6000);
    }
}
