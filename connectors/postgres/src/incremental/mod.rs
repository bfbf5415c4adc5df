//! Snapshots of tables while the stream goes on.
//!
//! Duty: which tables are read, chunk by chunk, and when the rows of a chunk take their place in the
//! stream. The reasoning: `docs/decisions/044-snapshots-beside-the-stream.md`. Nothing is written to the
//! database.
//!
//! Invariants:
//! - a row is handed over after every change that it shows, and before every change that it does not,
//!   or not at all;
//! - how far a table is is stored with the rows that took it there.

mod ids;
mod job;
#[cfg(test)]
mod model;
mod read;
mod stage;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use towpath_sdk::Result;
use towpath_sdk::context::Work;
use towpath_sdk::offset::StoredOffsets;
use towpath_sdk::record::Record;
use towpath_sdk::source::Mark;

use crate::config::Patterns;
use crate::envelope::{Envelopes, Source};
use crate::lsn::Lsn;
use crate::notification::{Aggregate, Notification, Notifier};
use crate::signal::Execute;
use crate::table::{Row, Table};
use crate::unreadable::Read;
use ids::{Recent, Xid};
use job::{Progress, Request};
pub(crate) use read::Readers;
use read::{Answer, Question, Reader};
pub(crate) use stage::Images;
use stage::{Job, Stage};
use window::Key;

/// How long after a snapshot that does not show yet what was handed over another one is taken.
const UNSEEN: Duration = Duration::from_millis(20);
/// How long after an error a chunk is read again.
const AGAIN: Duration = Duration::from_secs(5);
/// How often the server is asked how far it is while rows wait for the stream.
const ASK: Duration = Duration::from_millis(20);

/// The tables that are being read.
pub(crate) struct Incremental {
    readers: Arc<Readers>,
    notifier: Arc<Notifier>,
    jobs: BTreeMap<String, Job>,
    /// How many jobs there were.
    made: u64,
    recent: Recent,
    give: mpsc::Sender<Arrived>,
    arrived: mpsc::Receiver<Arrived>,
    /// When the server is asked next how far it is, while rows wait for the stream.
    ask_at: Option<Instant>,
}

/// A chunk that was read.
pub(crate) struct Arrived {
    table: String,
    number: u64,
    outcome: Result<(Reader, Answer)>,
}

/// Where rows, marks and notifications go.
pub(crate) struct Out<'a> {
    pub(crate) records: &'a mut Vec<Record>,
    pub(crate) marks: &'a mut Vec<Mark>,
    pub(crate) bytes: &'a mut usize,
}

impl Incremental {
    /// Goes on with what was being read when `offsets` were stored.
    #[must_use]
    pub(crate) fn new(
        readers: Arc<Readers>,
        notifier: Arc<Notifier>,
        offsets: &StoredOffsets,
    ) -> Self {
        let (give, arrived) = mpsc::channel(64);
        let (jobs, recent) = (BTreeMap::new(), Recent::default());
        let mut all =
            Self { readers, notifier, jobs, made: 0, recent, give, arrived, ask_at: None };
        for (request, progress) in job::stored(&all.readers.config.topic_prefix, offsets) {
            all.add(request, progress);
        }
        all
    }

    fn add(&mut self, request: Request, progress: Progress) {
        self.made += 1;
        let job = Job::new(self.made, request, progress, self.most_rows());
        self.jobs.insert(job.request.table.clone(), job);
    }

    /// The most rows of a chunk.
    fn most_rows(&self) -> usize {
        self.readers.config.signals.incremental_snapshot_chunk_size as usize
    }

    fn prefix(&self) -> &str {
        &self.readers.config.topic_prefix
    }

