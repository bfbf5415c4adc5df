//! The simulated cluster.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use towpath_broker::store::MemoryStore;
use towpath_broker::{GhostMember, LocalCluster, Options};
use towpath_core::ports::{
    Admin, ClientOverrides, Cluster, CompactedTable, Consumer, ConsumerSpec, Membership,
    PortResult, Producer, ProducerSpec, TableSpec, TransactionalProducer,
};
use towpath_sdk::clock::{Timestamp, TokioClock};

use crate::admin::SimAdmin;
use crate::consumer::SimConsumer;
use crate::net::{Faults, Net, REQUEST_TIMEOUT};
use crate::producer::{SimProducer, SimTransactional};
use crate::table::SimTable;
use crate::world::{Commit, Watchman, World};

/// When simulated time begins.
pub const EPOCH: Timestamp = Timestamp(1_700_000_000_000);
/// How often the world decides whether something happens.
const TICK: Duration = Duration::from_millis(250);

/// A cluster in memory, faulty as a seed says. It is the world that outlives a crash: drop all that a
/// worker holds, and start another one on it.
pub struct SimCluster {
    net: Arc<Net>,
    world: World,
}

impl SimCluster {
    /// A cluster whose every whim follows from `seed`. Call it inside a runtime of one thread whose
    /// clock is paused.
    ///
    /// # Panics
    /// Never: the store in memory can't fail.
    #[must_use]
    pub fn new(seed: u64, faults: Faults) -> Arc<Self> {
        let net = Arc::new(Net::new(seed, faults));
        let watchman = Arc::new(Watchman::new(Arc::clone(&net)));
        let options = Options {
            cluster_id: "simulated".to_owned(),
            session_timeout: Duration::from_secs(10),
            rebalance_timeout: Duration::from_secs(60),
            strict_commits: false,
            ..Options::default()
        };
        let store = Arc::new(MemoryStore::default());
        let clock = Arc::new(TokioClock::starting_at(EPOCH));
        let cluster = LocalCluster::open(store, options, Arc::clone(&watchman) as _, clock);
        let cluster = match cluster {
            Ok(cluster) => cluster,
            Err(error) => unreachable!("an empty store in memory was refused: {error}"),
        };
        let sim = Arc::new(Self { net, world: World { cluster, watchman } });
        tokio::spawn(trouble(Arc::downgrade(&sim)));
        sim
    }

    /// The cluster from above.
    #[must_use]
    pub fn world(&self) -> World {
        self.world.clone()
    }

    /// Ends all faults, so that everything can come to rest.
    pub fn calm(&self) {
        self.net.calm();
    }

    /// A number below `below`, from the same seed: for tests that decide by chance.
    #[must_use]
    pub fn pick(&self, below: usize) -> usize {
        self.net.pick(below)
    }

    /// True with probability `share`, from the same seed.
    #[must_use]
    pub fn chance(&self, share: f64) -> bool {
        self.net.chance(share)
    }

    /// A time between `least` and `most`, from the same seed.
    #[must_use]
    pub fn between(&self, least: Duration, most: Duration) -> Duration {
        self.net.between(least, most)
    }

    /// True with probability `share`, but never once all faults have ended.
    #[must_use]
    pub fn chance_unless_calm(&self, share: f64) -> bool {
        !self.net.is_calm() && self.net.chance(share)
    }

    /// Takes as long as a message takes.
    pub async fn pause(&self) {
        self.net.delay().await;
    }

    /// `observer` is told of every commit that the broker takes from a member, as it takes it.
    pub fn observe_commits(&self, observer: impl Fn(&Commit) + Send + Sync + 'static) {
        self.world.watchman.observe(Box::new(observer));
    }

    /// Whether something that happens at `rate` happens in this tick.
    fn happens(&self, rate: impl FnOnce(&Faults) -> f64) -> bool {
        self.net.chance(self.net.fault(rate) * TICK.as_secs_f64())
    }

    fn pick_one<T>(&self, mut from: Vec<T>) -> Option<T> {
        if from.is_empty() { None } else { Some(from.swap_remove(self.net.pick(from.len()))) }
    }

    /// Takes some partitions of some group away.
    fn rebalance(&self) -> Option<GhostMember> {
        let cluster = &self.world.cluster;
        let group = self.pick_one(cluster.groups())?;
        let owned = cluster.owners(&group).into_iter().map(|(at, _)| at);
        let taken: BTreeSet<_> = owned.filter(|_| self.net.chance(0.5)).collect();
        (!taken.is_empty()).then(|| cluster.ghost(&group, taken))
    }

