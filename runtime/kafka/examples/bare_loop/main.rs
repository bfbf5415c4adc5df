//! What librdkafka alone can do: the limit that a worker is measured against.
//!
//! `bare_loop BROKERS TOPIC RECORDS [MODE]` prints one line of JSON: records, bytes of keys and values,
//! seconds, CPU seconds and the peak of resident memory. Modes that consume read the first RECORDS
//! records of a topic from its beginning:
//!
//! - `batch` (the default) takes messages with `rd_kafka_consume_batch_queue` (10 000 at most), adds
//!   their sizes up and gives them back: nothing is copied;
//! - `callback` takes them with `rd_kafka_consume_callback_queue` instead;
//! - `file:PATH` is `batch`, and writes each value and a line feed to a file through one buffer;
//! - `ports` goes through this crate's consumer, which copies each record into a batch.
//!
//! `produce:PATH` reads RECORDS lines of a file, hands each to `rd_kafka_produce` without a copy of
//! its own, and waits for all to be acknowledged.
//!
//! librdkafka is configured as this crate configures it, isolation level and idempotence included;
//! `LIBRDKAFKA=key=value,…` overrides that.
#![expect(unsafe_code, reason = "librdkafka's calls without anything around them")]
#![expect(clippy::print_stdout, reason = "a command-line tool")]
#![expect(clippy::unwrap_used, reason = "a measurement that fails shall stop")]

mod client;
mod consume;
mod ports;
mod produce;

use std::time::Instant;

/// What went through.
#[derive(Default)]
struct Count {
    records: u64,
    bytes: u64,
}

/// Which part of which topic of which cluster.
struct Work<'a> {
    brokers: &'a str,
    topic: &'a str,
    records: u64,
}

fn main() {
    let mut args = std::env::args().skip(1);
    let usage =
        "usage: bare_loop BROKERS TOPIC RECORDS [batch|callback|file:PATH|ports|produce:PATH]";
    let brokers = args.next().expect(usage);
    let topic = args.next().expect(usage);
    let records: u64 = args.next().expect(usage).parse().expect(usage);
    let mode = args.next().unwrap_or_else(|| "batch".to_owned());
    let work = Work { brokers: &brokers, topic: &topic, records };
    let start = Instant::now();
    let count = match mode.split_once(':') {
        Some(("file", path)) => consume::to_file(&work, path),
        Some(("produce", path)) => produce::from_file(&work, path),
        None if mode == "batch" => consume::by_batch(&work),
        None if mode == "callback" => consume::by_callback(&work),
        None if mode == "ports" => ports::consume(&work),
        _ => panic!("{usage}"),
    };
    let seconds = start.elapsed().as_secs_f64();
    let (cpu, peak_kib) = usage_so_far();
    println!(
        "{{\"records\":{},\"bytes\":{},\"seconds\":{seconds:.3},\"cpu_seconds\":{cpu:.3},\
         \"peak_rss_kib\":{peak_kib}}}",
        count.records, count.bytes
    );
}

fn overrides() -> Vec<(String, String)> {
    let text = std::env::var("LIBRDKAFKA").unwrap_or_default();
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
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
