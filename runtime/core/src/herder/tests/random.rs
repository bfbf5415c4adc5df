//! Random histories: whatever happens in whatever order, the invariants hold, and once the world calms
//! down everything is as the log says.

use std::time::Duration;

use proptest::prelude::*;
use towpath_formats::config_topic::{RestartRequest, TargetState};
use towpath_sdk::error::Action;

use super::world::{World, config, failure, id, options};
use crate::herder::configs::commit_records;
use crate::herder::event::{Event, Expect, OffsetsChange, Request, WriteFailure};
use crate::herder::view::UnitState;
use crate::task::Wanted;

/// Connectors of the histories: one with transactions, one without.
const NAMES: [(&str, &str); 2] = [("a", "sink"), ("t", "tx")];

#[derive(Debug, Clone)]
enum Act {
    Advance(u64),
    Ask(usize, Ask),
    Write(Result<(), Failing>),
    Deliver(usize),
    PlannerWorks(usize),
    PlannerFails(usize, Action),
    TaskWorks(usize, u32),
    TaskFails(usize, u32, Action),
    Fence(bool),
    ChangeOffsets,
    Leave,
    Join(bool),
    ReadAnew,
    OtherLeader(usize, usize),
}

#[derive(Debug, Clone, Copy)]
enum Failing {
    Refused,
    Unknown,
}

#[derive(Debug, Clone)]
enum Ask {
    Create(usize, TargetState),
    Put(usize, bool),
    Delete,
    Target(TargetState),
    Restart(bool, bool),
    RestartTask(u32),
    Offsets,
}

fn act() -> impl Strategy<Value = Act> {
    let name = 0..NAMES.len();
    let action = prop_oneof![Just(Action::Retry), Just(Action::Restart), Just(Action::Fail)];
    let target = || {
        prop_oneof![
            Just(TargetState::Started),
            Just(TargetState::Paused),
            Just(TargetState::Stopped)
        ]
    };
    let ask = prop_oneof![
        3 => (0_usize..4, target()).prop_map(|(tasks, target)| Ask::Create(tasks, target)),
        2 => (0_usize..4, any::<bool>()).prop_map(|(tasks, extra)| Ask::Put(tasks, extra)),
        1 => Just(Ask::Delete),
        2 => target().prop_map(Ask::Target),
        1 => any::<(bool, bool)>().prop_map(|(tasks, failed)| Ask::Restart(tasks, failed)),
        1 => (0_u32..3).prop_map(Ask::RestartTask),
        1 => Just(Ask::Offsets),
    ];
    let written = prop_oneof![
        6 => Just(Ok(())),
        1 => Just(Err(Failing::Refused)),
        1 => Just(Err(Failing::Unknown)),
    ];
    prop_oneof![
        1 => (1_u64..100_000).prop_map(Act::Advance),
        5 => (name.clone(), ask).prop_map(|(name, ask)| Act::Ask(name, ask)),
        6 => written.prop_map(Act::Write),
        6 => (1_usize..4).prop_map(Act::Deliver),
        4 => name.clone().prop_map(Act::PlannerWorks),
        1 => (name.clone(), action.clone()).prop_map(|(name, action)| Act::PlannerFails(name, action)),
        4 => (name.clone(), 0_u32..3).prop_map(|(name, task)| Act::TaskWorks(name, task)),
        1 => (name.clone(), 0_u32..3, action)
            .prop_map(|(name, task, action)| Act::TaskFails(name, task, action)),
        2 => any::<bool>().prop_map(Act::Fence),
        2 => Just(Act::ChangeOffsets),
        1 => Just(Act::Leave),
        1 => any::<bool>().prop_map(Act::Join),
        1 => Just(Act::ReadAnew),
        1 => (name, 0_usize..3).prop_map(|(name, tasks)| Act::OtherLeader(name, tasks)),
    ]
}

