//! Which settings describe a store, and which don't go together.

use super::{Contents, KeyMaterial, ReadFile, StoreError, binary_store, pem};
use crate::Properties;
use crate::finding::FieldError;
use crate::secret::Secret;

/// The declared type of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFormat {
    /// Text.
    Pem,
    /// Java's old format, or PKCS#12: Java takes either where one is declared.
    Binary,
}

/// Where the private key and its certificates are: `ssl.keystore.*` and `ssl.key.password`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStore {
    source: Source<(Secret, Secret)>,
    key_password: Option<Secret>,
}

/// Where the certificates to trust are: `ssl.truststore.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustStore {
    source: Source<Secret>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source<Inline> {
    File {
        location: String,
        format: StoreFormat,
        password: Option<Secret>,
    },
    /// PEM in the property itself.
    Inline(Inline),
}

/// The properties of one kind of store.
struct Keys {
    format: &'static str,
    location: &'static str,
    password: &'static str,
}

const KEYSTORE: Keys = Keys {
    format: "ssl.keystore.type",
    location: "ssl.keystore.location",
    password: "ssl.keystore.password",
};
const TRUSTSTORE: Keys = Keys {
    format: "ssl.truststore.type",
    location: "ssl.truststore.location",
    password: "ssl.truststore.password",
};
const KEY: &str = "ssl.keystore.key";
const CHAIN: &str = "ssl.keystore.certificate.chain";
const CERTIFICATES: &str = "ssl.truststore.certificates";

impl KeyStore {
    /// What the properties describe; `None` if they describe no key store.
    ///
    /// # Errors
    /// If they contradict each other.
    pub fn from_properties(properties: &Properties) -> Result<Option<Self>, FieldError> {
        let key_password = secret(properties, "ssl.key.password");
        let inline = match (secret(properties, KEY), secret(properties, CHAIN)) {
            (Some(key), Some(chain)) => Some((chain, key)),
            (Some(_), None) => {
                return Err(FieldError::new(CHAIN, format!("must be set, since {KEY} is")));
            }
            (None, Some(_)) => {
                return Err(FieldError::new(KEY, format!("must be set, since {CHAIN} is")));
            }
            (None, None) => None,
        };
        let source = source(properties, &KEYSTORE, inline, KEY)?;
        if let Some(Source::File { format: StoreFormat::Binary, password: None, .. }) = &source {
            let problem = format!("must be set, since {} is", KEYSTORE.location);
            return Err(FieldError::new(KEYSTORE.password, problem));
        }
        Ok(source.map(|source| Self { source, key_password }))
    }

    /// Reads the key and its certificates.
    ///
    /// # Errors
    /// If the file can't be read, isn't a store, doesn't open with the password, or holds no key.
    pub fn load(&self, read: ReadFile<'_>) -> Result<KeyMaterial, FieldError> {
        let key_password = self.key_password.clone();
        match &self.source {
            Source::Inline((chain, key)) => {
                let certificate_chain =
                    pem::certificates(chain.reveal()).map_err(|e| about(CHAIN, &e))?;
                let private_key = pem::private_key(key.reveal()).map_err(|e| about(KEY, &e))?;
                Ok(KeyMaterial { certificate_chain, private_key, key_password })
            }
            Source::File { location, format: StoreFormat::Pem, .. } => {
                let text = text_file(read, &KEYSTORE, location)?;
                let problem = |error: StoreError| in_file(&KEYSTORE, location, &error);
                let certificate_chain = pem::certificates(text.reveal()).map_err(problem)?;
                let private_key = pem::private_key(text.reveal()).map_err(problem)?;
                Ok(KeyMaterial { certificate_chain, private_key, key_password })
            }
            Source::File { location, format: StoreFormat::Binary, password } => {
                let bytes = file(read, &KEYSTORE, location)?;
                let problem = |error: StoreError| in_file(&KEYSTORE, location, &error);
                let Contents { key, .. } =
                    binary_store(&bytes, password.as_ref(), key_password.as_ref())
                        .map_err(problem)?;
                let (key, chain) = key.ok_or(StoreError::NoKey).map_err(problem)?;
                let private_key = Secret::new(pem::block("PRIVATE KEY", &key));
                Ok(KeyMaterial {
                    certificate_chain: pem::blocks(&chain),
                    private_key,
                    key_password: None,
                })
            }
        }
    }
}

impl TrustStore {
    /// What the properties describe; `None` if they describe no trust store.
    ///
    /// # Errors
    /// If they contradict each other.
    pub fn from_properties(properties: &Properties) -> Result<Option<Self>, FieldError> {
        let inline = secret(properties, CERTIFICATES);
        Ok(source(properties, &TRUSTSTORE, inline, CERTIFICATES)?.map(|source| Self { source }))
    }

