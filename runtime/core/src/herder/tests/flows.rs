//! One story each.

use std::time::Duration;

use towpath_formats::config_topic::{ConfigRecord, ConnectorConfig, RestartRequest, TargetState};
use towpath_formats::{Properties, messages};
use towpath_sdk::error::Action;

use super::world::{World, config, failure, id, options};
use crate::herder::HerderError;
use crate::herder::configs::commit_records;
use crate::herder::event::{
    Event, Expect, OffsetsChange, PlannerReport, Reply, Request, TaskReport, WriteFailure,
};
use crate::herder::view::UnitState;
use crate::task::Wanted;
use crate::task::status::Activity;
use crate::topics::TopicUse;

#[test]
fn a_connector_is_created_planned_and_run() {
    let mut world = World::new();
    let slot = world.create("c", "sink", 2);
    assert!(world.replies.is_empty(), "answered before it was written");
    world.write(Ok(()));
    assert!(world.replies.is_empty(), "answered before it was read back");
    world.deliver();
    let Ok(Reply::Connector { info, version: 1, created: true }) = world.reply(slot) else {
        panic!("{:?}", world.reply(slot));
    };
    assert!(info.tasks.is_empty());
    assert_eq!(world.shown("c"), "UNASSIGNED []");
    world.settle();
    assert_eq!(world.shown("c"), "RUNNING [RUNNING RUNNING]");
    assert_eq!(world.tasks[&id("c", 1)].properties["share"], "1");
    assert_eq!(world.told_state("c", 1).map(|s| s.name()), Some("RUNNING"));
    let again = world.create("c", "sink", 2);
    world.settle();
    assert_eq!(world.refused(again), "Connector c already exists");
}

#[test]
fn a_change_of_one_connector_restarts_no_other_and_an_equal_one_nothing() {
    let mut world = World::new();
    for name in ["a", "b"] {
        world.create(name, "sink", 2);
    }
    world.settle();
    let before = world.counted("b-0");
    let slot = world.put("a", config("a", "sink", 3, "new"));
    world.settle();
    let expect = "Ok(Connector { info: ConnectorInfo";
    assert!(format!("{:?}", world.reply(slot)).starts_with(expect));
    assert_eq!(world.shown("a"), "RUNNING [RUNNING RUNNING RUNNING]");
    assert_eq!(world.counted("b-0"), before);
    assert_eq!(world.counted("a-0").starts, 2);
    let log = world.log.len();
    let slot = world.put("a", config("a", "sink", 3, "new"));
    world.settle();
    let Ok(Reply::Connector { version: 2, created: false, .. }) = world.reply(slot) else {
        panic!("{:?}", world.reply(slot));
    };
    assert_eq!(world.log.len(), log);
    assert_eq!(world.counted("a-0").starts, 2);
}

#[test]
fn a_planner_that_says_the_same_again_restarts_nothing_and_one_task_more_only_adds_it() {
    let mut world = World::new();
    world.create("c", "sink", 2);
    world.settle();
    let log = world.log.len();
    world.planner_works(&"c".into());
    world.settle();
    assert_eq!(world.log.len(), log);
    let run = world.planners["c"].run;
    let share = |n: u32| Properties::from([("share", n.to_string().as_str())]);
    let report = PlannerReport::Planned((0..3).map(share).collect());
    world.feed(Event::Planner { connector: "c".into(), run, report });
    while world.write(Ok(())) || world.deliver() {}
    assert_eq!(world.counted("c-0").starts, 1);
    assert_eq!(world.counted("c-2").starts, 1);
}

