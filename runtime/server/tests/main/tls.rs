//! `https` listeners with PEM files.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use towpath_tests::server;

use crate::Running;

fn certificates() -> Result<PathBuf> {
    Ok(server("TOWPATH_TEST_CERTS")?.into())
}

/// A client that trusts `authority`, and shows `name`'s certificate if one is given.
fn client(authority: &str, name: Option<&str>) -> Result<TlsConnector> {
    let folder = certificates()?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join(authority))?)?;
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let config = match name {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let chain = vec![CertificateDer::from_pem_file(folder.join(format!("{name}.pem")))?];
            let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key")))?;
            builder.with_client_auth_cert(chain, key)?
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn health(address: &str, client: &TlsConnector) -> Result<String> {
    let stream = TcpStream::connect(address).await?;
    let mut stream = client.connect(ServerName::try_from("localhost")?, stream).await?;
    stream
        .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// A worker with one listener for all who trust its authority, and one that asks for certificates too.
#[tokio::test]
async fn https_with_pem_files_and_with_certificates_of_clients() -> Result<()> {
    let folder = certificates()?;
    let mut running = Running::starting("tls", "")?;
    let pem = running.file("server.pem");
    let read = |name: &str| std::fs::read_to_string(folder.join(name));
    std::fs::write(&pem, read("server.key")? + &read("server.pem")?)?;
    let free = || std::net::TcpListener::bind("127.0.0.1:0")?.local_addr();
    let (open, guarded) = (free()?.to_string(), free()?.to_string());
    let plain = running.worker.address();
    running.worker.set(&format!(
        "listeners=http://{plain},https://{open}\n\
         ssl.keystore.type=PEM\nssl.keystore.location={pem}\n\
         admin.listeners=https://{guarded}\n\
         admin.listeners.https.ssl.keystore.type=PEM\n\
         admin.listeners.https.ssl.keystore.location={pem}\n\
         admin.listeners.https.ssl.truststore.type=PEM\n\
         admin.listeners.https.ssl.truststore.location={}\n\
         admin.listeners.https.ssl.client.auth=required\n",
        folder.join("ca.pem").display(),
    ))?;
    running.worker.start()?;
    running.worker.ready().await?;

    let answer = health(&open, &client("ca.pem", None)?).await?;
    ensure!(answer.starts_with("HTTP/1.1 200") && answer.contains("healthy"), "{answer}");
    let stranger = health(&open, &client("other-ca.pem", None)?).await;
    ensure!(stranger.is_err(), "an authority that is not trusted: {stranger:?}");
    let mut without_tls = TcpStream::connect(&open).await?;
    without_tls.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await?;
    let mut answer = Vec::new();
    let _closed = without_tls.read_to_end(&mut answer).await.context("plain text");
    ensure!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));

    // The listener of administration serves nothing else, so what it answers is 404; but it answers.
    let answer = health(&guarded, &client("ca.pem", Some("alice"))?).await?;
    ensure!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    let anonymous = health(&guarded, &client("ca.pem", None)?).await;
    ensure!(anonymous.is_err(), "a client without a certificate: {anonymous:?}");
    Ok(())
}
