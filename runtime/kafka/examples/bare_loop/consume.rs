//! Consuming, with nothing around it.

use std::ffi::c_void;
use std::fs::File;
use std::io::{BufWriter, Write as _};

use rdkafka_sys as sys;

use super::client::{CONSUMER, Client};
use super::{Count, Work};

/// Messages taken at once.
const BATCH: usize = 10_000;

pub(crate) fn by_batch(work: &Work<'_>) -> Count {
    batches(work, |_| {})
}

/// Writes each value and a line feed.
pub(crate) fn to_file(work: &Work<'_>, path: &str) -> Count {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    let count = batches(work, |value| {
        out.write_all(value).unwrap();
        out.write_all(b"\n").unwrap();
    });
    out.flush().unwrap();
    count
}

fn batches(work: &Work<'_>, mut each: impl FnMut(&[u8])) -> Count {
    let queue = start(work);
    let mut count = Count::default();
    let mut messages = vec![std::ptr::null_mut(); BATCH];
    while count.records < work.records {
        // SAFETY: the queue lives; the messages are read, and each is given back once.
        unsafe {
            let got = sys::rd_kafka_consume_batch_queue(queue, 1000, messages.as_mut_ptr(), BATCH);
            for &message in &messages[..usize::try_from(got).unwrap()] {
                if add(message, &mut count) && !(*message).payload.is_null() {
                    each(std::slice::from_raw_parts((*message).payload.cast(), (*message).len));
                }
                sys::rd_kafka_message_destroy(message);
            }
        }
    }
    count
}

pub(crate) fn by_callback(work: &Work<'_>) -> Count {
    let queue = start(work);
    let mut count = Count::default();
    while count.records < work.records {
        let opaque: *mut Count = &raw mut count;
        // SAFETY: the callback runs inside the call, while `count` is not used otherwise.
        unsafe {
            sys::rd_kafka_consume_callback_queue(queue, 1000, Some(on_message), opaque.cast());
        }
    }
    count
}

/// One queue with all partitions of the topic, from their beginnings.
fn start(work: &Work<'_>) -> *mut sys::rd_kafka_queue_t {
    let client = Client::new(sys::rd_kafka_type_t::RD_KAFKA_CONSUMER, work, CONSUMER);
    // SAFETY: client and topic live to the end of the process, and so does the queue.
    unsafe {
        let queue = sys::rd_kafka_queue_new(client.client);
        for partition in 0..client.partitions() {
            let begin = -2;
            let code = sys::rd_kafka_consume_start_queue(client.topic, partition, begin, queue);
            assert_eq!(code, 0, "partition {partition} can't be read");
        }
        queue
    }
}

/// # Safety
/// `message` is valid, `count` is a [`Count`].
unsafe extern "C" fn on_message(message: *mut sys::rd_kafka_message_t, count: *mut c_void) {
    // SAFETY: as the caller says.
    unsafe { add(message, &mut *count.cast::<Count>()) };
}

/// Whether it is a message, which is counted, and no event.
///
/// # Safety
/// `message` is valid.
unsafe fn add(message: *mut sys::rd_kafka_message_t, count: &mut Count) -> bool {
    // SAFETY: as the caller says.
    unsafe {
        let sound = (&raw const (*message).err).cast::<i32>().read() == 0;
        if sound {
            count.records += 1;
            count.bytes += ((*message).len + (*message).key_len) as u64;
        }
        sound
    }
}