#[test]
fn pause_resume_and_stop() {
    let mut world = World::new();
    world.create("c", "sink", 1);
    world.settle();
    for (target, shown) in [
        (TargetState::Paused, "PAUSED [PAUSED]"),
        (TargetState::Paused, "PAUSED [PAUSED]"),
        (TargetState::Started, "RUNNING [RUNNING]"),
        (TargetState::Stopped, "STOPPED []"),
        (TargetState::Paused, "PAUSED []"),
        (TargetState::Stopped, "STOPPED []"),
        (TargetState::Started, "RUNNING [RUNNING]"),
    ] {
        let slot = world.target("c", target);
        world.settle();
        world.done(slot);
        assert_eq!(world.shown("c"), shown);
    }
    // Pausing keeps the task's run.
    assert_eq!(world.counted("c-0").starts, 2);
    let slot = world.target("nope", TargetState::Paused);
    assert_eq!(world.refused(slot), "Unknown connector nope");
}

#[test]
fn initial_states() {
    let mut world = World::new();
    world.create_as("p", "sink", 2, TargetState::Paused);
    world.create_as("s", "sink", 2, TargetState::Stopped);
    world.settle();
    assert_eq!(world.shown("p"), "PAUSED []");
    assert_eq!(world.shown("s"), "STOPPED []");
    assert!(world.counts.is_empty(), "something was started: {:?}", world.counts);
    world.target("p", TargetState::Started);
    world.settle();
    assert_eq!(world.shown("p"), "RUNNING [RUNNING RUNNING]");
}

#[test]
fn what_is_deleted_stops_and_leaves_no_status() {
    let mut world = World::new();
    world.create("c", "sink", 2);
    world.settle();
    let used = TopicUse { task: id("c", 0), topic: "t".into() };
    world.feed(Event::TopicUsed(used));
    assert_eq!(&*world.state.snapshot().topics["c"], ["t"]);
    let slot = world.ask(Request::Delete { name: "c".into() });
    world.write(Ok(()));
    while world.deliver() {}
    world.done(slot);
    assert!(world.state.snapshot().connectors.is_empty());
    assert!(world.tasks.values().all(|task| task.wanted == Wanted::Stopped));
    world.settle();
    assert!(world.tasks.is_empty() && world.planners.is_empty());
    assert!(world.statuses.values().all(|record| record.to_key_value().1.is_none()));
    assert!(world.state.snapshot().topics.is_empty());
    let slot = world.ask(Request::Delete { name: "c".into() });
    assert_eq!(world.refused(slot), "Connector c not found");
    // Again from scratch, in spite of what is left in the log.
    world.create("c", "sink", 1);
    world.settle();
    assert_eq!(world.shown("c"), "RUNNING [RUNNING]");
}

#[test]
fn failures_are_restarted_with_growing_pauses_until_health_resets_them() {
    let mut world = World::new();
    world.create("c", "sink", 1);
    world.settle();
    let mut pauses = Vec::new();
    for _ in 0..12 {
        world.task_ends(&id("c", 0), Err(failure(Action::Restart)));
        assert_eq!(world.shown("c"), "RUNNING [FAILED]");
        assert_eq!(world.status("c").tasks[0].trace.as_deref(), Some("class: boom"));
        let at = world.state.wake_at().expect("a time");
        pauses.push(at.since(world.now));
        world.advance(at.since(world.now));
        world.settle();
        assert_eq!(world.shown("c"), "RUNNING [RUNNING]");
    }
    let (first, longest) = (Duration::from_secs(1), Duration::from_secs(300));
    assert!(pauses[0] <= first && pauses[0] >= first * 3 / 4, "{pauses:?}");
    assert!(pauses[11] <= longest && pauses[11] >= longest * 3 / 4, "{pauses:?}");
    assert!(pauses.iter().zip(&pauses[1..]).all(|(a, b)| a < b || *b > longest * 3 / 4));
    world.advance(Duration::from_secs(600));
    world.task_ends(&id("c", 0), Err(failure(Action::Restart)));
    assert!(world.state.wake_at().expect("a time").since(world.now) <= first);
}

