//! Appends whole lines to a file.
//!
//! Duty: all calls to the operating system of this connector, each on the blocking pool.
//!
//! Invariants: tasks of one worker that append to one file share one [`Output`], whose lock makes
//! their writes take turns; what was reported as done is whole lines; when a write fails half way
//! through a line, that half is cut off again, or, where that can't be done, gets an end before the
//! line is written anew.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::task::spawn_blocking;
use towpath_sdk::{Error, ErrorKind, Result};

use crate::error::{CONNECT_EXCEPTION, FileError, joined};

/// Where lines go.
#[derive(Debug)]
pub(super) struct Output {
    target: Mutex<Target>,
}

#[derive(Debug)]
enum Target {
    Stdout,
    File(Appending),
}

#[derive(Debug)]
struct Appending {
    file: File,
    path: PathBuf,
    /// Whether the file ends in a line that has no end.
    torn: bool,
}

/// Lines on their way into the output.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Whole lines.
    lines: String,
    /// How many of the bytes are in the output; at a line's start except between two tries.
    done: AtomicUsize,
    /// Nobody waits for them any more.
    abandoned: AtomicBool,
}

/// Device and inode of an open file, and its output as long as somebody has it.
type Open = (u64, u64, Weak<Output>);

/// The files that this process appends to.
static OPEN: Mutex<Vec<Open>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic leaves behind is as good as what a failed write leaves behind.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Output {
    /// The file at `path`, created if it is not there, or standard output.
    pub(super) async fn open(path: Option<&Path>) -> Result<Arc<Self>> {
        let Some(path) = path.map(Path::to_owned) else {
            return Ok(Arc::new(Self { target: Mutex::new(Target::Stdout) }));
        };
        let open = move || Self::open_file(&path).map_err(|error| refused(&path, error));
        spawn_blocking(open).await.map_err(joined)?
    }

    /// Whether the file at `path` can be appended to; does not create it.
    pub(super) async fn check(path: &Path) -> Result<()> {
        let path = path.to_owned();
        let check = move || {
            let there = path.try_exists().map_err(FileError::at("look at", &path));
            let probe = match there {
                Ok(true) => OpenOptions::new().append(true).open(&path),
                Ok(false) => {
                    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
                    File::open(folder.unwrap_or(Path::new(".")))
                }
                Err(error) => return Err(refused(&path, error)),
            };
            match probe {
                Ok(_) => Ok(()),
                Err(error) => Err(refused(&path, FileError::new("open", &path, error))),
            }
        };
        spawn_blocking(check).await.map_err(joined)?
    }

    fn open_file(path: &Path) -> Result<Arc<Self>, FileError> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        // Reading is only needed to see whether the last line has an end.
        let opened = match options.clone().read(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => options.open(path),
            opened => opened,
        };
        let file = opened.map_err(FileError::at("open", path))?;
        let metadata = file.metadata().map_err(FileError::at("look at", path))?;
        let mut open = lock(&OPEN);
        open.retain(|(_, _, output)| output.strong_count() > 0);
        let same = |(dev, ino, _): &&Open| (*dev, *ino) == (metadata.dev(), metadata.ino());
        if let Some(output) = open.iter().find(same).and_then(|(_, _, output)| output.upgrade()) {
            return Ok(output);
        }
        let mut appending = Appending { file, path: path.to_owned(), torn: false };
        appending.torn = metadata.is_file() && appending.last_byte().is_some_and(|b| b != b'\n');
        let output = Arc::new(Self { target: Mutex::new(Target::File(appending)) });
        open.push((metadata.dev(), metadata.ino(), Arc::downgrade(&output)));
        Ok(output)
    }

    /// Appends what of `chunk` is not there yet. After an error it may be called again.
    pub(super) async fn append(self: Arc<Self>, chunk: Arc<Chunk>) -> Result<()> {
        let append = move || self.append_now(&chunk);
        Ok(spawn_blocking(append).await.map_err(joined)??)
    }

    fn append_now(&self, chunk: &Chunk) -> Result<(), FileError> {
        let mut target = lock(&self.target);
        if chunk.abandoned.load(Ordering::Acquire) {
            return Ok(());
        }
        match &mut *target {
            Target::File(appending) => appending.append(chunk),
            Target::Stdout => {
                let mut stdout = io::stdout().lock();
                let outcome = write_on(&mut stdout, chunk).and_then(|()| stdout.flush());
                outcome.map_err(FileError::at("write to", Path::new("standard output")))
            }
        }
    }
}

impl Appending {
    fn append(&mut self, chunk: &Chunk) -> Result<(), FileError> {
        let mut outcome = Ok(());
        if self.torn {
            outcome = self.file.write_all(b"\n");
            self.torn = outcome.is_err();
        }
        if outcome.is_ok() {
            outcome = write_on(&mut self.file, chunk);
        }
        if outcome.is_err() {
            self.mend(chunk);
        }
        outcome.map_err(FileError::at("append to", &self.path))
    }

