//! A replication slot that is gone, and the rows that went with it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::rig::Rig;
use crate::database::Database;
use crate::kafka::{Kafka, Message};
use crate::{server, with};

const TABLES: &str = "create table t (id int primary key, v int);
    insert into t select n, 0 from generate_series(1, 500) n;
    create table other (id int primary key);
    insert into other values (1);
    create table bag (id int, v int);
    alter table bag replica identity full";
const OF_BAG: &str = "public.bag (it has no key)";

/// Changes are missing: the task fails, or rows that changed are read again and deletes are found in the
/// topics, behind transforms too.
pub(super) async fn lost() -> Result<()> {
    let kafka = Kafka::connect()?;
    let rig = Rig::ready("slots", "").await?;
    mended(Capture::new(&rig, &kafka, "mended", json!({})).await?).await?;
    forbidden(Capture::new(&rig, &kafka, "forbidden", json!({})).await?).await?;
    rig.end().await?;
    let rig = Rig::ready("slots-exact", "exactly.once.source.support=enabled").await?;
    let unwrapped = json!({
        "transforms": "unwrap",
        "transforms.unwrap.type": "io.debezium.transforms.ExtractNewRecordState",
        "transforms.unwrap.add.fields": "op",
        // A delete is a null with a schema then.
        "value.converter.schemas.enable": "true",
    });
    mended(Capture::new(&rig, &kafka, "unwrapped", unwrapped).await?).await?;
    rig.end().await
}

/// A source and what it captures.
struct Capture<'a> {
    rig: &'a Rig,
    kafka: &'a Kafka,
    name: String,
    database: Database,
    config: Value,
    topic: String,
}

impl<'a> Capture<'a> {
    /// One that has read a snapshot.
    async fn new(rig: &'a Rig, kafka: &'a Kafka, name: &str, transforms: Value) -> Result<Self> {
        let name = rig.name(name);
        let database = Database::create(&name.replace('-', "_"), TABLES).await?;
        let topic = format!("{}.public.t", database.name);
        let config = with(database.source("postgres-cdc")?, transforms);
        let config = with(config, json!({ "slot.drop.on.delete": "true" }));
        rig.worker.put(&name, &config).await?;
        let capture = Self { rig, kafka, name, database, config, topic };
        capture.until_row(500, 0).await?;
        Ok(capture)
    }

    async fn execute(&self, sql: &str) -> Result<()> {
        Ok(self.database.client.batch_execute(sql).await?)
    }

    /// Waits until a record says that the row `id` has `v`.
    async fn until_row(&self, id: i64, v: i64) -> Result<()> {
        let is_it = |record: &Message| {
            key(record) == Some(id) && value(record).is_some_and(|row| row["v"] == v)
        };
        let there =
            async || self.kafka.read(&self.topic).await.unwrap_or_default().iter().any(is_it);
        self.rig.worker.until(&format!("row {id} has {v}"), there).await
    }

    /// Stops it, drops its slot, and changes what it will not hear of.
    async fn lose(&self, changes: &str) -> Result<()> {
        let (worker, path) = (&self.rig.worker, format!("/connectors/{}", self.name));
        worker.put_path(&format!("{path}/stop"), &json!({})).await?;
        let is_free = async || {
            let sql = "select from pg_replication_slots where slot_name = $1 and not active";
            let client = &self.database.client;
            client.query(sql, &[&self.database.name]).await.is_ok_and(|rows| !rows.is_empty())
        };
        worker.until("the slot is free", is_free).await?;
        let drop = format!("select pg_drop_replication_slot('{}')", self.database.name);
        self.execute(&drop).await?;
        self.execute(changes).await?;
        worker.put_path(&format!("{path}/resume"), &json!({})).await?;
        let said = ["the replication slot", "is gone", "slot.loss.policy=backfill"];
        self.rig.fails(&self.name, &said).await?;
        Ok(())
    }

    /// Lets it mend that, with `more` settings.
    async fn mend(&self, more: Value) -> Result<()> {
        let config = with(self.config.clone(), json!({ "slot.loss.policy": "backfill" }));
        self.rig.worker.put(&self.name, &with(config, more)).await?;
        self.rig.runs(&self.name).await?;
        self.execute("update t set v = 3 where id = 6").await?;
        self.until_row(6, 3).await
    }