#[test]
fn restarts_can_be_limited_and_hopeless_failures_are_final() {
    let mut limited = options();
    limited.restarts.limit = Some(2);
    let mut world = World::with(limited);
    world.create("c", "sink", 2);
    world.settle();
    for restarts in 0..3 {
        assert_eq!(world.counted("c-0").starts, restarts + 1);
        world.task_ends(&id("c", 0), Err(failure(Action::Restart)));
        world.advance(Duration::from_secs(400));
        world.settle();
    }
    assert_eq!(world.counted("c-0").starts, 3);
    world.task_ends(&id("c", 1), Err(failure(Action::Fail)));
    world.advance(Duration::from_secs(4_000));
    world.settle();
    assert_eq!(world.counted("c-1").starts, 1);
    assert_eq!(world.shown("c"), "RUNNING [FAILED FAILED]");
    // A person's restart begins from scratch.
    let slot = world.ask(Request::RestartTask { id: id("c", 0) });
    world.settle();
    world.done(slot);
    assert_eq!(world.shown("c"), "RUNNING [RUNNING FAILED]");
    // So does another config.
    world.put("c", config("c", "sink", 2, "cured"));
    world.settle();
    assert_eq!(world.shown("c"), "RUNNING [RUNNING RUNNING]");
}

#[test]
fn what_may_heal_is_waited_for_without_limit_and_shown_as_running() {
    let mut patient = options();
    patient.restarts.limit = Some(0);
    patient.waiting_is_failed_after = Some(Duration::from_secs(3_600));
    let mut world = World::with(patient);
    world.create("c", "sink", 1);
    world.settle();
    for _ in 0..5 {
        world.task_ends(&id("c", 0), Err(failure(Action::Retry)));
        assert_eq!(world.shown("c"), "RUNNING [RUNNING]");
        let task = &world.state.snapshot().connectors["c"].tasks[0].1.state;
        assert!(matches!(task, UnitState::Waiting { reason, .. } if reason == "boom"), "{task:?}");
        world.advance(Duration::from_secs(300));
        assert_eq!(world.tasks.len(), 1);
    }
    // A task that says itself that it waits is shown as failed after the time that the user set.
    let run = world.tasks[&id("c", 0)].run;
    let since = world.now;
    let waiting = Activity::Waiting { reason: "down".into(), since, next_try: None };
    let report = TaskReport::Activity(waiting);
    world.feed(Event::Task { id: id("c", 0), run, report });
    assert_eq!(world.told_state("c", 0).map(|s| s.name()), Some("RUNNING"));
    let at = world.state.wake_at().expect("a time");
    assert_eq!(at, since + Duration::from_secs(3_600));
    world.advance(at.since(world.now));
    assert_eq!(world.told_state("c", 0).map(|s| s.name()), Some("FAILED"));
}

#[test]
fn a_planner_that_fails_leaves_its_tasks_alone_and_plans_again() {
    let mut world = World::new();
    world.create("c", "sink", 1);
    world.settle();
    world.planner_ends(&"c".into(), Err(failure(Action::Restart)));
    assert_eq!(world.shown("c"), "FAILED [RUNNING]");
    world.advance(Duration::from_secs(1));
    world.settle();
    assert_eq!(world.shown("c"), "RUNNING [RUNNING]");
    assert_eq!(world.counted("c-0").starts, 1);
    assert_eq!(world.counted("c").starts, 2);
}

#[test]
fn a_failed_connector_can_be_stopped_but_pausing_it_keeps_its_failure() {
    let mut world = World::new();
    world.create("c", "sink", 1);
    world.settle();
    world.planner_ends(&"c".into(), Err(failure(Action::Fail)));
    world.target("c", TargetState::Paused);
    world.settle();
    assert_eq!(world.shown("c"), "FAILED [PAUSED]");
    world.target("c", TargetState::Stopped);
    world.settle();
    assert_eq!(world.shown("c"), "STOPPED []");
    world.target("c", TargetState::Started);
    world.settle();
    assert_eq!(world.shown("c"), "RUNNING [RUNNING]");
}

