//! A source that passes, and its twins, each broken on purpose in one way, which prove that the
//! checks can fail.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use tokio::sync::Notify;
use towpath_sdk::config::{ConnectorConfig, Properties};
use towpath_sdk::context::{ConnectorContext, SourceTaskContext};
use towpath_sdk::guarantee::Guarantee;
use towpath_sdk::offset::{SourceOffset, SourcePartition, StoredOffsets};
use towpath_sdk::plugin::{PluginInfo, PluginName};
use towpath_sdk::record::Record;
use towpath_sdk::source::{Budget, Mark, SourceBatch, SourceConnector, SourceTask, TaskShare};
use towpath_sdk::value::{Datum, Value};
use towpath_sdk::{Error, Result};

use super::*;
use crate::SEED_VARIABLE;
use crate::host::lock;

const GOOD: u8 = 0;
const SKIPS: u8 = 1;
const REPEATS: u8 = 2;
const REORDERS: u8 = 3;
const MARKS_TOO_FAR: u8 = 4;
const LEAVES_THE_LAST_UNMARKED: u8 = 5;
const IGNORES_RECORDS_BUDGET: u8 = 6;
const IGNORES_BYTES_BUDGET: u8 = 7;
const MOVES_BEFORE_WAITING: u8 = 8;
const MARKS_AHEAD: u8 = 9;
const MARKS_BEHIND: u8 = 10;
const IGNORES_OFFSETS: u8 = 11;
const IGNORES_REWIND: u8 = 12;
const RETURNS_NOTHING: u8 = 13;
const NEVER_WAKES: u8 = 14;
const PLANS_TOO_MANY: u8 = 15;
const PLANS_TWICE: u8 = 16;
const REFUSES_ITS_OFFSETS: u8 = 17;
const LEAKS_A_TASK: u8 = 18;
const LEAKS_A_FILE: u8 = 19;
const DOES_NOT_REACH: u8 = 20;
const HAS_NO_REASON: u8 = 21;
const FAILS_TO_ACKNOWLEDGE: u8 = 22;
const FAILS_TO_STOP: u8 = 23;

/// The outside system: named stores of lanes.
static STORES: LazyLock<Mutex<HashMap<String, Arc<Store>>>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Store {
    lanes: Mutex<Vec<Vec<String>>>,
    changed: Notify,
}

#[derive(Debug, ConnectorConfig)]
struct Config {
    /// The store to read.
    store: String,
    /// The lanes of the store.
    #[config(default = 2, range(min = 1))]
    lanes: u32,
}

struct ListSource<const FLAW: u8> {
    config: Arc<Config>,
}

struct ListTask<const FLAW: u8> {
    store: Arc<Store>,
    lanes: Vec<usize>,
    /// How many records of each lane were read.
    positions: HashMap<usize, usize>,
}

impl<const FLAW: u8> SourceConnector for ListSource<FLAW> {
    type Config = Config;
    type Task = ListTask<FLAW>;

    fn plugin() -> PluginInfo {
        const NAMES: &[PluginName] = &[PluginName::new("list-source")];
        PluginInfo { names: NAMES, version: "1", summary: "Reads lists." }
    }

    fn guarantee(_: &Config) -> Guarantee {
        Guarantee::exactly_once(if FLAW == HAS_NO_REASON { "" } else { "lists keep their order" })
    }

    async fn start(config: Arc<Config>, _: ConnectorContext) -> Result<Self> {
        Ok(Self { config })
    }

    async fn plan(&mut self, max: NonZeroU32) -> Result<Vec<TaskShare>> {
        let tasks = if FLAW == PLANS_TOO_MANY { max.get() + 1 } else { max.get() };
        let share = |task: u32| {
            let lanes =
                (0..self.config.lanes).filter(|lane| FLAW == PLANS_TWICE || lane % tasks == task);
            let lanes: Vec<String> = lanes.map(|lane| lane.to_string()).collect();
            Properties::from([("task.lanes", lanes.join(","))])
        };
        Ok((0..tasks).map(share).collect())
    }

    async fn task(
        config: Arc<Config>,
        share: TaskShare,
        cx: SourceTaskContext,
    ) -> Result<ListTask<FLAW>> {
        if FLAW == LEAKS_A_TASK {
            drop(tokio::spawn(std::future::pending::<()>()));
        }
        if FLAW == LEAKS_A_FILE {
            let path = std::env::temp_dir().join(format!("{}.leak", config.store));
            std::mem::forget(
                std::fs::File::create(path).map_err(|e| Error::internal(e.to_string()))?,
            );
        }
        let store = lock(&STORES).get(&config.store).cloned();
        let lanes = share.get("task.lanes").unwrap_or_default();
        let mut task = ListTask {
            store: store.ok_or_else(|| Error::config("no such store"))?,
            lanes: lanes.split(',').filter_map(|lane| lane.parse().ok()).collect(),
            positions: HashMap::new(),
        };
        if FLAW != IGNORES_OFFSETS {
            task.go_to(&cx.offsets);
        }
        Ok(task)
    }

