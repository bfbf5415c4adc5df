//! A full disk, for a file sink and for the S3 sink's spool.
//!
//! The disk is a small file system that only the worker sees, in a mount namespace of its own, which
//! needs no privileges; what is done to it from here goes through `/proc/<pid>/root`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use super::rig::{Rig, check_lines, count, file_sink, s3_sink};
use crate::bucket::Bucket;
use crate::kafka::{Kafka, Message};
use crate::{pipeline, server, with};

/// The size of the disk.
const SIZE: usize = 4 << 20;

/// Both wait, say which disk is full, and go on when there is room.
pub(super) async fn full() -> Result<()> {
    let kafka = Kafka::connect()?;
    let mut rig = Rig::planned("disk", &server("TOWPATH_TEST_KAFKA")?, "")?;
    let disk = rig.file("disk");
    std::fs::create_dir(&disk)?;
    let mount =
        format!("mount -t tmpfs -o size={SIZE},mode=777 tmpfs '{}' && exec \"$@\"", disk.display());
    let wrapper = ["unshare", "-rm", "sh", "-c", &mount, "sh"].map(str::to_owned);
    rig.worker = rig.worker.wrapped(wrapper.to_vec());
    rig.worker.start()?;
    rig.worker.ready().await.context("a mount namespace of its own is needed (unshare -rm)")?;
    let pid = rig.worker.pid().context("it does not run")?;
    let seen = PathBuf::from(format!("/proc/{pid}/root")).join(disk.strip_prefix("/")?);
    let filler = seen.join("filler");
    // Room for the first lines only.
    std::fs::write(&filler, vec![b'x'; SIZE - (32 << 10)])?;

    let (topic, lines) = (rig.name("lines"), super::rig::lines(0, 10_000));
    kafka.create(&topic, &[]).await?;
    let messages: Vec<Message> = lines.iter().map(|line| Message::of(line.as_str())).collect();
    kafka.send(&topic, &messages).await?;
    let output = disk.join("out");
    let sink = rig.name("sink");
    rig.worker.put(&sink, &file_sink(&topic, &output)).await?;
    rig.waits(&sink, &["append to", &path(&output), "needs more space", "No space left"]).await?;

    // More than the sink's memory, in one object: the rest must go to the spool.
    let (topic, large) = (rig.name("large"), 40);
    kafka.create(&topic, &[]).await?;
    let record = |n: usize| {
        let noise: String = (0..50_000_u64)
            .map(|i| char::from(b'a' + ((i * i + i * n as u64 * 7 + 3) % 26) as u8))
            .collect();
        Message::of(format!(r#"{{"n":{n},"pad":"{noise}"}}"#))
    };
    kafka.send(&topic, &(0..large).map(record).collect::<Vec<_>>()).await?;
    let bucket = Bucket::create(&rig.name("bucket")).await?;
    let bounds = json!({
        "spool.dir": disk, "buffer.max.bytes": "1048576", "flush.size": "100000",
        "rotate.schedule.interval.ms": "3000", "timezone": "UTC",
    });
    rig.worker.put(bucket.name(), &with(s3_sink(&topic, bucket.name())?, bounds)).await?;
    // What does not fit is sent early, as when the spool's own bound is reached, and the status says so.
    let reason = ["write the spool in", &path(&disk), "No space left", "completed early"];
    rig.waits(bucket.name(), &reason).await?;

    std::fs::remove_file(&filler)?;
    let written = seen.join("out");
    rig.until_lines(&written, lines.len()).await?;
    check_lines(&written, &lines, false)?;
    rig.runs(&sink).await?;
    kafka.send(&topic, &(large..2 * large).map(record).collect::<Vec<_>>()).await?;
    let all = async || count(&bucket, &topic).await >= 2 * large;
    rig.worker.until("all records are in the bucket", all).await?;
    pipeline::check_exactly(&pipeline::arrived(&bucket, &topic).await?, 2 * large)?;
    rig.runs(bucket.name()).await?;
    rig.end().await
}

fn path(path: &Path) -> String {
    path.display().to_string()
}
