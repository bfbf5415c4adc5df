//! From a [`Target`] to a connection.
//!
//! Duty: open the socket, and encrypt it as [`SslMode`] says, by the rules of libpq
//! (<https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL>): `prefer` goes
//! without TLS if the server does not offer or not take it, `allow` the other way round.
//!
//! Invariants:
//! - the second way is tried only if the server refused the first one before it saw credentials;
//! - the answer to the request for TLS is read as one byte from a socket without a buffer. What somebody
//!   slipped in behind it is taken for a part of the handshake, which fails (CVE-2021-23222).

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use futures::future::BoxFuture;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;
use towpath_sdk::ErrorKind;

use super::auth::Way;
use super::connection::Connection;
use super::error::{Cause, Result, WireError};
use super::target::{SslMode, Target};
use crate::tls::{Tls, TlsStream};

/// The stream of bytes of a connection.
#[derive(Debug)]
pub struct Transport(Link);

#[derive(Debug)]
enum Link {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(TlsStream<TcpStream>),
}

/// Whether to encrypt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encryption {
    No,
    IfOffered,
    Yes,
}

/// Connects and logs in.
pub(super) async fn connect(target: &Target) -> Result<Connection> {
    let tls = load_tls(target).await?;
    let tls = tls.as_ref();
    by_mode(target, |encryption| Box::pin(open(target, encryption, tls))).await
}

/// What TLS needs, unless it can't come to that.
pub(super) async fn load_tls(target: &Target) -> Result<Option<Tls>> {
    if ways(target) == (Encryption::No, None) {
        return Ok(None);
    }
    match Tls::load(&target.ssl).await {
        Ok(tls) => Ok(Some(tls)),
        Err(error) => Err(WireError::new("connect to", &target.peer(), error)),
    }
}

/// The way to try first, and the one to try if the server does not take that.
fn ways(target: &Target) -> (Encryption, Option<Encryption>) {
    match target.ssl.mode {
        _ if target.is_local() => (Encryption::No, None),
        SslMode::Disable => (Encryption::No, None),
        SslMode::Allow => (Encryption::No, Some(Encryption::Yes)),
        SslMode::Prefer => (Encryption::IfOffered, Some(Encryption::No)),
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => (Encryption::Yes, None),
    }
}

/// Calls `open` with the ways that the mode has, within the target's time.
pub(super) async fn by_mode<'a, T>(
    target: &Target,
    open: impl Fn(Encryption) -> BoxFuture<'a, Result<T>>,
) -> Result<T> {
    let (first, second) = ways(target);
    let in_turn = async {
        let failed = match open(first).await {
            Err(error) if error.cause().is_about_the_way() => error,
            done => return done,
        };
        let Some(second) = second else { return Err(failed) };
        match open(second).await {
            // The encrypted way's error says more: the server is set up for it.
            Err(_) if second == Encryption::No => Err(failed),
            done => done,
        }
    };
    match timeout(target.connect_timeout, in_turn).await {
        Ok(done) => done,
        Err(_) => {
            let cause = Cause::Timeout(target.connect_timeout);
            Err(WireError::new("connect to", &target.peer(), cause))
        }
    }
}

async fn open(target: &Target, encryption: Encryption, tls: Option<&Tls>) -> Result<Connection> {
    match link(target, encryption, tls).await {
        Ok((link, way)) => Connection::start(Transport(link), target, &way).await,
        Err(cause) => Err(WireError::new("connect to", &target.peer(), cause)),
    }
}

async fn link(
    target: &Target,
    encryption: Encryption,
    tls: Option<&Tls>,
) -> Result<(Link, Way), Cause> {
    if target.is_local() {
        let path = format!("{}/.s.PGSQL.{}", target.host, target.port);
        let link = Link::Unix(UnixStream::connect(path).await?);
        return Ok((link, Way { is_private: true, end_point: None }));
    }
    let mut socket = tcp(target).await?;
    let Some(tls) = tls.filter(|_| encryption != Encryption::No) else {
        return Ok((Link::Tcp(socket), Way::default()));
    };
    if !offers_tls(&mut socket).await? {
        if encryption == Encryption::IfOffered {
            return Ok((Link::Tcp(socket), Way::default()));
        }
        let text = "the server does not offer TLS; switch it on there (ssl = on), or change \
                    database.sslmode";
        return Err(Cause::refused(ErrorKind::Config, text));
    }
    let stream = tls.connect(&target.host, socket).await?;
    let way = Way { is_private: true, end_point: stream.end_point() };
    Ok((Link::Tls(stream), way))
}

/// Tries the host's addresses one after the other, each for its share of the time; the last one's error
/// counts.
async fn tcp(target: &Target) -> io::Result<TcpStream> {
    let addresses: Vec<_> = lookup_host((target.host.as_str(), target.port)).await?.collect();
    let share = target.connect_timeout / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the host's name has no address");
    for address in addresses {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        socket.set_keepalive(target.tcp_keepalive)?;
        match timeout(share, socket.connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => failed = error,
            Err(_) => failed = io::Error::from(io::ErrorKind::TimedOut),
        }
    }
    Err(failed)
}

/// Asks whether the server encrypts.
pub(super) async fn offers_tls<S>(stream: &mut S) -> Result<bool, Cause>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request).await?;
    stream.flush().await?;
    let mut answer = [0];
    match stream.read(&mut answer).await? {
        0 => Err(Cause::Closed),
        _ => match answer {
            [b'S'] => Ok(true),
            [b'N'] => Ok(false),
            // An 'E' too: what follows is by somebody who is not known yet (CVE-2024-10977).
            [other] => Err(Cause::unexpected(format_args!(
                "'{}' in answer to the request for TLS",
                other.escape_ascii()
            ))),
        },
    }
}

/// Both directions.
trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

impl Transport {
    /// Whether it is encrypted.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        matches!(self.0, Link::Tls(_))
    }

    fn link(self: Pin<&mut Self>) -> Pin<&mut dyn Duplex> {
        match &mut self.get_mut().0 {
            Link::Tcp(stream) => Pin::new(stream),
            Link::Unix(stream) => Pin::new(stream),
            Link::Tls(stream) => Pin::new(stream),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.link().poll_read(cx, buf)
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.link().poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link().poll_shutdown(cx)
    }
}
