//! A lane: the records of one Kafka partition on their way into objects.
//!
//! Duty: give each record its place, append it to the open file there, cut when the rotation says so,
//! send parts of large files while they are filled, and keep memory within bounds: what does not fit
//! goes to the spool, and where that is full, open files are completed early. Completing happens
//! beside this, in [`super::commit`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crc_fast::{CrcAlgorithm, Digest};
use futures::future::join_all;
use tokio::sync::mpsc;
use towpath_sdk::clock::Timestamp;
use towpath_sdk::context::{LaneContext, Reason, Waiting};
use towpath_sdk::error::{Error, ErrorKind, Result};
use towpath_sdk::record::SinkRecord;
use towpath_sdk::sink::{SinkBatch, SinkLane};

use super::Shared;
use super::commit::{self, Body, ClosedFile, ClosedGroup, Marks};
use super::file::{Job, MAX_PARTS, OpenFile, Uploading};
use super::look::{Bucket, Name, Recovery};
use crate::buffer::{Buffer, Codec};
use crate::chain::Intent;
use crate::config::Nulls;
use crate::partitioner::{By, Encoder, Place};
use crate::rotation::{Arrival, Rotation};
use crate::spool::SpoolError;

/// How often a lane looks whether completing has failed, and whether others need its memory, while
/// nothing else calls it.
const WATCH: Duration = Duration::from_secs(1);

/// Writes the records of one partition.
pub struct Lane {
    shared: Arc<Shared>,
    cx: LaneContext,
    encoder: Encoder,
    rotation: Rotation,
    marks: Arc<Marks>,
    files: Vec<OpenFile>,
    by_path: HashMap<Arc<str>, usize>,
    /// The file of the last record: most records follow one of the same path.
    recent: usize,
    position: i64,
    /// When the engine called last.
    called: Timestamp,
    started: Option<Started>,
    /// Why the spool takes nothing, while that is so.
    spool_fails: Option<Reason>,
}

/// What a lane has once it has looked at its state.
struct Started {
    codec: Codec,
    bucket: Arc<Bucket>,
    recovery: Option<Recovery>,
    span: i64,
    upto: i64,
    groups: mpsc::Sender<ClosedGroup>,
    committer: Job<Result<()>>,
    /// The name that was found free for the record that is looked at.
    free: Option<(i64, u32)>,
    /// Where a record is written that is in the bucket already, to see that it can be.
    scratch: Vec<u8>,
}

/// What became of a record that was offered.
enum Offered {
    /// It is written, rejected or left out.
    Taken(Then),
    /// Look at the bucket first.
    Look(Place),
    /// Complete the open files first.
    Cut,
}

/// What is to be done after a record.
enum Then {
    Nothing,
    /// Complete the open files.
    Cut,
    /// Send a part of this file.
    Send(usize),
}

impl Lane {
    pub(super) fn new(shared: Arc<Shared>, cx: LaneContext) -> Self {
        let partitioner = Arc::clone(&shared.plan.partitioner);
        Self {
            encoder: Encoder::new(partitioner, cx.partition.partition),
            rotation: Rotation::new(shared.plan.rotation.clone()),
            marks: Marks::new(cx.progress.clone()),
            files: Vec::new(),
            by_path: HashMap::new(),
            recent: 0,
            position: 0,
            called: cx.task.clock().now(),
            started: None,
            spool_fails: None,
            shared,
            cx,
        }
    }

    async fn start(&mut self) -> Result<()> {
        if self.started.is_some() {
            return Ok(());
        }
        self.shared.conditional(&self.cx.task).await?;
        abort_stale(&self.shared, &self.cx).await?;
        let (bucket, before) = Bucket::open(&self.cx).await?;
        let bucket = Arc::new(bucket);
        let (groups, queue) = mpsc::channel(1);
        let committer = Job::spawn(commit::run(
            Arc::clone(&self.shared),
            self.cx.clone(),
            Arc::clone(&bucket),
            Arc::clone(&self.marks),
            queue,
        ));
        self.started = Some(Started {
            codec: Codec::new(self.shared.plan.compression)?,
            bucket,
            span: before.span,
            upto: before.end,
            recovery: Some(Recovery::new(before)),
            groups,
            committer,
            free: None,
            scratch: Vec::new(),
        });
        Ok(())
    }

