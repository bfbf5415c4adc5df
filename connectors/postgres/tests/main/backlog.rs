//! A backlog with DDL between its rows: each is shown as its table was then.

use serde_json::json;

use crate::server::Server;
use crate::source::Source;

async fn made() -> Server {
    let server = Server::start().await;
    server
        .execute(
            "create table t (id int primary key, a int, b text);
             create publication dbz_publication for all tables; insert into t values (0, 0, 'b')",
        )
        .await;
    server
}

/// Columns are added, dropped, renamed and retyped, and the primary key is another one.
#[tokio::test(flavor = "multi_thread")]
async fn rows_are_shown_as_their_table_was_then() {
    let steps = [
        ("insert into t values (1, 1, 'x')", json!({"id": 1}), json!({"id": 1, "a": 1, "b": "x"})),
        (
            "alter table t add column c int; insert into t values (2, 2, 'x', 2)",
            json!({"id": 2}),
            json!({"id": 2, "a": 2, "b": "x", "c": 2}),
        ),
        (
            "alter table t drop column a; insert into t values (3, 'x', 3)",
            json!({"id": 3}),
            json!({"id": 3, "b": "x", "c": 3}),
        ),
        (
            "alter table t rename column b to bb; insert into t values (4, 'x', 4)",
            json!({"id": 4}),
            json!({"id": 4, "bb": "x", "c": 4}),
        ),
        (
            "alter table t alter column c type text using 'as ' || c; insert into t values (5, 'x', 'y')",
            json!({"id": 5}),
            json!({"id": 5, "bb": "x", "c": "y"}),
        ),
        (
            "alter table t drop constraint t_pkey, add primary key (bb, id); insert into t values (6, 'k', 'y')",
            json!({"bb": "k", "id": 6}),
            json!({"id": 6, "bb": "k", "c": "y"}),
        ),
        (
            "alter table t drop constraint t_pkey, add primary key (id); insert into t values (7, 'k', 'y')",
            json!({"id": 7}),
            json!({"id": 7, "bb": "k", "c": "y"}),
        ),
    ];
    let server = made().await;
    let mut source = Source::start(&server, &[]).await;
    source.take(1).await;
    let active = "select count(*) from pg_replication_slots where active";
    source.run_until(&server, active, |count| count == Some("1")).await;
    let offsets = source.stop().await;
    for (sql, _, _) in &steps {
        // Each is a transaction of its own.
        server.execute(sql).await;
    }
    let mut source = Source::start_at(&server, &[], offsets).await;
    let shown = source.take(steps.len()).await;
    for ((sql, key, after), shown) in steps.iter().zip(&shown) {
        assert_eq!((&shown.key, &shown.value["after"]), (key, after), "{sql}");
        assert_eq!(shown.op(), "c");
    }
}
