//! The sink's lane simulated: lives that end at any event, zombies, lost answers, strangers.
//!
//! Whatever happens, each path's objects hold its records once and in order, and what others have put
//! there is as it was; what was refused is a dead letter. `Flaw` and `Broken` are worlds that break a promise on which this stands: the
//! simulation notices each.

mod alike;
pub(crate) mod store;
mod world;

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::config::SharedHttpClient;
use futures::FutureExt;
use towpath_connector_s3::config::Plan;
use towpath_connector_s3::config::confluent::{Config, OUR_DEFAULTS};
use towpath_connector_s3::joda::Zone;
use towpath_connector_s3::rotation::Schedule;
use towpath_connector_s3::task::Task;
use towpath_sdk::config::{ConnectorConfig, Properties};
use towpath_sdk::context::{LaneContext, TaskContext};
use towpath_sdk::error::Action;
use towpath_sdk::record::TopicPartition;
use towpath_sdk::sink::{Epoch, Progress, SinkLane, SinkTask};
use towpath_sdk::value::{Datum, Value};

use crate::rig::{TOPIC, batch_of};
use store::{Flaw, Http, Store};
use world::{Broken, End, LanesReports, LifesHost, LifesWay, World};

/// A record: its offset, and what it is.
type Row = (i64, Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It belongs to this path.
    Good(u32),
    /// It belongs to this path and can't be written.
    Unwritable(u32),
    /// It belongs nowhere.
    Lost,
}

/// One partition and what happens to it.
struct Story {
    world: Arc<World>,
    rows: Vec<Row>,
    end: i64,
    paths: u32,
    spool: tempfile::TempDir,
    /// Records to an object, where every life has the same.
    flush: Option<u64>,
}

impl Story {
    /// Every record is good, nothing stands in the way, and all lives have one configuration.
    fn steady(seed: u64) -> Self {
        let mut story = Self::new(seed, None, None);
        story.world.store.clear();
        for (_, kind) in &mut story.rows {
            *kind = Kind::Good(story.world.below(story.paths));
        }
        story.flush = Some(u64::from(2 + story.world.below(12)));
        story
    }

    fn new(seed: u64, flaw: Option<Flaw>, broken: Option<Broken>) -> Self {
        let world = World::new(seed, Store::new(flaw, seed.is_multiple_of(2)), broken);
        let paths = 1 + world.below(3);
        let (mut rows, mut offset) = (Vec::new(), 0);
        for _ in 0..20 + world.below(60) {
            // Gaps are what transactions and compaction leave.
            offset += i64::from(world.below(8) / 7) + 1;
            let path = world.below(paths);
            let kind = match world.below(30) {
                0 => Kind::Lost,
                1 | 2 => Kind::Unwritable(path),
                _ => Kind::Good(path),
            };
            rows.push((offset, kind));
        }
        for _ in 0..world.below(4) {
            let (path, start) = (world.below(paths), rows[world.below(20) as usize].0);
            for step in ["", "+1", "+2"].iter().take(1 + world.below(3) as usize) {
                world.store.put_stranger(&format!("{}/orders+0+{start:020}{step}.json", at(path)));
            }
        }
        let spool = tempfile::tempdir().expect("a folder");
        Self { world, rows, end: offset + 1 + 3, paths, spool, flush: None }
    }

    fn plan(&self, life: u32) -> Plan {
        let spool = self.spool.path().to_str().expect("a readable path");
        let mut properties = Properties::from([
            ("s3.bucket.name", "bucket"),
            ("store.url", "http://model"),
            ("s3.region", "us-east-1"),
            ("aws.access.key.id", "id"),
            ("aws.secret.access.key", "fake"),
            ("partitioner.class", "FieldPartitioner"),
            ("partition.field.name", "path"),
            ("s3.part.retries", "0"),
            ("spool.dir", spool),
        ]);
        Config::definition().fill(&mut properties, OUR_DEFAULTS);
        let mut plan = Config::parse(&properties).expect("a configuration").plan().expect("a plan");
        let world = &self.world;
        let way = LifesWay(Arc::clone(world), life);
        plan.connection.http = Some(SharedHttpClient::new(Http(Arc::new(way))));
        plan.rotation.flush_size = self.flush.or_else(|| Some(u64::from(2 + world.below(12))));
        if world.below(2) == 0 {
            // As small as no store takes them, so that there are many.
            plan.part_size = 300;
        }
        plan
    }

