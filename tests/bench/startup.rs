//! How soon a worker answers, and what it weighs while it does nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use towpath_tests::worker::Worker;
use towpath_tests::{server, unique};

use crate::process;
use crate::report::Startup;

/// How long a worker does nothing before it is weighed.
const IDLE: Duration = Duration::from_secs(10);
/// Between two questions.
const ASK_EVERY: Duration = Duration::from_millis(2);
/// How long any answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts a worker `rounds` times, always with the same topics: the first start creates them and is not
/// counted.
pub(crate) async fn measure(dir: &Path, rounds: usize) -> Result<Startup> {
    let fleet = unique("bench-start")?;
    let mut worker = Worker::new(dir, &fleet, &server("TOWPATH_TEST_KAFKA")?, "")?;
    let mut startup = Startup::default();
    for round in 0..=rounds {
        let began = Instant::now();
        worker.start()?;
        // It answers `starting` with 503 before it answers `healthy`.
        let answer = answered(&worker, "/health", began, |_| true).await?;
        let healthy = answered(&worker, "/health", began, |status| status == 200).await?;
        let list = answered(&worker, "/connectors", began, |status| status == 200).await?;
        tokio::time::sleep(IDLE).await;
        let used = process::usage(worker.pid().context("no process")?)?;
        if round > 0 {
            startup.answer_ms.push(answer.as_secs_f64() * 1e3);
            startup.healthy_ms.push(healthy.as_secs_f64() * 1e3);
            startup.list_ms.push(list.as_secs_f64() * 1e3);
            startup.idle_mib.push(used.rss_mib);
        }
        worker.stop().await?;
    }
    Ok(startup)
}

async fn answered(
    worker: &Worker,
    path: &str,
    began: Instant,
    good: impl Fn(u16) -> bool,
) -> Result<Duration> {
    loop {
        // A new connection each time: a refused one says nothing about the next.
        let answer = reqwest::get(worker.url(path)).await;
        if answer.is_ok_and(|answer| good(answer.status().as_u16())) {
            return Ok(began.elapsed());
        }
        ensure!(began.elapsed() < PATIENCE, "{path} did not answer within {PATIENCE:?}");
        tokio::time::sleep(ASK_EVERY).await;
    }
}
