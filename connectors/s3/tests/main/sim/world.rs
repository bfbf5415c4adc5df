//! The world around lives of the sink: its log, its group's offset, its states, and faults.
//!
//! Everything that a life does outside of itself is an **event**: a request to the store, a state that
//! is stored or loaded. At a random event a life ends, in one of four ways ([`End`]); between events
//! the order of what runs beside each other is random. A seed says it all.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_runtime_api::client::result::ConnectorError;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Notify;
use towpath_sdk::clock::{Clock, Timestamp, TokioClock};
use towpath_sdk::context::{Host, Waiting};
use towpath_sdk::error::{Error, Result};
use towpath_sdk::guarantee::Guarantee;
use towpath_sdk::offset::OffsetMap;
use towpath_sdk::record::SinkRecord;
use towpath_sdk::sink::{ProgressSink, Settle};

use super::store::{Answer, Asked, Store, Way};

/// How a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Before the event has an effect.
    Killed,
    /// The effect comes later, when nobody waits for it any more.
    KilledWithLateEffect,
    /// Before it learns of the effect.
    KilledAfterEffect,
    /// It is stuck, another one takes its partition, and then it goes on.
    Zombie,
}

/// What is wrong with the engine or with its states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The group's offset is where the last batch ended.
    CommitsWhatWasDelivered,
    /// States are gone with the life that stored them.
    StatesDieWithTheirLife,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) store: Arc<Store>,
    pub(crate) broken: Option<Broken>,
    pub(crate) clock: Arc<TokioClock>,
    pub(crate) ended: Notify,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: SmallRng,
    states: HashMap<String, (u32, OffsetMap)>,
    life: u32,
    /// Events until the present life ends.
    left: u32,
    end: End,
    faulty: bool,
    committed: i64,
    /// What the dead letter queue holds.
    letters: BTreeSet<i64>,
    /// By life: a zombie has its own.
    ledgers: HashMap<u32, Ledger>,
    events: u64,
}

/// The engine's account of the partition in one life.
#[derive(Debug, Default)]
struct Ledger {
    lane: u32,
    durable: i64,
    reached: i64,
    unsettled: BTreeSet<i64>,
}

impl World {
    pub(crate) fn new(seed: u64, store: Store, broken: Option<Broken>) -> Arc<Self> {
        Arc::new(Self {
            store: Arc::new(store),
            broken,
            clock: Arc::new(TokioClock::starting_at(Timestamp(1_700_000_000_000))),
            ended: Notify::new(),
            state: Mutex::new(State {
                random: SmallRng::seed_from_u64(seed),
                states: HashMap::new(),
                life: 0,
                left: u32::MAX,
                end: End::Killed,
                faulty: true,
                committed: 0,
                letters: BTreeSet::new(),
                ledgers: HashMap::new(),
                events: 0,
            }),
        })
    }

    pub(crate) fn below(&self, bound: u32) -> u32 {
        self.state.lock().random.random_range(0..bound)
    }

    pub(crate) fn durable(&self) -> i64 {
        let state = self.state.lock();
        state.ledgers.get(&state.life).map_or(0, |ledger| ledger.durable)
    }

    /// What was rejected, settled or about to be.
    pub(crate) fn letters(&self) -> BTreeSet<i64> {
        let state = self.state.lock();
        let pending = state.ledgers.get(&state.life).map(|ledger| ledger.unsettled.clone());
        state.letters.iter().copied().chain(pending.unwrap_or_default()).collect()
    }

    pub(crate) fn events(&self) -> u64 {
        self.state.lock().events
    }

    /// A new life begins; it ends after `events`.
    pub(crate) fn begin(&self, events: u32, end: End) -> u32 {
        let mut state = self.state.lock();
        let last = state.life;
        if self.broken == Some(Broken::StatesDieWithTheirLife) {
            state.states.retain(|_, (life, _)| *life != last);
        }
        state.life += 1;
        (state.left, state.end) = (events, end);
        let (life, at) = (state.life, state.committed);
        state.ledgers.insert(life, Ledger { durable: at, reached: at, ..Ledger::default() });
        life
    }

    /// From now on nothing fails.
    pub(crate) fn calm(&self) {
        self.state.lock().faulty = false;
    }

    /// A new lane of `life`: its number, and where it starts.
    pub(crate) fn lane(&self, life: u32) -> (u32, i64) {
        let mut state = self.state.lock();
        let ledger = state.ledgers.entry(life).or_default();
        ledger.lane += 1;
        ledger.durable = ledger.reached;
        ledger.unsettled.clear();
        (ledger.lane, ledger.reached)
    }

    /// The engine has handed everything below `end` to the lane.
    pub(crate) fn delivered(&self, life: u32, end: i64) {
        let mut state = self.state.lock();
        if self.broken == Some(Broken::CommitsWhatWasDelivered) && state.life == life {
            state.committed = state.committed.max(end);
        }
    }

    fn report(&self, life: u32, lane: u32, change: impl FnOnce(&mut Ledger)) {
        let mut state = self.state.lock();
        let settles = state.random.random_ratio(1, 6);
        // The group's generation keeps zombies out.
        let commits = state.random.random_ratio(2, 3) && state.life == life;
        let ledger = state.ledgers.entry(life).or_default();
        if ledger.lane != lane {
            return;
        }
        change(ledger);
        let letters: Vec<i64> = ledger.unsettled.iter().copied().filter(|_| settles).collect();
        if settles {
            ledger.unsettled.clear();
        }
        let held = ledger.unsettled.first().map_or(ledger.durable, |at| ledger.durable.min(*at));
        ledger.reached = ledger.reached.max(held);
        let reached = ledger.reached;
        state.letters.extend(letters);
        if commits {
            state.committed = reached;
        }
    }

