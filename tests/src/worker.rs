//! A worker process under test.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::PATIENCE;

/// A worker's settings and, while it runs, its process.
pub struct Worker {
    binary: PathBuf,
    properties: PathBuf,
    log: PathBuf,
    port: u16,
    wrapper: Vec<String>,
    child: Option<Child>,
    client: reqwest::Client,
}

impl Worker {
    /// A worker of a fleet of its own, with `extra` lines in its properties; not started. The binary is
    /// the one that `TOWPATH_BIN` names.
    ///
    /// # Errors
    /// If its files can't be written.
    pub fn new(dir: &Path, fleet: &str, bootstrap: &str, extra: &str) -> Result<Self> {
        let binary = std::env::var_os("TOWPATH_BIN")
            .map(PathBuf::from)
            .context("TOWPATH_BIN is not set: it names the built towpath (tests/run sets it)")?;
        Self::of(&binary, dir, fleet, bootstrap, extra)
    }

    /// The same with a binary that the caller knows.
    ///
    /// # Errors
    /// If its files can't be written.
    pub fn of(
        binary: &Path,
        dir: &Path,
        fleet: &str,
        bootstrap: &str,
        extra: &str,
    ) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let text = format!(
            "bootstrap.servers={bootstrap}\n\
             group.id={fleet}\n\
             config.storage.topic={fleet}-configs\n\
             offset.storage.topic={fleet}-offsets\n\
             status.storage.topic={fleet}-status\n\
             config.storage.replication.factor=1\n\
             offset.storage.replication.factor=1\n\
             status.storage.replication.factor=1\n\
             offset.storage.partitions=3\n\
             listeners=http://127.0.0.1:{port}\n\
             key.converter=org.apache.kafka.connect.storage.StringConverter\n\
             value.converter=org.apache.kafka.connect.storage.StringConverter\n\
             {extra}\n"
        );
        let properties = dir.join(format!("{fleet}.properties"));
        fs::write(&properties, text)?;
        let binary = binary.to_owned();
        let log = dir.join(format!("{fleet}.log"));
        Ok(Self {
            binary,
            properties,
            log,
            port,
            wrapper: Vec::new(),
            child: None,
            client: reqwest::Client::new(),
        })
    }

    /// Starts it by `wrapper`, a command that runs the command which follows it, in its own process.
    #[must_use]
    pub fn wrapped(mut self, wrapper: Vec<String>) -> Self {
        self.wrapper = wrapper;
        self
    }

    /// Appends `lines` to its properties; of a key that is there twice, the last counts.
    ///
    /// # Errors
    /// If they can't be written.
    pub fn set(&self, lines: &str) -> Result<()> {
        let text = fs::read_to_string(&self.properties)?;
        Ok(fs::write(&self.properties, text + lines)?)
    }

    /// `host:port` of its REST API, which is its name in the fleet.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts the process.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn start(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "the worker runs already");
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut words = self.wrapper.iter().map(AsRef::as_ref).chain([self.binary.as_os_str()]);
        let child = Command::new(words.next().context("no command")?)
            .args(words)
            .arg("worker")
            .arg(&self.properties)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", self.binary.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// kill -9.
    ///
    /// # Errors
    /// If there is nothing to kill.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the worker does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// If it does not end well in time.
    pub async fn stop(&mut self) -> Result<()> {
        let pid = self.pid().context("the worker does not run")?;
        let sent = Command::new("kill").arg(pid.to_string()).status()?;
        ensure!(sent.success(), "kill failed");
        let status = self.ended().await?;
        ensure!(status.success(), "the worker ended with {status}");
        Ok(())
    }

    /// Waits until it has ended by itself, and says how.
    ///
    /// # Errors
    /// If it does not in time.
    pub async fn ended(&mut self) -> Result<std::process::ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let child = self.child.as_mut().context("the worker does not run")?;
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "the worker still runs after {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What it has logged.
    ///
    /// # Errors
    /// If that can't be read.
    pub fn logged(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.log)?)
    }

    /// Where `path` is served.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// `GET path`.
    ///
    /// # Errors
    /// If it is not answered with JSON.
    pub async fn get(&self, path: &str) -> Result<Value> {
        Ok(self.client.get(self.url(path)).send().await?.json().await?)
    }

    /// `GET path` as text.
    ///
    /// # Errors
    /// If it is not answered.
    pub async fn get_text(&self, path: &str) -> Result<String> {
        Ok(self.client.get(self.url(path)).send().await?.text().await?)
    }

    /// Creates or changes a connector.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn put(&self, name: &str, config: &Value) -> Result<()> {
        let url = self.url(&format!("/connectors/{name}/config"));
        let response = self.client.put(url).json(config).send().await?;
        let status = response.status();
        let text = response.text().await?;
        ensure!(status.is_success(), "{name}: {status}: {text}");
        Ok(())
    }

    /// `PUT path`, with the status of the answer and its JSON, if it has any.
    ///
    /// # Errors
    /// If it is not answered.
    pub async fn put_path(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        let response = self.client.put(self.url(path)).json(body).send().await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    /// `POST /connectors`: creates a connector from its name and config.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn create(&self, request: &Value) -> Result<()> {
        let response = self.client.post(self.url("/connectors")).json(request).send().await?;
        let status = response.status();
        let text = response.text().await?;
        ensure!(status.is_success(), "{status}: {text}");
        Ok(())
    }

    /// `DELETE path`, with the status of the answer.
    ///
    /// # Errors
    /// If it is not answered.
    pub async fn delete_path(&self, path: &str) -> Result<(u16, String)> {
        let response = self.client.delete(self.url(path)).send().await?;
        Ok((response.status().as_u16(), response.text().await?))
    }

    /// Deletes a connector.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn delete(&self, name: &str) -> Result<()> {
        self.delete_leftovers(name).await.map(drop)
    }

    /// Deletes a connector; what the answer says that stays outside.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn delete_leftovers(&self, name: &str) -> Result<Vec<String>> {
        let response = self.client.delete(self.url(&format!("/connectors/{name}"))).send().await?;
        ensure!(response.status().as_u16() == 204, "delete {name}: {}", response.status());
        let said = response.headers().get_all("towpath-leftover").iter();
        said.map(|text| Ok(text.to_str()?.to_owned())).collect()
    }

    /// `POST path`, with the status of the answer.
    ///
    /// # Errors
    /// If it is not answered.
    pub async fn post_path(&self, path: &str, body: &Value) -> Result<u16> {
        let response = self.client.post(self.url(path)).json(body).send().await?;
        Ok(response.status().as_u16())
    }

    /// `POST path`.
    ///
    /// # Errors
    /// If it is not a success.
    pub async fn post(&self, path: &str) -> Result<()> {
        let response = self.client.post(self.url(path)).json(&json!({})).send().await?;
        ensure!(response.status().is_success(), "{path}: {}", response.status());
        Ok(())
    }

    /// Waits until `/health` says that it is ready.
    ///
    /// # Errors
    /// If it does not in time, with the end of its log.
    pub async fn ready(&self) -> Result<()> {
        let check = async || {
            let response = self.client.get(self.url("/health")).send().await;
            response.is_ok_and(|r| r.status().is_success())
        };
        self.until("the worker is ready", check).await
    }

    /// Waits until `check` holds.
    ///
    /// # Errors
    /// If it does not in time, with the end of the worker's log.
    pub async fn until(&self, what: &str, mut check: impl AsyncFnMut() -> bool) -> Result<()> {
        self.until_some(what, async || check().await.then_some(())).await
    }

    /// Waits until `check` finds something.
    ///
    /// # Errors
    /// If it does not in time, with the end of the worker's log.
    pub async fn until_some<T>(
        &self,
        what: &str,
        mut check: impl AsyncFnMut() -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = check().await {
                return Ok(found);
            }
            if Instant::now() > deadline {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(40)..].join("\n");
                bail!("waited {PATIENCE:?} in vain until {what}; the log ends with\n{tail}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _killed = child.kill().is_ok();
            let _waited = child.wait().is_ok();
        }
    }
}