fn perform(world: &mut World, generation: &mut i32, act: Act) {
    match act {
        Act::Advance(ms) => world.advance(Duration::from_millis(ms)),
        Act::Ask(name, ask) => ask_for(world, NAMES[name], ask),
        Act::Write(result) => {
            let result = result.map_err(|failing| match failing {
                Failing::Refused => WriteFailure::Refused("refused".into()),
                Failing::Unknown => WriteFailure::Unknown("unknown".into()),
            });
            world.write(result);
        }
        Act::Deliver(count) => {
            for _ in 0..count {
                world.deliver();
            }
        }
        Act::PlannerWorks(name) => world.planner_works(&NAMES[name].0.into()),
        Act::PlannerFails(name, action) => {
            world.planner_ends(&NAMES[name].0.into(), Err(failure(action)));
        }
        Act::TaskWorks(name, task) => world.task_works(&id(NAMES[name].0, task)),
        Act::TaskFails(name, task, action) => {
            world.task_ends(&id(NAMES[name].0, task), Err(failure(action)));
        }
        Act::Fence(good) => {
            let result = if good { Ok(()) } else { Err("refused".to_owned()) };
            world.fence(result);
        }
        Act::ChangeOffsets => {
            world.change_offsets();
        }
        Act::Leave => world.feed(Event::Left { reason: "expelled".into() }),
        Act::Join(leader) => {
            *generation += 1;
            world.feed(Event::Joined { generation: *generation, leader });
        }
        Act::ReadAnew => {
            world.feed(Event::ConfigRestarts);
            for record in world.log.clone() {
                world.feed(Event::Config(record));
            }
            world.read = world.log.len();
            world.feed(Event::ConfigCaughtUp);
        }
        Act::OtherLeader(name, tasks) => {
            let (name, class) = NAMES[name];
            let set = vec![config(name, class, tasks, "other"); tasks];
            world.log.extend(commit_records(name, &set));
        }
    }
}

fn ask_for(world: &mut World, (name, class): (&str, &str), ask: Ask) {
    match ask {
        Ask::Create(tasks, target) => world.create_as(name, class, tasks, target),
        Ask::Put(tasks, extra) => {
            world.put(name, config(name, class, tasks, if extra { "x" } else { "" }))
        }
        Ask::Delete => world.ask(Request::Delete { name: name.into() }),
        Ask::Target(target) => world.target(name, target),
        Ask::Restart(include_tasks, only_failed) => {
            let request = RestartRequest { include_tasks, only_failed };
            world.ask(Request::Restart { name: name.into(), request })
        }
        Ask::RestartTask(task) => world.ask(Request::RestartTask { id: id(name, task) }),
        Ask::Offsets => {
            let change = OffsetsChange::Reset;
            world.ask(Request::ChangeOffsets { name: name.into(), change })
        }
    };
}

/// At any moment: nothing works that the log, as far as it was read, says should not. What is stopping
/// may take its time.
fn check_wanted(world: &World) -> Result<(), TestCaseError> {
    for (id, task) in &world.tasks {
        if task.wanted == Wanted::Stopped {
            continue;
        }
        let configured = world.state.configs.get(&id.connector);
        let target = configured.filter(|c| c.config.is_some()).map(|c| c.target());
        let wanted = match target {
            None | Some(TargetState::Stopped) => {
                return Err(TestCaseError::fail(format!("{id} works, but is {target:?}")));
            }
            Some(TargetState::Paused) => Wanted::Paused,
            Some(TargetState::Started) => Wanted::Running,
        };
        prop_assert_eq!(task.wanted, wanted);
        let set = configured.map(|c| c.tasks.clone()).unwrap_or_default();
        prop_assert_eq!(set.get(id.task as usize), Some(&task.properties), "an outdated config");
    }
    Ok(())
}

