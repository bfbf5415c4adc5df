//! kill -9 at random moments while files → Kafka → S3 runs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::bucket::Bucket;
use crate::pipeline::{self, Shape};
use crate::worker::Worker;
use crate::{server, unique};

/// Records of a round.
const TOTAL: usize = 40 * pipeline::FLUSH_SIZE;
/// Kills in a round.
const KILLS: usize = 4;

/// Records that are appended at once to fill the last objects.
const FILLERS: usize = 2 * pipeline::FLUSH_SIZE;

/// One round: every record is in the bucket, once, and in order per Kafka partition and path.
///
/// # Errors
/// If one is not, with the seed.
pub async fn round(seed: u64) -> Result<()> {
    let dir = std::env::temp_dir().join(unique("towpath-kill")?);
    std::fs::create_dir_all(&dir)?;
    let outcome = run(seed, &dir).await.with_context(|| {
        format!("kill round with seed {seed}; the worker's files are in {}", dir.display())
    });
    if outcome.is_ok() {
        std::fs::remove_dir_all(&dir)?;
    }
    outcome
}

async fn run(seed: u64, dir: &std::path::Path) -> Result<()> {
    let (fleet, shape) = (unique("kill")?, Shape::of(seed));
    let topic = format!("{fleet}-topic");
    let bucket = Bucket::create(&fleet).await?;
    let file = dir.join("in.jsonl");
    let mut random = Random(seed);
    let mut worker = Worker::new(
        dir,
        &fleet,
        &server("TOWPATH_TEST_KAFKA")?,
        "exactly.once.source.support=enabled\noffset.flush.interval.ms=500\nsession.timeout.ms=6000",
    )?;
    worker.start()?;
    worker.ready().await?;
    pipeline::append(&file, 0, 1)?;
    worker.put("files", &pipeline::source(&file, &topic, shape)).await?;
    worker.put("objects", &pipeline::sink(&topic, &fleet, shape)?).await?;
    let mut written = 1;
    for _ in 0..KILLS {
        let until = written + (TOTAL - written) / 2;
        while written < until {
            let next = (written + 200 + random.below(800)).min(until);
            pipeline::append(&file, written, next)?;
            written = next;
            tokio::time::sleep(Duration::from_millis(20 + random.below(100) as u64)).await;
        }
        tokio::time::sleep(Duration::from_millis(random.below(1500) as u64)).await;
        worker.kill()?;
        worker.start()?;
        if random.below(2) == 0 {
            worker.ready().await?;
        }
    }
    pipeline::append(&file, written, TOTAL)?;
    fill_up(&worker, &bucket, &topic, &file, shape).await?;
    check_guarantee(&worker.get("/towpath/v1/connectors/objects/status").await?)?;
    worker.stop().await?;
    pipeline::check_exactly(&pipeline::arrived(&bucket, &topic).await?, TOTAL)
}

/// The sink promises what the round has shown: its objects' bounds are deterministic.
fn check_guarantee(status: &serde_json::Value) -> Result<()> {
    let tasks = status["tasks"].as_array().filter(|tasks| !tasks.is_empty());
    for task in tasks.context("the sink has no tasks")? {
        let guarantee = &task["guarantee"];
        ensure!(guarantee["delivery"] == "exactly-once", "task {task}");
        ensure!(guarantee["because"].as_str().is_some_and(|why| why.contains("offset")), "{task}");
    }
    Ok(())
}

/// Waits until all records are in the bucket. Where they are spread over partitions, further ones
/// must come until each partition's last objects are full.
async fn fill_up(
    worker: &Worker,
    bucket: &Bucket,
    topic: &str,
    file: &std::path::Path,
    shape: Shape,
) -> Result<()> {
    let mut filled = TOTAL;
    let complete = async || {
        let arrived = pipeline::arrived(bucket, topic).await.unwrap_or_default();
        if pipeline::count(&arrived, TOTAL) >= TOTAL {
            return true;
        }
        let open = shape == Shape::ManyPaths && arrived.values().map(Vec::len).sum::<usize>() > 0;
        if open && filled < 2 * TOTAL {
            let next = filled + FILLERS;
            if pipeline::append(file, filled, next).is_ok() {
                filled = next;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        false
    };
    worker.until("all records are in the bucket", complete).await
}

/// A small generator, so that a seed says all.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % bound.max(1)
    }
}
