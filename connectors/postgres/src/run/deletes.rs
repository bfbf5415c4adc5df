//! What becomes of deletes that were lost with a slot.
//!
//! Duty: say that they are missing from the moment on at which the loss is noticed; under
//! `slot.loss.policy=backfill` look for them before rows are read again; say what is missing still.
//!
//! They come before the rows, as a table's rows may need the room: a value that is unique may have moved
//! from a row that is gone to another. Whatever is deleted after that the stream will tell, which begins
//! before it.

use std::sync::Arc;

use towpath_sdk::Result;
use towpath_sdk::guarantee::Guarantee;

use super::{Run, Server};
use crate::catalog::{self, Listed};
use crate::client::{Purpose, failed};
use crate::config::replication::Loss;
use crate::deletes::{Search, Shown, Way, passes};
use crate::envelope::{Operation, SnapshotMark, Source};
use crate::insurance::{Missing, Of};
use crate::lsn::Lsn;
use crate::offset::{Position, Stored};
use crate::table::Table;
use crate::wire::quote_identifier;

impl Run {
    /// Says that deletes between `stored` and `to` are missing.
    pub(super) fn miss_deletes(&self, stored: &Stored, to: Lsn) {
        let from = stored.position.end;
        self.insurance.miss(from, to, self.cx.clock().now().millis());
        self.cx.count("slot_losses", 1);
        self.show_missing(false);
        if !self.seeks_deletes() {
            tracing::warn!(
                connector = %self.cx.connector, %from, %to,
                "rows that were deleted in this part of the log stay in the topics: compare keys with the \
                 table, or reset the offsets and fill new topics"
            );
        }
    }

    /// Whether deletes are still to be looked for, should rows be read.
    pub(super) fn seeks_deletes(&self) -> bool {
        let is_open = self.insurance.missing().is_some_and(|missing| missing.of == Of::Any);
        self.config.loss() == Loss::Backfill && is_open
    }

    /// Shows what is missing as long as the offset says so; `is_read` says that no rows are still to be
    /// read, before which deletes would be looked for.
    pub(super) fn show_missing(&self, is_read: bool) {
        let missing = self.insurance.missing().filter(|missing| !missing.of.is_none());
        self.cx.gauge("missing_deletes", &[]).set(missing.is_some().into());
        if !is_read && self.seeks_deletes() {
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
    /// stores of which tables that can't be done.
    ///
    /// # Errors
    /// If server or cluster can't be reached, or nobody polls any more.
    pub(super) async fn find_deletes(
        &self,
        server: &Server,
        captured: &[Listed],
        position: Position,
    ) -> Result<()> {
        let lacks = match self.config.filters.skips(Operation::Delete.text()) {
            // Nobody misses them.
            true => Vec::new(),
            false => self.search(server, captured, position).await?,
        };
        let connector = &self.cx.connector;
        for (table, why) in &lacks {
            tracing::warn!(%connector, table, why, "rows that were deleted may stay in the topics");
        }
        let lacks: Vec<String> =
            lacks.into_iter().map(|(table, why)| format!("{table} ({why})")).collect();
        self.insurance.miss_only(&lacks.join(", "));
        self.show_missing(false);
        self.mark(position, server.origin, false, Vec::new()).await
    }

    /// Hands deletes over; of which tables that can't be done, and why.
    async fn search(
        &self,
        server: &Server,
        captured: &[Listed],
        position: Position,
    ) -> Result<Vec<(String, String)>> {
        let key_bytes = self.config.replication.slot_loss_keys_max_bytes;
        let search = Search {
            cx: &self.cx,
            written: self.cx.written(),
            output: &self.output,
            mark: self.mark_of(position, server.origin, false),
            envelopes: &self.envelopes,
            source: Source {
                snapshot: SnapshotMark::Yes,
                ts_us: self.cx.clock().now().millis().saturating_mul(1000),
                tx_id: None,
                lsn: position.end,
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
            Err(error) if passes(&error) => return Err(error),
            Err(error) => {
                targets.iter().for_each(|(shown, _)| lack(&shown.table, error.chain()));
                return Ok(lacks);
            }
        };
        let client = self.connect(Purpose::Rows).await?;
        let what = "see all rows";
        // Rows that a policy hides are not gone.
        let set = client.batch_execute("set row_security = off").await;
        set.map_err(|error| failed(what, error))?;
        for (shown, way) in targets {
            let shares = |topic| topics.iter().filter(|other| *other == topic).count() > 1;
            let found = match way.topics.iter().find(|topic| shares(*topic)) {
                Some(topic) => Some(format!("other tables are in topic {topic}, too")),
                None => search.table(&client, &mut *scan, &shown, way).await?,
            };
            if let Some(why) = found {
                lack(&shown.table, why);
            }
        }
        Ok(lacks)
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
            let only = if shown.is_partitioned { "" } else { "only " };
            let [schema, name] = [&shown.schema, &shown.name].map(|name| quote_identifier(name));
            all.push(Shown { table, from: format!("{only}{schema}.{name}") });
        }
        Ok(all)
    }
}
