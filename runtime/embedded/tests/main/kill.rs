//! kill -9 at random moments: nothing that was acknowledged is lost.
//!
//! A child process (this test binary again) writes plain records, transactions and group offsets, and
//! says on its standard output what was acknowledged. The parent kills it at a seeded moment and looks.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use towpath_broker::Visibility;
use towpath_core::budget::Budget;
use towpath_core::ports::{
    ClientOverrides, Cluster, CommitOutcome, ConsumerEvent, ConsumerSpec, OutHeaders, OutRecord,
    ProducerSpec, Subscription, TransactionOutcome,
};
use towpath_embedded::{Embedded, EmbeddedOptions, Fsync};
use towpath_sdk::clock::SystemClock;

/// Where the child finds its log; the test that is the child does nothing without it.
const DIRECTORY: &str = "TOWPATH_KILL_DIRECTORY";
const ROUND: &str = "TOWPATH_KILL_ROUND";
/// How many rounds (3 unless told).
const ROUNDS: &str = "KILL_ROUNDS";

fn open(path: &Path) -> Embedded {
    let options = EmbeddedOptions { fsync: Fsync::Never, ..EmbeddedOptions::default() };
    Embedded::open(path, options, Arc::new(SystemClock)).unwrap()
}

fn record(topic: &str, text: String) -> OutRecord {
    OutRecord {
        topic: topic.into(),
        partition: Some(0),
        key: Some(Bytes::from_static(b"k")),
        value: Some(text.into()),
        timestamp: None,
        headers: OutHeaders::default(),
    }
}

/// The child: writes until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let round = std::env::var(ROUND).unwrap();
    let cluster = Arc::new(open(Path::new(&directory)));
    tokio::join!(
        write_plain(Arc::clone(&cluster), round.clone()),
        write_transactions(Arc::clone(&cluster), round.clone()),
        read_and_commit(Arc::clone(&cluster)),
    );
}

fn acknowledge(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "ACK {line}").unwrap();
    out.flush().unwrap();
}

async fn write_plain(cluster: Arc<Embedded>, round: String) {
    let producer = cluster.producer(ProducerSpec::default()).await.unwrap();
    for n in 0_u64.. {
        let batch: Vec<_> =
            (0..1 + n % 50).map(|i| record("plain", format!("{round}.{n}.{i}"))).collect();
        assert!(producer.send(batch.into()).await.unwrap().await.is_empty());
        acknowledge(&format!("plain {round}.{n} {}", 1 + n % 50));
    }
}

async fn write_transactions(cluster: Arc<Embedded>, round: String) {
    let spec = ProducerSpec::default();
    let producer = cluster.transactional_producer("x".to_owned(), spec).await.unwrap();
    for n in 0_u64.. {
        producer.begin().await.unwrap();
        for topic in ["left", "right"] {
            let batch = vec![record(topic, format!("{round}.{n}"))];
            assert!(producer.send(batch.into()).await.unwrap().await.is_empty());
        }
        if n % 5 == 4 {
            drop(producer.abort().await);
            acknowledge(&format!("aborted {round}.{n}"));
        } else {
            assert!(matches!(producer.commit().await, TransactionOutcome::Committed));
            acknowledge(&format!("committed {round}.{n}"));
        }
    }
}

async fn read_and_commit(cluster: Arc<Embedded>) {
    let spec = ConsumerSpec {
        group_id: "g".to_owned(),
        client_id: "child".to_owned(),
        subscription: Subscription::Topics(vec!["plain".to_owned()]),
        overrides: ClientOverrides::new(),
        budget: Budget::new(1 << 20),
    };
    let mut consumer = cluster.consumer(spec).await.unwrap();
    loop {
        match consumer.next().await.unwrap() {
            ConsumerEvent::Assigned { partitions, .. } => {
                let at = partitions.into_iter().map(|p| (p, None)).collect();
                consumer.start(at).await.unwrap();
            }
            ConsumerEvent::Batch(batch) => {
                let end = vec![(batch.topic_partition.clone(), batch.end)];
                let outcome = consumer.commit(end).await;
                assert!(matches!(outcome, CommitOutcome::Done), "{outcome:?}");
                acknowledge(&format!("offset {}", batch.end));
            }
            _ => {}
        }
    }
}

