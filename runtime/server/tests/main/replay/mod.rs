//! Genuine Kafka Connect's recorded exchanges, repeated against a worker of ours.
//!
//! Duty: the same requests in the same order, to one worker on a real Kafka; each answer is held against the
//! recorded one. What differs must stand in the table of deliberate differences, exactly; what stands there
//! must differ. An answer to a `GET` may take a while to come about, since what was asked for before it does.

mod compare;
mod differences;
mod document;
mod exchange;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};
use towpath_tests::worker::Worker;
use towpath_tests::{server, unique};

use compare::{Answer, Found, HEADERS, compare};
use differences::{DIFFERENCES, Difference};
use exchange::{Exchange, Names, recorded};

/// How long an answer may take to become the recorded one.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same once an exchange failed: the next ones are then only tried to report them together.
const PATIENCE_AFTER_FAILURE: Duration = Duration::from_secs(2);
/// What the source's file holds: its recorded offsets are 17, its length, and 6, after its first line.
const LINES: &str = "hello\nworld\nbye!\n";

/// States that were waited for while recording: before the exchange, the connector has this many tasks and it
/// and they are in this state.
const SETTLED: &[(u16, &str, usize, &str)] = &[
    (33, "file-sink", 2, "RUNNING"),
    (33, "file-source", 1, "RUNNING"),
    (78, "moved", 2, "RUNNING"),
    (79, "moved", 1, "RUNNING"),
    (82, "file-sink", 1, "RUNNING"),
    (83, "file-sink", 1, "RUNNING"),
    (84, "file-sink", 1, "RUNNING"),
    (87, "file-sink", 1, "RUNNING"),
];

/// Before this exchange, this logger has this level: a level for the fleet goes by the config topic, and
/// the answer to the exchange says whether it has arrived.
const FLEET_LEVEL: (u16, &str, &str) =
    (153, "org.apache.kafka.connect.runtime.WorkerSinkTask", "INFO");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_exchanges_are_answered_alike() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let suffix = unique("-r")?;
    let fleet = format!("replay{suffix}");
    let binary = Path::new(env!("CARGO_BIN_EXE_towpath"));
    let kafka = server("TOWPATH_TEST_KAFKA")?;
    let mut worker = Worker::of(binary, dir.path(), &fleet, &kafka, CONVERTERS)?;
    std::fs::write(dir.path().join("file-source.in"), LINES)?;
    worker.start()?;
    create_topic(&format!("t-file{suffix}")).await?;
    worker.ready().await?;
    let files = dir.path().to_str().context("a folder with a name in UTF-8")?.to_owned();
    let names = Names { address: worker.address(), files, suffix };
    let run = Run { worker: &worker, names, client: reqwest::Client::new() };
    let mut wrong = Vec::new();
    let mut shown = BTreeSet::new();
    for exchange in recorded()? {
        let patience = if wrong.is_empty() { PATIENCE } else { PATIENCE_AFTER_FAILURE };
        match run.exchange(&exchange, patience).await {
            Ok(places) => shown.extend(places),
            Err(error) => {
                let Exchange { n, title, method, path, .. } = exchange;
                wrong.push(format!("{n} ({title}) {method} {path}: {error:#}"));
            }
        }
    }
    for (index, difference) in DIFFERENCES.iter().enumerate() {
        for place in (0..difference.ours.places()).filter(|place| !shown.contains(&(index, *place)))
        {
            let Difference { exchanges, reason, .. } = difference;
            wrong.push(format!(
                "place {place} of the differences of {exchanges:?} did not show: {reason}"
            ));
        }
    }
    ensure!(wrong.is_empty(), "{} exchanges differ:\n{}", wrong.len(), wrong.join("\n"));
    worker.stop().await
}

/// The recorded worker's converters, which are Connect's example's.
const CONVERTERS: &str = "key.converter=org.apache.kafka.connect.json.JsonConverter\n\
                          value.converter=org.apache.kafka.connect.json.JsonConverter";