    /// Whether any table is being read.
    #[must_use]
    pub(crate) fn is_active(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// A transaction of the stream has ended.
    pub(crate) fn transaction(&mut self, xid: Xid) {
        self.recent.push(xid);
    }

    /// Begins to read those of `captured` that a signal names, and that are not being read already.
    ///
    /// # Errors
    /// None that can happen.
    pub(crate) fn execute(
        &mut self,
        execute: &Execute,
        captured: &[String],
        out: &mut Out<'_>,
    ) -> Result<()> {
        let tables: Vec<&String> =
            captured.iter().filter(|table| execute.tables.matches(table)).collect();
        let names = tables.iter().map(|table| table.as_str()).collect::<Vec<_>>().join(",");
        tracing::info!(
            connector = %self.readers.cx.connector, id = execute.id, tables = names,
            "tables are read while the stream goes on"
        );
        if tables.is_empty() {
            tracing::warn!(
                connector = %self.readers.cx.connector, id = execute.id,
                "a signal asks for a snapshot of tables none of which is captured"
            );
        }
        for kind in ["STARTED", "DATA_COLLECTIONS_RESOLVED"] {
            self.tell(out, &execute.id, kind, vec![("data_collections", names.clone())])?;
        }
        let mut is_any = false;
        for table in tables {
            if self.jobs.contains_key(table) {
                tracing::info!(table, "it is being read already");
                continue;
            }
            let request = Request {
                id: execute.id.clone(),
                table: table.clone(),
                condition: execute.condition(table).map(str::to_owned),
                surrogate_key: execute.surrogate_key.clone(),
            };
            let progress = Progress::default();
            out.marks.push(job::mark(out.records.len(), self.prefix(), &request, &progress));
            self.add(request, progress);
            is_any = true;
        }
        if !is_any {
            self.tell(out, &execute.id, "COMPLETED", Vec::new())?;
        }
        Ok(())
    }

    /// Gives up reading these tables, or all.
    ///
    /// # Errors
    /// None that can happen.
    pub(crate) fn stop(&mut self, tables: Option<&Patterns>, out: &mut Out<'_>) -> Result<()> {
        let is_meant = |table: &String| tables.is_none_or(|tables| tables.matches(table));
        let meant: Vec<String> =
            self.jobs.keys().filter(|table| is_meant(table)).cloned().collect();
        for table in &meant {
            self.jobs.remove(table);
            out.marks.push(job::forget(out.records.len(), self.prefix(), table));
        }
        if meant.is_empty() {
            return Ok(());
        }
        self.show_work();
        self.tell(out, "", "ABORTED", vec![("data_collections", meant.join(","))])
    }

    /// Waits with all tables, or goes on with them.
    ///
    /// # Errors
    /// None that can happen.
    pub(crate) fn pause(&mut self, is_paused: bool, out: &mut Out<'_>) -> Result<()> {
        let prefix = self.readers.config.topic_prefix.clone();
        let mut names = Vec::new();
        for job in self.jobs.values_mut().filter(|job| job.progress.is_paused != is_paused) {
            job.progress.is_paused = is_paused;
            out.marks.push(job::mark(out.records.len(), &prefix, &job.request, &job.progress));
            names.push(job.request.table.clone());
        }
        if names.is_empty() {
            return Ok(());
        }
        let kind = if is_paused { "PAUSED" } else { "RESUMED" };
        self.show_work();
        self.tell(out, "", kind, vec![("data_collections", names.join(","))])
    }

    fn tell(
        &self,
        out: &mut Out<'_>,
        id: &str,
        kind: &'static str,
        data: Vec<(&'static str, String)>,
    ) -> Result<()> {
        if !self.notifier.is_on() {
            return Ok(());
        }
        let aggregate = Aggregate::Incremental;
        let notification = Notification { id: id.to_owned(), aggregate, kind, data };
        out.records.extend(self.notifier.tell(notification)?);
        Ok(())
    }

    /// A change is about to be handed over; `after` is the row after it, if that can be shown. What is not
    /// known of it is taken from the row that was read; where that can't be, the row is returned, and is to
    /// be handed over before the change.
    pub(crate) fn change(
        &mut self,
        table: &Table,
        xid: Xid,
        images: &Images<'_>,
        after: Option<&mut Row>,
        out: &mut Out<'_>,
    ) -> Option<Read> {
        let job = self.jobs.get_mut(&*table.collection)?;
        let (read, is_again) = job.change(table, xid, images, after);
        if is_again {
            let prefix = &self.readers.config.topic_prefix;
            out.marks.push(job::mark(out.records.len(), prefix, &job.request, &job.progress));
        }
        read
    }

    /// Asks for the next chunks.
    pub(crate) fn ask(&mut self) {
        if self.jobs.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut free = self.free();
        let count = self.recent.count();
        for job in self.jobs.values_mut() {
            if free == 0 || !job.is_idle() || job.next_try > now {
                continue;
            }
            free -= 1;
            let question = Question {
                request: job.request.clone(),
                progress: job.asked(count),
                limit: job.limit,
            };
            let (readers, give) = (Arc::clone(&self.readers), self.give.clone());
            let (reader, number) = (job.reader.take(), job.number);
            let work = self.readers.cx.spawn("incremental snapshot", async move {
                let outcome = readers.read(reader, &question).await;
                let table = question.request.table;
                // If nobody takes it, the stream is over.
                drop(give.send(Arrived { table, number, outcome }).await);
                Ok(())
            });
            job.work = Some(work);
        }
    }

    /// How many more tables may be read at a time.
    fn free(&self) -> usize {
        let most = self.readers.config.snapshot.max_threads as usize;
        let is_busy = |job: &&Job| !matches!(job.stage, Stage::Idle);
        most.saturating_sub(self.jobs.values().filter(is_busy).count())
    }

    /// Waits until something is to be done. May be dropped at any await.
    pub(crate) async fn wait(&mut self) -> Wake {
        // Those that wait for a free connection are woken by the end of another's chunk. What is due by now
        // was not when it was asked for last, and wakes at once.
        let idle = self.jobs.values().filter(|job| job.is_idle());
        let next_try = idle.map(|job| job.next_try).min().filter(|_| self.free() > 0);
        let wake = [next_try, self.ask_at].into_iter().flatten().min();
        let asleep = async {
            match wake {
                Some(wake) => tokio::time::sleep_until(wake).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(arrived) = self.arrived.recv() => Wake::Arrived(Box::new(arrived)),
            () = asleep => Wake::Time,
        }
    }

    /// What has arrived by now, if anything.
    pub(crate) fn try_arrived(&mut self) -> Option<Wake> {
        self.arrived.try_recv().ok().map(|arrived| Wake::Arrived(Box::new(arrived)))
    }

    /// Does what there is to do; whether the server is to be asked how far it is.
    ///
    /// # Errors
    /// None that can happen.
    pub(crate) fn wake(&mut self, wake: Wake, out: &mut Out<'_>) -> Result<bool> {
        if let Wake::Arrived(arrived) = wake {
            self.take(*arrived, out)?;
        }
        self.ask();
        let now = Instant::now();
        let is_due = self.ask_at.is_some_and(|at| at <= now);
        if is_due {
            self.ask_at = Some(now + ASK);
        }
        Ok(is_due)
    }

    fn take(&mut self, arrived: Arrived, out: &mut Out<'_>) -> Result<()> {
        let Arrived { table, number, outcome } = arrived;
        let most = self.most_rows();
        let Some(job) = self.jobs.get_mut(&table).filter(|job| job.number == number) else {
            return Ok(());
        };
        job.work = None;
        let (reader, answer) = match outcome {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(table, error = %error.chain(), "reading a chunk fails; it is read again");
                job.stage = Stage::Idle;
                job.next_try = Instant::now() + AGAIN;
                return Ok(());
            }
        };
        job.reader = Some(reader);
        let (chunk, progress) = match answer {
            Answer::Rows(chunk, progress) => (chunk, progress),
            Answer::Refused(why, status) => return self.refused(&table, &why, status, out),
        };
        job.adapt(&chunk, most);
        if job.arrived(chunk, progress, &mut self.recent) {
            // The server may have nothing to send, and the stream may be there already.
            self.ask_at = Some(Instant::now());
        } else {
            job.next_try = Instant::now() + UNSEEN;
            self.show_work();
        }
        Ok(())
    }

    /// A table can't be read.
    fn refused(
        &mut self,
        table: &str,
        why: &str,
        status: &'static str,
        out: &mut Out<'_>,
    ) -> Result<()> {
        tracing::error!(connector = %self.readers.cx.connector, table, why, "an incremental snapshot of a table was given up");
        let Some(job) = self.jobs.remove(table) else { return Ok(()) };
        let rows = job.progress.rows;
        self.done(&job.request, rows, status, out)
    }

    /// A table was read, or given up.
    fn done(
        &mut self,
        request: &Request,
        rows: u64,
        status: &str,
        out: &mut Out<'_>,
    ) -> Result<()> {
        out.marks.push(job::forget(out.records.len(), self.prefix(), &request.table));
        let data = vec![
            ("scanned_collection", request.table.clone()),
            ("total_rows_scanned", rows.to_string()),
            ("status", status.to_owned()),
        ];
        self.tell(out, &request.id, "TABLE_SCAN_COMPLETED", data)?;
        self.show_work();
        match self.jobs.values().any(|job| job.request.id == request.id) {
            true => Ok(()),
            false => self.tell(out, &request.id, "COMPLETED", Vec::new()),
        }
    }

    /// All that was committed before `upto` was handed over: rows that show no more follow it.
    ///
    /// # Errors
    /// None that can happen: the rows are their tables'.
    pub(crate) fn close(
        &mut self,
        upto: Lsn,
        source: &Source,
        envelopes: &Envelopes,
        out: &mut Out<'_>,
    ) -> Result<()> {
        let is_over = |job: &Job| job.is_over(upto);
        let over = self.jobs.iter().filter(|(_, job)| is_over(job));
        let over: Vec<String> = over.map(|(name, _)| name.clone()).collect();
        for table in &over {
            self.close_one(table, source, envelopes, out)?;
        }
        if !over.is_empty() {
            let is_open = |job: &Job| matches!(job.stage, Stage::Open { .. });
            self.ask_at = self.ask_at.filter(|_| self.jobs.values().any(is_open));
            self.ask();
        }
        Ok(())
    }

    fn close_one(
        &mut self,
        name: &str,
        source: &Source,
        envelopes: &Envelopes,
        out: &mut Out<'_>,
    ) -> Result<()> {
        let Some(job) = self.jobs.get_mut(name) else { return Ok(()) };
        let Some((table, rows, bytes)) = job.close() else { return Ok(()) };
        let now = self.readers.cx.clock().now();
        let block = envelopes.block(&table, source)?;
        for row in rows {
            out.records.push(envelopes.read(&table, row, &block, now)?);
        }
        *out.bytes += bytes;
        let (request, at) = (job.request.clone(), job.progress.clone());
        let data = |at: &Progress, chunks: u64| {
            let key = |key: &Option<Key>| key.as_ref().map(|key| key.join(",")).unwrap_or_default();
            vec![
                ("current_collection_in_progress", request.table.clone()),
                ("chunk_index", chunks.to_string()),
                ("last_processed_key", key(&at.after)),
                ("maximum_key", key(&at.until)),
                ("total_rows_scanned", at.rows.to_string()),
            ]
        };
        if at.is_over() {
            let status = if at.until.is_none() { "EMPTY" } else { "SUCCEEDED" };
            self.jobs.remove(name);
            return self.done(&request, at.rows, status, out);
        }
        let chunks = job.chunks;
        out.marks
            .push(job::mark(out.records.len(), self.prefix(), &request, &at).at_boundary(true));
        if self.notifier.is_on() {
            self.tell(out, &request.id, "IN_PROGRESS", data(&at, chunks))?;
        }
        self.show_work();
        Ok(())
    }

    /// Shows people how far it is.
    fn show_work(&self) {
        let Some((name, job)) = self.jobs.iter().next() else { return self.readers.cx.work(None) };
        let more = match self.jobs.len() - 1 {
            0 => String::new(),
            others => format!(" and {others} more tables"),
        };
        let waits: Vec<String> = self.recent.waits_for().iter().map(u32::to_string).collect();
        let state = match (job.progress.is_paused, waits.is_empty()) {
            (true, _) => ", paused".to_owned(),
            (false, true) => String::new(),
            // What they have changed may be in the topic and not be seen yet.
            (false, false) => {
                format!(", waiting for the end of the open transactions {}", waits.join(", "))
            }
        };
        let rows = self.jobs.values().map(|job| job.progress.rows).sum();
        self.readers.cx.work(Some(Work {
            what: format!("incremental snapshot of {name}{more}{state}"),
            done: rows,
            total: None,
            unit: "rows",
            left: None,
        }));
    }
}

/// Why there is something to do.
pub(crate) enum Wake {
    /// A chunk was read.
    Arrived(Box<Arrived>),
    /// It is time.
    Time,
}
