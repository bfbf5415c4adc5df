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
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
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
enum Encryption {
    No,
    IfOffered,
    Yes,
}

/// Connects and logs in.
pub(super) async fn connect(target: &Target) -> Result<Connection> {
    let peer = target.peer();
    let tls = match target.ssl.mode {
        SslMode::Disable => None,
        _ if target.is_local() => None,
        _ => match Tls::load(&target.ssl).await {
            Ok(tls) => Some(tls),
            Err(error) => return Err(WireError::new("connect to", &peer, error)),
        },
    };
    let dial = Box::pin(dial(target, tls.as_ref(), &peer));
    match timeout(target.connect_timeout, dial).await {
        Ok(connected) => connected,
        Err(_) => Err(WireError::new("connect to", &peer, Cause::Timeout(target.connect_timeout))),
    }
}

/// Connects in the first way that the mode has, and if the server does not take that, in the second.
async fn dial(target: &Target, tls: Option<&Tls>, peer: &Arc<str>) -> Result<Connection> {
    use Encryption::{IfOffered, No, Yes};
    let Some(tls) = tls else { return open(target, No, None, peer).await };
    let open = |encryption| Box::pin(open(target, encryption, Some(tls), peer));
    match target.ssl.mode {
        SslMode::Disable => open(No).await,
        SslMode::Allow => match open(No).await {
            Err(error) if error.cause().is_about_the_way() => open(Yes).await,
            done => done,
        },
        SslMode::Prefer => match open(IfOffered).await {
            // The error of the way that is preferred says more.
            Err(error) if error.cause().is_about_the_way() => open(No).await.map_err(|_| error),
            done => done,
        },
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => open(Yes).await,
    }
}

async fn open(
    target: &Target,
    encryption: Encryption,
    tls: Option<&Tls>,
    peer: &Arc<str>,
) -> Result<Connection> {
    match link(target, encryption, tls).await {
        Ok((link, way)) => Connection::start(Transport(link), target, &way).await,
        Err(cause) => Err(WireError::new("connect to", peer, cause)),
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

/// Tries the host's addresses one after the other; the last one's error counts.
async fn tcp(target: &Target) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the host's name has no address");
    for address in lookup_host((target.host.as_str(), target.port)).await? {
        let socket = match address {
            std::net::SocketAddr::V4(_) => TcpSocket::new_v4(),
            std::net::SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        socket.set_keepalive(target.tcp_keepalive)?;
        match socket.connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => failed = error,
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
