//! A topic that a connector reads beside the records' way.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use towpath_core::home::{Place, Who};
use towpath_core::metrics::Metrics;
use towpath_core::offsets::OffsetStore;
use towpath_core::ports::{
    ClientOverrides, Cluster, NewTopic, OutHeaders, OutRecord, ProducerSpec, TableSpec,
};
use towpath_core::task::TaskId;
use towpath_core::task::host::TaskHost;
use towpath_core::topics::TopicNotes;
use towpath_sdk::clock::SystemClock;
use towpath_sdk::context::TaskContext;
use towpath_sdk::signal::TopicReader;
use towpath_sim::{Faults, SimCluster};

fn context(cluster: &Arc<dyn Cluster>) -> TaskContext {
    let id = TaskId { connector: "c".into(), task: 0 };
    let offsets = TableSpec {
        topic: "offsets".to_owned(),
        partitions: Some(1),
        replication_factor: Some(1),
        config: BTreeMap::new(),
        purpose: "offset",
        client_id: "test".to_owned(),
    };
    let host = TaskHost {
        who: Who::Task(id.clone()),
        topics: Arc::new(TopicNotes::new(id.clone(), mpsc::channel(1).0)),
        id,
        clock: Arc::new(SystemClock),
        status: Default::default(),
        metrics: Arc::new(Metrics::new()).task("c", 0),
        offsets: Arc::new(OffsetStore::new(Arc::clone(cluster), offsets)),
        place: Place::here(),
        cluster: Arc::clone(cluster),
        consumer: ClientOverrides::new(),
        signals: Default::default(),
        written: None,
    };
    TaskContext::new("c", 0, Arc::new(host))
}

async fn produce(cluster: &Arc<dyn Cluster>, values: &[&'static str]) {
    let spec = ProducerSpec { client_id: "test".to_owned(), overrides: ClientOverrides::new() };
    let producer = cluster.producer(spec).await.unwrap();
    let record = |value: &&'static str| OutRecord {
        topic: "signals".into(),
        partition: Some(0),
        key: None,
        value: Some((*value).into()),
        timestamp: None,
        headers: OutHeaders::default(),
    };
    let receipt = producer.send(Arc::new(values.iter().map(record).collect())).await.unwrap();
    assert!(receipt.await.is_empty());
}

async fn next(reader: &mut Box<dyn TopicReader>) -> String {
    let value = reader.next().await.unwrap().value.unwrap();
    String::from_utf8(value.to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_care_of_does_not_come_again() {
    let cluster: Arc<dyn Cluster> = SimCluster::new(1, Faults::none());
    let admin = cluster.admin(ClientOverrides::new()).await.unwrap();
    let topic = NewTopic {
        name: "signals".to_owned(),
        partitions: Some(1),
        replication_factor: Some(1),
        config: BTreeMap::new(),
    };
    admin.create_topic(topic).await.unwrap();
    produce(&cluster, &["one", "two", "three"]).await;
    let open = async |from: &[(i32, i64)]| {
        let from = from.iter().copied().collect();
        context(&cluster).read_topic("signals", from).await.unwrap()
    };
    let mut reader = open(&[]).await;
    assert_eq!(next(&mut reader).await, "one");
    assert_eq!(next(&mut reader).await, "two");
    reader.done(0, 1);
    assert_eq!(next(&mut reader).await, "three");
    // The second and the third may not have been taken care of.
    drop(reader);
    produce(&cluster, &["four"]).await;
    let mut reader = open(&[]).await;
    assert_eq!(next(&mut reader).await, "two");
    drop(reader);
    // The connector knows better than the group.
    let mut reader = open(&[(0, 3)]).await;
    assert_eq!(next(&mut reader).await, "four");
}
