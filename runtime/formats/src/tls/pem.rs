//! PEM: textual blocks of DER (RFC 7468), as loosely written as Java reads them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::StoreError;
use crate::secret::Secret;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// One block as PEM.
pub(super) fn block(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut text = format!("{BEGIN}{label}{DASHES}\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("{END}{label}{DASHES}\n"));
    text
}

/// Certificates as PEM.
pub(super) fn blocks(certificates: &[Vec<u8>]) -> String {
    certificates.iter().map(|der| block("CERTIFICATE", der)).collect()
}

/// All certificates in a text, tidied.
pub(super) fn certificates(text: &str) -> Result<String, StoreError> {
    let mut found = String::new();
    for (label, der) in parse(text)? {
        if matches!(label, "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE") {
            found.push_str(&block("CERTIFICATE", &der));
        }
    }
    if found.is_empty() {
        Err(StoreError::Pem("holds no PEM block of a CERTIFICATE"))
    } else {
        Ok(found)
    }
}

/// The only private key in a text, tidied.
pub(super) fn private_key(text: &str) -> Result<Secret, StoreError> {
    let mut keys = parse(text)?.into_iter().filter(|(label, _)| label.ends_with("PRIVATE KEY"));
    let (label, der) = keys.next().ok_or(StoreError::Pem("holds no PEM block of a PRIVATE KEY"))?;
    if keys.next().is_some() {
        return Err(StoreError::Pem("holds more than one PRIVATE KEY"));
    }
    Ok(Secret::new(block(label, &der)))
}

/// The private key without encryption.
pub(super) fn decrypted_key(key: &Secret, password: Option<&Secret>) -> Result<Secret, StoreError> {
    let blocks = parse(key.reveal())?;
    let Some(("ENCRYPTED PRIVATE KEY", der)) = blocks.first().map(|(label, der)| (*label, der))
    else {
        return Ok(key.clone());
    };
    let password = password.ok_or(StoreError::PasswordMissing)?;
    let encrypted = pkcs8::EncryptedPrivateKeyInfoRef::try_from(der.as_slice());
    let Some(encrypted) = encrypted.ok().filter(|key| key.encryption_algorithm.pbes2().is_some())
    else {
        return Err(StoreError::Unsupported(
            "an encryption other than PBES2; rewrite it with: openssl pkcs8 -topk8 -v2 aes-256-cbc",
        ));
    };
    let decrypted = encrypted.decrypt(password.reveal()).map_err(|_| StoreError::KeyPassword)?;
    Ok(Secret::new(block("PRIVATE KEY", decrypted.as_bytes())))
}

fn parse(text: &str) -> Result<Vec<(&str, Vec<u8>)>, StoreError> {
    const CUT: StoreError = StoreError::Pem("holds a PEM block without its end");
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(BEGIN) {
        let (label, after) = after.split_once(DASHES).ok_or(CUT)?;
        let (body, after) = after.split_once(END).ok_or(CUT)?;
        if body.contains(':') {
            return Err(StoreError::Pem(
                "holds a PEM block with headers; rewrite the key with: openssl pkcs8 -topk8 -v2 aes-256-cbc",
            ));
        }
        // Java takes any white space, or none, between the characters.
        let packed: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let der = STANDARD
            .decode(packed)
            .map_err(|_| StoreError::Pem("holds a PEM block that is not Base64"))?;
        found.push((label, der));
        rest = after;
    }
    Ok(found)
}
