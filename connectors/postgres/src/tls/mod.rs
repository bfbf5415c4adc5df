//! TLS to the server, by rustls.
//!
//! Duty: turn [`Ssl`] into one set-up that both the replication connection and tokio-postgres use, with
//! libpq's meaning of the modes (<https://www.postgresql.org/docs/current/libpq-ssl.html>): what is
//! verified is in `verify`, keys in `keys`, channel binding in `binding`.
//!
//! Invariants: files are read anew for each [`Tls::load`], so that renewed certificates are taken; a
//! mode that verifies never connects without authorities.
//!
//! Absent: lists of revoked certificates, Java's key stores, TLS before 1.2.

mod binding;
mod keys;
mod verify;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect};
use tokio_rustls::TlsConnector;
use towpath_sdk::ErrorKind;
use towpath_sdk::config::Secret;
use towpath_sdk::error::kind_of_io;

use crate::wire::{Ssl, SslMode};
use verify::{Trust, Verifier};

/// Files that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("read {what} '{path}': {source}")]
    File {
        /// What it holds.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("read {what} '{path}': {why}")]
    Wrong {
        /// What it should hold.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// What the mode needs is not given.
    #[error("{0}")]
    Missing(&'static str),
    /// rustls does not take the set-up.
    #[error("set up TLS: {0}")]
    Setup(#[from] rustls::Error),
}

impl TlsError {
    /// What the engine is to make of it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::File { source, .. } => kind_of_io(source),
            Self::Wrong { .. } | Self::Missing(_) | Self::Setup(_) => ErrorKind::Config,
        }
    }

    fn wrong(what: &'static str, path: &Path, why: impl fmt::Display) -> Self {
        Self::Wrong { what, path: path.to_owned(), why: why.to_string() }
    }
}

/// How to encrypt connections. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    verifies_names: bool,
}

impl Tls {
    /// Reads the files that `ssl` names.
    ///
    /// # Errors
    ///
    /// A file that is missing or wrong, and authorities that a verifying mode lacks.
    pub async fn load(ssl: &Ssl) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifies_names = ssl.mode == SslMode::VerifyFull;
        let trust = match (ssl.mode, &ssl.root_cert) {
            (SslMode::Disable | SslMode::Allow | SslMode::Prefer, _) | (SslMode::Require, None) => {
                Trust::Anybody
            }
            (_, Some(path)) => {
                Trust::authorities(&certificates(AUTHORITIES, path).await?, verifies_names)
                    .ok_or_else(|| {
                        TlsError::wrong(AUTHORITIES, path, "no authority that can be used")
                    })?
            }
            (_, None) => {
                return Err(TlsError::Missing(
                    "database.sslmode verifies the server's certificate, which needs \
                     database.sslrootcert",
                ));
            }
        };
        let verifier = Verifier::new(trust, provider.signature_verification_algorithms);
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match identity(ssl).await? {
            Some((chain, key)) => config.with_client_auth_cert(chain, key)?,
            None => config.with_no_client_auth(),
        };
        Ok(Self { config: Arc::new(config), verifies_names })
    }

    /// Shakes hands on `stream` with `host`.
    ///
    /// # Errors
    ///
    /// What rustls says is inside the I/O error.
    pub async fn connect<S>(&self, host: &str, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = match ServerName::try_from(host.to_owned()) {
            Ok(name) => name,
            Err(error) if self.verifies_names => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
            }
            // A name that no certificate can have matters only if names do; an address is not sent.
            Err(_) => ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        };
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let stream = Box::pin(connector.connect(name, stream)).await?;
        Ok(TlsStream(Box::new(stream)))
    }
}

const AUTHORITIES: &str = "authorities (database.sslrootcert)";
const CERTIFICATE: &str = "the client's certificate (database.sslcert)";
const KEY: &str = "the client's private key (database.sslkey)";

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

async fn identity(ssl: &Ssl) -> Result<Option<Identity>, TlsError> {
    let (certificate, key) = match (&ssl.cert, &ssl.key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) => return Ok(None),
        _ => {
            return Err(TlsError::Missing(
                "database.sslcert and database.sslkey are given both or not at all",
            ));
        }
    };
    let chain = certificates(CERTIFICATE, certificate).await?;
    let password = ssl.key_password.as_ref().map(|password| password.expose().as_str());
    let file = Secret::new(read(KEY, key).await?);
    let key =
        keys::private_key(file.expose(), password).map_err(|why| TlsError::wrong(KEY, key, why))?;
    Ok(Some((chain, key)))
}

async fn certificates(
    what: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(what, path).await?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|error| TlsError::wrong(what, path, error))?;
    if found.is_empty() {
        return Err(TlsError::wrong(what, path, "it holds no PEM block of a CERTIFICATE"));
    }
    Ok(found)
}

async fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let file = |source| TlsError::File { what, path: path.to_owned(), source };
    tokio::fs::read(path).await.map_err(file)
}

/// An encrypted stream.
#[derive(Debug)]
pub struct TlsStream<S>(Box<tokio_rustls::client::TlsStream<S>>);

impl<S> TlsStream<S> {
    /// What binds a login to this stream: `tls-server-end-point` (RFC 5929), a hash of the server's
    /// certificate. `None` if the certificate's signature does not say which hash.
    #[must_use]
    pub fn end_point(&self) -> Option<Vec<u8>> {
        let (_, session) = self.0.get_ref();
        binding::end_point(session.peer_certificates()?.first()?)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> tokio_postgres::tls::TlsStream for TlsStream<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.end_point().map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

impl<S> MakeTlsConnect<S> for Tls
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = TlsStream<S>;
    type TlsConnect = TlsTo;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<TlsTo> {
        Ok(TlsTo { tls: self.clone(), host: host.to_owned() })
    }
}

/// How to encrypt a connection to one host.
#[derive(Debug)]
pub struct TlsTo {
    tls: Tls,
    host: String,
}

impl<S> TlsConnect<S> for TlsTo
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = TlsStream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TlsStream<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move { self.tls.connect(&self.host, stream).await })
    }
}
