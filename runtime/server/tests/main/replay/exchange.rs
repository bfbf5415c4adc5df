//! The recorded exchanges, and the names under which one run repeats them.
//!
//! Duty: `exchanges.jsonl` holds 173 exchanges with genuine Kafka Connect 4.3.1, one a line, in the order in
//! which they were made. Left out of it are the texts of documentation, all but the beginning of stack traces,
//! the headers that nobody depends on, and of two kinds of answers (loggers of the JVM, forms of connectors
//! that are not ours) all but a few entries.
//!
//! Invariant: what a run sends is what was recorded, but for file names, ports, and a suffix that keeps the
//! names of topics and consumer groups apart from other runs on the same cluster.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

/// Names that reach the cluster, as topics or in names of consumer groups.
const SHARED: &[&str] =
    &["t-file", "file-sink", "init-stopped", "moved", "failing", "\"a/b", "a%2Fb"];
/// Where the recording's connectors kept their files.
const FILES: &str = "/opt/kafka/tmp";
/// Where the recorded worker listened.
const ADDRESS: &str = "127.0.0.1:18083";

/// One recorded exchange.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exchange {
    /// Its number, from 1.
    pub(super) n: u16,
    /// What it was made for.
    pub(super) title: String,
    pub(super) method: String,
    pub(super) path: String,
    /// The content type of the request, where it was not JSON's.
    pub(super) content_type: Option<String>,
    /// The body of the request, if it was JSON.
    pub(super) request: Option<Value>,
    /// The body of the request, if it was no JSON.
    pub(super) request_text: Option<String>,
    pub(super) status: u16,
    /// The headers of the answer that clients look at.
    #[serde(default)]
    pub(super) headers: serde_json::Map<String, Value>,
    /// The body of the answer; a text if it was no JSON, nothing if it was empty.
    #[serde(default)]
    pub(super) response: Value,
}

/// All exchanges, in order.
pub(super) fn recorded() -> Result<Vec<Exchange>> {
    let exchange = |line: &str| {
        serde_json::from_str::<Exchange>(line)
            .with_context(|| line.chars().take(80).collect::<String>())
    };
    let all: Vec<Exchange> =
        include_str!("exchanges.jsonl").lines().map(exchange).collect::<Result<_>>()?;
    ensure!(all.len() == 173, "{} of 173 exchanges are there", all.len());
    ensure!((1..).zip(&all).all(|(n, exchange)| n == exchange.n), "the exchanges are out of order");
    Ok(all)
}

/// What one run puts in place of the recording's names.
pub(super) struct Names {
    /// `host:port` of the worker.
    pub(super) address: String,
    /// The folder of its connectors' files.
    pub(super) files: String,
    /// What the names of this run end with.
    pub(super) suffix: String,
}

impl Names {
    /// A recorded text, as this run sends it.
    pub(super) fn ours(&self, recorded: &str) -> String {
        let mut text = recorded.replace(FILES, &self.files).replace(ADDRESS, &self.address);
        for name in SHARED {
            text = text.replace(name, &format!("{name}{}", self.suffix));
        }
        text
    }

    /// A text that this run received, as it would have been recorded.
    pub(super) fn recorded(&self, ours: &str) -> String {
        let text = ours.replace(&self.suffix, "").replace(&self.files, FILES);
        text.replace(&self.address, ADDRESS)
    }
}

#[test]
fn names_go_there_and_back() {
    let names = Names {
        address: "127.0.0.1:9".to_owned(),
        files: "/tmp/x".to_owned(),
        suffix: "-r7".to_owned(),
    };
    let recorded = r#"{"name":"a/b","file":"/opt/kafka/tmp/moved2.out","topics":"t-file","worker_id":"127.0.0.1:18083"}"#;
    let ours = names.ours(recorded);
    assert_eq!(
        ours,
        r#"{"name":"a/b-r7","file":"/tmp/x/moved-r72.out","topics":"t-file-r7","worker_id":"127.0.0.1:9"}"#
    );
    assert_eq!(names.recorded(&ours), recorded);
    assert_eq!(names.ours("/connectors/a%2Fb/status"), "/connectors/a%2Fb-r7/status");
}