    async fn check(_: Arc<Config>) -> Result<()> {
        if FLAW == DOES_NOT_REACH { Err(Error::config("no")) } else { Ok(()) }
    }

    fn check_offset(_: &Config, _: &SourcePartition, offset: Option<&SourceOffset>) -> Result<()> {
        match offset.map(|offset| offset.get_i64("position")) {
            _ if FLAW == REFUSES_ITS_OFFSETS => Err(Error::config("never")),
            Some(None) => Err(Error::config("a position is wanted")),
            _ => Ok(()),
        }
    }
}

fn partition(lane: usize) -> SourcePartition {
    SourcePartition::of([("lane", lane)])
}

impl<const FLAW: u8> ListTask<FLAW> {
    fn go_to(&mut self, offsets: &StoredOffsets) {
        let position = |lane: usize| {
            let position = offsets.get(&partition(lane)).and_then(|o| o.get_i64("position"));
            (lane, position.and_then(|position| usize::try_from(position).ok()).unwrap_or(0))
        };
        self.positions = self.lanes.iter().map(|lane| position(*lane)).collect();
    }

    /// The next records, and where the lanes stand after them.
    fn next(&self, room: Budget) -> (SourceBatch, HashMap<usize, usize>) {
        let mut batch = SourceBatch::default();
        let mut positions = self.positions.clone();
        let lists = lock(&self.store.lanes);
        let mut bytes = 0;
        for lane in &self.lanes {
            let position = positions.entry(*lane).or_default();
            let from = *position;
            for id in lists.get(*lane).into_iter().flatten().skip(from) {
                bytes += id.len();
                let first = batch.records.is_empty();
                let full = batch.records.len() >= room.records && FLAW != IGNORES_RECORDS_BUDGET;
                let large = bytes > room.bytes && !first && FLAW != IGNORES_BYTES_BUDGET;
                if full || large {
                    break;
                }
                *position += 1;
                if FLAW == SKIPS && *position == 5 {
                    continue;
                }
                let record = Record::new("t", Datum::schemaless(Value::String(id.as_str().into())));
                if FLAW == REPEATS && *position == 5 {
                    batch.records.push(record.clone());
                }
                batch.records.push(record);
            }
            if *position > from {
                batch.marks.push(Self::mark(*lane, *position, batch.records.len()));
            }
        }
        if FLAW == REORDERS {
            batch.records.reverse();
        }
        (batch, positions)
    }

    fn mark(lane: usize, position: usize, after: usize) -> Mark {
        let (position, after) = match FLAW {
            MARKS_TOO_FAR => (position, after + 1),
            LEAVES_THE_LAST_UNMARKED => (position - 1, after.saturating_sub(1)),
            MARKS_AHEAD => (position + 1, after),
            MARKS_BEHIND => (position - 1, after),
            _ => (position, after),
        };
        let offset = SourceOffset::of([("position", position)]);
        Mark::new(after, partition(lane), offset)
    }
}

impl<const FLAW: u8> SourceTask for ListTask<FLAW> {
    async fn poll(&mut self, room: Budget) -> Result<SourceBatch> {
        loop {
            let store = Arc::clone(&self.store);
            let changed = store.changed.notified();
            let (batch, positions) = self.next(room);
            if FLAW == MOVES_BEFORE_WAITING {
                self.positions.clone_from(&positions);
            }
            tokio::task::yield_now().await;
            if !batch.is_empty() || FLAW == RETURNS_NOTHING {
                self.positions = positions;
                return Ok(batch);
            }
            if FLAW == NEVER_WAKES {
                std::future::pending::<()>().await;
            }
            changed.await;
        }
    }

    async fn acknowledge(&mut self, _: &[(SourcePartition, SourceOffset)]) -> Result<()> {
        if FLAW == FAILS_TO_ACKNOWLEDGE { Err(Error::internal("no")) } else { Ok(()) }
    }

    async fn rewind(&mut self, to: &StoredOffsets) -> Result<()> {
        if FLAW != IGNORES_REWIND {
            self.go_to(to);
        }
        Ok(())
    }

