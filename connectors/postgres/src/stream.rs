//! From a position on: transactions as records.
//!
//! Duty: read frames of the replication connection, make tables of relation messages, records of
//! changes, and pieces of records; confirm what is stored.
//!
//! Invariants:
//! - records come in the order of the stream, and the mark of a piece says how far it is;
//! - only what `confirmed` holds is told to the server as flushed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_postgres::Client;
use towpath_sdk::clock::Clock;
use towpath_sdk::instruments::Gauge;
use towpath_sdk::source::Mark;
use towpath_sdk::{Error, Result};

use crate::catalog::{self, Types};
use crate::config::Config;
use crate::envelope::{Change, Envelopes, Order, SnapshotMark, Source};
use crate::heartbeat::{self, Heartbeat};
use crate::lsn::Lsn;
use crate::offset::{self, Confirmed, Origin, Position, Resume, Stored, Trail};
use crate::output::Output;
use crate::pgoutput::{
    Begin, Column, Commit, Logical, Message, Old, Relation, ReplicaIdentity, StreamCommit, Tuple,
    Xid, parse,
};
use crate::pieces::Piece;
use crate::rules::Rules;
use crate::spill::{Full, Spill};
use crate::table::{ColumnShape, Field, Row, Shape, Table};
use crate::wire::{self, Frame};

/// Bytes of changes in a piece, about.
const PIECE_BYTES: usize = 512 * 1024;
/// Bytes of transactions that have not ended which are kept in memory.
const SPILL_MEMORY: usize = 8 * 1024 * 1024;
/// How often pieces are handed over that are not full.
const BATCH: Duration = Duration::from_millis(1);
/// How often a position is stored though nothing was captured, at most.
const IDLE_MARK: Duration = Duration::from_secs(1);

/// How often a change that the log tells of is looked for in the catalog again, and how long it takes
/// to become visible.
const VISIBLE_TRIES: u32 = 5;
const VISIBLE_WAIT: Duration = Duration::from_millis(5);

/// What a stream needs.
pub(crate) struct Streaming<'a> {
    /// The configuration.
    pub(crate) config: &'a Config,
    /// What is done to columns.
    pub(crate) rules: &'a Rules,
    /// Makes records.
    pub(crate) envelopes: &'a Envelopes,
    /// For what the protocol does not carry.
    pub(crate) client: &'a Client,
    /// Where pieces go.
    pub(crate) output: &'a Output,
    /// Up to where everything is stored.
    pub(crate) confirmed: watch::Receiver<Confirmed>,
    /// Which server it is.
    pub(crate) origin: Origin,
    /// The time.
    pub(crate) clock: Arc<dyn Clock>,
    /// Bytes of transactions that have not ended, in files.
    pub(crate) spilled: Gauge,
}

/// A stream that is being read.
pub(crate) struct Reader<'a> {
    of: Streaming<'a>,
    stream: wire::Stream,
    next_status: Instant,
    /// When a piece was handed over last.
    flushed: Instant,
    types: Types,
    /// Tables by object id; `None` is one that is not captured.
    tables: HashMap<u32, Option<Arc<Table>>>,
    position: Position,
    resume: Resume,
    trail: Trail,
    transaction: Option<Transaction>,
    /// Transactions that have not ended.
    spill: Spill,
    /// The one of them whose changes come now.
    block: Option<Xid>,
    /// The end of the transaction before, unless the stream has just begun after a snapshot.
    last_commit: Option<Lsn>,
    piece: Piece,
    bytes: usize,
    /// How many records of the piece end with a transaction, and where.
    boundary: Option<(usize, Position, Trail)>,
    /// Whether nothing was captured since the last heartbeat.
    is_idle: bool,
    /// Up to where the server has nothing more for us, and since when that is not stored.
    idle: Option<(Lsn, Instant)>,
}

/// A transaction that has begun.
#[derive(Debug)]
struct Transaction {
    xid: u32,
    ts_us: i64,
    /// Whether its begin was shown.
    is_shown: bool,
    total: u64,
    /// How many changes each table had, in the order of their first.
    collections: Vec<(Arc<str>, u64)>,
}

impl<'a> Reader<'a> {
    /// A stream that begins at `position`.
    #[must_use]
    pub(crate) fn new(
        of: Streaming<'a>,
        stream: wire::Stream,
        types: Types,
        position: Position,
        last_commit: Option<Lsn>,
    ) -> Self {
        let engine = &of.config.engine;
        let spill = Spill::new(&engine.spill_dir(), SPILL_MEMORY, engine.spill_max_bytes);
        Self {
            next_status: Instant::now() + of.config.replication.status_update_interval_ms,
            flushed: Instant::now(),
            of,
            stream,
            types,
            tables: HashMap::new(),
            position,
            resume: Resume::at(position),
            trail: Trail::default(),
            transaction: None,
            spill,
            block: None,
            last_commit,
            piece: Piece::default(),
            bytes: 0,
            boundary: None,
            is_idle: true,
            idle: None,
        }
    }

