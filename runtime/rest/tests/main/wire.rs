//! A server under test, and a client that speaks HTTP/1.1 byte by byte.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use towpath_rest::{Limits, ListenOptions, ServeOptions};

/// How long anything may take to come about.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of an answer that no socket's buffers hold.
const LARGE: usize = 64 << 20;

/// A server that stops with the test.
pub(crate) struct Server {
    address: SocketAddr,
    /// Lets `/gate` answer.
    pub(crate) gate: watch::Sender<bool>,
    /// How many requests are in `/gate`.
    pub(crate) inside: watch::Receiver<usize>,
    _stop: DropGuard,
}

/// Serves a few routes within `limits`.
pub(crate) async fn serve(options: ServeOptions) -> Server {
    let (gate, open) = watch::channel(false);
    let (entered, inside) = watch::channel(0_usize);
    let router = Router::new()
        .route("/hello", get(|| async { "hello" }))
        .route("/length", post(|body: Bytes| async move { body.len().to_string() }))
        .route("/large", get(|| async { vec![b'x'; LARGE] }))
        .route("/panic", get(|| async { panics() }))
        .route(
            "/gate",
            get(move || {
                let (mut open, entered) = (open.clone(), entered.clone());
                async move {
                    entered.send_modify(|inside| *inside += 1);
                    open.wait_for(|open| *open).await.map(|_| "open").unwrap_or("gone")
                }
            }),
        );
    let listen = ListenOptions { host: Some("127.0.0.1".to_owned()), port: 0, tls: None };
    let bound = towpath_rest::bind(&listen).await.unwrap();
    let address = bound.address().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(bound.serve(router, options, stop.clone()));
    Server { address, gate, inside, _stop: stop.drop_guard() }
}

fn panics() -> &'static str {
    panic!("a secret of the inside")
}

/// Only `limits`.
pub(crate) fn within(limits: Limits) -> ServeOptions {
    ServeOptions { limits, ..ServeOptions::default() }
}

impl Server {
    /// A connection.
    pub(crate) async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// Sends `head` (without its last empty line) and `body` on a connection of its own; the whole answer.
    pub(crate) async fn ask(&self, head: &str, body: &str) -> String {
        let mut client = self.connect().await;
        client.send(&format!("{head}\r\nHost: x\r\nConnection: close\r\n\r\n{body}")).await;
        client.rest().await
    }
}

/// One connection.
pub(crate) struct Client(TcpStream);

impl Client {
    /// Sends as it is.
    pub(crate) async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// All that comes until the server closes. A connection that is reset is closed, too.
    pub(crate) async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let reading = self.0.read_to_end(&mut bytes);
        let ended = tokio::time::timeout(PATIENCE, reading).await;
        let _count = ended.expect("the server neither answers nor closes").unwrap_or_default();
        String::from_utf8(bytes).unwrap()
    }

    /// What comes first.
    pub(crate) async fn some(&mut self) -> String {
        let mut buffer = [0; 1024];
        let reading = tokio::time::timeout(PATIENCE, self.0.read(&mut buffer)).await;
        let count = reading.expect("the server does not answer").unwrap();
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    }
}
