//! What the tests share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use towpath_core::budget::Budget;
use towpath_core::ports::{
    ClientOverrides, Cluster as _, Consumer, ConsumerEvent, ConsumerSpec, NewTopic, OutHeaders,
    OutRecord, Producer, ProducerSpec, Subscription,
};
use towpath_kafka::{KafkaCluster, KafkaOptions, Properties};
use towpath_sdk::record::{RawBatch, Topic, TopicPartition};

/// A variable of the test stack.
pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!(
            "{name} is not set: start the test stack first, \
             dir=$(tests/stack/up --kafka --toxiproxy) && . \"$dir/env\""
        )
    })
}

/// A name that no other test uses.
pub(crate) fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let millis = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    format!("{name}-{}-{millis}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Options for the broker at `address`.
pub(crate) fn options_at(address: &str) -> KafkaOptions {
    let common = Properties::from([("bootstrap.servers".to_owned(), address.to_owned())]);
    let mut options = KafkaOptions::new(common, "no-seat");
    if let Ok(debug) = std::env::var("TOWPATH_TEST_DEBUG") {
        // For a person who looks into a failure: librdkafka's own log, such as `cgrp,topic`.
        options.common.insert("debug".to_owned(), debug);
        let filter = tracing_subscriber::EnvFilter::new("librdkafka=debug,towpath_kafka=debug");
        drop(
            tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_writer(std::io::stderr)
                .try_init(),
        );
    }
    options.translate = Arc::new(|_, overrides| {
        Ok(overrides.iter().map(|(k, v)| (k.clone(), v.clone())).collect())
    });
    options
}

/// Options for the test stack's Kafka.
pub(crate) fn options() -> KafkaOptions {
    options_at(&variable("TOWPATH_TEST_KAFKA"))
}

/// The test stack's Kafka.
pub(crate) fn cluster() -> KafkaCluster {
    KafkaCluster::new(options()).unwrap()
}

/// Fails the test if `future` takes too long.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it took over a minute")
}

/// A new topic.
pub(crate) async fn topic(cluster: &KafkaCluster, name: &str, partitions: i32) -> Topic {
    topic_with(cluster, name, partitions, BTreeMap::new()).await
}

/// A new topic with settings.
pub(crate) async fn topic_with(
    cluster: &KafkaCluster,
    name: &str,
    partitions: i32,
    config: BTreeMap<String, String>,
) -> Topic {
    let name = unique(name);
    let admin = cluster.admin(ClientOverrides::new()).await.unwrap();
    let topic = NewTopic {
        name: name.clone(),
        partitions: Some(partitions),
        replication_factor: None,
        config,
    };
    assert!(admin.create_topic(topic).await.unwrap());
    Topic::from(name)
}

/// A record with a value.
pub(crate) fn record(topic: &Topic, value: impl Into<Bytes>) -> OutRecord {
    OutRecord {
        topic: Arc::clone(topic),
        partition: None,
        key: None,
        value: Some(value.into()),
        timestamp: None,
        headers: OutHeaders::default(),
    }
}

/// `count` records of partition 0 whose values are their numbers.
pub(crate) fn numbered(topic: &Topic, from: usize, count: usize) -> Vec<OutRecord> {
    (from..from + count)
        .map(|i| OutRecord { partition: Some(0), ..record(topic, i.to_string()) })
        .collect()
}

/// A producer.
pub(crate) async fn producer(cluster: &KafkaCluster) -> Arc<dyn Producer> {
    cluster
        .producer(ProducerSpec { client_id: "test".into(), overrides: ClientOverrides::new() })
        .await
        .unwrap()
}

/// Sends a batch and waits until it is durable.
pub(crate) async fn send(producer: &dyn Producer, batch: Vec<OutRecord>) {
    let failures = soon(async { producer.send(batch.into()).await.unwrap().await }).await;
    assert!(failures.is_empty(), "{failures:?}");
}

/// What a consumer of `topics` is.
pub(crate) fn spec(group: &str, topics: &[&Topic], budget: Budget) -> ConsumerSpec {
    ConsumerSpec {
        group_id: group.to_owned(),
        client_id: "test".to_owned(),
        subscription: Subscription::Topics(topics.iter().map(|t| t.to_string()).collect()),
        overrides: ClientOverrides::new(),
        budget,
    }
}

/// A consumer with room for everything.
pub(crate) async fn consumer(
    cluster: &KafkaCluster,
    group: &str,
    topic: &Topic,
) -> Box<dyn Consumer> {
    cluster.consumer(spec(group, &[topic], Budget::new(64 << 20))).await.unwrap()
}

/// The next event but trouble.
pub(crate) async fn event(consumer: &mut dyn Consumer) -> ConsumerEvent {
    soon(async {
        loop {
            match consumer.next().await.unwrap() {
                ConsumerEvent::Trouble(_) => {}
                event => return event,
            }
        }
    })
    .await
}

/// Waits for an assignment.
pub(crate) async fn assigned(consumer: &mut dyn Consumer) -> Vec<TopicPartition> {
    match event(consumer).await {
        ConsumerEvent::Assigned { partitions, .. } => partitions,
        other => panic!("expected an assignment, not {other:?}"),
    }
}

/// Waits for an assignment and starts all of it at the committed offsets.
pub(crate) async fn started(consumer: &mut dyn Consumer) -> Vec<TopicPartition> {
    let partitions = assigned(consumer).await;
    let at = partitions.iter().map(|p| (p.clone(), None)).collect();
    soon(consumer.start(at)).await.unwrap();
    partitions
}

/// The next batch.
pub(crate) async fn batch(consumer: &mut dyn Consumer) -> RawBatch {
    match event(consumer).await {
        ConsumerEvent::Batch(batch) => batch,
        other => panic!("expected a batch, not {other:?}"),
    }
}

/// Batches until `count` records came.
pub(crate) async fn batches(consumer: &mut dyn Consumer, count: usize) -> Vec<RawBatch> {
    let mut batches = Vec::new();
    let mut seen = 0;
    while seen < count {
        let batch = batch(consumer).await;
        seen += batch.rows.len();
        batches.push(batch);
    }
    assert_eq!(seen, count);
    batches
}

/// The values of batches as text.
pub(crate) fn values(batches: &[RawBatch]) -> Vec<String> {
    let value = |b: &RawBatch, slot| match b.slice(slot) {
        Some(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        None => "(null)".to_owned(),
    };
    batches.iter().flat_map(|b| b.rows.iter().map(|r| value(b, &r.value))).collect()
}

/// Runs one of Kafka's own tools.
pub(crate) async fn kafka_tool(args: &[&str]) {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/stack/kafka-tool");
    let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
    let stack = variable("TOWPATH_TEST_STACK");
    let run = move || std::process::Command::new(root).arg(stack).args(args).output().unwrap();
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
