//! The keys of `FileStreamSink`.

use std::path::Path;

use towpath_sdk::config::ConnectorConfig;

/// The configuration of [`super::FileStreamSink`].
#[derive(Debug, Clone, ConnectorConfig)]
pub struct FileStreamSinkConfig {
    /// The file that lines are appended to; it is created if it is not there. If it is not set, the
    /// lines go to standard output.
    #[config(importance = high)]
    pub file: Option<String>,
}

impl FileStreamSinkConfig {
    /// The file's path; `None` for standard output.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.file.as_deref().filter(|file| !file.is_empty()).map(Path::new)
    }
}
