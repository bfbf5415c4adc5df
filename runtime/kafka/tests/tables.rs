//! Compacted tables.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::sync::mpsc;
use towpath_core::ports::{
    ClientOverrides, Cluster as _, Entry, OutRecord, PortErrorKind, ProducerSpec, TableEvent,
    TableSpec,
};

use crate::support::{cluster, record, send, soon, topic, topic_with, unique};

fn spec(topic: &str, partitions: Option<i32>) -> TableSpec {
    TableSpec {
        topic: topic.to_owned(),
        partitions,
        replication_factor: Some(1),
        config: BTreeMap::new(),
        purpose: "config",
        client_id: "test".to_owned(),
    }
}

fn entry(key: &str, value: Option<&str>) -> Entry {
    Entry {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: value.map(|v| Bytes::copy_from_slice(v.as_bytes())),
    }
}

async fn until_caught_up(events: &mut mpsc::Receiver<TableEvent>) -> Vec<Entry> {
    let mut entries = Vec::new();
    loop {
        match soon(events.recv()).await.expect("the follower lives") {
            TableEvent::Entries(more) => entries.extend(more),
            TableEvent::CaughtUp => return entries,
            TableEvent::Trouble(trouble) => panic!("{trouble:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_created_written_and_followed() {
    let cluster = cluster();
    let name = unique("table");
    let table = soon(cluster.table(spec(&name, Some(1)))).await.unwrap();
    assert_eq!(table.topic(), name);
    let mut first = table.follow().await.unwrap();
    assert!(until_caught_up(&mut first).await.is_empty());
    let written = vec![entry("a", Some("1")), entry("b", Some("")), entry("a", None)];
    soon(table.put(written.clone())).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        match soon(first.recv()).await.unwrap() {
            TableEvent::Entries(more) => seen.extend(more),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, written);
    // Another worker finds it compacted and reads the same.
    let again = soon(cluster.table(spec(&name, Some(1)))).await.unwrap();
    let mut second = again.follow().await.unwrap();
    assert_eq!(until_caught_up(&mut second).await, written);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_catches_up_behind_markers_and_sees_no_aborted_entry() {
    let cluster = cluster();
    let name = unique("table-tx");
    let table = soon(cluster.table(spec(&name, Some(3)))).await.unwrap();
    let producer = soon(cluster.transactional_producer(
        unique("tx"),
        ProducerSpec { client_id: "test".into(), overrides: ClientOverrides::new() },
    ))
    .await
    .unwrap();
    let keyed = |key: &str| OutRecord {
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        ..record(&name.clone().into(), "v")
    };
    for (key, commit) in [("a", true), ("b", false), ("c", true), ("d", false)] {
        producer.begin().await.unwrap();
        send(&*producer, vec![keyed(key)]).await;
        if commit {
            soon(producer.commit()).await;
        } else {
            soon(producer.abort()).await;
        }
    }
    let mut events = table.follow().await.unwrap();
    let mut keys: Vec<Bytes> =
        until_caught_up(&mut events).await.into_iter().map(|e| e.key).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["a", "c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfit_topic_is_refused_with_what_to_do() {
    let cluster = cluster();
    let plain = topic(&cluster, "uncompacted", 1).await;
    let error = soon(cluster.table(spec(&plain, Some(1)))).await.err().unwrap();
    assert_eq!(error.kind, PortErrorKind::Invalid);
    for part in ["cleanup.policy=compact", "cleanup.policy=delete", &plain, "config"] {
        assert!(error.text.contains(part), "{part} is not in: {error}");
    }
    let compact = BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
    let split = topic_with(&cluster, "split", 2, compact).await;
    let error = soon(cluster.table(spec(&split, Some(1)))).await.err().unwrap();
    assert_eq!(error.kind, PortErrorKind::Invalid);
    assert!(error.text.contains("one partition"), "{error}");
    // Any number will do for the other tables.
    soon(cluster.table(spec(&split, Some(25)))).await.unwrap();
}
