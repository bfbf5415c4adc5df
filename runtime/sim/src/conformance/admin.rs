//! Administration and membership.

use std::collections::BTreeMap;

use towpath_core::ports::{
    CommitOutcome, MembershipEvent, NewTopic, PortErrorKind, TopicDescription,
};
use towpath_sdk::record::TopicPartition;

use super::{Bench, Failed, Outcome, ensure, produce, record};

/// Creating a topic twice is no error, and a topic that is not there is none.
pub(super) async fn topics_are_created_once(bench: Bench) -> Outcome {
    let admin = bench.admin().await?;
    let name = bench.name("t");
    let described = admin.describe_topic(&name).await?;
    ensure!(described.is_none(), "{name} is there before it was created: {described:?}");
    let topic = NewTopic {
        name: name.clone(),
        partitions: Some(3),
        replication_factor: Some(1),
        config: BTreeMap::new(),
    };
    ensure!(admin.create_topic(topic.clone()).await?, "a new topic was there already");
    ensure!(!admin.create_topic(topic).await?, "a topic was created twice");
    let described = admin.describe_topic(&name).await?;
    let expect = TopicDescription { partitions: 3, replication_factor: 1 };
    ensure!(described == Some(expect), "{name} is {described:?}");
    let ends = admin.topic_ends(&name).await?;
    ensure!(ends == [(0, 0, 0), (1, 0, 0), (2, 0, 0)], "the ends of an empty topic are {ends:?}");
    produce(&*bench.producer().await?, vec![record(&name, Some(1), None, "x")]).await?;
    let ends = admin.topic_ends(&name).await?;
    ensure!(ends.get(1).is_some_and(|e| e.0 == 1 && e.2 > 0), "after a record: {ends:?}");
    match admin.topic_ends(&bench.name("none")).await {
        Err(error) => ensure!(error.kind == PortErrorKind::NotFound, "{:?}: {error}", error.kind),
        Ok(ends) => return Err(Failed(format!("a topic that is not there ends at {ends:?}"))),
    }
    Ok(())
}

/// Offsets of a group without members are set, forgotten and deleted.
pub(super) async fn group_offsets_are_altered_and_deleted(bench: Bench) -> Outcome {
    let topic = bench.topic("t", 2).await?;
    let at = |n| TopicPartition::new(topic.as_str(), n);
    let group = bench.name("g");
    let admin = bench.admin().await?;
    let stored = |offsets: Vec<towpath_core::ports::GroupOffset>| {
        let mut all: Vec<_> =
            offsets.into_iter().map(|o| (o.partition.partition, o.offset)).collect();
        all.sort_unstable();
        all
    };
    let before = stored(admin.group_offsets(&group).await?);
    ensure!(before.is_empty(), "a group that never was has {before:?}");
    admin.delete_group(&group).await?;
    admin.alter_group_offsets(&group, vec![(at(0), Some(5)), (at(1), Some(7))]).await?;
    let set = stored(admin.group_offsets(&group).await?);
    ensure!(set == [(0, 5), (1, 7)], "set 5 and 7, found {set:?}");
    admin.alter_group_offsets(&group, vec![(at(0), Some(3)), (at(1), None)]).await?;
    let altered = stored(admin.group_offsets(&group).await?);
    ensure!(altered == [(0, 3)], "set 3 and forgot the other, found {altered:?}");
    admin.delete_group(&group).await?;
    let after = stored(admin.group_offsets(&group).await?);
    ensure!(after.is_empty(), "a deleted group has {after:?}");
    Ok(())
}

/// A group that somebody is a member of is not altered or deleted.
pub(super) async fn a_group_with_members_is_left_alone(bench: Bench) -> Outcome {
    let topic = bench.topic("t", 1).await?;
    let at = TopicPartition::new(topic.as_str(), 0);
    let admin = bench.admin().await?;
    let mut reader = bench.consumer("g", &[&topic]).await?;
    reader.assigned(1).await?;
    let outcome = reader.consumer.commit(vec![(at.clone(), 0)]).await;
    ensure!(matches!(outcome, CommitOutcome::Done), "the commit ended as {outcome:?}");
    let group = bench.name("g");
    let altered = admin.alter_group_offsets(&group, vec![(at, Some(9))]).await;
    ensure!(altered.is_err(), "offsets were altered under a member");
    let deleted = admin.delete_group(&group).await;
    ensure!(deleted.is_err(), "a group was deleted under a member");
    let offsets = admin.group_offsets(&group).await?;
    ensure!(offsets.len() == 1 && offsets[0].offset == 0, "found {offsets:?}");
    reader.consumer.close().await;
    admin.delete_group(&group).await?;
    Ok(())
}

/// The members of a group are shown with their client ids, until they leave.
pub(super) async fn the_members_of_a_group_are_named(bench: Bench) -> Outcome {
    let topic = bench.topic("t", 1).await?;
    let admin = bench.admin().await?;
    let group = bench.name("g");
    let members = admin.group_members(&group).await?;
    ensure!(members.is_empty(), "a group that never was has {members:?}");
    let mut reader = bench.consumer("g", &[&topic]).await?;
    reader.assigned(1).await?;
    let members = admin.group_members(&group).await?;
    let names: Vec<&str> = members.iter().map(|member| member.client_id.as_str()).collect();
    ensure!(names == [bench.name("client")], "the members are {members:?}");
    reader.consumer.close().await;
    let members = admin.group_members(&group).await?;
    ensure!(members.is_empty(), "after the last one left there are {members:?}");
    Ok(())
}

/// The second worker of a fleet is told who the first is, and gets in when that one leaves.
pub(super) async fn a_second_worker_is_refused(bench: Bench) -> Outcome {
    let fleet = bench.name("fleet");
    let mut first = bench.cluster.join(fleet.clone(), "10.0.0.1:8083".to_owned()).await?;
    let event = first.next().await?;
    let MembershipEvent::Joined { generation, leader: true } = event else {
        return Err(Failed(format!("the only worker got {event:?}")));
    };
    match bench.cluster.join(fleet.clone(), "10.0.0.2:8083".to_owned()).await {
        Ok(_) => return Err(Failed("a second worker got a seat".to_owned())),
        Err(error) => {
            ensure!(error.kind == PortErrorKind::Occupied, "{:?}: {error}", error.kind);
            ensure!(
                error.text.contains("10.0.0.1:8083"),
                "'{error}' does not name the first worker"
            );
        }
    }
    first.leave().await;
    let mut second = bench.cluster.join(fleet, "10.0.0.2:8083".to_owned()).await?;
    let event = second.next().await?;
    let later =
        matches!(event, MembershipEvent::Joined { generation: g, leader: true } if g > generation);
    ensure!(later, "after the first left, the second got {event:?}");
    second.leave().await;
    Ok(())
}
