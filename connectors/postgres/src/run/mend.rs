//! What is done once changes are missing.
//!
//! Duty: ask the server what [`crate::gap`] decides by, and carry out `slot.loss.policy`.
//!
//! Rows that changed since an offset are read as a snapshot is taken up that was interrupted just
//! before its end: all ranges of all tables are stored as read under a snapshot whose xmin is the
//! offset's `oldest_xid`. So the reading is shared out, bounded, and taken up after a crash as any is,
//! and what cannot be told by xmin (a table that is rewritten meanwhile, one without places) is read
//! whole. Tables that `snapshot.include.collection.list` leaves out are read, too, or the changes of
//! theirs would stay missing.

use tokio_postgres::Client;
use towpath_sdk::error::Action;
use towpath_sdk::source::Mark;
use towpath_sdk::{Error, ErrorKind, Result};

use super::{Run, Server};
use crate::catalog::{self, Listed, Slot};
use crate::config::snapshot::Rows;
use crate::gap::{self, Descent, Finding, Mending, ServerState};
use crate::insurance::{self, Insured};
use crate::offset::Stored;
use crate::snapshot::plan::{self, Marks, Range, Read};

impl Run {
    /// What has to be read again before changes after `stored` can be.
    ///
    /// # Errors
    /// If changes are missing and that is an error, or the server has not come so far.
    pub(super) async fn mending(
        &self,
        server: &mut Server,
        stored: Option<&Stored>,
        slot: Option<&Slot>,
    ) -> Result<Option<Mending>> {
        let Some(stored) = stored else { return Ok(None) };
        let known = stored.origin.map_or(server.origin.timeline, |origin| origin.timeline);
        let descent = match server.origin.timeline > known {
            true => {
                let history = server.connection.timeline_history(server.origin.timeline).await?;
                gap::descent(&history.content, known)
            }
            false => Descent::Same,
        };
        let Server { origin, flushed, is_standby, .. } = *server;
        let trusts_slot = self.config.replication.trusts_slot();
        let state = ServerState { origin, flushed, is_standby, descent, slot, trusts_slot };
        let gap = match gap::gap(&self.config.replication.slot_name, stored, &state) {
            Finding::Whole => return Ok(None),
            Finding::Behind(why) => return Err(Error::new(ErrorKind::Unavailable, why)),
            Finding::Gap(gap) => gap,
        };
        let connector = &self.cx.connector;
        // A snapshot that is not over begins anew by itself.
        if !stored.is_snapshot_done && self.course.rows != Rows::Never {
            tracing::warn!(%connector, gap = gap.why, "changes are missing; the snapshot begins anew");
            return Ok(Some(Mending::AllRows));
        }
        let now = insurance::sample(&server.client).await?;
        let policy = self.config.loss();
        // What an unfinished reading was to find is not there, however new the position is.
        let insured =
            if stored.is_snapshot_done { stored.insured.clone() } else { Insured::default() };
        let Some((mending, instead)) = gap::mending(&gap, policy, &insured, &now) else {
            return Err(Error::config(format!(
                "{}: changes are missing; reset the offsets of the connector to begin with a new \
                 snapshot, or set slot.loss.policy=backfill or resnapshot (or snapshot.mode=when_needed) \
                 to have rows read again at once",
                gap.why
            )));
        };
        match mending {
            Mending::Since(xid) => tracing::warn!(
                %connector, gap = gap.why, xid,
                "changes are missing; rows that changed since are read again"
            ),
            Mending::AllRows => tracing::warn!(
                %connector, gap = gap.why, because = instead,
                "changes are missing; all rows are read again"
            ),
        }
        Ok(Some(mending))
    }

    /// An error of a stream; if it came because the slot was lost under it, one after which that is
    /// looked at anew.
    pub(super) async fn unless_lost(&self, client: &Client, error: Error) -> Error {
        if error.action() == Action::Retry {
            return error;
        }
        let name = &self.config.replication.slot_name;
        match catalog::slot(client, name).await {
            Ok(None) => {}
            Ok(Some(slot)) if slot.wal_status.as_deref() == Some("lost") => {}
            _ => return error,
        }
        let text = format!("the replication slot {name} was lost while it was read");
        Error::new(ErrorKind::Unavailable, text).with_source(error)
    }

    /// Marks that say that all rows were read but those with an xmin that is not before `xmin`.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub(super) async fn read_before(
        &self,
        server: &Server,
        captured: &[Listed],
        xmin: u32,
    ) -> Result<Vec<Mark>> {
        let tables = self.heaps(server, captured).await?;
        let marks = Marks::new(&self.config.topic_prefix);
        let mut all = Vec::new();
        for (_, heap) in self.plan(&server.client, &tables, &server.types).await? {
            if !heap.has_places {
                continue;
            }
            for range in plan::ranges(heap.blocks, true, Vec::new()) {
                let read = Read { to: None, xmin };
                let range = Range { read: Some(read), ..range };
                let offset = Marks::offset(&range, read, heap.filenode);
                all.push(Mark::new(0, marks.partition(heap.shape.oid, range.from), offset));
            }
        }
        Ok(all)
    }

    /// Names tables whose rows a new snapshot leaves out, though changes of them may be missing.
    pub(super) fn warn_of_tables_left_out(&self, captured: &[Listed]) {
        let out: Vec<String> = captured
            .iter()
            .filter(|table| !table.is_partitioned && !self.is_read(table))
            .map(|table| format!("{}.{}", table.schema, table.name))
            .collect();
        if !out.is_empty() {
            tracing::warn!(
                connector = %self.cx.connector, tables = out.join(", "),
                "changes of these tables stay missing: snapshot.include.collection.list leaves them out"
            );
        }
    }
}
