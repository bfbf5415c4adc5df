//! Whom to trust.
//!
//! Duty: libpq's verification of a server's certificate. It differs from what rustls does for the web:
//! a certificate may itself be among the trusted ones (self-signed, as Debian makes them), a name may
//! be in the subject's common name if there are no alternative names, and verification may be off.
//!
//! Invariants: the handshake's signature is verified in every case: channel binding counts on it.

use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::{Certificate, Version};

/// Which certificates are good.
#[derive(Debug)]
pub(super) enum Trust {
    /// All of them.
    Anybody,
    /// Those that an authority signed, and `pinned` ones.
    Authorities { roots: RootCertStore, pinned: Vec<CertificateDer<'static>>, names: bool },
}

impl Trust {
    /// Trusts `certificates` and what they signed, and holds names against the host if `names`. `None`
    /// if none of them can be used.
    pub(super) fn authorities(
        certificates: &[CertificateDer<'static>],
        names: bool,
    ) -> Option<Self> {
        let mut roots = RootCertStore::empty();
        let (usable, _) = roots.add_parsable_certificates(certificates.iter().cloned());
        (usable > 0).then(|| Self::Authorities { roots, pinned: certificates.to_vec(), names })
    }
}

/// Verifies by [`Trust`].
#[derive(Debug)]
pub(super) struct Verifier {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) const fn new(trust: Trust, algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { trust, algorithms }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Trust::Authorities { roots, pinned, names } = &self.trust else {
            return Ok(ServerCertVerified::assertion());
        };
        refuse_version_1(end_entity)?;
        let parsed = ParsedCertificate::try_from(end_entity)?;
        if pinned.contains(end_entity) {
            verify_time(end_entity, now)?;
        } else {
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                roots,
                intermediates,
                now,
                algorithms,
            )?;
        }
        if *names {
            verify_server_name(&parsed, server_name).or_else(|error| {
                let is_named = has_common_name(end_entity, &server_name.to_str());
                if is_named { Ok(()) } else { Err(error) }
            })?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match public_key_of_version_1(cert) {
            Some(key) => verify_tls13_signature_with_raw_key(message, &key, dss, &self.algorithms),
            None => verify_tls13_signature(message, cert, dss, &self.algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Certificates of version 1 are what `openssl x509 -req` made for long when told nothing else. rustls
/// verifies none, and says so in words that help nobody.
fn refuse_version_1(certificate: &CertificateDer<'_>) -> Result<(), Error> {
    match Certificate::from_der(certificate) {
        Ok(parsed) if parsed.tbs_certificate().version() == Version::V1 => Err(Error::General(
            "the server's certificate is of X.509 version 1, which can't be verified; have it signed \
             anew with extensions, at least a subjectAltName"
                .to_owned(),
        )),
        _ => Ok(()),
    }
}

/// The key of a certificate that rustls does not read, for modes that do not verify it.
fn public_key_of_version_1(
    certificate: &CertificateDer<'_>,
) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let parsed = Certificate::from_der(certificate).ok()?;
    let parsed = parsed.tbs_certificate();
    let key = parsed.subject_public_key_info().to_der().ok()?;
    (parsed.version() == Version::V1).then(|| key.into())
}

/// A trusted certificate is good for as long as it says.
fn verify_time(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let parsed = Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let validity = parsed.tbs_certificate().validity();
    let now = Duration::from_secs(now.as_secs());
    if now < validity.not_before.to_unix_duration() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.to_unix_duration() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

/// Whether the subject's common name is `host`, and there are no alternative names, which would count
/// in its place.
fn has_common_name(certificate: &CertificateDer<'_>, host: &str) -> bool {
    let Ok(parsed) = Certificate::from_der(certificate) else { return false };
    let parsed = parsed.tbs_certificate();
    if !matches!(parsed.get_extension::<SubjectAltName>(), Ok(None)) {
        return false;
    }
    match parsed.subject().common_name() {
        Ok(Some(name)) => is_named(&name.value(), host),
        _ => false,
    }
}

/// Whether `pattern` means `host`: a `*` in front stands for one label.
fn is_named(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(domain) => host
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(domain)),
        None => pattern.eq_ignore_ascii_case(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_names_are_hosts() {
        for (pattern, host, expect) in [
            ("db.example.com", "DB.example.com", true),
            ("*.example.com", "db.example.com", true),
            ("*.example.com", "a.db.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*", "db", false),
            ("db", "db.example.com", false),
        ] {
            assert_eq!(is_named(pattern, host), expect, "{pattern} {host}");
        }
    }
}
