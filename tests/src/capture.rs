//! kill -9 at random moments while changes of PostgreSQL → Kafka are captured.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::database::Database;
use crate::kafka::{Kafka, Message};
use crate::kill::Random;
use crate::worker::Worker;
use crate::{server, unique, with};

/// Rows before the source starts: enough for a kill to find the snapshot under way.
const ROWS: i64 = 40_000;
/// Kills in a round.
const KILLS: usize = 4;

/// How the rows get into the topics that were there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// By a snapshot before the stream.
    Before,
    /// By snapshots beside it, which signals ask for.
    Beside,
}

/// One round: the tables that are rebuilt from the topics are those of the server, and every row of a
/// table without a key has come; the stream's in order, with exactly-once (odd seeds) once. Every third
/// seed reads what was there before on signals, while the stream goes on.
///
/// # Errors
/// If not, with the seed.
pub async fn round(seed: u64) -> Result<()> {
    let dir = std::env::temp_dir().join(unique("towpath-capture")?);
    std::fs::create_dir_all(&dir)?;
    let outcome = run(seed, &dir).await.with_context(|| {
        format!("capture round with seed {seed}; the worker's files are in {}", dir.display())
    });
    if outcome.is_ok() {
        std::fs::remove_dir_all(&dir)?;
    }
    outcome
}

/// The tables of a round.
fn tables(database: &str) -> String {
    format!(
        "alter database {database} set logical_decoding_work_mem = '64kB';
         create table a (id int8 primary key, n int8, big text);
         alter table a alter column big set storage external;
         create table log (n int8 not null);
         insert into a select i, 0, repeat(i::text, 400) from generate_series(1, {ROWS}) i;
         insert into log values (0)"
    )
}

fn source(database: &Database, exactly_once: bool, reading: Reading) -> Result<Value> {
    let more = json!({
        "snapshot.max.threads": "2",
        "incremental.snapshot.chunk.size": "200",
        "snapshot.mode": match reading {
            Reading::Before => "initial",
            Reading::Beside => "no_data",
        },
        "exactly.once.support": if exactly_once { "required" } else { "requested" },
    });
    Ok(with(database.source("io.debezium.connector.postgresql.PostgresConnector")?, more))
}

/// The rows of `a`.
async fn rows(client: &Client) -> Result<BTreeMap<i64, (i64, String)>> {
    let rows = client.query("select id, n, big from a", &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect())
}

/// Changes rows until it is told to stop; the last number in `log`.
async fn work(client: Client, seed: u64, stop: Arc<AtomicBool>) -> Result<i64> {
    let mut random = Random(seed ^ 0x5bd1_e995);
    let (mut last, mut next_id) = (0, ROWS);
    while !stop.load(Ordering::Relaxed) {
        let id = 1 + random.below(usize::try_from(next_id)?);
        let sql = match random.below(8) {
            0..3 => format!("update a set n = n + 1 where id between {id} and {id} + 20"),
            3 => format!("update a set big = repeat('{id}', 500), n = n + 1 where id = {id}"),
            4 => format!("delete from a where id between {id} and {id} + 3"),
            5 => format!(
                "update a set id = -id, big = big || '' where id = {id} and not exists (select from a where id = -{id})"
            ),
            6 => {
                next_id += 5;
                format!(
                    "insert into a select i, 0, repeat('new', 900) from generate_series({next_id} - 4, {next_id}) i"
                )
            }
            _ => format!("begin; update a set n = -1 where id = {id}; rollback; select 1"),
        };
        client.batch_execute(&sql).await?;
        // Rows of one statement share an LSN now and then, and a transaction ends anywhere.
        let count = 1 + i64::try_from(random.below(40))?;
        let from = last + 1;
        last += count;
        client
            .batch_execute(&format!("insert into log select generate_series({from}, {last})"))
            .await?;
        tokio::time::sleep(Duration::from_millis(random.below(12) as u64)).await;
    }
    Ok(last)
}

