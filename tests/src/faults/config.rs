//! Wrong configurations: everything that is wrong is said at once.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::rig::{Rig, s3_sink};
use crate::server;
use crate::with;

/// Of a connector, by PUT and by validation; and of a worker.
pub(super) async fn wrong() -> Result<()> {
    let rig = Rig::ready("config", "").await?;
    let name = rig.name("sink");
    let config = with(
        s3_sink("t", "b")?,
        json!({
            "name": name, "tasks.max": "0", "s3.part.size": "1",
            "errors.tolerance": "some", "timezone": "Nowhere/Land", "rotate.interval.ms": "soon",
            "partitioner.class": "io.confluent.connect.storage.partitioner.TimeBasedPartitioner",
            "path.format": "YYYY", "partition.duration.ms": "-5", "value.converter": "no.such.Converter",
        }),
    );
    // Each key with a part of what would be right.
    let expect = [
        ("rotate.interval.ms", "soon"),
        ("tasks.max", "at least 1"),
        ("s3.part.size", "5242880"),
        ("errors.tolerance", "none, all"),
        ("value.converter", "no.such.Converter"),
        ("partition.duration.ms", "positive"),
    ];
    let (status, answer) =
        rig.worker.put_path(&format!("/connectors/{name}/config"), &config).await?;
    ensure!(status == 400, "a wrong config got {status}: {answer}");
    let message = answer["message"].as_str().unwrap_or_default();
    for (key, remedy) in expect {
        let said = message.lines().any(|line| line.contains(key) && line.contains(remedy));
        ensure!(said, "the answer does not say {remedy:?} of {key}:\n{message}");
    }
    let (status, answer) =
        rig.worker.put_path("/connector-plugins/S3SinkConnector/config/validate", &config).await?;
    ensure!(status == 200, "validation got {status}: {answer}");
    for (key, remedy) in expect {
        let errors = errors_of(&answer, key);
        ensure!(errors.contains(remedy), "validation does not say {remedy:?} of {key}: {errors}");
    }
    let listed = rig.worker.get("/connectors").await?;
    ensure!(listed == json!([]), "a refused connector is there: {listed}");
    rig.end().await?;
    worker().await
}

fn errors_of(validation: &Value, key: &str) -> String {
    let configs = validation["configs"].as_array().into_iter().flatten();
    let values = configs.map(|config| &config["value"]).filter(|value| value["name"] == key);
    values.map(|value| value["errors"].to_string()).collect()
}

async fn worker() -> Result<()> {
    let wrong = "offset.flush.interval.ms=soon\nlisteners=ftp://127.0.0.1:1\n\
                 key.converter=\nexactly.once.source.support=perhaps\nproducer.acks=two";
    let mut rig = Rig::planned("worker-config", &server("TOWPATH_TEST_KAFKA")?, wrong)?;
    rig.worker.start()?;
    let status = rig.worker.ended().await?;
    ensure!(!status.success(), "a worker with wrong settings ended as if all were well");
    let log = rig.worker.logged()?;
    for key in
        ["offset.flush.interval.ms", "listeners", "key.converter", "exactly.once.source.support"]
    {
        ensure!(log.contains(key), "the worker does not say that {key} is wrong:\n{log}");
    }
    std::fs::remove_dir_all(&rig.dir)?;
    Ok(())
}