    fn started(&mut self) -> Result<&mut Started> {
        self.started.as_mut().ok_or_else(|| Error::internal("the lane has not started"))
    }

    /// The committer's error, if it has ended.
    async fn check_committer(&mut self) -> Result<()> {
        match self.started.take_if(|started| started.committer.is_finished()) {
            Some(ended) => match ended.committer.join().await? {
                Err(error) => Err(error),
                Ok(()) => Err(Error::internal("the committer of an S3 lane ended too early")),
            },
            None => Ok(()),
        }
    }

    fn now(&self) -> i64 {
        self.cx.task.clock().now().millis()
    }

    // What is seldom needed is boxed: the future of a batch stays small.
    async fn write_record(&mut self, record: &SinkRecord, now: i64) -> Result<()> {
        let end = record.offset() + 1;
        loop {
            match self.offer(record, now)? {
                Offered::Taken(Then::Nothing) => return Ok(()),
                Offered::Taken(Then::Cut) => return Box::pin(self.cut(end)).await,
                Offered::Taken(Then::Send(file)) => {
                    Box::pin(self.send_part(file)).await?;
                    if self.files[file].upload.as_ref().is_some_and(|u| u.count >= MAX_PARTS) {
                        return Box::pin(self.cut(end)).await;
                    }
                    return Ok(());
                }
                Offered::Cut => Box::pin(self.cut(record.offset())).await?,
                Offered::Look(place) => Box::pin(self.look(record, &place)).await?,
            }
        }
    }

    fn offer(&mut self, record: &SinkRecord, now: i64) -> Result<Offered> {
        const TAKEN: Offered = Offered::Taken(Then::Nothing);
        if record.value.is_null() && self.shared.plan.nulls != Nulls::Write {
            self.take_null(record)?;
            return Ok(TAKEN);
        }
        let place = match self.encoder.place(record, now) {
            Ok(place) => place,
            Err(error) => {
                self.cx.progress.reject(record.clone(), error);
                return Ok(TAKEN);
            }
        };
        let offset = record.offset();
        let file = self.file_of(&place.path);
        let started = self.started()?;
        let concerned = started.recovery.as_mut().is_some_and(|recovery| recovery.concerns(offset));
        let mut held = false;
        match &mut started.recovery {
            Some(recovery) if concerned => {
                if !recovery.knows(&place.path) {
                    return Ok(Offered::Look(place));
                }
                held = recovery.holds(&place.path, record);
            }
            recovery => *recovery = None,
        }
        let free = started.free;
        let arrival = Arrival { file, time: place.time, now, open: self.files.len() };
        if self.rotation.before(&arrival) {
            return Ok(Offered::Cut);
        }
        let file = file.unwrap_or_else(|| self.open(&place.path, offset));
        self.recent = file;
        if held {
            return self.pass(record, file, &arrival).map(Offered::Taken);
        }
        if self.files[file].written == 0 {
            let step = match free {
                Some((at, step)) if at == offset => step,
                _ if concerned => return Ok(Offered::Look(place)),
                _ => 0,
            };
            let file = &mut self.files[file];
            (file.start, file.end, file.step) = (offset, offset, step);
            file.first = checksum(record);
        }
        self.append(record, file, &arrival).map(Offered::Taken)
    }

