//! What is there after closing and opening.

use towpath_broker::Visibility;
use towpath_core::ports::{
    Cluster, CommitOutcome, ConsumerEvent, ProducerSpec, TransactionOutcome,
};
use towpath_embedded::EmbeddedOptions;
use towpath_sdk::record::TopicPartition;

use crate::{open, reader, record, reopened};

#[tokio::test]
async fn topics_offsets_and_epochs_stay_and_open_transactions_end() {
    let directory = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions::default();
    let log = open(directory.path(), options.clone());
    let plain = log.producer(ProducerSpec::default()).await.unwrap();
    let receipt = plain.send(vec![record("t", "one"), record("t", "two")].into()).await.unwrap();
    assert!(receipt.await.is_empty());
    let old = log.transactional_producer("x".to_owned(), ProducerSpec::default()).await.unwrap();
    old.begin().await.unwrap();
    assert!(old.send(vec![record("t", "never")].into()).await.unwrap().await.is_empty());

    let mut consumer = reader(&log, "t").await;
    let ConsumerEvent::Batch(batch) = consumer.next().await.unwrap() else { panic!("no batch") };
    assert_eq!(batch.rows.len(), 2);
    let at = TopicPartition::new("t", 0);
    let outcome = consumer.commit(vec![(at.clone(), batch.rows[1].offset)]).await;
    assert!(matches!(outcome, CommitOutcome::Done), "{outcome:?}");
    let second = batch.rows[1].offset;
    drop((batch, consumer, old, plain, log));

    let log = reopened(directory.path(), options.clone()).await;
    assert_eq!(log.local().committed("g"), [(at, second)]);
    let newer = log.transactional_producer("x".to_owned(), ProducerSpec::default()).await.unwrap();
    newer.begin().await.unwrap();
    assert!(newer.send(vec![record("t", "three")].into()).await.unwrap().await.is_empty());
    assert!(matches!(newer.commit().await, TransactionOutcome::Committed));
    let log_now = log.local().log("t").unwrap();
    let visible = log_now.iter().filter(|r| r.visibility == Visibility::Visible);
    let texts: Vec<_> = visible.map(|r| r.value.clone().unwrap()).collect();
    assert_eq!(texts, ["one", "two", "three"]);
    let offsets: Vec<_> = log_now.iter().map(|r| r.offset).collect();
    assert!(offsets.windows(2).all(|pair| pair[0] < pair[1]), "{offsets:?}");

    let mut consumer = reader(&log, "t").await;
    let ConsumerEvent::Batch(batch) = consumer.next().await.unwrap() else { panic!("no batch") };
    assert_eq!(batch.start(), second);
}
