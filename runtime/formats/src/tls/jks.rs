//! Java's own key store format, JKS.
//!
//! Format (as `keytool` writes it): big-endian; a magic number, a version (1 or 2), a count of entries;
//! then the entries; then a SHA-1 digest over the password (UTF-16), the words "Mighty Aphrodite" and
//! all before. A private key is XORed with a stream of SHA-1 digests, each over the password and the
//! digest before it, the first over the password and a salt; a digest over the password and the plain
//! key closes it.

use sha1::{Digest, Sha1};

use super::{Contents, StoreError};
use crate::secret::Secret;

const MAGIC: [u8; 4] = [0xFE, 0xED, 0xFE, 0xED];
const JCEKS_MAGIC: [u8; 4] = [0xCE, 0xCE, 0xCE, 0xCE];
const WHITENER: &[u8] = b"Mighty Aphrodite";
const DIGEST: usize = 20;
/// DER of the protection's object identifier, 1.3.6.1.4.1.42.2.17.1.1.
const PROTECTOR: &[u8] = &[0x06, 0x0A, 0x2B, 0x06, 0x01, 0x04, 0x01, 0x2A, 0x02, 0x11, 0x01, 0x01];

pub(super) fn is_jks(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC) || bytes.starts_with(&JCEKS_MAGIC)
}

/// Reads a store. Without a password its integrity can't be checked and keys can't be read, which
/// Java allows for trust stores.
pub(super) fn read(
    bytes: &[u8],
    password: Option<&Secret>,
    key_password: Option<&Secret>,
) -> Result<Contents, StoreError> {
    if bytes.starts_with(&JCEKS_MAGIC) {
        return Err(StoreError::Unsupported(
            "the format JCEKS; convert it with: keytool -importkeystore -deststoretype PKCS12",
        ));
    }
    let (body, digest) = bytes.split_last_chunk::<DIGEST>().ok_or(StoreError::Damaged)?;
    if let Some(password) = password {
        let computed =
            Sha1::new().chain_update(utf16(password)).chain_update(WHITENER).chain_update(body);
        if computed.finalize().as_slice() != digest {
            return Err(StoreError::Password);
        }
    }
    let mut input = Input(body.get(MAGIC.len()..).ok_or(StoreError::Damaged)?);
    let version = input.u32()?;
    if !matches!(version, 1 | 2) {
        return Err(StoreError::Damaged);
    }
    let mut contents = Contents { trusted: Vec::new(), key: None };
    for _ in 0..input.u32()? {
        let tag = input.u32()?;
        let _alias = input.short_block()?;
        let _created = input.take(8)?;
        match tag {
            1 => {
                let protected = input.long_block()?;
                let chain = (0..input.u32()?)
                    .map(|_| input.certificate(version))
                    .collect::<Result<Vec<_>, _>>()?;
                contents.trusted.extend(chain.first().cloned());
                if let (None, Some(password)) = (&contents.key, key_password.or(password)) {
                    contents.key = Some((unprotect(protected, password)?, chain));
                }
            }
            2 => contents.trusted.push(input.certificate(version)?),
            _ => return Err(StoreError::Damaged),
        }
    }
    if input.0.is_empty() { Ok(contents) } else { Err(StoreError::Damaged) }
}

/// Opens a private key: `SEQUENCE { SEQUENCE { protector, NULL }, OCTET STRING }` around salt, stream
/// and digest. Gives PKCS#8.
fn unprotect(protected: &[u8], password: &Secret) -> Result<Vec<u8>, StoreError> {
    let (sequence, _) = der(protected, 0x30)?;
    let (algorithm, rest) = der(sequence, 0x30)?;
    if !algorithm.starts_with(PROTECTOR) {
        return Err(StoreError::Unsupported(
            "an unknown protection of its private key; convert it with: keytool -importkeystore -deststoretype PKCS12",
        ));
    }
    let (data, _) = der(rest, 0x04)?;
    let (salt, data) = data.split_first_chunk::<DIGEST>().ok_or(StoreError::Damaged)?;
    let (hidden, digest) = data.split_last_chunk::<DIGEST>().ok_or(StoreError::Damaged)?;
    let password = utf16(password);
    let mut stream: [u8; DIGEST] = *salt;
    let mut plain = Vec::with_capacity(hidden.len());
    for chunk in hidden.chunks(DIGEST) {
        stream = Sha1::new().chain_update(&password).chain_update(stream).finalize().into();
        plain.extend(chunk.iter().zip(stream).map(|(a, b)| a ^ b));
    }
    let computed = Sha1::new().chain_update(&password).chain_update(&plain).finalize();
    if computed.as_slice() == digest { Ok(plain) } else { Err(StoreError::KeyPassword) }
}

/// Splits a DER value of the given tag into its contents and what follows.
fn der(bytes: &[u8], tag: u8) -> Result<(&[u8], &[u8]), StoreError> {
    let mut input = Input(bytes);
    if input.take(1)? != [tag] {
        return Err(StoreError::Damaged);
    }
    let first = usize::from(input.take(1)?[0]);
    let length = match first.checked_sub(0x80) {
        None => first,
        Some(count @ 1..=4) => {
            input.take(count)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
        }
        Some(_) => return Err(StoreError::Damaged),
    };
    Ok((input.take(length)?, input.0))
}

/// Big-endian UTF-16, as Java's digests see a password.
fn utf16(password: &Secret) -> Vec<u8> {
    password.reveal().encode_utf16().flat_map(u16::to_be_bytes).collect()
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], StoreError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(StoreError::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, StoreError> {
        let (number, rest) = self.0.split_first_chunk().ok_or(StoreError::Damaged)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*number))
    }

    /// Bytes after their count of two bytes.
    fn short_block(&mut self) -> Result<&'a [u8], StoreError> {
        let (count, rest) = self.0.split_first_chunk().ok_or(StoreError::Damaged)?;
        self.0 = rest;
        self.take(u16::from_be_bytes(*count).into())
    }

    /// Bytes after their count of four bytes.
    fn long_block(&mut self) -> Result<&'a [u8], StoreError> {
        let count = usize::try_from(self.u32()?).map_err(|_| StoreError::Damaged)?;
        self.take(count)
    }

    fn certificate(&mut self, version: u32) -> Result<Vec<u8>, StoreError> {
        if version == 2 && self.short_block()? != b"X.509" {
            return Err(StoreError::Unsupported("a certificate that is not X.509; remove it"));
        }
        Ok(self.long_block()?.to_vec())
    }
}