    async fn stop(self) -> Result<()> {
        if FLAW == FAILS_TO_STOP {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

struct ListDriver<const FLAW: u8> {
    lanes: usize,
    name: String,
    count: usize,
}

impl<const FLAW: u8> ListDriver<FLAW> {
    fn new(lanes: usize) -> Self {
        Self { lanes, name: String::new(), count: 0 }
    }
}

impl<const FLAW: u8> SourceDriver for ListDriver<FLAW> {
    type Connector = ListSource<FLAW>;

    async fn fresh(&mut self) -> Properties {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        self.name = format!("towpath-testkit-{}-{number}", std::process::id());
        self.count = 0;
        let store = Arc::new(Store::default());
        lock(&store.lanes).resize(self.lanes, Vec::new());
        lock(&STORES).insert(self.name.clone(), store);
        Properties::from([("store", self.name.clone()), ("lanes", self.lanes.to_string())])
    }

    async fn put(&mut self, count: usize) -> Vec<Item> {
        let store = Arc::clone(&lock(&STORES)[&self.name]);
        let items: Vec<Item> = (self.count..self.count + count)
            .map(|n| Item::new((n % self.lanes).to_string(), format!("{}-{n}", n % self.lanes)))
            .collect();
        self.count += count;
        for item in &items {
            let lane: usize = item.lane.parse().unwrap();
            lock(&store.lanes)[lane].push(item.id.clone());
        }
        store.changed.notify_waiters();
        items
    }

    fn identify(&self, record: &Record) -> Item {
        let id = record.value.value.as_str().unwrap();
        Item::new(&id[..1], id)
    }

    fn descriptor_mark(&self) -> Option<String> {
        Some(self.name.clone())
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(if FLAW == GOOD { 10_000 } else { 200 })
    }

    fn quiet(&self) -> Duration {
        Duration::from_millis(5)
    }
}

impl<const FLAW: u8> Drop for ListDriver<FLAW> {
    fn drop(&mut self) {
        // Only the twin that leaks has made it.
        drop(std::fs::remove_file(std::env::temp_dir().join(format!("{}.leak", self.name))));
    }
}

#[test]
fn a_good_source_passes() {
    for lanes in [1, 2, 3] {
        SourceSuite::new(ListDriver::<GOOD>::new(lanes)).rounds(10).run();
    }
}

/// The twin with `FLAW` fails `check` for a reason that contains `why`, and says its seed.
#[track_caller]
fn fails<const FLAW: u8>(check: SourceCheck, why: &str) {
    let suite = SourceSuite::new(ListDriver::<FLAW>::new(1)).seed(7);
    let failures = suite.failures(&[check]);
    let [failure] = failures.as_slice() else { panic!("{check:?} passes") };
    assert!(failure.to_string().contains(why), "{failure}");
    assert!(failure.to_string().contains(SEED_VARIABLE), "{failure}");
    assert!((7..10).contains(&failure.seed));
}

#[test]
fn wrong_deliveries_are_found() {
    fails::<SKIPS>(SourceCheck::Delivers, r#"is "0-5", expected "0-4""#);
    fails::<REPEATS>(SourceCheck::Delivers, "which came before");
    fails::<REORDERS>(SourceCheck::Delivers, "expected");
    fails::<MARKS_TOO_FAR>(SourceCheck::Delivers, "a mark after");
    fails::<LEAVES_THE_LAST_UNMARKED>(SourceCheck::Delivers, "no mark covers the last records");
    fails::<FAILS_TO_ACKNOWLEDGE>(SourceCheck::Delivers, "acknowledge failed");
    fails::<FAILS_TO_STOP>(SourceCheck::Delivers, "stop did not end");
}

#[test]
fn wrong_polls_are_found() {
    fails::<IGNORES_RECORDS_BUDGET>(SourceCheck::Budget, "returned 21 records");
    fails::<IGNORES_BYTES_BUDGET>(SourceCheck::Budget, "returned");
    fails::<MOVES_BEFORE_WAITING>(SourceCheck::CancelSafe, "record \"0-");
    fails::<RETURNS_NOTHING>(SourceCheck::Waits, "neither records nor marks");
    fails::<NEVER_WAKES>(SourceCheck::Waits, "did not end");
}

#[test]
fn wrong_offsets_are_found() {
    fails::<MARKS_AHEAD>(SourceCheck::Resumes, "after a restart at");
    fails::<MARKS_BEHIND>(SourceCheck::Resumes, "after a restart at");
    fails::<IGNORES_OFFSETS>(SourceCheck::Resumes, "after a restart at");
    fails::<IGNORES_REWIND>(SourceCheck::Rewinds, "after a rewind to");
    fails::<REFUSES_ITS_OFFSETS>(SourceCheck::OwnOffsets, "is refused: Config: never");
}

#[test]
fn wrong_plans_and_ends_are_found() {
    fails::<PLANS_TOO_MANY>(SourceCheck::Plans, "a plan for at most");
    let suite = SourceSuite::new(ListDriver::<PLANS_TWICE>::new(2)).rounds(10);
    assert_eq!(suite.failures(&[SourceCheck::Plans]).len(), 1);
    fails::<LEAKS_A_TASK>(SourceCheck::Releases, "1 spawned tasks go on");
    fails::<LEAKS_A_FILE>(SourceCheck::Releases, "1 files stay open");
    fails::<DOES_NOT_REACH>(SourceCheck::Reaches, "is refused");
    fails::<HAS_NO_REASON>(SourceCheck::Reaches, "no reason");
}

#[test]
fn a_failure_stops_the_test() {
    let run = || SourceSuite::new(ListDriver::<SKIPS>::new(1)).seed(3).run();
    let panic = std::panic::catch_unwind(run).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("Delivers: ") && text.contains("TOWPATH_TEST_SEED=3"), "{text}");
}
