//! Snapshots: of one table with many rows, and of many tables.

use anyhow::{Context, Result, ensure};
use towpath_tests::unique;

use super::database::{COLUMNS, Database, rows};
use super::work::Job;
use super::{Bench, config};
use crate::report::{PathReport, Sample};
use crate::subject::{Runtime, Subject};

/// Tables of the second kind.
const TABLES: u64 = 500;

pub(super) async fn one_table(bench: &Bench<'_>, database: &Database) -> Result<PathReport> {
    let count = if bench.short { 20_000 } else { 1_000_000 };
    fill(database, "rows", count).await?;
    let report = PathReport::new(
        super::Capture::Snapshot.name(),
        "rows of int4 (the key), text of 45 B, numeric(12, 2) and timestamptz, one topic of one \
         partition; postgres-cdc against Debezium 3.7.0 on Kafka Connect 4.3.1, each with its \
         defaults but for JSON without schemas and linger.ms=1, no exactly-once; the limit is \
         psql with COPY TO STDOUT in binary",
        count,
    );
    let copy = ["-qc", "copy rows to stdout (format binary)"];
    measure(bench, database, report, &["rows".to_owned()], &copy, count).await
}

pub(super) async fn many_tables(bench: &Bench<'_>, database: &Database) -> Result<PathReport> {
    let (tables, count) = if bench.short { (20, 50) } else { (TABLES, 1000) };
    let tables: Vec<String> = (0..tables).map(|n| format!("t{n:03}")).collect();
    for table in &tables {
        fill(database, table, count).await?;
    }
    let count = count * tables.len() as u64;
    let report = PathReport::new(
        super::Capture::Tables.name(),
        "rows of 500 tables, 1000 each, in 500 topics of one partition; otherwise as pg-snapshot; \
         the limit is one psql with a COPY a table",
        count,
    );
    let copies: String =
        tables.iter().map(|table| format!("copy {table} to stdout (format binary);")).collect();
    measure(bench, database, report, &tables, &["-qc", &copies], count).await
}

async fn fill(database: &Database, table: &str, count: u64) -> Result<()> {
    let rows = rows(1, count);
    database
        .execute(&format!("create table {table} ({COLUMNS}); insert into {table} {rows}"))
        .await?;
    database.execute(&format!("vacuum (freeze, analyze) {table}")).await
}

async fn measure(
    bench: &Bench<'_>,
    database: &Database,
    mut report: PathReport,
    tables: &[String],
    limit: &[&str],
    count: u64,
) -> Result<PathReport> {
    let mut subjects = vec![Subject::Limit];
    subjects.extend(bench.workers());
    for round in 1..=bench.rounds {
        for &subject in &subjects {
            let what = format!("{}, {}, round {round}", report.name(), subject.name());
            let sample = match subject {
                Subject::Limit => database.limit("psql", limit, count).await,
                _ => worker(bench, database, subject, tables, count).await,
            };
            let sample = sample.with_context(|| what.clone())?;
            crate::say(&format!("{what}: {sample}"));
            ensure!(sample.arrived == count, "{what}: {} of {count} rows", sample.arrived);
            report.add(subject, sample);
        }
    }
    Ok(report)
}

async fn worker(
    bench: &Bench<'_>,
    database: &Database,
    subject: Subject,
    tables: &[String],
    count: u64,
) -> Result<Sample> {
    let runtime = Runtime::start(subject, bench.dir).await?;
    // Once uncounted.
    run(bench, database, &runtime, tables, count).await?;
    let sample = run(bench, database, &runtime, tables, count).await?;
    runtime.stop().await?;
    Ok(sample)
}

async fn run(
    bench: &Bench<'_>,
    database: &Database,
    runtime: &Runtime,
    tables: &[String],
    count: u64,
) -> Result<Sample> {
    let name = unique("snapshot")?.replace('-', "_");
    let job = Job {
        config: config(database, runtime.subject, &name, r"public\..*", "initial"),
        topics: tables.iter().map(|table| format!("{name}.public.{table}")).collect(),
        records: count,
        name,
    };
    let sample = bench.work(runtime, &job).await?;
    database.forget(&job.name).await?;
    bench.delete_topics(&job).await?;
    Ok(sample)
}
