//! A worker in trouble, and what it says.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::bucket::Bucket;
use crate::pipeline::Shape;
use crate::worker::Worker;
use crate::{pipeline, server, unique, with};

/// A folder, names that nobody else uses, and a worker.
pub(super) struct Rig {
    pub(super) dir: PathBuf,
    pub(super) fleet: String,
    pub(super) worker: Worker,
}
/// Lines of `file` to `topic`.
pub(super) fn source(file: &Path, topic: &str) -> Value {
    pipeline::source(file, topic, Shape::OnePartition)
}

/// Values of `topic` to lines of `file`.
pub(super) fn file_sink(topic: &str, file: &Path) -> Value {
    json!({ "connector.class": "FileStreamSink", "topics": topic, "file": file })
}

/// Numbered records of `topic` to objects of ten.
pub(super) fn s3_sink(topic: &str, bucket: &str) -> Result<Value> {
    Ok(with(pipeline::sink(topic, bucket, Shape::OnePartition)?, json!({ "flush.size": "10" })))
}

/// What S3 objects hold, as far as it can be read.
pub(super) async fn count(bucket: &Bucket, topic: &str) -> usize {
    pipeline::arrived(bucket, topic).await.map_or(0, |found| found.values().map(Vec::len).sum())
}

/// Every one of `expect` stands in `file`, the first times in order; what stands there again must have
/// stood there before (at least once, and in order).
pub(super) fn check_lines(file: &Path, expect: &[String], repeats: bool) -> Result<()> {
    let text = std::fs::read_to_string(file)?;
    ensure!(text.is_empty() || text.ends_with('\n'), "{}: the last line is torn", file.display());
    let mut next = 0;
    for (place, line) in text.lines().enumerate() {
        if expect.get(next).is_some_and(|wanted| wanted == line) {
            next += 1;
        } else {
            let known = expect[..next].iter().any(|before| before == line);
            ensure!(known && repeats, "{}, line {place}: {line} is out of place", file.display());
        }
    }
    ensure!(next == expect.len(), "{}: {next} of {} lines", file.display(), expect.len());
    Ok(())
}

impl Rig {
    /// A worker that is not started.
    pub(super) fn planned(name: &str, bootstrap: &str, extra: &str) -> Result<Self> {
        let fleet = unique(name)?;
        let dir = std::env::temp_dir().join(format!("towpath-{fleet}"));
        std::fs::create_dir_all(&dir)?;
        let quick =
            "offset.flush.interval.ms=500\nsession.timeout.ms=6000\nheartbeat.interval.ms=500";
        let worker = Worker::new(&dir, &fleet, bootstrap, &format!("{quick}\n{extra}"))?;
        Ok(Self { dir, fleet, worker })
    }

    /// A worker on the stack's Kafka that is ready.
    pub(super) async fn ready(name: &str, extra: &str) -> Result<Self> {
        let mut rig = Self::planned(name, &server("TOWPATH_TEST_KAFKA")?, extra)?;
        rig.worker.start()?;
        rig.worker.ready().await?;
        Ok(rig)
    }

    /// A name that begins with the fleet's: connectors share Kafka's groups.
    pub(super) fn name(&self, what: &str) -> String {
        format!("{}-{what}", self.fleet)
    }

    /// A file in its folder.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// All that `/towpath/v1` tells of the units of a connector: states and reasons.
    pub(super) async fn units(&self, connector: &str) -> Result<Vec<(String, String)>> {
        let path = format!("/towpath/v1/connectors/{connector}/status");
        let detail = self.worker.get(&path).await?;
        let tasks = detail["tasks"].as_array().cloned().unwrap_or_default();
        let units = std::iter::once(&detail["connector"]).chain(&tasks);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(units.map(|unit| (text(&unit["state"]), text(&unit["reason"]))).collect())
    }

    /// Waits until a unit of `connector` is in `state`, or in any, for a reason that contains all
    /// `fragments`.
    async fn says(
        &self,
        connector: &str,
        state: Option<&str>,
        fragments: &[&str],
    ) -> Result<String> {
        let fits = |(found, reason): &(String, String)| {
            state.is_none_or(|state| found == state)
                && fragments.iter().all(|fragment| reason.contains(fragment))
        };
        let mut last = Vec::new();
        let what =
            format!("{connector} is {} because of {fragments:?}", state.unwrap_or("as it is"));
        let outcome = self
            .worker
            .until_some(&what, async || {
                last = self.units(connector).await.ok()?;
                last.iter().find(|unit| fits(unit)).map(|(_, reason)| reason.clone())
            })
            .await;
        outcome.with_context(|| format!("last it said {last:?}"))
    }