    /// Reads until there is no room for transactions that have not ended.
    ///
    /// # Errors
    /// If the connection breaks, or nobody polls any more.
    pub(crate) async fn run(mut self) -> Result<Full> {
        let mut heartbeat = Heartbeat::new(&self.of.config.replication, self.of.client);
        loop {
            let frame = match self.stream.try_next()? {
                Some(frame) => frame,
                None => match self.wait(&mut heartbeat).await? {
                    Some(frame) => frame,
                    None => continue,
                },
            };
            match frame {
                Frame::KeepAlive { end, reply_requested, .. } => {
                    self.is_idle_upto(end);
                    if reply_requested {
                        self.tell().await?;
                    }
                }
                Frame::Wal { start, data, .. } => {
                    if self.message(start, &data).await? == Err(Full) {
                        return Ok(Full);
                    }
                    if self.flush_if_full().await? {
                        self.beat_if_due(&mut heartbeat)?;
                    }
                }
            }
        }
    }

    /// Nothing more is there for now: hands over what was made, at most once in [`BATCH`], and waits for
    /// a frame or for something to do. Where changes come densely this reads and hands over many at a
    /// time; a single one goes at once.
    async fn wait(&mut self, heartbeat: &mut Heartbeat<'_>) -> Result<Option<Frame>> {
        self.tell_if_due().await?;
        self.beat_if_due(heartbeat)?;
        if self.has_piece() {
            tokio::time::sleep_until(self.flushed + BATCH).await;
            self.flush().await?;
            return Ok(None);
        }
        let wake = [self.mark_at(), heartbeat.next()].into_iter().flatten();
        let wake = wake.fold(self.next_status, Instant::min);
        let mut confirmed = self.of.confirmed.clone();
        tokio::select! {
            frame = self.stream.next() => return Ok(Some(frame?)),
            // Whoever acknowledges goes with the task, as this does.
            Ok(()) = confirmed.changed() => self.tell().await?,
            beaten = heartbeat.go_on() => beaten?,
            () = tokio::time::sleep_until(wake) => self.mark_idle().await?,
        }
        Ok(None)
    }

    fn has_piece(&self) -> bool {
        !self.piece.records.is_empty() || self.boundary.is_some()
    }

    /// Tells the server what is stored. Zero tells it nothing.
    async fn tell(&mut self) -> Result<()> {
        self.of.spilled.set(self.spill.on_disk().cast_signed());
        let mut confirmed = self.of.confirmed.borrow_and_update().on(self.of.origin);
        if !self.of.config.replication.confirms() {
            confirmed = Lsn::ZERO;
        }
        self.stream.send_status(confirmed, confirmed, confirmed, false).await?;
        self.next_status = Instant::now() + self.of.config.replication.status_update_interval_ms;
        Ok(())
    }

    async fn tell_if_due(&mut self) -> Result<()> {
        if Instant::now() >= self.next_status { self.tell().await } else { Ok(()) }
    }

    /// Waits for room and hands a piece over, while the server hears that we live.
    async fn hand_over(&mut self, piece: Piece) -> Result<()> {
        let bytes = std::mem::take(&mut self.bytes);
        let mut sending = std::pin::pin!(self.of.output.send(piece, bytes));
        loop {
            tokio::select! {
                sent = &mut sending => {
                    self.flushed = Instant::now();
                    return sent;
                }
                () = tokio::time::sleep_until(self.next_status) => self.tell().await?,
            }
        }
    }

    fn beat_if_due(&mut self, heartbeat: &mut Heartbeat<'_>) -> Result<()> {
        if heartbeat.is_due(Instant::now()) { self.beat(heartbeat) } else { Ok(()) }
    }

    /// A sign of life; with a record it carries the position that the server has nothing for us up to,
    /// which needs no mark of its own then.
    fn beat(&mut self, heartbeat: &mut Heartbeat<'_>) -> Result<()> {
        if let Some(record) = self.of.envelopes.heartbeat(self.of.clock.now())? {
            self.piece.records.push(record);
            if self.transaction.is_none() && self.position.within.is_none() {
                if let Some((end, _)) = self.idle.take() {
                    self.position = Position::between(end);
                }
                self.boundary = Some((self.piece.records.len(), self.position, self.trail));
            }
        }
        heartbeat.beat(std::mem::replace(&mut self.is_idle, true));
        Ok(())
    }

