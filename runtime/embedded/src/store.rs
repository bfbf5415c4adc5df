//! The broker's store on disk.
//!
//! Duty: [`Store`] over fjall. Records' chunks are separated from the tree (compaction moves their
//! places, not their bytes); everything else is small.
//!
//! Invariants: a batch has left the process when `apply` returns; after a failed write the outcome is
//! unknown, fjall refuses everything, and the store is opened anew before the next write.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};
use parking_lot::RwLock;
use towpath_broker::store::{Space, Store, Visit, Write};
use towpath_core::ports::{PortError, PortErrorKind, PortResult};

use crate::directory::Directory;
use crate::error::{OpenError, OpenErrorKind, is_full};
use crate::options::Fsync;
use crate::space::Reserve;

/// Memory for unflushed records.
const LOG_MEMTABLE: u64 = 8 << 20;
/// Memory for other unflushed entries.
const META_MEMTABLE: u64 = 2 << 20;
/// Memory for blocks that were read.
const CACHE: u64 = 8 << 20;
/// Size of a file of chunks; the unit in which space comes back.
const CHUNK_FILE: u64 = 16 << 20;
/// Size of all journals, at most; the least that fjall takes.
const JOURNALS: u64 = 64 << 20;

/// See the module's head.
pub(crate) struct DiskStore {
    /// Held as long as anything of the log is.
    directory: Directory,
    fsync: Fsync,
    reserve: Reserve,
    open: RwLock<Option<Opened>>,
    /// Whether a write failed, so that the store must be opened anew.
    broken: AtomicBool,
    generation: AtomicU64,
    dirty: AtomicBool,
}

struct Opened {
    database: Database,
    meta: Keyspace,
    log: Keyspace,
}

impl Opened {
    fn at(path: &Path) -> Result<Self, OpenError> {
        // Damaged files make fjall panic in places.
        let opened = catch_unwind(AssertUnwindSafe(|| Self::open(path)));
        match opened {
            Ok(Ok(opened)) => Ok(opened),
            Ok(Err(fjall::Error::Io(error))) if !says_damage(&error) => {
                Err(OpenError::io(path, "open the store", error))
            }
            Ok(Err(fjall::Error::Locked)) => Err(OpenError::new(
                OpenErrorKind::Occupied,
                path,
                "is in use by another process: stop it, or give another directory",
            )),
            Ok(Err(fjall::Error::InvalidVersion(version))) => Err(OpenError::new(
                OpenErrorKind::Foreign,
                path,
                format!(
                    "was written by another version of its store ({version:?}): use the version of \
                     towpath that wrote it, or another directory"
                ),
            )),
            Ok(Err(error)) => Err(OpenError::damaged(path, error)),
            Err(_panic) => Err(OpenError::damaged(path, "its files make no sense")),
        }
    }

    fn open(path: &Path) -> fjall::Result<Self> {
        let database = Database::builder(path)
            .cache_size(CACHE)
            .max_journaling_size(JOURNALS)
            .worker_threads(2)
            .open()?;
        let meta = database.keyspace("meta", || {
            KeyspaceCreateOptions::default().max_memtable_size(META_MEMTABLE)
        })?;
        let log = database.keyspace("log", || {
            let separation = KvSeparationOptions::default()
                .file_target_size(CHUNK_FILE)
                .separation_threshold(512);
            KeyspaceCreateOptions::default()
                .max_memtable_size(LOG_MEMTABLE)
                .with_kv_separation(Some(separation))
        })?;
        Ok(Self { database, meta, log })
    }

    const fn keyspace(&self, space: Space) -> &Keyspace {
        match space {
            Space::Meta => &self.meta,
            Space::Log => &self.log,
        }
    }

    fn write(&self, batch: Vec<Write>) -> fjall::Result<()> {
        let mut writes = self.database.batch().durability(Some(PersistMode::Buffer));
        for write in batch {
            match write {
                Write::Put { space, key, value } => {
                    writes.insert(self.keyspace(space), key, value);
                }
                Write::Delete { space, key } => writes.remove(self.keyspace(space), key),
            }
        }
        writes.commit()
    }
}

impl DiskStore {
    pub(crate) fn open(
        directory: Directory,
        fsync: Fsync,
        reserve: Reserve,
    ) -> Result<Self, OpenError> {
        let opened = Opened::at(&directory.store())?;
        Ok(Self {
            directory,
            fsync,
            reserve,
            open: RwLock::new(Some(opened)),
            broken: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            dirty: AtomicBool::new(false),
        })
    }