    fn take_null(&self, record: &SinkRecord) -> Result<()> {
        match self.shared.plan.nulls {
            Nulls::Write => {}
            Nulls::Ignore => self.cx.task.count("null_values_ignored", 1),
            Nulls::Reject => {
                let error = Error::data("the record has no value (behavior.on.null.values=fail)");
                self.cx.progress.reject(record.clone(), error);
            }
            Nulls::Fail => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!(
                        "the record at offset {} of {} has no value (behavior.on.null.values=fail, \
                         report.null.values.to.dlq=false)",
                        record.offset(),
                        self.cx.partition
                    ),
                ));
            }
        }
        Ok(())
    }

    fn file_of(&self, path: &Arc<str>) -> Option<usize> {
        match self.files.get(self.recent) {
            Some(file) if Arc::ptr_eq(&file.path, path) => Some(self.recent),
            _ => self.by_path.get(path).copied(),
        }
    }

    fn open(&mut self, path: &Arc<str>, from: i64) -> usize {
        self.files.push(OpenFile::new(path, from, &self.shared.pool));
        let file = self.files.len() - 1;
        self.by_path.insert(Arc::clone(path), file);
        file
    }

    /// A record that is not written into the file at `at`. A file without records goes: it is the last.
    fn reject(&mut self, record: &SinkRecord, error: Error, at: usize) -> Then {
        if let Some(empty) = self.files.pop_if(|file| file.records == 0) {
            self.by_path.remove(&empty.path);
        } else if let Some(file) = self.files.get_mut(at).filter(|file| file.written == 0) {
            file.buffer = Buffer::new(&self.shared.pool);
        }
        self.cx.progress.reject(record.clone(), error);
        Then::Nothing
    }

    /// Lets a record pass that lies within an object of an earlier instance: it is in there, unless it
    /// was rejected then.
    fn pass(&mut self, record: &SinkRecord, at: usize, arrival: &Arrival) -> Result<Then> {
        let shared = Arc::clone(&self.shared);
        let scratch = &mut self.started()?.scratch;
        scratch.clear();
        if let Err(error) = shared.plan.format.append(record, true, scratch) {
            return Ok(self.reject(record, error, at));
        }
        self.cx.task.count("records_found_in_bucket", 1);
        let file = &mut self.files[at];
        file.records += 1;
        let cut = self.rotation.after(arrival, at, file.records);
        Ok(if cut { Then::Cut } else { Then::Nothing })
    }

    fn append(&mut self, record: &SinkRecord, at: usize, arrival: &Arrival) -> Result<Then> {
        let format = &self.shared.plan.format;
        let Some(started) = &mut self.started else {
            return Err(Error::internal("the lane has not started"));
        };
        let file = &mut self.files[at];
        let first = file.written == 0;
        let estimate = format.estimate(&record.value);
        let out = file.buffer.room(estimate, &mut started.codec)?;
        if first {
            out.extend_from_slice(format.head());
        }
        if let Err(error) = format.append(record, first, out) {
            return Ok(self.reject(record, error, at));
        }
        file.buffer.appended();
        file.records += 1;
        file.written += 1;
        file.end = record.offset() + 1;
        let full = file.buffer.ready(&started.codec) >= self.shared.plan.part_size;
        if self.rotation.after(arrival, at, file.records) {
            return Ok(Then::Cut);
        }
        Ok(if full { Then::Send(at) } else { Then::Nothing })
    }

    async fn look(&mut self, record: &SinkRecord, place: &Place) -> Result<()> {
        let (shared, cx) = (Arc::clone(&self.shared), self.cx.clone());
        let started = self.started()?;
        let bucket = Arc::clone(&started.bucket);
        let Some(recovery) = &mut started.recovery else { return Ok(()) };
        if !recovery.knows(&place.path) {
            return recovery.look(&place.path, &shared, &cx, &bucket).await;
        }
        let name = Name {
            path: Arc::clone(&place.path),
            start: record.offset(),
            first: checksum(record),
            step: 0,
        };
        match bucket.step(&shared, &cx, &name).await? {
            Ok(step) => started.free = Some((record.offset(), step)),
            Err(end) => recovery.add(&place.path, record.offset(), end),
        }
        Ok(())
    }

    async fn send_part(&mut self, at: usize) -> Result<()> {
        let (shared, cx) = (Arc::clone(&self.shared), self.cx.clone());
        let Some(started) = &mut self.started else { return Ok(()) };
        let file = &mut self.files[at];
        let payload = file.buffer.take(&mut started.codec)?;
        file.send(payload, &shared, &cx, &started.bucket).await
    }

    /// Hands the open files over to be completed. Everything below `durable` is in them, in earlier
    /// groups, or needs nothing.
    async fn cut(&mut self, durable: i64) -> Result<()> {
        self.rotation.reset();
        self.by_path.clear();
        self.files.retain(|file| file.written > 0);
        if self.files.is_empty() {
            return Ok(());
        }
        let (shared, cx) = (Arc::clone(&self.shared), self.cx.clone());
        let (tail, part_size) = (shared.plan.format.tail(), shared.plan.part_size);
        let open = std::mem::take(&mut self.files);
        let start = open.iter().map(|file| file.start).min().unwrap_or(durable);
        let Some(started) = &mut self.started else {
            return Err(Error::internal("the lane has not started"));
        };
        let mut files = Vec::with_capacity(open.len());
        for mut file in open {
            file.buffer.room(tail.len(), &mut started.codec)?.extend_from_slice(tail);
            let payload = file.buffer.finish(&mut started.codec)?;
            let body = if file.upload.is_none() && payload.len <= part_size {
                Body::Whole(payload)
            } else {
                if payload.len > 0 {
                    file.send(payload, &shared, &cx, &started.bucket).await?;
                }
                match file.upload.take() {
                    Some(uploading) => Body::Parts(uploading),
                    None => return Err(Error::internal("a file has neither bytes nor parts")),
                }
            };
            let OpenFile { path, start, end, written: records, first, step, nonce, .. } = file;
            let intent = Intent { path, start, end, step, nonce, first };
            files.push(ClosedFile { intent, records, body });
        }
        started.span = started.span.max(durable - start);
        started.upto = started.upto.max(durable);
        let group = ClosedGroup { files, durable, span: started.span, upto: started.upto };
        self.marks.begin();
        if started.groups.send(group).await.is_err() {
            return self.check_committer().await;
        }
        Ok(())
    }

    /// Lets go of memory if the task holds too much.
    async fn relieve(&mut self) -> Result<()> {
        if !self.shared.pool.is_over() {
            return Ok(());
        }
        if !self.spill_excess().await? {
            self.cx.task.count("early_cuts", 1);
            let durable = self.position;
            Box::pin(self.cut(durable)).await?;
        }
        // What others hold in open files may stay for long: wait only for what is being sent.
        let sending = self.files.iter().any(|file| file.upload.is_some());
        if sending || self.marks.under_way() > 0 {
            self.wait_for_room().await?;
        }
        Ok(())
    }

    /// Moves this lane's largest files to the spool until the task has room again; false if the spool
    /// can't take them.
    async fn spill_excess(&mut self) -> Result<bool> {
        let mut order: Vec<usize> = (0..self.files.len()).collect();
        order.sort_by_cached_key(|at| std::cmp::Reverse(self.files[*at].buffer.in_memory()));
        for at in order {
            if self.shared.pool.excess() == 0 || self.files[at].buffer.in_memory() == 0 {
                break;
            }
            if !self.spill(at).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn wait_for_room(&mut self) -> Result<()> {
        loop {
            tokio::select! {
                biased;
                () = self.shared.pool.room() => return Ok(()),
                () = tokio::time::sleep(WATCH) => {
                    self.check_committer().await?;
                    let sending = self.files.iter().any(|file| file.upload.is_some());
                    if !sending && self.marks.under_way() == 0 {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Moves a file's bytes to the spool; false if that can't take them.
    async fn spill(&mut self, at: usize) -> Result<bool> {
        let spool = Arc::clone(&self.shared.spool);
        let Some(started) = &mut self.started else { return Ok(true) };
        let Some(bytes) = self.files[at].buffer.spillable(&mut started.codec)? else {
            return Ok(true);
        };
        let written = tokio::task::spawn_blocking(move || spool.write(&bytes)).await;
        match written.map_err(|e| Error::internal("write the spool").with_source(e))? {
            Ok(extent) => {
                self.files[at].buffer.spill(extent);
                self.spool_fails = None;
                Ok(true)
            }
            Err(SpoolError::Full) => Ok(false),
            Err(SpoolError::Io(error)) => {
                let directory = self.shared.plan.bounds.spool_dir.display();
                let effect = "open files are completed early until it takes bytes again";
                tracing::warn!(%directory, %error, "failed to write the spool: {effect}");
                let reason = format!("write the spool in {directory}: {error}: {effect}");
                let shown = self.spool_fails.get_or_insert_with(|| self.cx.task.reason());
                shown.give(Waiting { reason, next_try: None });
                Ok(false)
            }
        }
    }

    /// Tells how far everything is durable if what is under way is. Records that are in the bucket
    /// already wait for those that are completed with them: reading goes on where objects' bounds are.
    fn settle(&self) {
        let open = self.files.iter().map(|file| file.from).min();
        self.marks.clean(open.unwrap_or(self.position));
    }
}

impl SinkLane for Lane {
    async fn write(&mut self, batch: SinkBatch) -> Result<()> {
        self.check_committer().await?;
        Box::pin(self.start()).await?;
        let now = self.now();
        for record in batch.records {
            let offset = record.offset();
            self.write_record(&record, now).await?;
            self.position = offset + 1;
            if self.shared.pool.is_over() {
                Box::pin(self.relieve()).await?;
            }
        }
        self.position = batch.end;
        self.settle();
        self.called = self.cx.task.clock().now();
        Ok(())
    }

    fn wake_at(&self) -> Option<Timestamp> {
        let watched = self.marks.under_way() > 0 || !self.files.is_empty();
        let watch = watched.then(|| self.called + WATCH);
        let rotation = self.rotation.wake_at().map(Timestamp);
        [watch, rotation].into_iter().flatten().min()
    }

    async fn wake(&mut self) -> Result<()> {
        self.check_committer().await?;
        if self.rotation.due(self.now()) {
            Box::pin(self.cut(self.position)).await?;
            self.settle();
        }
        // A lane without records holds nothing that others need. What the spool can't take stays.
        if self.shared.pool.excess() > 0 {
            Box::pin(self.spill_excess()).await?;
        }
        self.called = self.cx.task.clock().now();
        Ok(())
    }

    async fn drain(&mut self) -> Result<()> {
        // Open files would be cut short: their records are read again.
        let uploads: Vec<_> = self.files.drain(..).filter_map(|file| file.upload).collect();
        self.by_path.clear();
        self.rotation.reset();
        let completed = match self.started.take() {
            Some(Started { groups, committer, .. }) => {
                drop(groups);
                committer.join().await?
            }
            None => Ok(()),
        };
        let given_up = join_all(uploads.into_iter().map(Uploading::give_up)).await;
        for upload in given_up.into_iter().flatten() {
            // What stays is aborted when the partition is opened again.
            if let Err(error) = self.shared.client.abort(&upload).await {
                tracing::warn!(
                    key = upload.key,
                    error = error.chain(),
                    "failed to abort an upload"
                );
            }
        }
        completed
    }
}

/// Tells a record from one of another topic that had the same name.
pub(super) fn checksum(record: &SinkRecord) -> u32 {
    let origin = record.origin();
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&origin.row().timestamp.unwrap_or_default().to_le_bytes());
    for bytes in [origin.key(), origin.value()].into_iter().flatten() {
        digest.update(&bytes);
    }
    u32::try_from(digest.finalize()).unwrap_or_default()
}

/// Aborts uploads of this partition's objects that an earlier instance has left.
async fn abort_stale(shared: &Shared, cx: &LaneContext) -> Result<()> {
    let (topic, partition) = (&*cx.partition.topic, cx.partition.partition);
    let by = &shared.plan.partitioner.by;
    let prefix = match by {
        By::Directory { layout, .. } => layout.topic_prefix(topic),
        By::Template { template, .. } => template.prefix(topic, partition),
    };
    let ours = |key: &str| match by {
        By::Directory { layout, .. } => layout.owns(key, topic, partition),
        By::Template { template, .. } => template.owns(key, topic, partition),
    };
    cx.retry("look for abandoned uploads", || super::abort_stale(&shared.client, &prefix, ours))
        .await
}
