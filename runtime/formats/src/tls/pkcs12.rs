//! PKCS#12 stores (RFC 7292), as written by `keytool` and `openssl`.

use p12_keystore::error::Error;
use p12_keystore::{CertificateBag, Pkcs12Archive, PrivateKeyBag};

use super::{Contents, StoreError};
use crate::secret::Secret;

/// Reads a store. Its private keys open with the store's password: Java allows no other here.
pub(super) fn read(bytes: &[u8], password: Option<&Secret>) -> Result<Contents, StoreError> {
    let password = password.map_or("", Secret::reveal);
    let archive = Pkcs12Archive::from_pkcs12(bytes, password).map_err(|error| match error {
        Error::DerError(_) | Error::InvalidVersion | Error::UnsupportedContentType => {
            StoreError::Damaged
        }
        _ if password.is_empty() => StoreError::PasswordMissing,
        _ => StoreError::Password,
    })?;
    let key = archive.keys.iter().find_map(|key| {
        let chain = chain(key, &archive.certs);
        (!chain.is_empty()).then(|| (key.key.as_der().to_vec(), chain))
    });
    // Java marks what it trusts; other tools don't, and then all that belongs to no key is meant.
    let marked = |bag: &&CertificateBag| bag.trusted;
    let marked: Vec<_> = archive.certs.iter().filter(marked).collect();
    let trusted = if marked.is_empty() { archive.certs.iter().collect() } else { marked };
    Ok(Contents {
        trusted: trusted.into_iter().map(|bag| bag.cert.as_der().to_vec()).collect(),
        key,
    })
}

/// The key's own certificate and, after it, each issuer that the store holds.
fn chain(key: &PrivateKeyBag, certificates: &[CertificateBag]) -> Vec<Vec<u8>> {
    let id = key.local_key_id.as_ref().map(AsRef::as_ref);
    let own = certificates.iter().find(|bag| id.is_some() && bag.local_key_id.as_deref() == id);
    // A store with one key and one certificate needs no marks to tell that they belong together.
    let only = || if id.is_none() { certificates.first() } else { None };
    let mut chain: Vec<&CertificateBag> = own.or_else(only).into_iter().collect();
    while let Some(last) = chain.last() {
        let issuer = last.cert.issuer();
        let next =
            certificates.iter().find(|bag| bag.cert.subject() == issuer && !chain.contains(bag));
        match next {
            Some(next) if issuer != last.cert.subject() => chain.push(next),
            _ => break,
        }
    }
    chain.into_iter().map(|bag| bag.cert.as_der().to_vec()).collect()
}