    /// A life as the engine leads it, from the group's offset on. It ends when it is dropped.
    async fn live(self: Arc<Self>, life: u32, plan: Plan) {
        let host = Arc::new(LifesHost(Arc::clone(&self.world), life));
        let cx = TaskContext::new("sim", life, host);
        let mut task = Task::new(plan, cx.clone()).await;
        loop {
            let (lane, from) = self.world.lane(life);
            let reports = LanesReports { world: Arc::clone(&self.world), life, lane };
            let lane = task.lane(LaneContext {
                task: cx.clone(),
                partition: TopicPartition::new(TOPIC, 0),
                epoch: Epoch(life.into()),
                progress: Progress::new(Arc::new(reports)),
            });
            let error = self.run_lane(life, lane, from).await;
            assert_eq!(error.action(), Action::Retry, "{error:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The engine's loop around a lane.
    async fn run_lane(
        &self,
        life: u32,
        mut lane: impl SinkLane,
        mut from: i64,
    ) -> towpath_sdk::error::Error {
        let now = || towpath_sdk::clock::Clock::now(&*self.world.clock);
        loop {
            if lane.wake_at().is_some_and(|at| at <= now())
                && let Err(error) = lane.wake().await
            {
                return error;
            }
            if from < self.end {
                let to = (from + 1 + i64::from(self.world.below(15))).min(self.end);
                if let Err(error) = lane.write(self.batch(from, to)).await {
                    return error;
                }
                self.world.delivered(life, to);
                from = to;
                continue;
            }
            match lane.wake_at() {
                Some(at) => tokio::time::sleep(at.since(now())).await,
                None => std::future::pending().await,
            }
        }
    }

    fn batch(&self, from: i64, to: i64) -> towpath_sdk::sink::SinkBatch {
        let rows = self.rows.iter().filter(|(offset, _)| (from..to).contains(offset));
        let mut batch = batch_of(rows.clone().map(|(at, kind)| (*at, Some(value(*at, *kind)))), to);
        for (record, (_, kind)) in batch.records.iter_mut().zip(rows) {
            if let Kind::Unwritable(path) = kind {
                let deep = (0..200).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
                let member = |name: &str, value| (Value::String(name.into()), value);
                let path = Value::String(format!("p{path}").into());
                let value = Value::Map(vec![member("path", path), member("deep", deep)]);
                record.value = Datum::schemaless(value);
            }
        }
        batch
    }

    /// What must be durable in the end.
    fn goal(&self) -> i64 {
        let Some(flush) = self.flush else { return self.end };
        let whole = self.rows.len() as u64 / flush * flush;
        self.rows[whole as usize - 1].0 + 1
    }

    /// What is wrong with the bucket.
    fn check(&self) -> Result<(), String> {
        let objects = self.world.store.objects();
        let letters = self.world.letters();
        let good = |kind: Kind| matches!(kind, Kind::Good(_));
        if let Some((offset, _)) =
            self.rows.iter().find(|(at, kind)| good(*kind) == letters.contains(at))
        {
            return Err(format!("record {offset} is in the wrong place: {letters:?}"));
        }
        for path in 0..self.paths {
            let of_path = self.rows.iter().filter(|(_, of)| *of == Kind::Good(path));
            let want: Vec<i64> = of_path.map(|(offset, _)| *offset).collect();
            let prefix = format!("{}/", at(path));
            let got: Vec<i64> = objects
                .iter()
                .filter(|(key, _)| key.starts_with(&prefix))
                .flat_map(|(_, body)| offsets(body))
                .collect();
            if got != want {
                let keys: Vec<_> = objects
                    .iter()
                    .filter(|(key, _)| key.starts_with(&prefix))
                    .map(|(key, body)| format!("{key}: {:?}", offsets(body)))
                    .collect();
                return Err(format!("path {path}: {want:?} became\n{}", keys.join("\n")));
            }
        }
        Ok(())
    }
}

fn at(path: u32) -> String {
    format!("topics/orders/path=p{path}")
}

fn value(offset: i64, kind: Kind) -> String {
    match kind {
        Kind::Good(path) => {
            format!(r#"{{"offset":{offset},"path":"p{path}","filler":"{:040}"}}"#, 0)
        }
        Kind::Unwritable(_) | Kind::Lost => format!(r#"{{"offset":{offset}}}"#),
    }
}

fn offsets(body: &[u8]) -> Vec<i64> {
    let text = String::from_utf8_lossy(body);
    let lines = text.lines().filter(|line| line.starts_with('{'));
    lines
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).expect("JSON")["offset"].as_i64()
        })
        .map(|offset| offset.expect("an offset"))
        .collect()
}

/// Lives one after the other, and beside each other where one is a zombie; the last one has peace.
async fn tell(story: &Arc<Story>, lives: u32) -> Result<u64, String> {
    let world = Arc::clone(&story.world);
    let strangers = world.store.objects();
    let mut zombies = Vec::new();
    for _ in 0..lives {
        let end = match world.below(5) {
            0 => End::Killed,
            1 => End::KilledAfterEffect,
            2 => End::KilledWithLateEffect,
            _ => End::Zombie,
        };
        let life = world.begin(1 + world.below(60), end);
        let job = tokio::spawn(Arc::clone(story).live(life, story.plan(life)));
        // A life that has written all there is waits in peace.
        let over = tokio::time::timeout(Duration::from_secs(20), world.ended.notified()).await;
        if end == End::Zombie && over.is_ok() {
            zombies.push(job);
        } else if let Some(Err(ended)) = end_now(job) {
            return Err(format!("a life ended: {ended}"));
        }
    }
    world.calm();
    let life = world.begin(u32::MAX, End::Killed);
    let mut plan = story.plan(life);
    if story.flush.is_none() {
        plan.rotation.schedule = Some(Schedule { interval_ms: 1000, zone: Zone::UTC });
    }
    let job = tokio::spawn(Arc::clone(story).live(life, plan));
    let done = async {
        while world.durable() < story.goal() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(600), done).await;
    // What is late or stuck has its say.
    tokio::time::sleep(Duration::from_secs(10)).await;
    for job in zombies.into_iter().chain([job]) {
        if let Some(Err(ended)) = end_now(job) {
            return Err(format!("a life ended: {ended}"));
        }
    }
    if done.is_err() {
        return Err(format!("it stands still at {} of {}", world.durable(), story.goal()));
    }
    let objects = world.store.objects();
    if !strangers.iter().all(|stranger| objects.contains(stranger)) {
        return Err("an object of somebody else was changed".to_owned());
    }
    Ok(world.events())
}

/// How `job` ended, if it has; else it ends now.
fn end_now(mut job: tokio::task::JoinHandle<()>) -> Option<Result<(), tokio::task::JoinError>> {
    let ended = (&mut job).now_or_never();
    job.abort();
    ended
}

fn run<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(story)
}

fn simulate(seed: u64, flaw: Option<Flaw>, broken: Option<Broken>) -> Result<u64, String> {
    let told = run(async {
        let story = Arc::new(Story::new(seed, flaw, broken));
        let events = tell(&story, 1 + story.world.below(6)).await?;
        story.check().map(|()| events)
    });
    told.map_err(|wrong| format!("seed {seed}: {wrong}"))
}

/// How many stories CI tells. As in the simulation of the pipelines, `SIM_SEED=17` tells one alone and
/// `SIM_RUNS=100` multiplies their number.
const SEEDS: u64 = 150;

#[test]
fn no_end_of_any_life_loses_or_doubles_anything() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..SEEDS * number("SIM_RUNS").unwrap_or(1),
    };
    let count = seeds.end - seeds.start;
    let mut wrong = Vec::new();
    let mut events = 0;
    for seed in seeds {
        match simulate(seed, None, None) {
            Ok(of) => events += of,
            Err(text) => wrong.push(text),
        }
    }
    assert!(wrong.is_empty(), "{} of {count} went wrong, the first:\n{}", wrong.len(), wrong[0]);
    assert!(events > 20 * count, "only {events} events happened");
}

