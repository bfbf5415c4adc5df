//! One connector cannot hurt another.
//!
//! A whole worker runs a steady pipeline and, beside it, connectors that block, burn, panic or take too
//! much in every call that they have. The pipeline goes on, the API answers, the culprit's status says
//! what is wrong, and it can be deleted.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod faulty;
mod worker;

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use faulty::{HEARD, RELEASED, SIBLINGS, WRITTEN};
use worker::{Worker, until};

/// A call that goes wrong, and what the status says then: of the connector itself or of its task.
struct Case {
    class: &'static str,
    at: &'static str,
    how: &'static str,
    of: Of,
    says: &'static str,
}

#[derive(Clone, Copy, PartialEq)]
enum Of {
    Connector,
    Task,
    /// It shows only when the connector is deleted.
    Nobody,
}

impl Case {
    fn name(&self) -> String {
        format!("{}-{}-{}", self.class, self.at, self.how)
    }

    fn config(&self) -> Value {
        json!({
            "connector.class": self.class, "at": self.at, "how": self.how,
            "to": "faulty", "topics": "steady", "towpath.buffer.bytes": "65536",
            "tasks.max": "1",
        })
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |class, at, of| {
        cases.push(Case { class, at, how: "panic", of, says: "panicked: on purpose" });
        // By whom, once all of its threads are; before that, for how long one is.
        let says = if of == Of::Nobody { "" } else { " held " };
        cases.push(Case { class, at, how: "block", of, says });
    };
    for at in ["start", "plan", "changed"] {
        add("faulty-source", at, Of::Connector);
    }
    for at in ["task", "poll", "acknowledge"] {
        add("faulty-source", at, Of::Task);
    }
    for at in ["task", "open", "lane", "write", "wake"] {
        add("faulty-sink", at, Of::Task);
    }
    for (class, at) in [
        ("faulty-source", "stop"),
        ("faulty-source", "drop"),
        ("faulty-sink", "drain"),
        ("faulty-sink", "close"),
        ("faulty-sink", "stop"),
    ] {
        add(class, at, Of::Nobody);
    }
    let burns = "burns the core";
    for (class, at) in [("faulty-source", "poll"), ("faulty-sink", "write")] {
        cases.push(Case { class, at, how: "burn", of: Of::Task, says: burns });
    }
    let (class, at) = ("faulty-source", "poll");
    let says = "keep to the budget of its polls";
    cases.push(Case { class, at, how: "greed", of: Of::Task, says });
    cases
}

fn reason(unit: &Value) -> &str {
    unit["reason"].as_str().unwrap_or_default()
}

/// The steady pipeline moves more records, and the API answers.
fn goes_on(worker: &Worker) {
    let before = WRITTEN.load(Ordering::Relaxed);
    let moves = until(|| WRITTEN.load(Ordering::Relaxed) > before + 20);
    assert!(moves, "the steady pipeline stands still at {before} records");
    for path in ["/", "/connectors?expand=status", "/metrics", "/health"] {
        assert_eq!(worker.ask("GET", path, &Value::Null).0, 200, "{path}");
    }
}

fn create(worker: &Worker, name: &str, config: &Value) {
    let created = until(|| worker.create(name, config.clone()).0 == 201);
    assert!(created, "{name}: {:?}", worker.create(name, config.clone()));
}

#[test]
fn one_connector_cannot_hurt_another() {
    let worker = Worker::start();
    let steady = |class: &str| json!({"connector.class": class, "topics": "steady"});
    create(&worker, "steady-source", &steady("faulty-source"));
    create(&worker, "steady-sink", &steady("faulty-sink"));
    goes_on(&worker);

    let cases = cases();
    for case in &cases {
        create(&worker, &case.name(), &case.config());
    }
    goes_on(&worker);
    for case in &cases {
        let fits = |detail: &Value| match case.of {
            Of::Connector => reason(&detail["connector"]).contains(case.says),
            Of::Task => reason(&detail["tasks"][0]).contains(case.says),
            Of::Nobody => detail["tasks"][0]["state"] == "running",
        };
        worker.shows(&case.name(), case.says, fits);
    }
    goes_on(&worker);
    let metrics = worker.ask("GET", "/metrics", &Value::Null).1;
    let stalls = r#"towpath_task_stalls_total{connector="faulty-source-poll-block",task="0"} "#;
    let counted = metrics.lines().find_map(|line| line.strip_prefix(stalls)).unwrap_or("none");
    assert!(counted.parse::<u64>().is_ok_and(|n| n > 0), "{counted} stalls of poll");

    for case in &cases {
        let name = case.name();
        // To delete it asks for little; its tasks end, or are left behind, in bounded time.
        assert_eq!(
            worker.ask("DELETE", &format!("/connectors/{name}"), &Value::Null).0,
            204,
            "{name}"
        );
    }
    goes_on(&worker);
    let left = || worker.ask("GET", "/connectors", &Value::Null).1;
    assert!(
        until(|| serde_json::from_str::<Vec<String>>(&left()).is_ok_and(|l| l.len() == 2)),
        "{}",
        left()
    );
    // Whoever was deleted while it hung can be made anew, with better manners.
    let sound = json!({"connector.class": "faulty-source", "to": "faulty"});
    create(&worker, "faulty-source-poll-block", &sound);
    worker.shows("faulty-source-poll-block", "running", |detail| {
        detail["tasks"][0]["state"] == "running"
    });

    signals(&worker);
    siblings(&worker);
    pure_calls(&worker);
    goes_on(&worker);
    RELEASED.store(true, Ordering::Relaxed);
    worker.shows("siblings", "that the culprit is back", |detail| {
        detail["tasks"][0]["state"] == "running"
    });
}

/// A signal reaches the tasks that listen; where none does, whoever sends it is told.
fn signals(worker: &Worker) {
    let config = json!({"connector.class": "faulty-source", "at": "signal", "to": "faulty"});
    create(worker, "signalled", &config);
    let signal = json!({"id": "s1", "type": "execute-snapshot", "data": {"type": "incremental"}});
    let path = "/towpath/v1/connectors/signalled/signals";
    let heard = until(|| worker.ask("POST", path, &signal).0 == 202);
    assert!(heard, "{:?}", worker.ask("POST", path, &signal));
    assert!(until(|| HEARD.load(Ordering::Relaxed) > 0), "the signal did not arrive");
    let deaf = "/towpath/v1/connectors/steady-sink/signals";
    assert_eq!(worker.ask("POST", deaf, &signal).0, 409);
    let nobody = "/towpath/v1/connectors/nobody/signals";
    assert_eq!(worker.ask("POST", nobody, &signal).0, 404);
}

/// Tasks that hold all threads of their own connector do not keep a sound one of it from going on.
fn siblings(worker: &Worker) {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let config = json!({
        "connector.class": "faulty-source", "at": "poll", "how": "block", "to": "faulty",
        "tasks.max": (cores + 1).to_string(), "sound.from": cores.to_string(),
    });
    create(worker, "siblings", &config);
    for culprit in 0..cores {
        worker.shows("siblings", "who holds the threads", |detail| {
            reason(&detail["tasks"][culprit]).contains("held its thread")
        });
    }
    let at = SIBLINGS.load(Ordering::Relaxed);
    assert!(until(|| SIBLINGS.load(Ordering::Relaxed) > at + 20), "the sound sibling stands still");
}

/// Calls that validation makes hang or panic without taking the API along.
fn pure_calls(worker: &Worker) {
    for (at, how) in [("validate", "panic"), ("validate", "block"), ("guarantee", "block")] {
        let class = "faulty-sink";
        let config = json!({"connector.class": class, "topics": "steady", "at": at, "how": how});
        let (status, body) = worker.create(&format!("pure-{at}-{how}"), config);
        assert_eq!(status, 500, "{at} {how}: {body}");
        goes_on(worker);
    }
    let name = "faulty-source-poll-block";
    let config = json!({"connector.class": "faulty-source", "at": "check_offset", "how": "panic"});
    let put = worker.ask("PUT", &format!("/connectors/{name}/config"), &config);
    assert_eq!(put.0, 200, "{}", put.1);
    assert_eq!(worker.ask("PUT", &format!("/connectors/{name}/stop"), &Value::Null).0, 204);
    let offsets = json!({"offsets": [{"partition": {"task": 0}, "offset": {"next": 1}}]});
    let path = format!("/connectors/{name}/offsets");
    let refused = until(|| {
        let (status, body) = worker.ask("PATCH", &path, &offsets);
        status == 500 && body.contains("check the offsets")
    });
    assert!(refused, "{:?}", worker.ask("PATCH", &path, &offsets));
}
