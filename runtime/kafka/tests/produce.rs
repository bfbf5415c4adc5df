//! Producing, with and without transactions.

use bytes::Bytes;
use towpath_core::ports::{
    ClientOverrides, Cluster as _, OutRecord, PortErrorKind, ProducerSpec, TransactionOutcome,
};
use towpath_kafka::KafkaCluster;

use crate::support::{
    batch, batches, cluster, consumer, numbered, options, producer, record, send, soon, started,
    topic, unique, values,
};

#[tokio::test(flavor = "multi_thread")]
async fn records_arrive_as_they_were_sent() {
    let cluster = cluster();
    let topic = topic(&cluster, "round-trip", 1).await;
    let producer = producer(&cluster).await;
    let sent = vec![
        OutRecord {
            key: Some(Bytes::from_static(b"k")),
            timestamp: Some(1_700_000_000_123),
            headers: vec![
                ("a".into(), Some(Bytes::from_static(b"1"))),
                ("a".into(), None),
                ("b".into(), Some(Bytes::new())),
            ]
            .into(),
            ..record(&topic, "v")
        },
        OutRecord { key: Some(Bytes::new()), value: None, ..record(&topic, "") },
        OutRecord { key: None, value: Some(Bytes::new()), ..record(&topic, "") },
    ];
    send(&*producer, sent.clone()).await;

    let mut consumer = consumer(&cluster, &unique("g"), &topic).await;
    started(&mut *consumer).await;
    let got = batches(&mut *consumer, 3).await;
    let rows: Vec<_> = got.iter().flat_map(|b| b.rows.iter().map(move |r| (b, r))).collect();
    for ((batch, row), sent) in rows.iter().zip(&sent) {
        assert_eq!(batch.slice(&row.key), sent.key);
        assert_eq!(batch.slice(&row.value), sent.value);
        let headers: Vec<_> =
            row.headers.iter().map(|h| (h.key.clone(), batch.slice(&h.value))).collect();
        assert_eq!(*headers, *sent.headers);
    }
    assert_eq!(rows[0].1.timestamp, Some(1_700_000_000_123));
    assert!(rows[1].1.timestamp.is_some_and(|t| t > 1_700_000_000_123), "now");
    assert_eq!(rows.iter().map(|(_, r)| r.offset).collect::<Vec<_>>(), [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_go_to_the_partitions_that_java_gives_them() {
    let cluster = cluster();
    let topic = topic(&cluster, "partitioner", 7).await;
    let producer = producer(&cluster).await;
    let key = |i: usize| match i {
        0 => Bytes::new(),
        i => Bytes::from("schlüssel-".repeat(i % 5) + &i.to_string()),
    };
    let sent: Vec<OutRecord> = (0..300)
        .map(|i| OutRecord { key: Some(key(i)), ..record(&topic, i.to_string()) })
        .collect();
    send(&*producer, sent).await;

    let mut consumer = consumer(&cluster, &unique("g"), &topic).await;
    started(&mut *consumer).await;
    for batch in batches(&mut *consumer, 300).await {
        for row in &batch.rows {
            let key = batch.slice(&row.key).unwrap();
            let java = towpath_formats::partitioner::partition_for_key(&key, 7).unwrap();
            assert_eq!(batch.topic_partition.partition, java as i32, "{key:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_names_its_record_and_the_others_arrive() {
    let cluster = cluster();
    let topic = topic(&cluster, "too-large", 1).await;
    let producer = producer(&cluster).await;
    let mut records = numbered(&topic, 0, 3);
    records[1].value = Some(Bytes::from(vec![b'x'; 3 << 20]));
    let failures = soon(async { producer.send(records.into()).await.unwrap().await }).await;
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].index, 1);
    assert_eq!(failures[0].error.kind, PortErrorKind::TooLarge);
    assert!(failures[0].error.text.contains("max.message.bytes"), "{}", failures[0].error);

    let mut consumer = consumer(&cluster, &unique("g"), &topic).await;
    started(&mut *consumer).await;
    assert_eq!(values(&batches(&mut *consumer, 2).await), ["0", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_there_is_not_found() {
    let mut options = options();
    options.producer.insert("topic.metadata.propagation.max.ms".into(), "500".into());
    let producer = producer(&KafkaCluster::new(options).unwrap()).await;
    let topic = unique("missing").into();
    let failures =
        soon(async { producer.send(vec![record(&topic, "v")].into()).await.unwrap().await }).await;
    assert_eq!(failures[0].error.kind, PortErrorKind::NotFound, "{}", failures[0].error);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_larger_than_the_queue_waits_for_room() {
    let mut options = options();
    options.producer.insert("queue.buffering.max.messages".into(), "100".into());
    let cluster = KafkaCluster::new(options).unwrap();
    let topic = topic(&cluster, "room", 1).await;
    let producer = producer(&cluster).await;
    send(&*producer, numbered(&topic, 0, 5000)).await;

    let mut consumer = consumer(&cluster, &unique("g"), &topic).await;
    started(&mut *consumer).await;
    let expect: Vec<String> = (0..5000).map(|i| i.to_string()).collect();
    assert_eq!(values(&batches(&mut *consumer, 5000).await), expect);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_producer_gives_its_receipts_up_at_once() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap().to_string();
    let cluster = KafkaCluster::new(crate::support::options_at(&address)).unwrap();
    let producer = producer(&cluster).await;
    let receipt = producer.send(numbered(&"t".into(), 0, 3).into()).await.unwrap();
    let before = std::time::Instant::now();
    drop(producer);
    assert!(before.elapsed().as_millis() < 100, "dropping took {:?}", before.elapsed());
    let failures = soon(receipt).await;
    assert_eq!(failures.len(), 3);
    assert!(failures.iter().all(|f| f.error.kind == PortErrorKind::Unknown), "{failures:?}");
    assert!(before.elapsed().as_secs() < 5, "the receipt took {:?}", before.elapsed());
}

fn transactional() -> ProducerSpec {
    ProducerSpec { client_id: "test".into(), overrides: ClientOverrides::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn aborted_records_are_a_gap_and_the_end_lies_behind_the_last_marker() {
    let cluster = cluster();
    let topic = topic(&cluster, "gaps", 1).await;
    let producer =
        soon(cluster.transactional_producer(unique("tx"), transactional())).await.unwrap();
    for (from, commit) in [(0, true), (3, false), (6, true), (9, false)] {
        producer.begin().await.unwrap();
        send(&*producer, numbered(&topic, from, 3)).await;
        if commit {
            let outcome = soon(producer.commit()).await;
            assert!(matches!(outcome, TransactionOutcome::Committed), "{outcome:?}");
        } else {
            let outcome = soon(producer.abort()).await;
            assert!(matches!(outcome, TransactionOutcome::Aborted(_)), "{outcome:?}");
        }
    }
    let admin = cluster.admin(ClientOverrides::new()).await.unwrap();
    // Each transaction is three records and a marker, and the last marker may come a moment after the
    // answer to the abort.
    soon(async {
        while admin.topic_ends(&topic).await.unwrap() != [(0, 0, 16)] {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;

    let mut consumer = consumer(&cluster, &unique("g"), &topic).await;
    started(&mut *consumer).await;
    let mut got = batches(&mut *consumer, 6).await;
    assert_eq!(values(&got), ["0", "1", "2", "6", "7", "8"]);
    while got.last().unwrap().end < 16 {
        let next = batch(&mut *consumer).await;
        assert!(next.rows.is_empty(), "{next:?}");
        got.push(next);
    }
    assert_eq!(got.last().unwrap().end, 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_transactional_producer_fences_the_older() {
    let cluster = cluster();
    let topic = topic(&cluster, "fencing", 1).await;
    let id = unique("tx");
    let start = || cluster.transactional_producer(id.clone(), transactional());
    let old = soon(start()).await.unwrap();
    old.begin().await.unwrap();
    send(&*old, numbered(&topic, 0, 1)).await;
    let new = soon(start()).await.unwrap();
    let outcome = soon(old.commit()).await;
    assert!(matches!(outcome, TransactionOutcome::Fenced(_)), "{outcome:?}");
    let error =
        old.send(numbered(&topic, 1, 1).into()).await.err().expect("it is of no further use");
    assert_eq!(error.kind, PortErrorKind::Fenced);

    new.begin().await.unwrap();
    send(&*new, numbered(&topic, 2, 1)).await;
    let admin = cluster.admin(ClientOverrides::new()).await.unwrap();
    soon(admin.fence(vec![id.clone(), unique("never-used")])).await.unwrap();
    let outcome = soon(new.commit()).await;
    assert!(matches!(outcome, TransactionOutcome::Fenced(_)), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_with_a_failed_record_is_aborted() {
    let mut options = options();
    options.producer.insert("topic.metadata.propagation.max.ms".into(), "500".into());
    let cluster = KafkaCluster::new(options).unwrap();
    let topic = topic(&cluster, "failing", 1).await;
    let producer =
        soon(cluster.transactional_producer(unique("tx"), transactional())).await.unwrap();
    producer.begin().await.unwrap();
    let mut records = numbered(&topic, 0, 1);
    records.push(record(&unique("missing").into(), "v"));
    let failures = soon(async { producer.send(records.into()).await.unwrap().await }).await;
    assert!(failures.iter().any(|f| f.index == 1), "{failures:?}");
    let outcome = soon(producer.commit()).await;
    assert!(matches!(outcome, TransactionOutcome::Aborted(_)), "{outcome:?}");
    // The producer goes on.
    producer.begin().await.unwrap();
    send(&*producer, numbered(&topic, 7, 1)).await;
    let outcome = soon(producer.commit()).await;
    assert!(matches!(outcome, TransactionOutcome::Committed), "{outcome:?}");

    let mut consumer = consumer(&cluster, &unique("g"), &topic).await;
    started(&mut *consumer).await;
    assert_eq!(values(&batches(&mut *consumer, 1).await), ["7"]);
}
