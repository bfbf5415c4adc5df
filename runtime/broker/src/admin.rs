//! The administration port.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use towpath_core::ports::{
    Admin, GroupMember, GroupOffset, NewTopic, PortError, PortErrorKind, PortResult,
    TopicDescription,
};
use towpath_sdk::record::TopicPartition;

use crate::broker::Broker;
use crate::group::Identity;

/// See the module's head.
pub(crate) struct LocalAdmin(pub(crate) Arc<Broker>);

impl LocalAdmin {
    async fn durably<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Broker) -> PortResult<T> + Send + 'static,
    ) -> PortResult<T> {
        let done = self.0.call(work).await?;
        self.0.settle().await?;
        Ok(done)
    }
}

impl Admin for LocalAdmin {
    fn create_topic(&self, topic: NewTopic) -> BoxFuture<'_, PortResult<bool>> {
        self.durably(move |broker| broker.create_topic(&topic)).boxed()
    }

    fn describe_topic(&self, name: &str) -> BoxFuture<'_, PortResult<Option<TopicDescription>>> {
        let described = self.0.topic(name).map(|topic| TopicDescription {
            partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
            replication_factor: 1,
        });
        futures::future::ready(Ok(described)).boxed()
    }

    fn group_offsets(&self, group: &str) -> BoxFuture<'_, PortResult<Vec<GroupOffset>>> {
        let offsets = self.0.groups.lock().offsets(group);
        let offsets = offsets
            .into_iter()
            .map(|(partition, offset)| GroupOffset { partition, offset })
            .collect();
        futures::future::ready(Ok(offsets)).boxed()
    }

    fn group_members(&self, group: &str) -> BoxFuture<'_, PortResult<Vec<GroupMember>>> {
        let members = self.0.groups.lock().identities(group);
        let members = members
            .into_iter()
            .map(|Identity { client, instance }| GroupMember {
                client_id: client,
                host: "this process".to_owned(),
                instance_id: instance,
            })
            .collect();
        futures::future::ready(Ok(members)).boxed()
    }

    fn alter_group_offsets(
        &self,
        group: &str,
        offsets: Vec<(TopicPartition, Option<i64>)>,
    ) -> BoxFuture<'_, PortResult<()>> {
        let group = group.to_owned();
        self.durably(move |broker| broker.alter_offsets(&group, offsets)).boxed()
    }

    fn delete_group(&self, group: &str) -> BoxFuture<'_, PortResult<()>> {
        let group = group.to_owned();
        self.durably(move |broker| broker.delete_group(&group)).boxed()
    }

    fn fence(&self, transactional_ids: Vec<String>) -> BoxFuture<'_, PortResult<()>> {
        self.durably(move |broker| transactional_ids.iter().try_for_each(|id| broker.fence(id)))
            .boxed()
    }

    fn topic_ends(&self, name: &str) -> BoxFuture<'_, PortResult<Vec<(i32, i64, i64)>>> {
        let ends = match self.0.topic(name) {
            None => {
                Err(PortError::new(PortErrorKind::NotFound, format!("there is no topic {name}")))
            }
            Some(topic) => Ok(topic
                .partitions
                .iter()
                .map(|p| {
                    let bounds = p.bounds();
                    (p.at.partition, bounds.start, bounds.last_stable())
                })
                .collect()),
        };
        futures::future::ready(ends).boxed()
    }
}