    fn lose_session(&self) {
        let cluster = &self.world.cluster;
        if let Some(group) = self.pick_one(cluster.groups())
            && let Some(member) = self.pick_one(cluster.members(&group))
        {
            cluster.expel(&group, member);
        }
    }
}

/// Lets things happen to the cluster for as long as it is there.
async fn trouble(sim: Weak<SimCluster>) {
    let mut ghosts: Vec<(tokio::time::Instant, GhostMember)> = Vec::new();
    let mut up_at = None;
    loop {
        tokio::time::sleep(TICK).await;
        let Some(sim) = sim.upgrade() else { return };
        let now = tokio::time::Instant::now();
        let cluster = &sim.world.cluster;
        let calm = sim.net.fault(|f| f.rebalances == 0.0);
        let (over, still): (Vec<_>, Vec<_>) =
            ghosts.into_iter().partition(|(until, _)| calm || *until <= now);
        ghosts = still;
        over.into_iter().for_each(|(_, ghost)| cluster.ghost_leaves(ghost));
        if up_at.is_some_and(|at| at <= now) {
            sim.net.set_down(false);
            up_at = None;
        }
        if up_at.is_none() && sim.happens(|f| f.outages) {
            sim.net.set_down(true);
            up_at = Some(now + sim.between(Duration::from_millis(100), Duration::from_secs(40)));
        }
        if sim.happens(|f| f.rebalances) {
            let until = now + sim.between(Duration::ZERO, Duration::from_secs(10));
            ghosts.extend(sim.rebalance().map(|ghost| (until, ghost)));
        }
        if sim.happens(|f| f.session_losses) {
            sim.lose_session();
        }
        if sim.happens(|f| f.seat_losses)
            && let Some(fleet) = sim.pick_one(cluster.fleets())
        {
            cluster.expel_worker(&fleet);
        }
        if sim.happens(|f| f.compactions)
            && let Some(topic) = sim.pick_one(cluster.topic_names())
            && let Err(error) = cluster.compact(&topic)
        {
            tracing::error!(%error, topic, "the simulated broker could not compact");
        }
    }
}

impl Cluster for SimCluster {
    fn id(&self) -> BoxFuture<'_, PortResult<String>> {
        self.net.request(0.0, self.world.cluster.id()).boxed()
    }

    fn producer(&self, spec: ProducerSpec) -> BoxFuture<'_, PortResult<Arc<dyn Producer>>> {
        async move {
            let inner = self.world.cluster.producer(spec).await?;
            Ok(Arc::new(SimProducer::new(inner, Arc::clone(&self.net))) as Arc<dyn Producer>)
        }
        .boxed()
    }

    fn transactional_producer(
        &self,
        transactional_id: String,
        spec: ProducerSpec,
    ) -> BoxFuture<'_, PortResult<Arc<dyn TransactionalProducer>>> {
        async move {
            let unknown = self.net.fault(|f| f.request_unknown);
            let start = self.world.cluster.transactional_producer(transactional_id, spec);
            let inner = self.net.request(unknown, start).await?;
            let sim = SimTransactional::new(inner, Arc::clone(&self.net));
            Ok(Arc::new(sim) as Arc<dyn TransactionalProducer>)
        }
        .boxed()
    }

    fn consumer(&self, spec: ConsumerSpec) -> BoxFuture<'_, PortResult<Box<dyn Consumer>>> {
        async move {
            let inner = self.world.cluster.consumer(spec).await?;
            Ok(Box::new(SimConsumer::new(inner, Arc::clone(&self.net))) as Box<dyn Consumer>)
        }
        .boxed()
    }

    fn admin(&self, overrides: ClientOverrides) -> BoxFuture<'_, PortResult<Arc<dyn Admin>>> {
        async move {
            let inner = self.world.cluster.admin(overrides).await?;
            Ok(Arc::new(SimAdmin::new(inner, Arc::clone(&self.net))) as Arc<dyn Admin>)
        }
        .boxed()
    }

    fn table(&self, spec: TableSpec) -> BoxFuture<'_, PortResult<Arc<dyn CompactedTable>>> {
        async move {
            self.net.arrive(REQUEST_TIMEOUT).await?;
            let inner = self.world.cluster.table(spec).await?;
            let table = SimTable::new(inner, Arc::clone(&self.net));
            Ok(Arc::new(table) as Arc<dyn CompactedTable>)
        }
        .boxed()
    }

    fn join(
        &self,
        group_id: String,
        advertised: String,
    ) -> BoxFuture<'_, PortResult<Box<dyn Membership>>> {
        async move {
            self.net.arrive(REQUEST_TIMEOUT).await?;
            self.world.cluster.join(group_id, advertised).await
        }
        .boxed()
    }
}
