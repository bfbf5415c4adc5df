//! What goes wrong with files.
//!
//! Duty: say which operation on which path failed, and map what the operating system said to the
//! kinds that the engine acts on. A path that can never work (a directory in place of a file, a name
//! that is no name) is a wrong configuration; all else is as [`kind_of_io`] says.

use std::io;
use std::path::{Path, PathBuf};

use towpath_sdk::error::kind_of_io;
use towpath_sdk::{Error, ErrorKind};

/// An operation on a path that failed.
#[derive(Debug, thiserror::Error)]
#[error("{operation} '{path}'{}", hint(source))]
pub(crate) struct FileError {
    operation: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// The class of what Connect's file connectors throw.
pub(crate) const CONNECT_EXCEPTION: &str = "org.apache.kafka.connect.errors.ConnectException";

impl FileError {
    /// `operation` (a verb in the infinitive) on `path` failed.
    pub(crate) fn new(
        operation: &'static str,
        path: impl Into<PathBuf>,
        source: io::Error,
    ) -> Self {
        Self { operation, path: path.into(), source }
    }

    /// For `map_err`.
    pub(crate) fn at(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::new(operation, path, source)
    }

    /// What the operating system said.
    pub(crate) fn io(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// What the engine is to make of it.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self.source.kind() {
            io::ErrorKind::IsADirectory
            | io::ErrorKind::InvalidFilename
            | io::ErrorKind::InvalidInput => ErrorKind::Config,
            _ => kind_of_io(&self.source),
        }
    }
}

impl From<FileError> for Error {
    fn from(error: FileError) -> Self {
        let kind = error.kind();
        Self::new(kind, error.to_string()).with_source(error.source)
    }
}

/// What would help, where that is known.
fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => ", which the worker's user may not",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ", for which its file system needs more space"
        }
        io::ErrorKind::IsADirectory => ", where a directory is",
        _ => "",
    }
}

/// A call on the blocking pool that did not come back: the runtime stops, or it panicked.
pub(crate) fn joined(error: tokio::task::JoinError) -> Error {
    Error::internal("finish a call on the blocking pool").with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: io::ErrorKind, expect: ErrorKind, text: &str) {
        let error = FileError::new("open", "/x", io::Error::from(kind));
        let error = Error::from(error);
        assert_eq!((error.kind(), error.to_string().as_str()), (expect, text));
    }

    #[test]
    fn kinds_follow_the_operating_system() {
        check(io::ErrorKind::NotFound, ErrorKind::NotFound, "open '/x'");
        check(io::ErrorKind::IsADirectory, ErrorKind::Config, "open '/x', where a directory is");
        check(
            io::ErrorKind::StorageFull,
            ErrorKind::OutOfSpace,
            "open '/x', for which its file system needs more space",
        );
        check(
            io::ErrorKind::PermissionDenied,
            ErrorKind::Forbidden,
            "open '/x', which the worker's user may not",
        );
    }
}
