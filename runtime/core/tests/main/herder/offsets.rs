//! Offsets over the API.

use std::time::Duration;

use tokio::time::Instant;
use towpath_core::budget::Budget;
use towpath_core::herder::HerderError;
use towpath_core::ports::{ClientOverrides, Cluster, ConsumerSpec, NewTopic, Subscription};
use towpath_formats::messages::{self, OffsetChange};
use towpath_formats::rest::{ConnectorOffsets, InitialState};
use towpath_sdk::record::TopicPartition;

use super::plane::{Worker, cluster, config};

fn offsets(json: &str) -> ConnectorOffsets {
    serde_json::from_str(json).expect("offsets")
}

fn shown(offsets: &ConnectorOffsets) -> String {
    serde_json::to_string(offsets).expect("JSON")
}

#[tokio::test(start_paused = true)]
async fn a_sources_offsets() {
    let worker = Worker::start(&cluster());
    let herder = &worker.herder;
    herder.create("c", config("source", &[]), None, None).await.expect("created");
    let set = offsets(r#"{"offsets":[{"partition":{"file":"x"},"offset":{"at":5}}]}"#);
    let refused = herder.alter_offsets("c", &set, None).await.expect_err("it runs");
    assert_eq!(refused, HerderError::Invalid(messages::must_be_stopped("c")));
    herder.stop("c", None).await.expect("stopped");
    let text = herder.alter_offsets("c", &set, None).await.expect("altered");
    assert_eq!(text, messages::offsets_changed(OffsetChange::Altered, true));
    assert_eq!(shown(&herder.offsets("c").await.expect("offsets")), shown(&set));
    for (wrong, expect) in [
        ("{}", "Partitions / offsets need to be provided for an alter offsets request"),
        (
            r#"{"offsets":[]}"#,
            "Partitions / offsets need to be provided for an alter offsets request",
        ),
        (r#"{"offsets":[{"partition":{"x":1},"offset":null}]}"#, "a partition has the key 'file'"),
        (
            r#"{"offsets":[{"offset":{"at":1}}]}"#,
            "The partition for a source connector offset cannot be null or missing",
        ),
        (
            r#"{"offsets":[{"partition":{"file":"x"},"offset":{"at":[1]}}]}"#,
            "an offset may hold only primitive values, but 'at' is an array or an object",
        ),
    ] {
        let refused = herder.alter_offsets("c", &offsets(wrong), None).await.expect_err(wrong);
        assert_eq!(refused, HerderError::Invalid(expect.to_owned()));
    }
    assert_eq!(shown(&herder.offsets("c").await.expect("offsets")), shown(&set));
    let text = herder.reset_offsets("c", None).await.expect("reset");
    assert_eq!(text, messages::offsets_changed(OffsetChange::Reset, true));
    assert_eq!(shown(&herder.offsets("c").await.expect("offsets")), r#"{"offsets":[]}"#);
}

#[tokio::test(start_paused = true)]
async fn a_sinks_offsets() {
    let cluster = cluster();
    let worker = Worker::start(&cluster);
    let herder = &worker.herder;
    let admin = cluster.admin(ClientOverrides::new()).await.expect("an admin");
    let topic = NewTopic {
        name: "t".into(),
        partitions: Some(2),
        replication_factor: Some(1),
        config: Default::default(),
    };
    admin.create_topic(topic).await.expect("created");
    let own_group = config("sink", &[("consumer.override.group.id", "own")]);
    let stopped = Some(InitialState::Stopped);
    herder.create("c", own_group, stopped, None).await.expect("created");
    assert_eq!(shown(&herder.offsets("c").await.expect("offsets")), r#"{"offsets":[]}"#);
    let set = r#"{"offsets":[{"partition":{"kafka_topic":"t","kafka_partition":"1"},"offset":{"kafka_offset":"0"}}]}"#;
    herder.alter_offsets("c", &offsets(set), None).await.expect("altered");
    let expect = r#"{"offsets":[{"partition":{"kafka_partition":1,"kafka_topic":"t"},"offset":{"kafka_offset":0}}]}"#;
    assert_eq!(shown(&herder.offsets("c").await.expect("offsets")), expect);
    let held = admin.group_offsets("own").await.expect("offsets");
    assert_eq!(held[0].partition, TopicPartition { topic: "t".into(), partition: 1 });
    for (wrong, expect) in [
        (
            r#"{"offsets":[{"partition":{"kafka_topic":"t","kafka_partition":2},"offset":{"kafka_offset":0}}]}"#,
            "The topic 't' has 2 partitions, but no partition 2",
        ),
        (
            r#"{"offsets":[{"partition":{"kafka_topic":"u","kafka_partition":0},"offset":{"kafka_offset":0}}]}"#,
            "The topic 'u' does not exist",
        ),
        (
            r#"{"offsets":[{"partition":{"kafka_topic":"t","kafka_partition":0},"offset":{"kafka_offset":-1}}]}"#,
            "The offset of partition 0 of 't' must not be negative",
        ),
        (
            r#"{"offsets":[{"partition":{"topic":"t"},"offset":null}]}"#,
            "The partition for a sink connector offset must contain the keys 'kafka_topic' and 'kafka_partition'",
        ),
    ] {
        let refused = herder.alter_offsets("c", &offsets(wrong), None).await.expect_err(wrong);
        assert_eq!(refused, HerderError::Invalid(expect.to_owned()));
    }
    let forget =
        r#"{"offsets":[{"partition":{"kafka_topic":"t","kafka_partition":1},"offset":null}]}"#;
    herder.alter_offsets("c", &offsets(forget), None).await.expect("altered");
    assert_eq!(shown(&herder.offsets("c").await.expect("offsets")), r#"{"offsets":[]}"#);
    herder.alter_offsets("c", &offsets(set), None).await.expect("altered");
    let text = herder.reset_offsets("c", None).await.expect("reset");
    assert_eq!(text, messages::offsets_changed(OffsetChange::Reset, true));
    assert_eq!(shown(&herder.offsets("c").await.expect("offsets")), r#"{"offsets":[]}"#);
}

#[tokio::test(start_paused = true)]
async fn the_connectors_own_consumers_are_waited_for_and_others_are_named() {
    let cluster = cluster();
    let worker = Worker::start(&cluster);
    let herder = &worker.herder;
    let own_group = config("sink", &[("consumer.override.group.id", "own")]);
    herder.create("c", own_group, Some(InitialState::Stopped), None).await.expect("created");
    let member = |client_id: &str| ConsumerSpec {
        group_id: "own".to_owned(),
        client_id: client_id.to_owned(),
        subscription: Subscription::Topics(vec!["t".to_owned()]),
        overrides: ClientOverrides::new(),
        budget: Budget::new(1),
    };
    let last = cluster.consumer(member("connector-consumer-c-3")).await.expect("a consumer");
    let began = Instant::now();
    let leaves = async {
        tokio::time::sleep(Duration::from_secs(40)).await;
        last.close().await;
    };
    let (reset, ()) = tokio::join!(herder.reset_offsets("c", None), leaves);
    reset.expect("reset");
    assert!(began.elapsed() >= Duration::from_secs(40));

    // One that does not leave is named in the end, and a stranger at once.
    for (client_id, wait) in [("connector-consumer-c-3", 50), ("connector-consumer-c-x-3", 0)] {
        let other = cluster.consumer(member(client_id)).await.expect("a consumer");
        let began = Instant::now();
        let refused = herder.reset_offsets("c", None).await.expect_err(client_id);
        assert_eq!(began.elapsed().as_secs(), wait, "{client_id}");
        let HerderError::Conflict(text) = refused else { panic!("{refused:?}") };
        assert!(text.contains(&format!("still has a member, the client '{client_id}'")), "{text}");
        other.close().await;
    }
}
