//! Transactions that have not ended yet.
//!
//! Duty: keep what the server streams of big transactions before they are committed (`streaming=on`), in
//! memory up to a bound and then in files, and give it back in order once they are; leave out what was
//! rolled back.
//!
//! Invariants: memory and disk are bounded; the files have no name, so that they are gone with the
//! process, and only the worker's user could have opened them.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::task::spawn_blocking;
use towpath_sdk::error::kind_of_io;
use towpath_sdk::{Error, Result};

use crate::lsn::Lsn;
use crate::pgoutput::Xid;

/// Bytes that are read back at once.
const CHUNK: usize = 1024 * 1024;
/// A message's LSN, subtransaction and length.
const HEAD: usize = 8 + 4 + 4;

/// Everything that is kept.
#[derive(Debug)]
pub(crate) struct Spill {
    folder: PathBuf,
    max_memory: usize,
    max_disk: u64,
    memory: usize,
    disk: u64,
    open: HashMap<Xid, Kept>,
}

/// What is kept of a transaction: first what is in the file, then what is in memory.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    memory: Vec<u8>,
    file: Option<Arc<File>>,
    written: u64,
    aborted: HashSet<Xid>,
}

/// A message of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// Where it is in the log.
    pub(crate) lsn: Lsn,
    /// As the plug-in wrote it.
    pub(crate) data: Bytes,
}

/// The bound on disk is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// Whether files can be made in `folder`. Blocks.
///
/// # Errors
/// Why not.
pub(crate) fn check(folder: &Path) -> Result<()> {
    tempfile::tempfile_in(folder).map(drop).map_err(|error| {
        let text = format!("no file can be made in spill.dir={}", folder.display());
        Error::config(text).with_source(error)
    })
}

impl Spill {
    /// Keeps up to `max_memory` bytes in memory and `max_disk` in files in `folder`.
    pub(crate) fn new(folder: &Path, max_memory: usize, max_disk: u64) -> Self {
        Self {
            folder: folder.to_owned(),
            max_memory,
            max_disk,
            memory: 0,
            disk: 0,
            open: HashMap::new(),
        }
    }

    /// Keeps a message of `transaction`, which its `subtransaction` (or itself) has made. `Err(Full)`:
    /// there is no room for it.
    ///
    /// # Errors
    /// If a file can't be written.
    pub(crate) async fn keep(
        &mut self,
        transaction: Xid,
        subtransaction: Xid,
        lsn: Lsn,
        data: &Bytes,
    ) -> Result<Result<(), Full>> {
        let size = HEAD + data.len();
        if self.memory + size > self.max_memory && self.memory > 0 {
            if self.disk + self.memory as u64 > self.max_disk {
                return Ok(Err(Full));
            }
            self.write_largest().await?;
        }
        let kept = self.open.entry(transaction).or_default();
        kept.memory.extend_from_slice(&lsn.0.to_be_bytes());
        kept.memory.extend_from_slice(&subtransaction.to_be_bytes());
        let length = u32::try_from(data.len()).map_err(|_| Error::internal("keep a message"))?;
        kept.memory.extend_from_slice(&length.to_be_bytes());
        kept.memory.extend_from_slice(data);
        self.memory += size;
        Ok(Ok(()))
    }

    /// Moves what most of memory is used for into its file.
    async fn write_largest(&mut self) -> Result<()> {
        let largest = self.open.values_mut().max_by_key(|kept| kept.memory.len());
        let Some(kept) = largest else { return Ok(()) };
        let bytes = std::mem::take(&mut kept.memory);
        let (file, at, folder) = (kept.file.clone(), kept.written, self.folder.clone());
        let count = bytes.len();
        let written = spawn_blocking(move || {
            let file = match file {
                Some(file) => file,
                None => Arc::new(tempfile::tempfile_in(folder)?),
            };
            file.write_all_at(&bytes, at)?;
            Ok::<_, io::Error>(file)
        });
        let written = outcome(written.await);
        let folder = self.folder.display();
        let file =
            written.map_err(|e| e.context(format!("keep a transaction in a file in {folder}")));
        kept.file = Some(file?);
        kept.written += count as u64;
        self.memory -= count;
        self.disk += count as u64;
        Ok(())
    }

    /// `subtransaction` of `transaction` was rolled back; if they are the same, all of it was.
    pub(crate) fn abort(&mut self, transaction: Xid, subtransaction: Xid) {
        if transaction == subtransaction {
            if let Some(kept) = self.open.remove(&transaction) {
                self.let_go(&kept);
            }
        } else if let Some(kept) = self.open.get_mut(&transaction) {
            kept.aborted.insert(subtransaction);
        }
    }

    /// What is kept of a transaction that was committed; it counts until [`Spill::let_go`].
    pub(crate) fn take(&mut self, transaction: Xid) -> Option<Kept> {
        self.open.remove(&transaction)
    }

    /// Counts what was taken as gone.
    pub(crate) fn let_go(&mut self, kept: &Kept) {
        self.memory -= kept.memory.len();
        self.disk -= kept.written;
    }

    /// Bytes in files.
    pub(crate) const fn on_disk(&self) -> u64 {
        self.disk
    }
}

/// The messages of a transaction, in the order in which they came.
#[derive(Debug)]
pub(crate) struct Messages<'k> {
    kept: &'k Kept,
    read: u64,
    /// Read and not yet given.
    chunk: Bytes,
    is_memory_given: bool,
}

impl Kept {
    /// All that was not rolled back.
    pub(crate) const fn messages(&self) -> Messages<'_> {
        Messages { kept: self, read: 0, chunk: Bytes::new(), is_memory_given: false }
    }
}

