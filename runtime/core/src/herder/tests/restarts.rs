//! The restart matrix of Connect's own integration test: what failed, times `includeTasks`, times
//! `onlyFailed`.

use towpath_formats::config_topic::RestartRequest;
use towpath_sdk::error::Action;

use super::world::{Count, World, failure, id};
use crate::herder::event::{Reply, Request};

#[derive(Debug, Clone, Copy)]
enum Failed {
    Nothing,
    Connector,
    AllTasks,
    OneTask,
}

/// Which of the connector and its tasks 0 and 1 a restart must touch.
fn expected(failed: Failed, request: RestartRequest) -> [bool; 3] {
    let is_failed = match failed {
        Failed::Nothing => [false, false, false],
        Failed::Connector => [true, false, false],
        Failed::AllTasks => [false, true, true],
        Failed::OneTask => [false, true, false],
    };
    let mut touched = is_failed.map(|failed| failed || !request.only_failed);
    if !request.include_tasks {
        touched[1] = false;
        touched[2] = false;
    }
    touched
}

fn check(failed: Failed, include_tasks: bool, only_failed: bool) {
    let request = RestartRequest { include_tasks, only_failed };
    let mut world = World::new();
    world.create("c", "sink", 2);
    world.settle();
    let fail = || Err(failure(Action::Fail));
    match failed {
        Failed::Nothing => {}
        Failed::Connector => world.planner_ends(&"c".into(), fail()),
        Failed::AllTasks => {
            world.task_ends(&id("c", 0), fail());
            world.task_ends(&id("c", 1), fail());
        }
        Failed::OneTask => world.task_ends(&id("c", 0), fail()),
    }
    let units = ["c", "c-0", "c-1"];
    let before = units.map(|unit| world.counted(unit));
    let status = world.status("c");
    let failed_before = [&status.connector.state, &status.tasks[0].state, &status.tasks[1].state]
        .map(|state| state.name() == "FAILED");
    let slot = world.ask(Request::Restart { name: "c".into(), request });
    world.settle();
    let touched = expected(failed, request);
    for unit in 0..3 {
        let stops = u32::from(touched[unit] && !failed_before[unit]);
        let expect = Count {
            starts: before[unit].starts + u32::from(touched[unit]),
            stops: before[unit].stops + stops,
        };
        let case = format!("{failed:?} {request:?} {}", units[unit]);
        assert_eq!(world.counted(units[unit]), expect, "{case}");
    }
    match world.reply(slot) {
        Ok(Reply::Done) => assert_eq!(request, RestartRequest::default()),
        Ok(Reply::Restarting(status)) => {
            let shown = [&status.connector.state, &status.tasks[0].state, &status.tasks[1].state]
                .map(|state| state.name() == "RESTARTING");
            assert_eq!(shown, touched, "{failed:?} {request:?}");
        }
        other => panic!("{failed:?} {request:?}: {other:?}"),
    }
}

#[test]
fn sixteen_cases() {
    for failed in [Failed::Nothing, Failed::Connector, Failed::AllTasks, Failed::OneTask] {
        for include_tasks in [false, true] {
            for only_failed in [false, true] {
                check(failed, include_tasks, only_failed);
            }
        }
    }
}

#[test]
fn what_is_unknown_can_not_be_restarted() {
    let mut world = World::new();
    let request = RestartRequest { include_tasks: true, only_failed: false };
    let slot = world.ask(Request::Restart { name: "c".into(), request });
    assert_eq!(world.refused(slot), "Unknown connector: c");
    world.create("c", "sink", 1);
    world.settle();
    let slot = world.ask(Request::RestartTask { id: id("c", 7) });
    assert_eq!(world.refused(slot), "Unknown task: c-7");
}

#[test]
fn a_restart_of_the_connector_is_answered_once_it_is_up_or_has_failed() {
    let mut world = World::new();
    world.create("c", "sink", 1);
    world.settle();
    let restart = |world: &mut World| {
        let request = RestartRequest::default();
        world.ask(Request::Restart { name: "c".into(), request })
    };
    let slot = restart(&mut world);
    assert!(!world.replies.contains_key(&slot));
    assert_eq!(world.shown("c"), "RESTARTING [RUNNING]");
    world.planner_ends(&"c".into(), Ok(()));
    assert!(!world.replies.contains_key(&slot));
    assert_eq!(world.shown("c"), "RESTARTING [RUNNING]");
    world.planner_works(&"c".into());
    world.done(slot);
    let slot = restart(&mut world);
    world.planner_ends(&"c".into(), Ok(()));
    world.planner_ends(&"c".into(), Err(failure(Action::Fail)));
    assert_eq!(world.refused(slot), "class: boom");
}
