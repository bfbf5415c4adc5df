//! What is asked of a stream while it is read: signals, and snapshots that go on beside it.
//!
//! Duty: take signals from wherever they come, and give the rows that were read their place between the
//! transactions of the stream.

use tokio_postgres::Client;
use towpath_sdk::Result;
use towpath_sdk::signal::Signal;

use super::Reader;
use crate::catalog::{self, Listed};
use crate::config::Config;
use crate::envelope::{SnapshotMark, Source};
use crate::incremental::{Images, Incremental, Out, Wake};
use crate::lsn::Lsn;
use crate::pgoutput::Tuple;
use crate::signal::inbox::Heard;
use crate::signal::{Command, table};
use crate::table::{Row, Table};

impl Reader<'_> {
    /// What is read beside the stream, and where its rows go.
    pub(super) fn incremental(&mut self) -> (&mut Incremental, Out<'_>) {
        let Self { of, piece, bytes, .. } = self;
        let out = Out { records: &mut piece.records, marks: &mut piece.marks, bytes };
        (&mut of.incremental, out)
    }

    /// Where rows come from that are read beside the stream.
    fn source_beside(&self) -> Source {
        Source {
            snapshot: SnapshotMark::Incremental,
            ts_us: self.of.clock.now().millis().saturating_mul(1000),
            tx_id: None,
            ..self.source(self.position.last())
        }
    }

    /// Tells a snapshot that goes on beside the stream of a change; `after` is the row after it, if that can
    /// be shown.
    pub(super) fn beside(
        &mut self,
        table: &Table,
        images: &Images<'_>,
        after: Option<&mut Row>,
    ) -> Result<()> {
        let Some(xid) = self.trail.tx_id.filter(|_| self.of.incremental.is_active()) else {
            return Ok(());
        };
        let (incremental, mut out) = self.incremental();
        if let Some(row) = incremental.change(table, xid, images, after, &mut out) {
            let (envelopes, now) = (self.of.envelopes, self.of.clock.now());
            let block = envelopes.block(table, &self.source_beside())?;
            self.piece.records.push(envelopes.read(table, row, &block, now)?);
            self.is_idle = false;
        }
        Ok(())
    }

    /// All that was committed before `upto` was handed over, and nothing else.
    pub(super) fn all_was_handed_over(&mut self, upto: Lsn) -> Result<()> {
        if !self.of.incremental.is_active() {
            return Ok(());
        }
        let source = self.source_beside();
        let before = self.piece.records.len();
        let envelopes = self.of.envelopes;
        let (incremental, mut out) = self.incremental();
        incremental.close(upto, &source, envelopes, &mut out)?;
        self.is_idle &= self.piece.records.len() == before;
        Ok(())
    }

    /// Something is to be done about a snapshot that goes on beside the stream.
    pub(super) async fn woken(&mut self, wake: Wake) -> Result<()> {
        let (incremental, mut out) = self.incremental();
        if incremental.wake(wake, &mut out)? {
            // The answer says how far the stream is.
            self.status(true).await?;
        }
        Ok(())
    }

    /// A signal was written into its table.
    pub(super) async fn written(&mut self, row: &Tuple) -> Result<()> {
        self.signalled(table::signal(row)).await
    }

    /// A signal came from outside the database.
    pub(super) async fn heard(&mut self, heard: Heard) -> Result<()> {
        self.signalled(heard.signal).await?;
        if let Some(mut mark) = heard.mark {
            mark.after = self.piece.records.len();
            self.piece.marks.push(mark);
        }
        if !self.has_piece() {
            // It has led to nothing.
            self.of.inbox.handed();
        }
        Ok(())
    }

    /// Does what a signal says, or says what is wrong with it.
    pub(super) async fn signalled(&mut self, signal: Result<Signal, String>) -> Result<()> {
        let command = signal.and_then(|signal| Command::of(&signal));
        let connector = &self.of.connector;
        let command = match command {
            Ok(command) => command,
            Err(why) => {
                tracing::warn!(%connector, why, "a signal is not understood and was passed over");
                return Ok(());
            }
        };
        match command {
            Command::Log(message) => tracing::info!(%connector, message, "a signal says"),
            Command::Pause | Command::Resume => {
                let is_paused = matches!(command, Command::Pause);
                let (incremental, mut out) = self.incremental();
                incremental.pause(is_paused, &mut out)?;
            }
            Command::Stop(tables) => {
                let (incremental, mut out) = self.incremental();
                incremental.stop(tables.as_ref(), &mut out)?;
            }
            Command::Execute(execute) => {
                let captured = captured(self.of.client, self.of.config).await?;
                let captured: Vec<String> = captured.iter().map(Listed::collection).collect();
                let (incremental, mut out) = self.incremental();
                incremental.execute(&execute, &captured, &mut out)?;
            }
        }
        self.of.incremental.ask();
        Ok(())
    }
}

/// The captured tables that changes are shown of: partitions, or the tables at their roots.
pub(super) async fn captured(client: &Client, config: &Config) -> Result<Vec<Listed>> {
    let is_via_root = catalog::is_via_root(client, &config.replication.publication_name).await?;
    let is_shown = |table: &Listed| match is_via_root {
        true => table.root == table.oid,
        false => !table.is_partitioned,
    };
    let mut tables = catalog::tables(client).await?;
    let filters = &config.filters;
    tables.retain(|table| is_shown(table) && filters.captures(&table.schema, &table.name));
    Ok(tables)
}
