//! The pipeline under test: a file → Kafka → S3.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::bucket::Bucket;
use crate::server;

/// Records in an object.
pub const FLUSH_SIZE: usize = 500;

/// Values of the records' field `group`.
const GROUPS: usize = 3;

/// What the records go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One Kafka partition, so that order is total, and the default partitioner.
    OnePartition,
    /// Several Kafka partitions over two tasks, and a directory for each value of a field.
    ManyPaths,
}

impl Shape {
    /// The shape of a round: they alternate.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        if seed.is_multiple_of(2) { Self::OnePartition } else { Self::ManyPaths }
    }

    fn partitions(self) -> &'static str {
        match self {
            Self::OnePartition => "1",
            Self::ManyPaths => "4",
        }
    }
}

/// The source: lines of `file` to `topic`.
#[must_use]
pub fn source(file: &Path, topic: &str, shape: Shape) -> Value {
    json!({
        "connector.class": "FileStreamSource",
        "file": file,
        "topic": topic,
        "topic.creation.default.partitions": shape.partitions(),
        "topic.creation.default.replication.factor": "1",
    })
}

/// The sink: `topic` to objects that are completed after [`FLUSH_SIZE`] records of a partition.
///
/// # Errors
/// If the stack's env is not set.
pub fn sink(topic: &str, bucket: &str, shape: Shape) -> Result<Value> {
    let (partitioner, tasks) = match shape {
        Shape::OnePartition => ("DefaultPartitioner", "1"),
        Shape::ManyPaths => ("FieldPartitioner", "2"),
    };
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
        "tasks.max": tasks,
        "partitioner.class": format!("io.confluent.connect.storage.partitioner.{partitioner}"),
        "partition.field.name": "group",
    }))
}

/// Appends the numbered records `from..to` to `file`.
///
/// # Errors
/// If the file can't be written.
pub fn append(file: &Path, from: usize, to: usize) -> Result<()> {
    let mut text = String::new();
    for n in from..to {
        let (group, pad) = (group(n), n.wrapping_mul(2_654_435_761));
        writeln!(text, r#"{{"n":{n},"group":"g{group}","pad":"{pad:0>40}"}}"#)?;
    }
    let mut out = std::fs::OpenOptions::new().create(true).append(true).open(file)?;
    out.write_all(text.as_bytes())?;
    Ok(())
}

/// The group of record `n`: runs of several lengths, so that paths go back and forth.
fn group(n: usize) -> usize {
    (n / 3 + n / 7 + n / 11) % GROUPS
}

/// The numbers that arrived, by what stands before the offset in objects' names (the path and the
/// Kafka partition), in the order of objects and lines.
pub type Arrived = BTreeMap<String, Vec<usize>>;

/// What arrived.
///
/// # Errors
/// If an object can't be read or holds anything else.
pub async fn arrived(bucket: &Bucket, topic: &str) -> Result<Arrived> {
    let mut arrived = Arrived::new();
    for key in bucket.keys(&format!("topics/{topic}/")).await? {
        let (chain, _) = key.rsplit_once('+').with_context(|| key.clone())?;
        let numbers = arrived.entry(chain.to_owned()).or_default();
        let bytes = bucket.read(&key).await?;
        for line in bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let value: Value = serde_json::from_slice(line).with_context(|| key.clone())?;
            let n = value["n"].as_u64().with_context(|| format!("{key}: {value}"))?;
            numbers.push(usize::try_from(n)?);
        }
    }
    Ok(arrived)
}

/// Every number below `total` is there once, in order within its path and Kafka partition, and where it
/// belongs. Numbers from `total` on fill the last objects: not all of them need to be there.
///
/// # Errors
/// With the first that is not.
pub fn check_exactly(arrived: &Arrived, total: usize) -> Result<()> {
    let mut seen = std::collections::BTreeSet::new();
    for (chain, numbers) in arrived {
        for pair in numbers.windows(2) {
            ensure!(pair[0] < pair[1], "{chain}: record {} stands before {}", pair[0], pair[1]);
        }
        for n in numbers {
            ensure!(seen.insert(*n), "{chain}: record {n} is there twice");
            let foreign =
                chain.contains("/group=") && !chain.contains(&format!("=g{}/", group(*n)));
            ensure!(!foreign, "{chain}: record {n} does not belong there");
        }
    }
    for n in 0..total {
        ensure!(seen.contains(&n), "record {n} of {total} did not arrive");
    }
    Ok(())
}

/// How many of the records below `total` arrived.
#[must_use]
pub fn count(arrived: &Arrived, total: usize) -> usize {
    arrived.values().flatten().filter(|n| **n < total).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_sees_loss_repetition_disorder_and_the_wrong_path() {
        let of = |chains: &[(&str, &[usize])]| -> Arrived {
            chains.iter().map(|(chain, numbers)| ((*chain).to_owned(), numbers.to_vec())).collect()
        };
        let path = |n: usize| format!("t/group=g{}/t+0", group(n));
        assert!(check_exactly(&of(&[("t/partition=0/t+0", &[0, 1, 2])]), 3).is_ok());
        assert!(check_exactly(&of(&[("t+0", &[0, 2, 5]), ("t+1", &[1])]), 3).is_ok());
        assert!(check_exactly(&of(&[(&path(0), &[0])]), 1).is_ok());
        for wrong in [
            of(&[("t+0", &[0, 1])]),
            of(&[("t+0", &[0, 1, 1, 2])]),
            of(&[("t+0", &[0, 1, 2]), ("t+1", &[1])]),
            of(&[("t+0", &[0, 2, 1])]),
            of(&[("t+0", &[1, 2, 3])]),
            of(&[("t/group=g9/t+0", &[0, 1, 2])]),
        ] {
            assert!(check_exactly(&wrong, 3).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn paths_go_back_and_forth() {
        let changes = (0..1000).filter(|n| group(*n) != group(n + 1)).count();
        assert!((200..900).contains(&changes), "{changes}");
        assert!((0..GROUPS).all(|of| (0..1000).filter(|n| group(*n) == of).count() > 200));
    }
}
