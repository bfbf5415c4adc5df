//! A bounded file for what does not fit into memory.
//!
//! Duty: hold tails of open objects on disk. The spool is one file of fixed blocks with a free list,
//! in a directory that only its user may enter. Its size is bounded by the number of blocks; a
//! writer that finds none free must make room by completing objects.
//!
//! Invariants: the directory is removed when the spool is dropped, and what a killed process left is
//! removed at the next start ([`sweep`]); a block belongs to one [`Extent`] at a time and is free when
//! that is dropped.
//!
//! Deliberately absent: surviving a restart. What was not completed is read from Kafka again.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// The bytes of a block. Tails shorter than this waste the rest of it.
pub const BLOCK: usize = 16 * 1024;

/// What the names of our directories begin with.
const PREFIX: &str = "towpath-s3-";

/// The spool of a task. It makes its file when it is first written to.
#[derive(Debug)]
pub struct Spool {
    parent: PathBuf,
    blocks: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    place: Option<Arc<Place>>,
    free: Vec<u32>,
    /// Blocks from here on were never used.
    fresh: u32,
}

/// The file and its directory; both go when the last user is done.
#[derive(Debug)]
struct Place {
    directory: PathBuf,
    file: File,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            tracing::warn!(directory = %self.directory.display(), %error, "failed to remove the spool");
        }
    }
}

/// Why nothing was spooled.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// All blocks are in use.
    #[error("the spool is full")]
    Full,
    /// The disk refused.
    #[error("failed to write the spool")]
    Io(#[source] io::Error),
}

impl Spool {
    /// A spool of at most `max_bytes` under `parent`.
    #[must_use]
    pub fn new(parent: PathBuf, max_bytes: u64) -> Arc<Self> {
        let blocks = u32::try_from(max_bytes / BLOCK as u64).unwrap_or(u32::MAX);
        Arc::new(Self { parent, blocks, state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes `pieces` one after the other. Blocks the thread.
    ///
    /// # Errors
    /// If there is no room, or the disk refuses; then nothing is held.
    pub fn write(self: &Arc<Self>, pieces: &[Bytes]) -> Result<Extent, SpoolError> {
        let len: usize = pieces.iter().map(Bytes::len).sum();
        let place = self.place().map_err(SpoolError::Io)?;
        let blocks = self.take(len.div_ceil(BLOCK)).ok_or(SpoolError::Full)?;
        let extent = Extent { spool: Arc::clone(self), place, blocks, len };
        let mut at = 0;
        for piece in pieces {
            extent.write_at(at, piece).map_err(SpoolError::Io)?;
            at += piece.len();
        }
        Ok(extent)
    }

    fn take(&self, count: usize) -> Option<Vec<u32>> {
        let mut state = self.lock();
        let room = state.free.len() + (self.blocks - state.fresh) as usize;
        if count > room {
            return None;
        }
        let reused = state.free.len().min(count);
        let from = state.free.len() - reused;
        let mut blocks = state.free.split_off(from);
        let first = state.fresh;
        state.fresh += u32::try_from(count - reused).ok()?;
        blocks.extend(first..state.fresh);
        Some(blocks)
    }

    fn place(&self) -> io::Result<Arc<Place>> {
        let mut state = self.lock();
        if let Some(place) = &state.place {
            return Ok(Arc::clone(place));
        }
        let name = format!("{PREFIX}{}-{}", std::process::id(), uuid::Uuid::new_v4().simple());
        let directory = self.parent.join(name);
        fs::DirBuilder::new().mode(0o700).create(&directory)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(directory.join("spool"))?;
        // The lock ends with the process, however it ends: it tells `sweep` what is in use.
        file.try_lock().map_err(|error| match error {
            TryLockError::Error(error) => error,
            TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
        })?;
        let place = Arc::new(Place { directory, file });
        state.place = Some(Arc::clone(&place));
        Ok(place)
    }
}

/// Bytes in the spool.
#[derive(Debug)]
pub struct Extent {
    spool: Arc<Spool>,
    place: Arc<Place>,
    blocks: Vec<u32>,
    len: usize,
}

impl Extent {
    /// How many bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.len
    }

    /// Calls `each` with the parts of `at..at + len` that lie together in the file: the place in the
    /// file and the range of the part.
    fn runs(
        &self,
        at: usize,
        len: usize,
        mut each: impl FnMut(u64, std::ops::Range<usize>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut done = 0;
        while done < len {
            let place = at + done;
            let (block, inside) = (place / BLOCK, place % BLOCK);
            let mut run = BLOCK - inside;
            let mut next = block + 1;
            while run < len - done
                && self.blocks.get(next).is_some_and(|b| *b == self.blocks[next - 1] + 1)
            {
                run += BLOCK;
                next += 1;
            }
            let run = run.min(len - done);
            let in_file = u64::from(self.blocks[block]) * BLOCK as u64 + inside as u64;
            each(in_file, done..done + run)?;
            done += run;
        }
        Ok(())
    }

    fn write_at(&self, at: usize, bytes: &[u8]) -> io::Result<()> {
        self.runs(at, bytes.len(), |place, range| {
            self.place.file.write_all_at(&bytes[range], place)
        })
    }

    /// Reads up to `max` bytes from `at` on. Blocks the thread.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn read(&self, at: usize, max: usize) -> io::Result<Bytes> {
        let mut bytes = vec![0; max.min(self.len - at)];
        let len = bytes.len();
        self.runs(at, len, |place, range| self.place.file.read_exact_at(&mut bytes[range], place))?;
        Ok(bytes.into())
    }
}

impl Drop for Extent {
    fn drop(&mut self) {
        let mut state = self.spool.lock();
        state.free.append(&mut self.blocks);
        // Nothing is held any more: give the disk its space back.
        if state.free.len() == state.fresh as usize {
            state.free.clear();
            state.fresh = 0;
            if let Err(error) = self.place.file.set_len(0) {
                tracing::warn!(%error, "failed to empty the spool");
            }
        }
    }
}

/// Removes what processes that are gone have left under `parent`.
pub fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let path = entry.path();
        let unused = || match File::open(path.join("spool")) {
            Ok(file) => file.try_lock().is_ok(),
            // A directory without its file is being made, or was half removed; it takes no space.
            Err(_) => false,
        };
        if ours && unused() {
            match fs::remove_dir_all(&path) {
                Ok(()) => tracing::info!(path = %path.display(), "removed an abandoned spool"),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "failed to remove an abandoned spool");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    fn directories(parent: &Path) -> Vec<PathBuf> {
        fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn private_and_removed() {
        let parent = tempfile::tempdir().unwrap();
        let spool = Spool::new(parent.path().to_owned(), 1 << 20);
        assert_eq!(directories(parent.path()).len(), 0);
        let extent = spool.write(&[Bytes::from_static(b"secret")]).unwrap();
        let directory = directories(parent.path()).pop().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&directory), mode(&directory.join("spool"))), (0o700, 0o600));
        drop(spool);
        assert_eq!(extent.read(0, 100).unwrap(), "secret");
        drop(extent);
        assert_eq!(directories(parent.path()).len(), 0);
    }

