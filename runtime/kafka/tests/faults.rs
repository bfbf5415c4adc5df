//! Brokers that can't be reached, refuse, or come back.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use tokio::sync::Mutex;
use towpath_core::ports::{
    ClientOverrides, Cluster as _, ConsumerEvent, PortErrorKind, ProducerSpec,
};
use towpath_kafka::KafkaCluster;

use crate::support::{
    batches, cluster, consumer, numbered, options_at, producer, send, soon, started, topic, unique,
    values, variable,
};

/// One test at a time cuts the connection.
static FAULTY: Mutex<()> = Mutex::const_new(());

/// Lets connections through the fault injector, or cuts them.
fn connect(enabled: bool) {
    let address = variable("TOWPATH_TEST_TOXIPROXY");
    let address = address.strip_prefix("http://").unwrap();
    let body = format!(r#"{{"enabled": {enabled}}}"#);
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST /proxies/kafka HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

struct Restored;
impl Drop for Restored {
    fn drop(&mut self) {
        connect(true);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_away_and_returns_is_trouble_that_heals() {
    let _turn = FAULTY.lock().await;
    let _restored = Restored;
    connect(true);
    let cluster = KafkaCluster::new(options_at(&variable("TOWPATH_TEST_KAFKA_FAULTY"))).unwrap();
    let topic = topic(&cluster, "faulty", 1).await;
    let producer = producer(&cluster).await;
    send(&*producer, numbered(&topic, 0, 10)).await;
    let mut consumer = consumer(&cluster, &unique("g"), &topic).await;
    started(&mut *consumer).await;
    batches(&mut *consumer, 10).await;
    assert!(producer.trouble().is_none());

    connect(false);
    let receipt = producer.send(numbered(&topic, 10, 10).into()).await.unwrap();
    loop {
        match soon(consumer.next()).await.unwrap() {
            ConsumerEvent::Trouble(Some(error)) => {
                assert_eq!(error.kind, PortErrorKind::Unreachable, "{error}");
                assert!(error.text.contains("127.0.0.1:"), "{error}");
                break;
            }
            ConsumerEvent::Batch(batch) if batch.rows.is_empty() => {}
            other => panic!("{other:?}"),
        }
    }
    soon(async {
        while producer.trouble().is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(producer.trouble().unwrap().kind, PortErrorKind::Unreachable);

    connect(true);
    assert!(soon(receipt).await.is_empty(), "late, not lost");
    let (mut healed, mut seen) = (false, Vec::new());
    while !healed || seen.len() < 10 {
        match soon(consumer.next()).await.unwrap() {
            ConsumerEvent::Trouble(None) => healed = true,
            ConsumerEvent::Batch(batch) => seen.extend(values(&[batch])),
            ConsumerEvent::Trouble(Some(_)) => healed = false,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, (10..20).map(|i| i.to_string()).collect::<Vec<_>>());
    soon(async {
        while producer.trouble().is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_listens_the_address_and_the_reason_are_told() {
    let mut options = options_at("127.0.0.1:1");
    options.request_timeout = std::time::Duration::from_secs(3);
    let cluster = KafkaCluster::new(options).unwrap();
    let check = |error: towpath_core::ports::PortError| {
        assert_eq!(error.kind, PortErrorKind::Unreachable, "{error}");
        assert!(error.text.contains("127.0.0.1:1"), "{error}");
        assert!(error.text.contains("Connection refused"), "{error}");
        assert!(error.text.contains("bootstrap.servers"), "{error}");
    };
    check(soon(cluster.id()).await.unwrap_err());
    let admin = cluster.admin(ClientOverrides::new()).await.unwrap();
    check(soon(admin.describe_topic("t")).await.unwrap_err());
    let spec = ProducerSpec { client_id: "test".into(), overrides: ClientOverrides::new() };
    check(soon(cluster.transactional_producer("tx".into(), spec)).await.err().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_are_told_without_the_password() {
    let mut options = options_at(&variable("TOWPATH_TEST_KAFKA_SASL"));
    options.request_timeout = std::time::Duration::from_secs(5);
    for (key, value) in [
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "alice"),
        ("sasl.password", "fake-wrong-password"),
    ] {
        options.common.insert(key.into(), value.into());
    }
    let cluster = KafkaCluster::new(options).unwrap();
    let error = soon(cluster.id()).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Unauthenticated, "{error}");
    assert!(error.text.contains("sasl"), "{error}");
    assert!(!error.text.contains("wrong-password"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_is_told_with_what_to_grant() {
    let open = cluster();
    let topic = topic(&open, "forbidden", 1).await;
    let mut options = options_at(&variable("TOWPATH_TEST_KAFKA_SASL"));
    for (key, value) in [
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "alice"),
        ("sasl.password", &variable("TOWPATH_TEST_KAFKA_ALICE_PASSWORD")),
    ] {
        options.common.insert(key.into(), value.to_owned());
    }
    let cluster = KafkaCluster::new(options).unwrap();
    let producer = producer(&cluster).await;
    let failures =
        soon(async { producer.send(numbered(&topic, 0, 1).into()).await.unwrap().await }).await;
    assert_eq!(failures[0].error.kind, PortErrorKind::Forbidden, "{}", failures[0].error);
    let mut consumer = consumer(&cluster, &unique("g"), &topic).await;
    match soon(consumer.next()).await.unwrap() {
        ConsumerEvent::Trouble(Some(error)) => {
            assert_eq!(error.kind, PortErrorKind::Forbidden, "{error}");
        }
        other => panic!("expected trouble, not {other:?}"),
    }
}
