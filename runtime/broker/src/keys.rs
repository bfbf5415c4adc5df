//! Where each fact is in the store.
//!
//! Duty: keys that sort as they are scanned. A key begins with the byte of its kind; numbers are
//! big-endian; text is followed by a zero byte, which no name holds.

use towpath_sdk::record::TopicPartition;

/// The format of everything stored. Raised when it changes.
pub(crate) const FORMAT: u32 = 1;

pub(crate) fn topic(name: &str) -> Vec<u8> {
    text(b'T', name)
}

pub(crate) fn topics() -> (Vec<u8>, Vec<u8>) {
    kind(b'T')
}

pub(crate) fn next_ids() -> Vec<u8> {
    vec![b'I']
}

pub(crate) fn format() -> Vec<u8> {
    vec![b'F']
}

/// Where a partition begins, and the least offset it goes on at.
pub(crate) fn bounds(topic_id: u32, partition: i32) -> Vec<u8> {
    partition_of(b'B', topic_id, partition)
}

/// A transaction that is open in a partition.
pub(crate) fn open_transaction(producer_id: i64, topic_id: u32, partition: i32) -> Vec<u8> {
    let mut key = vec![b'O'];
    key.extend(producer_id.to_be_bytes());
    key.extend(topic_id.to_be_bytes());
    key.extend(partition.to_be_bytes());
    key
}

pub(crate) fn open_transactions() -> (Vec<u8>, Vec<u8>) {
    kind(b'O')
}

pub(crate) fn parse_open_transaction(key: &[u8]) -> Option<(i64, u32, i32)> {
    let key = key.get(1..)?;
    let (producer_id, rest) = key.split_first_chunk()?;
    let (topic_id, rest) = rest.split_first_chunk()?;
    let (partition, _) = rest.split_first_chunk()?;
    Some((
        i64::from_be_bytes(*producer_id),
        u32::from_be_bytes(*topic_id),
        i32::from_be_bytes(*partition),
    ))
}

/// A stretch of a partition that belongs to an aborted transaction.
pub(crate) fn aborted(topic_id: u32, partition: i32, first: i64) -> Vec<u8> {
    let mut key = partition_of(b'A', topic_id, partition);
    key.extend(first.to_be_bytes());
    key
}

pub(crate) fn aborted_in(topic_id: u32, partition: i32) -> (Vec<u8>, Vec<u8>) {
    upto_end(partition_of(b'A', topic_id, partition))
}

pub(crate) fn transactional_id(id: &str) -> Vec<u8> {
    text(b'X', id)
}

pub(crate) fn transactional_ids() -> (Vec<u8>, Vec<u8>) {
    kind(b'X')
}

pub(crate) fn committed(group: &str, partition: &TopicPartition) -> Vec<u8> {
    let mut key = text(b'G', group);
    key.extend(partition.topic.as_bytes());
    key.push(0);
    key.extend(partition.partition.to_be_bytes());
    key
}

pub(crate) fn all_committed() -> (Vec<u8>, Vec<u8>) {
    kind(b'G')
}

pub(crate) fn parse_committed(key: &[u8]) -> Option<(String, TopicPartition)> {
    let mut parts = key.get(1..)?.splitn(3, |byte| *byte == 0);
    let group = std::str::from_utf8(parts.next()?).ok()?;
    let topic = std::str::from_utf8(parts.next()?).ok()?;
    let partition = i32::from_be_bytes(*parts.next()?.first_chunk()?);
    Some((group.to_owned(), TopicPartition::new(topic, partition)))
}

/// A chunk of records, in the space of logs.
pub(crate) fn chunk(topic_id: u32, partition: i32, base: i64) -> Vec<u8> {
    let mut key = Vec::with_capacity(16);
    key.extend(topic_id.to_be_bytes());
    key.extend(partition.to_be_bytes());
    key.extend(base.to_be_bytes());
    key
}

pub(crate) fn parse_chunk(key: &[u8]) -> Option<(u32, i32, i64)> {
    let (topic_id, rest) = key.split_first_chunk()?;
    let (partition, rest) = rest.split_first_chunk()?;
    let base = rest.first_chunk()?;
    Some((u32::from_be_bytes(*topic_id), i32::from_be_bytes(*partition), i64::from_be_bytes(*base)))
}

fn kind(kind: u8) -> (Vec<u8>, Vec<u8>) {
    (vec![kind], vec![kind + 1])
}

fn text(kind: u8, text: &str) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend(text.as_bytes());
    key.push(0);
    key
}

fn partition_of(kind: u8, topic_id: u32, partition: i32) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend(topic_id.to_be_bytes());
    key.extend(partition.to_be_bytes());
    key
}

/// From `prefix` to just behind everything that begins with it.
fn upto_end(prefix: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    let mut end = prefix.clone();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    (prefix, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_hold_their_own_and_nothing_else() {
        let partition = TopicPartition::new("t", 3);
        let key = committed("g", &partition);
        assert!(key < committed("g2", &partition));
        assert_eq!(parse_committed(&key), Some(("g".to_owned(), partition)));

        let (from, to) = aborted_in(u32::MAX, -1);
        assert!(from < to && from <= aborted(u32::MAX, -1, i64::MAX));
    }

    #[test]
    fn chunks_sort_by_offset() {
        assert!(chunk(1, 0, 5) < chunk(1, 0, 300));
        assert!(chunk(1, 0, i64::MAX) < chunk(1, 1, 0));
        assert_eq!(parse_chunk(&chunk(7, 2, 9)), Some((7, 2, 9)));
        assert_eq!(parse_open_transaction(&open_transaction(4, 7, 2)), Some((4, 7, 2)));
    }
}
