//! PostgreSQL → Kafka: Towpath's `postgres-cdc` beside genuine Debezium on genuine Connect and beside
//! what the server's own programs take.
//!
//! All as for the other paths ([`crate::path`]): a fresh worker for each measurement, the work done once
//! before, subjects in turn, records counted in Kafka. Both connectors have their own defaults, but for
//! JSON without schemas and `linger.ms=1`, and neither uses transactions.

mod big;
mod catch_up;
mod database;
mod latency;
mod snapshot;
mod work;

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};
use towpath_tests::kafka::Kafka;

use crate::latencies::Latencies;
use crate::report::PathReport;
use crate::subject::Subject;
use database::Database;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Capture {
    /// A snapshot of one table.
    Snapshot,
    /// Changes that a slot has kept.
    CatchUp,
    /// From a commit to its record.
    Latency,
    /// One transaction of 2 GB.
    Big,
    /// A snapshot of 500 tables.
    Tables,
}

/// All of it, in the order of the report.
pub(crate) const ALL: &[Capture] =
    &[Capture::Snapshot, Capture::CatchUp, Capture::Latency, Capture::Big, Capture::Tables];

impl Capture {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "pg-snapshot",
            Self::CatchUp => "pg-catchup",
            Self::Latency => "pg-latency",
            Self::Big => "pg-big",
            Self::Tables => "pg-tables",
        }
    }
}

/// Where and how much.
pub(crate) struct Bench<'a> {
    /// For the worker's files.
    pub(crate) dir: &'a Path,
    pub(crate) short: bool,
    /// Whether genuine Debezium is measured, too.
    pub(crate) debezium: bool,
    pub(crate) rounds: usize,
    pub(crate) kafka: &'a Kafka,
}

/// What came of it.
pub(crate) enum Outcome {
    Path(PathReport),
    Latencies(Vec<Latencies>),
}

impl Bench<'_> {
    pub(crate) async fn measure(&self, capture: Capture) -> Result<Outcome> {
        let database = Database::create().await?;
        let outcome = match capture {
            Capture::Snapshot => snapshot::one_table(self, &database).await.map(Outcome::Path),
            Capture::Tables => snapshot::many_tables(self, &database).await.map(Outcome::Path),
            Capture::CatchUp => catch_up::measure(self, &database).await.map(Outcome::Path),
            Capture::Big => big::measure(self, &database).await.map(Outcome::Path),
            Capture::Latency => latency::measure(self, &database).await.map(Outcome::Latencies),
        }?;
        database.drop().await?;
        Ok(outcome)
    }

    /// The workers that are measured.
    fn workers(&self) -> Vec<Subject> {
        let mut subjects = vec![Subject::Towpath];
        if self.debezium {
            subjects.push(Subject::Connect);
        }
        subjects
    }
}

/// A connector that captures `tables` (a pattern) of `database` under `prefix`, which its slot and its
/// publication are called, too.
fn config(database: &Database, subject: Subject, prefix: &str, tables: &str, mode: &str) -> Value {
    let json_converter = "org.apache.kafka.connect.json.JsonConverter";
    json!({
        "connector.class": match subject {
            Subject::Connect => "io.debezium.connector.postgresql.PostgresConnector",
            _ => "postgres-cdc",
        },
        "plugin.name": "pgoutput",
        "database.hostname": database.host,
        "database.port": database.port,
        "database.user": database.user,
        "database.password": database.password,
        "database.dbname": database.name,
        "topic.prefix": prefix,
        "slot.name": prefix,
        "publication.name": prefix,
        "publication.autocreate.mode": "filtered",
        "table.include.list": tables,
        "snapshot.mode": mode,
        "key.converter": json_converter,
        "key.converter.schemas.enable": "false",
        "value.converter": json_converter,
        "value.converter.schemas.enable": "false",
        "producer.override.linger.ms": "1",
    })
}
