//! kill -9 in the midst of a snapshot of large values that are kept apart (TOAST), while other columns of
//! the rows are updated; a VACUUM FULL between.
//!
//! Duty: two tables with the same rows, one with a key and one without; the worker is killed once a
//! fifth, half and four fifths of the first one have come, and the first one is rewritten after the
//! second kill. In the end the tables that are rebuilt from the topics are the server's, large values
//! among them, and no pass of the snapshot has read a row twice. Nothing is kept of a large value but
//! what it is made of, so that any number of rows can be run.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::database::Database;
use crate::kafka::{Kafka, Message};
use crate::kill::Random;
use crate::worker::Worker;
use crate::{server, unique, with};

/// How large a run is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Rows of each table.
    pub rows: i64,
    /// Bytes of a large value, a multiple of [`STAMP`].
    pub bytes: usize,
    /// Rows that are updated in a second.
    pub updates: u32,
    /// Whether server and broker keep large values compressed, apart from their rows all the same: of so
    /// many rows that there would be no disk for them otherwise.
    pub is_packed: bool,
}

/// A large value is this many digits over and over: which row and which version it is of.
const STAMP: usize = 16;
/// Rows of one UPDATE.
const BATCH: u32 = 20;
/// How much of the first table has come when the worker is killed, in percent.
const KILLS: [i64; 3] = [20, 50, 80];
/// How long may pass without a record that is new.
const STALL: Duration = Duration::from_secs(300);

/// One run; what was done in it, for people.
///
/// # Errors
/// If a table is not what it should be, with the seed.
pub async fn run(size: Size, seed: u64) -> Result<String> {
    ensure!(size.bytes.is_multiple_of(STAMP) && size.bytes > 0, "bytes: a multiple of {STAMP}");
    let dir = std::env::temp_dir().join(unique("towpath-toast")?);
    std::fs::create_dir_all(&dir)?;
    let outcome = run_in(size, seed, &dir).await.with_context(|| {
        format!("toast run with seed {seed}; the worker's files are in {}", dir.display())
    });
    if outcome.is_ok() {
        std::fs::remove_dir_all(&dir)?;
    }
    outcome
}

fn tables(size: Size) -> String {
    let times = size.bytes / STAMP;
    let rows = size.rows;
    // What is left of a value is not so little that it stays in its row.
    let apart = match size.is_packed {
        true => "set (toast_tuple_target = 128)",
        false => "alter column big set storage external",
    };
    format!(
        "create table keyed (id int8 primary key, n int8 not null, big text not null);
         alter table keyed {apart};
         create table twin (id int8 not null, n int8 not null, big text not null);
         alter table twin {apart};
         create index on twin (id);
         alter table twin replica identity full;
         create table ended (id int8 primary key);
         insert into keyed select i, 0, repeat(lpad(i::text, {STAMP}, '0'), {times})
           from generate_series(1, {rows}) i;
         insert into twin select * from keyed"
    )
}

fn source(database: &Database, size: Size) -> Result<Value> {
    let more = json!({
        "producer.override.compression.type": if size.is_packed { "lz4" } else { "none" },
        "slot.drop.on.delete": "true",
        "slot.wal.budget.bytes": "1099511627776",
        "snapshot.max.threads": "2",
    });
    Ok(with(database.source("postgres-cdc")?, more))
}

/// Updates rows at the rate of `size` until it is told to stop; how many it did. One in fifty gets
/// another large value, one in twenty is of the table without a key.
async fn update(client: Client, size: Size, seed: u64, stop: Arc<AtomicBool>) -> Result<u64> {
    let mut random = Random(seed ^ 0x5bd1_e995);
    let (began, mut done) = (Instant::now(), 0_u64);
    let times = size.bytes / STAMP;
    while !stop.load(Ordering::Relaxed) {
        let ids: Vec<String> = (0..BATCH)
            .map(|_| (1 + random.below(usize::try_from(size.rows).unwrap_or(1))).to_string())
            .collect();
        let table = if random.below(20) == 0 { "twin" } else { "keyed" };
        let mut set = "n = n + 1".to_owned();
        if random.below(50) == 0 {
            set.push_str(&format!(
                ", big = repeat(lpad((id + (n + 1) * 10000000000)::text, {STAMP}, '0'), {times})"
            ));
        }
        let ids = ids.join(",");
        client.batch_execute(&format!("update {table} set {set} where id in ({ids})")).await?;
        done += u64::from(BATCH);
        let due = Duration::from_secs_f64(done as f64 / f64::from(size.updates.max(1)));
        tokio::time::sleep_until((began + due).into()).await;
    }
    Ok(done)
}

