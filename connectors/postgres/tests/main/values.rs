//! Texts that formats like to trip over come the same by COPY and by the stream.

use crate::harness::Reader;
use crate::rebuilt::{Tables, same};
use crate::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn texts_are_the_same_read_and_streamed() {
    let server = Server::start().await;
    let client = server.client().await;
    let texts = [
        "null".to_owned(),
        "''".to_owned(),
        "' '".to_owned(),
        r"'\N'".to_owned(),
        r"'\\N'".to_owned(),
        r"'\'".to_owned(),
        r"'\.'".to_owned(),
        r"'\\'".to_owned(),
        r"'a\tb\nc\x41\101'".to_owned(),
        r"E'tab\there'".to_owned(),
        r"E'line\nbreak\r\nand\rreturn\n'".to_owned(),
        r"E'\b\f\v\x01\x7f'".to_owned(),
        "E'\\tat the\\nends\\t'".to_owned(),
        r#"'"double", ''single'', {a,b}, (1,2), NULL, $1, %s'"#.to_owned(),
        "'\u{1f6b2}\u{e4}\u{2028}\u{feff}\u{10ffff}'".to_owned(),
        "repeat('x', 1000000)".to_owned(),
        r"repeat(E'\\\t\n', 350000)".to_owned(),
        "repeat('\u{1f980}', 250000)".to_owned(),
    ];
    // Uncompressed and compressed, in the row and out of it; and the delimiters at the ends of a row.
    client
        .batch_execute(
            "create table t (a text, id int primary key, ext text, main text, plain varchar(9), z text);
             alter table t alter ext set storage external, alter main set storage main;
             create publication dbz_publication for all tables",
        )
        .await
        .unwrap();
    let insert = |from: usize| {
        let rows = texts.iter().enumerate().map(|(n, text)| {
            let id = from + n;
            format!("({text}, {id}, {text}, {text}, left({text}, 9), {text})")
        });
        format!("insert into t values {}", rows.collect::<Vec<_>>().join(", "))
    };
    client.batch_execute(&insert(0)).await.unwrap();
    client.batch_execute("alter table t replica identity full").await.unwrap();
    let more = [("max.queue.size.in.bytes", "100000")];
    let mut reader = Reader::new(&server, &more, 1).await;
    reader.start().await;
    reader.read_until(Reader::is_snapshot_done).await;
    client.batch_execute(&insert(100)).await.unwrap();
    // By way of the row before, and of TOAST that is left alone.
    client.batch_execute("update t set id = id + 1000 where id >= 100").await.unwrap();
    client.batch_execute(&insert(200)).await.unwrap();
    client.batch_execute("alter table t replica identity default").await.unwrap();
    client.batch_execute("update t set plain = 'new' where id between 200 and 299").await.unwrap();
    let count = texts.len();
    let updates = |reader: &Reader| reader.once.iter().filter(|event| event.op == "u").count();
    reader.read_until(|reader| updates(reader) == count).await;
    assert_eq!(reader.reads.len(), count);
    let tables = Tables::of(&reader.once);
    same("t", &tables.differences("public.t", &client, "select * from t").await);
    let rows: i64 = client.query_one("select count(*) from t", &[]).await.unwrap().get(0);
    assert_eq!(usize::try_from(rows).unwrap(), 3 * count);
}
