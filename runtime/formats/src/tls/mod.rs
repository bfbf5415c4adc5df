//! Key stores and trust stores as Java's properties describe them, turned into PEM in memory.
//!
//! PEM (files and inline), PKCS#12 and JKS. The rules about which settings go together are those of
//! Kafka's own TLS engine, so a file that works there works here.
//!
//! Invariants: a password is checked before anything of the store is used; keys and passwords show in
//! no error and no `Debug`. A store's declared type is a hint: Java reads PKCS#12 where JKS is
//! declared and so does this.
//!
//! Deliberately absent: TLS itself, and reading files, which the caller does.

mod jks;
mod pem;
mod pkcs12;
mod settings;

use std::io;

use crate::finding::FieldError;
use crate::secret::Secret;

pub use settings::{KeyStore, StoreFormat, TrustStore};

/// How a store's file is read.
pub type ReadFile<'a> = &'a dyn Fn(&str) -> io::Result<Vec<u8>>;

/// A private key and the certificates that vouch for it, as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMaterial {
    /// The certificates, the key's own first.
    pub certificate_chain: String,
    /// The private key; PKCS#8 unless it came as PEM in another form.
    pub private_key: Secret,
    /// The password of `private_key`, if that is encrypted.
    pub key_password: Option<Secret>,
}

/// What a store's bytes hold.
struct Contents {
    /// Certificates to trust, DER.
    trusted: Vec<Vec<u8>>,
    /// The first private key, PKCS#8 DER, and its chain.
    key: Option<(Vec<u8>, Vec<Vec<u8>>)>,
}

/// Why a store can't be read; reads after "the store".
#[derive(Debug, thiserror::Error)]
enum StoreError {
    #[error("is cut off or damaged")]
    Damaged,
    #[error("does not open with this password, or is damaged")]
    Password,
    #[error("holds a key that does not open with this password")]
    KeyPassword,
    #[error("needs a password")]
    PasswordMissing,
    #[error("uses {0}")]
    Unsupported(&'static str),
    #[error("is neither PEM nor PKCS#12 nor JKS")]
    UnknownFormat,
    #[error("holds no private key with a certificate")]
    NoKey,
    #[error("holds no certificate to trust")]
    NothingTrusted,
    #[error("{0}")]
    Pem(&'static str),
}

impl KeyMaterial {
    /// This with the private key decrypted, if it is encrypted.
    ///
    /// # Errors
    /// If the password is missing or wrong, or the encryption isn't PBES2 (PKCS#5 2.0).
    pub fn decrypted(self) -> Result<Self, FieldError> {
        let problem = |error: StoreError| {
            FieldError::new("ssl.key.password", format!("the private key {error}"))
        };
        let key =
            pem::decrypted_key(&self.private_key, self.key_password.as_ref()).map_err(problem)?;
        Ok(Self { private_key: key, key_password: None, ..self })
    }
}

/// Reads PKCS#12 or JKS, whichever it is.
fn binary_store(
    bytes: &[u8],
    password: Option<&Secret>,
    key_password: Option<&Secret>,
) -> Result<Contents, StoreError> {
    if jks::is_jks(bytes) {
        return jks::read(bytes, password, key_password);
    }
    // A DER sequence.
    if bytes.first() == Some(&0x30) {
        return pkcs12::read(bytes, password);
    }
    Err(StoreError::UnknownFormat)
}

#[cfg(test)]
mod tests;
