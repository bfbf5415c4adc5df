//! kill -9 at random moments while files → Kafka → S3 runs.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::bucket::Bucket;
use crate::pipeline;
use crate::worker::Worker;
use crate::{server, unique};

/// Records of a round.
const TOTAL: usize = 40 * pipeline::FLUSH_SIZE;
/// Kills in a round.
const KILLS: usize = 4;

/// One round: every record is in the bucket, once and in order.
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
    let fleet = unique("kill")?;
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
    worker.put("files", &pipeline::source(&file, &topic)).await?;
    worker.put("objects", &pipeline::sink(&topic, &fleet)?).await?;
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
    let complete = || async {
        pipeline::arrived(&bucket, &topic).await.is_ok_and(|numbers| numbers.len() >= TOTAL)
    };
    worker.until("all records are in the bucket", complete).await?;
    worker.stop()?;
    pipeline::check_exactly(&pipeline::arrived(&bucket, &topic).await?, TOTAL)
}

/// A small generator, so that a seed says all.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % bound.max(1)
    }
}
