//! Consuming as members of a group.

use std::time::Duration;

use bytes::Bytes;
use towpath_core::budget::Budget;
use towpath_core::ports::{
    ClientOverrides, Cluster as _, CommitOutcome, ConsumerEvent, ConsumerSpec, OutRecord,
    PortErrorKind, Subscription,
};
use towpath_kafka::KafkaCluster;
use towpath_sdk::record::TopicPartition;

use crate::support::{
    assigned, batch, batches, cluster, consumer, event, numbered, options, producer, record, send,
    soon, spec, started, topic, unique, values,
};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_comes_before_start_and_a_restart_goes_on_where_it_was_committed() {
    let cluster = cluster();
    let topic = topic(&cluster, "commit", 1).await;
    let producer = producer(&cluster).await;
    send(&*producer, numbered(&topic, 0, 10)).await;
    let group = unique("g");
    let place = TopicPartition::new(topic.clone(), 0);

    let mut first = consumer(&cluster, &group, &topic).await;
    assert_eq!(assigned(&mut *first).await, std::slice::from_ref(&place));
    let quiet = tokio::time::timeout(Duration::from_secs(1), first.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    soon(first.start(vec![(place.clone(), None)])).await.unwrap();
    assert_eq!(batches(&mut *first, 10).await.last().unwrap().end, 10);
    assert_eq!(first.end_offset(&place), Some(10));
    let outcome = soon(first.commit(vec![(place.clone(), 4)])).await;
    assert!(matches!(outcome, CommitOutcome::Done), "{outcome:?}");
    soon(first.close()).await;

    let mut second = consumer(&cluster, &group, &topic).await;
    started(&mut *second).await;
    assert_eq!(values(&batches(&mut *second, 6).await)[0], "4");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_fetched_before_a_move_is_not_delivered_after_it() {
    let cluster = cluster();
    let topic = topic(&cluster, "seek", 1).await;
    let producer = producer(&cluster).await;
    for from in (0..20_000).step_by(1000) {
        send(&*producer, numbered(&topic, from, 1000)).await;
    }
    // A small budget makes many small batches: always some are under way.
    let spec = spec(&unique("g"), &[&topic], Budget::new(64 << 10));
    let mut consumer = cluster.consumer(spec).await.unwrap();
    let place = started(&mut *consumer).await.remove(0);
    let mut to = 0;
    for _ in 0..20 {
        batch(&mut *consumer).await;
        to = (to * 31 + 4711) % 15_000;
        soon(consumer.start(vec![(place.clone(), Some(to))])).await.unwrap();
        assert_eq!(batch(&mut *consumer).await.start(), to);
    }
    // Halted, it is silent until it is started.
    consumer.halt(std::slice::from_ref(&place)).unwrap();
    let quiet = tokio::time::timeout(Duration::from_secs(1), consumer.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    soon(consumer.start(vec![(place.clone(), Some(19_990))])).await.unwrap();
    let last = batches(&mut *consumer, 10).await;
    assert_eq!((last[0].start(), last.last().unwrap().end), (19_990, 20_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_partition_is_committed_before_it_goes_and_never_after() {
    let cluster = cluster();
    let topic = topic(&cluster, "revoke", 2).await;
    let producer = producer(&cluster).await;
    let both =
        |i: usize| OutRecord { partition: Some((i % 2) as i32), ..record(&topic, i.to_string()) };
    send(&*producer, (0..20).map(both).collect()).await;
    let group = unique("g");
    let mut old = consumer(&cluster, &group, &topic).await;
    assert_eq!(started(&mut *old).await.len(), 2);
    batches(&mut *old, 20).await;

    let mut new = consumer(&cluster, &group, &topic).await;
    let join = tokio::spawn(async move {
        let places = started(&mut *new).await;
        (new, places)
    });
    let (gone, done) = match event(&mut *old).await {
        ConsumerEvent::Revoking { partitions, done } => (partitions, done),
        other => panic!("expected a revocation, not {other:?}"),
    };
    assert_eq!(gone.len(), 1);
    let outcome = soon(old.commit(vec![(gone[0].clone(), 7)])).await;
    assert!(matches!(outcome, CommitOutcome::Done), "{outcome:?}");
    assert!(!join.is_finished(), "the group waits for the word");
    drop(done);
    // The revoking side must go on polling for the group to settle.
    let watch = tokio::spawn(async move {
        let late = tokio::time::timeout(Duration::from_secs(3), old.next()).await;
        (old, late)
    });
    let (mut new, places) = soon(join).await.unwrap();
    assert_eq!(places, gone);
    assert_eq!(batch(&mut *new).await.start(), 7, "from the last commit of the old owner");
    let (old, late) = watch.await.unwrap();
    assert!(late.is_err(), "nothing comes of a revoked partition: {late:?}");
    match soon(old.commit(vec![(gone[0].clone(), 9)])).await {
        CommitOutcome::Failed(error) => assert_eq!(error.kind, PortErrorKind::Fenced),
        other => panic!("expected a refusal, not {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_budget_stops_fetching_and_the_member_stays() {
    let mut options = options();
    for (key, value) in [
        ("heartbeat.interval.ms", "300"),
        ("session.timeout.ms", "2000"),
        ("max.poll.interval.ms", "3000"),
    ] {
        options.consumer.insert(key.into(), value.into());
    }
    let cluster = KafkaCluster::new(options).unwrap();
    let topic = topic(&cluster, "budget", 1).await;
    let producer = producer(&cluster).await;
    let large = || OutRecord { ..record(&topic, Bytes::from(vec![b'x'; 100_000])) };
    for _ in 0..10 {
        send(&*producer, (0..20).map(|_| large()).collect()).await;
    }
    let budget = Budget::new(2 << 20);
    let mut consumer =
        cluster.consumer(spec(&unique("g"), &[&topic], budget.clone())).await.unwrap();
    started(&mut *consumer).await;
    let mut held = Vec::new();
    // Nothing more comes for longer than the group's patience with a member that does not poll.
    while let Ok(next) = tokio::time::timeout(Duration::from_secs(5), consumer.next()).await {
        match next.unwrap() {
            ConsumerEvent::Batch(batch) => held.push(batch),
            other => panic!("{other:?}"),
        }
    }
    let bytes: usize = held.iter().map(|b| b.arena.len()).sum();
    assert!(bytes <= 2 << 20, "{bytes} bytes are held");
    assert!(budget.held() >= bytes && bytes > 1 << 20, "{bytes} of {}", budget.held());
    let mut seen: usize = held.iter().map(|b| b.rows.len()).sum();
    let place = held[0].topic_partition.clone();
    drop(held);
    while seen < 200 {
        seen += batch(&mut *consumer).await.rows.len();
    }
    let outcome = soon(consumer.commit(vec![(place, 200)])).await;
    assert!(matches!(outcome, CommitOutcome::Done), "{outcome:?}");
    assert_eq!(budget.held(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_chosen_by_a_pattern_also_those_that_come_later() {
    let prefix = unique("pattern");
    let mut options = options();
    options.consumer.insert("topic.metadata.refresh.interval.ms".into(), "300".into());
    let cluster = KafkaCluster::new(options).unwrap();
    topic(&cluster, "unrelated", 1).await;
    let first = topic(&cluster, &format!("{prefix}-a"), 1).await;
    let mut consumer = cluster
        .consumer(ConsumerSpec {
            subscription: Subscription::Pattern(format!("{prefix}-\\p{{Lower}}(?!x)[-0-9]+")),
            ..spec(&unique("g"), &[], Budget::new(1 << 20))
        })
        .await
        .unwrap();
    assert_eq!(assigned(&mut *consumer).await, [TopicPartition::new(first, 0)]);
    let second = topic(&cluster, &format!("{prefix}-b"), 1).await;
    assert_eq!(assigned(&mut *consumer).await, [TopicPartition::new(second, 0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_trouble_until_it_is_there() {
    let cluster = cluster();
    let name = unique("later");
    let topic_name = name.clone().into();
    let mut consumer = consumer(&cluster, &unique("g"), &topic_name).await;
    match soon(consumer.next()).await.unwrap() {
        ConsumerEvent::Trouble(Some(error)) => {
            assert_eq!(error.kind, PortErrorKind::NotFound, "{error}");
            assert!(error.text.contains(&name), "{error}");
        }
        other => panic!("expected trouble, not {other:?}"),
    }
    let admin = cluster.admin(ClientOverrides::new()).await.unwrap();
    let topic = towpath_core::ports::NewTopic {
        name,
        partitions: Some(1),
        replication_factor: None,
        config: Default::default(),
    };
    admin.create_topic(topic).await.unwrap();
    let (mut healed, mut assigned) = (false, false);
    while !(healed && assigned) {
        match soon(consumer.next()).await.unwrap() {
            ConsumerEvent::Trouble(None) => healed = true,
            ConsumerEvent::Assigned { .. } => assigned = true,
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_partitions_and_records_come_complete_and_in_order() {
    let cluster = cluster();
    let topic = topic(&cluster, "many", 5).await;
    let producer = producer(&cluster).await;
    let mut receipts = Vec::new();
    for from in (0..100_000).step_by(5000) {
        let records: Vec<_> = (from..from + 5000)
            .map(|i: usize| OutRecord {
                partition: Some((i % 5) as i32),
                ..record(&topic, i.to_string())
            })
            .collect();
        receipts.push(producer.send(records.into()).await.unwrap());
    }
    for receipt in receipts {
        assert!(soon(receipt).await.is_empty());
    }
    let budget = Budget::new(1 << 20);
    let mut consumer =
        cluster.consumer(spec(&unique("g"), &[&topic], budget.clone())).await.unwrap();
    started(&mut *consumer).await;
    let mut next = [0_usize, 1, 2, 3, 4];
    let mut seen = 0;
    while seen < 100_000 {
        let batch = batch(&mut *consumer).await;
        let partition = batch.topic_partition.partition as usize;
        for row in &batch.rows {
            let value = batch.slice(&row.value).unwrap();
            assert_eq!(value, next[partition].to_string());
            next[partition] += 5;
            seen += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_out_of_range_goes_where_auto_offset_reset_says() {
    let cluster = cluster();
    let topic = topic(&cluster, "out-of-range", 1).await;
    let producer = producer(&cluster).await;
    send(&*producer, numbered(&topic, 0, 3)).await;
    let mut consumer = consumer(&cluster, &unique("g"), &topic).await;
    let place = assigned(&mut *consumer).await.remove(0);
    soon(consumer.start(vec![(place, Some(1000))])).await.unwrap();
    assert_eq!(values(&batches(&mut *consumer, 3).await), ["0", "1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_starts_behind_what_is_there_and_none_refuses() {
    let mut options = options();
    options.consumer.insert("auto.offset.reset".into(), "latest".into());
    let cluster = KafkaCluster::new(options.clone()).unwrap();
    let topic = topic(&cluster, "latest", 1).await;
    let producer = producer(&cluster).await;
    send(&*producer, numbered(&topic, 0, 3)).await;
    let mut latest = consumer(&cluster, &unique("g"), &topic).await;
    started(&mut *latest).await;
    send(&*producer, numbered(&topic, 3, 1)).await;
    assert_eq!(values(&batches(&mut *latest, 1).await), ["3"]);

    options.consumer.insert("auto.offset.reset".into(), "error".into());
    let cluster = KafkaCluster::new(options).unwrap();
    let mut none = consumer(&cluster, &unique("g"), &topic).await;
    let place = assigned(&mut *none).await.remove(0);
    let error = soon(none.start(vec![(place, None)])).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Invalid);
    assert!(error.text.contains("auto.offset.reset"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_topic_is_read_from_its_beginning_under_a_new_epoch() {
    let cluster = cluster();
    let topic = topic(&cluster, "recreated", 1).await;
    let producer = producer(&cluster).await;
    send(&*producer, numbered(&topic, 0, 10)).await;
    let mut consumer = consumer(&cluster, &unique("g"), &topic).await;
    let place = started(&mut *consumer).await.remove(0);
    let old = batches(&mut *consumer, 10).await[0].epoch;
    let outcome = soon(consumer.commit(vec![(place.clone(), 10)])).await;
    assert!(matches!(outcome, CommitOutcome::Done), "{outcome:?}");
    drop(producer);

    crate::support::kafka_tool(&["topics", "--delete", "--topic", &topic]).await;
    let create = ["topics", "--create", "--topic", &topic, "--partitions", "1"];
    crate::support::kafka_tool(&create).await;
    send(&*crate::support::producer(&cluster).await, numbered(&topic, 20, 3)).await;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        match event(&mut *consumer).await {
            ConsumerEvent::Batch(batch) => {
                assert!(batch.rows.is_empty() || batch.epoch > old, "{batch:?}");
                seen.extend(values(&[batch]));
            }
            ConsumerEvent::Assigned { partitions, .. } => {
                let at = partitions.into_iter().map(|p| (p, None)).collect();
                soon(consumer.start(at)).await.unwrap();
            }
            ConsumerEvent::Revoking { .. } | ConsumerEvent::Lost { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, ["20", "21", "22"]);
}