/// What the child had acknowledged when it was killed.
#[derive(Default)]
struct Acknowledged {
    plain: BTreeSet<String>,
    committed: BTreeSet<String>,
    aborted: BTreeSet<String>,
    offset: i64,
}

impl Acknowledged {
    fn take(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["ACK", "plain", batch, count] => {
                let count: u64 = count.parse().unwrap();
                self.plain.extend((0..count).map(|i| format!("{batch}.{i}")));
            }
            ["ACK", "committed", id] => drop(self.committed.insert((*id).to_owned())),
            ["ACK", "aborted", id] => drop(self.aborted.insert((*id).to_owned())),
            ["ACK", "offset", end] => self.offset = end.parse().unwrap(),
            _ => {}
        }
    }
}

/// Runs the child for `life` and kills it.
fn run_and_kill(directory: &Path, round: u64, life: Duration, seen: &mut Acknowledged) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["kill::child", "--exact", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut killed = None;
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap() > 0 {
        // A line may be cut off by the kill: without its end it was not said.
        if let Some(whole) = line.strip_suffix('\n') {
            let at = whole.find("ACK ").unwrap_or(0);
            seen.take(&whole[at..]);
            // The child's life begins with its first word.
            let began = killed.get_or_insert_with(Instant::now);
            if began.elapsed() >= life {
                child.kill().unwrap();
            }
        }
        line.clear();
    }
    assert!(killed.is_some(), "the child never said a word");
    assert!(!child.wait().unwrap().success(), "the child ended by itself");
}

fn visible(cluster: &Embedded, topic: &str) -> Vec<String> {
    let log = cluster.local().log(topic).unwrap();
    let visible = log.into_iter().filter(|r| r.visibility == Visibility::Visible);
    visible.map(|r| String::from_utf8(r.value.unwrap().to_vec()).unwrap()).collect()
}

fn check(directory: &Path, seen: &Acknowledged) {
    let cluster = open(directory);
    let plain = visible(&cluster, "plain");
    let there: BTreeSet<_> = plain.iter().cloned().collect();
    assert_eq!(there.len(), plain.len(), "a plain record is there twice");
    let lost: Vec<_> = seen.plain.difference(&there).take(5).collect();
    assert!(lost.is_empty(), "acknowledged, but lost: {lost:?}");

    let left = visible(&cluster, "left");
    assert_eq!(left, visible(&cluster, "right"), "a transaction is visible in one topic only");
    let there: BTreeSet<_> = left.into_iter().collect();
    let lost: Vec<_> = seen.committed.difference(&there).take(5).collect();
    assert!(lost.is_empty(), "committed, but lost: {lost:?}");
    let risen: Vec<_> = seen.aborted.intersection(&there).take(5).collect();
    assert!(risen.is_empty(), "aborted, but visible: {risen:?}");
    for topic in ["left", "right"] {
        let open = cluster.local().log(topic).unwrap().into_iter();
        assert_eq!(
            open.filter(|r| r.visibility == Visibility::Open).count(),
            0,
            "{topic} is stuck"
        );
    }

    let committed = cluster.local().committed("g");
    let committed = committed.first().map_or(0, |(_, offset)| *offset);
    assert!(committed >= seen.offset, "{} was committed, {committed} is there", seen.offset);
    let last = cluster.local().log("plain").unwrap().last().map_or(0, |r| r.offset + 1);
    assert!(committed <= last, "{committed} is committed, but the log ends at {last}");
}

#[test]
fn nothing_acknowledged_is_lost() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let mut seen = Acknowledged::default();
    let mut rng = SmallRng::seed_from_u64(11);
    for round in 0..number(ROUNDS).unwrap_or(3) {
        let life = Duration::from_millis(rng.random_range(0..1500));
        let before = seen.plain.len() + seen.committed.len();
        run_and_kill(&log, round, life, &mut seen);
        assert!(seen.plain.len() + seen.committed.len() > before, "round {round} did nothing");
        check(&log, &seen);
    }
}
