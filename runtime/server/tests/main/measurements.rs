//! `/metrics`: every family, per connector and task, of a source and a sink that run.

use anyhow::{Result, ensure};
use serde_json::json;
use towpath_tests::unique;

use crate::Running;

/// Families of tasks, as Prometheus sees their samples.
const OF_TASKS: &[&str] = &[
    "task_records_total",
    "task_bytes_total",
    "task_batches_total",
    "task_delivered_total",
    "task_record_failures_total",
    "task_failures_total",
    "task_retries_total",
    "task_skipped_total",
    "task_dead_letters_total",
    "task_commits_total",
    "task_commit_failures_total",
    "task_lag_records",
    "task_held_bytes",
    "task_batch_seconds_bucket",
    "task_commit_seconds_count",
];

/// The value of a sample of task 0 of `connector`.
fn sample(text: &str, family: &str, connector: &str) -> Option<f64> {
    let start = format!("towpath_{family}{{");
    let labels = [format!("connector=\"{connector}\""), "task=\"0\"".to_owned()];
    let line = text
        .lines()
        .find(|line| line.starts_with(&start) && labels.iter().all(|label| line.contains(label)))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test]
async fn every_family_shows_for_every_task_and_goes_with_it() -> Result<()> {
    let running = Running::start("metrics", "offset.flush.interval.ms=200").await?;
    let topic = unique("metrics")?;
    std::fs::write(running.file("in"), "one\ntwo\nthree\n")?;
    let source = json!({
        "connector.class": "FileStreamSource",
        "file": running.file("in"),
        "topic": topic,
        "topic.creation.default.partitions": "1",
        "topic.creation.default.replication.factor": "1",
    });
    let sink =
        json!({"connector.class": "FileStreamSink", "topics": topic, "file": running.file("out")});
    // Names of consumer groups are shared by all that use the cluster.
    let (from, to) = (unique("from")?, unique("to")?);
    running.worker.put(&from, &source).await?;
    running.worker.put(&to, &sink).await?;
    let delivered = || async {
        let text = running.worker.get_text("/metrics").await.unwrap_or_default();
        [&from, &to].into_iter().all(|name| {
            sample(&text, "task_delivered_total", name) == Some(3.0)
                && sample(&text, "task_commits_total", name).is_some_and(|commits| commits > 0.0)
        }) && sample(&text, "task_lag_records", &to) == Some(0.0)
    };
    running.worker.until("three records are delivered and committed", delivered).await?;

    let text = running.worker.get_text("/metrics").await?;
    for connector in [&from, &to] {
        for family in OF_TASKS {
            ensure!(
                sample(&text, family, connector).is_some(),
                "{family} of {connector} is not in\n{text}"
            );
        }
        for (family, value) in [("task_records_total", 3.0), ("task_failures_total", 0.0)] {
            ensure!(
                sample(&text, family, connector) == Some(value),
                "{family} of {connector}\n{text}"
            );
        }
        for family in ["task_bytes_total", "task_batches_total", "task_batch_seconds_count"] {
            let some = sample(&text, family, connector).is_some_and(|value| value > 0.0);
            ensure!(some, "{family} of {connector}\n{text}");
        }
    }
    let memory = text.lines().find_map(|l| l.strip_prefix("towpath_worker_resident_memory_bytes "));
    let memory: f64 = memory.unwrap_or_default().parse()?;
    ensure!(memory > 1e6, "{memory} bytes of memory");
    ensure!(text.trim_end().ends_with("# EOF"), "the text has no end");

    running.worker.delete(&to).await?;
    let gone = || async {
        let text = running.worker.get_text("/metrics").await.unwrap_or_default();
        !text.contains(&format!("connector=\"{to}\""))
            && text.contains(&format!("connector=\"{from}\""))
    };
    running.worker.until("the deleted connector is no longer measured", gone).await
}
