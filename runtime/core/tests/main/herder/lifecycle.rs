//! Connectors and workers that come and go.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use towpath_core::ports::{Cluster, PortErrorKind, TableEvent};
use towpath_formats::rest::{HealthStatus, InitialState};
use towpath_formats::status_topic::{State, StatusRecord};

use super::plane::{Worker, cluster, config, id, options};

#[tokio::test(start_paused = true)]
async fn a_connector_lives_and_dies() {
    let worker = Worker::start(&cluster());
    let herder = &worker.herder;
    assert!(herder.connectors().await.expect("a list").is_empty());
    let who = Some("ann".to_owned());
    let created = herder.create("c", config("source", &[]), None, who).await.expect("created");
    assert!(created.created && created.info.tasks.is_empty());
    assert_eq!(created.info.config.text("name"), Some("c"));
    worker.shows("c", "RUNNING [RUNNING RUNNING]").await;
    assert_eq!(herder.connectors().await.expect("a list"), ["c"]);
    assert_eq!(herder.info("c").await.expect("an info").tasks.len(), 2);
    let tasks = herder.tasks("c").await.expect("tasks");
    assert_eq!(tasks[1].config.text("share"), Some("1"));
    assert_eq!(worker.plane.running()[&id("c", 1)].get("share"), Some("1"));
    let status = herder.task_status("c", 0).await.expect("a status");
    assert_eq!((status.worker_id.as_str(), status.version.as_deref()), ("a:1", Some("1.2")));
    herder.delete("c", None).await.expect("deleted");
    assert!(herder.info("c").await.is_err());
    worker.stop().await.expect("a good end");
}

#[tokio::test(start_paused = true)]
async fn all_target_states() {
    let worker = Worker::start(&cluster());
    let herder = &worker.herder;
    let stopped = Some(InitialState::Stopped);
    herder.create("c", config("sink", &[]), stopped, None).await.expect("created");
    worker.shows("c", "STOPPED []").await;
    herder.resume("c", None).await.expect("resumed");
    worker.shows("c", "RUNNING [RUNNING RUNNING]").await;
    herder.pause("c", None).await.expect("paused");
    worker.shows("c", "PAUSED [PAUSED PAUSED]").await;
    herder.stop("c", None).await.expect("stopped");
    worker.shows("c", "STOPPED []").await;
    assert!(worker.plane.running().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_successor_takes_over_after_a_crash() {
    let cluster = cluster();
    let worker = Worker::start(&cluster);
    for (name, class) in [("a", "source"), ("b", "tx-source"), ("c", "sink")] {
        worker.herder.create(name, config(class, &[]), None, None).await.expect("created");
        worker.shows(name, "RUNNING [RUNNING RUNNING]").await;
    }
    worker.herder.pause("c", None).await.expect("paused");
    worker.crash().await;
    let worker = Worker::start(&cluster);
    worker.shows("a", "RUNNING [RUNNING RUNNING]").await;
    worker.shows("b", "RUNNING [RUNNING RUNNING]").await;
    worker.shows("c", "PAUSED [PAUSED PAUSED]").await;
    // From what was stored: nothing is planned differently, so nothing starts twice.
    assert_eq!(worker.plane.started(&id("a", 0)), 1);
    let (config, version) = worker.herder.config("a").await.expect("a config");
    assert_eq!((config.text("name"), version), (Some("a"), 1));
}

#[tokio::test(start_paused = true)]
async fn a_second_worker_of_the_fleet_is_refused_with_the_reason() {
    let cluster = cluster();
    let first = Worker::start(&cluster);
    assert!(first.herder.connectors().await.is_ok());
    let mut second = options();
    second.worker_id = "b:1".into();
    let second = Worker::with(&cluster, second);
    let error = second.ended().await.expect_err("refused");
    assert_eq!(error.kind, PortErrorKind::Occupied);
    assert!(error.text.contains("a:1"), "{error}");
    assert_eq!(first.herder.health().await.status, HealthStatus::Healthy);
}

#[tokio::test(start_paused = true)]
async fn health_says_what_it_waits_for() {
    let cluster = cluster();
    let first = Worker::start(&cluster);
    assert!(first.herder.connectors().await.is_ok());
    assert_eq!(first.herder.health().await.status, HealthStatus::Healthy);
    let mut second = options();
    second.worker_id = "b:1".into();
    let second = Worker::with(&cluster, second);
    let error = second.herder.connectors().await.expect_err("no seat");
    assert!(error.to_string().contains("join the fleet"), "{error}");
    let health = second.herder.health().await;
    assert_eq!(health.status, HealthStatus::Starting);
    assert!(health.message.contains("a:1"), "{}", health.message);
    // The seat becomes free, and the second worker takes over by itself.
    first.stop().await.expect("a good end");
    assert!(second.herder.connectors().await.is_ok());
    assert_eq!(second.herder.health().await.status, HealthStatus::Healthy);
}

#[tokio::test(start_paused = true)]
async fn a_seat_that_is_lost_stops_the_tasks_until_it_is_won_back() {
    let cluster = cluster();
    let worker = Worker::start(&cluster);
    worker.herder.create("c", config("sink", &[]), None, None).await.expect("created");
    worker.shows("c", "RUNNING [RUNNING RUNNING]").await;
    cluster.world().cluster().expel_worker("fleet");
    while worker.plane.started(&id("c", 0)) < 2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    worker.shows("c", "RUNNING [RUNNING RUNNING]").await;
}

#[tokio::test(start_paused = true)]
async fn going_down_leaves_statuses_that_are_true() {
    let cluster = cluster();
    let worker = Worker::start(&cluster);
    worker.herder.create("c", config("sink", &[]), None, None).await.expect("created");
    worker.shows("c", "RUNNING [RUNNING RUNNING]").await;
    let plane = std::sync::Arc::clone(&worker.plane);
    worker.stop().await.expect("a good end");
    assert!(plane.running().is_empty());
    let table = cluster.table(options().status_topic).await.expect("a table");
    let mut events = table.follow().await.expect("a follower");
    let mut last = std::collections::BTreeMap::new();
    while let Some(TableEvent::Entries(entries)) = events.recv().await {
        for entry in entries {
            let record = StatusRecord::parse(&entry.key, entry.value.as_deref());
            last.insert(entry.key, record.expect("readable"));
        }
    }
    let states = last.values().filter_map(|record| match record {
        StatusRecord::Task { status, .. } | StatusRecord::Connector { status, .. } => {
            status.as_ref().map(|status| status.state)
        }
        _ => None,
    });
    assert_eq!(states.collect::<Vec<_>>(), [State::Unassigned; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_told_to_end_before_it_has_begun_ends() {
    let cancel = CancellationToken::new();
    cancel.cancel();
    let worker = Worker::start(&cluster());
    assert!(worker.stop().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_task_that_never_stops_does_not_keep_the_worker_up() {
    let worker = Worker::start(&cluster());
    let deaf = config("sink", &[("task", "deaf")]);
    worker.herder.create("c", deaf, None, None).await.expect("created");
    worker.shows("c", "RUNNING [RUNNING RUNNING]").await;
    // It is told; the connector is gone for its users; its name shows what is still stopping.
    worker.herder.stop("c", None).await.expect("stopped");
    worker.shows("c", "STOPPED []").await;
    worker.stop().await.expect("a good end");
}
