//! Room: the bound on the log, the reserve of the file system, and a disk that is full.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, setrlimit};
use towpath_core::ports::{
    Cluster, CommitOutcome, ConsumerEvent, PortErrorKind, Producer, ProducerSpec,
};
use towpath_embedded::{Embedded, EmbeddedOptions};

use crate::{open, reader, record};

const DIRECTORY: &str = "TOWPATH_ROOM_DIRECTORY";

/// The kind of the first failure of a batch of 100 records of 1000 bytes.
async fn send(producer: &Arc<dyn Producer>, topic: &str) -> Option<PortErrorKind> {
    let batch: Vec<_> = (0..100).map(|_| record(topic, vec![b'x'; 1000])).collect();
    producer.send(batch.into()).await.unwrap().await.first().map(|failure| failure.error.kind)
}

#[tokio::test]
async fn what_nobody_reads_makes_room() {
    let directory = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { max_bytes: Some(4 << 20), ..EmbeddedOptions::default() };
    let log = open(directory.path(), options);
    let producer = log.producer(ProducerSpec::default()).await.unwrap();
    for _ in 0..400 {
        assert_eq!(send(&producer, "t").await, None);
        assert!(log.local().log_bytes() <= 4 << 20);
    }
    let ends = log.admin(Default::default()).await.unwrap().topic_ends("t").await.unwrap();
    assert!(ends[0].1 > 0 && ends[0].1 < ends[0].2, "{ends:?}");
}

#[tokio::test]
async fn what_somebody_has_to_read_is_kept_and_writing_waits() {
    let directory = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { max_bytes: Some(4 << 20), ..EmbeddedOptions::default() };
    let log = open(directory.path(), options);
    let producer = log.producer(ProducerSpec::default()).await.unwrap();
    assert_eq!(send(&producer, "t").await, None);
    let mut consumer = reader(&log, "t").await;
    let mut refused = None;
    for _ in 0..100 {
        refused = send(&producer, "t").await;
        if refused.is_some() {
            break;
        }
    }
    assert_eq!(refused, Some(PortErrorKind::OutOfSpace));
    let ends = log.admin(Default::default()).await.unwrap().topic_ends("t").await.unwrap();
    assert_eq!(ends[0].1, 0, "records that a member has to read were removed");
    let ConsumerEvent::Batch(batch) = consumer.next().await.unwrap() else { panic!("no batch") };
    let outcome = consumer.commit(vec![(batch.topic_partition.clone(), batch.end)]).await;
    assert!(matches!(outcome, CommitOutcome::Done), "{outcome:?}");
    assert_eq!(send(&producer, "t").await, None);
}

#[tokio::test]
async fn the_reserve_of_the_file_system_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path(), EmbeddedOptions::default()));
    let greedy = EmbeddedOptions { min_free_bytes: u64::MAX / 2, ..EmbeddedOptions::default() };
    let log = open(directory.path(), greedy);
    let producer = log.producer(ProducerSpec::default()).await.unwrap();
    assert_eq!(send(&producer, "t").await, Some(PortErrorKind::OutOfSpace));
}

/// The child: fills its disk (a limit on the size of files), makes room, and goes on.
#[tokio::test]
async fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let log = open(Path::new(&directory), EmbeddedOptions::default());
    let producer = log.producer(ProducerSpec::default()).await.unwrap();
    let limit = |bytes| Rlimit { current: bytes, maximum: None };
    let mut sent = 0_u32;
    assert!(number(&producer, &mut sent).await.is_none());
    setrlimit(Resource::Fsize, limit(Some(1 << 20))).unwrap();
    let mut kinds = Vec::new();
    while kinds.len() < 5 {
        assert!(sent < 10_000, "a full disk was never seen");
        kinds.extend(number(&producer, &mut sent).await);
    }
    let told = |kind: &PortErrorKind| {
        matches!(kind, PortErrorKind::Unknown | PortErrorKind::Degraded | PortErrorKind::OutOfSpace)
    };
    assert!(kinds.iter().all(told), "{kinds:?}");
    setrlimit(Resource::Fsize, limit(None)).unwrap();
    let began = Instant::now();
    while number(&producer, &mut sent).await.is_some() {
        assert!(began.elapsed() < Duration::from_secs(20), "writing did not go on");
    }
    let upto = sent + 20;
    while sent < upto {
        assert!(number(&producer, &mut sent).await.is_none());
    }
    check(&log, sent);
}

/// Writes the next number until it is acknowledged; returns the failure if it is not.
async fn number(producer: &Arc<dyn Producer>, sent: &mut u32) -> Option<PortErrorKind> {
    let mut value = vec![b'x'; 20_000];
    value[..4].copy_from_slice(&sent.to_be_bytes());
    let failure =
        producer.send(vec![record("n", value)].into()).await.unwrap().await.into_iter().next();
    if failure.is_none() {
        *sent += 1;
    }
    failure.map(|failure| failure.error.kind)
}

/// All numbers are there in order; one whose outcome was unknown may be there twice.
fn check(log: &Embedded, upto: u32) {
    let records = log.local().log("n").unwrap().into_iter();
    let mut numbers: Vec<u32> = records
        .map(|r| u32::from_be_bytes(*r.value.as_deref().unwrap().first_chunk().unwrap()))
        .collect();
    assert!(numbers.is_sorted());
    numbers.dedup();
    assert_eq!(numbers, (0..upto).collect::<Vec<_>>());
}

#[test]
fn a_full_disk_is_said_and_overcome() {
    let directory = tempfile::tempdir().unwrap();
    let test = std::env::current_exe().unwrap();
    // A process that ignores the signal gets the error instead.
    let status = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(test)
        .args(["room::child", "--exact"])
        .env(DIRECTORY, directory.path().join("log"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&status.stdout);
    assert!(status.status.success() && said.contains("1 passed"), "{said}");
    drop(open(&directory.path().join("log"), EmbeddedOptions::default()));
}
