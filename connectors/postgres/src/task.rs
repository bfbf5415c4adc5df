//! The task.

use std::sync::Arc;
use std::time::Duration;

use towpath_sdk::background::Background;
use towpath_sdk::context::{SourceTaskContext, TaskContext};
use towpath_sdk::offset::{SourceOffset, SourcePartition, StoredOffsets};
use towpath_sdk::source::{Budget, SourceBatch, SourceTask};
use towpath_sdk::{Error, ErrorKind, Result};

use crate::acknowledged::Acknowledged;
use crate::client;
use crate::config::Config;
use crate::pieces::{self, PieceReceiver};
use crate::run::Run;
use crate::wire::Connection;

/// Reads one server.
pub struct PostgresTask {
    config: Arc<Config>,
    cx: TaskContext,
    acknowledged: Acknowledged,
    /// `None` only while it is begun anew.
    working: Option<Working>,
}

/// What reads, and what comes of it.
struct Working {
    pieces: PieceReceiver,
    work: Background,
}

impl PostgresTask {
    pub(crate) fn new(config: Arc<Config>, cx: SourceTaskContext) -> Result<Self> {
        let acknowledged = Acknowledged::new(&config);
        let working = begin(&config, &cx.task, cx.offsets, &acknowledged)?;
        Ok(Self { config, cx: cx.task, acknowledged, working: Some(working) })
    }
}

/// How long dropping the slot may take.
const DROP_TIMEOUT: Duration = Duration::from_secs(10);

/// Drops the slot once nothing reads from it, for `slot.drop.on.stop` and `slot.drop.on.delete`. One that
/// is not there is dropped.
///
/// # Errors
/// If the server can't be reached, or the slot stays in use for [`DROP_TIMEOUT`].
pub(crate) async fn drop_slot(config: &Config, application: &str) -> Result<()> {
    let slot = &config.replication.slot_name;
    let dropping = async {
        let mut connection = Connection::connect(&client::target(config, application)).await?;
        match connection.drop_slot(slot, true).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => {
                connection.close().await;
                Ok(())
            }
        }
    };
    tokio::time::timeout(DROP_TIMEOUT, dropping).await.unwrap_or_else(|_elapsed| {
        let text = format!("drop the replication slot {slot}: it was still in use");
        Err(Error::new(ErrorKind::Timeout, text))
    })
}

/// Starts the work from where offsets stand.
fn begin(
    config: &Arc<Config>,
    cx: &TaskContext,
    stored: StoredOffsets,
    acknowledged: &Acknowledged,
) -> Result<Working> {
    let (sender, pieces) = pieces::channel(config.engine.queue_bytes());
    let run_id = format!("{:016x}-{}", cx.clock().now().millis(), cx.task);
    let run = Run::new(Arc::clone(config), cx.clone(), sender, stored, acknowledged, &run_id)?;
    Ok(Working { pieces, work: cx.spawn("read from PostgreSQL", run.run()) })
}

impl SourceTask for PostgresTask {
    async fn poll(&mut self, room: Budget) -> Result<SourceBatch> {
        let Some(Working { pieces, work }) = &mut self.working else {
            return Err(Error::internal("read: the work could not be begun anew"));
        };
        match pieces.next(room).await {
            Some(batch) => Ok(batch),
            None => {
                work.await?;
                Err(Error::internal("read on: the work ended"))
            }
        }
    }

    async fn acknowledge(&mut self, upto: &[(SourcePartition, SourceOffset)]) -> Result<()> {
        self.acknowledged.take(upto)
    }

    async fn rewind(&mut self, to: &StoredOffsets) -> Result<()> {
        // Its connections go first, as they hold the slot.
        self.working = None;
        self.working = Some(begin(&self.config, &self.cx, to.clone(), &self.acknowledged)?);
        Ok(())
    }

    async fn stop(self) -> Result<()> {
        let Self { config, cx, working, .. } = self;
        // The slot is free once the work's connection is gone.
        drop(working);
        if !config.replication.slot_drop_on_stop {
            return Ok(());
        }
        drop_slot(&config, &cx.connector).await
    }
}
