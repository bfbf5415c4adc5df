//! A task's work from beginning to end.
//!
//! Duty: see that the server can be read, make publication and slot, read the snapshot if one is
//! needed, and then the stream; begin again from what was handed over when a connection breaks.

mod deletes;
mod mend;
mod rows;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_postgres::Client;
use towpath_sdk::context::{Backoff, TaskContext, Waiting};
use towpath_sdk::error::Action;
use towpath_sdk::offset::StoredOffsets;
use towpath_sdk::source::Mark;
use towpath_sdk::{Error, ErrorKind, Result};

use crate::acknowledged::{Acknowledged, Barrier};
use crate::catalog::{self, Listed, Slot, Types};
use crate::client::{self, Purpose, Session};
use crate::config::Config;
use crate::config::snapshot::{Course, NewTables, Rows};
use crate::deletes::Lack;
use crate::envelope::Envelopes;
use crate::gap::{self, Mending};
use crate::incremental::{Incremental, Readers};
use crate::insurance::{self, Insurance, Of};
use crate::lsn::Lsn;
use crate::meters::Meters;
use crate::notification::Notifier;
use crate::offset::{self, Confirmed, Origin, Position, Stored};
use crate::output::Output;
use crate::pieces::{Piece, PieceSender};
use crate::preflight;
use crate::rules::Rules;
use crate::signal::inbox::Inbox;
use crate::snapshot;
use crate::snapshot::plan::Marks;
use crate::spill::{self, Full};
use crate::stream::newcomers::Newcomers;
use crate::stream::{Reader, Streaming};
use crate::types::{PgKind, PgType, codec};
use crate::watch::Watch;
use crate::wire::{Connection, NewSlot, Target, quote_identifier};

/// What stays the same over connections.
pub(crate) struct Run {
    config: Arc<Config>,
    rules: Arc<Rules>,
    cx: TaskContext,
    target: Target,
    output: Output,
    confirmed: watch::Receiver<Confirmed>,
    envelopes: Arc<Envelopes>,
    notifier: Arc<Notifier>,
    inbox: tokio::sync::Mutex<Inbox>,
    /// What `snapshot.mode` means.
    course: Course,
    /// Whether the snapshot of `snapshot.mode=always` is still to come.
    is_snapshot_due: bool,
    /// Whether big transactions are read before they are committed.
    is_ahead: bool,
    /// What is known in case the slot is lost.
    insurance: Arc<Insurance>,
    /// Tables in whose topics deletes were looked for since, and why not all could be found.
    searched: parking_lot::Mutex<HashMap<u32, Lack>>,
    /// Waits until all that was handed over is stored.
    barrier: Barrier,
    /// Pauses that are still to be made.
    snapshot_delay: Duration,
    streaming_delay: Duration,
}

/// A server that can be read.
struct Server {
    client: Session,
    connection: Connection,
    origin: Origin,
    /// Where its log ends.
    flushed: Lsn,
    is_standby: bool,
    types: Types,
}

impl Run {
    /// The work of a task whose offsets stand at `stored`.
    ///
    /// # Errors
    /// If the configuration can't be carried out.
    pub(crate) fn new(
        config: Arc<Config>,
        cx: TaskContext,
        sender: PieceSender,
        stored: StoredOffsets,
        acknowledged: &Acknowledged,
        run_id: &str,
    ) -> Result<Self> {
        let rules = Rules::new(&config)?;
        let bytea = PgType { oid: 17, name: "bytea".into(), kind: PgKind::Base };
        let bytea =
            codec(&bytea, -1, &rules.modes).ok_or_else(|| Error::internal("decode bytea"))?;
        Ok(Self {
            target: client::target(&config, &cx.connector),
            envelopes: Arc::new(Envelopes::new(&config, cx.task, run_id, bytea)),
            notifier: Arc::new(Notifier::new(&config, cx.clock())),
            inbox: tokio::sync::Mutex::new(Inbox::new(&config, &cx, acknowledged.signals())),
            course: config.snapshot.course(),
            is_snapshot_due: config.snapshot.course().rows == Rows::Always,
            is_ahead: true,
            insurance: Arc::default(),
            searched: parking_lot::Mutex::default(),
            barrier: acknowledged.barrier(),
            snapshot_delay: config.snapshot.delay_ms,
            streaming_delay: config.replication.streaming_delay_ms,
            output: Output::new(sender, stored),
            rules: Arc::new(rules),
            config,
            cx,
            confirmed: acknowledged.confirmed(),
        })
    }