async fn create_topic(topic: &str) -> Result<()> {
    let tool = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/stack/kafka-tool");
    let mut command = tokio::process::Command::new(tool);
    command.arg(server("TOWPATH_TEST_STACK")?).args(["topics", "--create", "--topic", topic]);
    command.args(["--partitions", "1", "--replication-factor", "1"]);
    let output = command.stdin(Stdio::null()).output().await.context("run kafka-tool")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

struct Run<'w> {
    worker: &'w Worker,
    names: Names,
    client: reqwest::Client,
}

impl Run<'_> {
    /// Repeats an exchange, until its answer is right if repeating changes nothing.
    async fn exchange(
        &self,
        exchange: &Exchange,
        patience: Duration,
    ) -> Result<Vec<(usize, usize)>> {
        if exchange.n == FLEET_LEVEL.0 {
            self.level_arrived(FLEET_LEVEL.1, FLEET_LEVEL.2).await?;
        }
        for (_, name, tasks, state) in SETTLED.iter().filter(|(n, ..)| *n == exchange.n) {
            self.settled(name, *tasks, state).await?;
        }
        let deadline = Instant::now() + patience;
        let expected = Answer {
            status: exchange.status,
            headers: exchange.headers.clone(),
            body: exchange.response.clone(),
        };
        loop {
            let ours = self.send(exchange).await?;
            match judge(exchange.n, &compare(&expected, &ours)) {
                Ok(places) => return Ok(places),
                Err(_) if exchange.method == "GET" && Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn level_arrived(&self, logger: &str, level: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let path = format!("/admin/loggers/{logger}");
        while self.worker.get(&path).await?["level"] != level {
            ensure!(Instant::now() < deadline, "{logger} did not get the level {level}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn settled(&self, name: &str, tasks: usize, state: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let path = self.names.ours(&format!("/connectors/{name}/status"));
        loop {
            let status = self.worker.get(&path).await?;
            let found = status["tasks"].as_array().map(Vec::as_slice).unwrap_or_default();
            let in_state =
                found.iter().chain([&status["connector"]]).all(|one| one["state"] == state);
            if found.len() == tasks && in_state {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{name} did not come to have {tasks} tasks in state {state}: {status}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn send(&self, exchange: &Exchange) -> Result<Answer> {
        let url = format!("http://{}{}", self.names.address, self.names.ours(&exchange.path));
        let mut request = self.client.request(exchange.method.parse()?, url);
        let body = exchange
            .request
            .as_ref()
            .map(Value::to_string)
            .or_else(|| exchange.request_text.clone());
        if let Some(body) = body {
            let content_type = exchange.content_type.as_deref().unwrap_or("application/json");
            request = request.header("content-type", content_type).body(self.names.ours(&body));
        }
        let response = request.send().await?;
        let header = |name: &&str| {
            let value = response.headers().get(*name)?.to_str().ok()?;
            Some(((*name).to_owned(), Value::String(self.names.recorded(value))))
        };
        let headers: Map<String, Value> = HEADERS.iter().filter_map(header).collect();
        let status = response.status().as_u16();
        let text = self.names.recorded(&response.text().await?);
        let body = match text.is_empty() {
            true => Value::Null,
            false => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        };
        Ok(Answer { status, headers, body })
    }
}

/// The places of the table that exchange `n` shows, if those are all that was found.
fn judge(n: u16, found: &[Found]) -> Result<Vec<(usize, usize)>> {
    let deliberate = || DIFFERENCES.iter().enumerate().filter(|(_, d)| d.exchanges.contains(&n));
    let mut wrong = Vec::new();
    let mut shown = Vec::new();
    for found in found {
        let place = deliberate().find_map(|(index, d)| Some((index, d.covers(found)?)));
        let text =
            |value: &Option<Value>| value.as_ref().map_or("absent".to_owned(), Value::to_string);
        match place {
            Some(place) => shown.push(place),
            None => {
                wrong.push(format!(
                    "{}: {} → {}",
                    found.at,
                    text(&found.recorded),
                    text(&found.ours)
                ));
            }
        }
    }
    for (_, stale) in
        deliberate().filter(|(index, _)| !shown.iter().any(|(shown, _)| shown == index))
    {
        wrong.push(format!("no longer different: {}", stale.reason));
    }
    ensure!(wrong.is_empty(), "\n    {}", wrong.join("\n    "));
    Ok(shown)
}
