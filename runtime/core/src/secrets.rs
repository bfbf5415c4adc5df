//! References in configurations: `${provider:path:key}`.
//!
//! Duty: put values in the place of references, at task start, on the worker that runs the task.
//! Everywhere else a configuration holds the reference. A resolved value is never stored, returned or
//! logged; an error names the reference.
//!
//! The pattern is Kafka Connect's: `\$\{([^}]*?):(([^}]*?):)?([^}]*?)\}`; a reference to a provider
//! that the worker does not have stays as it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use towpath_sdk::config::Properties;
use towpath_sdk::plugin::ConfigProvider;
use towpath_sdk::{Error, Result};

/// The worker's configuration providers by name.
#[derive(Clone, Default)]
pub struct Resolver(BTreeMap<String, Arc<dyn ConfigProvider>>);

/// A reference inside a text.
#[derive(Debug, PartialEq, Eq)]
struct Reference<'t> {
    provider: &'t str,
    path: &'t str,
    key: &'t str,
}

impl Resolver {
    /// A resolver with these providers.
    #[must_use]
    pub fn new(providers: BTreeMap<String, Arc<dyn ConfigProvider>>) -> Self {
        Self(providers)
    }

    /// `properties` with values in the place of references.
    ///
    /// # Errors
    /// If a provider has no value for a reference.
    pub fn resolve(&self, properties: &Properties) -> Result<Properties> {
        let resolved = properties.iter().map(|(key, value)| {
            let value =
                self.resolve_text(value).map_err(|e| e.context(format!("resolve {key}")))?;
            Ok((key.to_owned(), value))
        });
        resolved.collect::<Result<Vec<_>>>().map(|all| all.into_iter().collect())
    }

    /// Whether `text` refers to a provider that this worker has.
    #[must_use]
    pub fn refers(&self, text: &str) -> bool {
        pieces(text)
            .any(|piece| matches!(piece, Piece::Reference(r, _) if self.0.contains_key(r.provider)))
    }

    fn resolve_text(&self, text: &str) -> Result<String> {
        let mut resolved = String::with_capacity(text.len());
        for piece in pieces(text) {
            match piece {
                Piece::Text(text) => resolved.push_str(text),
                Piece::Reference(reference, raw) => match self.0.get(reference.provider) {
                    None => resolved.push_str(raw),
                    Some(provider) => {
                        let value = provider.get(reference.path, reference.key);
                        let value = value.map_err(|e| Error::config(format!("{raw}: {e}")))?;
                        resolved.push_str(value.expose());
                    }
                },
            }
        }
        Ok(resolved)
    }
}

enum Piece<'t> {
    Text(&'t str),
    Reference(Reference<'t>, &'t str),
}

fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        if let Some((reference, raw)) = rest.strip_prefix("${").and_then(|_| reference_at(rest)) {
            rest = &rest[raw.len()..];
            return Some(Piece::Reference(reference, raw));
        }
        // At least one character goes along, so that a "${" which is no reference is passed.
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let end = rest[first..].find("${").map_or(rest.len(), |at| first + at);
        let (text, behind) = rest.split_at(end);
        rest = behind;
        Some(Piece::Text(text))
    })
}

/// The reference that `text` begins with.
fn reference_at(text: &str) -> Option<(Reference<'_>, &str)> {
    let close = text.find('}')?;
    let (provider, rest) = text.get(2..close)?.split_once(':')?;
    let (path, key) = rest.split_once(':').unwrap_or(("", rest));
    Some((Reference { provider, path, key }, &text[..=close]))
}

#[cfg(test)]
mod tests {
    use towpath_sdk::config::Secret;

    use super::*;

    struct Echo;
    impl ConfigProvider for Echo {
        fn get(&self, path: &str, key: &str) -> Result<Secret<String>> {
            match key {
                "none" => Err(Error::config("no such key")),
                _ => Ok(Secret::new(format!("<{path}|{key}>"))),
            }
        }
    }

    fn resolve(text: &str) -> Result<String> {
        let provider: Arc<dyn ConfigProvider> = Arc::new(Echo);
        Resolver::new(BTreeMap::from([("p".to_owned(), provider)])).resolve_text(text)
    }

    #[test]
    fn references_are_found_as_connect_finds_them() {
        for (text, expect) in [
            ("plain", "plain"),
            ("${p:k}", "<|k>"),
            ("a${p:/x/y:k}b${p:k2}", "a</x/y|k>b<|k2>"),
            ("${p:a:b:c}", "<a|b:c>"),
            ("${other:k}", "${other:k}"),
            ("${topic}", "${topic}"),
            ("${${p:k}", "${${p:k}"),
            ("${p:k", "${p:k"),
            ("é${p:}", "é<|>"),
        ] {
            assert_eq!(resolve(text).unwrap(), expect, "{text}");
        }
    }

    #[test]
    fn an_error_names_the_reference() {
        let error = resolve("${p:/f:none}").unwrap_err();
        assert!(error.to_string().contains("${p:/f:none}"), "{error}");
    }
}
