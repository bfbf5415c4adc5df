//! One run of a connector, until all of its records are in Kafka.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::Bench;
use crate::report::Sample;
use crate::subject::Runtime;

/// Between two looks at the topics.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The most that a single run may take.
const PATIENCE: Duration = Duration::from_secs(900);

/// A connector, and what it is to write.
pub(super) struct Job {
    pub(super) name: String,
    pub(super) config: Value,
    /// The topics of its records, each with one partition.
    pub(super) topics: Vec<String>,
    pub(super) records: u64,
}

impl Bench<'_> {
    /// Creates the topics of a job: workers would do it one by one.
    pub(super) async fn create_topics(&self, job: &Job) -> Result<()> {
        for topic in &job.topics {
            self.kafka.create(topic, &[("retention.ms", "-1")]).await?;
        }
        Ok(())
    }

    /// What the topics of a job hold.
    fn arrived(&self, job: &Job) -> Result<u64> {
        job.topics.iter().try_fold(0, |sum, topic| Ok(sum + self.end(topic)?))
    }

    fn end(&self, topic: &str) -> Result<u64> {
        Ok(self.kafka.end(topic)?.try_into()?)
    }

    /// Runs a job: seconds from the first record seen in Kafka to the last, CPU from just before the
    /// connector is created to the last.
    pub(super) async fn work(&self, runtime: &Runtime, job: &Job) -> Result<Sample> {
        self.create_topics(job).await?;
        let before = runtime.usage()?;
        let began = Instant::now();
        runtime.put(&job.name, &job.config).await?;
        let mut first = None;
        // All topics get as many; to ask each time for those that are full would take too long.
        let each = job.records / job.topics.len() as u64;
        for topic in &job.topics {
            while self.end(topic)? < each {
                if self.end(topic)? > 0 {
                    first.get_or_insert_with(Instant::now);
                } else {
                    runtime.check(&job.name).await?;
                }
                let arrived = || self.arrived(job).unwrap_or_default();
                ensure!(
                    began.elapsed() < PATIENCE,
                    "only {} of {} records after {PATIENCE:?}",
                    arrived(),
                    job.records
                );
                tokio::time::sleep(LOOK_EVERY).await;
            }
            first.get_or_insert_with(Instant::now);
        }
        let seconds = first.map_or_else(|| began.elapsed(), |first| first.elapsed()).as_secs_f64();
        let after = runtime.usage()?;
        runtime.check(&job.name).await?;
        runtime.delete(&job.name).await?;
        Ok(Sample {
            arrived: self.arrived(job)?,
            seconds,
            cpu_seconds: after.cpu_seconds - before.cpu_seconds,
            peak_rss_mib: after.peak_rss_mib,
        })
    }

    /// Deletes the topics of a job, whose records would fill the disk.
    pub(super) async fn delete_topics(&self, job: &Job) -> Result<()> {
        let topics: Vec<&str> = job.topics.iter().map(String::as_str).collect();
        self.kafka.delete(&topics).await
    }
}
