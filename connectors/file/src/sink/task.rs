//! Cuts a partition's records into files.
//!
//! A [`FileSinkLane`] gathers lines in memory, writes them out when there are many, and completes all
//! open files together when the rotation says so. Only then are their records durable.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use tokio::task::spawn_blocking;
use towpath_sdk::clock::Timestamp;
use towpath_sdk::context::{LaneContext, SinkTaskContext};
use towpath_sdk::record::SinkRecord;
use towpath_sdk::sink::{SinkBatch, SinkLane, SinkTask};
use towpath_sdk::{Error, Result};

use super::client::{Failure, OpenFiles, Workshop, refused};
use super::config::{FileSinkConfig, NullValues};
use super::format;
use super::name::{Names, Template};
use crate::error::{FileError, joined};

/// Lines are written out once so many bytes have gathered.
const GATHERED: usize = 256 * 1024;
const MINUTE_MS: i64 = 60_000;

/// The task of a `file-sink`.
pub struct FileSinkTask {
    plan: Arc<Plan>,
    connector: Arc<str>,
}

/// What all lanes have in common.
#[derive(Debug)]
struct Plan {
    config: Arc<FileSinkConfig>,
    template: Template,
    zone: Tz,
}

/// Writes one partition.
pub struct FileSinkLane {
    cx: LaneContext,
    plan: Arc<Plan>,
    files: Arc<Mutex<OpenFiles>>,
    abandoned: Arc<AtomicBool>,
    set: Set,
    /// Bytes that were not written out.
    gathered: usize,
    /// Everything below has been taken, rejected or left out.
    end: i64,
}

/// What is known of the open files.
#[derive(Debug, Default)]
struct Set {
    /// The number of each file by the name that it would have from offset 0 on.
    by_name: HashMap<String, usize>,
    /// The minute of the last record and the file it is in.
    last: Option<(i64, usize)>,
    records: u64,
    bytes: u64,
    /// When the first record came.
    since: Option<Timestamp>,
}

/// What must be done before more records are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// All were taken.
    End,
    /// Complete the open files, then go on with this record of the batch.
    Complete(usize),
}

impl FileSinkTask {
    pub(super) fn new(config: Arc<FileSinkConfig>, cx: &SinkTaskContext) -> Result<Self, String> {
        let template = Template::parse(&config.file_name_template)?;
        let zone = config.zone();
        let plan = Arc::new(Plan { config, template, zone });
        Ok(Self { plan, connector: Arc::clone(&cx.connector) })
    }
}

impl SinkTask for FileSinkTask {
    type Lane = FileSinkLane;

    fn lane(&mut self, cx: LaneContext) -> Self::Lane {
        let config = &self.plan.config;
        let workshop = Workshop::new(
            &config.directory,
            &self.connector,
            &cx.partition.to_string(),
            config.compression,
            config.fsync,
        );
        let abandoned = Arc::new(AtomicBool::new(false));
        let files = OpenFiles::new(workshop, Arc::clone(&abandoned));
        FileSinkLane {
            cx,
            plan: Arc::clone(&self.plan),
            files: Arc::new(Mutex::new(files)),
            abandoned,
            set: Set::default(),
            gathered: 0,
            end: 0,
        }
    }
}

impl FileSinkLane {
    /// Takes records from number `from` of the batch on.
    fn take(&mut self, records: &[SinkRecord], from: usize) -> Stop {
        let files = Arc::clone(&self.files);
        let mut files = lock(&files);
        for (at, record) in records.iter().enumerate().skip(from) {
            match self.take_one(&mut files, record) {
                Ok(true) => {}
                Ok(false) => return Stop::Complete(at),
                Err(error) => self.cx.progress.reject(record.clone(), error),
            }
            self.end = record.offset() + 1;
            let config = &self.plan.config;
            let full = |limit: u64, count: u64| limit > 0 && count >= limit;
            if full(config.rotate_records, self.set.records)
                || full(config.rotate_bytes, self.set.bytes)
            {
                return Stop::Complete(at + 1);
            }
        }
        Stop::End
    }

