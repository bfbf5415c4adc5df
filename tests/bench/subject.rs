//! A running worker, ours or genuine Connect: both are spoken to by the same calls.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use towpath_tests::worker::Worker;
use towpath_tests::{server, stack, unique};

use crate::memory::Bound;
use crate::process::{self, Usage};

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// The physical limit.
    Limit,
    /// This project.
    Towpath,
    /// Genuine Kafka Connect.
    Connect,
}

impl Subject {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Towpath => "Towpath",
            Self::Connect => "Kafka Connect",
        }
    }
}

/// Genuine Connect among the stack's servers.
const CONNECT: &str = "connect";

/// What both workers are told.
const SETTINGS: &str = "offset.flush.interval.ms=1000";

/// A worker that runs, fresh for each measurement.
pub(crate) struct Runtime {
    pub(crate) subject: Subject,
    url: String,
    pid: u32,
    client: reqwest::Client,
    /// Ours; it ends with this.
    worker: Option<Worker>,
}

impl Runtime {
    pub(crate) async fn start(subject: Subject, dir: &Path) -> Result<Self> {
        match subject {
            Subject::Towpath => Self::towpath(dir).await,
            _ => Self::connect().await,
        }
    }

    async fn towpath(dir: &Path) -> Result<Self> {
        let fleet = unique("bench")?;
        let mut worker = Worker::new(dir, &fleet, &server("TOWPATH_TEST_KAFKA")?, SETTINGS)?;
        worker.start()?;
        worker.ready().await?;
        Ok(Self {
            subject: Subject::Towpath,
            url: worker.url(""),
            pid: worker.pid().context("no process")?,
            client: reqwest::Client::new(),
            worker: Some(worker),
        })
    }

    /// `tests/stack` runs it, with the same settings.
    async fn connect() -> Result<Self> {
        stack::control(CONNECT, "start").await?;
        let pid = stack::control(CONNECT, "pid").await?.trim().parse()?;
        Ok(Self {
            subject: Subject::Connect,
            url: server("TOWPATH_TEST_CONNECT")?,
            pid,
            client: reqwest::Client::new(),
            worker: None,
        })
    }

    /// Has the kernel bound the memory of ours, as far as its user may.
    pub(crate) fn bound_memory(&self, bytes: u64) -> Result<Option<Bound>> {
        Bound::enforce(&format!("towpath-bench-{}", self.pid), self.pid, bytes)
    }

    pub(crate) fn usage(&self) -> Result<Usage> {
        process::usage(self.pid)
    }

    pub(crate) async fn put(&self, name: &str, config: &Value) -> Result<()> {
        let url = format!("{}/connectors/{name}/config", self.url);
        let response = self.client.put(url).json(config).send().await?;
        let status = response.status();
        ensure!(status.is_success(), "{name}: {status}: {}", response.text().await?);
        Ok(())
    }

    pub(crate) async fn delete(&self, name: &str) -> Result<()> {
        let response = self.client.delete(format!("{}/connectors/{name}", self.url)).send().await?;
        ensure!(response.status().is_success(), "{name}: {}", response.status());
        Ok(())
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        Ok(self.client.get(format!("{}{path}", self.url)).send().await?.json().await?)
    }

    /// Records that a sink has taken: by our metrics, and by the group's offsets, which Connect commits
    /// every second.
    pub(crate) async fn taken(&self, name: &str) -> Result<u64> {
        if self.subject == Subject::Towpath {
            let url = format!("{}/metrics", self.url);
            let text = self.client.get(url).send().await?.text().await?;
            let start = format!("towpath_task_records_total{{connector=\"{name}\"");
            let counts = text.lines().filter(|line| line.starts_with(&start));
            return Ok(counts
                .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
                .sum());
        }
        let said = self.get(&format!("/connectors/{name}/offsets")).await?;
        let offsets = said["offsets"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(offsets.iter().filter_map(|one| one["offset"]["kafka_offset"].as_u64()).sum())
    }

    /// Fails if a task of the connector has.
    pub(crate) async fn check(&self, name: &str) -> Result<()> {
        let status = self.get(&format!("/connectors/{name}/status")).await?;
        let failed = status["tasks"]
            .as_array()
            .is_some_and(|tasks| tasks.iter().any(|task| task["state"] == "FAILED"));
        ensure!(!failed, "{name} failed under {}: {status}", self.subject.name());
        Ok(())
    }

    pub(crate) async fn stop(mut self) -> Result<()> {
        match self.worker.as_mut() {
            Some(worker) => worker.stop().await,
            None => stack::control(CONNECT, "stop").await.map(drop),
        }
    }
}
