//! Records that can't be converted, or that no broker takes.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::rig::{Rig, append, file_sink, source};
use crate::database::Database;
use crate::kafka::{Kafka, Message};
use crate::with;

/// Malformed JSON, invalid UTF-8 and oversized records: they stop the task, or go to the dead letters.
pub(super) async fn bad_records() -> Result<()> {
    let kafka = Kafka::connect()?;
    let rig = Rig::ready("data", "").await?;
    malformed(&rig, &kafka).await?;
    oversized(&rig, &kafka, false).await?;
    unreadable(&rig, &kafka).await?;
    rig.end().await?;
    let rig = Rig::ready("data-exact", "exactly.once.source.support=enabled").await?;
    oversized(&rig, &kafka, true).await?;
    unreadable(&rig, &kafka).await?;
    rig.end().await
}

async fn malformed(rig: &Rig, kafka: &Kafka) -> Result<()> {
    let (topic, output) = (rig.name("json"), rig.file("json.out"));
    kafka.create(&topic, &[]).await?;
    let values: [&[u8]; 5] = [b"1", b"{\"torn\":", b"2", b"\"\xff\xfe\"", b"3"];
    kafka.send(&topic, &values.map(Message::of)).await?;
    let strict = with(
        file_sink(&topic, &output),
        json!({
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter.schemas.enable": "false",
        }),
    );
    let sink = rig.name("json-sink");
    rig.worker.put(&sink, &strict).await?;
    let place = format!("{topic}-0 offset 1");
    rig.fails(&sink, &["VALUE_CONVERTER failed", &place, "errors.tolerance=none"]).await?;
    ensure!(
        std::fs::read_to_string(&output)? == "1\n",
        "the record behind the bad one was written"
    );
    // The user decides otherwise: it goes on where it was.
    let letters = rig.name("json-letters");
    rig.worker.put(&sink, &with(strict, tolerant(&letters))).await?;
    rig.until_lines(&output, 3).await?;
    rig.runs(&sink).await?;
    let text = std::fs::read_to_string(&output)?;
    // What came before the failure was durable and may be committed or not.
    ensure!(matches!(text.as_str(), "1\n2\n3\n" | "1\n1\n2\n3\n"), "the file has {text:?}");
    until_letters(rig, kafka, &letters, 2).await?;
    let found = kafka.read(&letters).await?;
    let bodies: Vec<_> = found.iter().map(|letter| letter.value.as_deref()).collect();
    ensure!(bodies == [Some(values[1]), Some(values[3])], "dead letters: {found:?}");
    check_header(&found, "__connect.errors.stage", "VALUE_CONVERTER")
}

/// The broker refuses what a producer sends together: only the large record is a dead letter.
async fn oversized(rig: &Rig, kafka: &Kafka, exactly_once: bool) -> Result<()> {
    let (topic, input) = (rig.name("small"), rig.file("large.in"));
    kafka.create(&topic, &[("max.message.bytes", "2000")]).await?;
    let large = "x".repeat(5000);
    append(&input, &["one".into(), large.clone(), "two".into()])?;
    let from = rig.name("large-source");
    rig.worker.put(&from, &source(&input, &topic)).await?;
    rig.fails(&from, &["KAFKA_PRODUCE failed", "max.message.bytes", "errors.tolerance=none"])
        .await?;
    let letters = rig.name("large-letters");
    rig.worker.put(&from, &with(source(&input, &topic), tolerant(&letters))).await?;
    until_letters(rig, kafka, &letters, 1).await?;
    rig.runs(&from).await?;
    let found = kafka.read(&letters).await?;
    ensure!(
        found.len() == 1 && found[0].value.as_deref() == Some(large.as_bytes()),
        "{} letters of {:?} bytes",
        found.len(),
        found.iter().map(|letter| letter.value.as_ref().map(Vec::len)).collect::<Vec<_>>()
    );
    check_header(&found, "__connect.errors.stage", "KAFKA_PRODUCE")?;
    let there = async || {
        let records = kafka.read(&topic).await.unwrap_or_default();
        records.iter().any(|record| record.value.as_deref() == Some(b"two"))
    };
    rig.worker.until("what came behind the large record is there", there).await?;
    let values: Vec<_> = kafka.read(&topic).await?.into_iter().filter_map(|r| r.value).collect();
    let once: Vec<&[u8]> = vec![b"one", b"two"];
    let again: Vec<&[u8]> = vec![b"one", b"one", b"two"];
    let fits = values == once || (values == again && !exactly_once);
    ensure!(fits, "the topic has {values:?}");
    Ok(())
}