    #[test]
    fn a_sweep_removes_only_what_is_abandoned() {
        let parent = tempfile::tempdir().unwrap();
        let spool = Spool::new(parent.path().to_owned(), 1 << 20);
        let extent = spool.write(&[Bytes::from_static(b"used")]).unwrap();
        let abandoned = parent.path().join(format!("{PREFIX}1-x"));
        fs::create_dir(&abandoned).unwrap();
        fs::write(abandoned.join("spool"), "old").unwrap();
        let foreign = parent.path().join("somebody-elses");
        fs::create_dir(&foreign).unwrap();
        sweep(parent.path());
        assert!(!abandoned.exists());
        assert!(foreign.exists());
        assert_eq!(extent.read(0, 9).unwrap(), "used");
    }

    #[test]
    fn bounded_and_given_back() {
        let parent = tempfile::tempdir().unwrap();
        let spool = Spool::new(parent.path().to_owned(), 3 * BLOCK as u64);
        let two = spool.write(&[vec![1; BLOCK + 1].into()]).unwrap();
        let one = spool.write(&[Bytes::from_static(b"x")]).unwrap();
        assert!(matches!(spool.write(&[Bytes::from_static(b"y")]), Err(SpoolError::Full)));
        drop(two);
        let two = spool.write(&[vec![2; 2 * BLOCK].into()]).unwrap();
        assert_eq!(two.read(BLOCK, BLOCK).unwrap(), vec![2; BLOCK]);
        drop((one, two));
        let size = fs::metadata(directories(parent.path())[0].join("spool")).unwrap().len();
        assert_eq!(size, 0);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            writes in prop::collection::vec((1..5 * BLOCK, any::<u8>(), any::<bool>()), 1..12),
        ) {
            let parent = tempfile::tempdir().unwrap();
            let spool = Spool::new(parent.path().to_owned(), 100 * BLOCK as u64);
            let mut kept = Vec::new();
            for (len, seed, drop_one) in writes {
                let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8 ^ seed).collect();
                let (a, b) = bytes.split_at(len / 3);
                let pieces = [Bytes::copy_from_slice(a), Bytes::copy_from_slice(b)];
                kept.push((spool.write(&pieces).unwrap(), bytes));
                if drop_one && kept.len() > 1 {
                    kept.remove(0);
                }
                for (extent, bytes) in &kept {
                    let mut read = Vec::new();
                    while read.len() < extent.size() {
                        read.extend_from_slice(&extent.read(read.len(), 7000).unwrap());
                    }
                    prop_assert_eq!(&read, bytes);
                }
            }
        }
    }
}
