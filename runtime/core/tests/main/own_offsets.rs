//! Offset topics of connectors' own (KIP-618).

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::runtime::Handle;
use towpath_core::offsets::{OffsetStore, OwnOffsets};
use towpath_core::ports::{ClientOverrides, Cluster, NewTopic, TableSpec};
use towpath_sdk::ErrorKind;
use towpath_sdk::offset::{OffsetMap, SourceOffset, SourcePartition};
use towpath_sim::{Faults, SimCluster};

fn spec(topic: &str) -> TableSpec {
    TableSpec {
        topic: topic.to_owned(),
        partitions: Some(3),
        replication_factor: Some(1),
        config: BTreeMap::new(),
        purpose: "offset",
        client_id: "test".to_owned(),
    }
}

/// The worker's store on `cluster`, followed.
fn worker(cluster: &Arc<dyn Cluster>) -> Arc<OffsetStore> {
    let store = Arc::new(OffsetStore::new(Arc::clone(cluster), spec("offsets")));
    let followed = Arc::clone(&store);
    tokio::spawn(async move { followed.run().await });
    store
}

fn own(cluster: &Arc<dyn Cluster>, worker: &Arc<OffsetStore>) -> OwnOffsets {
    OwnOffsets::new(Arc::clone(cluster), Arc::clone(worker), Handle::current())
}

fn file(name: &str) -> SourcePartition {
    SourcePartition::of([("file", name)])
}

fn at(position: i64) -> Option<SourceOffset> {
    Some(OffsetMap::of([("position", position)]))
}

fn position(store: &OffsetStore, name: &str) -> Option<i64> {
    store.source_offsets("c").get(&file(name)).and_then(|offset| offset.get_i64("position"))
}

#[tokio::test(start_paused = true)]
async fn offsets_move_over_from_the_workers_topic() {
    let cluster: Arc<dyn Cluster> = SimCluster::new(1, Faults::none());
    let global = worker(&cluster);
    global.ready().await;
    global.commit("c", &[(file("a"), at(1)), (file("b"), at(1))]).await.unwrap();
    global.commit("other", &[(file("a"), at(9))]).await.unwrap();

    let stores = own(&cluster, &global);
    let followed = stores.of(Some("mine")).await.unwrap();
    let store = &followed.store;
    assert_eq!((position(store, "a"), position(store, "b")), (Some(1), Some(1)));
    store.commit("c", &[(file("a"), at(5))]).await.unwrap();
    assert_eq!((position(store, "a"), position(&global, "a")), (Some(5), Some(1)));
    // A transaction writes there too.
    let records = store.transaction_records("c", &[(file("a"), at(6))]);
    assert!(records.iter().all(|record| &*record.topic == "mine") && records.len() == 1);

    // What another worker reads is the same, and what is forgotten does not come back.
    let elsewhere = own(&cluster, &worker(&cluster));
    let followed = elsewhere.of(Some("mine")).await.unwrap();
    assert_eq!(position(&followed.store, "a"), Some(5));
    assert_eq!(followed.store.read_back("c").await.unwrap().iter().count(), 2);
    let forget = [(file("a"), None), (file("b"), None)];
    let topics = followed.store.transaction_records("c", &forget);
    let topics: Vec<&str> = topics.iter().map(|record| &*record.topic).collect();
    assert_eq!(topics, ["mine", "mine", "offsets", "offsets"]);
    followed.store.commit("c", &forget).await.unwrap();
    drop(followed);
    let third = own(&cluster, &worker(&cluster)).of(Some("mine")).await.unwrap();
    assert_eq!(third.store.source_offsets("c").iter().count(), 0);
    assert_eq!(third.store.source_offsets("other").iter().count(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_store_serves_all_tasks_and_the_workers_topic_is_the_workers_store() {
    let cluster: Arc<dyn Cluster> = SimCluster::new(1, Faults::none());
    let global = worker(&cluster);
    let stores = own(&cluster, &global);
    let (one, two) =
        (stores.of(Some("mine")).await.unwrap(), stores.of(Some("mine")).await.unwrap());
    assert!(Arc::ptr_eq(&one.store, &two.store));
    for topic in [None, Some("offsets")] {
        assert!(Arc::ptr_eq(&stores.of(topic).await.unwrap().store, &global));
    }
    // States of a connector live there as well.
    let key = file("state");
    one.store.store("c", vec![(key.clone(), at(3))]).await.unwrap();
    assert_eq!(one.store.load("c", &key), at(3));
    assert_eq!(global.load("c", &key), None);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_not_compacted_is_refused() {
    let cluster: Arc<dyn Cluster> = SimCluster::new(1, Faults::none());
    let admin = cluster.admin(ClientOverrides::new()).await.unwrap();
    let config = BTreeMap::from([("cleanup.policy".to_owned(), "delete".to_owned())]);
    let topic = NewTopic {
        name: "mine".to_owned(),
        partitions: Some(1),
        replication_factor: Some(1),
        config,
    };
    admin.create_topic(topic).await.unwrap();
    let stores = own(&cluster, &worker(&cluster));
    let error = stores.of(Some("mine")).await.err().expect("a refusal");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.chain().contains("'mine'") && error.chain().contains("compact"), "{error:?}");
}
