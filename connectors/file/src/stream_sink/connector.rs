//! Makes the tasks of a `FileStreamSink`.

use std::sync::Arc;

use towpath_sdk::Result;
use towpath_sdk::context::SinkTaskContext;
use towpath_sdk::guarantee::Guarantee;
use towpath_sdk::plugin::{PluginInfo, PluginName};
use towpath_sdk::sink::SinkConnector;

use super::client::Output;
use super::config::FileStreamSinkConfig;
use super::task::FileStreamSinkTask;

const NAMES: [PluginName; 1] =
    [PluginName::new("org.apache.kafka.connect.file.FileStreamSinkConnector")];

/// Appends values to one file.
#[derive(Debug)]
pub struct FileStreamSink;

impl SinkConnector for FileStreamSink {
    type Config = FileStreamSinkConfig;
    type Task = FileStreamSinkTask;

    fn plugin() -> PluginInfo {
        PluginInfo {
            names: &NAMES,
            version: env!("CARGO_PKG_VERSION"),
            summary: "Appends values to one file, as Kafka Connect's FileStreamSink does",
        }
    }

    fn guarantee(_config: &Self::Config) -> Guarantee {
        Guarantee::at_least_once(
            "lines are appended as they come, so that those since the last commit are appended \
             again after a crash; a line counts as written once the operating system has it, as in \
             Kafka Connect, so a power cut can lose the last ones",
        )
    }

    async fn task(config: Arc<Self::Config>, cx: SinkTaskContext) -> Result<Self::Task> {
        let output = Output::open(config.path()).await?;
        Ok(FileStreamSinkTask::new(output, cx))
    }

    async fn check(config: Arc<Self::Config>) -> Result<()> {
        match config.path() {
            Some(path) => Output::check(path).await,
            None => Ok(()),
        }
    }
}
