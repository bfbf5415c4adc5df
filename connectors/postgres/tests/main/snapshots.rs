//! Snapshots that are cut off at any moment, while rows change, move and are rewritten.

use std::collections::HashSet;
use std::time::Duration;

use tokio_postgres::Client;
use towpath_sdk::source::Budget;

use crate::harness::{Event, ROOM, Reader, Rng, seeds};
use crate::rebuilt::{Tables, same};
use crate::server::{Options, Server};

/// Rows that fill a block each, so that few make several ranges, and each that is updated moves: to
/// where others were deleted, or to the end.
const WIDE: &str = "
    create table wide (id int primary key, v int, pad text, toast text);
    alter table wide alter pad set storage plain, alter toast set storage external;
    create table other (like wide including all);
    create table bag (id int, v int);
    create table small (id int primary key, v int, toast text);
    alter table small alter toast set storage external;
    create table sync (rev bigint primary key);
    insert into wide select n, 0, repeat('x', 4500),
        case when n % 3 = 0 then repeat(md5(n::text), 70) end from generate_series(1, 1400) n;
    insert into other select n, 0, repeat('x', 4500),
        case when n % 3 = 0 then repeat(md5(n::text), 70) end from generate_series(1, 1100) n;
    insert into bag select n, 0 from generate_series(1, 3000) n;
    insert into small select n, 0, repeat(md5(n::text), 100) from generate_series(1, 100) n;
    delete from wide where id % 5 = 1;
    delete from other where id < 200;
    vacuum (truncate false) wide, other;";

const TABLES: [&str; 3] = ["wide", "other", "small"];

async fn change(client: &Client, rng: &mut Rng, next_id: &mut usize) {
    let table = *rng.pick(&TABLES);
    let from = rng.below(1400);
    let upto = from + 1 + rng.below(60);
    let some = format!("id between {from} and {upto}");
    let sql = match rng.below(8) {
        0 | 1 => format!("update {table} set v = v + 1 where {some}"),
        2 | 3 => format!("update {table} set v = v + 1 where id % 4 = {}", from % 4),
        4 => format!("update {table} set toast = repeat(md5(random()::text), 120) where {some}"),
        5 => format!("delete from {table} where {some} and id % 3 = 0"),
        6 => format!("vacuum (truncate false) {table}"),
        _ => {
            let count = 1 + rng.below(40);
            *next_id += count;
            let first = *next_id - count;
            let toast = "repeat(md5(random()::text), 130)";
            format!(
                "insert into {table} (id, v, toast) select n, 1, {toast} from generate_series({first}, {}) n",
                *next_id - 1
            )
        }
    };
    client.batch_execute(&sql).await.unwrap();
    if rng.chance(20) {
        // What subtransactions have made has another xmin.
        let sql = format!(
            "begin; savepoint a; update {table} set v = v + 1 where {some}; release a; savepoint b; \
             update {table} set v = -1; rollback to b; commit"
        );
        client.batch_execute(&sql).await.unwrap();
    }
}

fn no_row_came_twice(reader: &Reader) {
    let mut seen = HashSet::new();
    let twice: Vec<_> = reader.reads.iter().filter(|read| !seen.insert(*read)).take(5).collect();
    assert!(twice.is_empty(), "in one pass came twice: {twice:?}");
}

fn has_synced(reader: &Reader) -> bool {
    reader.once.iter().rev().take(50).any(|event| event.topic == "public.sync" && event.op == "c")
}