/// Rows of PostgreSQL with a value that the source can't show, in the snapshot and in the stream.
async fn unreadable(rig: &Rig, kafka: &Kafka) -> Result<()> {
    let name = rig.name("capture");
    let tables = "create table t (id int primary key, at timestamp);
                  insert into t values (1, '2024-01-01'), (2, '2300-01-01'), (3, null)";
    let database = Database::create(&name.replace('-', "_"), tables).await?;
    let topic = format!("{}.public.t", database.name);
    let strict = with(
        database.source("postgres-cdc")?,
        json!({"time.precision.mode": "nanoseconds", "slot.drop.on.delete": "true"}),
    );
    rig.worker.put(&name, &strict).await?;
    let reason = ["TASK_POLL failed", r#"the key {"id":"2"} of table public.t"#, "column at"];
    rig.fails(&name, &reason).await?;
    let letters = rig.name("capture-letters");
    rig.worker.put(&name, &with(strict, tolerant(&letters))).await?;
    until_letters(rig, kafka, &letters, 1).await?;
    let rows = "insert into t values (4, '2300-01-01'), (5, null)";
    database.client.batch_execute(rows).await?;
    let there = async || {
        let records = kafka.read(&topic).await.unwrap_or_default();
        records.iter().any(|record| record.key.as_deref() == Some(br#"{"id":5}"#))
    };
    rig.worker.until("the last row is there", there).await?;
    rig.runs(&name).await?;
    let found = kafka.read(&letters).await?;
    let keys: Vec<_> = found.iter().map(|letter| letter.key.as_deref()).collect();
    ensure!(
        keys == [Some(&br#"{"id":"2"}"#[..]), Some(&br#"{"id":"4"}"#[..])],
        "dead letters: {found:?}"
    );
    check_header(&found, "__connect.errors.stage", "TASK_POLL")?;
    check_header(&found, "__connect.errors.class.name", "postgres-cdc")?;
    let records = kafka.read(&topic).await?;
    let of_id = |id: u8| {
        let key = format!(r#"{{"id":{id}}}"#);
        records.iter().filter(|record| record.key.as_deref() == Some(key.as_bytes())).count()
    };
    let counts: Vec<usize> = (1..=5).map(of_id).collect();
    ensure!(counts == [1, 0, 1, 0, 1], "the topic has {records:?}");
    rig.worker.delete_leftovers(&name).await?;
    database.drop().await
}

fn tolerant(letters: &str) -> Value {
    json!({
        "errors.tolerance": "all",
        "errors.deadletterqueue.topic.name": letters,
        "errors.deadletterqueue.topic.replication.factor": "1",
        "errors.deadletterqueue.context.headers.enable": "true",
    })
}

async fn until_letters(rig: &Rig, kafka: &Kafka, letters: &str, count: usize) -> Result<()> {
    let there = async || kafka.read(letters).await.is_ok_and(|found| found.len() >= count);
    rig.worker.until(&format!("{count} letters are in {letters}"), there).await
}

fn check_header(letters: &[Message], name: &str, expect: &str) -> Result<()> {
    for letter in letters {
        let header = letter.headers.iter().find(|(found, _)| found == name);
        let (_, value) = header.with_context(|| format!("no header {name}"))?;
        ensure!(value.as_deref() == Some(expect.as_bytes()), "{name}: {value:?}");
    }
    Ok(())
}
