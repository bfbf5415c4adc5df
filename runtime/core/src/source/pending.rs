//! Offsets between "in the broker" and "stored".
//!
//! Duty: fold marks of acknowledged batches into the latest offset per source partition. Pure.

use towpath_sdk::offset::{SourceOffset, SourcePartition};
use towpath_sdk::source::Mark;

/// What is to be stored: an offset per partition, `None` to forget it.
pub(super) type Offsets = Vec<(SourcePartition, Option<SourceOffset>)>;

/// The latest offset per partition, in the order of first appearance.
#[derive(Debug, Default, Clone)]
pub(super) struct Pending(Offsets);

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
        let mark = |(partition, offset)| match offset {
            Some(offset) => Mark::new(after, partition, offset),
            None => Mark::forget(after, partition),
        };
        self.0.into_iter().map(mark).collect()
    }

    /// Takes all of them.
    pub(super) fn take(&mut self) -> Offsets {
        std::mem::take(&mut self.0)
    }

    /// Puts `older` back behind a failed store, unless a newer offset came meanwhile.
    pub(super) fn put_back(&mut self, older: Offsets) {
        for (partition, offset) in older {
            if !self.0.iter().any(|(p, _)| *p == partition) {
                self.0.push((partition, offset));
            }
        }
    }
}

/// What the source is told of `offsets`: those that it did not want to be forgotten.
pub(super) fn to_acknowledge(offsets: Offsets) -> Vec<(SourcePartition, SourceOffset)> {
    offsets.into_iter().filter_map(|(partition, offset)| Some((partition, offset?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(partition: &str, offset: i64) -> Mark {
        Mark::new(0, SourcePartition::of([("p", partition)]), SourceOffset::of([("o", offset)]))
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
            now.iter().find(|(p, _)| *p == partition).and_then(|(_, o)| o.as_ref()?.get_i64("o"))
        };
        assert_eq!((of("a"), of("b")), (Some(3), Some(1)));
    }

    #[test]
    fn a_forgotten_partition_is_stored_as_such_and_not_acknowledged() {
        let mut pending = Pending::default();
        pending.fold(vec![
            mark("a", 1),
            mark("b", 1),
            Mark::forget(0, SourcePartition::of([("p", "a")])),
        ]);
        let again = pending.clone().into_marks(3);
        assert_eq!(again[0], Mark::forget(3, SourcePartition::of([("p", "a")])));
        let told = to_acknowledge(pending.take());
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].0, SourcePartition::of([("p", "b")]));
    }
}
