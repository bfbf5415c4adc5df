//! From a commit to its record in a consumer's hands.
//!
//! Both ends are seen by the same clock: the server's time of the commit, which the record's block
//! `source` carries, and the time at which a consumer has the record.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::{MissedTickBehavior, interval};
use towpath_tests::{server, unique};

use super::database::{COLUMNS, Database};
use super::work::Job;
use super::{Bench, config};
use crate::latencies::{Latencies, Latency};
use crate::subject::{Runtime, Subject};

const TABLE: &str = "ticks";
/// How long a worker may take until it reads the slot.
const PATIENCE: Duration = Duration::from_secs(120);

/// A steady load.
#[derive(Debug, Clone, Copy)]
struct Load {
    /// Rows of a transaction.
    rows: u64,
    /// From one transaction to the next.
    every: Duration,
    /// At first, uncounted.
    warm_up: Duration,
    counted: Duration,
}

impl Load {
    const fn new(rows: u64, every_ms: u64, short: bool) -> Self {
        let (warm_up, counted) = if short { (1, 2) } else { (5, 20) };
        Self {
            rows,
            every: Duration::from_millis(every_ms),
            warm_up: Duration::from_secs(warm_up),
            counted: Duration::from_secs(counted),
        }
    }

    fn transactions(&self) -> u64 {
        ((self.warm_up + self.counted).as_micros() / self.every.as_micros()) as u64
    }
}

pub(super) async fn measure(bench: &Bench<'_>, database: &Database) -> Result<Vec<Latencies>> {
    database.execute(&format!("create table {TABLE} ({COLUMNS})")).await?;
    let mut reports = Vec::new();
    for (rate, load, how) in [
        (200, Load::new(1, 5, bench.short), "a transaction each"),
        (5000, Load::new(50, 10, bench.short), "in transactions of 50"),
    ] {
        let mut report = Latencies::new(
            super::Capture::Latency.name(),
            format!(
                "{rate} inserted rows a second, {how}; from the server's time of the commit to a \
                 consumer's hands; settings as in pg-snapshot"
            ),
        );
        for round in 1..=bench.rounds {
            for subject in bench.workers() {
                let what = format!("pg-latency at {rate}/s, {}, round {round}", subject.name());
                let sample = worker(bench, database, subject, load).await;
                let sample = sample.with_context(|| what.clone())?;
                crate::say(&format!("{what}: {sample}"));
                report.add(subject, sample);
            }
        }
        reports.push(report);
    }
    Ok(reports)
}

async fn worker(
    bench: &Bench<'_>,
    database: &Database,
    subject: Subject,
    load: Load,
) -> Result<Latency> {
    let name = unique("latency")?.replace('-', "_");
    database.execute(&format!("truncate {TABLE}")).await?;
    database.create_slot(&name, &format!("table {TABLE}")).await?;
    let runtime = Runtime::start(subject, bench.dir).await?;
    let job = Job {
        config: config(database, subject, &name, &format!(r"public\.{TABLE}"), "no_data"),
        topics: vec![format!("{name}.public.{TABLE}")],
        records: load.rows * load.transactions(),
        name,
    };
    bench.create_topics(&job).await?;
    runtime.put(&job.name, &job.config).await?;
    reads_slot(database, &job.name).await?;
    let topic = job.topics.first().context("no topic")?.clone();
    let records = job.records;
    let watching = tokio::task::spawn_blocking(move || watch(&topic, records));
    let before = runtime.usage()?;
    let began_us = now_us()?;
    write(database, load).await?;
    let seen = watching.await??;
    let after = runtime.usage()?;
    runtime.check(&job.name).await?;
    runtime.delete(&job.name).await?;
    database.forget(&job.name).await?;
    bench.delete_topics(&job).await?;
    runtime.stop().await?;
    let counted_from = began_us + i64::try_from(load.warm_up.as_micros())?;
    let counted = seen.iter().filter(|(committed, _)| *committed >= counted_from);
    let mut micros: Vec<i64> = counted.map(|(committed, seen)| seen - committed).collect();
    micros.sort_unstable();
    ensure!(!micros.is_empty(), "no record was counted");
    let at = |part: f64| {
        let place = ((micros.len() as f64 * part).ceil() as usize).clamp(1, micros.len());
        micros.get(place - 1).copied().unwrap_or_default() as f64 / 1000.0
    };
    Ok(Latency {
        counted: micros.len() as u64,
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        max_ms: at(1.0),
        cpu_seconds: after.cpu_seconds - before.cpu_seconds,
        records,
        peak_rss_mib: after.peak_rss_mib,
    })
}

async fn reads_slot(database: &Database, name: &str) -> Result<()> {
    let sql =
        format!("select count(*) from pg_replication_slots where slot_name = '{name}' and active");
    let began = Instant::now();
    while database.number(&sql).await? == 0 {
        ensure!(began.elapsed() < PATIENCE, "the slot {name} is not read after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Inserts rows at a steady rate; what was late is made up for.
async fn write(database: &Database, load: Load) -> Result<()> {
    let client = database.connect().await?;
    let sql = format!(
        "insert into {TABLE} select n, 'name of ' || n || ' ' || md5(n::text),
                (n % 1000000) / 100.0, now() from generate_series($1::int4, $2::int4) n"
    );
    let insert = client.prepare(&sql).await?;
    let mut ticks = interval(load.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let rows = i32::try_from(load.rows)?;
    for n in 0..i32::try_from(load.transactions())? {
        ticks.tick().await;
        client.execute(&insert, &[&(n * rows + 1), &((n + 1) * rows)]).await?;
    }
    Ok(())
}

fn now_us() -> Result<i64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros().try_into()?)
}

/// Reads `records` from `topic`: when each was committed, and when it came here.
fn watch(topic: &str, records: u64) -> Result<Vec<(i64, i64)>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", server("TOWPATH_TEST_KAFKA")?)
        .set("group.id", "never-joined")
        .set("enable.auto.commit", "false")
        .create()?;
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, 0, Offset::Beginning)?;
    consumer.assign(&assignment)?;
    let mut seen = Vec::with_capacity(usize::try_from(records)?);
    while (seen.len() as u64) < records {
        let Some(message) = consumer.poll(PATIENCE) else {
            bail!("only {} of {records} records came", seen.len())
        };
        let message = message?;
        let now = now_us()?;
        let value = message.payload().context("a record without a value")?;
        seen.push((committed_us(value).context("no time of the commit")?, now));
    }
    Ok(seen)
}

/// `ts_us` of the block `source`, which is the first of two in a change.
fn committed_us(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    let (_, rest) = text.split_once(r#""source":"#)?.1.split_once(r#""ts_us":"#)?;
    rest.split_once([',', '}'])?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_commit_is_the_sources() {
        let value = br#"{"after":{"ts_us":1},"source":{"db":"x","ts_us":23,"ts_ns":4},"ts_us":5}"#;
        assert_eq!(committed_us(value), Some(23));
        assert_eq!(committed_us(b"{}"), None);
    }
}