    /// Works until the task ends. Connections that break are made anew.
    ///
    /// # Errors
    /// What waiting can't cure.
    pub(crate) async fn run(mut self) -> Result<()> {
        let mut backoff = Backoff::default();
        loop {
            let before = self.output.handed();
            let error = match self.attempt().await {
                Ok(()) => return Ok(()),
                Err(error) if error.action() == Action::Retry => error,
                Err(error) => return Err(error),
            };
            if self.output.handed().iter().ne(before.iter()) {
                backoff.reset();
            }
            let most = u32::try_from(self.config.engine.errors_max_retries);
            if most.is_ok_and(|most| backoff.tries() >= most) {
                return Err(Error::config(format!(
                    "tried {} times again, as often as errors.max.retries says",
                    backoff.tries()
                ))
                .with_source(error));
            }
            let delay = backoff.next(error.retry_after());
            let reason = self.cx.reason();
            reason.give(Waiting {
                reason: format!("read from PostgreSQL: {}", error.chain()),
                next_try: Some(self.cx.clock().now() + delay),
            });
            tracing::warn!(connector = %self.cx.connector, error = %error.chain(), "reading from PostgreSQL was interrupted");
            self.cx.count("retries", 1);
            tokio::time::sleep(delay).await;
        }
    }

    fn stored(&self) -> Result<Option<Stored>> {
        let handed = self.output.handed();
        let partition = offset::partition(&self.config.topic_prefix);
        handed.get(&partition).map(Stored::read).transpose()
    }

    async fn attempt(&mut self) -> Result<()> {
        let folder = self.config.engine.spill_dir();
        let checked = tokio::task::spawn_blocking(move || spill::check(&folder)).await;
        checked.map_err(|error| Error::internal("look at spill.dir").with_source(error))??;
        let mut server = self.server().await?;
        let tables = self.captured(&server.client).await?;
        preflight::count(&self.config, &tables)?;
        preflight::replica_identities(&server.client, &self.config, &tables).await?;
        let signals = preflight::signals(&server.client, &self.config).await?;
        let signals = signals.filter(|signals| tables.iter().all(|table| table.oid != signals.oid));
        let published: Vec<Listed> = tables.iter().cloned().chain(signals).collect();
        preflight::publication(&server.client, &self.config, &published).await?;
        let slot = catalog::slot(&server.client, &self.config.replication.slot_name).await?;
        let stored = self.stored()?;
        let mending = self.mending(&mut server, stored.as_ref(), slot.as_ref()).await?;
        let lost = stored.as_ref().filter(|_| mending.is_some()).cloned();
        self.insured(stored.as_ref(), mending);
        let stored = stored.filter(|_| mending.is_none());
        let is_due = self.is_snapshot_due
            || mending.is_some()
            || match &stored {
                None => self.course.rows != Rows::Never,
                // What is read after a loss is, whatever the mode.
                Some(stored) => {
                    !stored.is_snapshot_done
                        && (self.course.rows != Rows::Never || stored.insured.missing.is_some())
                }
            };
        if is_due {
            self.pause("before the snapshot: snapshot.delay.ms", self.snapshot_delay).await;
            self.snapshot_delay = Duration::ZERO;
        }
        let slot = self.usable(&mut server, slot).await?;
        let (position, exported) = match &slot {
            Some(slot) => (self.start_of(slot, stored.as_ref()), None),
            None => self.create_slot(&mut server, is_due).await?,
        };
        let had_rows = |lost: &Stored| {
            lost.is_snapshot_done
                || lost.insured.missing.is_some()
                || !self.stored_ranges().is_empty()
        };
        if let Some(lost) = lost.filter(had_rows) {
            self.miss_deletes(&lost, position.end);
        }
        if is_due {
            // What was read before the slot was made may have been deleted before it, too.
            let is_anew = slot.is_none() || mending.is_some();
            let mut marks = if is_anew { self.stored_ranges() } else { Vec::new() };
            match mending {
                Some(Mending::Since(xmin)) => {
                    let read = self.read_before(&server, &tables, xmin).await?;
                    marks.retain(|mark| read.iter().all(|other| other.partition != mark.partition));
                    marks.extend(read);
                }
                Some(Mending::AllRows) => self.warn_of_tables_left_out(&tables),
                None => {}
            }
            self.mark(position, server.origin, false, marks).await?;
            let rows = async {
                if self.seeks_deletes() {
                    let base = Stored::between(position, server.origin, false);
                    self.find_deletes(&server, &tables, &base).await?;
                }
                self.snapshot(&server, &tables, position, exported).await
            };
            self.watched(&server.client, rows).await?;
            self.is_snapshot_due = false;
            self.pause("before the stream: streaming.delay.ms", self.streaming_delay).await;
            self.streaming_delay = Duration::ZERO;
        } else if let Some(stored) = stored.as_ref().filter(|_| self.seeks_deletes()) {
            // They were not looked for when they were missed.
            let search = self.find_deletes(&server, &tables, stored);
            self.watched(&server.client, search).await?;
        } else if stored.is_none() {
            self.mark(position, server.origin, true, Vec::new()).await?;
        }
        if !self.course.streams {
            drop(server);
            return std::future::pending().await;
        }
        self.stream(server, position, stored.is_some() && !is_due).await?;
        tracing::warn!(connector = %self.cx.connector, "spill.max.bytes is reached: the server keeps big transactions itself until they are committed");
        self.is_ahead = false;
        Err(Error::new(ErrorKind::Throttled, "spill.max.bytes is reached; reading is begun anew"))
    }