    /// What a consumer has of the topic, and which rows were ever deleted there.
    async fn consumed(&self) -> Result<(BTreeMap<i64, Option<i64>>, BTreeSet<i64>)> {
        let (mut rows, mut gone) = (BTreeMap::new(), BTreeSet::new());
        for record in self.kafka.read(&self.topic).await? {
            let Some(id) = key(&record) else { continue };
            match value(&record) {
                Some(row) => rows.insert(id, row["v"].as_i64()),
                None => {
                    gone.insert(id);
                    rows.remove(&id)
                }
            };
        }
        Ok((rows, gone))
    }

    async fn table(&self) -> Result<BTreeMap<i64, Option<i64>>> {
        let rows = self.database.client.query("select id::int8, v::int8 from t", &[]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// The offset and the status say that deletes are missing of each of `tables`.
    async fn says_what_is_missing(&self, tables: &[&str]) -> Result<()> {
        let (worker, name) = (&self.rig.worker, &self.name);
        let offsets = worker.get(&format!("/connectors/{name}/offsets")).await?.to_string();
        let status =
            worker.get(&format!("/towpath/v1/connectors/{name}/status")).await?.to_string();
        for table in tables {
            ensure!(offsets.contains(table), "no {table} in the offsets {offsets}");
            ensure!(status.contains(table), "no {table} in the status {status}");
        }
        ensure!(offsets.contains("missing_deletes_tables"), "the offsets are {offsets}");
        Ok(())
    }

    async fn end(self) -> Result<()> {
        self.rig.worker.delete_leftovers(&self.name).await?;
        self.database.drop().await
    }
}

/// Deletes are found, once each; a row that was deleted before, or came back, is not deleted again.
async fn mended(capture: Capture<'_>) -> Result<()> {
    capture.execute("update t set v = 1 where id = 1").await?;
    capture.execute("delete from t where id = 2; update t set v = 1 where id = 7").await?;
    capture.until_row(7, 1).await?;
    let changes = "delete from t where id in (3, 4, 500); insert into t values (4, 7), (501, 8);
                   update t set v = 2 where id = 5";
    capture.lose(changes).await?;
    capture.mend(json!({})).await?;
    let ((rows, gone), expect) = (capture.consumed().await?, capture.table().await?);
    ensure!(rows == expect, "the topic has {rows:?}, the table {expect:?}");
    ensure!(gone == BTreeSet::from([2, 3, 500]), "deleted: {gone:?}");
    // A row that was deleted before is not deleted again.
    let metrics = capture.rig.worker.get_text("/metrics").await?;
    let found = format!(
        r#"towpath_connector_events_total{{connector="{}",task="0",event="deletes_found"}} 2"#,
        capture.name
    );
    ensure!(metrics.contains(&found), "{found} is not in {metrics}");
    capture.says_what_is_missing(&[OF_BAG]).await?;
    capture.end().await
}

/// Who may not read the topics goes on, and is told what stays in them.
async fn forbidden(capture: Capture<'_>) -> Result<()> {
    capture.lose("delete from t where id = 3").await?;
    let password = server("TOWPATH_TEST_KAFKA_ALICE_PASSWORD")?;
    let login = "org.apache.kafka.common.security.plain.PlainLoginModule required";
    let alice = json!({
        "consumer.override.bootstrap.servers": server("TOWPATH_TEST_KAFKA_SASL")?,
        "consumer.override.security.protocol": "SASL_PLAINTEXT",
        "consumer.override.sasl.mechanism": "PLAIN",
        "consumer.override.sasl.jaas.config":
            format!("{login} username=\"alice\" password=\"{password}\";"),
    });
    capture.mend(alice).await?;
    let (mut rows, _) = capture.consumed().await?;
    ensure!(rows.remove(&3).is_some(), "row 3 is gone, though nobody could know");
    ensure!(rows == capture.table().await?, "something else is wrong: {rows:?}");
    capture
        .says_what_is_missing(&[OF_BAG, "public.t (", "public.other (", "authorization failed"])
        .await?;
    capture.end().await
}

fn key(record: &Message) -> Option<i64> {
    let key: Value = serde_json::from_slice(record.key.as_deref()?).ok()?;
    key["id"].as_i64()
}

/// The row that a record shows, with or without an envelope around it; none if it was deleted.
fn value(record: &Message) -> Option<Value> {
    let mut value: Value = serde_json::from_slice(record.value.as_deref()?).ok()?;
    if let Some(payload) = value.get_mut("payload") {
        value = payload.take();
    }
    let row = if value.get("source").is_some() { value["after"].clone() } else { value };
    (!row.is_null()).then_some(row)
}
