//! The S3 store can't be reached, refuses, or hangs.

use anyhow::{Result, ensure};
use serde_json::json;

use super::rig::{Rig, count, s3_sink};
use crate::bucket::Bucket;
use crate::kafka::{Kafka, Message};
use crate::proxy::Proxy;
use crate::{permissions, pipeline, server, stack, unique, with};

/// Numbered records, of which every ten are an object.
fn records(from: usize, to: usize) -> Vec<Message> {
    (from..to).map(|n| Message::of(format!(r#"{{"n":{n}}}"#))).collect()
}

/// One connector for each trouble, all on one topic and one worker: each says its own reason, none hurts
/// another, and in the end every bucket has every record once and in order.
pub(super) async fn troubles() -> Result<()> {
    let kafka = Kafka::connect()?;
    let rig = Rig::ready("store", "").await?;
    let topic = rig.name("topic");
    kafka.create(&topic, &[]).await?;
    kafka.send(&topic, &records(0, 100)).await?;

    let down = Proxy::create(&rig.name("down"), &server("TOWPATH_TEST_S3")?).await?;
    down.cut().await?;
    let midway = Proxy::create(&rig.name("midway"), &server("TOWPATH_TEST_S3")?).await?;
    let (account, secret) = (unique("late")?, unique("fake-secret")?);
    let bucket = |what: &str| Bucket::open(&rig.name(what));
    let (at_start, broken, stranger, denied, missing) = (
        bucket("down")?,
        bucket("midway")?,
        bucket("stranger")?,
        bucket("denied")?,
        bucket("missing")?,
    );
    for bucket in [&at_start, &broken, &stranger, &denied] {
        bucket.make().await?;
    }
    let put = async |bucket: &Bucket, more| {
        let config = with(s3_sink(&topic, bucket.name())?, more);
        rig.worker.put(bucket.name(), &config).await
    };
    put(&at_start, json!({ "store.url": format!("http://{}", down.address()) })).await?;
    put(&broken, json!({ "store.url": format!("http://{}", midway.address()) })).await?;
    put(&stranger, json!({ "aws.access.key.id": account, "aws.secret.access.key": secret }))
        .await?;
    let alice = json!({
        "aws.access.key.id": server("TOWPATH_TEST_S3_ALICE_ACCESS_KEY")?,
        "aws.secret.access.key": server("TOWPATH_TEST_S3_ALICE_SECRET_KEY")?,
    });
    put(&denied, alice).await?;
    put(&missing, json!({})).await?;

    rig.waits(at_start.name(), &["the store can't be reached", "Connection refused"]).await?;
    let reason = rig.waits(stranger.name(), &["the credentials were refused"]).await?;
    ensure!(!reason.contains(&secret), "a secret is shown: {reason}");
    rig.waits(denied.name(), &["was denied", denied.name(), "s3:PutObject"]).await?;
    rig.waits(missing.name(), &["does not exist", missing.name(), "create it"]).await?;
    let full = async |bucket: &Bucket, total| {
        let what = format!("{total} records are in {}", bucket.name());
        rig.worker.until(&what, async || count(bucket, &topic).await >= total).await?;
        pipeline::check_exactly(&pipeline::arrived(bucket, &topic).await?, total)?;
        rig.runs(bucket.name()).await
    };
    full(&broken, 100).await?;

    midway.cut().await?;
    kafka.send(&topic, &records(100, 200)).await?;
    rig.waits(broken.name(), &["the store can't be reached"]).await?;
    // The causes go.
    down.mend().await?;
    midway.mend().await?;
    missing.make().await?;
    let actions: Vec<&str> = permissions::S3.iter().map(|(action, _)| *action).collect();
    denied.allow(&server("TOWPATH_TEST_S3_ALICE_ACCESS_KEY")?, &actions).await?;
    stack::create_s3_account(&account, &secret).await?;
    for bucket in [&at_start, &broken, &stranger, &denied, &missing] {
        full(bucket, 200).await?;
    }
    let log = rig.worker.logged()?;
    ensure!(!log.contains(&secret), "a secret is in the log");
    rig.end().await
}

/// A store that never answers does not keep a worker from ending, and what was under way arrives after
/// the next start.
pub(super) async fn hangs_at_stop() -> Result<()> {
    let kafka = Kafka::connect()?;
    let mut rig = Rig::ready("stop", "task.shutdown.graceful.timeout.ms=1000").await?;
    let topic = rig.name("topic");
    kafka.create(&topic, &[]).await?;
    kafka.send(&topic, &records(0, 20)).await?;
    let proxy = Proxy::create(&rig.name("proxy"), &server("TOWPATH_TEST_S3")?).await?;
    let bucket = Bucket::create(&rig.name("bucket")).await?;
    let store = json!({ "store.url": format!("http://{}", proxy.address()) });
    rig.worker.put(bucket.name(), &with(s3_sink(&topic, bucket.name())?, store)).await?;
    rig.worker
        .until("the first records arrive", async || count(&bucket, &topic).await >= 20)
        .await?;

    proxy.hang().await?;
    kafka.send(&topic, &records(20, 40)).await?;
    let writing = async || rig.worker.get_text("/metrics").await.is_ok_and(|text| reads(&text, 40));
    rig.worker.until("the sink has the records that it can't write", writing).await?;
    // Fails if the worker has not ended well after a while; the store would hang for ever.
    rig.worker.stop().await?;
    ensure!(count(&bucket, &topic).await == 20, "the store was not hanging");

    proxy.flow().await?;
    rig.worker.start()?;
    rig.worker.ready().await?;
    rig.worker.until("all records are there", async || count(&bucket, &topic).await >= 40).await?;
    pipeline::check_exactly(&pipeline::arrived(&bucket, &topic).await?, 40)?;
    rig.end().await
}

/// Whether a task has taken at least so many records.
fn reads(metrics: &str, records: u64) -> bool {
    let lines = metrics.lines().filter(|line| line.starts_with("towpath_task_records_total{"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).any(|n| n >= records)
}
