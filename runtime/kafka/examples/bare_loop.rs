//! What librdkafka alone can do: the limit that a worker's Kafka → null is measured against.
//!
//! `bare_loop BROKERS TOPIC RECORDS [callback|ports]` reads the first RECORDS records of a topic from
//! its beginning and prints one line of JSON: records, bytes of keys and values, seconds, CPU seconds
//! and the peak of resident memory.
//!
//! The default mode takes messages with `rd_kafka_consume_batch_queue` (10 000 at most), adds their
//! sizes up and gives them back: nothing is copied. `callback` takes them with
//! `rd_kafka_consume_callback_queue` instead. `ports` goes through this crate's consumer, which
//! copies each record into a batch. In all modes librdkafka is configured as this crate configures it,
//! isolation level included; `LIBRDKAFKA=key=value,…` overrides that.
#![expect(unsafe_code, reason = "librdkafka's calls without anything around them")]
#![expect(clippy::print_stdout, reason = "a command-line tool")]
#![expect(clippy::unwrap_used, reason = "a measurement that fails shall stop")]

use std::ffi::{CString, c_void};
use std::time::Instant;

use rdkafka_sys as sys;
use towpath_core::budget::Budget;
use towpath_core::ports::{
    ClientOverrides, Cluster as _, ConsumerEvent, ConsumerSpec, Subscription,
};
use towpath_kafka::{KafkaCluster, KafkaOptions, Properties};

/// As in this crate's defaults for consumers.
const DEFAULTS: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("isolation.level", "read_committed"),
    ("queued.max.messages.kbytes", "6144"),
    ("fetch.max.bytes", "3145728"),
    ("fetch.message.max.bytes", "1048576"),
    ("fetch.queue.backoff.ms", "10"),
    ("queued.min.messages", "1000000"),
];
const BATCH: usize = 10_000;

#[derive(Default)]
struct Count {
    records: u64,
    bytes: u64,
}

fn main() {
    let mut args = std::env::args().skip(1);
    let usage = "usage: bare_loop BROKERS TOPIC RECORDS [callback|ports]";
    let brokers = args.next().expect(usage);
    let topic = args.next().expect(usage);
    let wanted: u64 = args.next().expect(usage).parse().expect(usage);
    let mode = args.next().unwrap_or_else(|| "batch".to_owned());
    let start = Instant::now();
    let count = match mode.as_str() {
        "ports" => ports(&brokers, &topic, wanted),
        "batch" | "callback" => bare(&brokers, &topic, wanted, mode == "callback"),
        _ => panic!("{usage}"),
    };
    let seconds = start.elapsed().as_secs_f64();
    let (cpu, peak_kib) = usage_so_far();
    println!(
        "{{\"mode\":\"{mode}\",\"records\":{},\"bytes\":{},\"seconds\":{seconds:.3},\
         \"cpu_seconds\":{cpu:.3},\"peak_rss_kib\":{peak_kib}}}",
        count.records, count.bytes
    );
}

