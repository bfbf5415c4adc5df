//! Private keys of clients.
//!
//! Duty: read a key from PEM (PKCS#8, PKCS#1, SEC1) or DER, as libpq and the JDBC driver take them; a
//! PKCS#8 key may be encrypted (PBES2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

const BEGIN_ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const END_ENCRYPTED: &str = "-----END ENCRYPTED PRIVATE KEY-----";

/// Why a file holds no key that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyError {
    #[error(
        "it holds no private key in PEM or DER; take one out of a key store with: openssl pkcs12"
    )]
    None,
    #[error("it holds an encrypted key; give its database.sslpassword")]
    NoPassword,
    #[error("it holds an encrypted key, which database.sslpassword does not open")]
    WrongPassword,
    #[error(
        "its encryption is not supported; rewrite it with: openssl pkcs8 -topk8 -v2 aes-256-cbc"
    )]
    Encryption,
}

/// The private key in `file`.
pub(super) fn private_key(
    file: &[u8],
    password: Option<&str>,
) -> Result<PrivateKeyDer<'static>, KeyError> {
    let text = std::str::from_utf8(file).unwrap_or_default();
    if let Some((_, rest)) = text.split_once(BEGIN_ENCRYPTED) {
        let (body, _) = rest.split_once(END_ENCRYPTED).ok_or(KeyError::None)?;
        let packed: String = body.split_ascii_whitespace().collect();
        let der = STANDARD.decode(packed).map_err(|_| KeyError::None)?;
        return decrypt(&der, password);
    }
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(KeyError::Encryption);
    }
    if let Ok(key) = PrivateKeyDer::from_pem_slice(file) {
        return Ok(key);
    }
    if EncryptedPrivateKeyInfoRef::try_from(file).is_ok() {
        return decrypt(file, password);
    }
    PrivateKeyDer::try_from(file).map(|key| key.clone_key()).map_err(|_| KeyError::None)
}

fn decrypt(der: &[u8], password: Option<&str>) -> Result<PrivateKeyDer<'static>, KeyError> {
    let encrypted = EncryptedPrivateKeyInfoRef::try_from(der).map_err(|_| KeyError::Encryption)?;
    if encrypted.encryption_algorithm.pbes2().is_none() {
        return Err(KeyError::Encryption);
    }
    let password = password.ok_or(KeyError::NoPassword)?;
    let key = encrypted.decrypt(password).map_err(|_| KeyError::WrongPassword)?;
    Ok(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_key_is_said() {
        let check = |file: &[u8], expect| assert_eq!(private_key(file, None).err(), Some(expect));
        check(b"", KeyError::None);
        check(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nabc", KeyError::None);
        check(b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n", KeyError::Encryption);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_key_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            drop(private_key(&bytes, Some("x")));
        }
    }
}
