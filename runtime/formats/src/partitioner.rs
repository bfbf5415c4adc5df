//! Which partition Java's producer picks for a key.
//!
//! Invariant: equal to `org.apache.kafka.common.utils.Utils.murmur2` and the default partitioner built on
//! it, so that a key stays in its partition when a connector moves over from the JVM. The hash is
//! Austin Appleby's MurmurHash2 (32 bits, public domain) with the seed that Kafka chose.
//!
//! Deliberately absent: where records without a key go (Java spreads them over partitions by load).

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;
const SHIFT: u32 = 24;

/// The hash of a record's key, as Java shows it (signed).
pub fn murmur2(key: &[u8]) -> i32 {
    // Java's array length is an i32, and the hash starts from its low bits.
    let mut hash = SEED ^ (key.len() as u32);
    let mut words = key.chunks_exact(4);
    for word in &mut words {
        let mut mixed = word.iter().rev().fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte));
        mixed = mixed.wrapping_mul(MULTIPLIER);
        mixed ^= mixed >> SHIFT;
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed.wrapping_mul(MULTIPLIER);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    (hash ^ (hash >> 15)) as i32
}

/// The partition for `key` in a topic of `partitions` partitions; `None` if there are none.
pub fn partition_for_key(key: &[u8], partitions: u32) -> Option<u32> {
    let positive = (murmur2(key) & i32::MAX) as u32;
    positive.checked_rem(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex"))
            .collect()
    }

    /// The table was printed by kafka-clients 4.3.1: key in hex, hash, and its partition of 1, 3, 6,
    /// 25, 50 and 1000.
    #[test]
    fn hashes_and_partitions_are_javas() {
        let table = include_str!("../fixtures/murmur2.tsv");
        for line in table.lines() {
            let mut fields = line.split('\t');
            let key = bytes(fields.next().expect("a key"));
            let hash: i32 = fields.next().expect("a hash").parse().expect("a number");
            assert_eq!(murmur2(&key), hash, "{line}");
            for (count, expect) in [1, 3, 6, 25, 50, 1000].into_iter().zip(&mut fields) {
                assert_eq!(
                    partition_for_key(&key, count),
                    Some(expect.parse().expect("a number")),
                    "{line}"
                );
            }
        }
        assert!(table.lines().count() > 60);
    }

    #[test]
    fn no_partitions_no_answer() {
        assert_eq!(partition_for_key(b"x", 0), None);
    }
}
