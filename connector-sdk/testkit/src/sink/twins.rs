//! A sink that passes, and its twins, each broken on purpose in one way, which prove that the checks
//! can fail.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use towpath_sdk::clock::Timestamp;
use towpath_sdk::config::ConnectorConfig;
use towpath_sdk::context::{LaneContext, SinkTaskContext};
use towpath_sdk::guarantee::Guarantee;
use towpath_sdk::plugin::{PluginInfo, PluginName};
use towpath_sdk::record::{SinkRecord, TopicPartition};
use towpath_sdk::sink::{Epoch, SinkBatch, SinkLane, SinkTask, StartAt};
use towpath_sdk::{Error, Result};

use super::*;
use crate::SEED_VARIABLE;
use crate::host::lock;

const GOOD: u8 = 0;
/// Good, too: repeats after a crash, and says so.
const AT_LEAST_ONCE: u8 = 1;
/// Good, too: knows by itself where to go on.
const KEEPS_OFFSETS: u8 = 2;
const ACKS_EARLY: u8 = 3;
const ACKS_TOO_FAR: u8 = 4;
const GOES_BACK: u8 = 5;
const NEVER_ACKS: u8 = 6;
const LOSES_SOME: u8 = 7;
const REORDERS: u8 = 8;
const REPEATS: u8 = 9;
const CLAIMS_TOO_MUCH: u8 = 10;
const ACKS_AFTER_SPAWN: u8 = 11;
const REJECTS_ALL: u8 = 12;
const SWALLOWS_POISON: u8 = 13;
const FAILS_ON_POISON: u8 = 14;
const WRITES_POISON: u8 = 15;
const REJECTS_WITH_NO_REASON: u8 = 16;
const IGNORES_EMPTY_BATCHES: u8 = 17;
const WAKES_FOR_EVER: u8 = 18;
const DRAINS_FOR_EVER: u8 = 19;
const ACKS_WHAT_IT_DISCARDS: u8 = 20;
const LEAKS_A_TASK: u8 = 21;
const LEAKS_A_FILE: u8 = 22;
const OPENS_ONCE: u8 = 23;
const STARTS_TOO_FAR: u8 = 24;
const DOES_NOT_REACH: u8 = 25;
const HAS_NO_REASON: u8 = 26;
const INVENTS: u8 = 27;

const UNIT: usize = 3;

/// The outside system: named stores of partitions.
static STORES: LazyLock<Mutex<HashMap<String, Arc<Store>>>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Store(Mutex<BTreeMap<i32, Vec<(i64, String)>>>);

#[derive(Debug, ConnectorConfig)]
struct Config {
    /// The store to write to.
    store: String,
}

struct ListSink<const FLAW: u8>;

struct ListTask<const FLAW: u8> {
    store: Arc<Store>,
    opened: bool,
}

struct ListLane<const FLAW: u8> {
    cx: LaneContext,
    store: Arc<Store>,
    rows: Vec<(i64, String)>,
    since: Option<Timestamp>,
    end: i64,
}

impl<const FLAW: u8> SinkConnector for ListSink<FLAW> {
    type Config = Config;
    type Task = ListTask<FLAW>;

    fn plugin() -> PluginInfo {
        const NAMES: &[PluginName] = &[PluginName::new("list-sink")];
        PluginInfo { names: NAMES, version: "1", summary: "Writes lists." }
    }

    fn guarantee(_: &Config) -> Guarantee {
        match FLAW {
            AT_LEAST_ONCE => Guarantee::at_least_once("a crash comes between rows and report"),
            HAS_NO_REASON => Guarantee::exactly_once(""),
            _ => Guarantee::exactly_once("rows are stored with their offsets"),
        }
    }

    async fn task(config: Arc<Config>, _: SinkTaskContext) -> Result<ListTask<FLAW>> {
        if FLAW == LEAKS_A_TASK {
            drop(tokio::spawn(std::future::pending::<()>()));
        }
        if FLAW == LEAKS_A_FILE {
            let path = std::env::temp_dir().join(format!("{}.leak", config.store));
            let file = std::fs::File::create(path).map_err(|e| Error::internal(e.to_string()))?;
            std::mem::forget(file);
        }
        let store = lock(&STORES).get(&config.store).cloned();
        let store = store.ok_or_else(|| Error::config("no such store"))?;
        Ok(ListTask { store, opened: false })
    }