async fn run(seed: u64, dir: &Path) -> Result<()> {
    let exactly_once = !seed.is_multiple_of(2);
    let reading = if seed.is_multiple_of(3) { Reading::Beside } else { Reading::Before };
    let name = unique("cap")?.replace('-', "_");
    let database = Database::create(&name, &tables(&name)).await?;
    let mut random = Random(seed);
    let mut worker = Worker::new(
        dir,
        &name,
        &server("TOWPATH_TEST_KAFKA")?,
        "exactly.once.source.support=enabled\noffset.flush.interval.ms=300\nsession.timeout.ms=6000",
    )?;
    if !exactly_once {
        worker.set("exactly.once.source.support=disabled")?;
    }
    worker.start()?;
    worker.ready().await?;
    let stop = Arc::new(AtomicBool::new(false));
    let working = tokio::spawn(work(database.connect().await?, seed, Arc::clone(&stop)));
    worker.put("capture", &source(&database, exactly_once, reading)?).await?;
    if reading == Reading::Beside {
        ask_for_snapshots(&worker).await?;
    }
    for kill in 0..KILLS {
        // The first ones find the snapshot, with luck.
        let patience = if kill < 2 { 1500 } else { 4000 };
        tokio::time::sleep(Duration::from_millis(200 + random.below(patience) as u64)).await;
        worker.kill()?;
        worker.start()?;
        worker.ready().await?;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop.store(true, Ordering::Relaxed);
    let last = working.await??;
    let kafka = Kafka::connect()?;
    let (table, log) = (format!("{name}.public.a"), format!("{name}.public.log"));
    let complete = async || {
        let rows = kafka.read(&log).await.and_then(|messages| logged(&messages));
        rows.is_ok_and(|rows| rows.iter().any(|row| row.number == last))
    };
    worker.until("the last row is in Kafka", complete).await?;
    let is_over = async || is_beside(&worker, "a").await.is_ok_and(|is_beside| !is_beside);
    worker.until("nothing is read beside the stream", is_over).await?;
    let metrics = worker.get_text("/metrics").await?;
    for gauge in ["slot_retained_bytes", "slot_unconfirmed_bytes", "slot_safe_bytes", "lag_bytes"] {
        let shown = format!("towpath_connector_{gauge}{{connector=\"capture\"");
        ensure!(metrics.contains(&shown), "{shown} is not among the metrics");
    }
    worker.stop().await?;
    check_log(&logged(&kafka.read(&log).await?)?, last, exactly_once)?;
    let (rebuilt, rows) = (rebuild(&kafka.read(&table).await?)?, rows(&database.client).await?);
    ensure!(rebuilt.len() == rows.len(), "{} rows were rebuilt, not {}", rebuilt.len(), rows.len());
    for (id, row) in &rows {
        ensure!(rebuilt.get(id) == Some(row), "row {id} is {:?}, not {row:?}", rebuilt.get(id));
    }
    database.drop().await
}

/// Whether, as offsets are stored, `table` is read beside the stream.
async fn is_beside(worker: &Worker, table: &str) -> Result<bool> {
    let offsets = worker.get("/connectors/capture/offsets").await?;
    Ok(offsets.to_string().contains(&format!(r#""incremental":"public.{table}""#)))
}

/// Has both tables read; the small one is over when this returns, and that the other is being read is
/// stored.
async fn ask_for_snapshots(worker: &Worker) -> Result<()> {
    signal(worker, &json!({"data-collections": ["public.log"], "surrogate-key": "n"})).await?;
    signal(worker, &json!({"data-collections": ["public.a"]})).await?;
    let is_so = async || {
        is_beside(worker, "a").await.is_ok_and(|is_beside| is_beside)
            && is_beside(worker, "log").await.is_ok_and(|is_beside| !is_beside)
    };
    worker.until("the small table was read, and the other is being read", is_so).await
}

/// Asks for a snapshot beside the stream, over the REST API.
async fn signal(worker: &Worker, data: &Value) -> Result<()> {
    let request = json!({"type": "execute-snapshot", "data": data});
    let path = "/towpath/v1/connectors/capture/signals";
    let heard = async || worker.post_path(path, &request).await.is_ok_and(|status| status == 202);
    worker.until("the signal is heard", heard).await
}

/// A row of `log`.
struct Logged {
    number: i64,
    /// Whether a snapshot has read it; otherwise it is of the stream.
    is_read: bool,
}

/// The rows of `log`, as they came.
fn logged(messages: &[Message]) -> Result<Vec<Logged>> {
    let row = |message: &Message| {
        let value: Value = serde_json::from_slice(message.value.as_deref().unwrap_or_default())?;
        let number = value["after"]["n"].as_i64().context("a number")?;
        Ok(Logged { number, is_read: value["op"] == "r" })
    };
    messages.iter().map(row).collect()
}

/// Every number from 0 to `last` came; those of the stream in order, and if `once`, once. A snapshot that
/// was interrupted reads some rows again, and the stream then repeats what was changed meanwhile.
fn check_log(rows: &[Logged], last: i64, once: bool) -> Result<()> {
    let mut next = None;
    for Logged { number, .. } in rows.iter().filter(|row| !row.is_read) {
        let expect = next.unwrap_or(*number);
        ensure!(*number <= expect, "{number} came before {expect}");
        ensure!(!once || *number == expect, "{number} came twice");
        next = Some(expect.max(number + 1));
    }
    ensure!(next.is_none_or(|next| next == last + 1), "{next:?} came last, not {last}");
    let came: BTreeSet<i64> = rows.iter().map(|row| row.number).collect();
    let missing = (0..=last).find(|number| !came.contains(number));
    ensure!(missing.is_none(), "{missing:?} never came");
    Ok(())
}

/// The rows that a reader of the topic has in the end.
fn rebuild(messages: &[Message]) -> Result<BTreeMap<i64, (i64, String)>> {
    let mut rows: BTreeMap<i64, (i64, String)> = BTreeMap::new();
    for message in messages {
        let key: Value = serde_json::from_slice(message.key.as_deref().unwrap_or_default())?;
        let id = key["id"].as_i64().context("a key")?;
        let Some(value) = &message.value else {
            rows.remove(&id);
            continue;
        };
        let value: Value = serde_json::from_slice(value)?;
        let after = &value["after"];
        if after.is_null() {
            rows.remove(&id);
            continue;
        }
        let n = after["n"].as_i64().context("n")?;
        let big = after["big"].as_str().context("big")?;
        let row = rows.entry(id).or_default();
        row.0 = n;
        if big != "__debezium_unavailable_value" {
            big.clone_into(&mut row.1);
        }
    }
    Ok(rows)
}