    /// Appends the record's line to its file; false if there are too many files for that.
    fn take_one(&mut self, files: &mut OpenFiles, record: &SinkRecord) -> Result<bool> {
        let config = &self.plan.config;
        if record.value.is_null() {
            match config.null_values {
                NullValues::Write => {}
                NullValues::Skip => return Ok(true),
                NullValues::Reject => {
                    return Err(Error::data("the record has no value (null.values is reject)"));
                }
            }
        }
        let time = self.time_of(record)?;
        let minute = time.timestamp_millis().div_euclid(MINUTE_MS);
        let known = match self.set.last.filter(|(last, _)| *last == minute) {
            Some((_, file)) => Some(file),
            None => self.set.by_name.get(&self.name(time, 0)).copied(),
        };
        let format = self.plan.config.format;
        let full = files.len() >= config.max_open_files.get() as usize;
        let (file, bytes) = match known.and_then(|file| Some((file, files.lines(file)?))) {
            Some((file, lines)) => {
                let before = lines.len();
                format::append(lines, format, &record.value)?;
                (file, lines.len() - before)
            }
            None if full => return Ok(false),
            None => {
                // Only a record that is not rejected may give a file its name.
                let mut line = Vec::new();
                format::append(&mut line, format, &record.value)?;
                let bytes = line.len();
                let file = files.begin(&self.name(time, record.offset()), line);
                self.set.by_name.insert(self.name(time, 0), file);
                (file, bytes)
            }
        };
        self.set.last = Some((minute, file));
        self.gathered += bytes;
        self.set.bytes += bytes as u64;
        self.set.records += 1;
        self.set.since.get_or_insert_with(|| self.cx.task.clock().now());
        Ok(true)
    }

    /// The time that the record's file is named after.
    fn time_of(&self, record: &SinkRecord) -> Result<DateTime<Utc>> {
        if !self.plan.template.is_timed() {
            return Ok(DateTime::UNIX_EPOCH);
        }
        let time = record.timestamp.and_then(DateTime::from_timestamp_millis);
        time.ok_or_else(|| {
            Error::data(
                "the record has no timestamp to name a file after; set one, or take \
                         {{timestamp}} out of file.name.template",
            )
        })
    }

    /// The name of a file that begins at `start_offset` and holds records of `time`.
    fn name(&self, time: DateTime<Utc>, start_offset: i64) -> String {
        let partition = &self.cx.partition;
        let names = Names {
            topic: &partition.topic,
            partition: partition.partition,
            start_offset,
            extension: self.plan.config.extension(),
        };
        self.plan.template.name(names, time.with_timezone(&self.plan.zone))
    }

    async fn flush(&mut self) -> Result<()> {
        let files = &self.files;
        let flush = || on_files(files, OpenFiles::flush);
        self.cx.retry("write files", flush).await?;
        self.gathered = 0;
        Ok(())
    }

    /// Completes the open files; all that was taken is durable then.
    async fn complete(&mut self) -> Result<()> {
        if self.set.since.is_some() {
            let files = &self.files;
            let complete = || {
                on_files(files, |files| match files.complete() {
                    Ok(()) => Ok(Ok(())),
                    Err(Failure::Again(error)) => Err(error),
                    Err(Failure::Lost(error)) => Ok(Err(error)),
                })
            };
            // A new lane writes the files anew.
            self.cx.retry("complete files", complete).await??;
            self.set = Set::default();
            self.gathered = 0;
            self.cx.progress.durable(self.end);
        }
        Ok(())
    }
}

impl SinkLane for FileSinkLane {
    async fn write(&mut self, batch: SinkBatch) -> Result<()> {
        let mut from = 0;
        while let Stop::Complete(next) = self.take(&batch.records, from) {
            self.complete().await?;
            from = next;
        }
        self.end = batch.end;
        if self.set.since.is_none() {
            self.cx.progress.durable(self.end);
        } else if self.gathered >= GATHERED {
            self.flush().await?;
        }
        Ok(())
    }

    fn wake_at(&self) -> Option<Timestamp> {
        let interval = self.plan.config.rotate_interval_ms;
        self.set.since.filter(|_| !interval.is_zero()).map(|since| since + interval)
    }

    async fn wake(&mut self) -> Result<()> {
        self.complete().await
    }

    async fn drain(&mut self) -> Result<()> {
        // Where the clock cuts files, it may as well cut here; else the next lane makes them whole.
        if !self.plan.config.rotate_interval_ms.is_zero() {
            self.complete().await?;
        }
        on_files(&self.files, OpenFiles::discard).await
    }
}

impl Drop for FileSinkLane {
    fn drop(&mut self) {
        self.abandoned.store(true, Ordering::Release);
    }
}

/// Calls `operation` on the blocking pool.
async fn on_files<T: Send + 'static>(
    files: &Arc<Mutex<OpenFiles>>,
    operation: impl FnOnce(&mut OpenFiles) -> Result<T, FileError> + Send + 'static,
) -> Result<T> {
    let files = Arc::clone(files);
    let call = move || operation(&mut lock(&files));
    spawn_blocking(call).await.map_err(joined)?.map_err(refused)
}

fn lock(files: &Mutex<OpenFiles>) -> MutexGuard<'_, OpenFiles> {
    // After a panic the lane is dropped, and whoever comes next begins anew.
    files.lock().unwrap_or_else(PoisonError::into_inner)
}
