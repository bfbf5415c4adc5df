//! Reads a file that grows, and standard input.
//!
//! Duty: all calls to the operating system of this connector, each on the blocking pool. A
//! [`Tail`] is moved into a call and comes back with its outcome.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::{Mutex, mpsc};
use towpath_sdk::Result;

use crate::error::{FileError, joined};
use crate::lines::{LineBuffer, LineEnd};

/// How much is read at once. Large enough that the calls cost little, small enough that the memory
/// which one record pins is small.
pub(super) const CHUNK: usize = 256 * 1024;

/// A file that is read from a position on and may grow.
#[derive(Debug)]
pub(super) struct Tail {
    file: File,
    path: PathBuf,
    pub(super) lines: LineBuffer,
}

impl Tail {
    /// Opens the file at `position`.
    pub(super) fn open(path: &Path, position: u64) -> Result<Self, FileError> {
        let file = File::open(path).map_err(FileError::at("open", path))?;
        let mut tail =
            Self { file, path: path.to_owned(), lines: LineBuffer::new(LineEnd::Any, position) };
        tail.seek(position)?;
        Ok(tail)
    }

    /// The file's path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Goes to `position`.
    pub(super) fn seek(&mut self, position: u64) -> Result<(), FileError> {
        self.lines.reset(position);
        match self.file.seek(SeekFrom::Start(position)) {
            Ok(_) => Ok(()),
            // A pipe has no positions and is read as it comes.
            Err(error) if error.kind() == io::ErrorKind::NotSeekable => Ok(()),
            Err(error) => Err(FileError::new("seek in", &self.path, error)),
        }
    }

    /// Reads what there is, at most one chunk. None came at the file's end.
    pub(super) fn fill(&mut self) -> Result<usize, FileError> {
        let came = self.lines.fill(&mut self.file, CHUNK);
        came.map_err(FileError::at("read", &self.path))
    }

    /// The file's length, if it is shorter than what was read of it.
    pub(super) fn shrunk_to(&self) -> Result<Option<u64>, FileError> {
        let metadata = self.file.metadata().map_err(FileError::at("look at", &self.path))?;
        Ok((metadata.is_file() && metadata.len() < self.lines.end()).then_some(metadata.len()))
    }
}

/// Whether the file can be read.
pub(super) async fn check(path: &Path) -> Result<()> {
    let path = path.to_owned();
    let read = move || {
        let mut tail = Tail::open(&path, 0)?;
        tail.file.read(&mut [0]).map_err(FileError::at("read", &path))
    };
    tokio::task::spawn_blocking(read).await.map_err(joined)??;
    Ok(())
}

/// Standard input as chunks. There is one in a process, and a thread of its own waits on it, since
/// such a read can't be called off; the chunks outlive the task that asked for them.
#[derive(Debug, Clone)]
pub(super) struct Stdin(Arc<Mutex<mpsc::Receiver<io::Result<Bytes>>>>);

impl Stdin {
    /// The process's standard input.
    pub(super) fn open() -> Self {
        static STDIN: OnceLock<Stdin> = OnceLock::new();
        STDIN.get_or_init(|| Self::read_from(io::stdin())).clone()
    }

    /// Chunks of `input`, a few ahead.
    pub(super) fn read_from(mut input: impl Read + Send + 'static) -> Self {
        let (chunks, receiver) = mpsc::channel(2);
        let read = move || {
            loop {
                let mut chunk = vec![0; CHUNK / 4];
                let outcome = match input.read(&mut chunk) {
                    Ok(0) => return,
                    Ok(came) => {
                        chunk.truncate(came);
                        Ok(Bytes::from(chunk))
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let failed = outcome.is_err();
                if chunks.blocking_send(outcome).is_err() || failed {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("stdin".to_owned()).spawn(read);
        if let Err(error) = thread {
            tracing::error!(%error, "failed to start the thread that reads standard input");
        }
        Self(Arc::new(Mutex::new(receiver)))
    }

    /// The next chunk; `None` at the end. May be dropped.
    pub(super) async fn next(&self) -> Result<Option<Bytes>> {
        match self.0.lock().await.recv().await.transpose() {
            Ok(chunk) => Ok(chunk),
            Err(error) => Err(FileError::new("read", "standard input", error).into()),
        }
    }
}
