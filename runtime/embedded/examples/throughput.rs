//! How many small records a second go in and out, and how much disk and memory that takes.
//!
//! `cargo run --release -p towpath-embedded --example throughput -- [records] [max MiB] [fsync]`
#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use towpath_core::budget::Budget;
use towpath_core::ports::{
    ClientOverrides, Cluster, ConsumerEvent, ConsumerSpec, OutHeaders, OutRecord, ProducerSpec,
    Subscription,
};
use towpath_embedded::{Embedded, EmbeddedOptions};
use towpath_sdk::clock::SystemClock;

const BATCH: usize = 1000;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut args = std::env::args().skip(1);
    let records: usize = args.next().map_or(Ok(2_000_000), |text| text.parse())?;
    let max: Option<u64> = args.next().map(|text| text.parse()).transpose()?;
    let fsync = args.next().unwrap_or_else(|| "interval".to_owned()).parse()?;
    let path = std::env::temp_dir().join(format!("towpath-throughput-{}", std::process::id()));
    let options = EmbeddedOptions {
        fsync,
        max_bytes: max.map(|mib| mib << 20),
        ..EmbeddedOptions::default()
    };
    let cluster = Arc::new(Embedded::open(&path, options, Arc::new(SystemClock))?);
    let began = Instant::now();
    let writing = tokio::spawn(write(Arc::clone(&cluster), records));
    let reading = tokio::spawn(read(Arc::clone(&cluster), records));
    writing.await??;
    report("written", records, began, &path);
    reading.await??;
    report("read", records, began, &path);
    drop(cluster);
    std::fs::remove_dir_all(&path)?;
    Ok(())
}

async fn write(cluster: Arc<Embedded>, records: usize) -> Outcome<()> {
    let producer = cluster.producer(ProducerSpec::default()).await?;
    // Incompressible, and another slice for each record.
    let mut state = 88_172_645_463_325_252_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(1 << 20)
    .collect();
    let noise = Bytes::from(noise);
    let mut sent = 0;
    while sent < records {
        let batch: Vec<OutRecord> = (0..BATCH)
            .map(|n| OutRecord {
                topic: "t".into(),
                partition: None,
                key: Some(Bytes::from((sent + n).to_string())),
                value: Some(noise.slice((sent + n) * 61 % 1_000_000..).slice(..100)),
                timestamp: None,
                headers: OutHeaders::default(),
            })
            .collect();
        let mut left = batch;
        loop {
            let failures = producer.send(left.clone().into()).await?.await;
            let Some(first) = failures.first() else { break };
            if first.error.kind != towpath_core::ports::PortErrorKind::OutOfSpace {
                return Err(Box::new(first.error.clone()));
            }
            left = failures.iter().map(|f| left[f.index].clone()).collect();
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        sent += BATCH;
    }
    Ok(())
}

async fn read(cluster: Arc<Embedded>, records: usize) -> Outcome<()> {
    let spec = ConsumerSpec {
        group_id: "g".to_owned(),
        client_id: "throughput".to_owned(),
        subscription: Subscription::Topics(vec!["t".to_owned()]),
        overrides: ClientOverrides::new(),
        budget: Budget::new(16 << 20),
    };
    let mut consumer = cluster.consumer(spec).await?;
    let mut seen = 0;
    let mut batches = 0_u64;
    while seen < records {
        match consumer.next().await? {
            ConsumerEvent::Assigned { partitions, .. } => {
                consumer.start(partitions.into_iter().map(|p| (p, None)).collect()).await?;
            }
            ConsumerEvent::Batch(batch) => {
                seen += batch.rows.len();
                batches += 1;
                if batches.is_multiple_of(16) {
                    let end = vec![(batch.topic_partition.clone(), batch.end)];
                    drop(consumer.commit(end).await);
                }
            }
            _ => {}
        }
    }
    println!("{batches} batches");
    Ok(())
}

fn report(what: &str, records: usize, began: Instant, path: &Path) {
    let seconds = began.elapsed().as_secs_f64();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let memory = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    println!(
        "{what}: {:.0} records/s, {} MiB on disk, {}",
        records as f64 / seconds,
        disk(path) >> 20,
        memory
    );
}

/// Bytes that the files below `path` take.
fn disk(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => disk(&entry.path()),
            Ok(found) => found.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}