    /// Whether something was written since the last call.
    pub(crate) fn take_dirty(&self) -> bool {
        self.dirty.swap(false, Ordering::AcqRel)
    }

    /// Bytes on disk, as the store counts them.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.open.read().as_ref().and_then(|o| o.database.disk_space().ok()).unwrap_or(0)
    }

    /// Opens the store anew if a write failed. The caller's next write is refused then, since what it
    /// was made from may not hold any more.
    fn recover(&self) -> PortResult<()> {
        if !self.broken.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut open = self.open.write();
        if !self.broken.load(Ordering::Acquire) {
            return Err(opened_anew());
        }
        *open = None;
        *open = Some(Opened::at(&self.directory.store()).map_err(PortError::from)?);
        self.broken.store(false, Ordering::Release);
        self.generation.fetch_add(1, Ordering::AcqRel);
        let path = self.directory.path().display();
        tracing::warn!(%path, "the log's store was opened anew after a failure");
        Err(opened_anew())
    }

    fn with<T>(&self, read: impl FnOnce(&Opened) -> fjall::Result<T>) -> PortResult<T> {
        let open = self.open.read();
        let opened = open.as_ref().ok_or_else(closed)?;
        read(opened).map_err(|error| read_failed(&error))
    }

    /// What a failed write means.
    fn write_failed(&self, error: &fjall::Error) -> PortError {
        self.broken.store(true, Ordering::Release);
        let text = match error {
            fjall::Error::Io(io) if is_full(io) => {
                "the disk of the log is full: make room; writing then goes on by itself".to_owned()
            }
            other => format!("the log's store failed: {other}"),
        };
        let kind = match error {
            // Refused because of an earlier failure: nothing was written.
            fjall::Error::Poisoned => PortErrorKind::Degraded,
            _ => PortErrorKind::Unknown,
        };
        PortError::new(kind, text)
    }
}

impl Store for DiskStore {
    fn apply(&self, batch: Vec<Write>) -> PortResult<()> {
        self.recover()?;
        self.reserve.check(batch.iter().map(size).sum())?;
        let open = self.open.read();
        let opened = open.as_ref().ok_or_else(closed)?;
        opened.write(batch).map_err(|error| self.write_failed(&error))?;
        self.dirty.store(true, Ordering::Release);
        Ok(())
    }

    fn get(&self, space: Space, key: &[u8]) -> PortResult<Option<Bytes>> {
        self.with(|opened| Ok(opened.keyspace(space).get(key)?.map(Bytes::from)))
    }

    fn scan(&self, space: Space, from: &[u8], to: &[u8], visit: Visit<'_>) -> PortResult<()> {
        if from >= to {
            return Ok(());
        }
        self.with(|opened| {
            for entry in opened.keyspace(space).range(from..to) {
                let (key, value) = entry.into_inner()?;
                if visit(&key, value.into()) == ControlFlow::Break(()) {
                    break;
                }
            }
            Ok(())
        })
    }

    fn last(&self, space: Space, from: &[u8], to: &[u8]) -> PortResult<Option<(Vec<u8>, Bytes)>> {
        if from >= to {
            return Ok(None);
        }
        self.with(|opened| {
            let last = opened.keyspace(space).range(from..to).next_back();
            let Some(entry) = last else { return Ok(None) };
            let (key, value) = entry.into_inner()?;
            Ok(Some((key.to_vec(), value.into())))
        })
    }

    fn blocks(&self) -> bool {
        true
    }

    fn syncs_before_ack(&self) -> bool {
        self.fsync == Fsync::Always
    }

    fn sync(&self) -> PortResult<()> {
        let open = self.open.read();
        let opened = open.as_ref().ok_or_else(closed)?;
        opened.database.persist(PersistMode::SyncAll).map_err(|error| self.write_failed(&error))
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

fn size(write: &Write) -> u64 {
    match write {
        Write::Put { key, value, .. } => (key.len() + value.len()) as u64,
        Write::Delete { key, .. } => key.len() as u64,
    }
}

/// Whether an I/O error is about what is in a file rather than about reaching it.
fn says_damage(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
    matches!(error.kind(), InvalidData | UnexpectedEof | NotFound)
}

fn read_failed(error: &fjall::Error) -> PortError {
    PortError::new(PortErrorKind::Internal, format!("the log's store could not be read: {error}"))
}

fn opened_anew() -> PortError {
    PortError::new(
        PortErrorKind::Degraded,
        "the log's store was opened anew after a failed write: nothing of this write was done",
    )
}

fn closed() -> PortError {
    PortError::new(
        PortErrorKind::Degraded,
        "the log's store is closed after a failure and could not be opened again yet",
    )
}
