//! Records on their way from reading to polling.
//!
//! Duty: a channel bounded in bytes between the future that reads and the task's `poll`, which may be
//! dropped at any await and may have less room than a piece has records.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use towpath_sdk::record::Record;
use towpath_sdk::source::{Budget, Mark, SourceBatch};

/// What the semaphore counts: so many bytes.
const UNIT: usize = 1024;
/// Bytes of a record beside its values.
const RECORD: usize = 512;
/// Pieces in the channel, which small ones reach before the bound on bytes.
const PIECES: usize = 1024;

/// Records and marks that were made together.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    /// The records.
    pub(crate) records: Vec<Record>,
    /// Where offsets stand after some of them.
    pub(crate) marks: Vec<Mark>,
}

impl Piece {
    /// About how many bytes it takes in memory: its records share what they were made of, and each has
    /// as many values as the others.
    fn weight(&self, made_of: usize) -> usize {
        let each = self.records.first().map_or(0, |record| RECORD + record.size());
        made_of + each * self.records.len()
    }
}

#[derive(Debug)]
struct Held {
    records: std::vec::IntoIter<Record>,
    marks: std::vec::IntoIter<Mark>,
    /// How many records were taken.
    taken: usize,
    _permit: OwnedSemaphorePermit,
}

/// The reading end's handle.
#[derive(Debug, Clone)]
pub(crate) struct PieceSender {
    out: mpsc::Sender<Held>,
    budget: Arc<Semaphore>,
    units: u32,
}

/// The polling end's.
#[derive(Debug)]
pub(crate) struct PieceReceiver {
    pieces: mpsc::Receiver<Held>,
    held: Option<Held>,
}

/// Nobody polls any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopped;

/// A channel that holds at most `bytes`, or one piece.
#[must_use]
pub(crate) fn channel(bytes: usize) -> (PieceSender, PieceReceiver) {
    let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX >> 4).max(1);
    let (out, pieces) = mpsc::channel(PIECES);
    let budget = Arc::new(Semaphore::new(units as usize));
    (PieceSender { out, budget, units }, PieceReceiver { pieces, held: None })
}

impl PieceSender {
    /// Waits for room and hands a piece over that was made of `bytes`.
    ///
    /// # Errors
    /// If nobody polls any more.
    pub(crate) async fn send(&self, piece: Piece, bytes: usize) -> Result<(), Stopped> {
        let units =
            u32::try_from(piece.weight(bytes).div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.units);
        let permit = Arc::clone(&self.budget).acquire_many_owned(units).await;
        let permit = permit.map_err(|_closed| Stopped)?;
        let held = Held {
            records: piece.records.into_iter(),
            marks: piece.marks.into_iter(),
            taken: 0,
            _permit: permit,
        };
        self.out.send(held).await.map_err(|_gone| Stopped)
    }
}

impl PieceReceiver {
    /// The next records there is room for, with the marks that follow them; `None` once the sender is
    /// gone. May be dropped.
    pub(crate) async fn next(&mut self, room: Budget) -> Option<SourceBatch> {
        if self.held.is_none() {
            self.held = Some(self.pieces.recv().await?);
        }
        let mut batch = SourceBatch::default();
        let mut left = room;
        while let Some(held) = &mut self.held {
            if !held.give(&mut left, &mut batch) {
                break;
            }
            self.held = self.pieces.try_recv().ok();
        }
        Some(batch)
    }
}

impl Held {
    /// Moves what there is room for into `batch`; whether that was all.
    fn give(&mut self, room: &mut Budget, batch: &mut SourceBatch) -> bool {
        let before = batch.records.len();
        while let Some(record) = self.records.as_slice().first() {
            let size = record.size();
            let fits = room.records > 0 && (size <= room.bytes || batch.records.is_empty());
            if !fits {
                break;
            }
            room.records -= 1;
            room.bytes = room.bytes.saturating_sub(size);
            batch.records.extend(self.records.next());
        }
        let taken = self.taken;
        self.taken += batch.records.len() - before;
        while self.marks.as_slice().first().is_some_and(|mark| mark.after <= self.taken) {
            batch.marks.extend(self.marks.next().map(|mut mark| {
                mark.after = mark.after - taken + before;
                mark
            }));
        }
        self.records.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use towpath_sdk::offset::{SourceOffset, SourcePartition};
    use towpath_sdk::value::{Datum, Value};

    use super::*;

    fn record(n: i64) -> Record {
        Record::new("t", Datum::schemaless(Value::Int64(n)))
    }

    fn mark(after: usize, at: i64) -> Mark {
        Mark::new(after, SourcePartition::of([("p", 0)]), SourceOffset::of([("at", at)]))
    }

    #[tokio::test]
    async fn the_bound_holds_and_a_piece_larger_than_it_passes() {
        let (sender, mut receiver) = channel(4 * UNIT);
        let piece = || Piece { records: vec![record(1)], marks: Vec::new() };
        sender.send(piece(), 2 * UNIT).await.unwrap();
        let mut second = std::pin::pin!(sender.send(piece(), 100 * UNIT));
        assert!(futures::poll!(&mut second).is_pending());
        let room = Budget { bytes: 1000, records: 10 };
        assert_eq!(receiver.next(room).await.unwrap().records.len(), 1);
        second.await.unwrap();
        drop(receiver);
        assert_eq!(sender.send(piece(), 1).await, Err(Stopped));
    }

    proptest! {
        #[test]
        fn whatever_the_room_all_comes_in_order_with_its_marks(
            sizes in proptest::collection::vec(0_usize..5, 1..8),
            rooms in proptest::collection::vec((1_usize..4, 1_usize..40), 1..20),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let (sender, mut receiver) = channel(1 << 20);
                let mut total = 0;
                for size in &sizes {
                    let records = (0..*size).map(|_| { total += 1; record(total) }).collect();
                    let marks = vec![mark(*size, total)];
                    sender.send(Piece { records, marks }, 1).await.unwrap();
                }
                drop(sender);
                let (mut got, mut marked) = (0, 0);
                for (records, bytes) in rooms.iter().cycle() {
                    let room = Budget { bytes: *bytes, records: *records };
                    let Some(batch) = receiver.next(room).await else { break };
                    prop_assert!(batch.records.len() <= *records);
                    for (n, record) in batch.records.iter().enumerate() {
                        got += 1;
                        prop_assert_eq!(record.value.value.as_i64(), Some(got));
                        for mark in batch.marks.iter().filter(|mark| mark.after == n + 1) {
                            prop_assert_eq!(mark.offset.as_ref().unwrap().get_i64("at"), Some(got));
                            marked += 1;
                        }
                    }
                    marked += batch.marks.iter().filter(|mark| mark.after == 0).count();
                }
                prop_assert_eq!((got, marked), (total, sizes.len()));
                Ok(())
            })?;
        }
    }
}