    async fn check(_: Arc<Config>) -> Result<()> {
        if FLAW == DOES_NOT_REACH { Err(Error::config("no")) } else { Ok(()) }
    }
}

impl<const FLAW: u8> SinkTask for ListTask<FLAW> {
    type Lane = ListLane<FLAW>;

    async fn open(&mut self, partitions: &[TopicPartition], _: Epoch) -> Result<StartAt> {
        if FLAW == OPENS_ONCE && std::mem::replace(&mut self.opened, true) {
            return Err(Error::internal("already open"));
        }
        if FLAW != KEEPS_OFFSETS && FLAW != STARTS_TOO_FAR {
            return Ok(StartAt::committed());
        }
        let rows = lock(&self.store.0);
        let start = |at: &TopicPartition| {
            let last = rows.get(&at.partition)?.last()?.0;
            Some((at.clone(), last + if FLAW == STARTS_TOO_FAR { 4 } else { 1 }))
        };
        Ok(StartAt(partitions.iter().filter_map(start).collect()))
    }

    fn lane(&mut self, cx: LaneContext) -> ListLane<FLAW> {
        let store = Arc::clone(&self.store);
        ListLane { cx, store, rows: Vec::new(), since: None, end: 0 }
    }
}

impl<const FLAW: u8> ListLane<FLAW> {
    fn take(&mut self, record: SinkRecord) -> Result<()> {
        let refused = || Error::data("it is poison");
        let id = record.value.value.member("id");
        let offset = record.offset();
        match id.as_ref().and_then(|id| id.as_str()) {
            Some(id) => {
                let id = if FLAW == INVENTS && offset > 5 { "invented" } else { id };
                self.rows.push((offset, id.to_owned()));
            }
            None if FLAW == SWALLOWS_POISON => {}
            None if FLAW == FAILS_ON_POISON => return Err(refused()),
            None if FLAW == WRITES_POISON => {
                let id = record.origin().value().unwrap_or_default();
                self.rows.push((offset, String::from_utf8_lossy(&id).into_owned()));
                self.cx.progress.reject(record, refused());
            }
            None if FLAW == REJECTS_WITH_NO_REASON => {
                self.cx.progress.reject(record, Error::internal("it is poison"));
            }
            None => self.cx.progress.reject(record, refused()),
        }
        if !self.rows.is_empty() && self.since.is_none() {
            self.since = Some(self.cx.task.clock().now());
        }
        Ok(())
    }

    async fn flush(&mut self, end: i64) {
        let mut rows = std::mem::take(&mut self.rows);
        self.since = None;
        match FLAW {
            LOSES_SOME => rows.retain(|(offset, _)| offset % 7 != 3),
            REORDERS => rows.reverse(),
            _ => {}
        }
        let (store, partition) = (Arc::clone(&self.store), self.cx.partition.partition);
        let append = async move {
            tokio::task::yield_now().await;
            let mut stored = lock(&store.0);
            let stored = stored.entry(partition).or_default();
            for row in rows {
                let known = stored.last().is_some_and(|(last, _)| row.0 <= *last);
                if FLAW == REPEATS && row.0 % 7 == 3 {
                    stored.push(row.clone());
                }
                if !known || matches!(FLAW, CLAIMS_TOO_MUCH | AT_LEAST_ONCE | REORDERS) {
                    stored.push(row);
                }
            }
        };
        if FLAW == ACKS_AFTER_SPAWN {
            drop(tokio::spawn(append));
        } else {
            append.await;
        }
        tokio::task::yield_now().await;
        self.report(end);
    }

