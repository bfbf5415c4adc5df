//! What messages of a transaction mean.
//!
//! Duty: make tables of relation messages and records of changes, and count both what was handed over
//! before and what is now.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Client;
use towpath_sdk::{Error, ErrorKind, Result};

use super::Reader;
use crate::catalog::{self, Types};
use crate::envelope::{Change, Envelopes, Operation, Order, SnapshotMark, Source};
use crate::heartbeat;
use crate::incremental::Images;
use crate::lsn::Lsn;
use crate::offset::{Position, Trail};
use crate::pgoutput::{
    Begin, Column, Commit, Logical, Message, Old, Relation, ReplicaIdentity, Tuple,
};
use crate::table::{ColumnShape, Field, Row, Shape, Table};
use crate::unreadable::Unreadable;

/// How often a change that the log tells of is looked for in the catalog again, and how long it takes
/// to become visible.
const VISIBLE_TRIES: u32 = 5;
const VISIBLE_WAIT: Duration = Duration::from_millis(5);

/// A transaction that has begun.
#[derive(Debug)]
pub(super) struct Transaction {
    xid: u32,
    ts_us: i64,
    /// Whether its begin was shown.
    is_shown: bool,
    total: u64,
    /// How many changes each table had, in the order of their first.
    collections: Vec<(Arc<str>, u64)>,
}

