//! Chunks: runs of records as they are stored.
//!
//! Duty: the encoding. A chunk has a head of fixed size and then rows, whose offsets are relative to
//! the chunk's base (which is its key in the store), so that it can be encoded before its place in
//! the log is known. Numbers in rows are variable-length, as in Kafka's record batches.
//!
//! Invariants: rows' offsets ascend but need not be dense; decoding outside bytes never panics.

use bytes::Bytes;
use towpath_core::ports::{PortError, PortErrorKind, PortResult};

const VERSION: u8 = 1;
const HEAD: usize = 1 + 1 + 8 + 4 + 4 + 4 + 8 + 8;
const TRANSACTIONAL: u8 = 1;
const MARKER: u8 = 2;

/// What a chunk is, without its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    /// Rows.
    pub(crate) count: u32,
    /// The last offset that the chunk takes, less its base.
    pub(crate) last_delta: u32,
    /// Bytes of keys, values and headers.
    pub(crate) payload: u32,
    base_timestamp: i64,
    pub(crate) max_timestamp: i64,
}

/// To whom a chunk belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To nobody: visible at once.
    Plain,
    /// To a transaction of this producer.
    Transactional(i64),
    /// The end of a transaction of this producer: no rows, one offset.
    Marker(i64),
}

/// One row, borrowed from a chunk or about to be put into one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row<'a> {
    /// The offset, less the chunk's base.
    pub(crate) delta: u32,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Vec<(&'a str, Option<&'a [u8]>)>,
}

impl Row<'_> {
    /// Bytes of key, value and headers.
    pub(crate) fn payload(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|(k, v)| k.len() + v.map_or(0, <[u8]>::len)).sum();
        headers + self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len)
    }
}

/// Fills a chunk.
#[derive(Debug)]
pub(crate) struct Builder {
    head: Head,
    rows: Vec<u8>,
}

impl Builder {
    pub(crate) const fn new(kind: Kind) -> Self {
        let head = Head {
            kind,
            count: 0,
            last_delta: 0,
            payload: 0,
            base_timestamp: 0,
            max_timestamp: i64::MIN,
        };
        Self { head, rows: Vec::new() }
    }

    /// The end of a transaction.
    pub(crate) fn marker(producer_id: i64, timestamp: i64) -> Self {
        let mut marker = Self::new(Kind::Marker(producer_id));
        marker.head.base_timestamp = timestamp;
        marker.head.max_timestamp = timestamp;
        marker
    }

    /// Adds a row; deltas ascend.
    pub(crate) fn push(&mut self, row: &Row<'_>) {
        let head = &mut self.head;
        if head.count == 0 {
            head.base_timestamp = row.timestamp;
        }
        head.count += 1;
        head.last_delta = row.delta;
        head.payload =
            head.payload.saturating_add(u32::try_from(row.payload()).unwrap_or(u32::MAX));
        head.max_timestamp = head.max_timestamp.max(row.timestamp);
        let out = &mut self.rows;
        put_varint(out, u64::from(row.delta));
        put_signed(out, row.timestamp.wrapping_sub(head.base_timestamp));
        put_optional(out, row.key);
        put_optional(out, row.value);
        put_varint(out, row.headers.len() as u64);
        for (name, value) in &row.headers {
            put_varint(out, name.len() as u64);
            out.extend_from_slice(name.as_bytes());
            put_optional(out, *value);
        }
    }

    pub(crate) const fn count(&self) -> u32 {
        self.head.count
    }

    pub(crate) fn encoded_len(&self) -> usize {
        HEAD + self.rows.len()
    }

    pub(crate) fn finish(self) -> (Head, Bytes) {
        let Self { head, rows } = self;
        let (flags, producer_id) = match head.kind {
            Kind::Plain => (0, -1),
            Kind::Transactional(id) => (TRANSACTIONAL, id),
            Kind::Marker(id) => (TRANSACTIONAL | MARKER, id),
        };
        let mut out = Vec::with_capacity(HEAD + rows.len());
        out.extend([VERSION, flags]);
        out.extend(producer_id.to_be_bytes());
        out.extend(head.count.to_be_bytes());
        out.extend(head.last_delta.to_be_bytes());
        out.extend(head.payload.to_be_bytes());
        out.extend(head.base_timestamp.to_be_bytes());
        out.extend(head.max_timestamp.to_be_bytes());
        out.extend(rows);
        (head, out.into())
    }
}

/// A stored chunk.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    pub(crate) base: i64,
    pub(crate) head: Head,
    bytes: Bytes,
}

impl Chunk {
    pub(crate) fn parse(base: i64, bytes: Bytes) -> PortResult<Self> {
        let mut reader = Reader(&bytes);
        let head = reader.head().ok_or_else(corrupt)?;
        Ok(Self { base, head, bytes })
    }

