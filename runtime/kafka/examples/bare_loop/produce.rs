//! Producing, with nothing around it.

use std::fs::File;
use std::io::{BufRead as _, BufReader};

use rdkafka_sys as sys;

use super::client::{Client, PRODUCER};
use super::{Count, Work};

/// `RD_KAFKA_PARTITION_UA`: the partitioner decides.
const ANY_PARTITION: i32 = -1;
/// `RD_KAFKA_MSG_F_COPY`: librdkafka copies the payload, once.
const COPY: i32 = 0x2;
/// `RD_KAFKA_MSG_F_BLOCK`: a full queue makes the caller wait.
const BLOCK: i32 = 0x4;

/// Each line becomes a value.
pub(crate) fn from_file(work: &Work<'_>, path: &str) -> Count {
    let client = Client::new(sys::rd_kafka_type_t::RD_KAFKA_PRODUCER, work, PRODUCER);
    let mut lines = BufReader::with_capacity(1 << 20, File::open(path).unwrap());
    let mut count = Count::default();
    let mut line = Vec::new();
    while count.records < work.records {
        line.clear();
        assert!(lines.read_until(b'\n', &mut line).unwrap() > 0, "{path} has too few lines");
        let length = line.len() - usize::from(line.last() == Some(&b'\n'));
        // SAFETY: the topic lives; the line is copied before the call returns.
        let code = unsafe {
            sys::rd_kafka_produce(
                client.topic,
                ANY_PARTITION,
                COPY | BLOCK,
                line.as_mut_ptr().cast(),
                length,
                std::ptr::null(),
                0,
                std::ptr::null_mut(),
            )
        };
        assert_eq!(code, 0, "a line was refused");
        count.records += 1;
        count.bytes += length as u64;
        if count.records % 1_000 == 0 {
            // SAFETY: the client lives. Reports are taken, or the queue stays full.
            unsafe { sys::rd_kafka_poll(client.client, 0) };
        }
    }
    // SAFETY: the client lives.
    unsafe {
        let code = sys::rd_kafka_flush(client.client, 60_000) as i32;
        assert_eq!(code, 0, "not all lines were acknowledged within a minute");
        assert_eq!(sys::rd_kafka_outq_len(client.client), 0);
    }
    count
}