/// In the end: everything that should run runs or says why not, and nothing else does.
fn check_settled(world: &World) -> Result<(), TestCaseError> {
    prop_assert_eq!(world.replies.len() as u64, world.asked, "a request without a reply");
    let replayed = world.replayed();
    let existing: Vec<_> = replayed.existing().collect();
    prop_assert_eq!(world.state.snapshot().connectors.len(), existing.len());
    for (name, configured) in existing {
        let view = &world.state.snapshot().connectors[name];
        prop_assert_eq!(&view.config, configured.config.as_ref().expect("exists"));
        prop_assert_eq!(view.target, configured.target());
        let failed = matches!(view.connector.state, UnitState::Failed { .. });
        let planner = world.planners.contains_key(name);
        prop_assert_eq!(planner, view.target == TargetState::Started && !failed);
        if planner {
            prop_assert!(!configured.inconsistent, "nobody planned {} anew", name);
            let max: usize = view.config["tasks.max"].parse().expect("a number");
            prop_assert_eq!(configured.tasks.len(), max);
        }
        let stopped = view.target == TargetState::Stopped;
        for (number, (_, task)) in (0..).zip(&view.tasks) {
            let live = world.tasks.contains_key(&id(name, number));
            let failed =
                matches!(&task.state, UnitState::Failed { trace, .. } if !trace.is_empty());
            prop_assert!(live != (failed || stopped), "{}-{}: {:?}", name, number, task.state);
        }
    }
    for id in world.tasks.keys() {
        let set = replayed.get(&id.connector).filter(|c| c.config.is_some());
        prop_assert!(set.is_some_and(|c| c.tasks.len() > id.task as usize), "{} is nobody's", id);
    }
    Ok(())
}

/// Whatever happens, and then a calm end.
fn history(acts: Vec<Act>) -> Result<(), TestCaseError> {
    let mut world = World::with(options());
    let mut generation = 1;
    for act in acts {
        perform(&mut world, &mut generation, act);
        check_wanted(&world)?;
    }
    // Calm down: the worker leads, and all that was begun comes to its end.
    world.feed(Event::Joined { generation: generation + 1, leader: true });
    for _ in 0..4 {
        world.settle();
        world.advance(Duration::from_secs(400));
    }
    world.settle();
    check_wanted(&world)?;
    check_settled(&world)
}

#[test]
fn a_planner_that_fails_for_good_is_shown_although_a_write_was_refused_before() {
    let written = |failing| Act::Write(Err(failing));
    history(vec![
        Act::Ask(1, Ask::Put(1, false)),
        Act::Advance(1),
        written(Failing::Unknown),
        Act::Join(true),
        Act::Deliver(1),
        Act::PlannerWorks(1),
        written(Failing::Refused),
        Act::PlannerFails(1, Action::Fail),
    ])
    .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_in_any_history(acts in prop::collection::vec(act(), 1..120)) {
        history(acts)?;
    }

    /// What survives of a connector's log after compaction gives the same connector, or one that is
    /// planned anew; never a part of a task set.
    #[test]
    fn a_compacted_log_gives_a_whole_set_or_none(
        plans in prop::collection::vec(0_usize..4, 1..4),
        cut in 0_usize..20,
    ) {
        let mut world = World::new();
        for (round, tasks) in plans.iter().enumerate() {
            let config = config("a", "sink", *tasks, &round.to_string());
            let (expect, action) = (Expect::Any, "update");
            world.ask(Request::Put { name: "a".into(), config, expect, who: None, action });
            world.settle();
        }
        // Compaction keeps the latest of each key, but only up to a point.
        let cut = cut.min(world.log.len());
        let kept = world.log.iter().enumerate().filter(|(at, record)| {
            let later = world.log[at + 1..cut.max(at + 1)].iter();
            *at >= cut || !later.into_iter().any(|later| later.key() == record.key())
        });
        let log: Vec<_> = kept.map(|(_, record)| record.clone()).collect();
        let mut next = World::taking_over(options(), log);
        check_wanted(&next)?;
        next.settle();
        check_settled(&next)?;
        prop_assert_eq!(next.tasks.len(), *plans.last().expect("one plan"));
    }
}
