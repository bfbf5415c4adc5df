//! Why the log could not be opened.

use std::path::PathBuf;

use towpath_core::ports::{PortError, PortErrorKind};

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenErrorKind {
    /// Another process has it.
    Occupied,
    /// The directory is something else, or of another version.
    Foreign,
    /// What is in it can't be read.
    Damaged,
    /// No room.
    OutOfSpace,
    /// A permission is missing.
    Forbidden,
    /// The operating system failed otherwise.
    Io,
}

/// The log could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("the log at {} {text}", path.display())]
pub struct OpenError {
    /// The kind.
    pub kind: OpenErrorKind,
    path: PathBuf,
    text: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl OpenError {
    pub(crate) fn new(
        kind: OpenErrorKind,
        path: impl Into<PathBuf>,
        text: impl Into<String>,
    ) -> Self {
        Self { kind, path: path.into(), text: text.into(), source: None }
    }

    pub(crate) fn io(path: impl Into<PathBuf>, doing: &str, error: std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                OpenErrorKind::Forbidden
            }
            _ if is_full(&error) => OpenErrorKind::OutOfSpace,
            _ => OpenErrorKind::Io,
        };
        let mut new = Self::new(kind, path, format!("can't be opened: {doing}: {error}"));
        new.source = Some(error.into());
        new
    }

    pub(crate) fn damaged(path: impl Into<PathBuf>, what: impl std::fmt::Display) -> Self {
        let text = format!(
            "is damaged ({what}): restore it from a copy, or remove the directory to begin anew"
        );
        Self::new(OpenErrorKind::Damaged, path, text)
    }
}

impl From<OpenError> for PortError {
    fn from(error: OpenError) -> Self {
        let kind = match error.kind {
            OpenErrorKind::Occupied => PortErrorKind::Occupied,
            OpenErrorKind::Foreign => PortErrorKind::Invalid,
            OpenErrorKind::OutOfSpace => PortErrorKind::OutOfSpace,
            OpenErrorKind::Forbidden => PortErrorKind::Forbidden,
            OpenErrorKind::Damaged | OpenErrorKind::Io => PortErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

/// Whether the operating system says that there is no room.
pub(crate) fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
