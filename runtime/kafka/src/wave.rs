//! How much is handed to librdkafka before its answers are waited for.
//!
//! With idempotence librdkafka (2.12.1) has one request per partition in flight, since it holds its
//! limit of five requests against a number of records. What waits behind that request for longer than
//! `linger.ms` makes the broker's thread look again without a pause: it burns a core until the answer
//! comes, and nothing gets there any sooner. So a producer hands over a wave, which becomes one
//! request per partition, and the next one when the whole wave was answered. Small waves may grow while
//! they are under way: a trickle of records waits for nothing.
//!
//! Pure; who counts what is in flight is [`crate::native::Deliveries`].

/// Records of a wave for each partition that is written to: librdkafka's `batch.num.messages` as set
/// by [`crate::options`], so that a full wave does not wait for `linger.ms`.
pub(crate) const RECORDS: usize = 8192;
/// Their bytes; a little below librdkafka's `batch.size`, which counts what surrounds a record too.
const BYTES: usize = 900_000;
/// As many partitions count: librdkafka's queue must have room for a wave.
const PARTITIONS: usize = 10;

/// What was handed over since nothing was in flight.
#[derive(Debug, Default)]
pub(crate) struct Wave {
    batches: usize,
    records: usize,
    bytes: usize,
}

impl Wave {
    /// Whether a batch may join, where so many partitions are written to. An empty wave takes any.
    pub(crate) fn takes(&self, records: usize, bytes: usize, partitions: usize) -> bool {
        let partitions = partitions.clamp(1, PARTITIONS);
        self.records == 0
            || (self.records + records <= RECORDS * partitions
                && self.bytes + bytes <= BYTES * partitions)
    }

    /// With fewer records in flight than this, the wave was answered: as a whole, or, if it is one batch to
    /// one partition, whose records go in one request, from its first report on.
    pub(crate) const fn answered_below(&self, partitions: usize) -> usize {
        if partitions == 1 && self.batches == 1 { self.records } else { 1 }
    }

    /// The batch joins.
    pub(crate) fn add(&mut self, records: usize, bytes: usize) {
        self.batches += 1;
        self.records += records;
        self.bytes += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wave_is_full_by_records_or_bytes_and_grows_with_partitions() {
        let mut wave = Wave::default();
        assert!(wave.takes(100_000, 1 << 30, 1), "a large batch must pass somehow");
        wave.add(4096, 400_000);
        assert!(wave.takes(4096, 400_000, 0));
        assert!(!wave.takes(4097, 1, 1));
        assert!(!wave.takes(1, 500_001, 1));
        assert!(wave.takes(4097, 500_001, 2));
        assert!(!wave.takes(100_000, 1, 1000), "librdkafka's queue is bounded");
        assert_eq!((wave.answered_below(1), wave.answered_below(2)), (4096, 1));
    }
}
