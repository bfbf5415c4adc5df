use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use proptest::prelude::*;
use towpath_sdk::ErrorKind;
use towpath_sdk::error::Action;

use super::super::channel::Channel;
use super::super::command::NewSlot;
use super::super::stream::{Frame, Stream};
use super::*;
use crate::lsn::Lsn;

/// A connection that has logged in, and its server.
async fn connected() -> (Connection<DuplexStream>, Server) {
    let (client, server) = tokio::io::duplex(1 << 20);
    let mut server = Server(server);
    server.send(&welcome()).await;
    let connection = Connection::start(client, &target(), &Way::default()).await.unwrap();
    server.start_up().await;
    (connection, server)
}

/// A stream that has begun, and its server.
async fn streaming() -> (Stream<DuplexStream>, Server) {
    let (connection, mut server) = connected().await;
    server.send(&message(b'W', &[0; 3])).await;
    let stream = connection.start_replication("s", Lsn(10), &[]).await.unwrap();
    let command = server.expect(b'Q').await;
    assert_eq!(command, b"START_REPLICATION SLOT \"s\" LOGICAL 0/A\0");
    (stream, server)
}

/// 2000-01-01 as the server and as we say it.
const EPOCH_US: i64 = 946_684_800_000_000;

fn wal(start: u64, data: &[u8]) -> Vec<u8> {
    let head = [start.to_be_bytes(), (start + 1).to_be_bytes(), 7i64.to_be_bytes()].concat();
    message(b'd', &[b"w", &head[..], data].concat())
}

fn wal_frame(start: u64, data: &[u8]) -> Frame {
    let data = Bytes::copy_from_slice(data);
    Frame::Wal { start: Lsn(start), end: Lsn(start + 1), sent_at_us: EPOCH_US + 7, data }
}

fn keep_alive(end: u64, reply: bool) -> Vec<u8> {
    let body = [&b"k"[..], &end.to_be_bytes(), &8i64.to_be_bytes(), &[reply.into()]].concat();
    message(b'd', &body)
}

fn rows(names: &[&str], rows: &[&[Option<&str>]]) -> Vec<u8> {
    let mut described = BytesMut::new();
    described.put_u16(names.len() as u16);
    for name in names {
        described.put_slice(name.as_bytes());
        described.put_slice(&[0; 19]);
    }
    let mut out = message(b'T', &described);
    for row in rows {
        let mut body = BytesMut::new();
        body.put_u16(row.len() as u16);
        for value in *row {
            match value {
                None => body.put_i32(-1),
                Some(value) => {
                    body.put_u32(value.len() as u32);
                    body.put_slice(value.as_bytes());
                }
            }
        }
        out.extend(message(b'D', &body));
    }
    out.extend(message(b'C', b"SELECT 1\0"));
    out.extend(message(b'Z', b"I"));
    out
}

#[tokio::test]
async fn queries_give_rows_by_name() {
    let (mut connection, mut server) = connected().await;
    server.send(&rows(&["a", "b"], &[&[Some("1"), None], &[Some(""), Some("x")]])).await;
    let found = connection.query("SELECT").await.unwrap();
    assert_eq!((found.first("a"), found.first("b"), found.first("c")), (Some("1"), None, None));
    assert_eq!(found.rows[1], [Some(String::new()), Some("x".to_owned())]);
    assert_eq!(server.expect(b'Q').await, b"SELECT\0");

    let refusal = message(b'E', b"SERROR\0C42601\0Msyntax error\0\0");
    server.send(&[refusal, message(b'Z', b"I")].concat()).await;
    let error = connection.query("SELCT").await.unwrap_err();
    assert_eq!(error.server().unwrap().sqlstate, "42601");

    // The connection goes on.
    let names = ["systemid", "timeline", "xlogpos", "dbname"];
    server.send(&rows(&names, &[&[Some("71"), Some("2"), Some("1/A"), Some("shop")]])).await;
    let system = connection.identify_system().await.unwrap();
    assert_eq!((system.timeline, system.flushed), (2, Lsn(0x1_0000_000A)));
}

