//! Changes that wait in the log.

use anyhow::{Context, Result, ensure};
use towpath_tests::unique;

use super::database::{COLUMNS, Database, rows};
use super::work::Job;
use super::{Bench, config};
use crate::report::{PathReport, Sample};
use crate::subject::{Runtime, Subject};

/// Rows of a transaction.
const PER_TRANSACTION: u64 = 1000;
const TABLE: &str = "changes";

/// All slots are made before the rows are written: each run reads the same log.
pub(super) async fn measure(bench: &Bench<'_>, database: &Database) -> Result<PathReport> {
    let count = if bench.short { 20_000 } else { 500_000 };
    let mut report = PathReport::new(
        super::Capture::CatchUp.name(),
        "inserted rows as in pg-snapshot, in transactions of 1000, which a slot has kept, one topic \
         of one partition; settings as in pg-snapshot, snapshot.mode=no_data; the limit is \
         pg_recvlogical writing to /dev/null",
        count,
    );
    database.execute(&format!("create table {TABLE} ({COLUMNS})")).await?;
    let mut subjects = vec![Subject::Limit];
    subjects.extend(bench.workers());
    let mut runs = Vec::new();
    for round in 1..=bench.rounds {
        for &subject in &subjects {
            // The worker's first is not counted.
            let names = if subject == Subject::Limit { 1 } else { 2 };
            let mut slots = Vec::new();
            for _ in 0..names {
                let name = unique("catchup")?.replace('-', "_");
                database.create_slot(&name, &format!("table {TABLE}")).await?;
                slots.push(name);
            }
            runs.push((round, subject, slots));
        }
    }
    write(database, count).await?;
    let end = database.client.query_one("select pg_current_wal_lsn()::text", &[]).await?;
    let end: String = end.try_get(0)?;
    for (round, subject, slots) in runs {
        let what = format!("{}, {}, round {round}", report.name(), subject.name());
        let sample = match subject {
            Subject::Limit => limit(database, &slots, &end, count).await,
            _ => worker(bench, database, subject, &slots, count).await,
        };
        let sample = sample.with_context(|| what.clone())?;
        crate::say(&format!("{what}: {sample}"));
        ensure!(sample.arrived == count, "{what}: {} of {count} records", sample.arrived);
        report.add(subject, sample);
    }
    Ok(report)
}

async fn write(database: &Database, count: u64) -> Result<()> {
    let mut from = 1;
    while from <= count {
        let rows = rows(from, from + PER_TRANSACTION - 1);
        database.execute(&format!("insert into {TABLE} {rows}")).await?;
        from += PER_TRANSACTION;
    }
    // Without one more record of the log its end is not reached.
    database.execute("checkpoint").await
}

async fn limit(database: &Database, slots: &[String], end: &str, count: u64) -> Result<Sample> {
    let [slot] = slots else { anyhow::bail!("one slot is needed") };
    let publications = format!("publication_names=\"{slot}\"");
    let sample = database
        .limit(
            "pg_recvlogical",
            &[
                "-S",
                slot,
                "--start",
                "-n",
                "-E",
                end,
                "-f",
                "/dev/null",
                "-o",
                "proto_version=1",
                "-o",
                &publications,
            ],
            count,
        )
        .await?;
    database.forget(slot).await?;
    Ok(sample)
}

async fn worker(
    bench: &Bench<'_>,
    database: &Database,
    subject: Subject,
    slots: &[String],
    count: u64,
) -> Result<Sample> {
    let runtime = Runtime::start(subject, bench.dir).await?;
    let mut sample = None;
    for name in slots {
        let tables = format!(r"public\.{TABLE}");
        let job = Job {
            name: name.clone(),
            config: config(database, subject, name, &tables, "no_data"),
            topics: vec![format!("{name}.public.{TABLE}")],
            records: count,
        };
        sample = Some(bench.work(&runtime, &job).await?);
        database.forget(name).await?;
        bench.delete_topics(&job).await?;
    }
    runtime.stop().await?;
    sample.context("no run")
}
