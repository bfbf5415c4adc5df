//! A topic that can't have as many replicas as asked for.

use anyhow::Result;
use serde_json::json;

use super::rig::{Rig, append, check_lines, file_sink, lines, source};
use crate::kafka::Kafka;
use crate::server;
use crate::with;

/// Three replicas on one broker: for an internal topic, a source's topic and a dead letter queue. Each
/// is waited for, and somebody who makes the topic ends the waiting.
pub(super) async fn too_few() -> Result<()> {
    let kafka = Kafka::connect()?;
    let three = "config.storage.replication.factor=3";
    let mut rig = Rig::planned("replicas", &server("TOWPATH_TEST_KAFKA")?, three)?;
    rig.worker.start()?;
    let configs = rig.name("configs");
    rig.health_says(&[
        &configs,
        "fewer brokers are up than replicas",
        "lower the replication factor",
    ])
    .await?;
    kafka.create(&configs, &[("cleanup.policy", "compact")]).await?;
    rig.worker.ready().await?;

    let (input, output) = (rig.file("in"), rig.file("out"));
    let (topic, letters) = (rig.name("topic"), rig.name("letters"));
    append(&input, &lines(0, 100))?;
    let replicas = json!({ "topic.creation.default.replication.factor": "3" });
    rig.worker.put(&rig.name("source"), &with(source(&input, &topic), replicas)).await?;
    let queue = json!({
        "errors.tolerance": "all", "errors.deadletterqueue.topic.name": letters,
    });
    rig.worker.put(&rig.name("sink"), &with(file_sink(&topic, &output), queue)).await?;
    let few = "fewer brokers are up than replicas are asked for";
    rig.waits(&rig.name("source"), &[few, &topic, "lower the replication factor"]).await?;
    rig.waits(&rig.name("sink"), &[few, &letters, "lower the replication factor"]).await?;

    kafka.create(&topic, &[]).await?;
    kafka.create(&letters, &[]).await?;
    rig.until_lines(&output, 100).await?;
    check_lines(&output, &lines(0, 100), false)?;
    for name in ["source", "sink"] {
        rig.runs(&rig.name(name)).await?;
    }
    rig.end().await
}
