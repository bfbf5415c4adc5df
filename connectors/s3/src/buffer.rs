//! What an open object holds before it is sent.
//!
//! Duty: collect the bytes of an object, compress them block by block, count what is really held
//! against the task's [`Pool`], and move it to the spool when told to. What is sent is a [`Payload`]:
//! pieces in memory or in the spool, their length and their CRC-32C.
//!
//! Thousands of objects may be open: an object begins with a small buffer, and one compressor serves
//! all objects of a lane, since blocks are compressed independently. Gzip blocks are joined into one
//! member, zstd blocks are frames of their own; every reader of these formats reads both.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use flate2::{Compress, FlushCompress};
use tokio::sync::Notify;
use towpath_sdk::error::{Error, Result};

use crate::spool::Extent;

/// A buffer that has grown to this is frozen, and compressed if that is asked for.
pub const BLOCK: usize = 256 * 1024;
/// The first buffer of an object.
const FIRST: usize = 4 * 1024;

/// The memory of a task's open and unsent objects, in bytes.
#[derive(Debug)]
pub struct Pool {
    limit: usize,
    used: AtomicUsize,
    freed: Notify,
}

impl Pool {
    /// A pool of `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0), freed: Notify::new() })
    }

    /// What is held.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether more is held than should be.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.used() > self.limit
    }

    /// What is held beyond three quarters of the limit: how much to let go of to have room again.
    #[must_use]
    pub fn excess(&self) -> usize {
        self.used().saturating_sub(self.limit / 4 * 3)
    }

    /// Waits until something was let go of and no more is held than should be.
    pub async fn room(&self) {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if !self.is_over() {
                return;
            }
            freed.await;
        }
    }
}

/// Bytes counted against a pool, until dropped.
#[derive(Debug)]
pub struct Charge {
    pool: Arc<Pool>,
    bytes: usize,
}

impl Charge {
    fn new(pool: &Arc<Pool>) -> Self {
        Self { pool: Arc::clone(pool), bytes: 0 }
    }

    fn set(&mut self, bytes: usize) {
        if bytes >= self.bytes {
            self.pool.used.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else {
            self.pool.used.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
            self.pool.freed.notify_waiters();
        }
        self.bytes = bytes;
    }

    /// Splits off what `bytes` are charged with.
    fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { pool: Arc::clone(&self.pool), bytes }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Part of an object's bytes.
#[derive(Debug, Clone)]
pub enum Piece {
    /// In memory.
    Memory(Bytes, Arc<Charge>),
    /// In the spool.
    Disk(Arc<Extent>),
}

impl Piece {
    /// How many bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Memory(bytes, _) => bytes.len(),
            Self::Disk(extent) => extent.size(),
        }
    }
}

/// Bytes to send, together.
#[derive(Debug, Clone)]
pub struct Payload {
    /// In order.
    pub pieces: Arc<[Piece]>,
    /// All their bytes.
    pub len: usize,
    /// The CRC-32C of all their bytes.
    pub crc32c: u32,
}

/// How objects are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// Gzip with a level of 0 to 9, or zlib's own default.
    Gzip(Option<u32>),
    /// Zstandard with a level of 1 to 22, or its own default.
    Zstd(Option<i32>),
}

impl Compression {
    /// What it adds to names.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip(_) => ".gz",
            Self::Zstd(_) => ".zst",
        }
    }
}

/// Compresses blocks for all objects of a lane.
pub struct Codec(State);

enum State {
    None,
    Gzip(Box<Compress>),
    Zstd(Box<zstd::bulk::Compressor<'static>>),
}

impl Codec {
    /// A codec for `compression`.
    ///
    /// # Errors
    /// If zstd refuses the level.
    pub fn new(compression: Compression) -> Result<Self> {
        Ok(Self(match compression {
            Compression::None => State::None,
            Compression::Gzip(level) => {
                let level =
                    level.map_or_else(flate2::Compression::default, flate2::Compression::new);
                State::Gzip(Box::new(Compress::new(level, false)))
            }
            Compression::Zstd(level) => {
                let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
                let zstd = zstd::bulk::Compressor::new(level).map_err(|e| {
                    Error::config(format!("zstd refuses level {level}")).with_source(e)
                })?;
                State::Zstd(Box::new(zstd))
            }
        }))
    }