#[test]
fn restarts_in_the_log_are_history() {
    let request = Some(RestartRequest { include_tasks: true, only_failed: false });
    let properties = Properties::clone(&config("c", "sink", 1, ""));
    let log = vec![
        ConfigRecord::Connector {
            name: "c".into(),
            config: Some(ConnectorConfig { properties, stamp: None }),
        },
        ConfigRecord::RestartConnector { connector: "c".into(), request },
    ];
    let mut world = World::taking_over(options(), log);
    world.settle();
    assert_eq!(world.counted("c").starts, 1);
    assert_eq!(world.shown("c"), "RUNNING [RUNNING]");
}

#[test]
fn a_cluster_is_taken_over_with_its_tasks_and_states() {
    let connector = |name: &str| ConfigRecord::Connector {
        name: name.into(),
        config: Some(ConnectorConfig {
            properties: Properties::clone(&config(name, "sink", 1, "")),
            stamp: None,
        }),
    };
    let task = |name: &str| ConfigRecord::Task {
        connector: name.into(),
        task: 0,
        properties: Some(Properties::from([("task.class", "x.Task"), ("share", "0")])),
    };
    let commit =
        |name: &str| ConfigRecord::Commit { connector: name.into(), tasks: Some(1), digest: None };
    let paused =
        ConfigRecord::TargetState { connector: "b".into(), state: Some(TargetState::Paused) };
    let unknown = ConfigRecord::Unknown { key: b"future".to_vec(), value: None };
    let mut log = vec![unknown, paused];
    for name in ["a", "b"] {
        log.extend([connector(name), task(name), commit(name)]);
    }
    let mut world = World::taking_over(options(), log);
    // At once, from what the former workers stored.
    assert_eq!(world.tasks[&id("a", 0)].properties["task.class"], "x.Task");
    assert_eq!(world.tasks[&id("b", 0)].wanted, Wanted::Paused);
    world.settle();
    assert_eq!(world.shown("a"), "RUNNING [RUNNING]");
    assert_eq!(world.shown("b"), "PAUSED [PAUSED]");
    // A first change of its own counts as version 1.
    let slot = world.put("a", config("a", "sink", 1, "new"));
    world.settle();
    assert!(matches!(world.reply(slot), Ok(Reply::Connector { version: 1, .. })));
}

#[test]
fn an_inconsistent_set_runs_nothing_until_it_is_planned_anew() {
    let mut world = World::new();
    world.create("c", "sink", 2);
    world.settle();
    // Another leader's writes, of which compaction left only a part.
    let commit = ConfigRecord::Commit { connector: "c".into(), tasks: Some(2), digest: None };
    world.log.push(commit);
    world.deliver();
    assert!(world.tasks.values().all(|task| task.wanted == Wanted::Stopped));
    world.settle();
    assert_eq!(world.shown("c"), "RUNNING [RUNNING RUNNING]");
    assert_eq!(world.counted("c-0").starts, 2);
}

#[test]
fn versions_guard_against_lost_updates() {
    let mut world = World::new();
    world.create("c", "sink", 1);
    world.settle();
    let put = |world: &mut World, expect, extra: &str| {
        let config = config("c", "sink", 1, extra);
        let slot = world.ask(Request::Put {
            name: "c".into(),
            config,
            expect,
            who: Some("ann".into()),
            action: "update",
        });
        world.settle();
        world.reply(slot).clone()
    };
    assert!(put(&mut world, Expect::Version(1), "x").is_ok());
    let refused = put(&mut world, Expect::Version(1), "y");
    assert!(matches!(refused, Err(HerderError::Version { found: 2, expected: 1, .. })));
    let stale = put(&mut world, Expect::Config(config("c", "sink", 1, "")), "z");
    assert_eq!(stale, Ok(Reply::Stale));
    assert!(put(&mut world, Expect::Config(config("c", "sink", 1, "x")), "z").is_ok());
    let view = &world.state.snapshot().connectors["c"];
    let stamp = view.stamp.clone().expect("a stamp");
    assert_eq!((stamp.version, stamp.changed_by.as_deref()), (3, Some("ann")));
    let absent = world.ask(Request::Put {
        name: "d".into(),
        config: config("d", "sink", 1, ""),
        expect: Expect::Version(1),
        who: None,
        action: "update",
    });
    assert!(world.refused(absent).contains("version 0"));
}

