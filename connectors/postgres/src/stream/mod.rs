//! From a position on: transactions as records.
//!
//! Duty: read frames of the replication connection, put the records that are made of them ([`changes`])
//! into pieces, say how far they are, and confirm what is stored.
//!
//! Invariants:
//! - records come in the order of the stream, and the mark of a piece says how far it is;
//! - only what `confirmed` holds is told to the server as flushed.

mod changes;
mod commands;
pub(crate) mod newcomers;

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
use towpath_sdk::{Error, ErrorKind, Result};

use changes::Transaction;
use newcomers::Newcomers;

use crate::catalog::Types;
use crate::config::Config;
use crate::envelope::Envelopes;
use crate::heartbeat::Heartbeat;
use crate::incremental::Incremental;
use crate::insurance::Insurance;
use crate::lsn::Lsn;
use crate::meters::Meters;
use crate::offset::{self, Confirmed, Origin, Position, Resume, Stored, Trail};
use crate::output::Output;
use crate::pgoutput::{Begin, Commit, Message, StreamCommit, Xid, parse};
use crate::pieces::Piece;
use crate::promotion;
use crate::rules::Rules;
use crate::signal::inbox::Inbox;
use crate::spill::{Full, Spill};
use crate::table::Table;
use crate::wire::{self, Frame};

/// Bytes of changes in a piece, about.
const PIECE_BYTES: usize = 512 * 1024;
/// Bytes of transactions that have not ended which are kept in memory.
const SPILL_MEMORY: usize = 8 * 1024 * 1024;
/// How often pieces are handed over that are not full.
const BATCH: Duration = Duration::from_millis(1);
/// How often a position is stored though nothing was captured, at most.
const IDLE_MARK: Duration = Duration::from_secs(1);

/// What a stream needs.
pub(crate) struct Streaming<'a> {
    /// The connector's name.
    pub(crate) connector: &'a str,
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
    /// Tables that are read meanwhile.
    pub(crate) incremental: Incremental,
    /// Tables that are new.
    pub(crate) newcomers: Option<Newcomers>,
    /// Signals from outside the database.
    pub(crate) inbox: &'a mut Inbox,
    /// How far it is behind.
    pub(crate) meters: Meters,
    /// What is stored beside positions.
    pub(crate) insurance: &'a Insurance,
    /// Whether it was a standby when the stream began.
    pub(crate) is_standby: bool,
    /// How long the server may be silent though it is asked for a word; `None` is for ever.
    pub(crate) patience: Option<Duration>,
}

/// A stream that is being read.
pub(crate) struct Reader<'a> {
    of: Streaming<'a>,
    stream: wire::Stream,
    next_status: Instant,
    /// When a piece was handed over last.
    flushed: Instant,
    /// Since when it is waited for a word of the server.
    silent: Option<Instant>,
    types: Types,
    /// Tables by object id; `None` is one that is not captured.
    tables: HashMap<u32, Option<Arc<Table>>>,
    /// The table of signals.
    signals: Option<u32>,
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
            silent: None,
            of,
            stream,
            types,
            tables: HashMap::new(),
            signals: None,
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
        self.look_for_newcomers().await?;
        self.of.incremental.ask();
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
                    self.of.meters.caught_up(end);
                    self.is_idle_upto(end);
                    if self.transaction.is_none() {
                        self.all_was_handed_over(end)?;
                    }
                    if reply_requested {
                        self.tell().await?;
                    }
                }
                Frame::Wal { start, end, data, .. } => {
                    self.of.meters.heard(start, end);
                    if self.message(start, &data).await? == Err(Full) {
                        return Ok(Full);
                    }
                    if self.flush_if_full().await? {
                        self.beat_if_due(&mut heartbeat)?;
                        while let Some(wake) = self.of.incremental.try_arrived() {
                            self.woken(wake).await?;
                        }
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
        let look_at = self.of.newcomers.as_ref().map(Newcomers::next);
        if look_at.is_some_and(|at| at <= Instant::now()) {
            self.look_for_newcomers().await?;
            return Ok(None);
        }
        let silent = *self.silent.get_or_insert_with(Instant::now);
        if let Some(patience) = self.of.patience
            && silent.elapsed() > patience
        {
            let text = format!(
                "the server has not said a word for {} seconds, though it was asked; the network may \
                 be cut",
                silent.elapsed().as_secs()
            );
            return Err(Error::new(ErrorKind::Timeout, text));
        }
        let wake = [self.mark_at(), heartbeat.next(), look_at].into_iter().flatten();
        let wake = wake.fold(self.next_status, Instant::min);
        let mut confirmed = self.of.confirmed.clone();
        let Streaming { incremental, inbox, .. } = &mut self.of;
        tokio::select! {
            frame = self.stream.next() => {
                self.silent = None;
                return Ok(Some(frame?));
            }
            // Whoever acknowledges goes with the task, as this does.
            Ok(()) = confirmed.changed() => self.tell().await?,
            beaten = heartbeat.go_on() => beaten?,
            wake = incremental.wait() => self.woken(wake).await?,
            heard = inbox.next() => self.heard(heard).await?,
            () = tokio::time::sleep_until(wake) => self.mark_idle().await?,
        }
        Ok(None)
    }

    fn has_piece(&self) -> bool {
        !self.piece.records.is_empty() || !self.piece.marks.is_empty() || self.boundary.is_some()
    }

    async fn tell(&mut self) -> Result<()> {
        self.status(false).await
    }

    /// Tells the server what is stored, and with `asks` has it say how far it has sent everything. Zero
    /// tells it nothing.
    async fn status(&mut self, asks: bool) -> Result<()> {
        self.of.spilled.set(self.spill.on_disk().cast_signed());
        let mut confirmed = self.of.confirmed.borrow_and_update().on(self.of.origin);
        if !self.of.config.replication.confirms() {
            confirmed = Lsn::ZERO;
        }
        // A cut connection shows by the answer that does not come.
        let silent = self.of.patience.zip(self.silent);
        let asks = asks || silent.is_some_and(|(patience, since)| since.elapsed() > patience / 4);
        self.stream.send_status(confirmed, confirmed, confirmed, asks).await?;
        self.next_status = Instant::now() + self.of.config.replication.status_update_interval_ms;
        Ok(())
    }

    async fn tell_if_due(&mut self) -> Result<()> {
        if Instant::now() >= self.next_status { self.tell().await } else { Ok(()) }
    }

    /// Waits for room and hands a piece over, while the server hears that we live.
    async fn hand_over(&mut self, piece: Piece) -> Result<()> {
        let bytes = std::mem::take(&mut self.bytes);
        // Nobody listens meanwhile.
        self.silent = None;
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
        if self.of.is_standby {
            promotion::none_yet(self.of.client).await?;
        }
        self.of.meters.show(self.of.clock.now());
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
        piece.marks.sort_by_key(|mark| mark.after);
        self.hand_over(piece).await?;
        self.of.inbox.handed();
        Ok(())
    }

    fn mark(&self, after: usize, position: Position, trail: Trail) -> Mark {
        let origin = Some(self.of.origin);
        let insured = self.of.insurance.at(position.end);
        let stored = Stored { position, origin, is_snapshot_done: true, trail, insured };
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
        self.begin(Begin { commit_lsn, committed_at_us, xid })?;
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
}
