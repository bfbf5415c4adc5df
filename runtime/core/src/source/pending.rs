//! Offsets between "in the broker" and "stored".
//!
//! Duty: fold marks of acknowledged batches into the latest offset per source partition. Pure.

use towpath_sdk::offset::{SourceOffset, SourcePartition};
use towpath_sdk::source::Mark;

/// The latest offset per partition, in the order of first appearance.
#[derive(Debug, Default, Clone)]
pub(super) struct Pending(Vec<(SourcePartition, SourceOffset)>);

impl Pending {
    /// Everything before these marks is in the broker.
    pub(super) fn fold(&mut self, marks: Vec<Mark>) {
        for mark in marks {
            match self.0.iter_mut().find(|(partition, _)| *partition == mark.partition) {
                Some((_, offset)) => *offset = mark.offset,
                None => self.0.push((mark.partition, mark.offset)),
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As marks again, behind `after` records.
    pub(super) fn into_marks(self, after: usize) -> Vec<Mark> {
        let mark = |(partition, offset)| Mark { after, partition, offset, boundary: false };
        self.0.into_iter().map(mark).collect()
    }

    /// Takes all of them.
    pub(super) fn take(&mut self) -> Vec<(SourcePartition, SourceOffset)> {
        std::mem::take(&mut self.0)
    }

    /// Puts `older` back behind a failed store, unless a newer offset came meanwhile.
    pub(super) fn put_back(&mut self, older: Vec<(SourcePartition, SourceOffset)>) {
        for (partition, offset) in older {
            if !self.0.iter().any(|(p, _)| *p == partition) {
                self.0.push((partition, offset));
            }
        }
    }
}

/// In the form that the offset store takes.
pub(super) fn to_store(
    offsets: &[(SourcePartition, SourceOffset)],
) -> Vec<(SourcePartition, Option<SourceOffset>)> {
    offsets.iter().map(|(partition, offset)| (partition.clone(), Some(offset.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(partition: &str, offset: i64) -> Mark {
        Mark {
            after: 0,
            partition: SourcePartition::of([("p", partition)]),
            offset: SourceOffset::of([("o", offset)]),
            boundary: false,
        }
    }

    #[test]
    fn the_latest_offset_wins_also_over_one_that_comes_back() {
        let mut pending = Pending::default();
        pending.fold(vec![mark("a", 1), mark("b", 1), mark("a", 2)]);
        let taken = pending.take();
        assert_eq!(taken.len(), 2);
        pending.fold(vec![mark("a", 3)]);
        pending.put_back(taken);
        let now = pending.take();
        let of = |name| {
            let partition = SourcePartition::of([("p", name)]);
            now.iter().find(|(p, _)| *p == partition).and_then(|(_, o)| o.get_i64("o"))
        };
        assert_eq!((of("a"), of("b")), (Some(3), Some(1)));
    }
}
