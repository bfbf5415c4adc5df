//! A source's task, polled in its connector's home.
//!
//! Duty: keep one poll under way there and hand its batch over. A poll that is interrupted, for an
//! acknowledgement or a pause, may have finished by then: its batch is kept and handed over next, so
//! that nothing is lost, whatever is dropped.
//!
//! Invariant: at most one batch waits here.

use std::sync::Arc;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use towpath_sdk::Result;
use towpath_sdk::offset::{SourceOffset, SourcePartition, StoredOffsets};
use towpath_sdk::plugin::erased::DynSourceTask;
use towpath_sdk::source::{Budget, SourceBatch};

use super::SourceSpec;
use crate::home::{Answer, Lent};
use crate::task::host::TaskHost;

pub(super) struct LentSource {
    task: Lent<Box<dyn DynSourceTask>>,
    polling: Option<Polling>,
    ready: Option<Result<SourceBatch>>,
}

struct Polling {
    stop: CancellationToken,
    /// `None`: interrupted before there was anything.
    batch: Answer<Option<Result<SourceBatch>>>,
}

impl LentSource {
    pub(super) fn new(host: &TaskHost, task: Box<dyn DynSourceTask>) -> Self {
        Self {
            task: Lent::new(host.place.clone(), host.tenant(), task),
            polling: None,
            ready: None,
        }
    }

    /// The next batch. May be dropped at any await.
    pub(super) async fn poll(&mut self, room: Budget) -> Result<SourceBatch> {
        loop {
            if let Some(batch) = self.ready.take() {
                return batch;
            }
            let polling = match &mut self.polling {
                Some(polling) => polling,
                none => {
                    let stop = CancellationToken::new();
                    let asked = stop.clone();
                    let poll =
                        self.task.begin("poll", move |task| poll_until(task, room, asked).boxed());
                    let batch = poll.await?;
                    none.insert(Polling { stop, batch })
                }
            };
            let answer = (&mut polling.batch).await;
            self.polling = None;
            self.keep(answer).await;
        }
    }

    async fn keep(&mut self, answer: Result<Option<Result<SourceBatch>>, impl Sized>) {
        match answer {
            Ok(batch) => self.ready = batch,
            Err(_unanswered) => self.ready = Some(Err(self.task.lost("poll").await)),
        }
    }

    /// Ends the poll under way; what it had got is handed over by the next one.
    pub(super) async fn interrupt(&mut self) {
        let Some(polling) = &mut self.polling else { return };
        polling.stop.cancel();
        let answer = (&mut polling.batch).await;
        self.polling = None;
        self.keep(answer).await;
    }

    pub(super) async fn acknowledge(
        &mut self,
        upto: Vec<(SourcePartition, SourceOffset)>,
    ) -> Result<()> {
        if upto.is_empty() {
            return Ok(());
        }
        self.interrupt().await;
        self.task.call("acknowledge", move |task| acknowledge(task, upto).boxed()).await
    }

    /// What was polled and not handed over yet is given up: the source gives it again.
    pub(super) async fn rewind(&mut self, to: StoredOffsets) -> Result<()> {
        self.interrupt().await;
        if let Some(Err(error)) = self.ready.take() {
            return Err(error);
        }
        self.task.call("rewind", move |task| rewind(task, to).boxed()).await
    }

    pub(super) async fn stop(mut self) -> Result<()> {
        self.interrupt().await;
        self.task.end("stop", DynSourceTask::stop).await
    }
}

/// Polls until there is a batch or `stop` says that somebody else wants the task.
async fn poll_until(
    task: &mut Box<dyn DynSourceTask>,
    room: Budget,
    stop: CancellationToken,
) -> Option<Result<SourceBatch>> {
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        batch = task.poll(room) => Some(batch),
    }
}

async fn acknowledge(
    task: &mut Box<dyn DynSourceTask>,
    upto: Vec<(SourcePartition, SourceOffset)>,
) -> Result<()> {
    task.acknowledge(&upto).await
}

async fn rewind(task: &mut Box<dyn DynSourceTask>, to: StoredOffsets) -> Result<()> {
    task.rewind(&to).await
}

/// Starts the task in its home.
pub(super) async fn start(
    spec: &SourceSpec,
    host: &Arc<TaskHost>,
    offsets: StoredOffsets,
) -> Result<LentSource> {
    let task = towpath_sdk::context::TaskContext::new(
        Arc::clone(&spec.id.connector),
        spec.id.task,
        host.clone(),
    );
    let cx = towpath_sdk::context::SourceTaskContext { task, offsets };
    let (plugin, properties, share) =
        (Arc::clone(&spec.plugin), spec.properties.clone(), spec.share.clone());
    let starting = async move { plugin.task(properties, share, cx).await };
    let task = host.place.run(&host.tenant(), "start", starting).await?;
    Ok(LentSource::new(host, task))
}