    /// The server has nothing for us up to `end`; but the rest of a transaction that was begun before
    /// the stream was taken up is still to come.
    fn is_idle_upto(&mut self, end: Lsn) {
        let is_between = self.transaction.is_none() && self.position.within.is_none();
        if is_between && end > self.position.end {
            let since = self.idle.map_or_else(Instant::now, |(_, since)| since);
            self.idle = Some((end, since));
        }
    }

    fn mark_at(&self) -> Option<Instant> {
        self.idle.map(|(_, since)| since + IDLE_MARK)
    }

    /// Stores a position after which nothing was captured, so that it can be confirmed.
    async fn mark_idle(&mut self) -> Result<()> {
        let Some((end, since)) = self.idle else { return Ok(()) };
        if self.transaction.is_some() || since + IDLE_MARK > Instant::now() {
            return Ok(());
        }
        self.idle = None;
        self.position = Position::between(end);
        self.boundary = Some((self.piece.records.len(), self.position, self.trail));
        self.flush().await
    }

    /// Hands over what was made so far, with how far that is.
    async fn flush(&mut self) -> Result<()> {
        if !self.has_piece() {
            self.bytes = 0;
            return Ok(());
        }
        let mut piece = std::mem::take(&mut self.piece);
        let count = piece.records.len();
        let is_within = self.position.within.is_some();
        let mut is_marked = false;
        if let Some((after, position, trail)) = self.boundary.take() {
            piece.marks.push(self.mark(after, position, trail).at_boundary(true));
            is_marked = after == count && !is_within;
        }
        if !is_marked {
            piece.marks.push(self.mark(count, self.position, self.trail));
        }
        self.hand_over(piece).await
    }

    fn mark(&self, after: usize, position: Position, trail: Trail) -> Mark {
        let origin = Some(self.of.origin);
        let stored = Stored { position, origin, is_snapshot_done: true, trail };
        Mark::new(after, offset::partition(&self.of.config.topic_prefix), stored.offset())
    }

    /// Takes a message as it comes. `Err(Full)`: there is no room for transactions that have not ended.
    async fn message(&mut self, lsn: Lsn, data: &Bytes) -> Result<Result<(), Full>> {
        let message = parse(data, self.block.is_some())?;
        match message {
            Message::StreamStart(start) => self.block = Some(start.xid),
            Message::StreamStop => self.block = None,
            Message::StreamAbort(abort) => self.spill.abort(abort.xid, abort.subxid),
            Message::StreamCommit(commit) => self.stream_commit(commit).await?,
            // It is of no transaction.
            Message::Logical(logical) if !logical.transactional => self.logical(lsn, &logical)?,
            message => match self.block {
                Some(transaction) => {
                    let subtransaction = message.xid().unwrap_or(transaction);
                    return self.spill.keep(transaction, subtransaction, lsn, data).await;
                }
                None => {
                    self.bytes += data.len();
                    self.apply(lsn, message).await?;
                }
            },
        }
        Ok(Ok(()))
    }

    /// A transaction that came before it ended is committed: what was kept of it is as if it came now.
    async fn stream_commit(&mut self, commit: StreamCommit) -> Result<()> {
        let StreamCommit { xid, commit } = commit;
        let Commit { commit_lsn, committed_at_us, .. } = commit;
        self.begin(Begin { commit_lsn, committed_at_us, xid });
        if let Some(kept) = self.spill.take(xid) {
            let mut messages = kept.messages();
            while let Some(kept) = messages.next().await? {
                self.bytes += kept.data.len();
                self.apply(kept.lsn, parse(&kept.data, true)?).await?;
                self.flush_if_full().await?;
            }
            self.spill.let_go(&kept);
        }
        self.commit(commit)
    }

    /// Hands over what was made if it is enough for a piece; whether it was.
    async fn flush_if_full(&mut self) -> Result<bool> {
        let is_full = self.piece.records.len() >= self.of.config.engine.max_batch_size as usize;
        if !is_full && self.bytes < PIECE_BYTES {
            return Ok(false);
        }
        self.flush().await?;
        self.tell_if_due().await?;
        Ok(true)
    }

