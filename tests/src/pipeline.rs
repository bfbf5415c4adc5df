//! The pipeline under test: a file → Kafka → S3.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::bucket::Bucket;
use crate::server;

/// Records in an object.
pub const FLUSH_SIZE: usize = 500;

/// The source: lines of `file` to `topic`, which gets one partition so that order is total.
#[must_use]
pub fn source(file: &Path, topic: &str) -> Value {
    json!({
        "connector.class": "FileStreamSource",
        "file": file,
        "topic": topic,
        "topic.creation.default.partitions": "1",
        "topic.creation.default.replication.factor": "1",
    })
}

/// The sink: `topic` to objects of [`FLUSH_SIZE`] records.
///
/// # Errors
/// If the stack's env is not set.
pub fn sink(topic: &str, bucket: &str) -> Result<Value> {
    Ok(json!({
        "connector.class": "io.confluent.connect.s3.S3SinkConnector",
        "topics": topic,
        "s3.bucket.name": bucket,
        "s3.region": server("TOWPATH_TEST_S3_REGION")?,
        "store.url": server("TOWPATH_TEST_S3")?,
        "aws.access.key.id": server("TOWPATH_TEST_S3_ACCESS_KEY")?,
        "aws.secret.access.key": server("TOWPATH_TEST_S3_SECRET_KEY")?,
        "format.class": "io.confluent.connect.s3.format.json.JsonFormat",
        "storage.class": "io.confluent.connect.s3.storage.S3Storage",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "false",
        "flush.size": FLUSH_SIZE.to_string(),
    }))
}

/// Appends the numbered records `from..to` to `file`.
///
/// # Errors
/// If the file can't be written.
pub fn append(file: &Path, from: usize, to: usize) -> Result<()> {
    let mut text = String::new();
    for n in from..to {
        writeln!(text, r#"{{"n":{n},"pad":"{:0>40}"}}"#, n.wrapping_mul(2_654_435_761))?;
    }
    let mut out = std::fs::OpenOptions::new().create(true).append(true).open(file)?;
    out.write_all(text.as_bytes())?;
    Ok(())
}

/// The numbers that arrived, in the order of objects and lines.
///
/// # Errors
/// If an object can't be read or holds anything else.
pub async fn arrived(bucket: &Bucket, topic: &str) -> Result<Vec<usize>> {
    let mut numbers = Vec::new();
    for key in bucket.keys(&format!("topics/{topic}/")).await? {
        let bytes = bucket.read(&key).await?;
        for line in bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let value: Value = serde_json::from_slice(line).with_context(|| key.clone())?;
            let n = value["n"].as_u64().with_context(|| format!("{key}: {value}"))?;
            numbers.push(usize::try_from(n)?);
        }
    }
    Ok(numbers)
}

/// Every number below `total` is there, once and in order.
///
/// # Errors
/// With the first that is not.
pub fn check_exactly(numbers: &[usize], total: usize) -> Result<()> {
    for (place, n) in numbers.iter().enumerate() {
        ensure!(place == *n, "at place {place} of {} stands record {n}", numbers.len());
    }
    ensure!(numbers.len() == total, "{} of {total} records arrived", numbers.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_sees_loss_repetition_and_disorder() {
        assert!(check_exactly(&[0, 1, 2], 3).is_ok());
        for wrong in [&[0, 1][..], &[0, 1, 1, 2], &[0, 2, 1], &[1, 2, 3]] {
            assert!(check_exactly(wrong, 3).is_err(), "{wrong:?}");
        }
    }
}
