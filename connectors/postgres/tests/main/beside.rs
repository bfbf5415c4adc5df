//! Snapshots beside the stream, while rows change, move to other keys and the task is killed: what a
//! consumer has at the end is what the server has, values included that no change ever carried.

use std::time::Duration;

use tokio_postgres::Client;

use crate::harness::{Reader, Rng, seeds};
use crate::rebuilt::{Tables, same};
use crate::server::{Options, Server, Version};

/// All values in `toast` are outside of their rows, and no change of `v` carries them.
const TABLES: &str = "
    create table signals (id serial primary key, type text not null, data text);
    create table t (id int primary key, v int, toast text);
    create table k (name text, n numeric, v int, toast text, primary key (n, name));
    create table sync (rev bigint primary key);
    alter table t alter toast set storage external;
    alter table k alter toast set storage external;
    insert into t select n, 0, repeat(md5(n::text), 80) from generate_series(1, 500) n;
    insert into k select chr(65 + n % 50) || '''' || chr(92) || n, n / 7.0, 0, repeat(md5(n::text), 80)
      from generate_series(1, 400) n;";

const NAMES: [&str; 2] = ["t", "k"];

async fn change(client: &Client, rng: &mut Rng) {
    let id = rng.below(500);
    let sql = match rng.below(12) {
        0..4 => format!("update t set v = v + 1 where id between {id} and {}", id + 20),
        4..6 => format!("update k set v = v + 1 where n between {} and {}", id / 9, id / 9 + 2),
        // To where was read already, and to where was not; never to where another row was before, since
        // a move that comes twice would take that along.
        6 => format!("update t set id = id - 1000 where id between {id} and {}", id + 5),
        7 => format!("update t set id = id + 5000 where id between {id} and {}", id + 5),
        8 => {
            format!("update k set n = n - 100, v = 7 where n between {} and {}", id / 9, id / 9 + 1)
        }
        9 => format!("delete from t where id between {id} and {}", id + 2),
        10 => "insert into t select 10000 + count(*), 1, repeat(md5(random()::text), 90) from t \
               where id >= 10000"
            .to_owned(),
        _ => format!(
            "begin; update t set v = -1 where id < {id}; savepoint a; update t set v = v + 1 where \
             id = {id}; rollback to a; update k set v = v + 1 where n < 5; {}",
            if rng.chance(50) { "commit" } else { "rollback" }
        ),
    };
    // A key that is there already.
    if client.batch_execute(&sql).await.is_err() {
        client.batch_execute("rollback").await.unwrap();
    }
    if rng.chance(1) {
        client.batch_execute("truncate k").await.unwrap();
    }
    if rng.chance(1) {
        let sql = format!("alter table t add column c{} int default 3", rng.next() % 1_000_000);
        client.batch_execute(&sql).await.unwrap();
    }
}

async fn compare(reader: &Reader, client: &Client) {
    for (what, events) in [("exactly once", &reader.once), ("at least once", &reader.least)] {
        let rebuilt = Tables::of(events);
        let mut wrong = Vec::new();
        for table in NAMES {
            // Rows that were never touched since a column came do not have it.
            let select = match table {
                "t" => "select id, v, toast from t",
                _ => "select * from k",
            };
            let columns = ["id", "v", "toast", "name", "n"];
            let rebuilt = rebuilt.only(&format!("public.{table}"), &columns);
            wrong.extend(rebuilt.differences(&format!("public.{table}"), client, select).await);
        }
        same(what, &wrong);
    }
}

async fn round(server: &Server, seed: u64) {
    let mut rng = Rng::new(seed ^ 0xbe51de);
    let client = server.client().await;
    client.batch_execute("create publication dbz_publication for all tables").await.unwrap();
    client.batch_execute(TABLES).await.unwrap();
    let size = *rng.pick(&["1", "9", "40", "1000"]);
    let more = [
        ("snapshot.mode", "no_data"),
        ("signal.data.collection", "public.signals"),
        ("skipped.operations", "none"),
        ("decimal.handling.mode", "string"),
        ("incremental.snapshot.chunk.size", size),
        ("snapshot.max.threads", *rng.pick(&["1", "2"])),
        ("max.batch.size", *rng.pick(&["3", "100"])),
    ];
    let mut reader = Reader::new(server, &more, seed).await;
    reader.start().await;
    reader.read_until(|reader| reader.offset().is_some()).await;
    let signal = "insert into signals (type, data) values ('execute-snapshot', \
                  '{\"data-collections\": [\"public.[tk]\"]}')";
    client.batch_execute(signal).await.unwrap();
    let mut steps = 0;
    let mut crashes = 0;
    let mut was_beside = false;
    // Changes and crashes for a while; then the snapshot may end.
    while steps < 150 || !was_beside {
        steps += 1;
        assert!(steps < 5000, "the signal is not heard");
        reader.step(Duration::from_millis(10)).await;
        was_beside |= reader.is_beside();
        if was_beside && !reader.is_beside() && rng.chance(50) {
            break;
        }
        for _ in 0..rng.below(3) {
            change(&client, &mut rng).await;
        }
        if was_beside && crashes < 6 && rng.chance(6) {
            crashes += 1;
            reader.crash().await;
            for _ in 0..rng.below(5) {
                change(&client, &mut rng).await;
            }
            reader.start().await;
        }
    }
    reader.read_until(|reader| !reader.is_beside()).await;
    client.batch_execute("insert into sync values (1)").await.unwrap();
    reader
        .read_until(|reader| {
            let last = reader.once.iter().rev().take(50);
            last.into_iter().any(|event| event.topic == "public.sync" && event.op == "c")
        })
        .await;
    compare(&reader, &client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_beside_a_snapshot_no_row_is_stale_or_missing() {
    for seed in seeds(4) {
        let version = if seed.0 % 2 == 0 { Version::V18 } else { Version::V15 };
        let server = Server::start_with(Options { version, ..Options::default() }).await;
        round(&server, seed.0).await;
    }
}
