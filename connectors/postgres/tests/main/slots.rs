//! What is asked of a server before it streams.

use std::time::Duration;

use towpath_connector_postgres::lsn::Lsn;
use towpath_connector_postgres::wire::{Connection, NewSlot, WireError};
use towpath_sdk::ErrorKind;

use crate::server::Server;

fn slot(name: &str) -> NewSlot<'_> {
    NewSlot { name, plugin: "pgoutput", temporary: false, export_snapshot: false, failover: true }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, WireError>, kind: ErrorKind, sqlstate: &str) {
    let error = answer.unwrap_err();
    let said = error.server().map(|said| said.sqlstate.as_str());
    assert_eq!((error.kind(), said), (kind, Some(sqlstate)), "{error}");
}

#[tokio::test]
async fn who_the_server_is() {
    let server = Server::start().await;
    let mut connection = Connection::connect(&server.target("postgres")).await.unwrap();
    let system = connection.identify_system().await.unwrap();
    let expect = server.value("SELECT system_identifier FROM pg_control_system()").await;
    assert_eq!(Some(system.system_id), expect);
    assert_eq!((system.timeline, system.database.as_deref()), (1, Some("postgres")));
    let flushed = server.value("SELECT pg_current_wal_flush_lsn()").await.unwrap();
    assert!(system.flushed > Lsn::ZERO && system.flushed <= flushed.parse().unwrap());
    refused(connection.timeline_history(1).await, ErrorKind::NotFound, "58P01");
    // An error is not the connection's end.
    let answer = connection.query("SELECT 1 AS one, NULL AS none; SELECT 'zwei' AS \"two\"").await;
    assert_eq!(answer.unwrap().first("two"), Some("zwei"));
    connection.close().await;
}

#[tokio::test]
async fn a_snapshot_is_as_of_the_slot() {
    let server = Server::start().await;
    server.execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1)").await;
    let mut connection = Connection::connect(&server.target("postgres")).await.unwrap();
    let created = connection.create_slot(&NewSlot { export_snapshot: true, ..slot("s") }).await;
    let created = created.unwrap();
    server.execute("INSERT INTO t VALUES (2)").await;
    let reader = server.client().await;
    let snapshot = created.snapshot.unwrap();
    let begin =
        format!("BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '{snapshot}'");
    reader.batch_execute(&begin).await.unwrap();
    let rows: i64 = reader.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
    assert_eq!(rows, 1);
    let sql = "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 's'";
    let confirmed = server.value(sql).await.unwrap();
    assert_eq!(created.consistent_point, confirmed.parse().unwrap());
}

#[tokio::test]
async fn slots_come_and_go() {
    let server = Server::start().await;
    let target = server.target("postgres");
    let mut connection = Connection::connect(&target).await.unwrap();
    let created = connection.create_slot(&slot("s")).await.unwrap();
    assert_eq!((created.name.as_str(), created.snapshot), ("s", None));
    refused(connection.create_slot(&slot("s")).await, ErrorKind::Conflict, "42710");
    refused(connection.create_slot(&slot("It's x")).await, ErrorKind::Config, "42602");
    let quoted = slot("x\" PHYSICAL \"");
    refused(connection.create_slot(&quoted).await, ErrorKind::Unsupported, "42601");
    refused(connection.drop_slot("nothing", false).await, ErrorKind::NotFound, "42704");

    server.execute("CREATE PUBLICATION p FOR ALL TABLES").await;
    let options = [("proto_version", "1"), ("publication_names", "\"p\"")];
    let user = Connection::connect(&target).await.unwrap();
    let user = user.start_replication("s", Lsn::ZERO, &options).await.unwrap();
    refused(connection.drop_slot("s", false).await, ErrorKind::Unavailable, "55006");
    let other = Connection::connect(&target).await.unwrap();
    let other = other.start_replication("s", Lsn::ZERO, &options).await;
    refused(other, ErrorKind::Unavailable, "55006");
    user.finish(Duration::from_secs(20)).await.unwrap();
    connection.drop_slot("s", true).await.unwrap();
    assert_eq!(server.value("SELECT slot_name FROM pg_replication_slots").await, None);

    connection.create_slot(&NewSlot { temporary: true, ..slot("t") }).await.unwrap();
    let sql = "SELECT temporary::text FROM pg_replication_slots WHERE slot_name = 't'";
    assert_eq!(server.value(sql).await.as_deref(), Some("true"));

    let reader = Connection::connect(&target).await.unwrap();
    let missing = reader.start_replication("nothing", Lsn::ZERO, &options).await;
    refused(missing, ErrorKind::NotFound, "42704");
}
