//! Consuming through this crate's port.

use towpath_core::budget::Budget;
use towpath_core::ports::{
    ClientOverrides, Cluster as _, ConsumerEvent, ConsumerSpec, Subscription,
};
use towpath_kafka::{KafkaCluster, KafkaOptions, Properties};

use super::{Count, Work};

#[tokio::main(worker_threads = 1)]
pub(crate) async fn consume(work: &Work<'_>) -> Count {
    let common = Properties::from([("bootstrap.servers".to_owned(), work.brokers.to_owned())]);
    let mut options = KafkaOptions::new(common, "no-seat");
    options.consumer.extend(super::overrides());
    let cluster = KafkaCluster::new(options).unwrap();
    let spec = ConsumerSpec {
        group_id: format!("bare-loop-{}", std::process::id()),
        client_id: "bare-loop".to_owned(),
        subscription: Subscription::Topics(vec![work.topic.to_owned()]),
        overrides: ClientOverrides::new(),
        budget: Budget::new(16 << 20),
    };
    let mut consumer = cluster.consumer(spec).await.unwrap();
    let mut count = Count::default();
    while count.records < work.records {
        match consumer.next().await.unwrap() {
            ConsumerEvent::Assigned { partitions, .. } => {
                let at = partitions.into_iter().map(|p| (p, None)).collect();
                consumer.start(at).await.unwrap();
            }
            ConsumerEvent::Batch(batch) => {
                count.records += batch.rows.len() as u64;
                count.bytes += batch.arena.len() as u64;
            }
            ConsumerEvent::Trouble(_) => {}
            other => panic!("{other:?}"),
        }
    }
    count
}
