//! The suite that every implementation of the ports passes.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt as _;
use towpath_core::ports::{Cluster, TableSpec};
use towpath_kafka::KafkaCluster;
use towpath_sim::conformance;

use crate::support::{options, soon, unique};

/// Checks that run at the same time.
const AT_ONCE: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn the_ports_keep_their_promises() {
    let mut options = options();
    options.consumer.insert("topic.metadata.refresh.interval.ms".into(), "300".into());
    options.consumer.insert("heartbeat.interval.ms".into(), "500".into());
    options.seat.insert("session.timeout.ms".into(), "2000".into());
    options.seat.insert("heartbeat.interval.ms".into(), "500".into());
    let seat = unique("conformance-seat");
    options.seat_topic.clone_from(&seat);
    let cluster: Arc<dyn Cluster> = Arc::new(KafkaCluster::new(options).unwrap());
    let spec = TableSpec {
        topic: seat,
        partitions: Some(1),
        replication_factor: None,
        config: BTreeMap::new(),
        purpose: "config",
        client_id: "test".into(),
    };
    soon(cluster.table(spec)).await.unwrap();
    let prefix = unique("conformance");
    let failed: Vec<_> = futures::stream::iter(conformance::all())
        .map(|check| {
            let (cluster, prefix) = (Arc::clone(&cluster), prefix.clone());
            async move { check.run(cluster, &prefix).await }
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(|outcome| std::future::ready(outcome.err()))
        .collect()
        .await;
    assert!(failed.is_empty(), "{failed:#?}");
}
