//! The herder in a rough world: brokers vanish, outcomes stay unknown, the seat is lost, the worker
//! crashes. Once it is calm, everything is as the users' last words say.

use std::collections::BTreeMap;
use std::time::Duration;

use towpath_sim::{Faults, SimCluster};

use super::plane::{Worker, config, id};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// What a user last said about a connector and was told that it is done; `None` where the outcome is not
/// known.
type Words = BTreeMap<&'static str, Option<&'static str>>;

async fn rough(seed: u64) {
    let cluster = SimCluster::new(seed, Faults::rough());
    let mut worker = Worker::start(&cluster);
    let mut words = Words::new();
    for step in 0..40 {
        tokio::time::sleep(cluster.between(Duration::ZERO, Duration::from_secs(20))).await;
        if cluster.chance(0.05) {
            worker.crash().await;
            worker = Worker::start(&cluster);
        }
        let name = NAMES[cluster.pick(NAMES.len())];
        let herder = &worker.herder;
        let (word, told) = match cluster.pick(6) {
            0 | 1 => {
                let class = ["source", "tx-source", "sink"][cluster.pick(3)];
                let config = config(class, &[("step", &format!("{step}"))]);
                ("STARTED", herder.put_config(name, config, None, None).await.map(drop))
            }
            2 => ("DELETED", herder.delete(name, None).await.map(drop)),
            3 => ("PAUSED", herder.pause(name, None).await),
            4 => ("STOPPED", herder.stop(name, None).await),
            _ => ("STARTED", herder.resume(name, None).await),
        };
        match (word, told) {
            // A new config leaves the state as it is, unless it creates the connector.
            ("STARTED", Ok(())) if words.get(name).is_some_and(|word| *word != Some("DELETED")) => {
                words.insert(name, None);
            }
            (word, Ok(())) => drop(words.insert(name, Some(word))),
            (_, Err(towpath_core::herder::HerderError::NotFound(_))) => {}
            (_, Err(_)) => drop(words.insert(name, None)),
        }
    }
    cluster.calm();
    for (name, word) in words {
        match word {
            Some("DELETED") => {
                worker.shows(name, &format!("No status found for connector {name}")).await
            }
            Some("PAUSED") => settled(&worker, name, "PAUSED").await,
            Some("STOPPED") => worker.shows(name, "STOPPED []").await,
            Some(_) => worker.shows(name, "RUNNING [RUNNING RUNNING]").await,
            None => {}
        }
    }
    worker.stop().await.expect("a good end");
}

/// A paused connector has its tasks, or none if it never ran.
async fn settled(worker: &Worker, name: &str, state: &str) {
    for _ in 0..4_000 {
        if let Ok(status) = worker.herder.status(name).await {
            let tasks = status.tasks.iter().all(|task| task.state.name() == state);
            if tasks && status.connector.state.name() == state {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{name} never shows {state}");
}

#[test]
fn users_last_words_hold_in_a_rough_world() {
    for seed in 0..12 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        println!("seed {seed}");
        runtime.block_on(rough(seed));
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_task_set_is_run_whole_after_a_crash_at_any_point() {
    for millis in (0..400).step_by(20) {
        let cluster = SimCluster::new(millis, Faults::slow());
        let worker = Worker::start(&cluster);
        worker.herder.create("c", config("tx-source", &[]), None, None).await.expect("created");
        worker.shows("c", "RUNNING [RUNNING RUNNING]").await;
        let changed = config("tx-source", &[("tasks.max", "3")]);
        let put = worker.herder.put_config("c", changed, None, None);
        drop(tokio::time::timeout(Duration::from_millis(millis), put).await);
        worker.crash().await;
        let worker = Worker::start(&cluster);
        let (config, _) = worker.herder.config("c").await.expect("a config");
        match config.text("tasks.max") {
            Some("3") => worker.shows("c", "RUNNING [RUNNING RUNNING RUNNING]").await,
            _ => worker.shows("c", "RUNNING [RUNNING RUNNING]").await,
        }
        let running = worker.plane.running();
        assert!(running.values().all(|p| p.get("tasks.max") == config.text("tasks.max")));
        assert!(running.contains_key(&id("c", 0)));
        worker.stop().await.expect("a good end");
    }
}
