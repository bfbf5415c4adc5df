//! The task: what the lanes of its partitions share.
//!
//! Duty: one client, one memory pool and one spool per task; the probe that learns whether the store
//! keeps its word about conditional writes; and lanes. Starting sends nothing: a store that is down
//! makes lanes wait, with the reason shown, rather than the task fail.

mod commit;
mod file;
mod lane;
mod look;

use std::sync::Arc;

use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use towpath_sdk::context::{LaneContext, SinkTaskContext, TaskContext};
use towpath_sdk::error::{Error, ErrorKind, Result};
use towpath_sdk::guarantee::{Delivery, Guarantee};
use towpath_sdk::sink::SinkTask;
use uuid::Uuid;

pub use lane::Lane;

use crate::buffer::{Buffer, Codec, Compression, Payload, Pool};
use crate::chain::Mark;
use crate::client::{Client, Written};
use crate::config::{ExactlyOnce, Plan, UNCONDITIONAL};
use crate::error::Refusal;
use crate::partitioner::By;
use crate::spool::{Spool, sweep};

/// A task of the sink.
pub struct Task {
    shared: Arc<Shared>,
    jobs: JoinSet<()>,
}

/// What lanes share.
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) client: Client,
    pub(crate) pool: Arc<Pool>,
    pub(crate) spool: Arc<Spool>,
    conditional: OnceCell<bool>,
}

impl Task {
    /// A task that does what `plan` says.
    pub async fn new(plan: Plan, cx: SinkTaskContext) -> Self {
        let directory = plan.bounds.spool_dir.clone();
        let mut jobs = JoinSet::new();
        jobs.spawn_blocking({
            let directory = directory.clone();
            move || sweep(&directory)
        });
        let shared = Arc::new(Shared {
            client: Client::new(&plan.connection, plan.objects.clone()).await,
            pool: Pool::new(plan.bounds.memory),
            spool: Spool::new(directory, plan.bounds.spool),
            conditional: OnceCell::new(),
            plan,
        });
        jobs.spawn({
            let shared = Arc::clone(&shared);
            async move {
                // A failure comes up again where a lane asks, and is its error.
                shared.conditional(&cx).await.ok();
            }
        });
        Self { shared, jobs }
    }
}

impl Task {
    /// Bytes in memory for open and unsent objects.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.shared.pool.used()
    }
}

impl SinkTask for Task {
    type Lane = Lane;

    fn lane(&mut self, cx: LaneContext) -> Lane {
        while self.jobs.try_join_next().is_some() {}
        Lane::new(Arc::clone(&self.shared), cx)
    }

    async fn stop(mut self) -> Result<()> {
        self.jobs.shutdown().await;
        Ok(())
    }
}

impl Shared {
    /// Whether objects are completed on condition. The first caller probes the store.
    ///
    /// # Errors
    /// If exactly-once is required and the store can't, or the store refuses for a reason that waiting
    /// can't cure.
    pub(crate) async fn conditional(&self, cx: &TaskContext) -> Result<bool> {
        let probe = || async {
            if !self.plan.conditional {
                return Ok(false);
            }
            let key = self.probe_key(cx);
            if cx.retry("probe the store", || probe(&self.client, &key)).await? {
                return Ok(true);
            }
            // An earlier instance that probes at the same time would look like such a store, but not
            // where nobody else writes.
            let alone = format!("{key}-{}", Uuid::new_v4().simple());
            if cx.retry("probe the store", || probe(&self.client, &alone)).await? {
                return Ok(true);
            }
            let because = format!("the store does not honour If-None-Match: {UNCONDITIONAL}");
            if self.plan.exactly_once == ExactlyOnce::Required {
                let text = format!("exactly.once=required can't be had: {because}");
                return Err(Error::new(ErrorKind::Unsupported, text));
            }
            if self.plan.guarantee().delivery == Delivery::ExactlyOnce {
                cx.guarantee(Guarantee::at_least_once(because));
            }
            Ok(false)
        };
        self.conditional.get_or_try_init(probe).await.copied()
    }

