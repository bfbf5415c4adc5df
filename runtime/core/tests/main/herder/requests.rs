//! Requests, their refusals, and connectors that hang.

use std::time::Duration;

use towpath_core::herder::HerderError;
use towpath_formats::{PatchMap, Properties, messages};

use super::plane::{Worker, cluster, config, id, options};

fn patch(entries: &[(&str, Option<&str>)]) -> PatchMap {
    entries.iter().map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned))).collect()
}

#[tokio::test(start_paused = true)]
async fn wrong_configs_are_refused_in_connects_words() {
    let worker = Worker::start(&cluster());
    let herder = &worker.herder;
    let refused = async |name: &str, config: Properties| {
        herder.create(name, config, None, None).await.expect_err("refused")
    };
    let mismatch = refused("x", config("sink", &[("name", "y")])).await;
    assert_eq!(mismatch, HerderError::Invalid(messages::name_mismatch("y", "x")));
    let class = refused("x", config("nope", &[])).await;
    assert_eq!(class, HerderError::Invalid("no such class".into()));
    let wrong = refused("x", config("sink", &[("wrong", "a;b")])).await;
    assert_eq!(wrong, HerderError::Invalid(messages::invalid_config(&["a", "b"])));
    let panics = refused("x", config("sink", &[("wrong", "panic")])).await;
    assert!(matches!(panics, HerderError::Internal(_)), "{panics}");
    herder.create("x", config("sink", &[]), None, None).await.expect("created");
    let exists = refused("x", config("sink", &[])).await;
    assert_eq!(exists, HerderError::Exists(messages::connector_exists("x")));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there() {
    let worker = Worker::start(&cluster());
    let herder = &worker.herder;
    let not_found = |text: &str| Some(HerderError::NotFound(text.to_owned()));
    assert_eq!(herder.info("x").await.err(), not_found("Connector x not found"));
    assert_eq!(herder.config("x").await.err(), not_found("Connector x not found"));
    assert_eq!(herder.tasks("x").await.err(), not_found("Connector x not found"));
    assert_eq!(herder.offsets("x").await.err(), not_found("Connector x not found"));
    assert_eq!(herder.detail("x").await.err(), not_found("Connector x not found"));
    assert_eq!(herder.delete("x", None).await.err(), not_found("Connector x not found"));
    assert_eq!(herder.reset_offsets("x", None).await.err(), not_found("Connector x not found"));
    let empty = patch(&[]);
    let patched = herder.patch_config("x", &empty, None, None).await;
    assert_eq!(patched.err(), not_found("Connector x not found"));
    assert_eq!(herder.pause("x", None).await.err(), not_found("Unknown connector x"));
    assert_eq!(herder.stop("x", None).await.err(), not_found("Unknown connector x"));
    let restart = herder.restart("x", false, false, None).await;
    assert_eq!(restart.err(), not_found("Unknown connector: x"));
    assert_eq!(herder.status("x").await.err(), not_found("No status found for connector x"));
    let task = herder.task_status("x", 3).await;
    assert_eq!(task.err(), not_found("No status found for task x-3"));
    let topics = herder.active_topics("x").await.expect("topics");
    assert_eq!(topics.of("x"), Some(&[][..]));
}

#[tokio::test(start_paused = true)]
async fn patches_made_at_the_same_time_are_all_there() {
    let worker = Worker::start(&cluster());
    let herder = &worker.herder;
    herder.create("c", config("sink", &[("d", "gone")]), None, None).await.expect("created");
    let (one, two, three) =
        (patch(&[("a", Some("1"))]), patch(&[("b", Some("2"))]), patch(&[("d", None)]));
    let (one, two, three) = tokio::join!(
        herder.patch_config("c", &one, None, None),
        herder.patch_config("c", &two, None, None),
        herder.patch_config("c", &three, None, None),
    );
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    let (config, version) = herder.config("c").await.expect("a config");
    assert_eq!(
        (config.text("a"), config.text("b"), config.text("d")),
        (Some("1"), Some("2"), None)
    );
    assert_eq!(version, 4);
    let stale = herder.put_config("c", Properties::clone(&config), Some(3), None).await;
    assert!(matches!(stale, Err(HerderError::Version { found: 4, expected: 3, .. })));
}

#[tokio::test(start_paused = true)]
async fn a_connector_that_hangs_hangs_alone() {
    let worker = Worker::start(&cluster());
    let herder = &worker.herder;
    let hanging = config("source", &[("planner", "hang")]);
    herder.create("h", hanging, None, None).await.expect("created");
    worker.shows("h", "UNASSIGNED []").await;
    let restart = herder.restart("h", false, false, None).await.expect_err("it hangs");
    assert!(
        matches!(&restart, HerderError::Timeout(text) if text.contains("restarting connector h"))
    );
    herder.create("c", config("sink", &[]), None, None).await.expect("created");
    worker.shows("c", "RUNNING [RUNNING RUNNING]").await;
    herder.delete("h", None).await.expect("deleted");
    assert!(herder.info("h").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn whoever_deletes_a_connector_learns_what_stays() {
    let worker = Worker::start(&cluster());
    let herder = &worker.herder;
    let made = async |entries: &[(&str, &str)]| {
        herder.create("c", config("source", entries), None, None).await.expect("created");
        let detail = herder.detail("c").await.expect("a detail");
        let said = herder.delete("c", None).await.expect("deleted");
        (detail.leftovers.len(), said)
    };
    assert_eq!(made(&[]).await, (0, Vec::new()));
    assert_eq!(made(&[("leaves", "x")]).await, (1, vec!["thing x stays: remove it".to_owned()]));
    // Nothing was to be removed so far, and stopping removes nothing.
    let removes = config("source", &[("leaves", "x"), ("removes", "y")]);
    herder.create("c", removes, None, None).await.expect("created");
    herder.stop("c", None).await.expect("stopped");
    assert_eq!(worker.plane.deleted(), Vec::new());
    let said = herder.delete("c", None).await.expect("deleted");
    assert_eq!(said, ["thing x stays: remove it"]);
    assert_eq!(worker.plane.deleted().len(), 1);
    let (all, said) = made(&[("removes", "hard")]).await;
    assert_eq!((all, said.len()), (1, 1));
    assert!(said[0].contains("could not be removed: it is too hard"), "{said:?}");
    assert!(herder.info("c").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn defects_and_refusals_of_connectors_show() {
    let worker = Worker::start(&cluster());
    let herder = &worker.herder;
    for (name, planner) in [("p", "panic"), ("r", "refuse")] {
        let config = config("source", &[("planner", planner)]);
        herder.create(name, config, None, None).await.expect("created");
        worker.shows(name, "FAILED []").await;
    }
    let trace = herder.status("p").await.expect("a status").connector.trace.expect("a trace");
    assert!(trace.contains("a defect in the planner"), "{trace}");
    let trace = herder.status("r").await.expect("a status").connector.trace.expect("a trace");
    assert!(trace.ends_with("ConfigException: it never works"), "{trace}");
    let restart = herder.restart("r", false, false, None).await.expect_err("it fails again");
    assert!(matches!(restart, HerderError::Internal(text) if text.contains("it never works")));
}

#[tokio::test(start_paused = true)]
async fn a_failing_task_is_restarted_by_itself_and_says_so() {
    let worker = Worker::start(&cluster());
    let failing = config("sink", &[("task", "fail"), ("tasks.max", "1")]);
    worker.herder.create("c", failing, None, None).await.expect("created");
    while worker.plane.started(&id("c", 0)) < 4 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    worker.shows("c", "RUNNING [FAILED]").await;
    let detail = worker.herder.detail("c").await.expect("a detail");
    let task = &detail.tasks[0].unit;
    assert_eq!((task.state, task.attempt, task.restarts), ("restarting", Some(4), 3));
    assert!(task.next_try_ms > task.since_ms, "{task:?}");
    assert!(task.reason.as_deref().is_some_and(|reason| reason.ends_with("it broke")));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_waits_is_running_to_connects_clients_and_says_why_to_ours() {
    let worker = Worker::start(&cluster());
    let waiting = config("sink", &[("task", "wait")]);
    let who = Some("ann".to_owned());
    worker.herder.create("c", waiting, None, who).await.expect("created");
    worker.shows("c", "RUNNING [RUNNING RUNNING]").await;
    let detail = worker.herder.detail("c").await.expect("a detail");
    let json = serde_json::to_value(&detail).expect("JSON");
    let task = &json["tasks"][0];
    assert_eq!(task["state"], "waiting");
    assert_eq!(task["reason"], "target refused connections");
    assert!(task["since_ms"].is_i64());
    assert_eq!(task["lag"], 7);
    assert_eq!(task["guarantee"]["because"], "it is a test");
    assert_eq!(json["config"]["version"], 1);
    assert_eq!(json["config"]["changed_by"], "ann");
    assert_eq!(json["target_state"], "STARTED");
}

#[tokio::test(start_paused = true)]
async fn active_topics_are_noted_reset_and_noted_anew() {
    let worker = Worker::start(&cluster());
    let herder = &worker.herder;
    let with_topic = config("sink", &[("topic", "t")]);
    herder.create("c", with_topic, None, None).await.expect("created");
    let topics = async || {
        let topics = herder.active_topics("c").await.expect("topics");
        topics.of("c").map(<[String]>::to_vec).unwrap_or_default()
    };
    while topics().await != ["t"] {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    herder.pause("c", None).await.expect("paused");
    worker.shows("c", "PAUSED [PAUSED PAUSED]").await;
    herder.reset_topics("c", None).await.expect("reset");
    assert!(topics().await.is_empty());
    herder.resume("c", None).await.expect("resumed");
    while topics().await != ["t"] {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut silent = options();
    silent.group_id = "other".into();
    silent.topic_tracking = false;
    let silent = Worker::with(&cluster(), silent);
    let refused = silent.herder.active_topics("c").await.expect_err("refused");
    assert_eq!(refused, HerderError::Forbidden(messages::topic_tracking_disabled()));
}

#[tokio::test(start_paused = true)]
async fn levels_of_loggers_reach_every_worker() {
    let (sender, mut levels) = tokio::sync::mpsc::channel(4);
    let mut options = options();
    options.loggers = Some(std::sync::Arc::new(move |logger: &str, level: &str| {
        sender.try_send((logger.to_owned(), level.to_owned())).expect("room");
    }));
    let worker = Worker::with(&cluster(), options);
    worker.herder.set_fleet_log_level("a.b", "debug", None).await.expect("set");
    assert_eq!(levels.recv().await, Some(("a.b".to_owned(), "debug".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn lists_can_be_expanded() {
    let worker = Worker::start(&cluster());
    let herder = &worker.herder;
    herder.create("c", config("sink", &[]), None, None).await.expect("created");
    worker.shows("c", "RUNNING [RUNNING RUNNING]").await;
    for (status, info) in [(false, false), (true, false), (false, true), (true, true)] {
        let expanded = herder.connectors_expanded(status, info).await.expect("a list");
        let c = &expanded["c"];
        assert_eq!((c.status.is_some(), c.info.is_some()), (status, info));
    }
}