    /// Takes up what was known of the transactions that `stored` does not cover.
    fn insured(&self, stored: Option<&Stored>, mending: Option<Mending>) {
        let mut insured = stored.map(|stored| stored.insured.clone()).unwrap_or_default();
        if let (Some(missing), Some(_)) = (&mut insured.missing, mending) {
            // What was found before this loss was.
            missing.of = Of::Any;
        }
        if mending == Some(Mending::AllRows) {
            // They may have been another server's.
            insured.oldest_xid = None;
        }
        self.insurance.begin(insured);
        self.show_missing();
    }

    /// Works while the slot is watched.
    async fn watched<T>(
        &self,
        client: &Client,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let watch = Watch::new(&self.cx, &self.config.replication, &self.insurance);
        tokio::select! {
            done = work => done,
            lost = watch.run(client) => {
                Err(lost.err().unwrap_or_else(|| Error::internal("watch the slot")))
            }
        }
    }

    /// The slot, unless it has to be made anew.
    async fn usable(&self, server: &mut Server, slot: Option<Slot>) -> Result<Option<Slot>> {
        let Some(slot) = slot else { return Ok(None) };
        preflight::slot(&slot, &self.config)?;
        if slot.wal_status.as_deref() == Some("lost") {
            server.connection.drop_slot(&self.config.replication.slot_name, true).await?;
            return Ok(None);
        }
        Ok(Some(slot))
    }

    async fn create_slot(
        &self,
        server: &mut Server,
        export_snapshot: bool,
    ) -> Result<(Position, Option<String>)> {
        let name = &self.config.replication.slot_name;
        let failover = self.config.replication.slot_failover;
        // What the slot will send has not ended yet.
        self.insurance.take(insurance::sample(&server.client).await?);
        let new = NewSlot { name, plugin: "pgoutput", temporary: false, export_snapshot, failover };
        let created = server.connection.create_slot(&new).await?;
        tracing::info!(connector = %self.cx.connector, slot = %name, lsn = %created.consistent_point, "created the replication slot");
        Ok((Position::between(created.consistent_point), created.snapshot))
    }

    fn stored_ranges(&self) -> Vec<Mark> {
        let marks = Marks::new(&self.config.topic_prefix);
        snapshot::stored_ranges(&marks, &self.output.handed())
    }

    async fn connect(&self, purpose: Purpose) -> Result<Session> {
        client::connect(&self.target, &self.cx, &self.config.database, purpose).await
    }

    async fn pause(&self, why: &str, delay: Duration) {
        if delay.is_zero() {
            return;
        }
        let reason = self.cx.reason();
        reason.give(Waiting {
            reason: format!("a pause {why}"),
            next_try: Some(self.cx.clock().now() + delay),
        });
        tokio::time::sleep(delay).await;
    }

    async fn server(&self) -> Result<Server> {
        let client = self.connect(Purpose::Queries).await?;
        let is_standby = preflight::server(&client, &self.config).await?;
        let mut connection = Connection::connect(&self.target).await?;
        let system = connection.identify_system().await?;
        let origin = Origin {
            system: system.system_id.parse().map_err(|_| Error::internal("read the system id"))?,
            timeline: system.timeline,
        };
        let types = Types::load(&client).await?;
        Ok(Server { client, connection, origin, flushed: system.flushed, is_standby, types })
    }

    async fn captured(&self, client: &Client) -> Result<Vec<Listed>> {
        let tables = catalog::tables(client).await?;
        let is_captured = |table: &Listed| self.config.filters.captures(&table.schema, &table.name);
        Ok(tables.into_iter().filter(is_captured).collect())
    }