    /// Reads the certificates to trust, as PEM.
    ///
    /// # Errors
    /// If the file can't be read, isn't a store, doesn't open with the password, or holds none.
    pub fn load(&self, read: ReadFile<'_>) -> Result<String, FieldError> {
        match &self.source {
            Source::Inline(text) => {
                pem::certificates(text.reveal()).map_err(|e| about(CERTIFICATES, &e))
            }
            Source::File { location, format: StoreFormat::Pem, .. } => {
                let text = text_file(read, &TRUSTSTORE, location)?;
                pem::certificates(text.reveal()).map_err(|e| in_file(&TRUSTSTORE, location, &e))
            }
            Source::File { location, format: StoreFormat::Binary, password } => {
                let bytes = file(read, &TRUSTSTORE, location)?;
                let problem = |error: StoreError| in_file(&TRUSTSTORE, location, &error);
                let contents = binary_store(&bytes, password.as_ref(), None).map_err(problem)?;
                if contents.trusted.is_empty() {
                    return Err(problem(StoreError::NothingTrusted));
                }
                Ok(pem::blocks(&contents.trusted))
            }
        }
    }
}

/// The rules that key stores and trust stores share.
fn source<Inline>(
    properties: &Properties,
    keys: &Keys,
    inline: Option<Inline>,
    inline_key: &str,
) -> Result<Option<Source<Inline>>, FieldError> {
    let format = format(properties, keys)?;
    let location = text(properties, keys.location);
    let password = secret(properties, keys.password);
    match (inline, location) {
        (Some(_), Some(_)) => Err(FieldError::new(
            keys.location,
            format!("can't be set together with {inline_key}; remove one"),
        )),
        (Some(_), None) if format != StoreFormat::Pem => {
            Err(FieldError::new(keys.format, format!("must be PEM, since {inline_key} is set")))
        }
        (Some(inline), None) => match password {
            Some(_) => Err(no_pem_password(keys)),
            None => Ok(Some(Source::Inline(inline))),
        },
        (None, Some(_)) if format == StoreFormat::Pem && password.is_some() => {
            Err(no_pem_password(keys))
        }
        (None, Some(location)) => Ok(Some(Source::File { location, format, password })),
        (None, None) if password.is_some() => {
            Err(FieldError::new(keys.location, format!("must be set, since {} is", keys.password)))
        }
        (None, None) => Ok(None),
    }
}

fn no_pem_password(keys: &Keys) -> FieldError {
    let problem =
        "must not be set for PEM; the password of an encrypted private key is ssl.key.password";
    FieldError::new(keys.password, problem)
}

fn format(properties: &Properties, keys: &Keys) -> Result<StoreFormat, FieldError> {
    match text(properties, keys.format).as_deref().unwrap_or("JKS").to_ascii_uppercase().as_str() {
        "PEM" => Ok(StoreFormat::Pem),
        "JKS" | "PKCS12" => Ok(StoreFormat::Binary),
        other => {
            Err(FieldError::new(keys.format, format!("must be PEM, PKCS12 or JKS, not {other:?}")))
        }
    }
}

fn text(properties: &Properties, key: &str) -> Option<String> {
    properties.text(key).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Java takes passwords as they are; only an unset one is none.
fn secret(properties: &Properties, key: &str) -> Option<Secret> {
    properties.text(key).filter(|text| !text.is_empty()).map(Secret::new)
}

fn file(read: ReadFile<'_>, keys: &Keys, location: &str) -> Result<Vec<u8>, FieldError> {
    read(location)
        .map_err(|error| FieldError::new(keys.location, format!("can't read {location}: {error}")))
}

fn text_file(read: ReadFile<'_>, keys: &Keys, location: &str) -> Result<Secret, FieldError> {
    let text = String::from_utf8(file(read, keys, location)?);
    text.map(Secret::new)
        .map_err(|_| in_file(keys, location, &StoreError::Pem("is not PEM: it is not text")))
}

fn in_file(keys: &Keys, location: &str, error: &StoreError) -> FieldError {
    let field = match error {
        StoreError::Password | StoreError::PasswordMissing => keys.password,
        StoreError::KeyPassword => "ssl.key.password",
        StoreError::UnknownFormat => keys.format,
        _ => keys.location,
    };
    FieldError::new(field, format!("the store {location} {error}"))
}

fn about(key: &str, error: &StoreError) -> FieldError {
    FieldError::new(key, format!("the value {error}"))
}
