//! Room on the file system.

use std::path::{Path, PathBuf};

use rustix::fs::statvfs;
use towpath_core::ports::{PortError, PortErrorKind, PortResult};

/// Says how many bytes are free where the log is.
pub(crate) trait FreeSpace: Send + Sync + 'static {
    fn free(&self) -> std::io::Result<u64>;
}

/// The file system's answer.
pub(crate) struct FileSystem(pub(crate) PathBuf);

impl FreeSpace for FileSystem {
    fn free(&self) -> std::io::Result<u64> {
        let found = statvfs(&self.0)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

/// Refuses to write where the file system would be left with too little.
pub(crate) struct Reserve {
    pub(crate) free: Box<dyn FreeSpace>,
    pub(crate) least: u64,
}

impl Reserve {
    pub(crate) fn of(path: &Path, least: u64) -> Self {
        Self { free: Box::new(FileSystem(path.to_path_buf())), least }
    }

    /// Whether `bytes` more may be written.
    pub(crate) fn check(&self, bytes: u64) -> PortResult<()> {
        // A file system that does not answer is left to fail by itself.
        let Ok(free) = self.free.free() else { return Ok(()) };
        if free >= self.least.saturating_add(bytes) {
            return Ok(());
        }
        Err(PortError::new(
            PortErrorKind::OutOfSpace,
            format!(
                "the disk of the log has {} MiB free, and {} MiB are kept: make room; writing then goes on \
                 by itself",
                free >> 20,
                self.least >> 20
            ),
        ))
    }
}