impl Reader<'_> {
    /// What a message of a transaction that has ended means.
    pub(super) async fn apply(&mut self, lsn: Lsn, message: Message) -> Result<()> {
        match message {
            Message::Begin(begin) => self.begin(begin)?,
            Message::Commit(commit) => self.commit(commit)?,
            Message::Relation(relation) => self.relation(relation).await?,
            Message::Insert(insert) => {
                let images = Images { old: None, new: Some(&insert.new) };
                let is_new = self.row(lsn, insert.relation, Operation::Create, &images)?;
                if is_new && self.signals == Some(insert.relation) {
                    self.written(&insert.new).await?;
                }
            }
            Message::Update(update) => {
                let images = Images { old: update.old.as_ref(), new: Some(&update.new) };
                self.row(lsn, update.relation, Operation::Update, &images)?;
            }
            Message::Delete(delete) => {
                let images = Images { old: Some(&delete.old), new: None };
                self.row(lsn, delete.relation, Operation::Delete, &images)?;
            }
            Message::Truncate(truncate) => {
                for relation in truncate.relations {
                    let images = Images { old: None, new: None };
                    self.row(lsn, relation, Operation::Truncate, &images)?;
                }
            }
            Message::Logical(logical) => self.logical(lsn, &logical)?,
            Message::Origin(_) | Message::Type(_) => {}
            Message::StreamStart(_)
            | Message::StreamStop
            | Message::StreamCommit(_)
            | Message::StreamAbort(_) => {
                return Err(Error::internal("read a block of a transaction within another"));
            }
        }
        Ok(())
    }

    pub(super) fn begin(&mut self, begin: Begin) -> Result<()> {
        self.all_was_handed_over(begin.commit_lsn)?;
        self.idle = None;
        self.trail = Trail { tx_id: Some(begin.xid), ts_us: Some(begin.committed_at_us) };
        self.transaction = Some(Transaction {
            xid: begin.xid,
            ts_us: begin.committed_at_us,
            is_shown: false,
            total: 0,
            collections: Vec::new(),
        });
        Ok(())
    }

    pub(super) fn commit(&mut self, commit: Commit) -> Result<()> {
        if let Some(transaction) = self.transaction.take()
            && transaction.is_shown
        {
            let Transaction { xid, ts_us, collections, .. } = &transaction;
            let end = self.of.envelopes.transaction_record(
                *xid,
                commit.end_lsn,
                *ts_us,
                Some(collections),
            )?;
            self.piece.records.push(end);
        }
        self.resume.transaction_ended();
        self.position = Position::between(commit.end_lsn);
        self.last_commit = Some(commit.end_lsn);
        self.boundary = Some((self.piece.records.len(), self.position, self.trail));
        if let Some(xid) = self.trail.tx_id {
            self.of.incremental.transaction(xid);
        }
        self.all_was_handed_over(commit.end_lsn)
    }

    async fn relation(&mut self, relation: Relation) -> Result<()> {
        let oid = relation.oid;
        let signals = self.of.config.signals.table();
        let Relation { namespace, name, .. } = &relation;
        let is_of_signals = signals.is_some_and(|table| table == format!("{namespace}.{name}"));
        if is_of_signals {
            self.signals = Some(oid);
        }
        // Debezium shows the table of signals whatever the filters say.
        let table = match is_of_signals || self.of.config.filters.captures(namespace, name) {
            true => Some(Arc::new(self.table(relation).await?)),
            false => None,
        };
        if let Some(newcomers) = &mut self.of.newcomers
            && table.is_some()
            && newcomers.is_new(oid)
        {
            newcomers.look();
        }
        self.tables.insert(oid, table);
        Ok(())
    }

    /// The table that a relation message describes, with what the catalog adds.
    async fn table(&mut self, relation: Relation) -> Result<Table> {
        let details = details(self.of.client, &relation).await?;
        if relation.columns.iter().any(|column| self.types.get(column.type_oid).is_none()) {
            self.types = Types::load(self.of.client).await?;
        }
        let columns = relation.columns.iter().map(|column| {
            let kind = self.types.get(column.type_oid);
            let kind = kind.ok_or_else(|| catalog::unknown_type(column.type_oid))?;
            let (is_required, default) = details.column(&column.name);
            Ok(ColumnShape {
                name: Arc::clone(&column.name),
                kind: Arc::clone(kind),
                typmod: column.type_modifier,
                is_required,
                is_identity: column.is_key,
                default,
            })
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        // The key as of this LSN is what the message says, in the order that the catalog has it; under
        // FULL the message calls every column a key.
        let flagged = relation.columns.iter().filter(|column| column.is_key);
        let mut key: Vec<Arc<str>> = flagged.map(|column| Arc::clone(&column.name)).collect();
        let is_primary = relation.replica_identity == ReplicaIdentity::Default && !key.is_empty();
        let is_same =
            key.len() == details.key.len() && key.iter().all(|name| details.key.contains(name));
        if !is_primary || is_same {
            key = details.key;
        }
        let shape = Shape {
            oid: relation.oid,
            schema: relation.namespace,
            name: relation.name,
            columns,
            key,
        };
        Table::new(shape, self.of.config, self.of.rules)
    }

    /// Takes a change of a row; whether it was not handed over before.
    fn row(
        &mut self,
        lsn: Lsn,
        relation: u32,
        operation: Operation,
        images: &Images<'_>,
    ) -> Result<bool> {
        let is_old = self.resume.skips(lsn);
        if is_old && !self.of.config.records.provide_transaction_metadata {
            return Ok(false);
        }
        let found = self.tables.get(&relation).ok_or_else(|| {
            Error::internal(format!("find table {relation}, of which no relation message came"))
        })?;
        if let Some(table) = found.clone() {
            self.of.meters.saw(&table.collection, lsn, self.trail.ts_us.unwrap_or_default());
            let skips = self.of.config.filters.skips(operation.text());
            match decode(&table, operation, images) {
                Ok(change) => self.decoded(lsn, &table, images, change, is_old, skips)?,
                Err(why) if why.kind() != ErrorKind::Data => return Err(why),
                Err(_) if is_old => {}
                Err(why) => self.refuse(lsn, &table, operation, images, why, skips)?,
            }
        }
        if !is_old {
            self.position.advance(lsn);
        }
        Ok(!is_old)
    }

    fn decoded(
        &mut self,
        lsn: Lsn,
        table: &Table,
        images: &Images<'_>,
        mut change: Change,
        is_old: bool,
        skips: bool,
    ) -> Result<()> {
        if !is_old {
            let after = match &mut change {
                Change::Create(after) | Change::Update { after, .. } => Some(after),
                _ => None,
            };
            self.beside(table, images, after)?;
        }
        if let Change::Update { after, .. } = &mut change {
            table.show_placeholder(after);
        }
        if skips || self.of.config.columns.skip_messages_without_change && change.shows_nothing() {
            return Ok(());
        }
        if is_old { self.count_old(table, &change) } else { self.show(lsn, table, change) }
    }

    /// Hands over that a change can't be shown. Transaction metadata do not count it, since nobody finds
    /// it in a topic.
    fn refuse(
        &mut self,
        lsn: Lsn,
        table: &Table,
        operation: Operation,
        images: &Images<'_>,
        why: Error,
        skips: bool,
    ) -> Result<()> {
        self.beside(table, images, None)?;
        if skips {
            return Ok(());
        }
        self.is_idle = false;
        let before = images.old.map(|old| old_fields(table, old).collect());
        let after = images.new.map(|new| fields(new).collect());
        let (operation, source) = (operation.text(), self.source(lsn));
        let refused = Unreadable::new(table, [before, after], why);
        self.piece.records.push(refused.record(table, operation, &source));
        Ok(())
    }

    /// Counts a change that was shown before, so that those after it have the numbers they would have.
    fn count_old(&mut self, table: &Table, change: &Change) -> Result<()> {
        let times = if Envelopes::moved(table, change)?.is_some() { 2 } else { 1 };
        if let Some(transaction) = &mut self.transaction {
            transaction.is_shown = true;
            for _ in 0..times {
                transaction.count(&table.collection);
            }
        }
        Ok(())
    }

    fn show(&mut self, lsn: Lsn, table: &Table, change: Change) -> Result<()> {
        self.is_idle = false;
        self.show_begin(lsn)?;
        let source = self.source(lsn);
        let now = self.of.clock.now();
        let with_order = self.of.config.records.provide_transaction_metadata;
        let Self { of, transaction, piece, .. } = self;
        let order = || match transaction {
            Some(transaction) if with_order => Some(transaction.count(&table.collection)),
            _ => None,
        };
        of.envelopes.change(table, change, &source, order, now, &mut piece.records)
    }

    /// Shows the begin of a transaction before its first change.
    fn show_begin(&mut self, lsn: Lsn) -> Result<()> {
        if let Some(transaction) = &mut self.transaction
            && self.of.config.records.provide_transaction_metadata
            && !std::mem::replace(&mut transaction.is_shown, true)
        {
            let Transaction { xid, ts_us, .. } = *transaction;
            let begin = self.of.envelopes.transaction_record(xid, lsn, ts_us, None)?;
            self.piece.records.push(begin);
        }
        Ok(())
    }

    pub(super) fn source(&self, lsn: Lsn) -> Source {
        Source {
            snapshot: SnapshotMark::No,
            ts_us: self.trail.ts_us.unwrap_or_default(),
            tx_id: self.trail.tx_id,
            lsn,
            last_commit: self.last_commit,
        }
    }

    pub(super) fn logical(&mut self, lsn: Lsn, logical: &Logical) -> Result<()> {
        if logical.transactional && self.resume.skips(lsn) {
            // It was shown before, as `count_old` has it of rows.
            if let Some(transaction) = &mut self.transaction
                && self.of.config.records.provide_transaction_metadata
            {
                transaction.is_shown = true;
                transaction.count(&MESSAGES.into());
            }
            return Ok(());
        }
        let is_own = *logical.prefix == *heartbeat::PREFIX;
        if is_own || !self.of.config.filters.takes_message(&logical.prefix) {
            if logical.transactional {
                self.position.advance(lsn);
            }
            return Ok(());
        }
        self.is_idle = false;
        let mut source = self.source(lsn);
        if logical.transactional {
            self.show_begin(lsn)?;
        } else {
            source.tx_id = None;
            source.ts_us = self.of.clock.now().millis().saturating_mul(1000);
        }
        let order = match &mut self.transaction {
            Some(transaction)
                if logical.transactional && self.of.config.records.provide_transaction_metadata =>
            {
                Some(transaction.count(&MESSAGES.into()))
            }
            _ => None,
        };
        let now = self.of.clock.now();
        let record =
            self.of.envelopes.message(&logical.prefix, &logical.content, &source, order, now)?;
        self.piece.records.push(record);
        if logical.transactional {
            self.position.advance(lsn);
        } else {
            // It comes between transactions, and its LSN is where the log goes on after it.
            self.position.end = self.position.end.max(lsn);
            if self.position.within.is_none() {
                self.boundary = Some((self.piece.records.len(), self.position, self.trail));
            }
        }
        Ok(())
    }
}

/// What the catalog knows of a relation. The log may tell of a transaction a moment before other
/// sessions see what it did, so a column that is not there yet is waited for; one that is not there any
/// more never comes.
async fn details(client: &Client, relation: &Relation) -> Result<catalog::Details> {
    let mut tries = 0;
    loop {
        let details = catalog::details(client, relation.oid).await?;
        let is_whole = relation.columns.iter().all(|column| details.has(&column.name));
        if is_whole || tries == VISIBLE_TRIES {
            return Ok(details);
        }
        tries += 1;
        tokio::time::sleep(VISIBLE_WAIT).await;
    }
}

/// What transaction metadata calls logical messages.
const MESSAGES: &str = "message";

impl Transaction {
    fn count(&mut self, collection: &Arc<str>) -> Order {
        self.total += 1;
        let at = self.collections.iter().position(|(name, _)| name == collection);
        let at = at.unwrap_or_else(|| {
            self.collections.push((Arc::clone(collection), 0));
            self.collections.len() - 1
        });
        let mut in_collection = 1;
        if let Some((_, count)) = self.collections.get_mut(at) {
            *count += 1;
            in_collection = *count;
        }
        Order { total: self.total, in_collection }
    }
}

fn fields(tuple: &Tuple) -> impl Iterator<Item = Field<'_>> {
    tuple.columns().map(|column| match column {
        Column::Null => Field::Null,
        Column::Unchanged => Field::Unchanged,
        // Binary is not asked for.
        Column::Text(value) | Column::Binary(value) => Field::Text(tuple.share(value)),
    })
}

