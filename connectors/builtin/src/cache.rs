//! What was made of schemas before, shared by threads without locks.
//!
//! A miss copies the table of pointers; a full table is started anew. Both are rare: there are as many
//! misses as there are schemas.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use arc_swap::ArcSwap;
use towpath_sdk::Result;
use towpath_sdk::schema::SchemaRef;

/// Things by keys, at most so many of them.
#[derive(Debug)]
pub struct Known<K, V> {
    size: usize,
    known: ArcSwap<HashMap<K, V>>,
}

impl<K: Clone + Hash + Eq, V: Clone> Known<K, V> {
    /// A table with room for `size` entries; with none it remembers nothing.
    #[must_use]
    pub fn new(size: usize) -> Self {
        Self { size, known: ArcSwap::default() }
    }

    /// What is known by `key`.
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.known.load().get(key).cloned()
    }

    /// Keeps `value` by `key`.
    pub fn remember(&self, key: &K, value: &V) {
        if self.size == 0 {
            return;
        }
        self.known.rcu(|known| {
            let room = known.len() < self.size;
            let mut next = if room { HashMap::clone(known) } else { HashMap::new() };
            next.insert(key.clone(), value.clone());
            next
        });
    }
}

/// Schemas by the text that they were read from. The key is the text's hash; two texts with one hash
/// displace each other.
pub(crate) struct ByText(Known<u64, (Arc<str>, SchemaRef)>);

/// What was made of schemas, by the schema's address. The schema is kept, so that its address stays
/// its own.
#[derive(Debug)]
pub struct ByPointer<V>(Known<usize, (SchemaRef, V)>);

impl ByText {
    pub(crate) fn new(size: usize) -> Self {
        Self(Known::new(size))
    }

    pub(crate) fn get_or_read(
        &self,
        text: &str,
        read: impl FnOnce(&str) -> Result<SchemaRef>,
    ) -> Result<SchemaRef> {
        let hash = hash(text.as_bytes());
        if let Some((known, schema)) = self.0.known.load().get(&hash)
            && **known == *text
        {
            return Ok(Arc::clone(schema));
        }
        let schema = read(text)?;
        self.0.remember(&hash, &(text.into(), Arc::clone(&schema)));
        Ok(schema)
    }
}

impl<V: Clone> ByPointer<V> {
    /// A table with room for `size` schemas.
    #[must_use]
    pub fn new(size: usize) -> Self {
        Self(Known::new(size))
    }

    /// What was made of `schema` before, or what `make` makes of it now.
    ///
    /// # Errors
    /// Those of `make`; nothing is remembered then.
    pub fn get_or_make(
        &self,
        schema: &SchemaRef,
        make: impl FnOnce(&SchemaRef) -> Result<V>,
    ) -> Result<V> {
        let address = Arc::as_ptr(schema) as usize;
        if let Some((_, made)) = self.0.known.load().get(&address) {
            return Ok(made.clone());
        }
        let made = make(schema)?;
        self.0.remember(&address, &(Arc::clone(schema), made.clone()));
        Ok(made)
    }
}

/// A quick hash of long texts; the table hashes it once more.
fn hash(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain([&last]).map(|word| u64::from_le_bytes(*word));
    words.fold(bytes.len() as u64, |hash, word| {
        (hash.rotate_left(23) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    })
}

#[cfg(test)]
mod tests {
    use towpath_sdk::schema::{Kind, Schema};

    use super::*;

    #[test]
    fn each_schema_is_read_once_while_there_is_room() {
        let check = |size: usize, order: &[&str], reads: usize| {
            let cache = ByText::new(size);
            let mut read = 0;
            for text in order {
                let schema = cache.get_or_read(text, |text| {
                    read += 1;
                    Ok(Arc::new(Schema::new(Kind::String).named(text)))
                });
                assert_eq!(schema.unwrap().name.as_deref(), Some(*text));
            }
            assert_eq!(read, reads, "{size} {order:?}");
        };
        check(2, &["a", "b", "a", "b", "a"], 2);
        check(2, &["a", "b", "c", "c", "a"], 4);
        check(0, &["a", "a"], 2);
    }

    #[test]
    fn each_schema_is_looked_at_once_while_there_is_room() {
        let schemas: Vec<_> =
            ["a", "b"].map(|name| Arc::new(Schema::new(Kind::String).named(name))).into();
        for (size, writes) in [(2, 2), (1, 6), (0, 6)] {
            let cache = ByPointer::new(size);
            let mut written = 0;
            for schema in [0, 1, 0, 1, 0, 1].map(|at| &schemas[at]) {
                let text = cache.get_or_make(schema, |schema| {
                    written += 1;
                    Ok(schema.name.as_deref().unwrap_or_default().to_owned())
                });
                assert_eq!(text.unwrap(), schema.name.as_deref().unwrap_or_default());
            }
            assert_eq!(written, writes, "{size}");
        }
    }
}