    /// Something happens between two things.
    async fn pause(&self) {
        let (yields, sleeps) = {
            let mut state = self.state.lock();
            let sleeps = state.random.random_ratio(1, 3).then(|| state.random.random_range(1..40));
            (state.random.random_range(0..4), sleeps)
        };
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        if let Some(ms) = sleeps {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
    }

    fn end_of(&self, life: u32) -> Option<End> {
        let mut state = self.state.lock();
        state.events += 1;
        if state.life != life {
            return None;
        }
        state.left = state.left.saturating_sub(1);
        (state.left == 0).then_some(state.end)
    }

    /// An event of `life` with its effect.
    async fn event<T: Send + 'static>(
        &self,
        life: u32,
        effect: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        self.pause().await;
        let end = self.end_of(life);
        if end.is_some() {
            self.ended.notify_one();
        }
        match end {
            None => {}
            Some(End::Killed) => std::future::pending().await,
            Some(End::KilledAfterEffect) => {
                effect();
                return std::future::pending().await;
            }
            Some(End::KilledWithLateEffect) => {
                let late = Duration::from_millis(self.below(3000).into());
                tokio::spawn(async move {
                    tokio::time::sleep(late).await;
                    effect();
                });
                return std::future::pending().await;
            }
            Some(End::Zombie) => {
                let stuck = Duration::from_millis(self.below(3000).into());
                tokio::time::sleep(stuck).await;
            }
        }
        let result = effect();
        self.pause().await;
        result
    }

    fn fault(&self, asked: &Asked) -> Option<Fault> {
        let mut state = self.state.lock();
        if !state.faulty {
            return None;
        }
        match state.random.random_range(0..40) {
            0 => Some(Fault::Refused),
            1 | 2 => Some(Fault::AnswerLost),
            3 if asked.completes() => Some(Fault::Race),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Refused,
    AnswerLost,
    Race,
}

/// The way from one life to the store.
#[derive(Debug)]
pub(crate) struct LifesWay(pub(crate) Arc<World>, pub(crate) u32);

impl Way for LifesWay {
    fn carry(
        &self,
        asked: Asked,
    ) -> BoxFuture<'static, std::result::Result<Answer, ConnectorError>> {
        let (world, life) = (Arc::clone(&self.0), self.1);
        async move {
            let fault = world.fault(&asked);
            match fault {
                Some(Fault::Refused) => return Ok(Answer::error(503, "SlowDown")),
                Some(Fault::Race) => return Ok(Answer::error(409, "ConditionalRequestConflict")),
                Some(Fault::AnswerLost) | None => {}
            }
            let store = Arc::clone(&world.store);
            let answer = world.event(life, move || store.answer(&asked)).await;
            if fault.is_some() {
                return Err(ConnectorError::io("the connection was reset".into()));
            }
            Ok(answer)
        }
        .boxed()
    }
}

/// What the engine is to one life.
pub(crate) struct LifesHost(pub(crate) Arc<World>, pub(crate) u32);

impl Host for LifesHost {
    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.0.clock) as Arc<dyn Clock>
    }
    fn waiting(&self, _: Option<Waiting>) {}
    fn load_state(&self, key: OffsetMap) -> BoxFuture<'static, Result<Option<OffsetMap>>> {
        let (world, life) = (Arc::clone(&self.0), self.1);
        async move {
            let at = Arc::clone(&world);
            let load = move || at.state.lock().states.get(&format!("{key:?}")).cloned();
            Ok(world.event(life, load).await.map(|(_, value)| value))
        }
        .boxed()
    }
    fn store_state(
        &self,
        key: OffsetMap,
        value: Option<OffsetMap>,
    ) -> BoxFuture<'static, Result<()>> {
        let (world, life) = (Arc::clone(&self.0), self.1);
        async move {
            let at = Arc::clone(&world);
            let store = move || {
                let mut state = at.state.lock();
                match value {
                    Some(value) => state.states.insert(format!("{key:?}"), (life, value)),
                    None => state.states.remove(&format!("{key:?}")),
                };
            };
            world.event(life, store).await;
            Ok(())
        }
        .boxed()
    }
    fn count(&self, _: &'static str, _: u64) {}
    fn guarantee(&self, guarantee: Guarantee) {
        panic!("this store keeps its word, yet: {guarantee:?}");
    }
}

/// Where one lane of one life reports.
pub(crate) struct LanesReports {
    pub(crate) world: Arc<World>,
    pub(crate) life: u32,
    pub(crate) lane: u32,
}

impl ProgressSink for LanesReports {
    fn durable(&self, end: i64) {
        self.world.report(self.life, self.lane, |ledger| ledger.durable = ledger.durable.max(end));
    }
    fn reject(&self, record: SinkRecord, _: Error, _: Option<Settle>) {
        self.world.report(self.life, self.lane, |ledger| {
            ledger.unsettled.insert(record.offset());
        });
    }
    fn fail(&self, error: Error) {
        panic!("the lane failed behind its back: {error:?}");
    }
}
