//! The keys of `FileStreamSource`.

use std::num::NonZeroU32;
use std::path::Path;

use towpath_sdk::config::ConnectorConfig;

/// The configuration of [`super::FileStreamSource`].
#[derive(Debug, Clone, ConnectorConfig)]
pub struct FileStreamSourceConfig {
    /// The file whose lines become records. If it is not set, they come from standard input, which
    /// can't be read again after a failure.
    #[config(importance = high)]
    pub file: Option<String>,
    /// The topic that the lines go to.
    #[config(importance = high, non_empty)]
    pub topic: String,
    /// The most lines of one batch. Two thousand lines are a few hundred kilobytes, which is enough to
    /// make the work per batch small.
    #[config(importance = low, default = 2000)]
    pub batch_size: NonZeroU32,
}

impl FileStreamSourceConfig {
    /// The file's path; `None` for standard input.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.file.as_deref().filter(|file| !file.is_empty()).map(Path::new)
    }
}