    /// Stores a position without records.
    async fn mark(
        &self,
        position: Position,
        origin: Origin,
        is_snapshot_done: bool,
        mut marks: Vec<Mark>,
    ) -> Result<()> {
        marks.push(self.mark_at(&Stored::between(position, origin, is_snapshot_done)));
        self.output.send(Piece { records: Vec::new(), marks }, 0).await
    }

    /// The mark of what is stored, with what is known beside it now.
    fn mark_at(&self, stored: &Stored) -> Mark {
        let insured = self.insurance.at(stored.position.end);
        let stored = Stored { insured, ..stored.clone() };
        Mark::new(0, offset::partition(&self.config.topic_prefix), stored.offset())
    }

    /// Whether rows of tables that are captured from some time on are read.
    fn reads_newcomers(&self) -> bool {
        self.course.rows != Rows::Never && self.config.snapshot.new_tables == NewTables::Incremental
    }

    /// Where the stream begins: where the offset is, or, if that leaves it to the slot, where the slot
    /// is.
    fn start_of(&self, slot: &Slot, stored: Option<&Stored>) -> Position {
        let confirmed = slot.confirmed.unwrap_or(Lsn::ZERO);
        match stored.map(|stored| stored.position) {
            Some(position) if position.end == Lsn::ZERO => Position { end: confirmed, ..position },
            Some(position) if gap::is_ahead(confirmed, position.end) => {
                // Else it is a gap.
                tracing::warn!(
                    connector = %self.cx.connector, offset = %position.end, slot = %confirmed,
                    "the slot was moved past the stored offset: changes between are not read, as \
                     offset.mismatch.strategy says"
                );
                Position::between(confirmed)
            }
            Some(position) => position,
            None => Position::between(confirmed),
        }
    }

    async fn stream(&self, server: Server, position: Position, is_resumed: bool) -> Result<Full> {
        let Server { client, connection, origin, types, is_standby, .. } = server;
        let publications = quote_identifier(&self.config.replication.publication_name);
        let mut options = vec![("publication_names", &*publications)];
        match connection.server_major() {
            ..14 => options.push(("proto_version", "1")),
            _ => {
                let streaming = if self.is_ahead { "on" } else { "off" };
                let of_14 =
                    [("proto_version", "2"), ("messages", "true"), ("streaming", streaming)];
                options.extend(of_14);
            }
        }
        let params = self.config.replication.slot_stream_params.0.iter();
        options.extend(params.map(|(name, value)| (name.as_str(), value.as_str())));
        let readers = Arc::new(Readers {
            config: Arc::clone(&self.config),
            rules: Arc::clone(&self.rules),
            cx: self.cx.clone(),
            target: self.target.clone(),
        });
        let notifier = Arc::clone(&self.notifier);
        let incremental = Incremental::new(readers, notifier, &self.output.handed());
        let mut inbox = self.inbox.lock().await;
        inbox.begin(&self.output.handed());
        let streaming = Streaming {
            connector: &self.cx.connector,
            config: &self.config,
            rules: &self.rules,
            envelopes: &self.envelopes,
            client: &client,
            output: &self.output,
            confirmed: self.confirmed.clone(),
            origin,
            clock: self.cx.clock(),
            spilled: self.cx.gauge("spilled_bytes", &[]),
            incremental,
            newcomers: self
                .reads_newcomers()
                .then(|| Newcomers::new(&self.config.topic_prefix, &self.output.handed())),
            inbox: &mut inbox,
            meters: Meters::new(&self.cx),
            insurance: &self.insurance,
            is_standby,
            // By then it has given us up.
            patience: preflight::sender_timeout(&client).await?.map(|timeout| timeout * 2),
        };
        let last_commit = is_resumed.then_some(position.end);
        let name = &self.config.replication.slot_name;
        let work = async {
            let stream = connection.start_replication(name, position.end, &options).await?;
            Reader::new(streaming, stream, types, position, last_commit).run().await
        };
        match self.watched(&client, work).await {
            Ok(full) => Ok(full),
            Err(error) => Err(self.unless_lost(&client, error).await),
        }
    }
}

/// A slot that somebody else reads: a network cut leaves the old connection for a while.
pub(crate) fn in_use(slot: &str, pid: i32, retry_after: Duration) -> Error {
    let text = format!(
        "the replication slot {slot} is in use by the server's process {pid}; waiting until it is free"
    );
    Error::new(ErrorKind::Unavailable, text).with_retry_after(retry_after)
}