#[tokio::test]
async fn slots_are_created() {
    let (mut connection, mut server) = connected().await;
    let names = ["slot_name", "consistent_point", "snapshot_name", "output_plugin"];
    server.send(&rows(&names, &[&[Some("s"), Some("0/1"), None, Some("pgoutput")]])).await;
    let slot = NewSlot {
        name: "s",
        plugin: "pgoutput",
        temporary: false,
        export_snapshot: false,
        failover: true,
    };
    let created = connection.create_slot(&slot).await.unwrap();
    assert_eq!((created.consistent_point, created.snapshot), (Lsn(1), None));
    server.send(&rows(&["slot_name", "consistent_point"], &[&[Some("s"), Some("x")]])).await;
    let error = connection.create_slot(&slot).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "create a replication slot on PostgreSQL at db:5432 as 'alice', database 'shop': the \
         consistent_point 'x', which a PostgreSQL server does not send there"
    );
}

#[tokio::test]
async fn a_query_that_was_dropped_ends_the_connection() {
    let (mut connection, mut server) = connected().await;
    assert!(connection.query("SELECT 1").now_or_never().is_none());
    server.send(&rows(&["a"], &[])).await;
    let error = connection.query("SELECT 2").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn frames_come_whole_however_they_arrive() {
    let (mut stream, mut server) = streaming().await;
    let bytes =
        [wal(1, b"one"), keep_alive(9, true), wal(2, b""), message(b'N', b"M\0\0")].concat();
    let mut frames = Vec::new();
    for byte in bytes {
        server.send(&[byte]).await;
        // Each of these futures is dropped with a piece of a frame in hand.
        while let Some(frame) = stream.next().now_or_never() {
            frames.push(frame.unwrap());
        }
    }
    let alive = Frame::KeepAlive { end: Lsn(9), sent_at_us: EPOCH_US + 8, reply_requested: true };
    assert_eq!(frames, [wal_frame(1, b"one"), alive, wal_frame(2, b"")]);
}

#[tokio::test]
async fn what_has_arrived_is_taken_without_waiting() {
    let (mut stream, mut server) = streaming().await;
    server.send(&(0..100).flat_map(|n| wal(n, b"row")).collect::<Vec<_>>()).await;
    assert_eq!(stream.try_next().unwrap(), None);
    assert_eq!(stream.next().await.unwrap(), wal_frame(0, b"row"));
    for n in 1..100 {
        assert_eq!(stream.try_next().unwrap(), Some(wal_frame(n, b"row")));
    }
    assert_eq!(stream.try_next().unwrap(), None);
}

#[tokio::test]
async fn statuses_say_how_far() {
    let (mut stream, mut server) = streaming().await;
    stream.send_status(Lsn(3), Lsn(2), Lsn(1), true).await.unwrap();
    let status = server.expect(b'd').await;
    let (lsns, rest) = status.split_at(25);
    let expect =
        [&b"r"[..], &3u64.to_be_bytes(), &2u64.to_be_bytes(), &1u64.to_be_bytes()].concat();
    assert_eq!(lsns, expect);
    let at = i64::from_be_bytes(rest[..8].try_into().unwrap());
    // Between 2020 and 2100.
    assert!((631_152_000_000_000..3_155_760_000_000_000).contains(&at), "{at}");
    assert_eq!(rest[8..], [1]);
}

#[tokio::test]
async fn the_end_is_said_and_heard() {
    let (stream, mut server) = streaming().await;
    server.send(&wal(1, b"on its way")).await;
    let finish = tokio::spawn(stream.finish(Duration::from_secs(10)));
    assert_eq!(server.expect(b'c').await, b"");
    let end = [message(b'c', b""), message(b'C', b"COPY 0\0"), message(b'Z', b"I")].concat();
    server.send(&end).await;
    assert_eq!(server.expect(b'X').await, b"");
    finish.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_end_is_left() {
    let (stream, _server) = streaming().await;
    let error = stream.finish(Duration::from_secs(3)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[track_caller]
fn check(error: Result<Frame>, action: Action, text: &str) {
    let error = error.unwrap_err();
    let head = "read the changes of PostgreSQL at db:5432 as 'alice', database 'shop': ";
    assert_eq!((error.kind().action(), error.to_string()), (action, format!("{head}{text}")));
}

#[tokio::test]
async fn a_stream_that_ends_is_retried() {
    let (mut stream, mut server) = streaming().await;
    server.send(&message(b'C', b"COPY 0\0")).await;
    let text = "the server ended the stream, as it does when it is shut down";
    check(stream.next().await, Action::Retry, text);

    let (mut stream, mut server) = streaming().await;
    server.send(&message(b'E', b"SFATAL\0C57P01\0Mterminating\0\0")).await;
    check(stream.next().await, Action::Retry, "terminating (SQLSTATE 57P01)");

    let (mut stream, mut server) = streaming().await;
    server.send(&wal(1, b"row")[..9]).await;
    drop(server);
    check(stream.next().await, Action::Retry, "the server closed the connection");
}

#[tokio::test]
async fn garbage_is_an_error() {
    let never = ", which a PostgreSQL server does not send there";
    for (bytes, text) in [
        (message(b'd', b"?"), "a frame '?'"),
        (message(b'd', b""), "a frame that is cut short"),
        (message(b'd', b"w1234"), "a frame that is cut short"),
        (message(b'd', b"k1234"), "a frame that is cut short"),
        (message(b'T', b""), "a message 'T' in a stream of changes"),
        (b"d\0\0\0\x03".to_vec(), "a message 'd' of 3 bytes"),
        (b"d\xff\xff\xff\xff".to_vec(), "a message 'd' of -1 bytes"),
        (b"\0\x7f\xff\xff\xff".to_vec(), r"a message '\x00' of 2147483647 bytes"),
    ] {
        let (mut stream, mut server) = streaming().await;
        server.send(&bytes).await;
        check(stream.next().await, Action::Restart, &format!("{text}{never}"));
    }
}

/// A channel that takes long messages, and its other end.
fn channel() -> (Channel<DuplexStream>, Server) {
    let (client, server) = tokio::io::duplex(1 << 23);
    let mut channel = Channel::new(client);
    channel.trust();
    (channel, Server(server))
}

#[tokio::test]
async fn announced_lengths_allocate_nothing() {
    let (mut channel, mut server) = channel();
    server.send(b"d\x40\0\0\0").await;
    assert!(channel.next().now_or_never().is_none());
    assert!(channel.room() <= 1 << 17, "{}", channel.room());
    let mut sent = 0;
    while sent < 1 << 22 {
        server.send(&[0; 10_000]).await;
        sent += 10_000;
        assert!(channel.next().now_or_never().is_none());
        assert!(channel.room() <= sent * 2 + (1 << 16), "{} of {sent}", channel.room());
    }
}

#[tokio::test]
async fn large_buffers_are_given_back() {
    let (mut channel, mut server) = channel();
    let long = vec![b'x'; 3 << 20];
    server.send(&[message(b'd', &long), message(b'd', b"short")].concat()).await;
    let first = channel.next().await.unwrap();
    assert_eq!(first.body, long);
    drop(first);
    assert_eq!(channel.next().await.unwrap().body, "short");
    assert!(channel.next().now_or_never().is_none());
    assert!(channel.room() <= 1 << 17, "{}", channel.room());
}

proptest! {
    #[test]
    fn frames_survive_any_fragments(
        rows in prop::collection::vec((any::<u8>(), 0..300usize), 1..20),
        large in 0..200_000usize,
        cuts in prop::collection::vec(1..5000usize, 1..10),
    ) {
        let rows: Vec<Vec<u8>> = rows
            .into_iter()
            .chain([(b'x', large)])
            .map(|(byte, length)| vec![byte; length])
            .collect();
        let bytes: Vec<u8> = rows.iter().flat_map(|row| message(b'd', row)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut channel, mut server) = channel();
            let (mut rest, mut cuts) = (&bytes[..], cuts.iter().cycle());
            let mut found = Vec::new();
            while !rest.is_empty() {
                let (part, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                rest = after;
                server.send(part).await;
                while let Some(message) = channel.next().now_or_never() {
                    found.push(message.unwrap().body.to_vec());
                }
            }
            assert_eq!(found, rows);
        });
    }

    #[test]
    fn any_bytes_are_frames_or_an_error(
        parts in prop::collection::vec(
            (prop::sample::select(b"dddEcCNSWTZ\0".to_vec()), prop::collection::vec(any::<u8>(), 0..40)),
            0..5,
        ),
        rest in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut stream, mut server) = streaming().await;
            for (tag, body) in parts {
                let kind = [b'w', b'k', b'?'][body.len() % 3];
                server.send(&message(tag, &[&[kind], &body[..]].concat())).await;
            }
            server.send(&rest).await;
            drop(server);
            while stream.next().await.is_ok() {}
        });
    }

    #[test]
    fn any_answer_to_a_query_is_rows_or_an_error(
        parts in prop::collection::vec(
            (prop::sample::select(b"TDCIZEN".to_vec()), prop::collection::vec(0..4u8, 0..40)),
            0..6,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut connection, mut server) = connected().await;
            for (tag, body) in parts {
                server.send(&message(tag, &body)).await;
            }
            let answer = connection.query("SELECT");
            drop(answer.now_or_never());
        });
    }
}
