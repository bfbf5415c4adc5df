//! Reads, finds and puts away files.
//!
//! Duty: all calls to the operating system of this connector but the look-up of patterns. Everything
//! here blocks and is called on the blocking pool.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{DirEntryExt, FileExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use flate2::read::MultiGzDecoder;
use towpath_sdk::Result;

use super::names::Patterns;
use super::place::{FileId, Place, Print, TAIL_MAX};
use crate::error::FileError;

/// An open file.
#[derive(Debug)]
pub(super) enum Input {
    /// Read as it is, by position.
    Plain(File),
    /// Decompressed from its start.
    Gzip(Box<MultiGzDecoder<File>>),
}

/// What of a file changes when somebody writes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) length: u64,
    modified: Option<SystemTime>,
}

impl Look {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { length: metadata.len(), modified: metadata.modified().ok() }
    }

    pub(super) fn modified(self) -> Option<SystemTime> {
        self.modified
    }
}

/// Reads a file from a position on without moving anything.
pub(super) struct At<'f> {
    pub(super) file: &'f File,
    pub(super) position: u64,
}

impl Read for At<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let came = self.file.read_at(into, self.position)?;
        self.position += came as u64;
        Ok(came)
    }
}

/// The `count` bytes from `position` on, or as many as there are.
fn bytes_at(file: &File, position: u64, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(count);
    At { file, position }.take(count as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether the file has `bytes` at `position`.
pub(super) fn holds(file: &File, position: u64, bytes: &[u8]) -> io::Result<bool> {
    let mut found = [0; TAIL_MAX];
    let Some(found) = found.get_mut(..bytes.len()) else { return Ok(false) };
    match file.read_exact_at(found, position) {
        Ok(()) => Ok(found == bytes),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// If the file is what was read up to `place`, the bytes before its position.
pub(super) fn recognise(file: &File, place: &Place) -> io::Result<Option<Vec<u8>>> {
    let most = TAIL_MAX.min(usize::try_from(place.position).unwrap_or(TAIL_MAX));
    let before = bytes_at(file, place.position - most as u64, most)?;
    let is_it = before.len() == most
        && Print::of(tail_of(&before, place.tail.bytes)) == place.tail
        && Print::of(&bytes_at(file, 0, place.head.bytes)?) == place.head;
    Ok(is_it.then_some(before))
}

/// The last `most` bytes.
fn tail_of(bytes: &[u8], most: usize) -> &[u8] {
    &bytes[bytes.len().saturating_sub(most)..]
}

/// Reads a stream to `place`'s position; whether it is what was read up to there.
pub(super) fn skip_to(input: &mut impl Read, place: &Place) -> io::Result<bool> {
    let (mut head, mut tail) = (Print::NOTHING, Vec::new());
    let mut chunk = vec![0; 64 * 1024];
    let mut left = place.position;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        let came = match input.read(&mut chunk[..most]) {
            Ok(0) => return Ok(false),
            Ok(came) => came,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let of_head = place.head.bytes.saturating_sub(head.bytes).min(came);
        head.add(&chunk[..of_head]);
        keep_last(&mut tail, &chunk[..came]);
        left -= came as u64;
    }
    Ok(head == place.head && Print::of(tail_of(&tail, place.tail.bytes)) == place.tail)
}

/// Appends `bytes` to the last bytes of something.
pub(super) fn keep_last(last: &mut Vec<u8>, bytes: &[u8]) {
    last.extend_from_slice(tail_of(bytes, TAIL_MAX));
    last.drain(..last.len().saturating_sub(TAIL_MAX));
}

/// The files of directories by inode; each directory is read once.
#[derive(Debug, Default)]
pub(super) struct Inodes(HashMap<PathBuf, HashMap<u64, PathBuf>>);

impl Inodes {
    /// Where the file `id` is in `directory`.
    pub(super) fn find(&mut self, directory: &Path, id: FileId) -> Option<(PathBuf, Metadata)> {
        let names = self.0.entry(directory.to_owned()).or_insert_with(|| {
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
            entries.map(|entry| (entry.ino(), entry.path())).collect()
        });
        let path = names.get(&id.inode)?.clone();
        let metadata = path.metadata().ok()?;
        (FileId::of(&metadata) == id).then_some((path, metadata))
    }
}

/// Whether the name still leads to the file as it was when `look` was taken.
fn is_unchanged(path: &Path, id: FileId, look: Look) -> Result<bool, FileError> {
    let metadata = path.metadata().map_err(FileError::at("look at", path))?;
    Ok(FileId::of(&metadata) == id && Look::of(&metadata) == look)
}

/// Deletes a file that is as it was; whether it was.
pub(super) fn delete(path: &Path, id: FileId, look: Look) -> Result<bool, FileError> {
    let unchanged = is_unchanged(path, id, look)?;
    if unchanged {
        std::fs::remove_file(path).map_err(FileError::at("delete", path))?;
    }
    Ok(unchanged)
}

/// Moves a file that is as it was into `directory`; whether it was. Nothing there is overwritten, and
/// after a crash between the two steps the second is made up for.
pub(super) fn move_to(
    path: &Path,
    directory: &Path,
    id: FileId,
    look: Look,
) -> Result<bool, FileError> {
    let directory = directory.canonicalize().map_err(FileError::at("find", directory))?;
    let target = directory.join(path.file_name().unwrap_or_default());
    // The patterns may match what is there already.
    if path == target || !is_unchanged(path, id, look)? {
        return Ok(false);
    }
    match std::fs::hard_link(path, &target) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let there = target.metadata().map_err(FileError::at("look at", &target))?;
            if FileId::of(&there) != id {
                return Err(FileError::new("move a finished file to", target, error));
            }
        }
        linked => linked.map_err(FileError::at("move a finished file to", &target))?,
    }
    std::fs::remove_file(path).map_err(FileError::at("delete", path))?;
    Ok(true)
}

/// Whether there is something to read, and what is there can be read.
pub(super) fn check(patterns: &Patterns, move_to: Option<&Path>) -> Result<()> {
    for base in patterns.bases() {
        std::fs::read_dir(&base).map_err(FileError::at("list", &base))?;
    }
    for (path, _) in patterns.find().files {
        let file = File::open(&path).map_err(FileError::at("open", &path))?;
        bytes_at(&file, 0, 1).map_err(FileError::at("read", &path))?;
    }
    if let Some(directory) = move_to {
        std::fs::read_dir(directory).map_err(FileError::at("list", directory))?;
    }
    Ok(())
}
