//! Compacted tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use towpath_core::ports::{
    CompactedTable, Entry, OutHeaders, OutRecord, PortErrorKind, ProducerSpec, TableEvent,
    TableSpec,
};

use super::{Bench, Failed, Outcome, QUIET, ensure, produce};

fn spec(topic: String, partitions: i32) -> TableSpec {
    TableSpec {
        topic,
        partitions: Some(partitions),
        replication_factor: Some(1),
        config: BTreeMap::new(),
        purpose: "test",
        client_id: "conformance".to_owned(),
    }
}

fn entry(key: &str, value: Option<&str>) -> Entry {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    Entry { key: bytes(key), value: value.map(bytes) }
}

/// A follower and what it made of what it heard.
struct Follower {
    events: mpsc::Receiver<TableEvent>,
    state: BTreeMap<Bytes, Bytes>,
    caught_up: bool,
}

impl Follower {
    async fn of(table: &Arc<dyn CompactedTable>) -> Result<Self, Failed> {
        Ok(Self { events: table.follow().await?, state: BTreeMap::new(), caught_up: false })
    }

    async fn step(&mut self) -> Outcome {
        match self.events.recv().await {
            None => return Err(Failed("the follower was dropped".to_owned())),
            Some(TableEvent::Trouble(_)) => {}
            Some(TableEvent::CaughtUp) => {
                ensure!(!self.caught_up, "caught up twice");
                self.caught_up = true;
            }
            Some(TableEvent::Entries(entries)) => {
                for Entry { key, value } in entries {
                    match value {
                        Some(value) => self.state.insert(key, value),
                        None => self.state.remove(&key),
                    };
                }
            }
        }
        Ok(())
    }

    async fn catch_up(&mut self) -> Outcome {
        while !self.caught_up {
            self.step().await?;
        }
        Ok(())
    }

    /// Waits until the state is `expect`.
    async fn becomes(&mut self, expect: &[(&str, &str)]) -> Outcome {
        while !self.is(expect) {
            self.step().await?;
        }
        Ok(())
    }

    fn is(&self, expect: &[(&str, &str)]) -> bool {
        let state: Vec<_> = self.state.iter().map(|(k, v)| (&k[..], &v[..])).collect();
        let expect: Vec<_> = expect.iter().map(|(k, v)| (k.as_bytes(), v.as_bytes())).collect();
        state == expect
    }
}

/// A follower hears everything from the beginning, in order by key, then that it caught up, then what
/// comes; a tombstone deletes.
pub(super) async fn a_table_is_read_from_its_beginning(bench: Bench) -> Outcome {
    let table = bench.cluster.table(spec(bench.name("t"), 3)).await?;
    ensure!(table.topic() == bench.name("t"), "the table's topic is {}", table.topic());
    let mut live = Follower::of(&table).await?;
    live.catch_up().await?;
    ensure!(live.is(&[]), "a new table holds {:?}", live.state);

    table.put(vec![entry("a", Some("1")), entry("b", Some("1")), entry("a", Some("2"))]).await?;
    table.put(vec![entry("c", Some("")), entry("b", None)]).await?;
    live.becomes(&[("a", "2"), ("c", "")]).await?;

    // Opening it again finds it as it is.
    let again = bench.cluster.table(spec(bench.name("t"), 3)).await?;
    let mut late = Follower::of(&again).await?;
    late.catch_up().await?;
    ensure!(late.is(&[("a", "2"), ("c", "")]), "caught up with {:?}", late.state);
    again.put(vec![entry("a", None)]).await?;
    late.becomes(&[("c", "")]).await?;
    live.becomes(&[("c", "")]).await?;
    Ok(())
}

/// A transactional writer's entries show when it commits.
pub(super) async fn a_table_shows_transactions_when_they_commit(bench: Bench) -> Outcome {
    let table = bench.cluster.table(spec(bench.name("t"), 1)).await?;
    table.put(vec![entry("a", Some("old"))]).await?;
    let mut live = Follower::of(&table).await?;
    live.catch_up().await?;
    let writer =
        bench.cluster.transactional_producer(bench.name("x"), ProducerSpec::default()).await?;
    let write = |text: &str| OutRecord {
        topic: table.topic().into(),
        partition: None,
        key: Some(Bytes::from_static(b"a")),
        value: Some(Bytes::copy_from_slice(text.as_bytes())),
        timestamp: None,
        headers: OutHeaders::default(),
    };
    writer.begin().await?;
    produce(&*writer, vec![write("aborted")]).await?;
    drop(writer.abort().await);
    writer.begin().await?;
    produce(&*writer, vec![write("new")]).await?;
    let early = tokio::time::timeout(QUIET, live.becomes(&[("a", "new")])).await;
    ensure!(early.is_err(), "an open transaction shows: {early:?}");
    ensure!(live.is(&[("a", "old")]), "before the commit the table holds {:?}", live.state);
    drop(writer.commit().await);
    live.becomes(&[("a", "new")]).await?;
    Ok(())
}

/// A topic that would forget can't be a table.
pub(super) async fn an_uncompacted_topic_is_refused(bench: Bench) -> Outcome {
    let topic = bench.topic("t", 1).await?;
    match bench.cluster.table(spec(topic.clone(), 1)).await {
        Ok(_) => Err(Failed(format!("{topic} is not compacted, but became a table"))),
        Err(error) => {
            ensure!(error.kind == PortErrorKind::Invalid, "{:?}: {error}", error.kind);
            ensure!(error.text.contains(&topic), "'{error}' does not name {topic}");
            Ok(())
        }
    }
}