    fn is_none(&self) -> bool {
        matches!(self.0, State::None)
    }

    fn head(&self) -> &'static [u8] {
        match self.0 {
            // No name, no time, an unknown operating system: the same records give the same bytes.
            State::Gzip(_) => &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255],
            State::None | State::Zstd(_) => &[],
        }
    }

    fn compress(&mut self, block: &[u8], plain: &mut Plain) -> Result<Vec<u8>> {
        plain.crc.update(block);
        plain.len = plain.len.wrapping_add(block.len());
        match &mut self.0 {
            State::None => Ok(block.to_vec()),
            State::Zstd(zstd) => zstd
                .compress(block)
                .map_err(|e| Error::internal("compress with zstd").with_source(e)),
            State::Gzip(deflate) => {
                deflate.reset();
                let mut out = Vec::with_capacity(block.len() / 3 + 64);
                loop {
                    let read = usize::try_from(deflate.total_in()).unwrap_or(usize::MAX);
                    deflate
                        .compress_vec(
                            &block[read.min(block.len())..],
                            &mut out,
                            FlushCompress::Full,
                        )
                        .map_err(|e| Error::internal("compress with gzip").with_source(e))?;
                    if out.len() < out.capacity() {
                        return Ok(out);
                    }
                    out.reserve(out.capacity());
                }
            }
        }
    }

    fn tail(&self, plain: &Plain) -> Vec<u8> {
        match self.0 {
            State::None | State::Zstd(_) => Vec::new(),
            State::Gzip(_) => {
                // An empty last block, then the checksum and the length of the plain bytes.
                let mut tail = vec![3, 0];
                let crc = u32::try_from(plain.crc.finalize()).unwrap_or_default();
                tail.extend_from_slice(&crc.to_le_bytes());
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "the format counts modulo 2^32"
                )]
                tail.extend_from_slice(&(plain.len as u32).to_le_bytes());
                tail
            }
        }
    }
}

/// What gzip tells of the uncompressed bytes.
struct Plain {
    crc: Digest,
    len: usize,
}

/// The bytes of one open object that were not handed over to be sent.
pub struct Buffer {
    active: Vec<u8>,
    plain: Plain,
    started: bool,
    pieces: Vec<Piece>,
    frozen: usize,
    crc: Digest,
    charge: Charge,
}

impl Buffer {
    /// An empty buffer counted against `pool`.
    #[must_use]
    pub fn new(pool: &Arc<Pool>) -> Self {
        Self {
            active: Vec::new(),
            plain: Plain { crc: Digest::new(CrcAlgorithm::Crc32IsoHdlc), len: 0 },
            started: false,
            pieces: Vec::new(),
            frozen: 0,
            crc: Digest::new(CrcAlgorithm::Crc32Iscsi),
            charge: Charge::new(pool),
        }
    }

    /// Where to append about `estimate` more bytes. A full block before them is frozen.
    ///
    /// # Errors
    /// If compressing fails.
    pub fn room(&mut self, estimate: usize, codec: &mut Codec) -> Result<&mut Vec<u8>> {
        let need = self.active.len() + estimate;
        if need > self.active.capacity() {
            if need > BLOCK && !self.active.is_empty() {
                self.freeze(codec)?;
                self.active.reserve_exact(BLOCK.max(estimate));
            } else {
                let grown = need.max(self.active.capacity() * 4).max(FIRST).min(BLOCK.max(need));
                self.active.reserve_exact(grown - self.active.len());
            }
        }
        Ok(&mut self.active)
    }

    /// To be called after appending: counts what is held.
    pub fn appended(&mut self) {
        if self.active.capacity() != self.charge.bytes {
            self.charge.set(self.active.capacity());
        }
    }

    /// Bytes that would be sent now, but for what a compressor makes of the open block.
    #[must_use]
    pub fn ready(&self, codec: &Codec) -> usize {
        if codec.is_none() { self.frozen + self.active.len() } else { self.frozen }
    }