async fn compare(reader: &Reader, client: &Client, tables: &[&str]) {
    for (what, events) in [("exactly once", &reader.once), ("at least once", &reader.least)] {
        let rebuilt = Tables::of(events);
        let mut wrong = Vec::new();
        for table in tables {
            let select = format!("select * from {table}");
            wrong.extend(rebuilt.differences(&format!("public.{table}"), client, &select).await);
        }
        same(what, &wrong);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_it_is_cut_off_no_row_is_missed() {
    for seed in seeds(2) {
        let mut rng = Rng::new(seed.0 ^ 0xabcd);
        let server = Server::start().await;
        let client = server.client().await;
        client.batch_execute("create publication dbz_publication for all tables").await.unwrap();
        for sql in WIDE.split(';') {
            client.batch_execute(sql).await.unwrap();
        }
        let size = *rng.pick(&["4", "20", "90"]);
        let more = [
            ("snapshot.max.threads", "3"),
            ("max.batch.size", size),
            ("max.queue.size.in.bytes", "20000"),
        ];
        let mut reader = Reader::new(&server, &more, seed.0).await;
        let mut next_id = 10_000;
        for pass in 0..5 {
            reader.start().await;
            // The first passes see little, the last one may see the end.
            let steps = rng.below(120) + 40 * pass;
            for _ in 0..steps {
                reader.step(Duration::from_millis(20)).await;
                if rng.chance(15) {
                    change(&client, &mut rng, &mut next_id).await;
                }
                if reader.is_snapshot_done() {
                    break;
                }
            }
            no_row_came_twice(&reader);
            reader.crash().await;
            let table = *rng.pick(&TABLES);
            for sql in match rng.below(5) {
                0 => vec!["vacuum full wide".to_owned(), "vacuum full other".to_owned()],
                1 => vec![format!("cluster {table} using {table}_pkey")],
                2 => vec![
                    format!("truncate {table}"),
                    format!(
                        "insert into {table} (id, v) select n, 5 from generate_series(1, 900) n"
                    ),
                ],
                _ => vec![format!("vacuum (truncate false) {table}")],
            } {
                client.batch_execute(&sql).await.unwrap();
            }
            for _ in 0..rng.below(12) {
                change(&client, &mut rng, &mut next_id).await;
            }
        }
        reader.start().await;
        reader.read_until(Reader::is_snapshot_done).await;
        no_row_came_twice(&reader);
        client.batch_execute("insert into sync values (1)").await.unwrap();
        reader.read_until(has_synced).await;
        compare(&reader, &client, &TABLES).await;
        // Nothing has changed in it, so each row has come once.
        let rebuilt = Tables::of(&reader.once);
        same(
            "without a key",
            &rebuilt.differences("public.bag", &client, "select * from bag").await,
        );
        let ranges = reader.stored.iter().count();
        assert_eq!(ranges, 1, "progress of the snapshot is forgotten once it is over");
    }
}

/// Killed just before and just after it is stored that the snapshot is over.
#[tokio::test(flavor = "multi_thread")]
async fn the_hand_over_to_the_stream_loses_and_repeats_nothing() {
    let server = Server::start().await;
    let client = server.client().await;
    let sql = "create table t (id int primary key, v int); create table bag (id int, v int);
               create table sync (rev bigint primary key);
               create publication dbz_publication for all tables;
               insert into t select n, 0 from generate_series(1, 60) n;
               insert into bag select n, 0 from generate_series(1, 60) n";
    client.batch_execute(sql).await.unwrap();
    for (n, is_stored) in [false, true, true, false].into_iter().enumerate() {
        let slot = format!("s{n}");
        let more = [("slot.name", slot.as_str()), ("max.batch.size", "25")];
        let mut reader = Reader::new(&server, &more, n as u64).await;
        reader.start().await;
        // The slot is there: from here on changes are in the stream.
        while reader.offset().is_none() {
            reader.poll_for(ROOM, Duration::from_millis(50)).await.unwrap();
            let first = reader.marks_count().min(1);
            reader.store(first).await.unwrap();
        }
        let changes = format!(
            "update t set v = v + 1; insert into bag values ({n}, 100); insert into t values ({}, 7)",
            1000 + n
        );
        client.batch_execute(&changes).await.unwrap();
        while !reader.has_polled_the_end() {
            reader.poll_for(ROOM, Duration::from_millis(200)).await.unwrap();
        }
        let upto = reader.mark_of_the_end() + usize::from(is_stored);
        reader.store(upto).await.unwrap();
        assert_eq!(reader.is_snapshot_done(), is_stored);
        if n != 2 {
            reader.crash().await;
            reader.start().await;
        } else {
            reader.rewind().await;
        }
        client.batch_execute("delete from sync; insert into sync values (1)").await.unwrap();
        reader.read_until(has_synced).await;
        compare(&reader, &client, &["t"]).await;
        let rows = |op: &str, topic: &str| {
            reader.once.iter().filter(|event| event.op == op && event.topic == topic).count()
        };
        assert_eq!(rows("u", "public.t"), 60 + n, "each update comes once");
        assert_eq!((rows("c", "public.t"), rows("c", "public.bag")), (1, 1));
        if is_stored {
            // Nothing was read twice.
            let rebuilt = Tables::of(&reader.once);
            let wrong = rebuilt.differences("public.bag", &client, "select * from bag").await;
            same("without a key", &wrong);
        }
    }
}

/// Another's scan of a table lets ours begin in its middle, unless we say that it must not: what is
/// marked as read would not have been.
#[tokio::test(flavor = "multi_thread")]
async fn scans_of_others_do_not_change_the_order() {
    let settings = [("shared_buffers", "1MB")];
    let server = Server::start_with(Options { settings: &settings, ..Options::default() }).await;
    let client = server.client().await;
    let sql = "create table t (id int primary key, pad text) with (fillfactor = 10);
               create table sync (rev bigint primary key);
               create publication dbz_publication for all tables;
               insert into t select n, repeat('x', 500) from generate_series(1, 900) n";
    client.batch_execute(sql).await.unwrap();
    let scan = "begin; declare half cursor for select * from t; move 500 in half";
    client.batch_execute(scan).await.unwrap();
    let more = [("max.batch.size", "10"), ("max.queue.size.in.bytes", "10000")];
    let mut reader = Reader::new(&server, &more, 1).await;
    reader.start().await;
    reader.read_until(|reader| reader.once.len() > 200).await;
    reader.crash().await;
    client.batch_execute("commit; insert into sync values (1)").await.unwrap();
    reader.start().await;
    reader.read_until(has_synced).await;
    compare(&reader, &client, &["t"]).await;
    let reads =
        reader.once.iter().filter(|event: &&Event| event.op == "r" && event.topic == "public.t");
    assert_eq!(reads.count(), 900, "each row is read once");
}

/// A table must not be rewritten between the look at what was read of it and reading on.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_rewritten_during_a_pass_is_not_missed() {
    let server = Server::start().await;
    let client = server.client().await;
    let sql = "create table a (id int primary key, pad text); create table b (id int primary key, pad text);
               create table sync (rev bigint primary key);
               create publication dbz_publication for all tables;
               insert into a select n, repeat('x', 500) from generate_series(1, 2000) n;
               insert into b select n, repeat('x', 500) from generate_series(1, 2000) n;
               delete from b where id <= 800";
    client.batch_execute(sql).await.unwrap();
    let more = [("max.batch.size", "10"), ("max.queue.size.in.bytes", "10000")];
    let mut reader = Reader::new(&server, &more, 1).await;
    reader.start().await;
    // All of `a`, and a part of `b`.
    reader.read_until(|reader| reader.once.len() > 2600).await;
    reader.crash().await;
    client.batch_execute("update a set pad = repeat('z', 500)").await.unwrap();
    reader.start().await;
    let before = reader.pending();
    while reader.pending() < before + 20 {
        reader.poll_for(Budget { records: 10, ..ROOM }, Duration::from_millis(100)).await.unwrap();
    }
    // It is at `a`. If this is let happen, it must not do harm.
    let rewrite = "set lock_timeout = '1s'; vacuum full b";
    for sql in rewrite.split(';') {
        drop(client.batch_execute(sql).await);
    }
    reader.read_until(Reader::is_snapshot_done).await;
    client.batch_execute("insert into sync values (1)").await.unwrap();
    reader.read_until(has_synced).await;
    compare(&reader, &client, &["a", "b"]).await;
}

/// Under `publish_via_partition_root` rows are the root's, whether they are read or change.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_partitions_are_shown_as_their_changes_are() {
    let server = Server::start().await;
    let client = server.client().await;
    // A partition of its own making has its columns in another order.
    let sql =
        "create table parts (id int, k int, v text, primary key (id, k)) partition by list (k);
               create table parts_0 partition of parts for values in (0);
               create table parts_1 (v text, k int not null, id int not null);
               alter table parts attach partition parts_1 for values in (1);
               create table sync (rev bigint primary key);
               insert into parts select n, n % 2, 'old' from generate_series(1, 40) n;
               create publication root for all tables with (publish_via_partition_root = true);
               create publication leaf for all tables";
    client.batch_execute(sql).await.unwrap();
    let root = r"public\.(parts|sync)";
    let leaves = r"public\.(parts_.|sync)";
    for (publication, captured, tables) in [
        ("root", root, &["parts"] as &[&str]),
        ("root", r"public\..*", &["parts"]),
        ("leaf", leaves, &["parts_0", "parts_1"]),
        ("made", root, &["parts"]),
    ] {
        let (is_made, slot) = (publication == "made", format!("s{}", captured.len()) + publication);
        let more = [
            ("slot.name", &*slot),
            ("publication.name", publication),
            ("table.include.list", captured),
            ("publish.via.partition.root", if is_made { "true" } else { "false" }),
            ("publication.autocreate.mode", "filtered"),
        ];
        let mut reader = Reader::new(&server, &more, 1).await;
        reader.start().await;
        reader.read_until(Reader::is_snapshot_done).await;
        let sql = "update parts set v = v || 'x' where id % 3 = 0; delete from parts where id = 40;
                   insert into parts values (40, 0, 'new'); delete from sync; insert into sync values (1)";
        client.batch_execute(sql).await.unwrap();
        reader.read_until(has_synced).await;
        compare(&reader, &client, tables).await;
        let topics: HashSet<_> = reader.once.iter().map(|event| event.topic.as_str()).collect();
        assert_eq!(topics.len(), tables.len() + 1, "{topics:?}");
    }
}
