//! Which keys a topic has and a table doesn't, in bounded memory.
//!
//! Duty: hold the keys of rows as hashes of 128 bits, and those of the topic that no row has. Pure.
//!
//! What one partition of a topic says of a key does not count for what another says: where their number
//! has changed, the records of a key are in several, and nothing tells which is the later one. A delete
//! too many does no harm, one too few does.
//!
//! When there are more than there is room for, the upper half of the hashes is left to the next pass:
//! a pass looks at the keys in a range of hashes, and the passes together at all.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;

/// What a key takes beside its bytes, about: its hash, its place in the map.
const GONE_BYTES: usize = 96;

/// A hash of a key in a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hash(u128);

/// Makes hashes that nobody else can foresee.
#[derive(Debug, Default)]
pub(super) struct Hasher([RandomState; 2]);

impl Hasher {
    pub(super) fn hash(&self, topic: &str, key: &[u8]) -> Hash {
        let [high, low] = self.0.each_ref().map(|half| u128::from(half.hash_one((topic, key))));
        Hash(high << 64 | low)
    }
}

/// A key that no row has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gone {
    /// Which of the topics has it.
    pub(super) topic: usize,
    /// As it is there.
    pub(super) key: Bytes,
}

/// One pass: keys whose hashes are in a range.
#[derive(Debug)]
pub(super) struct Pass {
    from: Hash,
    /// Behind the last hash; `None` if it ends with the last there is.
    to: Option<Hash>,
    /// Of the keys of rows, in order once they are all there.
    rows: Vec<Hash>,
    /// By hash and partition.
    gone: BTreeMap<(Hash, i32), Gone>,
    gone_bytes: usize,
    /// Bytes for both, of which rows get three quarters at most.
    max: usize,
}

impl Pass {
    /// The first pass with about so many bytes.
    pub(super) fn first(bytes: usize) -> Self {
        Self {
            from: Hash(0),
            to: None,
            rows: Vec::new(),
            gone: BTreeMap::new(),
            gone_bytes: 0,
            max: bytes,
        }
    }

    /// The pass after this one; `None` if it was the last.
    pub(super) fn next(self) -> Option<Self> {
        let mut rows = self.rows;
        rows.clear();
        Some(Self { from: self.to?, to: None, rows, gone: BTreeMap::new(), gone_bytes: 0, ..self })
    }

    fn rows_max(&self) -> usize {
        (self.max / 4 * 3 / size_of::<Hash>()).max(2)
    }

    fn gone_max(&self) -> usize {
        self.max.saturating_sub(self.rows.len() * size_of::<Hash>())
    }

    fn covers(&self, hash: Hash) -> bool {
        hash >= self.from && self.to.is_none_or(|to| hash < to)
    }

    /// A row has this key.
    pub(super) fn row(&mut self, hash: Hash) {
        if !self.covers(hash) {
            return;
        }
        let max = self.rows_max();
        if self.rows.len() == max {
            self.tidy_rows();
            // So much that it is not done anew for each key.
            if self.rows.len() > max / 2 {
                self.end_before(self.rows[self.rows.len() / 2]);
            }
            if !self.covers(hash) {
                return;
            }
        }
        if self.rows.len() == self.rows.capacity() {
            let more = self.rows.len().max(1024).min(max - self.rows.len());
            self.rows.reserve_exact(more);
        }
        self.rows.push(hash);
    }

    fn tidy_rows(&mut self) {
        self.rows.sort_unstable();
        self.rows.dedup();
    }

    fn end_before(&mut self, to: Hash) {
        self.to = Some(to);
        self.rows.retain(|hash| *hash < to);
        let left = self.gone.split_off(&(to, i32::MIN));
        self.gone_bytes -= left.values().map(Gone::bytes).sum::<usize>();
    }

    /// All rows were there.
    pub(super) fn rows_end(&mut self) {
        self.tidy_rows();
    }

    /// Whether rows were there.
    pub(super) const fn has_rows(&self) -> bool {
        !self.rows.is_empty()
    }

    /// Whether this pass is to know what became of a key: no row has it.
    pub(super) fn asks(&self, hash: Hash) -> bool {
        self.covers(hash) && self.rows.binary_search(&hash).is_err()
    }