    /// A key of this task alone.
    fn probe_key(&self, cx: &TaskContext) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let connector: String = cx.connector.chars().map(plain).collect();
        probe_key(&self.plan, &format!("{connector}-{}", cx.task))
    }
}

/// A key beside the objects, which nobody takes for one.
fn probe_key(plan: &Plan, name: &str) -> String {
    let prefix = match &plan.partitioner.by {
        By::Directory { layout, .. } if layout.top.trim().is_empty() => String::new(),
        By::Directory { layout, .. } => format!("{}{}", layout.top, layout.delimiter),
        By::Template { template, .. } => template.literal_prefix().to_owned(),
    };
    format!("{prefix}.towpath-probe/{name}")
}

/// Writes and removes a small object.
///
/// # Errors
/// If it can't be written. One that can't be removed stays: only writing is needed.
pub(crate) async fn check_write(client: &Client, plan: &Plan, name: &str) -> Result<()> {
    let key = probe_key(plan, name);
    client.put(&key, &payload(b"check")?, None, false).await?;
    if let Err(error) = client.delete(&key).await {
        tracing::info!(key, error = error.chain(), "the object of a check stays in the bucket");
    }
    Ok(())
}

/// Whether a second object of one name is refused, written in one request and as a multipart upload.
async fn probe(client: &Client, key: &str) -> Result<bool> {
    let payload = payload(b"probe")?;
    abort_stale(client, key, |upload| upload == key).await?;
    match client.put(key, &payload, None, true).await? {
        // An object that a killed probe has left serves as well.
        Written::Done | Written::Refused(Refusal::Exists) => {}
        Written::Refused(Refusal::NotImplemented) => return Ok(false),
        Written::Refused(_) => return Err(disturbed()),
    }
    let refused = |written| matches!(written, Written::Refused(Refusal::Exists | Refusal::Race));
    let put = refused(client.put(key, &payload, None, true).await?);
    let honoured = put && refused(probe_upload(client, key, &payload).await?);
    if let Err(error) = client.delete(key).await {
        tracing::info!(
            key,
            error = error.chain(),
            "the probe of conditional writes stays in the bucket"
        );
    }
    Ok(honoured)
}

async fn probe_upload(client: &Client, key: &str, payload: &Payload) -> Result<Written> {
    let mark =
        Mark { writer: "probe".into(), nonce: "probe".into(), start: 0, end: None, first: 0 };
    let upload = client.begin(key, &mark).await?;
    let Some(part) = client.send_part(&upload, 1, payload).await? else { return Err(disturbed()) };
    match client.complete(&upload, &[part], true).await? {
        Written::Done => Ok(Written::Done),
        Written::Refused(Refusal::UploadGone) => Err(disturbed()),
        refused => {
            client.abort(&upload).await?;
            Ok(refused)
        }
    }
}

fn disturbed() -> Error {
    let text = "another instance of this task is probing at the same time";
    Error::new(ErrorKind::Unavailable, text)
}

/// Aborts uploads under `prefix` that were begun and neither completed nor aborted, if they are `ours`.
///
/// # Errors
/// If the store does not tell which there are, for a reason that may pass.
async fn abort_stale(client: &Client, prefix: &str, ours: impl Fn(&str) -> bool) -> Result<()> {
    let found = match client.uploads(prefix).await {
        // Not being allowed to tidy up is no reason to stand still.
        Err(error) if matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::Unsupported) => {
            tracing::warn!(error = error.chain(), "abandoned uploads are not looked for");
            return Ok(());
        }
        found => found?,
    };
    for upload in found.into_iter().filter(|upload| ours(&upload.key)) {
        match client.abort(&upload).await {
            Ok(()) => tracing::info!(key = upload.key, "aborted an abandoned upload"),
            Err(error) => tracing::warn!(
                key = upload.key,
                error = error.chain(),
                "failed to abort an abandoned upload"
            ),
        }
    }
    Ok(())
}

fn payload(bytes: &[u8]) -> Result<Payload> {
    let mut codec = Codec::new(Compression::None)?;
    let mut buffer = Buffer::new(&Pool::new(usize::MAX));
    buffer.room(bytes.len(), &mut codec)?.extend_from_slice(bytes);
    buffer.finish(&mut codec)
}
