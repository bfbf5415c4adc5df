//! An open object and its multipart upload.
//!
//! Duty: what an open object is made of, and the job that sends its parts while it is still being
//! filled. The job decides about the name before it begins the upload, since a multipart upload can't
//! be renamed.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use towpath_sdk::context::LaneContext;
use towpath_sdk::error::{Error, ErrorKind, Result};

use super::Shared;
use super::look::{Bucket, Name, nonce};
use crate::buffer::{Buffer, Payload, Pool};
use crate::chain::Mark;
use crate::client::{Part, Upload};

/// Parts of one object that are on their way at once.
const PARALLEL_PARTS: usize = 3;
/// S3 takes 10 000 parts; the last one is kept for the end of the object.
pub(super) const MAX_PARTS: usize = 9_999;

/// An object that is being filled.
pub(super) struct OpenFile {
    pub(super) path: Arc<str>,
    /// The offset of the first of `records`.
    pub(super) from: i64,
    pub(super) start: i64,
    pub(super) end: i64,
    /// Its records, those included that an object of an earlier instance holds: they count when it is
    /// decided what is completed together, so that the bounds of objects are as if nothing had happened.
    pub(super) records: u64,
    /// Those that were written into it. Without any, nothing else is known of it than its path.
    pub(super) written: u64,
    pub(super) first: u32,
    pub(super) step: u32,
    pub(super) nonce: Arc<str>,
    pub(super) buffer: Buffer,
    pub(super) upload: Option<Uploading>,
}

/// A multipart upload that is under way.
pub(super) struct Uploading {
    parts: mpsc::Sender<Payload>,
    job: Job<Result<Sent>>,
    begun: Arc<OnceLock<Upload>>,
    pub(super) count: usize,
}

/// How long a part that is under way is waited for before its upload is aborted.
const LAST_PART: Duration = Duration::from_secs(5);

/// All parts were sent.
pub(super) struct Sent {
    pub(super) upload: Upload,
    pub(super) parts: Vec<Part>,
    pub(super) step: u32,
}

/// A spawned task that ends with its handle.
pub(super) struct Job<T>(JoinHandle<T>);

impl<T: Send + 'static> Job<T> {
    pub(super) fn spawn(job: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(job))
    }

    /// Its result.
    ///
    /// # Errors
    /// If it panicked.
    pub(super) async fn join(mut self) -> Result<T> {
        (&mut self.0)
            .await
            .map_err(|e| Error::internal("a job of the S3 sink ended").with_source(e))
    }

    pub(super) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl<T> Drop for Job<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The error that makes the engine build a new lane, which looks at the bucket anew.
pub(super) fn start_over(why: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("{why}: the partition is read again from its last durable offset"),
    )
}

impl OpenFile {
    /// A file of `path` without records; the first one will be that at `from`.
    pub(super) fn new(path: &Arc<str>, from: i64, pool: &Arc<Pool>) -> Self {
        Self {
            path: Arc::clone(path),
            from,
            start: 0,
            end: 0,
            records: 0,
            written: 0,
            first: 0,
            step: 0,
            nonce: nonce(),
            buffer: Buffer::new(pool),
            upload: None,
        }
    }

    /// Sends `payload` as the next part; begins the upload with the first one.
    pub(super) async fn send(
        &mut self,
        payload: Payload,
        shared: &Arc<Shared>,
        cx: &LaneContext,
        bucket: &Arc<Bucket>,
    ) -> Result<()> {
        let uploading = self.upload.get_or_insert_with(|| {
            let (parts, queue) = mpsc::channel(1);
            let name = Name {
                path: Arc::clone(&self.path),
                start: self.start,
                first: self.first,
                step: self.step,
            };
            let begun = Arc::new(OnceLock::new());
            let job = upload(
                Arc::clone(&begun),
                Arc::clone(shared),
                cx.clone(),
                Arc::clone(bucket),
                name,
                Arc::clone(&self.nonce),
                queue,
            );
            Uploading { parts, job: Job::spawn(job), begun, count: 0 }
        });
        uploading.count += 1;
        if uploading.parts.send(payload).await.is_ok() {
            return Ok(());
        }
        match self.upload.take() {
            Some(ended) => match ended.job.join().await? {
                Err(error) => Err(error),
                Ok(_) => Err(Error::internal("a multipart upload ended too early")),
            },
            None => Ok(()),
        }
    }
}

impl Uploading {
    /// Waits until all parts are sent.
    pub(super) async fn finish(self) -> Result<Sent> {
        drop(self.parts);
        self.job.join().await?
    }

    /// Stops sending. Gives the upload to abort, if it was begun. A part that is under way is waited
    /// for a while: a store may keep one that arrives while its upload is aborted.
    pub(super) async fn give_up(self) -> Option<Upload> {
        let Self { parts, job, begun, .. } = self;
        drop(parts);
        // However it ended, the upload is of no use any more.
        let _ended = tokio::time::timeout(LAST_PART, job.join()).await.is_ok();
        begun.get().cloned()
    }
}

async fn upload(
    begun: Arc<OnceLock<Upload>>,
    shared: Arc<Shared>,
    cx: LaneContext,
    bucket: Arc<Bucket>,
    name: Name,
    nonce: Arc<str>,
    mut queue: mpsc::Receiver<Payload>,
) -> Result<Sent> {
    let Some(step) = bucket.free_step(&shared, &cx, &name).await? else {
        return Err(start_over("an object was completed by an earlier instance of this task"));
    };
    let key = shared.plan.offsets.key(&name.path, name.start, step);
    let mark = Mark {
        writer: Arc::clone(&bucket.writer),
        nonce,
        start: name.start,
        end: None,
        first: name.first,
    };
    let client = &shared.client;
    let upload = cx.retry("begin a multipart upload", || client.begin(&key, &mark)).await?;
    let upload = begun.get_or_init(|| upload);
    let send = async |number: i32, payload: Payload| {
        let part = cx.retry("send a part", || client.send_part(upload, number, &payload)).await?;
        part.ok_or_else(|| start_over("a multipart upload was aborted by somebody else"))
    };
    let mut parts: Vec<Part> = Vec::new();
    let mut sending = FuturesUnordered::new();
    let (mut number, mut open) = (0, true);
    while open || !sending.is_empty() {
        tokio::select! {
            biased;
            payload = queue.recv(), if open && sending.len() < PARALLEL_PARTS => match payload {
                Some(payload) => {
                    number += 1;
                    sending.push(send(number, payload));
                }
                None => open = false,
            },
            Some(part) = sending.next() => parts.push(part?),
        }
    }
    drop(sending);
    parts.sort_by_key(Part::number);
    Ok(Sent { upload: upload.clone(), parts, step })
}