async fn run_in(size: Size, seed: u64, dir: &Path) -> Result<String> {
    let name = unique("toast")?.replace('-', "_");
    let database = Database::create(&name, &tables(size)).await?;
    for table in ["keyed", "twin"] {
        are_apart(&database.client, table, size).await?;
    }
    let kafka = Kafka::connect()?;
    let (keyed, twin) = (format!("{name}.public.keyed"), format!("{name}.public.twin"));
    let ended = format!("{name}.public.ended");
    // Where a topic ends can't be asked before it is there.
    for topic in [&keyed, &twin, &ended] {
        kafka.create(topic, &[]).await?;
    }
    let mut worker = Worker::new(
        dir,
        &name,
        &server("TOWPATH_TEST_KAFKA")?,
        "offset.flush.interval.ms=500\nsession.timeout.ms=6000",
    )?;
    worker.start()?;
    worker.ready().await?;
    let stop = Arc::new(AtomicBool::new(false));
    let began = Instant::now();
    let updating = tokio::spawn(update(database.connect().await?, size, seed, Arc::clone(&stop)));
    worker.put("toast", &source(&database, size)?).await?;
    let mut before = 0;
    for (n, percent) in KILLS.into_iter().enumerate() {
        let enough = before + size.rows * percent / 100;
        let what = format!("{percent} % of the rows have come");
        reach(&worker, &what, || kafka.end(&keyed).unwrap_or_default(), enough).await?;
        if n == 0 {
            shows_progress(&worker).await?;
        }
        worker.kill()?;
        if n == 1 {
            let client = database.connect().await?;
            client.batch_execute("vacuum full keyed").await?;
            // All of it is read again.
            before = kafka.end(&keyed)?;
        }
        worker.start()?;
        worker.ready().await?;
    }
    let all = || kafka.end(&twin).unwrap_or_default();
    reach(&worker, "the rows of the other table have come", all, size.rows).await?;
    stop.store(true, Ordering::Relaxed);
    let updated = updating.await??;
    let seconds = began.elapsed().as_secs().max(1);
    let client = database.connect().await?;
    client.batch_execute("insert into ended values (1)").await?;
    // It comes last, behind all that was updated meanwhile.
    let records = || {
        let end = |topic| kafka.end(topic).unwrap_or_default();
        if end(&ended) > 0 { i64::MAX } else { end(&keyed) + end(&twin) }
    };
    reach(&worker, "the last row has come", records, i64::MAX).await?;
    let mut passes = 0;
    for (table, topic) in [("keyed", &keyed), ("twin", &twin)] {
        let rebuilt = rebuild(&kafka, topic, size).await?;
        compare(&client, table, &rebuilt.rows, size).await.with_context(|| table.to_owned())?;
        passes = passes.max(rebuilt.passes.len());
    }
    ensure!(passes > KILLS.len(), "{passes} passes for {} kills", KILLS.len());
    ensure!(updated > 0, "nothing was updated");
    let leftover = worker.delete_leftovers("toast").await?;
    ensure!(!leftover.iter().any(|text| text.contains("replication slot")), "{leftover:?}");
    ensure!(!database.has_slot().await?, "the slot was not dropped with its connector");
    drop(client);
    worker.stop().await?;
    kafka.delete(&[&keyed, &twin, &ended]).await?;
    database.drop().await?;
    Ok(format!(
        "{updated} rows were updated in {seconds} s ({} a second), {passes} passes",
        updated / seconds
    ))
}

/// No large value is kept in its row.
async fn are_apart(client: &Client, table: &str, size: Size) -> Result<()> {
    let sql = format!(
        "select reltoastrelid::regclass::text from pg_class where oid = '{table}'::regclass"
    );
    let toast: String = client.query_one(&sql, &[]).await?.get(0);
    let sql = format!("select count(distinct chunk_id) from {toast}");
    let count: i64 = client.query_one(&sql, &[]).await?.get(0);
    ensure!(count == size.rows, "{count} values of {} are kept apart", size.rows);
    Ok(())
}

