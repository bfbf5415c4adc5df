//! Administration behind the simulated network.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use towpath_core::ports::{
    Admin, GroupMember, GroupOffset, NewTopic, PortResult, TopicDescription,
};
use towpath_sdk::record::TopicPartition;

use crate::net::Net;

/// See the module's head.
pub(crate) struct SimAdmin {
    inner: Arc<dyn Admin>,
    net: Arc<Net>,
}

impl SimAdmin {
    pub(crate) fn new(inner: Arc<dyn Admin>, net: Arc<Net>) -> Self {
        Self { inner, net }
    }

    async fn change<T>(&self, operation: impl Future<Output = PortResult<T>>) -> PortResult<T> {
        self.net.request(self.net.fault(|f| f.request_unknown), operation).await
    }

    /// A question without an answer is no more than that.
    async fn ask<T>(&self, operation: impl Future<Output = PortResult<T>>) -> PortResult<T> {
        self.net.request(0.0, operation).await
    }
}

impl Admin for SimAdmin {
    fn create_topic(&self, topic: NewTopic) -> BoxFuture<'_, PortResult<bool>> {
        self.change(self.inner.create_topic(topic)).boxed()
    }

    fn describe_topic(&self, name: &str) -> BoxFuture<'_, PortResult<Option<TopicDescription>>> {
        let name = name.to_owned();
        async move { self.ask(self.inner.describe_topic(&name)).await }.boxed()
    }

    fn group_offsets(&self, group: &str) -> BoxFuture<'_, PortResult<Vec<GroupOffset>>> {
        let group = group.to_owned();
        async move { self.ask(self.inner.group_offsets(&group)).await }.boxed()
    }

    fn group_members(&self, group: &str) -> BoxFuture<'_, PortResult<Vec<GroupMember>>> {
        let group = group.to_owned();
        async move { self.ask(self.inner.group_members(&group)).await }.boxed()
    }

    fn alter_group_offsets(
        &self,
        group: &str,
        offsets: Vec<(TopicPartition, Option<i64>)>,
    ) -> BoxFuture<'_, PortResult<()>> {
        let group = group.to_owned();
        async move { self.change(self.inner.alter_group_offsets(&group, offsets)).await }.boxed()
    }

    fn delete_group(&self, group: &str) -> BoxFuture<'_, PortResult<()>> {
        let group = group.to_owned();
        async move { self.change(self.inner.delete_group(&group)).await }.boxed()
    }

    fn fence(&self, transactional_ids: Vec<String>) -> BoxFuture<'_, PortResult<()>> {
        self.change(self.inner.fence(transactional_ids)).boxed()
    }

    fn topic_ends(&self, name: &str) -> BoxFuture<'_, PortResult<Vec<(i32, i64, i64)>>> {
        let name = name.to_owned();
        async move { self.ask(self.inner.topic_ends(&name)).await }.boxed()
    }
}
