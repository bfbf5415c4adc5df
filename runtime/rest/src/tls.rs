//! TLS for listeners, by rustls.

use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::server::TlsFiles;

/// Makes the acceptor of a listener.
pub(crate) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor> {
    let wrong = |what: &str, error: &dyn std::fmt::Display| {
        let text = format!("read the {what} in {}: {error}", files.origin.display());
        Error::new(ErrorKind::InvalidInput, text)
    };
    let certificates = certificates(&files.certificates).map_err(|e| wrong("certificates", &e))?;
    let key = PrivateKeyDer::from_pem_slice(&files.key).map_err(|e| wrong("private key", &e))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong("TLS versions", &e))?;
    let builder = match &files.client_authorities {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in self::certificates(pem).map_err(|e| wrong("authorities", &e))? {
                roots.add(certificate).map_err(|e| wrong("authorities", &e))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match files.clients_may_be_unknown {
                true => verifier.allow_unauthenticated().build(),
                false => verifier.build(),
            };
            builder.with_client_cert_verifier(verifier.map_err(|e| wrong("authorities", &e))?)
        }
    };
    let mut config = builder
        .with_single_cert(certificates, key)
        .map_err(|e| wrong("key and certificate", &e))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(
    pem: &[u8],
) -> std::result::Result<Vec<CertificateDer<'static>>, rustls_pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}