#[test]
fn requests_of_one_connector_take_turns() {
    let mut world = World::new();
    let create = world.create("c", "sink", 1);
    let stop = world.target("c", TargetState::Stopped);
    let delete = world.ask(Request::Delete { name: "c".into() });
    let late = world.target("c", TargetState::Paused);
    assert_eq!(world.writes.len(), 1);
    world.settle();
    assert!(matches!(world.reply(create), Ok(Reply::Connector { created: true, .. })));
    world.done(stop);
    world.done(delete);
    assert_eq!(world.refused(late), "Unknown connector c");
    assert!(world.tasks.is_empty() && world.planners.is_empty());
}

#[test]
fn changes_that_hang_are_answered_with_the_stage() {
    let mut world = World::new();
    let create = world.create("c", "sink", 1);
    let behind = world.target("c", TargetState::Paused);
    world.advance(Duration::from_secs(90));
    assert!(world.refused(create).contains("writing to the config topic"));
    assert!(world.refused(behind).contains("busy with another change to connector c"));
    // It is done late, all the same.
    world.settle();
    assert_eq!(world.shown("c"), "RUNNING [RUNNING]");
    let pause = world.target("c", TargetState::Paused);
    world.write(Ok(()));
    world.advance(Duration::from_secs(90));
    assert!(world.refused(pause).contains("reading the config topic"));
}

#[test]
fn writes_that_fail_say_so_and_plans_are_written_again() {
    let mut world = World::new();
    let create = world.create("c", "sink", 1);
    world.write(Err(WriteFailure::Refused("no broker answers".into())));
    assert!(world.refused(create).contains("no broker answers"));
    let create = world.create("c", "sink", 1);
    world.write(Err(WriteFailure::Unknown("timed out".into())));
    assert!(matches!(world.reply(create), Err(HerderError::Timeout(_))));
    world.deliver();
    world.planner_works(&"c".into());
    world.write(Err(WriteFailure::Refused("disk full".into())));
    let connector = world.state.snapshot().connectors["c"].connector.state.clone();
    assert!(
        matches!(&connector, UnitState::Waiting { reason, .. } if reason.contains("disk full")),
        "{connector:?}"
    );
    assert!(world.writes.is_empty());
    world.advance(Duration::from_secs(1));
    world.settle();
    assert_eq!(world.shown("c"), "RUNNING [RUNNING]");
}

#[test]
fn offsets_change_only_when_nothing_runs_and_nothing_starts_meanwhile() {
    let mut world = World::new();
    world.create("c", "sink", 1);
    world.settle();
    let change = || Request::ChangeOffsets { name: "c".into(), change: OffsetsChange::Reset };
    let slot = world.ask(change());
    assert_eq!(world.refused(slot), messages::must_be_stopped("c"));
    world.target("c", TargetState::Stopped);
    world.write(Ok(()));
    while world.deliver() {}
    let slot = world.ask(change());
    let resume = world.target("c", TargetState::Started);
    assert!(world.offset_changes.is_empty(), "changed under a task that is stopping");
    world.task_works(&id("c", 0));
    world.planner_works(&"c".into());
    assert_eq!(world.offset_changes.len(), 1);
    assert!(world.writes.is_empty(), "resumed while offsets change");
    world.change_offsets();
    assert_eq!(world.reply(slot), &Ok(Reply::Message("changed".into())));
    world.settle();
    world.done(resume);
    assert_eq!(world.shown("c"), "RUNNING [RUNNING]");
    let slot = world.ask(Request::ChangeOffsets { name: "d".into(), change: OffsetsChange::Reset });
    assert_eq!(world.refused(slot), "Connector d not found");
}

