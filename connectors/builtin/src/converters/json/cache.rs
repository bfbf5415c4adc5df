//! Schemas that were read or written before, shared by threads without locks.
//!
//! A miss copies the table of pointers; a full table is started anew. Both are rare: there are as many
//! misses as there are schemas.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use arc_swap::ArcSwap;
use towpath_sdk::Result;
use towpath_sdk::schema::{Schema, SchemaRef};

/// Schemas by the text that they were read from. The key is the text's hash; two texts with one hash
/// displace each other.
pub(super) struct ByText {
    size: usize,
    known: ArcSwap<HashMap<u64, (Arc<str>, SchemaRef)>>,
}

/// Texts of written schemas by the schema's address. The schema is kept, so that its address stays
/// its own.
pub(super) struct ByPointer {
    size: usize,
    known: ArcSwap<HashMap<usize, (SchemaRef, Arc<str>)>>,
}

impl ByText {
    pub(super) fn new(size: usize) -> Self {
        Self { size, known: ArcSwap::default() }
    }

    pub(super) fn get_or_read(
        &self,
        text: &str,
        read: impl FnOnce(&str) -> Result<SchemaRef>,
    ) -> Result<SchemaRef> {
        let hash = hash(text.as_bytes());
        if let Some((known, schema)) = self.known.load().get(&hash)
            && **known == *text
        {
            return Ok(Arc::clone(schema));
        }
        let schema = read(text)?;
        remember(&self.known, self.size, hash, &(text.into(), Arc::clone(&schema)));
        Ok(schema)
    }
}

impl ByPointer {
    pub(super) fn new(size: usize) -> Self {
        Self { size, known: ArcSwap::default() }
    }

    pub(super) fn get_or_write(
        &self,
        schema: &SchemaRef,
        write: impl FnOnce(&Schema) -> Result<String>,
    ) -> Result<Arc<str>> {
        let address = Arc::as_ptr(schema) as usize;
        if let Some((_, text)) = self.known.load().get(&address) {
            return Ok(Arc::clone(text));
        }
        let text: Arc<str> = write(schema)?.into();
        remember(&self.known, self.size, address, &(Arc::clone(schema), Arc::clone(&text)));
        Ok(text)
    }
}

fn remember<K: Copy + Hash + Eq, V: Clone>(
    known: &ArcSwap<HashMap<K, V>>,
    size: usize,
    key: K,
    value: &V,
) {
    if size == 0 {
        return;
    }
    known.rcu(|known| {
        let mut next = if known.len() < size { HashMap::clone(known) } else { HashMap::new() };
        next.insert(key, value.clone());
        next
    });
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
    use towpath_sdk::schema::Kind;

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
    fn each_schema_is_written_once_while_there_is_room() {
        let schemas: Vec<_> =
            ["a", "b"].map(|name| Arc::new(Schema::new(Kind::String).named(name))).into();
        for (size, writes) in [(2, 2), (1, 6), (0, 6)] {
            let cache = ByPointer::new(size);
            let mut written = 0;
            for schema in [0, 1, 0, 1, 0, 1].map(|at| &schemas[at]) {
                let text = cache.get_or_write(schema, |schema| {
                    written += 1;
                    Ok(schema.name.as_deref().unwrap_or_default().to_owned())
                });
                assert_eq!(text.unwrap().as_ref(), schema.name.as_deref().unwrap_or_default());
            }
            assert_eq!(written, writes, "{size}");
        }
    }
}