    fn report(&self, end: i64) {
        match FLAW {
            NEVER_ACKS => {}
            ACKS_TOO_FAR => self.cx.progress.durable(end + 100),
            GOES_BACK => {
                self.cx.progress.durable(end);
                self.cx.progress.durable(end - 1);
            }
            _ => self.cx.progress.durable(end),
        }
    }
}

impl<const FLAW: u8> SinkLane for ListLane<FLAW> {
    async fn write(&mut self, batch: SinkBatch) -> Result<()> {
        let empty = batch.records.is_empty();
        if FLAW == REJECTS_ALL && batch.records.iter().any(|r| r.value.value.member("id").is_none())
        {
            for record in batch.records {
                self.cx.progress.reject(record, Error::data("all of it"));
            }
            self.end = batch.end;
            return Ok(());
        }
        for record in batch.records {
            let end = record.offset() + 1;
            self.take(record)?;
            if self.rows.len() >= UNIT {
                self.flush(end).await;
            }
        }
        self.end = batch.end;
        let nothing_pending = self.rows.is_empty() && !(empty && FLAW == IGNORES_EMPTY_BATCHES);
        if nothing_pending || FLAW == ACKS_EARLY {
            self.report(self.end);
        }
        Ok(())
    }

    fn wake_at(&self) -> Option<Timestamp> {
        self.since.map(|since| since + Duration::from_secs(1))
    }

    async fn wake(&mut self) -> Result<()> {
        let since = self.since;
        self.flush(self.end).await;
        if FLAW == WAKES_FOR_EVER {
            self.since = since;
        }
        Ok(())
    }

    async fn drain(&mut self) -> Result<()> {
        match FLAW {
            DRAINS_FOR_EVER => std::future::pending().await,
            ACKS_WHAT_IT_DISCARDS => self.report(self.end),
            _ => {}
        }
        self.rows.clear();
        Ok(())
    }
}

struct ListDriver<const FLAW: u8> {
    name: String,
    is_void: bool,
}

impl<const FLAW: u8> SinkDriver for ListDriver<FLAW> {
    type Connector = ListSink<FLAW>;

    async fn fresh(&mut self) -> Properties {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        self.name = format!("towpath-testkit-sink-{}-{number}", std::process::id());
        lock(&STORES).insert(self.name.clone(), Arc::default());
        Properties::from([("store", self.name.as_str())])
    }

    async fn read(&mut self) -> Vec<String> {
        let store = Arc::clone(&lock(&STORES)[&self.name]);
        let rows = lock(&store.0);
        rows.values().flatten().map(|(_, id)| id.clone()).collect()
    }

    fn poison(&self) -> Option<(Datum, Datum)> {
        Some((Datum::null(), Datum::null()))
    }

    fn is_void(&self) -> bool {
        self.is_void
    }

    fn unit(&self) -> usize {
        UNIT
    }

    fn descriptor_mark(&self) -> Option<String> {
        Some(self.name.clone())
    }

    fn patience(&self) -> Duration {
        let is_good = matches!(FLAW, GOOD | AT_LEAST_ONCE | KEEPS_OFFSETS);
        Duration::from_millis(if is_good { 10_000 } else { 200 })
    }
}

impl<const FLAW: u8> Drop for ListDriver<FLAW> {
    fn drop(&mut self) {
        // Only the twin that leaks has made it.
        drop(std::fs::remove_file(std::env::temp_dir().join(format!("{}.leak", self.name))));
    }
}

fn suite<const FLAW: u8>() -> SinkSuite<ListDriver<FLAW>> {
    SinkSuite::new(ListDriver { name: String::new(), is_void: false })
}

#[test]
fn good_sinks_pass() {
    suite::<GOOD>().rounds(20).run();
    suite::<AT_LEAST_ONCE>().rounds(20).run();
    suite::<KEEPS_OFFSETS>().rounds(20).run();
}

/// The twin with `FLAW` fails `check` for a reason that contains `why`, and says its seed.
#[track_caller]
fn fails<const FLAW: u8>(check: SinkCheck, why: &str) {
    let failures = suite::<FLAW>().seed(7).rounds(10).failures(&[check]);
    let [failure] = failures.as_slice() else { panic!("{check:?} passes") };
    assert!(failure.to_string().contains(why), "{failure}");
    assert!(failure.to_string().contains(SEED_VARIABLE), "{failure}");
    assert!((7..17).contains(&failure.seed));
}