    /// Bytes in memory that [`Buffer::spill`] would move.
    #[must_use]
    pub fn in_memory(&self) -> usize {
        let frozen: usize = self
            .pieces
            .iter()
            .map(|piece| match piece {
                Piece::Memory(_, charge) => charge.bytes,
                Piece::Disk(_) => 0,
            })
            .sum();
        frozen + self.charge.bytes
    }

    fn freeze(&mut self, codec: &mut Codec) -> Result<()> {
        if self.active.is_empty() {
            return Ok(());
        }
        if !self.started {
            self.started = true;
            self.push(codec.head().to_vec());
        }
        if codec.is_none() {
            let block = std::mem::take(&mut self.active);
            let charge = self.charge.split(self.charge.bytes);
            self.push_charged(block.into(), charge);
        } else {
            let packed = codec.compress(&self.active, &mut self.plain)?;
            self.active.clear();
            self.push(packed);
        }
        Ok(())
    }

    fn push(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            let mut charge = Charge::new(&self.charge.pool);
            charge.set(bytes.capacity());
            self.push_charged(bytes.into(), charge);
        }
    }

    fn push_charged(&mut self, bytes: Bytes, charge: Charge) {
        self.crc.update(&bytes);
        self.frozen += bytes.len();
        self.pieces.push(Piece::Memory(bytes, Arc::new(charge)));
    }

    /// Freezes the open block and takes all bytes out, to be sent as a part.
    ///
    /// # Errors
    /// If compressing fails.
    pub fn take(&mut self, codec: &mut Codec) -> Result<Payload> {
        self.freeze(codec)?;
        let crc = std::mem::replace(&mut self.crc, Digest::new(CrcAlgorithm::Crc32Iscsi));
        Ok(Payload {
            pieces: std::mem::take(&mut self.pieces).into(),
            len: std::mem::take(&mut self.frozen),
            crc32c: u32::try_from(crc.finalize()).unwrap_or_default(),
        })
    }

    /// Takes out what is left with the end of the object behind it.
    ///
    /// # Errors
    /// If compressing fails.
    pub fn finish(&mut self, codec: &mut Codec) -> Result<Payload> {
        self.freeze(codec)?;
        if self.started {
            self.push(codec.tail(&self.plain));
        }
        let payload = self.take(codec)?;
        self.active = Vec::new();
        self.charge.set(0);
        Ok(payload)
    }

    /// What is in memory, to be written to the spool; `None` if there is nothing.
    ///
    /// # Errors
    /// If compressing fails.
    pub fn spillable(&mut self, codec: &mut Codec) -> Result<Option<Vec<Bytes>>> {
        self.freeze(codec)?;
        self.active = Vec::new();
        self.charge.set(0);
        let bytes: Vec<Bytes> = self.pieces[self.spilled()..]
            .iter()
            .filter_map(|piece| match piece {
                Piece::Memory(bytes, _) => Some(bytes.clone()),
                Piece::Disk(_) => None,
            })
            .collect();
        Ok((!bytes.is_empty()).then_some(bytes))
    }

    /// What [`Buffer::spillable`] gave is in `extent`: memory is let go of.
    pub fn spill(&mut self, extent: Extent) {
        self.pieces.truncate(self.spilled());
        self.pieces.push(Piece::Disk(Arc::new(extent)));
    }

    /// How many pieces are in the spool: the first ones, since all that follow are moved together.
    fn spilled(&self) -> usize {
        self.pieces.iter().take_while(|piece| matches!(piece, Piece::Disk(_))).count()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;
    use crate::spool::{Spool, SpoolError};

    fn spill(buffer: &mut Buffer, codec: &mut Codec, spool: &Arc<Spool>) {
        if let Some(bytes) = buffer.spillable(codec).unwrap() {
            buffer.spill(spool.write(&bytes).unwrap());
        }
    }

    fn collect(payloads: &[Payload]) -> Vec<u8> {
        let mut all = Vec::new();
        for payload in payloads {
            let at = all.len();
            for piece in payload.pieces.iter() {
                match piece {
                    Piece::Memory(bytes, _) => all.extend_from_slice(bytes),
                    Piece::Disk(extent) => {
                        all.extend_from_slice(&extent.read(0, usize::MAX).unwrap())
                    }
                }
            }
            assert_eq!(all.len() - at, payload.len);
            let crc = crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, &all[at..]);
            assert_eq!(crc, u64::from(payload.crc32c));
        }
        all
    }

    fn plain(compression: Compression, packed: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match compression {
            Compression::None => out.extend_from_slice(packed),
            // Not the multi-member decoder: it must be one member.
            Compression::Gzip(_) => {
                let mut decoder = flate2::read::GzDecoder::new(packed);
                decoder.read_to_end(&mut out).unwrap();
                assert!(decoder.into_inner().is_empty());
            }
            Compression::Zstd(_) => {
                out = zstd::stream::decode_all(packed).unwrap();
            }
        }
        out
    }

    #[test]
    fn memory_is_counted_and_given_back() {
        let pool = Pool::new(BLOCK);
        let mut codec = Codec::new(Compression::None).unwrap();
        let mut buffer = Buffer::new(&pool);
        assert_eq!(pool.used(), 0);
        buffer.room(10, &mut codec).unwrap().extend_from_slice(b"0123456789");
        buffer.appended();
        assert_eq!(pool.used(), FIRST);
        let block = vec![7; BLOCK];
        buffer.room(BLOCK, &mut codec).unwrap().extend_from_slice(&block);
        buffer.appended();
        assert!(pool.is_over());
        let payload = buffer.take(&mut codec).unwrap();
        assert_eq!(payload.len, BLOCK + 10);
        drop(buffer);
        assert!(pool.is_over());
        drop(payload);
        assert_eq!(pool.used(), 0);
    }

    #[tokio::test]
    async fn waiting_for_room_ends_when_something_is_let_go_of() {
        let pool = Pool::new(10);
        let mut charge = Charge::new(&pool);
        charge.set(11);
        let waiting = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(charge);
        waiting.await.unwrap();
    }

    #[test]
    fn a_full_spool_changes_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let spool = Spool::new(parent.path().to_owned(), 1);
        let pool = Pool::new(1);
        let mut codec = Codec::new(Compression::None).unwrap();
        let mut buffer = Buffer::new(&pool);
        buffer.room(3, &mut codec).unwrap().extend_from_slice(b"abc");
        buffer.appended();
        let bytes = buffer.spillable(&mut codec).unwrap().unwrap();
        assert!(matches!(spool.write(&bytes), Err(SpoolError::Full)));
        assert_eq!(collect(&[buffer.finish(&mut codec).unwrap()]), b"abc");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        /// Whatever is taken, spilled and compressed in between, the bytes are the same.
        #[test]
        fn all_bytes_come_out_in_order(
            steps in prop::collection::vec((0..120_000_usize, any::<u8>(), 0..8_u8), 1..20),
            kind in 0..3_u8,
        ) {
            let compression = match kind {
                0 => Compression::None,
                1 => Compression::Gzip(Some(1)),
                _ => Compression::Zstd(None),
            };
            let parent = tempfile::tempdir().unwrap();
            let spool = Spool::new(parent.path().to_owned(), 1 << 24);
            let pool = Pool::new(1 << 20);
            let mut codec = Codec::new(compression).unwrap();
            // A second object shares the codec.
            let mut other = Buffer::new(&pool);
            let mut buffer = Buffer::new(&pool);
            let (mut want, mut payloads) = (Vec::new(), Vec::new());
            for (len, seed, what) in steps {
                let bytes: Vec<u8> = (0..len).map(|at| (at / 7 % 253) as u8 ^ seed).collect();
                want.extend_from_slice(&bytes);
                buffer.room(len / 2, &mut codec).unwrap().extend_from_slice(&bytes);
                buffer.appended();
                other.room(9, &mut codec).unwrap().extend_from_slice(b"unrelated");
                match what {
                    0 => payloads.push(buffer.take(&mut codec).unwrap()),
                    1 => spill(&mut buffer, &mut codec, &spool),
                    2 => spill(&mut other, &mut codec, &spool),
                    _ => {}
                }
            }
            payloads.push(buffer.finish(&mut codec).unwrap());
            if want.is_empty() {
                prop_assert_eq!(collect(&payloads), b"");
            } else {
                prop_assert_eq!(plain(compression, &collect(&payloads)), want);
            }
            drop((payloads, buffer, other));
            prop_assert_eq!(pool.used(), 0);
        }
    }
}
