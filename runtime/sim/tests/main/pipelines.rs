//! The pipelines in a faulty world: invariants, and mutations that break them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use towpath_core::ports::{Cluster, NewTopic, OutHeaders, OutRecord, ProducerSpec};
use towpath_core::source::{Boundary, Transactions};
use towpath_core::task::Wanted;
use towpath_sdk::record::TopicPartition;
use towpath_sim::outside::{
    Name, SinkBehaviour, SinkOutside, SourceBehaviour, SourceOutside, Violations, is_every,
};
use towpath_sim::world::{check_no_duplicates, check_nothing_lost, check_order_per_key};
use towpath_sim::{Faults, SimCluster, World};

use crate::mutants::{Mutant, Mutated};
use crate::seeds::{for_each_seed, simulate};
use crate::worker::{GROUP, Job, LETTERS, OFFSETS, Plan, Worker};

/// How long the world is rough.
const ROUGH: Duration = Duration::from_secs(90);
/// How long everything may take to come to rest afterwards.
const REST: Duration = Duration::from_secs(1800);
/// The topic between source and sink.
const TOPIC: &str = "t";
/// One of each so many records can't be converted.
const REFUSED: Option<u64> = Some(17);

/// What is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scenario {
    AtLeastOnceSource,
    ExactlyOnceSource(Boundary),
    Sink,
    SinkWithPanics,
    SinkThatKeepsOffsets,
    SourceAndSink,
}

impl Scenario {
    /// One of each so many records can't be converted.
    fn refuses(self) -> Option<u64> {
        (self != Self::SinkThatKeepsOffsets).then_some(17)
    }
}

