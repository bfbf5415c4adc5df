//! The binary's REST API, on a real Kafka: what was recorded of Kafka Connect's, and what Connect does not have.

mod clients;
mod measurements;
mod openapi;
mod replay;
mod tls;
mod versions;

use std::path::Path;

use anyhow::{Context, Result};
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use towpath_tests::worker::Worker;
use towpath_tests::{server, unique};

/// A worker that is ready, with a folder of its own.
struct Running {
    worker: Worker,
    dir: TempDir,
    client: Client,
}

impl Running {
    /// Starts one, with `extra` lines in its properties.
    async fn start(fleet: &str, extra: &str) -> Result<Self> {
        let mut running = Self::starting(fleet, extra)?;
        running.worker.start()?;
        running.worker.ready().await?;
        Ok(running)
    }

    /// The same, before it is started.
    fn starting(fleet: &str, extra: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let binary = Path::new(env!("CARGO_BIN_EXE_towpath"));
        let kafka = server("TOWPATH_TEST_KAFKA")?;
        let worker = Worker::of(binary, dir.path(), &unique(fleet)?, &kafka, extra)?;
        Ok(Self { worker, dir, client: Client::new() })
    }

    /// A request without a body, or with one that is sent as it is.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Option<&str>,
    ) -> Result<(StatusCode, Value)> {
        let url = format!("http://{}{path}", self.worker.address());
        let mut request = self.client.request(method, url);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        if let Some(body) = body {
            request = request.body(body.to_owned());
        }
        let response = request.send().await?;
        let (status, text) = (response.status(), response.text().await?);
        if text.is_empty() {
            return Ok((status, Value::Null));
        }
        let value =
            serde_json::from_str(&text).with_context(|| format!("{path}: {status} {text}"))?;
        Ok((status, value))
    }

    /// A file in the folder.
    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }
}