    /// A partition of the topic has a key that no row has.
    pub(super) fn has(&mut self, hash: Hash, partition: i32, gone: impl FnOnce() -> Gone) {
        if !self.covers(hash) || self.gone.contains_key(&(hash, partition)) {
            return;
        }
        let gone = gone();
        self.gone_bytes += gone.bytes();
        self.gone.insert((hash, partition), gone);
        while self.gone_bytes > self.gone_max() {
            let Some(first) = self.gone.keys().next().map(|(hash, _)| *hash) else { break };
            let mut later = self.gone.keys().skip(self.gone.len() / 2);
            let mut others = self.gone.keys();
            let is_other = |(hash, _): &&(Hash, i32)| *hash != first;
            let Some((to, _)) = later.find(is_other).or_else(|| others.find(is_other)) else {
                // What is left is one key.
                break;
            };
            self.end_before(*to);
        }
    }

    /// The partition says that the key is gone.
    pub(super) fn forget(&mut self, hash: Hash, partition: i32) {
        if let Some(gone) = self.gone.remove(&(hash, partition)) {
            self.gone_bytes -= gone.bytes();
        }
    }

    /// The keys that the topic has and no row, once each.
    pub(super) fn gone(&self) -> impl Iterator<Item = &Gone> {
        let mut last = None;
        let once = move |((hash, _), _): &(&(Hash, i32), &Gone)| last.replace(*hash) != Some(*hash);
        self.gone.iter().filter(once).map(|(_, gone)| gone)
    }
}

impl Gone {
    fn bytes(&self) -> usize {
        self.key.len() + GONE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// A topic's records: keys, partitions, and whether each says that its key is there.
    type Topic = Vec<(u16, i32, bool)>;

    /// What all passes find, and how many there were.
    fn found(rows: &[u16], topic: &Topic, bytes: usize) -> (BTreeSet<u16>, usize) {
        let hasher = Hasher::default();
        let hash = |key: u16| hasher.hash("t", &key.to_be_bytes());
        let mut found = BTreeSet::new();
        let mut passes = 0;
        let mut pass = Pass::first(bytes);
        loop {
            passes += 1;
            rows.iter().for_each(|key| pass.row(hash(*key)));
            pass.rows_end();
            assert!(pass.rows.len() <= pass.rows_max() && pass.rows.capacity() <= pass.rows_max());
            for (key, partition, is_there) in topic {
                let hash = hash(*key);
                let gone = || Gone { topic: 0, key: Bytes::copy_from_slice(&key.to_be_bytes()) };
                match (pass.asks(hash), is_there) {
                    (false, _) => {}
                    (true, true) => pass.has(hash, *partition, gone),
                    (true, false) => pass.forget(hash, *partition),
                }
                assert!(pass.gone_bytes <= pass.gone_max() || pass.gone().count() == 1);
            }
            for gone in pass.gone() {
                let key = u16::from_be_bytes(gone.key.as_ref().try_into().unwrap());
                assert!(found.insert(key), "it was found twice");
            }
            match pass.next() {
                Some(next) => pass = next,
                None => return (found, passes),
            }
        }
    }

    proptest! {
        #[test]
        fn what_the_topic_has_and_no_row_is_found_whatever_room_there_is(
            rows in proptest::collection::vec(0_u16..300, 0..300),
            topic in proptest::collection::vec((0_u16..400, 0_i32..3, proptest::bool::weighted(0.8)), 0..600),
            bytes in prop_oneof![Just(0_usize), 100_usize..4000, Just(1 << 20)],
        ) {
            let mut there: BTreeSet<(u16, i32)> = BTreeSet::new();
            for (key, partition, is_there) in &topic {
                let place = (*key, *partition);
                if *is_there { there.insert(place); } else { there.remove(&place); }
            }
            let expect = there.into_iter().map(|(key, _)| key).filter(|key| !rows.contains(key));
            let expect: BTreeSet<u16> = expect.collect();
            prop_assert_eq!(found(&rows, &topic, bytes).0, expect);
        }
    }

    #[test]
    fn there_are_about_as_many_passes_as_are_needed() {
        let rows: Vec<u16> = (0..3000).collect();
        let topic: Topic = (0..4000).map(|key| (key, 0, true)).collect();
        let (all, passes) = found(&rows, &topic, 1 << 20);
        assert_eq!((all.len(), passes), (1000, 1));
        // Of 3000 rows and 1000 keys, which take some 150,000 bytes.
        let (all, passes) = found(&rows, &topic, 8192);
        assert_eq!(all.len(), 1000);
        assert!((18..60).contains(&passes), "{passes}");
    }
}
