//! Polls the files of one task.
//!
//! Invariant: a call on the blocking pool owns the [`Follower`]; a poll that is dropped leaves the call
//! in [`Slot::Busy`], and the next poll takes its outcome from there.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;
use towpath_sdk::context::{SourceTaskContext, TaskContext, Waiting};
use towpath_sdk::offset::{SourceOffset, SourcePartition, StoredOffsets};
use towpath_sdk::source::{Budget, SourceBatch, SourceTask};
use towpath_sdk::{Error, Result};

use super::config::FileSourceConfig;
use super::connector::Share;
use super::follower::{Follower, Now};
use crate::error::joined;

/// The shortest pause between two looks at files that do not grow.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);

/// The task of a `file-source`.
pub struct FileSourceTask {
    cx: TaskContext,
    slot: Slot,
    longest_pause: Duration,
    pause: Duration,
    said: Option<String>,
    /// What was acknowledged while the follower was busy.
    acknowledged: Vec<(SourcePartition, SourceOffset)>,
}

enum Slot {
    Idle(Box<Follower>),
    Busy(JoinHandle<(Box<Follower>, SourceBatch)>),
    /// A call has panicked.
    Lost,
}

impl FileSourceTask {
    pub(super) fn new(
        config: Arc<FileSourceConfig>,
        share: Share,
        cx: SourceTaskContext,
    ) -> Result<Self> {
        let longest_pause = config.poll_interval_ms;
        let follower = Follower::new(config, share, &cx.offsets, cx.task.clone())?;
        Ok(Self {
            cx: cx.task,
            slot: Slot::Idle(Box::new(follower)),
            longest_pause,
            pause: SHORTEST_PAUSE,
            said: None,
            acknowledged: Vec::new(),
        })
    }

    /// Starts a step, or goes on with one.
    async fn step(&mut self, room: Budget) -> Result<SourceBatch> {
        self.slot = match std::mem::replace(&mut self.slot, Slot::Lost) {
            Slot::Idle(mut follower) => {
                let acknowledged = std::mem::take(&mut self.acknowledged);
                let ms = self.cx.clock().now().millis();
                let now = Now { at: Instant::now(), ms, room };
                Slot::Busy(spawn_blocking(move || {
                    follower.acknowledge(&acknowledged);
                    let batch = follower.step(now);
                    (follower, batch)
                }))
            }
            other => other,
        };
        let batch = self.finish().await?;
        if let Slot::Idle(follower) = &self.slot {
            self.say(follower.reason());
        }
        Ok(batch)
    }

    /// Awaits the call that is under way. May be dropped.
    async fn finish(&mut self) -> Result<SourceBatch> {
        match &mut self.slot {
            Slot::Idle(_) => Ok(SourceBatch::default()),
            Slot::Lost => Err(Error::internal("go on after a panic")),
            Slot::Busy(call) => match call.await {
                Ok((follower, batch)) => {
                    self.slot = Slot::Idle(follower);
                    Ok(batch)
                }
                Err(error) => {
                    self.slot = Slot::Lost;
                    Err(joined(error))
                }
            },
        }
    }

    /// Shows, and logs once, why something is not read.
    fn say(&mut self, reason: Option<String>) {
        if self.said == reason {
            return;
        }
        if let Some(reason) = &reason {
            tracing::warn!(connector = %self.cx.connector, task = self.cx.task, "{reason}");
        }
        self.said.clone_from(&reason);
        self.cx.waiting(reason.map(|reason| Waiting { reason, next_try: None }));
    }
}

impl SourceTask for FileSourceTask {
    async fn poll(&mut self, room: Budget) -> Result<SourceBatch> {
        loop {
            let batch = self.step(room).await?;
            if !batch.is_empty() {
                self.pause = SHORTEST_PAUSE;
                return Ok(batch);
            }
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(self.longest_pause);
        }
    }

    async fn acknowledge(&mut self, upto: &[(SourcePartition, SourceOffset)]) -> Result<()> {
        match &mut self.slot {
            Slot::Idle(follower) => follower.acknowledge(upto),
            _ => self.acknowledged.extend_from_slice(upto),
        }
        Ok(())
    }

    async fn rewind(&mut self, to: &StoredOffsets) -> Result<()> {
        // What the call found is stale whatever it is.
        self.finish().await?;
        self.acknowledged.clear();
        let Slot::Idle(mut follower) = std::mem::replace(&mut self.slot, Slot::Lost) else {
            return Err(Error::internal("go back after a panic"));
        };
        let to = to.clone();
        let rewind = move || {
            let outcome = follower.rewind(&to);
            (follower, outcome)
        };
        let (follower, outcome) = spawn_blocking(rewind).await.map_err(joined)?;
        self.slot = Slot::Idle(follower);
        outcome
    }

    async fn stop(mut self) -> Result<()> {
        self.finish().await.map(drop)
    }
}
