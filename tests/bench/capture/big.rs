//! One transaction of 2 GB, which must not be held in memory.
//!
//! A control group bounds the worker's memory where its user may make one; everywhere the peak that the
//! kernel has counted is held against the bound.

use anyhow::{Context, Result, ensure};
use towpath_tests::unique;

use super::database::Database;
use super::work::Job;
use super::{Bench, config};
use crate::report::{PathReport, Sample};
use crate::subject::{Runtime, Subject};

const TABLE: &str = "big";
/// Bytes of a row's text.
const WIDTH: u64 = 1000;
/// The most memory that the worker may take.
const LIMIT_MIB: u32 = 256;

pub(super) async fn measure(bench: &Bench<'_>, database: &Database) -> Result<PathReport> {
    let count = if bench.short { 20_000 } else { 2_000_000 };
    let mut report = PathReport::new(
        super::Capture::Big.name(),
        "inserted rows of 1000 B in one transaction, written while the slot is read; postgres-cdc \
         alone, in a control group of 256 MiB, which the pages of its spill files count to, or, where \
         there is none, with a peak below that",
        count,
    );
    let table = format!("create table {TABLE} (id int4 primary key, pad text)");
    database.execute(&table).await?;
    for round in 1..=bench.rounds {
        let what = format!("{}, Towpath, round {round}", report.name());
        let sample = worker(bench, database, count).await.with_context(|| what.clone())?;
        crate::say(&format!("{what}: {sample}"));
        ensure!(sample.arrived == count, "{what}: {} of {count} records", sample.arrived);
        ensure!(sample.peak_rss_mib < LIMIT_MIB.into(), "{what}: more memory than {LIMIT_MIB} MiB");
        report.add(Subject::Towpath, sample);
    }
    Ok(report)
}

async fn worker(bench: &Bench<'_>, database: &Database, count: u64) -> Result<Sample> {
    let name = unique("big")?.replace('-', "_");
    database.execute(&format!("truncate {TABLE}")).await?;
    database.create_slot(&name, &format!("table {TABLE}")).await?;
    let runtime = Runtime::start(Subject::Towpath, bench.dir).await?;
    let bound = runtime.bound_memory(u64::from(LIMIT_MIB) << 20)?;
    if bound.is_none() {
        crate::say("no control group can be made here: only the peak is held against the limit");
    }
    let tables = format!(r"public\.{TABLE}");
    let job = Job {
        config: config(database, Subject::Towpath, &name, &tables, "no_data"),
        topics: vec![format!("{name}.public.{TABLE}")],
        records: count,
        name,
    };
    let writer = database.connect().await?;
    let insert = format!(
        "insert into {TABLE} select n, rpad(n::text, {WIDTH}, md5(n::text))
           from generate_series(1, {count}) n"
    );
    let writing = async { writer.batch_execute(&insert).await.context("write the transaction") };
    let (written, sample) = tokio::join!(writing, bench.work(&runtime, &job));
    written?;
    database.forget(&job.name).await?;
    bench.delete_topics(&job).await?;
    runtime.stop().await?;
    drop(bound);
    sample
}