    /// Takes back the part of a line that was written before an error.
    fn mend(&mut self, chunk: &Chunk) {
        let done = chunk.done.load(Ordering::Relaxed);
        let whole = memchr::memrchr(b'\n', &chunk.lines.as_bytes()[..done]).map_or(0, |at| at + 1);
        if whole < done {
            chunk.done.store(whole, Ordering::Relaxed);
            self.torn = self.cut((done - whole) as u64).is_err();
        }
    }

    /// Cuts off the last `bytes`, unless somebody else has appended after them.
    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        // After an append the file's own position is the end of what was appended.
        let end = self.file.stream_position()?;
        if self.file.metadata()?.len() == end && end >= bytes {
            self.file.set_len(end - bytes)
        } else {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    fn last_byte(&mut self) -> Option<u8> {
        let mut last = [0];
        self.file.seek(SeekFrom::End(-1)).ok()?;
        self.file.read_exact(&mut last).ok()?;
        Some(last[0])
    }
}

/// Writes what of `chunk` is not done and counts what is.
fn write_on(output: &mut impl Write, chunk: &Chunk) -> io::Result<()> {
    loop {
        let done = chunk.done.load(Ordering::Relaxed);
        let rest = &chunk.lines.as_bytes()[done..];
        if rest.is_empty() {
            return Ok(());
        }
        match output.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => chunk.done.store(done + written, Ordering::Relaxed),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl Chunk {
    /// `lines` are whole.
    pub(super) fn new(lines: String) -> Arc<Self> {
        Arc::new(Self { lines, done: AtomicUsize::new(0), abandoned: AtomicBool::new(false) })
    }

    /// Nobody waits for these lines any more: what has not begun is not written.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }

    /// The buffer, for the next lines; empty if a call still has it.
    pub(super) fn into_buffer(self: Arc<Self>) -> String {
        Arc::into_inner(self).map_or_else(String::new, |chunk| chunk.lines)
    }
}

/// Connect's words for a file that can't be opened. A path that leads nowhere is a wrong
/// configuration, as it is there; for all else the task tries again.
fn refused(path: &Path, error: FileError) -> Error {
    let kind = match error.io() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ErrorKind::Config,
        _ => error.kind(),
    };
    let path = path.display();
    Error::new(kind, format!("Couldn't find or create file '{path}' for FileStreamSinkTask"))
        .with_class(CONNECT_EXCEPTION)
        .with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, then fails once, then takes all.
    struct Full(usize, Vec<u8>);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let most = std::mem::replace(&mut self.0, usize::MAX).min(bytes.len());
            if most == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0 = if most == bytes.len() { usize::MAX } else { 0 };
            self.1.extend_from_slice(&bytes[..most]);
            Ok(most)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_write_goes_on_where_it_stopped() {
        let chunk = Chunk::new("one\ntwo\nthree\n".to_owned());
        let mut output = Full(6, Vec::new());
        assert_eq!(write_on(&mut output, &chunk).unwrap_err().kind(), io::ErrorKind::StorageFull);
        write_on(&mut output, &chunk).unwrap();
        assert_eq!(output.1, b"one\ntwo\nthree\n");
    }

    fn appending(path: &Path) -> Appending {
        let file = OpenOptions::new().append(true).create(true).open(path).unwrap();
        Appending { file, path: path.to_owned(), torn: false }
    }

    #[test]
    fn a_torn_line_is_cut_off_or_ended() {
        for interloper in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("out");
            let mut output = appending(&path);
            let chunk = Chunk::new("one\ntwo\nthree\n".to_owned());
            // As after a write that stopped in "two".
            output.file.write_all(b"one\ntw").unwrap();
            chunk.done.store(6, Ordering::Relaxed);
            if interloper {
                appending(&path).file.write_all(b"!").unwrap();
            }
            output.mend(&chunk);
            output.append(&chunk).unwrap();
            let expect = if interloper { "one\ntw!\ntwo\nthree\n" } else { "one\ntwo\nthree\n" };
            assert_eq!(std::fs::read_to_string(&path).unwrap(), expect);
        }
    }

    #[test]
    fn an_abandoned_chunk_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let output = Output::open_file(&path).unwrap();
        let chunk = Chunk::new("late\n".to_owned());
        chunk.abandon();
        output.append_now(&chunk).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn tasks_share_what_they_append_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let one = Output::open_file(&path).unwrap();
        let link = folder.path().join("link");
        std::fs::hard_link(&path, &link).unwrap();
        assert!(Arc::ptr_eq(&one, &Output::open_file(&link).unwrap()));
        let other = Output::open_file(&folder.path().join("other")).unwrap();
        assert!(!Arc::ptr_eq(&one, &other));
    }
}