/// Where nothing but the records decides about objects, they are as if nothing had happened.
#[test]
fn the_same_records_make_the_same_objects() {
    for seed in 0..40 {
        let bucket_after = |lives| {
            run(async {
                let story = Arc::new(Story::steady(seed));
                let told = tell(&story, lives).await;
                told.unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
                let objects = story.world.store.objects().into_iter();
                objects.map(|(key, body)| (key, offsets(&body))).collect::<Vec<_>>()
            })
        };
        assert_eq!(bucket_after(5), bucket_after(0), "seed {seed}");
    }
}

#[test]
fn a_seed_says_it_all() {
    for seed in 0..8 {
        let (once, again) = (simulate(seed, None, None), simulate(seed, None, None));
        assert_eq!(once.unwrap(), again.unwrap(), "seed {seed}");
    }
}

/// Each world that breaks a promise is found out within so many stories.
fn is_noticed(flaw: Option<Flaw>, broken: Option<Broken>) {
    let noticed = (0..SEEDS).any(|seed| {
        let told = std::panic::catch_unwind(|| simulate(seed, flaw, broken));
        !matches!(told, Ok(Ok(_)))
    });
    assert!(noticed, "nothing was noticed of {flaw:?} {broken:?}");
}

#[test]
fn broken_promises_are_noticed() {
    for flaw in [Flaw::Overwrites, Flaw::ForgetsMetadata, Flaw::LosesObjects] {
        is_noticed(Some(flaw), None);
    }
    for broken in [Broken::CommitsWhatWasDelivered, Broken::StatesDieWithTheirLife] {
        is_noticed(None, Some(broken));
    }
}