    /// What a message of a transaction that has ended means.
    async fn apply(&mut self, lsn: Lsn, message: Message) -> Result<()> {
        match message {
            Message::Begin(begin) => self.begin(begin),
            Message::Commit(commit) => self.commit(commit)?,
            Message::Relation(relation) => self.relation(relation).await?,
            Message::Insert(insert) => {
                self.row(lsn, insert.relation, |table| {
                    Ok(Change::Create(table.decode(fields(&insert.new))?))
                })?;
            }
            Message::Update(update) => {
                self.row(lsn, update.relation, |table| {
                    let before =
                        update.old.as_ref().map(|old| decode_old(table, old)).transpose()?;
                    let mut after = table.decode(fields(&update.new))?;
                    if let (Some(Old::Row(_)), Some(before)) = (&update.old, &before) {
                        after.fill_unchanged(before);
                    }
                    table.show_placeholder(&mut after);
                    Ok(Change::Update { before, after })
                })?;
            }
            Message::Delete(delete) => {
                self.row(lsn, delete.relation, |table| {
                    Ok(Change::Delete(decode_old(table, &delete.old)?))
                })?;
            }
            Message::Truncate(truncate) => {
                for relation in truncate.relations {
                    self.row(lsn, relation, |_| Ok(Change::Truncate))?;
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

    fn begin(&mut self, begin: Begin) {
        self.idle = None;
        self.trail = Trail { tx_id: Some(begin.xid), ts_us: Some(begin.committed_at_us) };
        self.transaction = Some(Transaction {
            xid: begin.xid,
            ts_us: begin.committed_at_us,
            is_shown: false,
            total: 0,
            collections: Vec::new(),
        });
    }

    fn commit(&mut self, commit: Commit) -> Result<()> {
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
        Ok(())
    }

    async fn relation(&mut self, relation: Relation) -> Result<()> {
        let oid = relation.oid;
        let table = match self.of.config.filters.captures(&relation.namespace, &relation.name) {
            true => Some(Arc::new(self.table(relation).await?)),
            false => None,
        };
        self.tables.insert(oid, table);
        Ok(())
    }

    /// The table that a relation message describes, with what the catalog adds.
    async fn table(&mut self, relation: Relation) -> Result<Table> {
        let details = self.details(&relation).await?;
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

    /// What the catalog knows of a relation. The log may tell of a transaction a moment before other
    /// sessions see what it did, so a column that is not there yet is waited for; one that is not there
    /// any more never comes.
    async fn details(&self, relation: &Relation) -> Result<catalog::Details> {
        let mut tries = 0;
        loop {
            let details = catalog::details(self.of.client, relation.oid).await?;
            let is_whole = relation.columns.iter().all(|column| details.has(&column.name));
            if is_whole || tries == VISIBLE_TRIES {
                return Ok(details);
            }
            tries += 1;
            tokio::time::sleep(VISIBLE_WAIT).await;
        }
    }

    fn row(
        &mut self,
        lsn: Lsn,
        relation: u32,
        decode: impl FnOnce(&Table) -> Result<Change>,
    ) -> Result<()> {
        let is_old = self.resume.skips(lsn);
        if is_old && !self.of.config.records.provide_transaction_metadata {
            return Ok(());
        }
        let found = self.tables.get(&relation).ok_or_else(|| {
            Error::internal(format!("find table {relation}, of which no relation message came"))
        })?;
        if let Some(table) = found.clone() {
            let change = decode(&table)?;
            let operation = match &change {
                Change::Read(_) => "r",
                Change::Create(_) => "c",
                Change::Update { .. } => "u",
                Change::Delete(_) => "d",
                Change::Truncate => "t",
            };
            let is_skipped = self.of.config.filters.skips(operation)
                || self.of.config.columns.skip_messages_without_change && change.shows_nothing();
            match is_skipped {
                true => {}
                false if is_old => self.count_old(&table, &change)?,
                false => self.show(lsn, &table, change)?,
            }
        }
        if !is_old {
            self.position.advance(lsn);
        }
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

    fn source(&self, lsn: Lsn) -> Source {
        Source {
            snapshot: SnapshotMark::No,
            ts_us: self.trail.ts_us.unwrap_or_default(),
            tx_id: self.trail.tx_id,
            lsn,
            last_commit: self.last_commit,
        }
    }

    fn logical(&mut self, lsn: Lsn, logical: &Logical) -> Result<()> {
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

fn fields(tuple: &Tuple) -> impl Iterator<Item = Field> {
    tuple.columns().map(|column| match column {
        Column::Null => Field::Null,
        Column::Unchanged => Field::Unchanged,
        // Binary is not asked for.
        Column::Text(value) | Column::Binary(value) => Field::Text(tuple.share(value)),
    })
}

/// The row before a change; columns that are not part of the identity are not there.
fn decode_old(table: &Table, old: &Old) -> Result<Row> {
    match old {
        Old::Row(tuple) => table.decode(fields(tuple)),
        Old::Key(tuple) => {
            let columns = fields(tuple).zip(&table.shape.columns);
            table.decode(columns.map(|(field, column)| match field {
                Field::Null if !column.is_identity => Field::Absent,
                field => field,
            }))
        }
    }
}
