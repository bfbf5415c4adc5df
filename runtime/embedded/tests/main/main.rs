//! The embedded log's tests on real disks.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conformance;
mod damage;
mod kill;
mod reopen;
mod room;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use towpath_core::budget::Budget;
use towpath_core::ports::{
    ClientOverrides, Cluster, Consumer, ConsumerEvent, ConsumerSpec, OutHeaders, OutRecord,
    Subscription,
};
use towpath_embedded::{Embedded, EmbeddedOptions, OpenErrorKind};
use towpath_sdk::clock::SystemClock;

fn open(path: &Path, options: EmbeddedOptions) -> Embedded {
    Embedded::open(path, options, Arc::new(SystemClock)).unwrap()
}

/// Opens a log as soon as everything of its last opening is gone.
async fn reopened(path: &Path, options: EmbeddedOptions) -> Embedded {
    let opened = async {
        loop {
            match Embedded::open(path, options.clone(), Arc::new(SystemClock)) {
                Ok(embedded) => return embedded,
                Err(error) => assert_eq!(error.kind, OpenErrorKind::Occupied, "{error}"),
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), opened).await.unwrap()
}

fn record(topic: &str, text: impl Into<Bytes>) -> OutRecord {
    OutRecord {
        topic: topic.into(),
        partition: Some(0),
        key: Some(Bytes::from_static(b"k")),
        value: Some(text.into()),
        timestamp: None,
        headers: OutHeaders::default(),
    }
}

/// A consumer of `topic` that has started.
async fn reader(cluster: &Embedded, topic: &str) -> Box<dyn Consumer> {
    let spec = ConsumerSpec {
        group_id: "g".to_owned(),
        client_id: "test".to_owned(),
        subscription: Subscription::Topics(vec![topic.to_owned()]),
        overrides: ClientOverrides::new(),
        budget: Budget::new(1 << 20),
    };
    let mut consumer = cluster.consumer(spec).await.unwrap();
    match consumer.next().await.unwrap() {
        ConsumerEvent::Assigned { partitions, .. } => {
            let at = partitions.into_iter().map(|p| (p, None)).collect();
            consumer.start(at).await.unwrap();
        }
        other => panic!("{other:?} came first"),
    }
    consumer
}
