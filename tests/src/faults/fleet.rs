//! Two workers with one `group.id`.

use anyhow::{Result, ensure};

use super::rig::{Rig, append, check_lines, file_sink, lines, source};
use crate::server;
use crate::worker::Worker;

/// The second one ends and says who has the fleet; the first one goes on.
pub(super) async fn second_worker() -> Result<()> {
    let rig = Rig::ready("fleet", "").await?;
    let (input, output, topic) = (rig.file("in"), rig.file("out"), rig.name("topic"));
    append(&input, &lines(0, 100))?;
    rig.worker.put(&rig.name("source"), &source(&input, &topic)).await?;
    rig.worker.put(&rig.name("sink"), &file_sink(&topic, &output)).await?;
    rig.until_lines(&output, 100).await?;

    let dir = rig.file("second");
    std::fs::create_dir(&dir)?;
    let quick = "session.timeout.ms=2000\nheartbeat.interval.ms=500";
    let mut second = Worker::new(&dir, &rig.fleet, &server("TOWPATH_TEST_KAFKA")?, quick)?;
    second.start()?;
    let status = second.ended().await?;
    ensure!(!status.success(), "the second worker ended as if all were well");
    let log = second.logged()?;
    let last = log.lines().last().unwrap_or_default();
    for fragment in ["another worker", rig.worker.address().as_str(), &rig.fleet, "stop that one"] {
        ensure!(last.contains(fragment), "the last word lacks {fragment:?}: {last}");
    }

    append(&input, &lines(100, 200))?;
    rig.until_lines(&output, 200).await?;
    check_lines(&output, &lines(0, 200), false)?;
    rig.runs(&rig.name("source")).await?;
    rig.runs(&rig.name("sink")).await?;
    rig.end().await
}
