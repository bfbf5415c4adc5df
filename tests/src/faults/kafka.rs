//! Kafka can't be reached: at the start, and midway.

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::rig::{Rig, append, check_lines, file_sink, lines, s3_sink, source};
use crate::bucket::Bucket;
use crate::proxy::Proxy;
use crate::server;
use crate::with;

/// A worker that starts before Kafka says what it waits for, and is ready when Kafka is there.
pub(super) async fn at_start() -> Result<()> {
    let proxy = Proxy::create(&crate::unique("at-start")?, &server("TOWPATH_TEST_KAFKA")?).await?;
    proxy.cut().await?;
    let mut rig = Rig::planned("at-start", proxy.address(), "")?;
    rig.worker.start()?;
    rig.health_says(&["no broker answers at", proxy.address(), "Connection refused"]).await?;
    proxy.mend().await?;
    rig.worker.ready().await?;
    let (input, output, topic) = (rig.file("in"), rig.file("out"), rig.name("topic"));
    append(&input, &lines(0, 100))?;
    rig.worker.put(&rig.name("source"), &source(&input, &topic)).await?;
    rig.worker.put(&rig.name("sink"), &file_sink(&topic, &output)).await?;
    rig.until_lines(&output, 100).await?;
    check_lines(&output, &lines(0, 100), false)?;
    rig.runs(&rig.name("sink")).await?;
    rig.end().await
}

/// Connections are reset, and later they hang: source and sink say so and go on, and nothing is lost.
pub(super) async fn midway() -> Result<()> {
    let proxy = Proxy::shared("kafka").await?;
    let outcome = interrupted(&proxy).await;
    proxy.reset().await.context("put the proxy right")?;
    outcome
}

/// What is said of a store that is down.
const STORE: &str = "the store can't be reached";

/// The consumer finds its broker again, which takes its own reason back and not that of the store.
async fn keeps_its_reason(rig: &Rig, sink: &str) -> Result<()> {
    let mut wiped = None;
    let alone = async || {
        let units = rig.units(sink).await.ok()?;
        let (state, reason) = units.last()?;
        if state != "waiting" || !reason.contains(STORE) {
            wiped = Some(format!("{state}: {reason}"));
            return Some(());
        }
        (!reason.contains("more reason")).then_some(())
    };
    rig.worker.until_some("the store's reason is left alone", alone).await?;
    match wiped {
        None => Ok(()),
        Some(found) => bail!("the store is down and the sink says {found}"),
    }
}

async fn interrupted(proxy: &Proxy) -> Result<()> {
    // A broker that is silent is given up after this long, and not after the default of 30 s and more.
    let quick = "request.timeout.ms=4000\nconsumer.request.timeout.ms=4000\n\
                 producer.request.timeout.ms=4000\nsession.timeout.ms=60000";
    let mut rig = Rig::planned("midway", &server("TOWPATH_TEST_KAFKA_FAULTY")?, quick)?;
    rig.worker.start()?;
    rig.worker.ready().await?;
    let (input, output, topic) = (rig.file("in"), rig.file("out"), rig.name("topic"));
    let (from, to) = (rig.name("source"), rig.name("sink"));
    append(&input, &lines(0, 100))?;
    rig.worker.put(&from, &source(&input, &topic)).await?;
    rig.worker.put(&to, &file_sink(&topic, &output)).await?;
    rig.until_lines(&output, 100).await?;
    // A sink with a trouble of its own, which must stay what it says.
    let store = Proxy::create(&rig.name("store"), &server("TOWPATH_TEST_S3")?).await?;
    store.cut().await?;
    let bucket = Bucket::create(&rig.name("bucket")).await?;
    let config = json!({
        "store.url": format!("http://{}", store.address()),
        "value.converter": "org.apache.kafka.connect.storage.StringConverter",
    });
    rig.worker.put(bucket.name(), &with(s3_sink(&topic, bucket.name())?, config)).await?;
    rig.waits(bucket.name(), &[STORE]).await?;

    proxy.cut().await?;
    append(&input, &lines(100, 200))?;
    let gone = ["no broker answers at", proxy.address(), "Connection refused"];
    rig.waits(&to, &gone).await?;
    rig.waits(&from, &gone).await?;
    rig.waits(bucket.name(), &[STORE, "and for one more reason"]).await?;
    proxy.mend().await?;
    keeps_its_reason(&rig, bucket.name()).await?;
    store.mend().await?;
    rig.runs(bucket.name()).await?;
    rig.until_lines(&output, 200).await?;
    rig.runs(&to).await?;
    rig.runs(&from).await?;

    proxy.hang().await?;
    append(&input, &lines(200, 300))?;
    rig.waits(&from, &["produce: "]).await?;
    rig.waits(&to, &["no broker answers at", proxy.address()]).await?;
    proxy.flow().await?;
    rig.until_lines(&output, 300).await?;
    rig.runs(&to).await?;
    rig.runs(&from).await?;
    check_lines(&output, &lines(0, 300), true)?;
    rig.end().await
}