    /// The first offset behind the chunk.
    pub(crate) fn end(&self) -> i64 {
        self.base + i64::from(self.head.last_delta) + 1
    }

    pub(crate) const fn stored_len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn rows(&self) -> Rows<'_> {
        let rest = self.bytes.get(HEAD..).unwrap_or_default();
        Rows {
            reader: Reader(rest),
            left: self.head.count,
            base_timestamp: self.head.base_timestamp,
        }
    }
}

/// The rows of a chunk.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    reader: Reader<'a>,
    left: u32,
    base_timestamp: i64,
}

impl<'a> Iterator for Rows<'a> {
    type Item = PortResult<Row<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let row = self.reader.row(self.base_timestamp).ok_or_else(corrupt);
        if row.is_err() {
            self.left = 0;
        }
        Some(row)
    }
}

fn corrupt() -> PortError {
    PortError::new(
        PortErrorKind::Internal,
        "a stored chunk of records can't be decoded: the store is damaged; restore it from a copy, or \
         remove it to begin anew",
    )
}

fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n as u8) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn put_signed(out: &mut Vec<u8>, n: i64) {
    put_varint(out, ((n << 1) ^ (n >> 63)) as u64);
}

/// Null is 0, anything else its length plus 1 and its bytes.
fn put_optional(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => out.push(0),
        Some(bytes) => {
            put_varint(out, bytes.len() as u64 + 1);
            out.extend_from_slice(bytes);
        }
    }
}

#[derive(Debug)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn take(&mut self, n: u64) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(usize::try_from(n).ok()?)?;
        self.0 = rest;
        Some(head)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut n = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            n |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(n);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let n = self.varint()?;
        Some(((n >> 1) as i64) ^ -((n & 1) as i64))
    }

    fn optional(&mut self) -> Option<Option<&'a [u8]>> {
        match self.varint()? {
            0 => Some(None),
            n => Some(Some(self.take(n - 1)?)),
        }
    }

    fn head(&mut self) -> Option<Head> {
        let [version, flags] = self.array()?;
        let producer_id = i64::from_be_bytes(self.array()?);
        let kind = match flags {
            0 => Kind::Plain,
            TRANSACTIONAL => Kind::Transactional(producer_id),
            _ if flags == TRANSACTIONAL | MARKER => Kind::Marker(producer_id),
            _ => return None,
        };
        let head = Head {
            kind,
            count: u32::from_be_bytes(self.array()?),
            last_delta: u32::from_be_bytes(self.array()?),
            payload: u32::from_be_bytes(self.array()?),
            base_timestamp: i64::from_be_bytes(self.array()?),
            max_timestamp: i64::from_be_bytes(self.array()?),
        };
        (version == VERSION).then_some(head)
    }

    fn row(&mut self, base_timestamp: i64) -> Option<Row<'a>> {
        let delta = u32::try_from(self.varint()?).ok()?;
        let timestamp = base_timestamp.wrapping_add(self.signed()?);
        let key = self.optional()?;
        let value = self.optional()?;
        let count = self.varint()?;
        let mut headers = Vec::new();
        for _ in 0..count {
            let len = self.varint()?;
            let name = std::str::from_utf8(self.take(len)?).ok()?;
            headers.push((name, self.optional()?));
        }
        Some(Row { delta, timestamp, key, value, headers })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Owned = (u32, i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

    fn rows() -> impl Strategy<Value = Vec<Owned>> {
        let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40));
        let headers = proptest::collection::vec((".{0,9}", bytes()), 0..3);
        let row = (1_u32..1000, any::<i64>(), bytes(), bytes(), headers);
        proptest::collection::vec(row, 0..20)
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(rows in rows(), id in any::<i64>()) {
            let mut builder = Builder::new(Kind::Transactional(id));
            let mut delta = 0;
            let mut expect = Vec::new();
            for (step, timestamp, key, value, headers) in &rows {
                delta += step;
                let headers = headers.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
                let row = Row {
                    delta,
                    timestamp: *timestamp,
                    key: key.as_deref(),
                    value: value.as_deref(),
                    headers,
                };
                builder.push(&row);
                expect.push(row);
            }
            let (head, bytes) = builder.finish();
            let chunk = Chunk::parse(7, bytes).unwrap();
            prop_assert_eq!(chunk.head, head);
            prop_assert_eq!(chunk.end(), 7 + i64::from(delta) + 1);
            let got: Vec<_> = chunk.rows().map(Result::unwrap).collect();
            prop_assert_eq!(got, expect);
        }

        #[test]
        fn damage_is_an_error_and_no_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if bytes.len() > 1 {
                bytes[0] = VERSION;
                bytes[1] %= 5;
            }
            if let Ok(chunk) = Chunk::parse(0, bytes.into()) {
                let _ = chunk.rows().take(1000).filter(Result::is_err).count();
            }
        }
    }
}