    /// It waits, says so, and is RUNNING for Connect's clients.
    pub(super) async fn waits(&self, connector: &str, fragments: &[&str]) -> Result<String> {
        let reason = self.says(connector, Some("waiting"), fragments).await?;
        let status = self.worker.get(&format!("/connectors/{connector}/status")).await?;
        let states: Vec<&Value> =
            status["tasks"].as_array().into_iter().flatten().map(|task| &task["state"]).collect();
        ensure!(
            states.iter().all(|s| *s == "RUNNING" || *s == "UNASSIGNED"),
            "{connector}: {status}"
        );
        Ok(reason)
    }

    /// A unit says `fragments`, whatever its state.
    pub(super) async fn says_anyhow(&self, connector: &str, fragments: &[&str]) -> Result<()> {
        self.says(connector, None, fragments).await.map(drop)
    }

    /// A task has failed and says why, there and to Connect's clients.
    pub(super) async fn fails(&self, connector: &str, fragments: &[&str]) -> Result<()> {
        self.says(connector, Some("failed"), fragments).await?;
        let shown = async || {
            let status = self.worker.get(&format!("/connectors/{connector}/status")).await.ok()?;
            let failed = status["tasks"].as_array()?.iter().find(|t| t["state"] == "FAILED")?;
            failed["trace"].as_str().map(str::to_owned)
        };
        let trace = self.worker.until_some(&format!("{connector} is FAILED"), shown).await?;
        for fragment in fragments {
            ensure!(trace.contains(fragment), "{connector}: the trace lacks {fragment:?}: {trace}");
        }
        Ok(())
    }

    /// All of it runs, without a reason.
    pub(super) async fn runs(&self, connector: &str) -> Result<()> {
        let mut last = Vec::new();
        let running = async || {
            last = self.units(connector).await.ok()?;
            let well = last.iter().all(|(state, reason)| state == "running" && reason.is_empty());
            (last.len() > 1 && well).then_some(())
        };
        let outcome = self.worker.until_some(&format!("{connector} runs"), running).await;
        outcome.with_context(|| format!("last it said {last:?}"))
    }

    /// `/health` says all `fragments`.
    pub(super) async fn health_says(&self, fragments: &[&str]) -> Result<String> {
        let mut last = String::new();
        let said = async || {
            last = self.worker.get_text("/health").await.ok()?;
            fragments.iter().all(|fragment| last.contains(fragment)).then(|| last.clone())
        };
        let outcome = self.worker.until_some(&format!("/health says {fragments:?}"), said).await;
        outcome.with_context(|| format!("last it said {last}"))
    }

    /// Waits until `file` has at least `count` lines.
    pub(super) async fn until_lines(&self, file: &Path, count: usize) -> Result<()> {
        let what = format!("{count} lines are in {}", file.display());
        let full =
            async || std::fs::read_to_string(file).is_ok_and(|text| text.lines().count() >= count);
        self.worker.until(&what, full).await
    }

    /// Stops the worker, which must end well, and removes the folder.
    pub(super) async fn end(mut self) -> Result<()> {
        self.worker.stop().await?;
        std::fs::remove_dir_all(&self.dir)?;
        Ok(())
    }
}

/// Numbered lines.
pub(super) fn lines(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|n| format!("line {n}")).collect()
}

/// Appends lines to `file`.
pub(super) fn append(file: &Path, lines: &[String]) -> Result<()> {
    use std::io::Write as _;
    let mut out = std::fs::OpenOptions::new().create(true).append(true).open(file)?;
    out.write_all((lines.join("\n") + "\n").as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_of_lines_sees_loss_disorder_and_torn_lines() {
        let file = std::env::temp_dir().join(unique("lines").unwrap());
        let check = |text: &str, repeats| {
            std::fs::write(&file, text).unwrap();
            check_lines(&file, &lines(0, 3), repeats).is_ok()
        };
        assert!(check("line 0\nline 1\nline 2\n", false));
        assert!(check("line 0\nline 1\nline 0\nline 1\nline 2\n", true));
        assert!(!check("line 0\nline 1\nline 0\nline 1\nline 2\n", false));
        assert!(!check("line 0\nline 2\nline 1\n", true));
        assert!(!check("line 0\nline 1\n", true));
        assert!(!check("line 0\nline 1\nline 2", true));
        std::fs::remove_file(&file).unwrap();
    }
}
