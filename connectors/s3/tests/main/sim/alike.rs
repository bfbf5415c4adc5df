//! The model of a store against the real server: the same requests get the same answers.

use std::sync::Arc;

use aws_sdk_s3::config::SharedHttpClient;
use towpath_connector_s3::buffer::{Buffer, Codec, Compression, Payload, Pool};
use towpath_connector_s3::chain::Mark;
use towpath_connector_s3::client::{Client, Connection, Found};
use towpath_sdk::error::Result;

use super::store::{Http, Store, Straight};
use crate::bucket::Bucket;
use crate::rig::config;

fn payload(bytes: &[u8]) -> Payload {
    let mut codec = Codec::new(Compression::None).expect("a codec");
    let mut buffer = Buffer::new(&Pool::new(usize::MAX));
    buffer.room(bytes.len(), &mut codec).expect("room").extend_from_slice(bytes);
    buffer.finish(&mut codec).expect("a payload")
}

fn mark(end: Option<i64>) -> Mark {
    Mark { writer: "w".into(), nonce: "n".into(), start: 3, end, first: 7 }
}

/// What a store says to all that the sink asks.
async fn answers(connection: &Connection) -> Vec<String> {
    let client = Client::new(connection, Default::default()).await;
    let mut said = Vec::new();
    let mut note = |what: &str, answer: String| said.push(format!("{what}: {answer}"));
    let (small, part) = (payload(b"small\n"), payload(&vec![b'x'; 5 << 20]));
    let kind = |found: Result<Found>| format!("{found:?}");
    note("look at nothing", kind(client.look("d/a+1.json").await));
    for (what, new) in [("put", true), ("put again", true), ("overwrite", false)] {
        let written = client.put("d/a+1.json", &small, Some(&mark(Some(4))), new).await;
        note(what, format!("{written:?}"));
    }
    note("look", kind(client.look("d/a+1.json").await));
    note("put unmarked", format!("{:?}", client.put("d/é b.json", &small, None, true).await));
    note("look at a stranger", kind(client.look("d/é b.json").await));
    let taken = client.begin("d/a+1.json", &mark(None)).await.expect("an upload");
    let sent = client.send_part(&taken, 1, &part).await.expect("an answer").expect("a part");
    note("complete a taken name", format!("{:?}", client.complete(&taken, &[sent], true).await));
    let uploads = |found: Result<Vec<_>>| found.map(|found| found.len());
    note("uploads", format!("{:?}", uploads(client.uploads("d/").await)));
    note("abort", format!("{:?}", client.abort(&taken).await));
    note("abort again", format!("{:?}", client.abort(&taken).await));
    // A small one: a server that refuses before it has read all may close the connection on the rest.
    note(
        "a part of nothing",
        format!("{:?}", client.send_part(&taken, 2, &small).await.map(|p| p.is_some())),
    );
    let upload = client.begin("d/c.json", &mark(None)).await.expect("an upload");
    let mut parts = Vec::new();
    for (number, payload) in [(1, &part), (2, &small)] {
        let sent = client.send_part(&upload, number, payload).await.expect("an answer");
        parts.push(sent.expect("a part"));
    }
    note("complete", format!("{:?}", client.complete(&upload, &parts, true).await));
    note("complete again", format!("{:?}", client.complete(&upload, &parts, true).await));
    note("look at it", kind(client.look("d/c.json").await));
    note("list", format!("{:?}", client.list("d/", "d/a+1.json").await));
    note("uploads", format!("{:?}", uploads(client.uploads("d/").await)));
    note("delete", format!("{:?}", client.delete("d/c.json").await));
    note("delete again", format!("{:?}", client.delete("d/c.json").await));
    note("list", format!("{:?}", client.list("d/", "").await));
    said
}

#[tokio::test]
async fn the_model_answers_as_the_server_does() {
    let bucket = Bucket::new().await;
    let mut connection = config(&bucket, &[]).plan().expect("a plan").connection;
    let real = answers(&connection).await;
    let way = Straight(Arc::new(Store::new(None, false)));
    connection.http = Some(SharedHttpClient::new(Http(Arc::new(way))));
    assert_eq!(answers(&connection).await, real);
}