/// The row before a change; columns that are not part of the identity are not there.
fn old_fields<'a>(table: &'a Table, old: &'a Old) -> impl Iterator<Item = Field<'a>> {
    let (tuple, is_key) = match old {
        Old::Row(tuple) => (tuple, false),
        Old::Key(tuple) => (tuple, true),
    };
    fields(tuple).zip(&table.shape.columns).map(move |(field, column)| match field {
        Field::Null if is_key && !column.is_identity => Field::Absent,
        field => field,
    })
}

/// What happened to a row.
///
/// # Errors
/// [`ErrorKind::Data`] if a value can't be shown.
fn decode(table: &Table, operation: Operation, images: &Images<'_>) -> Result<Change> {
    let old = || images.old.map(|old| table.decode(old_fields(table, old))).transpose();
    let new = || images.new.map(|new| table.decode(fields(new))).transpose();
    let whole = |row: Option<Row>| row.ok_or_else(|| Error::internal("find the row of a change"));
    Ok(match operation {
        Operation::Create => Change::Create(whole(new()?)?),
        Operation::Update => {
            let (before, mut after) = (old()?, whole(new()?)?);
            if let (Some(Old::Row(_)), Some(before)) = (images.old, &before) {
                after.fill_unchanged(before);
            }
            Change::Update { before, after }
        }
        Operation::Delete => Change::Delete(whole(old()?)?),
        Operation::Truncate => Change::Truncate,
    })
}
