//! Makes the tasks of a `file-sink`.

use std::sync::Arc;

use towpath_sdk::context::SinkTaskContext;
use towpath_sdk::guarantee::Guarantee;
use towpath_sdk::plugin::{PluginInfo, PluginName};
use towpath_sdk::sink::SinkConnector;
use towpath_sdk::{Error, Result};

use super::client;
use super::config::FileSinkConfig;
use super::task::FileSinkTask;

const NAMES: [PluginName; 1] = [PluginName::new("file-sink")];

/// Writes records into files that appear whole.
#[derive(Debug)]
pub struct FileSink;

impl SinkConnector for FileSink {
    type Config = FileSinkConfig;
    type Task = FileSinkTask;

    fn plugin() -> PluginInfo {
        PluginInfo {
            names: &NAMES,
            version: env!("CARGO_PKG_VERSION"),
            summary: "Writes records into files that rotate and appear whole",
        }
    }

    fn guarantee(config: &Self::Config) -> Guarantee {
        if !config.fsync {
            Guarantee::at_least_once(
                "fsync is false: a crash of the worker repeats or loses nothing, but a power cut can \
                 lose files that had been reported as written",
            )
        } else if !config.rotate_interval_ms.is_zero() {
            Guarantee::at_least_once(
                "rotate.interval.ms completes files by the clock: after a crash, records since the \
                 last commit can stand in two files",
            )
        } else {
            Guarantee::exactly_once(
                "files are cut by their records alone and named by their first offset, so what is \
                 delivered again is written to the same files again",
            )
        }
    }

    async fn task(config: Arc<Self::Config>, cx: SinkTaskContext) -> Result<Self::Task> {
        FileSinkTask::new(config, &cx).map_err(Error::config)
    }

    async fn check(config: Arc<Self::Config>) -> Result<()> {
        client::check(config.directory.clone()).await
    }
}
