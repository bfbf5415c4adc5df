//! The replay of recorded dead letters: configurations that ran on genuine Kafka Connect 4.3.1 run here
//! as they are, and their dead letter queues are held against what was recorded there.
//!
//! Compared: key, value, timestamp, and all headers with names, order and values. Left out: the frames
//! and causes of the stack trace, which name Java's methods and Jackson's texts; its first line, class
//! and message, is compared (`docs/dead-letters.md` says what stands there instead).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::kafka::{Kafka, Message};
use crate::unique;
use crate::worker::Worker;

/// The folder that the configurations name: in a mount namespace of its own (`tests/e2e/dlq.sh`).
const FOLDER: &str = "/opt/kafka/tmp";
/// The time of the recorded records.
const RECORDED_AT: i64 = 1_795_229_778_250;
const STACKTRACE: &str = "__connect.errors.exception.stacktrace";

/// Runs the four configurations and compares.
///
/// # Errors
/// With the first difference.
pub async fn replay() -> Result<()> {
    ensure!(
        Path::new(FOLDER).is_dir(),
        "{FOLDER} is not there: run tests/e2e/dlq.sh, which makes it in a namespace of its own"
    );
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/dlq");
    let kafka = Kafka::connect()?;
    // These names stand in the configurations, so an earlier run's topics and groups are in the way.
    let names = ["dlq-file-sink", "dlq-smt-sink", "file-sink", "file-source"];
    kafka.delete(&["dlq-in", "dlq-out", "dlq-out2", "t-file"]).await?;
    let groups = names.map(|name| format!("connect-{name}"));
    kafka.delete_groups(&groups.each_ref().map(String::as_str)).await?;
    kafka.create("dlq-in", &[]).await?;
    kafka.send("dlq-in", &input()).await?;
    let lines: Vec<String> = (0..500).map(|n| format!("line {n}: ä 統 \u{1f600}")).collect();
    let source = Path::new(FOLDER).join("file-source.in");
    std::fs::write(&source, lines.join("\n") + "\n")?;

    let dir = std::env::temp_dir().join(unique("towpath-dlq")?);
    std::fs::create_dir_all(&dir)?;
    let bootstrap = crate::server("TOWPATH_TEST_KAFKA")?;
    let mut worker = Worker::new(&dir, &unique("dlq")?, &bootstrap, "")?;
    worker.start()?;
    worker.ready().await?;
    for name in names {
        let text = std::fs::read_to_string(fixtures.join(format!("{name}.json")))?;
        worker.create(&serde_json::from_str(&text)?).await.with_context(|| name.to_owned())?;
    }
    let samples = std::fs::read_to_string(fixtures.join("samples.jsonl"))?;
    let samples: Vec<Value> =
        samples.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    for (connector, topic) in [("dlq-file-sink", "dlq-out"), ("dlq-smt-sink", "dlq-out2")] {
        let expect: Vec<&Value> = samples.iter().filter(|s| s["connector"] == connector).collect();
        ensure!(!expect.is_empty(), "no sample of {connector}");
        let complete =
            async || kafka.read(topic).await.is_ok_and(|letters| letters.len() >= expect.len());
        worker.until(&format!("{} letters are in {topic}", expect.len()), complete).await?;
        compare(connector, &kafka.read(topic).await?, &expect)?;
    }
    // What was not rejected is in the files.
    let filled = |name: &str, count: usize| {
        let path = Path::new(FOLDER).join(name);
        let found = std::fs::read_to_string(path).unwrap_or_default();
        found.lines().count() >= count
    };
    worker
        .until("the sinks' files are full", async || {
            filled("dlq-sink.out", 8)
                && filled("dlq-sink2.out", 2)
                && filled("file-sink.out", lines.len())
        })
        .await?;
    worker.stop().await?;
    let read = |name: &str| std::fs::read_to_string(Path::new(FOLDER).join(name));
    let plain = read("dlq-sink.out")?;
    let plain: Vec<&str> = plain.lines().collect();
    ensure!(plain.len() == 8 && plain[..3] == ["{a=1}", "null", "null"], "dlq-sink.out: {plain:?}");
    let extracted = read("dlq-sink2.out")?;
    ensure!(extracted == "null\n6\n", "dlq-sink2.out: {extracted:?}");
    let copied = read("file-sink.out")?;
    ensure!(copied.lines().eq(lines.iter().map(String::as_str)), "file-sink.out differs: {copied}");
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

/// What was in `dlq-in`: the recorded letters tell all of it but what went through at offsets 2 and 6.
fn input() -> Vec<Message> {
    let record = |key: &str, value: &[u8]| Message {
        key: Some(key.as_bytes().to_vec()),
        value: Some(value.to_vec()),
        headers: Vec::new(),
        timestamp: Some(RECORDED_AT),
    };
    let headers = vec![("h1".to_owned(), Some(b"v1".to_vec())), ("hn".to_owned(), None)];
    vec![
        record("k1", br#"{"a":1}"#),
        Message { headers, ..record("k2", b"{bad json") },
        Message { value: None, ..record("k3", b"") },
        Message { key: None, ..record("", b"nope") },
        record("k4", b""),
        record("k5", br#"{"schema":{"type":"string"},"payload":5}"#),
        record(
            "k6",
            br#"{"schema":{"type":"struct","fields":[{"field":"a","type":"int32"}]},"payload":{"a":6}}"#,
        ),
        record("k7", br#"{"schema":{"type":"int32","optional":false},"payload":null}"#),
        record("k8", br#"{"schema":{"type":"string","optional":false},"payload":"str"}"#),
        record(
            "k9",
            br#"{"schema":{"type":"struct","fields":[{"field":"b","type":"string"}]},"payload":{"b":"x"}}"#,
        ),
        record("bin", b"\xff\xfe\x00"),
    ]
}

/// Holds the letters of `connector` against the samples.
fn compare(connector: &str, letters: &[Message], samples: &[&Value]) -> Result<()> {
    for (place, sample) in samples.iter().enumerate() {
        let letter =
            letters.get(place).with_context(|| format!("{connector}: no letter {place}"))?;
        let found = shape(letter);
        let expect = recorded(sample)?;
        ensure!(
            found == expect,
            "{connector}, letter {place}:\n found {found:#?}\nexpect {expect:#?}"
        );
    }
    ensure!(
        letters.len() == samples.len(),
        "{connector}: {} letters, {} were recorded",
        letters.len(),
        samples.len()
    );
    Ok(())
}

/// A letter without what can't be the same.
fn shape(letter: &Message) -> Message {
    let mut letter = letter.clone();
    for (name, value) in &mut letter.headers {
        if name == STACKTRACE
            && let Some(trace) = value
        {
            let end = trace.iter().position(|b| *b == b'\n').unwrap_or(trace.len());
            trace.truncate(end);
        }
    }
    letter
}

/// A recorded letter: its bytes are written as the characters of Latin-1.
fn recorded(sample: &Value) -> Result<Message> {
    let bytes = |value: &Value| -> Result<Option<Vec<u8>>> {
        let Some(text) = value.as_str() else { return Ok(None) };
        Ok(Some(text.chars().map(|c| u8::try_from(u32::from(c))).collect::<Result<_, _>>()?))
    };
    let mut headers = Vec::new();
    for header in sample["headers"].as_array().context("headers")? {
        headers.push((header[0].as_str().context("name")?.to_owned(), bytes(&header[1])?));
    }
    Ok(shape(&Message {
        key: bytes(&sample["key"])?,
        value: bytes(&sample["value"])?,
        headers,
        timestamp: sample["timestamp"][1].as_i64(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_comparison_sees_every_difference_but_the_traces_frames() {
        let trace = |text: &str| (STACKTRACE.to_owned(), Some(text.as_bytes().to_vec()));
        let letter = |text: &str| Message {
            key: Some(b"k".to_vec()),
            value: Some(b"\xff".to_vec()),
            headers: vec![("h".to_owned(), None), trace(text)],
            timestamp: Some(5),
        };
        let sample = serde_json::json!({
            "key": "k", "value": "\u{ff}", "timestamp": [1, 5],
            "headers": [["h", null], [STACKTRACE, "class: message\n at a.b"]],
        });
        let check = |letter: Message| compare("c", &[letter], &[&sample]).is_ok();
        let same = letter("class: message\ncaused by something else");
        assert!(check(same.clone()));
        assert!(!check(letter("class: another message\n")));
        assert!(!check(Message { key: None, ..same.clone() }));
        assert!(!check(Message { timestamp: None, ..same.clone() }));
        let mut turned = same.clone();
        turned.headers.reverse();
        assert!(!check(turned));
        assert!(compare("c", &[], &[&sample]).is_err());
        assert!(compare("c", &[same.clone(), same], &[&sample]).is_err());
    }
}