#[test]
fn former_producers_are_fenced_before_new_tasks_start() {
    let mut world = World::new();
    world.create("c", "tx", 2);
    world.settle();
    // Nothing was there before.
    assert!(world.fenced.is_empty());
    let ids = |n: u32| -> Vec<String> { (0..n).map(|task| format!("fleet-c-{task}")).collect() };
    assert_eq!(world.tasks[&id("c", 1)].transactional_id, Some(ids(2).remove(1)));
    world.put("c", config("c", "tx", 3, ""));
    world.write(Ok(()));
    while world.deliver() {}
    // It stops, then plans.
    world.planner_works(&"c".into());
    world.planner_works(&"c".into());
    while world.write(Ok(())) || world.deliver() {}
    assert!(world.fences.is_empty(), "fenced before the former tasks ended");
    for task in 0..2 {
        world.task_works(&id("c", task));
    }
    assert!(world.tasks.is_empty(), "started before the former tasks were fenced");
    assert_eq!(world.fences.front().map(|(_, _, fenced)| fenced.clone()), Some(ids(2)));
    world.fence(Err("not authorized".into()));
    let task = world.state.snapshot().connectors["c"].tasks[0].1.state.clone();
    assert!(
        matches!(&task, UnitState::Blocked { reason, .. } if reason.contains("not authorized")),
        "{task:?}"
    );
    assert!(world.fences.is_empty());
    world.advance(Duration::from_secs(1));
    world.settle();
    assert_eq!(world.fenced, [ids(2)]);
    assert_eq!(world.shown("c"), "RUNNING [RUNNING RUNNING RUNNING]");
    assert_eq!(world.replayed().get("c").and_then(|c| c.fenced), Some(3));
}

#[test]
fn one_task_after_one_task_needs_no_fencing_but_a_stop_between_does_not_hide_many() {
    let mut world = World::new();
    world.create("c", "tx", 1);
    world.settle();
    world.put("c", config("c", "tx", 1, "new"));
    world.settle();
    assert!(world.fenced.is_empty());
    world.put("c", config("c", "tx", 2, "new"));
    world.settle();
    assert_eq!(world.fenced.len(), 1);
    world.target("c", TargetState::Stopped);
    world.settle();
    world.put("c", config("c", "tx", 1, "new"));
    world.target("c", TargetState::Started);
    world.settle();
    assert_eq!(world.fenced.last().map(Vec::len), Some(2));
    assert_eq!(world.shown("c"), "RUNNING [RUNNING]");
}

#[test]
fn a_deleted_connectors_producers_are_fenced_when_its_name_is_used_again() {
    let mut world = World::new();
    world.create("c", "tx", 3);
    world.settle();
    world.ask(Request::Delete { name: "c".into() });
    world.settle();
    world.create("c", "tx", 1);
    world.settle();
    assert_eq!(world.fenced.last().map(Vec::len), Some(3));
}

#[test]
fn requests_wait_for_a_worker_that_starts() {
    let log = Vec::new();
    let mut world = World::taking_over(options(), log);
    world.feed(Event::Left { reason: "the session expired".into() });
    let refused = world.create("c", "sink", 1);
    assert_eq!(world.refused(refused), messages::conflicting_operation());
    world.feed(Event::Joined { generation: 2, leader: false });
    let refused = world.create("c", "sink", 1);
    assert_eq!(world.refused(refused), messages::no_leader());
}

