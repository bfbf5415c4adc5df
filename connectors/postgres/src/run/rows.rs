//! The part of a task's work that reads rows.
//!
//! Duty: choose the tables of a snapshot, connect its readers under one snapshot of the server, plan the
//! pass, and say when it is over.

use std::sync::Arc;

use tokio_postgres::Client;
use towpath_sdk::{Error, Result};

use super::{Run, Server};
use crate::catalog::{self, Heap, Listed, Types};
use crate::client::{self, Purpose};
use crate::config::snapshot::{Locking, Order};
use crate::envelope::{SnapshotMark, Source};
use crate::notification::{Aggregate, Notification};
use crate::offset::Position;
use crate::pieces::Piece;
use crate::preflight;
use crate::snapshot::plan::Marks;
use crate::snapshot::{self, Pass};
use crate::stream::newcomers;
use crate::table::Table;

impl Run {
    /// Tells people of the snapshot.
    async fn tell(&self, kind: &'static str, data: Vec<(&'static str, String)>) -> Result<()> {
        let notification =
            Notification { id: String::new(), aggregate: Aggregate::Initial, kind, data };
        let records = self.notifier.tell(notification)?.into_iter().collect();
        self.output.send(Piece { records, marks: Vec::new() }, 0).await
    }

    /// Reads all rows that are to be read, and stores that the stream goes on at `position`.
    pub(super) async fn snapshot(
        &self,
        server: &Server,
        captured: &[Listed],
        position: Position,
        exported: Option<String>,
    ) -> Result<()> {
        // Tables stay as they are until it is dropped.
        let locker;
        if self.config.snapshot.locking_mode == Locking::Shared {
            locker = self.connect(Purpose::Rows).await?;
            let chosen: Vec<&Listed> =
                captured.iter().filter(|table| self.is_read(table)).collect();
            preflight::lock(&locker, &self.config, &chosen).await?;
        }
        let mut readers = Vec::new();
        for _ in 0..self.config.snapshot.max_threads {
            readers.push(self.connect(Purpose::Rows).await?);
        }
        // It lives as long as the session that exported it.
        let exporter;
        let snapshot = match exported {
            Some(snapshot) => snapshot,
            None => {
                exporter = self.connect(Purpose::Rows).await?;
                export(&exporter).await?
            }
        };
        let xmin = snapshot::enter(&readers, &snapshot).await?;
        let Some(first) = readers.first() else { return Err(Error::internal("connect")) };
        let ts_us = self.cx.clock().now().millis().saturating_mul(1000);
        let marks = Marks::new(&self.config.topic_prefix);
        let known = marks.stored(&self.output.handed());
        let mut tables = self.heaps(server, captured).await?;
        // After a loss those that were begun are read, whatever snapshots leave out.
        let is_mended = self.insurance.missing().is_some();
        let is_begun = |heap: &Listed| is_mended && known.contains_key(&heap.oid);
        tables.retain(|(heap, shown)| self.is_read(shown) || is_begun(heap));
        let begun =
            tables.iter().map(|(heap, _)| heap).filter(|heap| known.contains_key(&heap.oid));
        snapshot::hold(&readers, begun).await?;
        let plan = self.plan(first, &tables, &server.types).await?;
        let source = Source {
            snapshot: SnapshotMark::Yes,
            ts_us,
            tx_id: Some(xmin),
            lsn: position.end,
            last_commit: None,
        };
        let mut names: Vec<_> = tables.iter().map(|(_, shown)| shown.collection()).collect();
        names.dedup();
        self.tell("STARTED", Vec::new()).await?;
        let names = vec![("data_collections", names.join(","))];
        self.tell("DATA_COLLECTIONS_RESOLVED", names).await?;
        let pass = Pass {
            cx: &self.cx,
            notifier: &self.notifier,
            output: &self.output,
            marks,
            readers,
            xmin,
            source,
            envelopes: Arc::clone(&self.envelopes),
            max_records: self.config.engine.max_batch_size as usize,
        };
        pass.run(plan, known).await?;
        self.tell("COMPLETED", Vec::new()).await?;
        self.insurance.settle();
        self.show_missing();
        let mut marks = self.stored_ranges();
        if self.reads_newcomers() {
            let oids = captured.iter().map(|table| table.oid);
            marks.push(newcomers::mark(0, &self.config.topic_prefix, oids));
        }
        self.mark(position, server.origin, true, marks).await
    }

    /// The tables whose rows may be read, partitions in place of partitioned tables; each with the table
    /// that its rows are shown as, which is that of its changes.
    pub(super) async fn heaps(
        &self,
        server: &Server,
        captured: &[Listed],
    ) -> Result<Vec<(Listed, Listed)>> {
        let publication = &self.config.replication.publication_name;
        let is_via_root = catalog::is_via_root(&server.client, publication).await?;
        let all = match is_via_root {
            true => catalog::tables(&server.client).await?,
            false => captured.to_vec(),
        };
        let heaps = all.iter().filter(|table| !table.is_partitioned).map(|heap| {
            let root = all.iter().find(|table| is_via_root && table.oid == heap.root);
            (heap.clone(), root.unwrap_or(heap).clone())
        });
        let is_captured = |shown: &Listed| self.config.filters.captures(&shown.schema, &shown.name);
        Ok(heaps.filter(|(_, shown)| is_captured(shown)).collect())
    }

    /// How the rows of tables are read, in the order in which tables are begun.
    pub(super) async fn plan(
        &self,
        client: &Client,
        tables: &[(Listed, Listed)],
        types: &Types,
    ) -> Result<Vec<(Arc<Table>, Heap)>> {
        let mut plan = Vec::new();
        for (heap, shown) in tables {
            let mut shape = catalog::shape(client, shown, types).await?;
            shape.oid = heap.oid;
            if let Some(mut heap) = catalog::heap(client, heap.oid, shape.clone()).await? {
                if let Some(select) = self.config.snapshot.select(&shown.schema, &shown.name) {
                    heap.from = format!("({select}) as selected");
                    heap.has_places = false;
                }
                let table = Table::new(shape, &self.config, &self.rules)?;
                plan.push((Arc::new(table), heap));
            }
        }
        match self.config.snapshot.tables_order_by_row_count {
            Order::Disabled => {}
            Order::Ascending => plan.sort_by_key(|(_, heap)| heap.blocks),
            Order::Descending => plan.sort_by_key(|(_, heap)| std::cmp::Reverse(heap.blocks)),
        }
        Ok(plan)
    }

    /// Whether a table's rows are part of a snapshot.
    pub(super) fn is_read(&self, table: &Listed) -> bool {
        let Listed { schema, name, .. } = table;
        let chosen = self.config.snapshot.include_collection_list.as_ref();
        self.config.filters.captures(schema, name)
            && chosen.is_none_or(|patterns| patterns.matches(&format!("{schema}.{name}")))
    }
}

/// Exports a snapshot that lives as long as the connection's transaction.
async fn export(client: &Client) -> Result<String> {
    let what = "export a snapshot";
    let failed = |error| client::failed(what, error);
    client
        .batch_execute("begin isolation level repeatable read read only")
        .await
        .map_err(failed)?;
    let row =
        client.query_one("select pg_catalog.pg_export_snapshot()", &[]).await.map_err(failed)?;
    row.try_get(0).map_err(failed)
}
