//! What the broker keeps its state in.
//!
//! Duty: an ordered map of bytes with atomic batches, and one such map in memory. Every durable fact
//! (topics, chunks of records, offsets, transactions) is an entry, so that whoever implements
//! [`Store`] implements persistence, and nothing else.
//!
//! Invariants:
//! - [`Store::apply`] writes all of a batch or none of it, and a later batch never survives a crash
//!   that an earlier one did not;
//! - a failure that leaves the outcome open is [`towpath_core::ports::PortErrorKind::Unknown`], and changes
//!   [`Store::generation`], upon which the broker reads its state back.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use parking_lot::RwLock;
use towpath_core::ports::PortResult;

/// A map of its own in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Topics, transactions, committed offsets: small, and updated in place.
    Meta,
    /// Chunks of records: large, written once, removed from the front.
    Log,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets `key` to `value`.
    Put {
        /// The map.
        space: Space,
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Bytes,
    },
    /// Removes `key`.
    Delete {
        /// The map.
        space: Space,
        /// The key.
        key: Vec<u8>,
    },
}

impl Write {
    pub(crate) fn put(space: Space, key: Vec<u8>, value: impl Into<Bytes>) -> Self {
        Self::Put { space, key, value: value.into() }
    }

    pub(crate) const fn delete(space: Space, key: Vec<u8>) -> Self {
        Self::Delete { space, key }
    }
}

/// What a scan does with an entry, and whether it goes on.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], Bytes) -> ControlFlow<()>;

/// An ordered map of bytes with atomic batches.
pub trait Store: Send + Sync + 'static {
    /// Writes `batch`, all of it or nothing, in the order of calls. A batch touches a key once.
    ///
    /// # Errors
    /// [`towpath_core::ports::PortErrorKind::Unknown`] if it may have been written all the same; any other
    /// kind says that it was not.
    fn apply(&self, batch: Vec<Write>) -> PortResult<()>;

    /// The value of `key`.
    ///
    /// # Errors
    /// If the store can't be read.
    fn get(&self, space: Space, key: &[u8]) -> PortResult<Option<Bytes>>;

    /// Visits the entries from `from` (inclusive) to `to` (exclusive) in order.
    ///
    /// # Errors
    /// If the store can't be read.
    fn scan(&self, space: Space, from: &[u8], to: &[u8], visit: Visit<'_>) -> PortResult<()>;

    /// The last entry from `from` (inclusive) to `to` (exclusive).
    ///
    /// # Errors
    /// If the store can't be read.
    fn last(&self, space: Space, from: &[u8], to: &[u8]) -> PortResult<Option<(Vec<u8>, Bytes)>>;

    /// Whether calls may block for long, so that they must not be made on an executor's thread.
    fn blocks(&self) -> bool;

    /// Whether an acknowledgement waits for [`Store::sync`].
    fn syncs_before_ack(&self) -> bool {
        false
    }

    /// Returns when everything applied before the call survives a power loss.
    ///
    /// # Errors
    /// If it may not.
    fn sync(&self) -> PortResult<()> {
        Ok(())
    }

    /// Changes when the store was opened anew after a failure, so that what is remembered of it must
    /// be read again.
    fn generation(&self) -> u64 {
        0
    }
}

/// A store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    maps: RwLock<BTreeMap<(Space, Vec<u8>), Bytes>>,
}

impl Store for MemoryStore {
    fn apply(&self, batch: Vec<Write>) -> PortResult<()> {
        let mut maps = self.maps.write();
        for write in batch {
            match write {
                Write::Put { space, key, value } => maps.insert((space, key), value),
                Write::Delete { space, key } => maps.remove(&(space, key)),
            };
        }
        Ok(())
    }

    fn get(&self, space: Space, key: &[u8]) -> PortResult<Option<Bytes>> {
        Ok(self.maps.read().get(&(space, key.to_vec())).cloned())
    }

    fn scan(&self, space: Space, from: &[u8], to: &[u8], visit: Visit<'_>) -> PortResult<()> {
        let maps = self.maps.read();
        if from < to {
            for ((_, key), value) in maps.range((space, from.to_vec())..(space, to.to_vec())) {
                if visit(key, value.clone()).is_break() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn last(&self, space: Space, from: &[u8], to: &[u8]) -> PortResult<Option<(Vec<u8>, Bytes)>> {
        let maps = self.maps.read();
        if from >= to {
            return Ok(None);
        }
        let mut range = maps.range((space, from.to_vec())..(space, to.to_vec()));
        Ok(range.next_back().map(|((_, key), value)| (key.clone(), value.clone())))
    }

    fn blocks(&self) -> bool {
        false
    }
}