#[test]
fn wrong_reports_are_found() {
    fails::<ACKS_EARLY>(SinkCheck::Delivers, "can't be read back");
    fails::<ACKS_TOO_FAR>(SinkCheck::Delivers, "was handed over");
    fails::<GOES_BACK>(SinkCheck::Delivers, "went back");
    fails::<NEVER_ACKS>(SinkCheck::Delivers, "stays durable up to 0 only");
    fails::<IGNORES_EMPTY_BATCHES>(SinkCheck::EmptyBatch, "stays durable up to");
}

#[test]
fn wrong_contents_are_found() {
    fails::<LOSES_SOME>(SinkCheck::Delivers, "can't be read back");
    fails::<REORDERS>(SinkCheck::Delivers, "out of order");
    fails::<REPEATS>(SinkCheck::Delivers, "twice");
    fails::<INVENTS>(SinkCheck::Delivers, "which nobody wrote");
}

#[test]
fn what_a_crash_breaks_is_found() {
    fails::<CLAIMS_TOO_MUCH>(SinkCheck::Crashes, "twice");
    fails::<ACKS_AFTER_SPAWN>(SinkCheck::Crashes, "can't be read back");
    fails::<ACKS_WHAT_IT_DISCARDS>(SinkCheck::Reassigned, "can't be read back");
    fails::<OPENS_ONCE>(SinkCheck::Reassigned, "already open");
    fails::<STARTS_TOO_FAR>(SinkCheck::Reassigned, "can't be read back");
}

#[test]
fn wrong_rejects_are_found() {
    fails::<REJECTS_ALL>(SinkCheck::Poison, "rejected: [");
    fails::<SWALLOWS_POISON>(SinkCheck::Poison, "can't be read back");
    fails::<FAILS_ON_POISON>(SinkCheck::Poison, "a write failed");
    fails::<WRITES_POISON>(SinkCheck::Poison, "was rejected, but is there");
    fails::<REJECTS_WITH_NO_REASON>(SinkCheck::Poison, "no error of a record");
}

#[test]
fn wrong_wakes_and_ends_are_found() {
    fails::<WAKES_FOR_EVER>(SinkCheck::Wakes, "at the same time again");
    fails::<DRAINS_FOR_EVER>(SinkCheck::Drains, "drain did not end");
    fails::<LEAKS_A_TASK>(SinkCheck::Releases, "1 spawned tasks go on");
    fails::<LEAKS_A_FILE>(SinkCheck::Releases, "1 files stay open");
    fails::<DOES_NOT_REACH>(SinkCheck::Reaches, "is refused");
    fails::<HAS_NO_REASON>(SinkCheck::Reaches, "no reason");
}

/// What a sink that throws records away keeps or loses is its own affair; its reports are not.
#[test]
fn void_sinks_are_held_to_their_reports() {
    fn failures<const FLAW: u8>() -> Vec<String> {
        let driver = ListDriver::<FLAW> { name: String::new(), is_void: true };
        let failures = SinkSuite::new(driver).seed(7).failures(&[SinkCheck::Delivers]);
        failures.iter().map(ToString::to_string).collect()
    }
    assert_eq!(failures::<LOSES_SOME>(), [""; 0]);
    for (failed, why) in [
        (failures::<NEVER_ACKS>(), "stays durable up to 0 only"),
        (failures::<ACKS_TOO_FAR>(), "was handed over"),
        (failures::<GOES_BACK>(), "went back"),
    ] {
        assert!(failed.len() == 1 && failed[0].contains(why), "{failed:?}");
    }
}

#[test]
fn a_failure_stops_the_test() {
    let panic = std::panic::catch_unwind(|| suite::<REPEATS>().seed(3).run()).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("Delivers: ") && text.contains("TOWPATH_TEST_SEED="), "{text}");
}