/// Runs `scenario` for one seed; what went wrong.
async fn run(seed: u64, scenario: Scenario, mutant: Option<Mutant>) -> Vec<String> {
    let sim = SimCluster::new(seed, Faults::rough());
    let violations = Violations::default();
    let source = source_of(&sim, scenario, &violations, mutant);
    let sink = sink_of(&sim, scenario, &violations);
    let cluster: Arc<dyn Cluster> = match mutant {
        Some(mutant) => Arc::new(Mutated::new(Arc::clone(&sim) as _, mutant)),
        None => Arc::clone(&sim) as _,
    };
    let mut jobs = Vec::new();
    if let Some((outside, transactions)) = &source {
        let (outside, transactions) = (Arc::clone(outside), transactions.clone());
        jobs.push(Job::Source { outside, transactions });
    }
    if let Some(outside) = &sink {
        let tasks = 1 + u32::try_from(sim.pick(3)).unwrap_or(0);
        jobs.push(Job::Sinks {
            outside: Arc::clone(outside),
            topics: vec![TOPIC.to_owned()],
            tasks,
        });
    }
    if source.is_none() {
        fill(&sim).await;
    }
    let refuses_every = scenario.refuses();
    let plan = Plan { cluster, jobs, refuses_every, violations: violations.clone() };
    live(&sim, &plan).await;
    sim.calm();
    let worker = Worker::start(&plan);
    let done = || source_is_done(&sim.world(), &source) && sink_is_done(&sim.world(), &sink);
    let rested = tokio::time::timeout(REST, async {
        while !done() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    if rested.await.is_err() {
        violations
            .note(format!("nothing moves any more: {}", where_it_stands(&sim.world(), &source)));
    }
    worker.stop().await;
    if let Some((outside, transactions)) = &source {
        violations.check(check_source(&sim.world(), outside, transactions.is_some()));
    }
    if let Some(outside) = &sink {
        violations.check(check_sink(&sim.world(), outside, scenario));
    }
    violations.check(sim.world().check_commits_are_of_owners());
    violations.all()
}

/// Workers come and go while the world is rough.
async fn live(sim: &Arc<SimCluster>, plan: &Plan) {
    let end = tokio::time::Instant::now() + ROUGH;
    let mut worker = Worker::start(plan);
    while tokio::time::Instant::now() < end {
        tokio::time::sleep(sim.between(Duration::from_millis(100), Duration::from_secs(30))).await;
        match sim.pick(4) {
            0 => worker.stop().await,
            1 => {
                worker.want(Wanted::Paused);
                tokio::time::sleep(sim.between(Duration::ZERO, Duration::from_secs(8))).await;
                worker.want(Wanted::Running);
                continue;
            }
            _ => drop(worker),
        }
        tokio::time::sleep(sim.between(Duration::from_secs(1), Duration::from_secs(15))).await;
        worker = Worker::start(plan);
    }
}

type Source = Option<(Arc<SourceOutside>, Option<Transactions>)>;
type Sink = Option<Arc<SinkOutside>>;

fn source_of(
    sim: &Arc<SimCluster>,
    scenario: Scenario,
    violations: &Violations,
    mutant: Option<Mutant>,
) -> Source {
    let transactions = match scenario {
        Scenario::AtLeastOnceSource | Scenario::SourceAndSink => None,
        Scenario::ExactlyOnceSource(boundary) => Some(Transactions {
            transactional_id: "fleet-source-0".to_owned(),
            boundary,
            max_bytes: 16 << 10,
            max_age: Duration::from_secs(20),
        }),
        _ => return None,
    };
    let behaviour = SourceBehaviour {
        topic: TOPIC.to_owned(),
        rewinds: mutant != Some(Mutant::SourceDoesNotRewind),
        ..SourceBehaviour::default()
    };
    let world = sim.world();
    let judge = move |partition, upto| {
        let there = settled_names(&world);
        let expect = (0..upto).map(|number| Name { partition, number });
        check_nothing_lost(expect, there).map_err(|e| format!("acknowledged too early: {e}"))
    };
    let outside =
        SourceOutside::new(Arc::clone(sim), behaviour, violations.clone(), Box::new(judge));
    Some((outside, transactions))
}

fn sink_of(sim: &Arc<SimCluster>, scenario: Scenario, violations: &Violations) -> Sink {
    let behaviour = match scenario {
        Scenario::Sink | Scenario::SourceAndSink => {
            SinkBehaviour { rejects_every: Some(13), ..SinkBehaviour::default() }
        }
        Scenario::SinkWithPanics => SinkBehaviour { panics: 0.02, ..SinkBehaviour::default() },
        Scenario::SinkThatKeepsOffsets => {
            SinkBehaviour { keeps_offsets: true, ..SinkBehaviour::default() }
        }
        Scenario::AtLeastOnceSource | Scenario::ExactlyOnceSource(_) => return None,
    };
    let outside = SinkOutside::new(Arc::clone(sim), behaviour, violations.clone());
    let (world, watched, noted) = (sim.world(), Arc::clone(&outside), violations.clone());
    sim.observe_commits(move |commit| {
        if commit.group == GROUP {
            let settled = |at: &TopicPartition, offset, name: Option<Name>| {
                watched.has(at, offset) || name.is_some_and(|n| letters(&world).contains(&n))
            };
            let early = world.visible(&commit.partition.topic).into_iter().find(|r| {
                r.partition == commit.partition.partition
                    && r.offset < commit.offset
                    && !settled(
                        &commit.partition,
                        r.offset,
                        r.value.as_deref().and_then(Name::parse),
                    )
            });
            if let Some(record) = early {
                noted.note(format!("{commit:?} passes {}, which is nowhere yet", record.offset));
            }
        }
    });
    Some(outside)
}

/// Records of all kinds for a sink: plain ones, committed and aborted transactions.
async fn fill(sim: &Arc<SimCluster>) {
    let world = sim.world();
    let cluster = world.cluster();
    let admin = cluster.admin(Default::default()).await.unwrap();
    admin
        .create_topic(NewTopic {
            name: TOPIC.to_owned(),
            partitions: Some(3),
            replication_factor: None,
            config: BTreeMap::new(),
        })
        .await
        .unwrap();
    let plain = cluster.producer(ProducerSpec::default()).await.unwrap();
    let writer =
        cluster.transactional_producer("x".to_owned(), ProducerSpec::default()).await.unwrap();
    let record = |name: Name| OutRecord {
        topic: TOPIC.into(),
        partition: None,
        key: Some(Bytes::from(name.key(4))),
        value: Some(Bytes::from(name.to_string())),
        timestamp: None,
        headers: OutHeaders::default(),
    };
    let mut number = 0;
    while number < 300 {
        let upto = number + 1 + sim.pick(12) as u64;
        let batch: Vec<_> =
            (number..upto).map(|number| record(Name { partition: 0, number })).collect();
        match sim.pick(4) {
            0 => {
                writer.begin().await.unwrap();
                drop(writer.send(batch.into()).await.unwrap().await);
                drop(writer.abort().await);
                continue;
            }
            1 => {
                writer.begin().await.unwrap();
                drop(writer.send(batch.into()).await.unwrap().await);
                drop(writer.commit().await);
            }
            _ => drop(plain.send(batch.into()).await.unwrap().await),
        }
        number = upto;
    }
}

/// The names of all dead letters.
fn letters(world: &World) -> BTreeSet<Name> {
    let letters = world.visible(LETTERS);
    letters.iter().filter_map(|r| Name::parse(r.value.as_deref()?)).collect()
}

/// The names that are in the topic, or held by the dead letter queue.
fn settled_names(world: &World) -> BTreeSet<Name> {
    let there = world.visible(TOPIC);
    let there = there.iter().filter_map(|r| Name::parse(r.value.as_deref()?));
    there.chain(letters(world)).collect()
}

/// The stored offset of each source partition.
fn stored(world: &World) -> BTreeMap<u64, u64> {
    let number = |json: &serde_json::Value, name: &str| json.get(name)?.as_u64();
    let entry = |key: &[u8], value: &[u8]| {
        let key: serde_json::Value = serde_json::from_slice(key).ok()?;
        let value: serde_json::Value = serde_json::from_slice(value).ok()?;
        Some((number(key.get(1)?, "partition")?, number(&value, "n")?))
    };
    let entries = world.visible(OFFSETS).into_iter();
    entries.filter_map(|r| entry(r.key.as_deref()?, r.value.as_deref()?)).collect()
}

/// Whether all offsets are stored. A task that starts behind its last record acknowledges nothing.
fn source_is_done(world: &World, source: &Source) -> bool {
    source.as_ref().is_none_or(|(outside, _)| {
        stored(world).values().sum::<u64>() == outside.names().count() as u64
    })
}

fn sink_is_done(world: &World, sink: &Sink) -> bool {
    if sink.is_none() {
        return true;
    }
    let committed = world.committed(GROUP);
    let mut last: BTreeMap<i32, i64> = BTreeMap::new();
    last.extend(world.visible(TOPIC).iter().map(|r| (r.partition, r.offset)));
    last.iter().all(|(partition, offset)| {
        committed.get(&TopicPartition::new(TOPIC, *partition)).is_some_and(|at| at > offset)
    })
}

fn where_it_stands(world: &World, source: &Source) -> String {
    let acknowledged = source.as_ref().map(|(outside, _)| outside.acknowledged());
    format!(
        "acknowledged {acknowledged:?}, stored {:?}, committed {:?}, owners {:?}, members {:?}",
        stored(world),
        world.committed(GROUP),
        world.cluster().owners(GROUP),
        world.cluster().members(GROUP)
    )
}

/// The rank of each name among those of its key that are not left out.
fn ranks(
    all: impl IntoIterator<Item = Name>,
    keys: u64,
    left_out: impl Fn(Name) -> bool,
) -> BTreeMap<Name, u64> {
    let mut next: BTreeMap<String, u64> = BTreeMap::new();
    let mut ranks = BTreeMap::new();
    for name in all.into_iter().filter(|name| !left_out(*name)) {
        let rank = next.entry(name.key(keys)).or_insert(0);
        ranks.insert(name, *rank);
        *rank += 1;
    }
    ranks
}

fn check_source(world: &World, outside: &SourceOutside, exactly_once: bool) -> Result<(), String> {
    let keys = SourceBehaviour::default().keys;
    let log = world.visible(TOPIC);
    let names: Vec<Name> = log.iter().filter_map(|r| Name::parse(r.value.as_deref()?)).collect();
    let by_source = SourceBehaviour::default().refuses_every;
    let refused = |name: Name| is_every(name.number, REFUSED) || is_every(name.number, by_source);
    check_nothing_lost(outside.names().filter(|n| !refused(*n)), names.iter().copied())?;
    check_nothing_lost(outside.names().filter(|n| refused(*n)), letters(world))
        .map_err(|e| format!("dead letters: {e}"))?;
    let ranks = ranks(outside.names(), keys, refused);
    let ranked = names.iter().map(|name| (name.key(keys), ranks.get(name).copied().unwrap_or(0)));
    check_order_per_key(ranked)?;
    let mut places: BTreeMap<String, i32> = BTreeMap::new();
    for record in &log {
        let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
        let place = *places.entry(key).or_insert(record.partition);
        if place != record.partition {
            return Err(format!("a key is in the partitions {place} and {}", record.partition));
        }
    }
    if exactly_once { check_no_duplicates(names) } else { Ok(()) }
}

fn check_sink(world: &World, outside: &SinkOutside, scenario: Scenario) -> Result<(), String> {
    let rows = outside.rows();
    let letters = letters(world);
    let keys =
        if scenario == Scenario::SourceAndSink { SourceBehaviour::default().keys } else { 4 };
    let input = world.visible(TOPIC);
    let mut expect: Vec<Name> =
        input.iter().filter_map(|r| Name::parse(r.value.as_deref()?)).collect();
    let got = rows.iter().map(|row| row.name).chain(letters.iter().copied());
    check_nothing_lost(expect.iter().copied(), got)?;
    if scenario == Scenario::SinkThatKeepsOffsets {
        check_no_duplicates(rows.iter().map(|row| (row.from.clone(), row.offset)))?;
    }
    // A source that produces at least once repeats suffixes in its own right: then only lanes are
    // looked at below.
    expect.sort_unstable();
    expect.dedup();
    let refused = |name: Name| letters.contains(&name);
    let ranks = ranks(expect, keys, refused);
    let mut by_lane: BTreeMap<u64, Vec<(String, u64)>> = BTreeMap::new();
    let mut reached: BTreeMap<String, u64> = BTreeMap::new();
    for row in &rows {
        let Some(rank) = ranks.get(&row.name) else { continue };
        let (key, lane) = (row.name.key(keys), by_lane.entry(row.lane).or_default());
        let skips = match lane.iter().rev().find(|(k, _)| *k == key) {
            Some((_, before)) => *rank > before + 1,
            None => *rank > reached.get(&key).map_or(0, |reached| reached + 1),
        };
        if skips {
            return Err(format!("{row:?} of rank {rank} comes too early for its key"));
        }
        let most = reached.entry(key.clone()).or_insert(0);
        *most = (*most).max(*rank);
        lane.push((key, *rank));
    }
    Ok(())
}

fn holds(scenario: Scenario, seeds: u64) {
    for_each_seed(seeds, |seed| async move {
        let violations = run(seed, scenario, None).await;
        assert!(
            violations.is_empty(),
            "{scenario:?}: {:#?}",
            &violations[..violations.len().min(5)]
        );
    });
}

#[test]
fn at_least_once_sources_hold_their_promises() {
    holds(Scenario::AtLeastOnceSource, 100);
}

#[test]
fn exactly_once_sources_hold_their_promises() {
    holds(Scenario::ExactlyOnceSource(Boundary::Poll), 60);
    holds(Scenario::ExactlyOnceSource(Boundary::Connector), 60);
    holds(Scenario::ExactlyOnceSource(Boundary::Interval(Duration::from_secs(3))), 60);
}

#[test]
fn sinks_hold_their_promises() {
    holds(Scenario::Sink, 100);
    holds(Scenario::SinkWithPanics, 30);
}

#[test]
fn sinks_that_keep_offsets_write_each_record_once() {
    holds(Scenario::SinkThatKeepsOffsets, 60);
}

#[test]
fn a_source_and_a_sink_together_lose_nothing() {
    holds(Scenario::SourceAndSink, 60);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let trace = |seed| {
        simulate(async move {
            let sim = SimCluster::new(seed, Faults::rough());
            let violations = Violations::default();
            let sink = sink_of(&sim, Scenario::Sink, &violations).unwrap();
            fill(&sim).await;
            let job =
                Job::Sinks { outside: Arc::clone(&sink), topics: vec![TOPIC.to_owned()], tasks: 2 };
            let cluster = Arc::clone(&sim) as _;
            let plan = Plan { cluster, jobs: vec![job], refuses_every: REFUSED, violations };
            live(&sim, &plan).await;
            (sink.rows(), sim.world().commits())
        })
    };
    assert_eq!(trace(5), trace(5));
    assert_ne!(trace(5), trace(6));
}

/// A mutant is caught by some seed.
fn caught(scenario: Scenario, mutant: Mutant) {
    let seen = (0..40).any(|seed| !simulate(run(seed, scenario, Some(mutant))).is_empty());
    assert!(seen, "{mutant:?} goes unnoticed in {scenario:?}");
}

#[test]
fn each_mutant_is_caught() {
    let exactly_once = Scenario::ExactlyOnceSource(Boundary::Poll);
    for (scenario, mutant) in [
        (Scenario::Sink, Mutant::CommitsWhatItGot),
        (Scenario::Sink, Mutant::CommitsAfterLettingGo),
        (Scenario::Sink, Mutant::LettersAreLost),
        (Scenario::Sink, Mutant::BatchesAreLost),
        (Scenario::Sink, Mutant::OldBatchesAreDelivered),
        (Scenario::AtLeastOnceSource, Mutant::ReceiptsLie),
        (Scenario::AtLeastOnceSource, Mutant::FailedRecordsComeLater),
        (exactly_once, Mutant::ReceiptsLie),
        (exactly_once, Mutant::UnknownIsAborted),
        (exactly_once, Mutant::SourceDoesNotRewind),
        (exactly_once, Mutant::FencesNobody),
    ] {
        caught(scenario, mutant);
    }
}