/// Waits until `count` is `enough`; it may take as long as something comes.
async fn reach(worker: &Worker, what: &str, count: impl Fn() -> i64, enough: i64) -> Result<()> {
    let (mut last, mut since) = (-1, Instant::now());
    loop {
        let now = tokio::task::block_in_place(&count);
        if now >= enough {
            return Ok(());
        }
        if now != last {
            (last, since) = (now, Instant::now());
        }
        if since.elapsed() > STALL {
            bail!("nothing came for {STALL:?} before {what}: {last}; {}", worker.logged()?);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The snapshot's progress and the log that is held back are among the metrics.
async fn shows_progress(worker: &Worker) -> Result<()> {
    let metrics = worker.get_text("/metrics").await?;
    for gauge in [
        "snapshot_rows",
        "snapshot_ranges",
        "snapshot_left_ms",
        "slot_retained_bytes",
        "slot_budget_left_bytes",
        "slot_confirmed_age_ms",
    ] {
        let shown = format!("towpath_connector_{gauge}{{connector=\"toast\"");
        ensure!(metrics.contains(&shown), "{shown} is not among the metrics");
    }
    Ok(())
}

/// A row as a reader of the topic has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    n: i64,
    /// What its large value is made of.
    stamp: u64,
}

struct Rebuilt {
    rows: HashMap<i64, Row>,
    /// Of each pass of the snapshot, which rows it has read.
    passes: HashMap<i64, Vec<u64>>,
}

/// What a large value is made of, if it is whole.
fn stamp(big: &str, bytes: usize) -> Option<u64> {
    let head = big.get(..STAMP)?;
    let is_whole =
        big.len() == bytes && big.as_bytes().chunks(STAMP).all(|part| part == head.as_bytes());
    is_whole.then(|| head.parse().ok()).flatten()
}

async fn rebuild(kafka: &Kafka, topic: &str, size: Size) -> Result<Rebuilt> {
    let words = usize::try_from(size.rows)? / 64 + 1;
    let rebuilt = Rebuilt { rows: HashMap::new(), passes: HashMap::new() };
    let take = move |rebuilt: &mut Rebuilt, message: Message| {
        let value: Value = serde_json::from_slice(message.value.as_deref().unwrap_or_default())?;
        let after = &value["after"];
        let id = after["id"].as_i64().context("an id")?;
        if value["op"] == "r" {
            let pass = value["source"]["txId"].as_i64().context("the pass of a row")?;
            let read = rebuilt.passes.entry(pass).or_insert_with(|| vec![0; words]);
            let (word, bit) = (usize::try_from(id)? / 64, 1 << (id % 64));
            let word = read.get_mut(word).context("an id that there is")?;
            ensure!(*word & bit == 0, "pass {pass} has read the row {id} twice");
            *word |= bit;
        }
        let big = after["big"].as_str().context("a large value")?;
        let stamp = match big {
            "__debezium_unavailable_value" => {
                rebuilt.rows.get(&id).context("a large value that came before")?.stamp
            }
            big => stamp(big, size.bytes)
                .with_context(|| format!("the large value of row {id} is not whole"))?,
        };
        let n = after["n"].as_i64().context("n")?;
        rebuilt.rows.insert(id, Row { n, stamp });
        Ok(())
    };
    kafka.scan(topic, rebuilt, take).await.with_context(|| topic.to_owned())
}

/// What the server has is what was rebuilt.
async fn compare(
    client: &Client,
    table: &str,
    rebuilt: &HashMap<i64, Row>,
    size: Size,
) -> Result<()> {
    ensure!(
        i64::try_from(rebuilt.len())? == size.rows,
        "{} rows were rebuilt, not {}",
        rebuilt.len(),
        size.rows
    );
    let times = i32::try_from(size.bytes / STAMP)?;
    let sql = format!(
        "select id, n, left(big, {STAMP})::int8, big = repeat(left(big, {STAMP}), {times})
           from {table} where id between $1 and $2"
    );
    let step = 100_000;
    for from in (1..=size.rows).step_by(step) {
        let upto = from + i64::try_from(step)? - 1;
        for row in client.query(&sql, &[&from, &upto]).await? {
            let (id, n, made_of): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
            let expect = Row { n, stamp: made_of.cast_unsigned() };
            let is_whole: bool = row.get(3);
            ensure!(is_whole, "the large value of row {id} is not whole on the server");
            let found = rebuilt.get(&id);
            ensure!(found == Some(&expect), "row {id} is {found:?}, not {expect:?}");
        }
    }
    Ok(())
}
