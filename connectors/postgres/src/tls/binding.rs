//! Channel binding.
//!
//! Duty: `tls-server-end-point` of RFC 5929, section 4.1: the server's certificate, hashed with the
//! hash of its signature, but SHA-256 in place of MD5 and SHA-1. Signatures that have no hash of their
//! own (Ed25519) or one among their parameters (RSASSA-PSS) give none: PostgreSQL's own client and
//! server do not agree on these across versions, and a login without binding works.

use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

/// The hash of `certificate`.
pub(super) fn end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let parsed = Certificate::from_der(certificate).ok()?;
    let hash = match parsed.signature_algorithm().oid.to_string().as_str() {
        // RSA with MD5, SHA-1, SHA-256; ECDSA with SHA-1, SHA-256.
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.1"
        | "1.2.840.10045.4.3.2" => Sha256::digest(certificate).to_vec(),
        // RSA and ECDSA with SHA-384, SHA-512, SHA-224.
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Sha384::digest(certificate).to_vec(),
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Sha512::digest(certificate).to_vec(),
        "1.2.840.113549.1.1.14" | "1.2.840.10045.4.3.1" => Sha224::digest(certificate).to_vec(),
        _ => return None,
    };
    Some(hash)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_no_certificate(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(end_point(&bytes.into()), None);
        }
    }
}
