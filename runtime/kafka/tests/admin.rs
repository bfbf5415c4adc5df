//! Administration.

use std::collections::BTreeMap;

use towpath_core::ports::{
    ClientOverrides, Cluster as _, GroupOffset, NewTopic, PortErrorKind, TopicDescription,
};
use towpath_sdk::record::TopicPartition;

use crate::support::{
    batches, cluster, consumer, numbered, producer, send, soon, started, topic, unique,
};

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_created_once_and_described() {
    let cluster = cluster();
    assert!(!soon(cluster.id()).await.unwrap().is_empty());
    let admin = cluster.admin(ClientOverrides::new()).await.unwrap();
    let name = unique("created");
    assert_eq!(soon(admin.describe_topic(&name)).await.unwrap(), None);
    let new = NewTopic {
        name: name.clone(),
        partitions: None,
        replication_factor: None,
        config: BTreeMap::new(),
    };
    assert!(soon(admin.create_topic(new.clone())).await.unwrap());
    assert!(!soon(admin.create_topic(new)).await.unwrap());
    let expect = TopicDescription { partitions: 1, replication_factor: 1 };
    assert_eq!(soon(admin.describe_topic(&name)).await.unwrap(), Some(expect));
    assert_eq!(soon(admin.topic_ends(&name)).await.unwrap(), [(0, 0, 0)]);
    let error = soon(admin.topic_ends(&unique("missing"))).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_replicas_than_brokers_are_waited_for_with_a_hint() {
    let cluster = cluster();
    let admin = cluster.admin(ClientOverrides::new()).await.unwrap();
    let new = NewTopic {
        name: unique("replicas"),
        partitions: Some(1),
        replication_factor: Some(3),
        config: BTreeMap::new(),
    };
    let error = soon(admin.create_topic(new)).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Degraded);
    assert!(error.text.contains("fewer brokers"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_of_a_group_without_members_are_read_changed_and_deleted() {
    let cluster = cluster();
    let admin = cluster.admin(ClientOverrides::new()).await.unwrap();
    let topic = topic(&cluster, "offsets", 2).await;
    let place = |p| TopicPartition::new(topic.clone(), p);
    let group = unique("g");
    assert!(soon(admin.group_offsets(&group)).await.unwrap().is_empty());
    let set = vec![(place(0), Some(3)), (place(1), Some(4))];
    soon(admin.alter_group_offsets(&group, set)).await.unwrap();
    soon(admin.alter_group_offsets(&group, vec![(place(0), Some(5)), (place(1), None)]))
        .await
        .unwrap();
    let left = soon(admin.group_offsets(&group)).await.unwrap();
    assert_eq!(left, [GroupOffset { partition: place(0), offset: 5 }]);
    soon(admin.delete_group(&group)).await.unwrap();
    assert!(soon(admin.group_offsets(&group)).await.unwrap().is_empty());
    soon(admin.delete_group(&group)).await.unwrap();
    soon(admin.delete_group(&unique("never"))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_of_a_group_with_members_are_left_alone() {
    let cluster = cluster();
    let admin = cluster.admin(ClientOverrides::new()).await.unwrap();
    let topic = topic(&cluster, "in-use", 1).await;
    send(&*producer(&cluster).await, numbered(&topic, 0, 1)).await;
    let group = unique("g");
    let mut member = consumer(&cluster, &group, &topic).await;
    let place = started(&mut *member).await.remove(0);
    batches(&mut *member, 1).await;
    soon(member.commit(vec![(place.clone(), 1)])).await;
    let check = |error: towpath_core::ports::PortError| {
        assert_eq!(error.kind, PortErrorKind::Occupied, "{error}");
        assert!(error.text.contains("members"), "{error}");
    };
    check(
        soon(admin.alter_group_offsets(&group, vec![(place.clone(), Some(0))])).await.unwrap_err(),
    );
    check(soon(admin.alter_group_offsets(&group, vec![(place, None)])).await.unwrap_err());
    check(soon(admin.delete_group(&group)).await.unwrap_err());
}