impl Messages<'_> {
    /// The next message; `None` after the last.
    ///
    /// # Errors
    /// If the file can't be read.
    pub(crate) async fn next(&mut self) -> Result<Option<Message>> {
        loop {
            while let Some((subtransaction, message)) = self.parse() {
                if !self.kept.aborted.contains(&subtransaction) {
                    return Ok(Some(message));
                }
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// The next whole message of what was read.
    fn parse(&mut self) -> Option<(Xid, Message)> {
        let mut head = self.chunk.get(..HEAD)?;
        let (lsn, subtransaction, length) = (head.get_u64(), head.get_u32(), head.get_u32());
        let end = HEAD + length as usize;
        if self.chunk.len() < end {
            return None;
        }
        let mut data = self.chunk.split_to(end);
        data.advance(HEAD);
        Some((subtransaction, Message { lsn: Lsn(lsn), data }))
    }

    /// Reads on. `false`: there is no more.
    async fn fill(&mut self) -> Result<bool> {
        let left = self.kept.written - self.read;
        let Some(file) = self.kept.file.clone().filter(|_| left > 0) else {
            if std::mem::replace(&mut self.is_memory_given, true) {
                return Ok(false);
            }
            // A message is in one place: nothing is left of the file.
            self.chunk = Bytes::copy_from_slice(&self.kept.memory);
            return Ok(true);
        };
        // At least a whole message, however long.
        let wanted = CHUNK.max(2 * self.chunk.len());
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(wanted);
        let (at, rest) = (self.read, self.chunk.clone());
        let chunk = spawn_blocking(move || {
            let mut next = BytesMut::with_capacity(rest.len() + count);
            next.extend_from_slice(&rest);
            next.resize(rest.len() + count, 0);
            file.read_exact_at(&mut next[rest.len()..], at)?;
            Ok(next.freeze())
        });
        self.chunk = outcome(chunk.await)?;
        self.read += count as u64;
        Ok(true)
    }
}

fn outcome<T>(joined: Result<io::Result<T>, tokio::task::JoinError>) -> Result<T> {
    let failed = |error: io::Error| Error::new(kind_of_io(&error), "use a file").with_source(error);
    joined.map_err(|error| failed(io::Error::other(error)))?.map_err(failed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn data(n: usize, length: usize) -> Bytes {
        vec![u8::try_from(n % 251).unwrap(); length].into()
    }

    async fn all(kept: &Kept) -> Vec<Message> {
        let mut messages = kept.messages();
        let mut all = Vec::new();
        while let Some(message) = messages.next().await.unwrap() {
            all.push(message);
        }
        all
    }

    #[tokio::test]
    async fn bounds_hold() {
        let folder = tempfile::tempdir().unwrap();
        let mut spill = Spill::new(folder.path(), 1000, 5000);
        let mut count = 0;
        while spill.keep(1, 1, Lsn(count), &data(7, 100)).await.unwrap().is_ok() {
            count += 1;
            assert!(spill.memory <= 1000 && spill.on_disk() <= 5000);
        }
        assert!(count > 45, "{count}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "files have no names");
        spill.abort(1, 1);
        assert_eq!((spill.memory, spill.disk), (0, 0));
        // One that is larger than memory alone.
        spill.keep(2, 2, Lsn(1), &data(1, 3000)).await.unwrap().unwrap();
        spill.keep(2, 2, Lsn(2), &data(2, 10)).await.unwrap().unwrap();
        let kept = spill.take(2).unwrap();
        assert_eq!(all(&kept).await.len(), 2);
        let missing = Spill::new(Path::new("/nowhere"), 10, 5000);
        let mut missing = missing;
        missing.keep(1, 1, Lsn(1), &data(1, 100)).await.unwrap().unwrap();
        assert!(missing.keep(1, 1, Lsn(1), &data(1, 100)).await.is_err());
    }

    proptest! {
        #[test]
        fn what_was_kept_comes_back_in_order(
            messages in proptest::collection::vec((0_u32..3, 0_u32..3, 0_usize..300), 0..200),
            aborted in proptest::collection::vec((0_u32..3, 1_u32..3), 0..3),
            memory in 0_usize..3000,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let mut spill = Spill::new(&std::env::temp_dir(), memory, u64::MAX);
                let mut expect: HashMap<Xid, Vec<(Xid, Message)>> = HashMap::new();
                for (n, (transaction, sub, length)) in messages.into_iter().enumerate() {
                    let (transaction, sub) = (10 * transaction, 10 * transaction + sub);
                    let message = Message { lsn: Lsn(n as u64), data: data(n, length) };
                    spill.keep(transaction, sub, message.lsn, &message.data).await.unwrap().unwrap();
                    expect.entry(transaction).or_default().push((sub, message));
                }
                for (transaction, sub) in aborted {
                    let (transaction, sub) = (10 * transaction, 10 * transaction + sub);
                    spill.abort(transaction, sub);
                    if let Some(messages) = expect.get_mut(&transaction) {
                        messages.retain(|(of, _)| *of != sub);
                    }
                }
                for (transaction, messages) in expect {
                    let kept = spill.take(transaction).unwrap();
                    let messages: Vec<_> = messages.into_iter().map(|(_, message)| message).collect();
                    prop_assert_eq!(all(&kept).await, messages);
                    spill.let_go(&kept);
                }
                prop_assert_eq!((spill.memory, spill.disk), (0, 0));
                Ok(())
            })?;
        }
    }
}