fn overrides() -> Vec<(String, String)> {
    let text = std::env::var("LIBRDKAFKA").unwrap_or_default();
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

fn bare(brokers: &str, topic: &str, wanted: u64, by_callback: bool) -> Count {
    let own = [("bootstrap.servers", brokers)];
    let settings: Vec<(String, String)> = DEFAULTS
        .iter()
        .chain(&own)
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .chain(overrides())
        .collect();
    let topic = CString::new(topic).unwrap();
    let mut count = Count::default();
    // SAFETY: plain use of librdkafka: every handle is made, used and left to the end of the process.
    unsafe {
        let conf = sys::rd_kafka_conf_new();
        for (key, value) in settings {
            let (key, value) = (CString::new(key).unwrap(), CString::new(value).unwrap());
            let mut text = [0; 256];
            let set = sys::rd_kafka_conf_set(
                conf,
                key.as_ptr(),
                value.as_ptr(),
                text.as_mut_ptr(),
                text.len(),
            );
            assert!(set == sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK, "{key:?} is refused");
        }
        let mut text = [0; 256];
        let client = sys::rd_kafka_new(
            sys::rd_kafka_type_t::RD_KAFKA_CONSUMER,
            conf,
            text.as_mut_ptr(),
            text.len(),
        );
        assert!(!client.is_null(), "no client");
        let handle = sys::rd_kafka_topic_new(client, topic.as_ptr(), std::ptr::null_mut());
        let queue = sys::rd_kafka_queue_new(client);
        for partition in 0..partitions(client, handle) {
            let begin = -2;
            assert_eq!(sys::rd_kafka_consume_start_queue(handle, partition, begin, queue), 0);
        }
        let mut messages = vec![std::ptr::null_mut(); BATCH];
        while count.records < wanted {
            if by_callback {
                let opaque: *mut Count = &raw mut count;
                sys::rd_kafka_consume_callback_queue(queue, 1000, Some(add), opaque.cast());
                continue;
            }
            let got = sys::rd_kafka_consume_batch_queue(queue, 1000, messages.as_mut_ptr(), BATCH);
            for &message in &messages[..usize::try_from(got).unwrap()] {
                add(message, (&raw mut count).cast());
                sys::rd_kafka_message_destroy(message);
            }
        }
    }
    count
}

/// # Safety
/// `message` is valid, `count` is a [`Count`].
unsafe extern "C" fn add(message: *mut sys::rd_kafka_message_t, count: *mut c_void) {
    // SAFETY: as the caller says.
    unsafe {
        if (&raw const (*message).err).cast::<i32>().read() == 0 {
            let count = &mut *count.cast::<Count>();
            count.records += 1;
            count.bytes += ((*message).len + (*message).key_len) as u64;
        }
    }
}

/// # Safety
/// Client and topic are valid.
unsafe fn partitions(client: *mut sys::rd_kafka_t, topic: *mut sys::rd_kafka_topic_t) -> i32 {
    let mut metadata = std::ptr::null();
    // SAFETY: as the caller says; the answer is read while it lives.
    unsafe {
        let code = sys::rd_kafka_metadata(client, 0, topic, &raw mut metadata, 10_000) as i32;
        assert_eq!(code, 0, "no broker answers");
        let count = (*(*metadata).topics).partition_cnt;
        sys::rd_kafka_metadata_destroy(metadata);
        count
    }
}

#[tokio::main(worker_threads = 1)]
async fn ports(brokers: &str, topic: &str, wanted: u64) -> Count {
    let common = Properties::from([("bootstrap.servers".to_owned(), brokers.to_owned())]);
    let mut options = KafkaOptions::new(common, "no-seat");
    options.consumer.extend(overrides());
    let cluster = KafkaCluster::new(options).unwrap();
    let spec = ConsumerSpec {
        group_id: format!("bare-loop-{}", std::process::id()),
        client_id: "bare-loop".to_owned(),
        subscription: Subscription::Topics(vec![topic.to_owned()]),
        overrides: ClientOverrides::new(),
        budget: Budget::new(16 << 20),
    };
    let mut consumer = cluster.consumer(spec).await.unwrap();
    let mut count = Count::default();
    while count.records < wanted {
        match consumer.next().await.unwrap() {
            ConsumerEvent::Assigned { partitions, .. } => {
                let at = partitions.into_iter().map(|p| (p, None)).collect();
                consumer.start(at).await.unwrap();
            }
            ConsumerEvent::Batch(batch) => {
                count.records += batch.rows.len() as u64;
                count.bytes += batch.arena.len() as u64;
            }
            ConsumerEvent::Trouble(_) => {}
            other => panic!("{other:?}"),
        }
    }
    count
}

/// CPU seconds and peak resident KiB of this process, by Linux' own count.
fn usage_so_far() -> (f64, u64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    (ticks as f64 / 100.0, peak.trim().trim_end_matches(" kB").parse().unwrap())
}
