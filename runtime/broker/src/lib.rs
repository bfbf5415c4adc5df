//! Kafka's semantics in one process: what the embedded log and the simulation stand on.
//!
//! Duty: topics, partitions, transactions, groups and compaction as Kafka has them, behind the engine's
//! ports, over any ordered [`Store`]. The embedded log brings a store on disk; the simulation brings one
//! in memory and its own faults. So the tests of the engine run on the very code that the embedded log
//! runs.
//!
//! Invariants:
//! - offsets have gaps and markers, as Kafka's have;
//! - nothing here looks at a hash's order, at chance or at the wall clock (but through
//!   [`towpath_sdk::clock::Clock`]): the same calls give the same results;
//! - nobody polls by the clock: readers are woken by data.
//!
//! Deliberately absent: Kafka's wire protocol, replication, quotas, ACLs, files.

mod admin;
mod append;
mod broker;
mod chunk;
mod consumer;
mod group;
mod inspect;
mod keys;
mod membership;
mod options;
mod partition;
pub mod producer;
mod retention;
mod seats;
pub mod store;
mod table;
mod topic;
mod transactions;

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use towpath_core::ports::{
    Admin, ClientOverrides, Cluster, CompactedTable, Consumer, ConsumerSpec, Membership,
    PortResult, Producer, ProducerSpec, TableSpec, TransactionalProducer,
};
use towpath_sdk::clock::Clock;

use crate::admin::LocalAdmin;
use crate::broker::Broker;
use crate::consumer::LocalConsumer;
use crate::membership::LocalMembership;
use crate::producer::LocalProducer;
use crate::store::Store;
use crate::table::LocalTable;

pub use inspect::{GhostMember, Logged, Visibility};
pub use options::{EveryNth, Options, Quirks};

/// A cluster in this process. Clones share it.
#[derive(Clone)]
pub struct LocalCluster {
    broker: Arc<Broker>,
}

impl LocalCluster {
    /// Opens what `store` holds; transactions that were left open are aborted.
    ///
    /// # Errors
    /// If the store can't be read, or was written by another version.
    pub fn open(
        store: Arc<dyn Store>,
        options: Options,
        quirks: Arc<dyn Quirks>,
        clock: Arc<dyn Clock>,
    ) -> PortResult<Self> {
        Ok(Self { broker: Arc::new(Broker::open(store, options, quirks, clock)?) })
    }
}

impl Cluster for LocalCluster {
    fn id(&self) -> BoxFuture<'_, PortResult<String>> {
        futures::future::ready(Ok(self.broker.options.cluster_id.clone())).boxed()
    }

    fn producer(&self, spec: ProducerSpec) -> BoxFuture<'_, PortResult<Arc<dyn Producer>>> {
        let made = LocalProducer::new(Arc::clone(&self.broker), &spec, None);
        futures::future::ready(made.map(|p| Arc::new(p) as _)).boxed()
    }

    fn transactional_producer(
        &self,
        transactional_id: String,
        spec: ProducerSpec,
    ) -> BoxFuture<'_, PortResult<Arc<dyn TransactionalProducer>>> {
        async move {
            let start = self.broker.call(move |broker| broker.start_producer(&transactional_id));
            let transaction = start.await?;
            self.broker.settle().await?;
            let made = LocalProducer::new(Arc::clone(&self.broker), &spec, Some(transaction))?;
            Ok(Arc::new(made) as Arc<dyn TransactionalProducer>)
        }
        .boxed()
    }

    fn consumer(&self, spec: ConsumerSpec) -> BoxFuture<'_, PortResult<Box<dyn Consumer>>> {
        let joined = LocalConsumer::join(Arc::clone(&self.broker), spec);
        futures::future::ready(joined.map(|c| Box::new(c) as _)).boxed()
    }

    fn admin(&self, overrides: ClientOverrides) -> BoxFuture<'_, PortResult<Arc<dyn Admin>>> {
        // There is nothing that a client's settings could change here.
        drop(overrides);
        let admin: Arc<dyn Admin> = Arc::new(LocalAdmin(Arc::clone(&self.broker)));
        futures::future::ready(Ok(admin)).boxed()
    }

    fn table(&self, spec: TableSpec) -> BoxFuture<'_, PortResult<Arc<dyn CompactedTable>>> {
        async move {
            let broker = Arc::clone(&self.broker);
            let table = self.broker.call(move |_| LocalTable::open(&broker, &spec)).await?;
            self.broker.settle().await?;
            Ok(Arc::new(table) as Arc<dyn CompactedTable>)
        }
        .boxed()
    }

    fn join(
        &self,
        group_id: String,
        advertised: String,
    ) -> BoxFuture<'_, PortResult<Box<dyn Membership>>> {
        let joined = LocalMembership::join(Arc::clone(&self.broker), group_id, advertised);
        futures::future::ready(joined.map(|m| Box::new(m) as _)).boxed()
    }
}
