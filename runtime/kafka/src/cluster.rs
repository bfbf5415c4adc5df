//! The cluster: makes everything else.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::OnceCell;
use towpath_core::ports::{
    Admin, ClientOverrides, Cluster, CompactedTable, Consumer, ConsumerSpec, Membership, PortError,
    PortErrorKind, PortResult, Producer, ProducerSpec, Subscription, TableSpec,
    TransactionalProducer,
};

use crate::admin::KafkaAdmin;
use crate::consumer::{KafkaConsumer, Start};
use crate::membership;
use crate::options::{ClientKind, KafkaOptions};
use crate::producer::{KafkaProducer, Running};
use crate::table::KafkaTable;
use crate::table::TableProducer;
use crate::transaction::KafkaTransactionalProducer;

/// A Kafka cluster. Nothing connects before something is asked of it.
pub struct KafkaCluster {
    options: Arc<KafkaOptions>,
    admin: OnceCell<Arc<KafkaAdmin>>,
    tables: Arc<TableProducer>,
}

impl KafkaCluster {
    /// The cluster that `options` lead to.
    ///
    /// # Errors
    /// [`PortErrorKind::Invalid`] for properties that librdkafka refuses.
    pub fn new(options: KafkaOptions) -> PortResult<Self> {
        let none = ClientOverrides::new();
        for kind in [ClientKind::Producer, ClientKind::Consumer, ClientKind::Admin] {
            let settings = options.client(kind, "towpath", &none, &[])?;
            settings.native().create_native_config().map_err(|e| crate::error::from_kafka(&e))?;
        }
        if !options.common.keys().any(|k| k == "bootstrap.servers" || k == "metadata.broker.list") {
            let text = "bootstrap.servers is missing: name at least one broker as host:port";
            return Err(PortError::new(PortErrorKind::Invalid, text));
        }
        let options = Arc::new(options);
        let tables = Arc::new(TableProducer::new(Arc::clone(&options)));
        Ok(Self { options, admin: OnceCell::new(), tables })
    }

    pub(crate) fn options(&self) -> &Arc<KafkaOptions> {
        &self.options
    }

    /// The worker's own administration, shared by all that need one.
    pub(crate) async fn own_admin(&self) -> PortResult<&Arc<KafkaAdmin>> {
        self.admin
            .get_or_try_init(|| async { self.new_admin(&ClientOverrides::new()).map(Arc::new) })
            .await
    }

    fn new_admin(&self, overrides: &ClientOverrides) -> PortResult<KafkaAdmin> {
        let settings = self.options.client(ClientKind::Admin, "towpath-admin", overrides, &[])?;
        let running = Running::start(&settings, self.options.brokers())?;
        Ok(KafkaAdmin::new(running, Arc::clone(&self.options)))
    }

    fn new_consumer(&self, spec: ConsumerSpec) -> PortResult<KafkaConsumer> {
        let matcher = match &spec.subscription {
            Subscription::Topics(_) => None,
            Subscription::Pattern(pattern) => Some((self.options.compile_pattern)(pattern)?),
        };
        let forced = [("group.id", spec.group_id.as_str())];
        let settings = self.options.client(
            ClientKind::Consumer,
            &spec.client_id,
            &spec.overrides,
            // The group that the overrides name, if they do, was taken into the spec by the engine.
            &[forced.as_slice(), ALWAYS].concat(),
        )?;
        KafkaConsumer::start(Start {
            settings,
            brokers: self.options.brokers().to_owned(),
            subscription: spec.subscription,
            matcher,
            budget: spec.budget,
            request_timeout: self.options.request_timeout,
        })
    }
}

/// What the engine relies on, whatever a person sets.
const ALWAYS: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "true"),
];

impl Cluster for KafkaCluster {
    fn id(&self) -> BoxFuture<'_, PortResult<String>> {
        Box::pin(async { self.own_admin().await?.cluster_id().await })
    }

    fn producer(&self, spec: ProducerSpec) -> BoxFuture<'_, PortResult<Arc<dyn Producer>>> {
        Box::pin(async move {
            let settings =
                self.options.client(ClientKind::Producer, &spec.client_id, &spec.overrides, &[])?;
            let running = Running::start(&settings, self.options.brokers())?;
            let producer: Arc<dyn Producer> = Arc::new(KafkaProducer::new(running));
            Ok(producer)
        })
    }

    fn transactional_producer(
        &self,
        transactional_id: String,
        spec: ProducerSpec,
    ) -> BoxFuture<'_, PortResult<Arc<dyn TransactionalProducer>>> {
        Box::pin(async move {
            let forced = [
                ("transactional.id", transactional_id.as_str()),
                ("enable.idempotence", "true"),
                ("acks", "all"),
            ];
            let settings = self
                .options
                .client(ClientKind::Producer, &spec.client_id, &spec.overrides, &forced)?
                .without_delivery_timeout();
            let default = std::time::Duration::from_secs(60);
            let timeout = settings.millis("transaction.timeout.ms", default);
            let running = Running::start(&settings, self.options.brokers())?;
            let request = self.options.request_timeout;
            let producer: Arc<dyn TransactionalProducer> =
                Arc::new(KafkaTransactionalProducer::start(running, request, timeout).await?);
            Ok(producer)
        })
    }

    fn consumer(&self, spec: ConsumerSpec) -> BoxFuture<'_, PortResult<Box<dyn Consumer>>> {
        Box::pin(async move {
            let consumer: Box<dyn Consumer> = Box::new(self.new_consumer(spec)?);
            Ok(consumer)
        })
    }

    fn admin(&self, overrides: ClientOverrides) -> BoxFuture<'_, PortResult<Arc<dyn Admin>>> {
        Box::pin(async move {
            let admin: Arc<dyn Admin> = match overrides.is_empty() {
                true => Arc::clone(self.own_admin().await?) as _,
                false => Arc::new(self.new_admin(&overrides)?),
            };
            Ok(admin)
        })
    }

    fn table(&self, spec: TableSpec) -> BoxFuture<'_, PortResult<Arc<dyn CompactedTable>>> {
        Box::pin(async move {
            let admin = self.own_admin().await?;
            let producer = Arc::clone(&self.tables);
            let table = KafkaTable::open(spec, admin, producer, Arc::clone(&self.options)).await?;
            let table: Arc<dyn CompactedTable> = Arc::new(table);
            Ok(table)
        })
    }

    fn join(
        &self,
        group_id: String,
        advertised: String,
    ) -> BoxFuture<'_, PortResult<Box<dyn Membership>>> {
        Box::pin(async move {
            let membership: Box<dyn Membership> =
                Box::new(membership::join(self, group_id, advertised).await?);
            Ok(membership)
        })
    }
}
