//! Records that wait for the mark that covers them.
//!
//! Duty: with exactly-once a record goes into a transaction together with the offset behind it, so those
//! that come without one are kept, and counted, until it comes.

use towpath_sdk::record::Record;
use towpath_sdk::source::SourceBatch;

/// The records, in order.
#[derive(Default)]
pub(super) struct Uncovered {
    records: Vec<Record>,
    /// Their sizes together.
    bytes: usize,
}

impl Uncovered {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Their bytes, as [`Record::size`] counts them.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What of the waiting records and `batch` the last mark covers; the rest waits.
    pub(super) fn cover(&mut self, mut batch: SourceBatch) -> SourceBatch {
        let before = self.records.len();
        self.records.append(&mut batch.records);
        for mark in &mut batch.marks {
            mark.after += before;
        }
        let Some(last) = batch.marks.last() else {
            self.bytes += size(&self.records[before..]);
            return batch;
        };
        let rest = self.records.split_off(last.after.min(self.records.len()));
        self.bytes = size(&rest);
        batch.records = std::mem::replace(&mut self.records, rest);
        batch
    }
}

/// The bytes of `records`, as [`Record::size`] counts them.
pub(super) fn size(records: &[Record]) -> usize {
    records.iter().map(Record::size).sum()
}

#[cfg(test)]
mod tests {
    use towpath_sdk::offset::{SourceOffset, SourcePartition};
    use towpath_sdk::source::Mark;
    use towpath_sdk::value::Datum;

    use super::*;

    #[test]
    fn records_wait_for_the_mark_that_covers_them() {
        let batch = |records: usize, after: &[usize]| SourceBatch {
            records: vec![Record::new("t", Datum::null()); records],
            marks: after
                .iter()
                .map(|after| {
                    let offset = SourceOffset::of([("o", *after as u64)]);
                    Mark::new(*after, SourcePartition::of([("p", 1)]), offset)
                })
                .collect(),
        };
        let held = |uncovered: &Uncovered| size(&uncovered.records);
        let mut uncovered = Uncovered::default();
        let first = uncovered.cover(batch(5, &[2]));
        assert_eq!((first.records.len(), uncovered.len()), (2, 3));
        assert_eq!(uncovered.bytes(), held(&uncovered));
        let none = uncovered.cover(batch(4, &[]));
        assert!(none.is_empty() && uncovered.len() == 7);
        assert_eq!(uncovered.bytes(), held(&uncovered));
        let rest = uncovered.cover(batch(1, &[0, 1]));
        let marks: Vec<_> = rest.marks.iter().map(|mark| mark.after).collect();
        assert_eq!((rest.records.len(), marks, uncovered.len()), (8, vec![7, 8], 0));
        assert_eq!(uncovered.bytes(), held(&uncovered));
    }
}
