//! Plans the one task of a `FileStreamSource`.

use std::num::NonZeroU32;
use std::sync::Arc;

use serde_json::Value as JsonValue;
use towpath_sdk::context::{ConnectorContext, SourceTaskContext};
use towpath_sdk::guarantee::Guarantee;
use towpath_sdk::offset::{SourceOffset, SourcePartition};
use towpath_sdk::plugin::{PluginInfo, PluginName};
use towpath_sdk::source::{SourceConnector, TaskShare};
use towpath_sdk::{Error, Result};

use super::client;
use super::config::FileStreamSourceConfig;
use super::task::FileStreamSourceTask;
use crate::error::CONNECT_EXCEPTION;

/// The key of a source partition.
pub(super) const FILENAME: &str = "filename";
/// The key of a source offset.
pub(super) const POSITION: &str = "position";

const NAMES: [PluginName; 1] =
    [PluginName::new("org.apache.kafka.connect.file.FileStreamSourceConnector")];

/// Reads the lines of one file.
#[derive(Debug)]
pub struct FileStreamSource;

impl SourceConnector for FileStreamSource {
    type Config = FileStreamSourceConfig;
    type Task = FileStreamSourceTask;

    fn plugin() -> PluginInfo {
        PluginInfo {
            names: &NAMES,
            version: env!("CARGO_PKG_VERSION"),
            summary: "Reads the lines of one file, as Kafka Connect's FileStreamSource does",
        }
    }

    fn guarantee(config: &Self::Config) -> Guarantee {
        match config.path() {
            Some(_) => Guarantee::exactly_once(
                "each line's end in the file is its offset, and lines are read again from there",
            ),
            None => Guarantee::at_least_once(
                "standard input can't be read again: what had been read from it and was not in \
                 Kafka yet is lost when the worker dies",
            ),
        }
    }

    async fn start(_config: Arc<Self::Config>, _cx: ConnectorContext) -> Result<Self> {
        Ok(Self)
    }

    async fn plan(&mut self, _max: NonZeroU32) -> Result<Vec<TaskShare>> {
        Ok(vec![TaskShare::new()])
    }

    async fn task(
        config: Arc<Self::Config>,
        _share: TaskShare,
        cx: SourceTaskContext,
    ) -> Result<Self::Task> {
        FileStreamSourceTask::new(config, cx)
    }

    async fn check(config: Arc<Self::Config>) -> Result<()> {
        match config.path() {
            Some(path) => client::check(path).await,
            None => Ok(()),
        }
    }

    fn check_offset(
        _config: &Self::Config,
        partition: &SourcePartition,
        offset: Option<&SourceOffset>,
    ) -> Result<()> {
        // Anything may be forgotten, so that garbage can be cleaned up.
        let Some(offset) = offset else { return Ok(()) };
        let refuse = |text: &str| Err(Error::config(text).with_class(CONNECT_EXCEPTION));
        let Some(position) = offset.get(POSITION) else {
            return refuse("Offset objects should either be null or contain the key 'position'");
        };
        match position.as_i64() {
            None => refuse(
                "The value for the 'position' key in the offset is expected to be a Long value",
            ),
            Some(..0) => refuse(
                "The value for the 'position' key in the offset should be a non-negative value",
            ),
            Some(_) if partition.get(FILENAME).is_none() => {
                refuse("Partition objects should contain the key 'filename'")
            }
            Some(_) => Ok(()),
        }
    }
}

/// The source partition of a file; standard input is null, as in Connect.
pub(super) fn partition(config: &FileStreamSourceConfig) -> SourcePartition {
    let name = config.path().map_or(JsonValue::Null, |path| path.to_string_lossy().into());
    SourcePartition::of([(FILENAME, name)])
}

/// The source offset at `position`.
pub(super) fn offset(position: Option<u64>) -> SourceOffset {
    SourceOffset::of([(POSITION, JsonValue::from(position))])
}

/// The position that a stored offset means.
pub(super) fn position(offset: Option<&SourceOffset>) -> Result<u64> {
    match offset.and_then(|offset| offset.get(POSITION)) {
        None | Some(JsonValue::Null) => Ok(0),
        Some(position) => position.as_u64().ok_or_else(|| {
            Error::config("Offset position is the incorrect type").with_class(CONNECT_EXCEPTION)
        }),
    }
}

#[cfg(test)]
mod tests {
    use towpath_sdk::config::{ConnectorConfig, Properties};

    use super::*;

    fn check(partition: &str, offset: &str, expect: Option<&str>) {
        let partition: SourcePartition = serde_json::from_str(partition).unwrap();
        let offset: Option<SourceOffset> = serde_json::from_str(offset).unwrap();
        let config = FileStreamSourceConfig::parse(&Properties::from([("topic", "t")])).unwrap();
        let outcome = FileStreamSource::check_offset(&config, &partition, offset.as_ref());
        assert_eq!(outcome.err().map(|e| e.to_string()).as_deref(), expect);
    }

    #[test]
    fn offsets_are_judged_as_connect_judges_them() {
        let file = r#"{"filename":"/a"}"#;
        check(file, r#"{"position":6}"#, None);
        check(r#"{"x":1}"#, "null", None);
        check(
            file,
            r#"{"position":-1}"#,
            Some("The value for the 'position' key in the offset should be a non-negative value"),
        );
        check(
            file,
            r#"{"position":"6"}"#,
            Some("The value for the 'position' key in the offset is expected to be a Long value"),
        );
        check(
            file,
            "{}",
            Some("Offset objects should either be null or contain the key 'position'"),
        );
        check(
            r#"{"x":1}"#,
            r#"{"position":1}"#,
            Some("Partition objects should contain the key 'filename'"),
        );
    }

    #[test]
    fn stored_offsets_of_another_type_are_refused() {
        let text = SourceOffset::of([(POSITION, "6")]);
        assert_eq!(
            position(Some(&text)).unwrap_err().to_string(),
            "Offset position is the incorrect type"
        );
        assert_eq!(position(Some(&offset(Some(6)))).unwrap(), 6);
        assert_eq!(position(Some(&offset(None))).unwrap(), 0);
        assert_eq!(position(None).unwrap(), 0);
    }
}
