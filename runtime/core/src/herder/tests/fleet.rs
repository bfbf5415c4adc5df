//! What a worker does that is not the leader, and how statuses of others show.

use towpath_formats::status_topic::{State, Status, StatusRecord};

use super::world::{World, options};
use crate::herder::event::Event;

fn status(state: State, generation: i32) -> Option<Status> {
    Some(Status { state, trace: None, worker_id: "b:1".into(), generation, version: None })
}

#[test]
fn a_follower_runs_nothing_and_shows_what_others_say() {
    let mut world = World::new();
    world.create("c", "sink", 1);
    world.settle();
    world.feed(Event::Joined { generation: 2, leader: false });
    world.settle();
    assert!(world.tasks.is_empty() && world.planners.is_empty());
    let record =
        StatusRecord::Task { connector: "c".into(), task: 0, status: status(State::Running, 2) };
    world.feed(Event::Status(record));
    let shown = world.status("c");
    assert_eq!(shown.tasks[0].worker_id, "b:1");
    assert_eq!(shown.tasks[0].state, State::Running);
}

#[test]
fn statuses_of_connectors_that_are_gone_are_removed_by_the_leader() {
    let mut world = World::taking_over(options(), Vec::new());
    let record =
        StatusRecord::Connector { connector: "gone".into(), status: status(State::Running, 1) };
    let key = record.key();
    world.feed(Event::Status(record));
    assert_eq!(world.statuses[&key].to_key_value().1, None);
}
