//! Shares files out to the tasks of a `file-source`.
//!
//! A file belongs to the task that the hash of its log's name points at, so that tasks find new files
//! by themselves. There are no more tasks than there is use for: a power of two that grows with the
//! number of logs. Only growing pays for starting tasks anew.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use tokio::task::spawn_blocking;
use towpath_sdk::config::Properties;
use towpath_sdk::context::{ConnectorContext, SourceTaskContext};
use towpath_sdk::guarantee::Guarantee;
use towpath_sdk::offset::{SourceOffset, SourcePartition};
use towpath_sdk::plugin::{PluginInfo, PluginName};
use towpath_sdk::source::{SourceConnector, TaskShare};
use towpath_sdk::{Error, Result};

use super::config::FileSourceConfig;
use super::names::{owner, stem_path};
use super::task::FileSourceTask;
use super::{client, place};
use crate::error::joined;

const NAMES: [PluginName; 1] = [PluginName::new("file-source")];
/// How many look-ups of the tasks pass between two of the planner.
const SCANS: u32 = 10;
const TASK: &str = "file.task";
const TASKS: &str = "file.tasks";

/// Reads the lines of many files.
#[derive(Debug)]
pub struct FileSource {
    config: Arc<FileSourceConfig>,
    /// The last plan, and the most that it could have been.
    planned: u32,
    max: NonZeroU32,
}

/// Which files a task reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) task: u32,
    pub(super) tasks: u32,
}

impl Share {
    /// Whether the log that is called so belongs to the task.
    pub(super) fn owns(self, stem: &Path) -> bool {
        owner(stem, self.tasks) == self.task
    }

    fn into_properties(self) -> Properties {
        Properties::from([(TASK, self.task.to_string()), (TASKS, self.tasks.to_string())])
    }

    fn from_properties(properties: &Properties) -> Result<Self> {
        let number = |key: &str| properties.get(key).and_then(|text| text.parse().ok());
        match (number(TASK), number(TASKS)) {
            (Some(task), Some(tasks)) if task < tasks => Ok(Self { task, tasks }),
            _ => Err(Error::internal("read the task's share of the files")),
        }
    }
}

impl FileSource {
    /// How many tasks there is use for.
    async fn useful(&self) -> Result<u32> {
        let patterns = self.config.patterns();
        let logs = move || {
            let files = patterns.find().files;
            files.iter().map(|(path, _)| stem_path(path)).collect::<HashSet<_>>().len()
        };
        let logs = spawn_blocking(logs).await.map_err(joined)?;
        Ok(useful(logs, self.max))
    }
}

fn useful(logs: usize, max: NonZeroU32) -> u32 {
    let logs = u32::try_from(logs).unwrap_or(u32::MAX).clamp(1, max.get());
    logs.checked_next_power_of_two().unwrap_or(u32::MAX).min(max.get())
}

impl SourceConnector for FileSource {
    type Config = FileSourceConfig;
    type Task = FileSourceTask;

    fn plugin() -> PluginInfo {
        PluginInfo {
            names: &NAMES,
            version: env!("CARGO_PKG_VERSION"),
            summary: "Reads the lines of many files, through rotation and compression",
        }
    }

    fn guarantee(_config: &Self::Config) -> Guarantee {
        Guarantee::exactly_once(
            "each line's end in its file is its offset, and files are recognised by inode, creation \
             and content; what is cut off a file before it was read is not seen",
        )
    }

    async fn start(config: Arc<Self::Config>, _cx: ConnectorContext) -> Result<Self> {
        Ok(Self { config, planned: 0, max: NonZeroU32::MIN })
    }

    async fn plan(&mut self, max: NonZeroU32) -> Result<Vec<TaskShare>> {
        self.max = max;
        self.planned = self.planned.max(self.useful().await?).min(max.get());
        let tasks = self.planned;
        Ok((0..tasks).map(|task| Share { task, tasks }.into_properties()).collect())
    }

    async fn changed(&mut self) -> Result<()> {
        while self.planned < self.max.get() {
            tokio::time::sleep(self.config.scan_interval_ms * SCANS).await;
            if self.useful().await? > self.planned {
                return Ok(());
            }
        }
        std::future::pending().await
    }

    async fn task(
        config: Arc<Self::Config>,
        share: TaskShare,
        cx: SourceTaskContext,
    ) -> Result<Self::Task> {
        FileSourceTask::new(config, Share::from_properties(&share)?, cx)
    }

    async fn check(config: Arc<Self::Config>) -> Result<()> {
        let check = move || client::check(&config.patterns(), config.move_to.as_deref());
        spawn_blocking(check).await.map_err(joined)?
    }

    fn check_offset(
        _config: &Self::Config,
        partition: &SourcePartition,
        offset: Option<&SourceOffset>,
    ) -> Result<()> {
        place::check(partition, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_grow_in_powers_of_two() {
        let max = NonZeroU32::new(6).unwrap();
        for (logs, expect) in [(0, 1), (1, 1), (2, 2), (3, 4), (5, 6), (500, 6)] {
            assert_eq!(useful(logs, max), expect, "{logs}");
        }
    }

    #[test]
    fn shares_survive_being_stored() {
        let share = Share { task: 1, tasks: 3 };
        assert_eq!(Share::from_properties(&share.into_properties()).unwrap(), share);
        assert!(Share::from_properties(&Properties::new()).is_err());
    }
}
