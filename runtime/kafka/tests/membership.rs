//! One worker per `group.id`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use towpath_core::ports::{Cluster as _, Membership, MembershipEvent, PortErrorKind, TableSpec};
use towpath_kafka::KafkaCluster;

use crate::support::{consumer, options, soon, started, unique};

async fn fleet(session_ms: u32) -> KafkaCluster {
    let mut options = options();
    options.seat_topic = unique("seat");
    options.seat.insert("session.timeout.ms".into(), session_ms.to_string());
    options.seat.insert("heartbeat.interval.ms".into(), (session_ms / 3).to_string());
    let seat = options.seat_topic.clone();
    let cluster = KafkaCluster::new(options).unwrap();
    let spec = TableSpec {
        topic: seat,
        partitions: Some(1),
        replication_factor: None,
        config: BTreeMap::new(),
        purpose: "config",
        client_id: "test".into(),
    };
    soon(cluster.table(spec)).await.unwrap();
    cluster
}

async fn joined(seat: &mut dyn Membership) -> i32 {
    match soon(seat.next()).await.unwrap() {
        MembershipEvent::Joined { generation, leader: true } => generation,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_is_refused_and_told_who_has_the_seat() {
    let cluster = fleet(1500).await;
    let group = unique("fleet");
    let mut first = soon(cluster.join(group.clone(), "w1:8083".into())).await.unwrap();
    joined(&mut *first).await;
    let error = soon(cluster.join(group.clone(), "w2:8083".into())).await.err().unwrap();
    assert_eq!(error.kind, PortErrorKind::Occupied);
    assert!(error.text.contains("w1:8083"), "{error}");
    assert!(error.text.contains(&group), "{error}");
    let quiet = tokio::time::timeout(Duration::from_millis(100), first.next()).await;
    assert!(quiet.is_err(), "the first keeps its seat: {quiet:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_takes_its_own_seat_back_at_once_and_a_dead_ones_after_its_session() {
    let cluster = fleet(6000).await;
    let group = unique("fleet");
    let mut first = soon(cluster.join(group.clone(), "w1:8083".into())).await.unwrap();
    let generation = joined(&mut *first).await;
    // A static member does not leave by being closed: to the group it looks killed.
    drop(first);
    let before = Instant::now();
    let mut again = soon(cluster.join(group.clone(), "w1:8083".into())).await.unwrap();
    assert!(joined(&mut *again).await >= generation);
    assert!(before.elapsed() < Duration::from_secs(3), "it took {:?}", before.elapsed());
    drop(again);
    let mut other = soon(cluster.join(group.clone(), "w2:8083".into())).await.unwrap();
    joined(&mut *other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_former_instance_learns_that_a_new_one_has_its_seat() {
    let cluster = fleet(3000).await;
    let group = unique("fleet");
    let mut old = soon(cluster.join(group.clone(), "w1:8083".into())).await.unwrap();
    joined(&mut *old).await;
    let mut new = soon(cluster.join(group.clone(), "w1:8083".into())).await.unwrap();
    joined(&mut *new).await;
    let end = soon(async {
        loop {
            match old.next().await {
                Ok(MembershipEvent::Left { .. }) => {}
                Ok(other) => panic!("{other:?}"),
                Err(error) => return error,
            }
        }
    })
    .await;
    assert_eq!(end.kind, PortErrorKind::Fenced, "{end}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_consumers_is_no_fleet() {
    let cluster = fleet(1500).await;
    let group = unique("taken");
    let topic = crate::support::topic(&cluster, "taken", 1).await;
    let mut member = consumer(&cluster, &group, &topic).await;
    started(&mut *member).await;
    let error = soon(cluster.join(group, "w1:8083".into())).await.err().unwrap();
    assert_eq!(error.kind, PortErrorKind::Occupied, "{error}");
}