#[test]
fn statuses_of_a_former_generation_are_overwritten() {
    let mut world = World::new();
    world.create("c", "sink", 1);
    world.settle();
    world.feed(Event::Left { reason: "the session expired".into() });
    assert!(world.tasks.values().all(|task| task.wanted == Wanted::Stopped));
    world.task_works(&id("c", 0));
    assert_eq!(world.told_state("c", 0).map(|s| s.name()), Some("UNASSIGNED"));
    let state = world.state.snapshot().connectors["c"].tasks[0].1.state.clone();
    let why =
        matches!(&state, UnitState::Blocked { reason, .. } if reason.contains("session expired"));
    assert!(why, "{state:?}");
    world.feed(Event::Joined { generation: 5, leader: true });
    world.settle();
    let told = world.told("c", 0).expect("a status");
    assert_eq!((told.state.name(), told.generation), ("RUNNING", 5));
}

#[test]
fn reading_the_topic_anew_changes_nothing_that_runs() {
    let mut world = World::new();
    world.create("a", "sink", 1);
    world.create("b", "sink", 1);
    world.settle();
    world.ask(Request::Delete { name: "b".into() });
    world.settle();
    let pause = world.target("a", TargetState::Paused);
    world.write(Ok(()));
    let counts = world.counts.clone();
    world.feed(Event::ConfigRestarts);
    for record in world.log.clone() {
        world.feed(Event::Config(record));
    }
    assert_eq!(world.counts, counts);
    world.read = world.log.len();
    world.feed(Event::ConfigCaughtUp);
    world.done(pause);
    world.settle();
    // Only what the pause stops has been stopped.
    assert_eq!(world.counted("a-0"), counts["a-0"]);
    assert_eq!(world.counted("b"), counts["b"]);
    assert_eq!(world.counted("a").starts, counts["a"].starts);
    assert_eq!(world.shown("a"), "PAUSED [PAUSED]");
}

#[test]
fn going_down_stops_everything_and_says_so() {
    let mut world = World::new();
    world.create("c", "sink", 2);
    world.settle();
    world.feed(Event::Shutdown);
    assert!(world.state.is_occupied());
    world.settle();
    assert!(!world.state.is_occupied());
    assert_eq!(world.told_state("c", 0).map(|s| s.name()), Some("UNASSIGNED"));
    let refused = world.target("c", TargetState::Paused);
    assert_eq!(world.refused(refused), messages::conflicting_operation());
}

#[test]
fn late_reports_of_former_runs_are_void() {
    let mut world = World::new();
    world.create("c", "sink", 1);
    world.settle();
    let old = world.tasks[&id("c", 0)].run;
    world.ask(Request::RestartTask { id: id("c", 0) });
    world.settle();
    let report = TaskReport::Ended(Err(failure(Action::Fail)));
    world.feed(Event::Task { id: id("c", 0), run: old, report });
    assert_eq!(world.shown("c"), "RUNNING [RUNNING]");
}

#[test]
fn two_leaders_that_write_at_once_end_with_one_whole_set() {
    let mut world = World::new();
    world.create("c", "sink", 2);
    world.settle();
    let set = |owner: &str| {
        let config = config("c", "sink", 2, owner);
        commit_records("c", &[config.clone(), config])
    };
    let (one, two) = (set("one"), set("two"));
    // Both begin; the second's commit finds a mixed set.
    for record in [&one[0], &two[0], &two[1], &one[1], &two[2], &one[2]] {
        world.log.push(record.clone());
        world.deliver();
        let owners: Vec<_> = world
            .tasks
            .values()
            .filter(|task| task.wanted != Wanted::Stopped)
            .map(|task| task.properties["extra"].clone())
            .collect();
        assert!(owners.windows(2).all(|pair| pair[0] == pair[1]), "{owners:?}");
    }
    world.settle();
    assert_eq!(world.shown("c"), "RUNNING [RUNNING RUNNING]");
    assert_eq!(world.tasks[&id("c", 0)].properties["extra"], "");
}
