//! The connection against servers that follow a script.

mod logins;
mod streams;

use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use towpath_sdk::config::Secret;

use super::auth::Way;
use super::connection::Connection;
use super::error::Result;
use super::target::{Ssl, Target};

pub(in crate::wire) fn target() -> Target {
    Target {
        host: "db".to_owned(),
        port: 5432,
        user: "alice".to_owned(),
        password: None,
        cleartext_password: false,
        database: "shop".to_owned(),
        ssl: Ssl::default(),
        tcp_keepalive: true,
        connect_timeout: Duration::from_secs(10),
        application_name: "test".to_owned(),
        options: Vec::new(),
    }
}

fn with_password() -> Target {
    Target { password: Some(Secret::new("hunter2".to_owned())), ..target() }
}

/// A message as the server writes it.
fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    out.put_u8(tag);
    out.put_u32(body.len() as u32 + 4);
    out.put_slice(body);
    out.to_vec()
}

/// An `Authentication` message.
fn asks(what: u32, data: &[u8]) -> Vec<u8> {
    message(b'R', &[&what.to_be_bytes()[..], data].concat())
}

/// The end of a login.
fn welcome() -> Vec<u8> {
    let version = b"server_version\x0015.3 (Debian)\0";
    [asks(0, b""), message(b'S', version), message(b'K', &[0; 8]), message(b'Z', b"I")].concat()
}

/// The server's end of a connection.
struct Server(DuplexStream);

impl Server {
    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// The start-up message, without its length.
    async fn start_up(&mut self) -> Vec<u8> {
        let length = self.0.read_u32().await.unwrap();
        let mut body = vec![0; length as usize - 4];
        self.0.read_exact(&mut body).await.unwrap();
        body
    }

    /// The body of the next message, which has this tag.
    async fn expect(&mut self, tag: u8) -> Vec<u8> {
        assert_eq!(char::from(self.0.read_u8().await.unwrap()), char::from(tag));
        self.start_up().await
    }
}

/// Logs in at a server that follows `script`.
async fn log_in<F>(
    target: Target,
    way: Way,
    script: impl FnOnce(Server) -> F,
) -> Result<Connection<DuplexStream>>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (client, server) = tokio::io::duplex(64);
    let script = tokio::spawn(script(Server(server)));
    let connected = Connection::start(client, &target, &way).await;
    if connected.is_ok() {
        script.await.unwrap();
    }
    connected
}
