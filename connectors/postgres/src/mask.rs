//! Texts that are not shown as they are.
//!
//! Duty: `column.mask.*` and `column.truncate.*`: of a value make what is shown. Pure.
//!
//! Debezium's first way of hashing takes Java's serialised form of a text for its bytes
//! (<https://docs.oracle.com/en/java/javase/17/docs/specs/serialization/protocol.html>).

use std::sync::Arc;

use sha2::Digest;
use towpath_sdk::Text;
use towpath_sdk::schema::{Kind, Schema};
use towpath_sdk::value::Value;

/// What is shown in place of a value.
#[derive(Debug, Clone)]
pub(crate) enum Mask {
    /// This text, be there a value or none.
    With(Text),
    /// A hash.
    Hash(Hash),
    /// So many characters at most, counted as Java counts them (in UTF-16), or so many bytes.
    Truncate(usize),
}

/// How a value is hashed.
#[derive(Debug, Clone)]
pub(crate) struct Hash {
    pub(crate) algorithm: Algorithm,
    pub(crate) salt: Arc<str>,
    /// Whether only the text's bytes are hashed, rather than Java's serialised form of it.
    pub(crate) is_plain: bool,
    /// The length of the column, which the hash is cut to.
    pub(crate) length: Option<usize>,
}

macro_rules! algorithms {
    ($($variant:ident = $name:literal $(| $alias:literal)*: $digest:ty;)+) => {
        /// A hash function, by its Java name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Algorithm { $($variant),+ }

        impl Algorithm {
            /// The function with this name, in upper or lower case.
            pub(crate) fn from_name(name: &str) -> Option<Self> {
                $(
                    if name.eq_ignore_ascii_case($name) $(|| name.eq_ignore_ascii_case($alias))* {
                        return Some(Self::$variant);
                    }
                )+
                None
            }

            /// All names.
            pub(crate) fn names() -> String {
                [$($name),+].join(", ")
            }

            fn hex(self, salt: &[u8], data: &[u8]) -> String {
                match self {
                    $(Self::$variant => hex(&<$digest>::new().chain_update(salt).chain_update(data).finalize()),)+
                }
            }
        }
    };
}

algorithms! {
    Md5 = "MD5": md5::Md5;
    Sha1 = "SHA-1" | "SHA" | "SHA1": sha1::Sha1;
    Sha224 = "SHA-224": sha2::Sha224;
    Sha256 = "SHA-256": sha2::Sha256;
    Sha384 = "SHA-384": sha2::Sha384;
    Sha512 = "SHA-512": sha2::Sha512;
    Sha512_224 = "SHA-512/224": sha2::Sha512_224;
    Sha512_256 = "SHA-512/256": sha2::Sha512_256;
}

impl Mask {
    /// The mask for a column of this schema and length (see [`crate::source_type`]). `None` if it does
    /// not apply: masks are for texts, and cuts for what can be longer.
    pub(crate) fn fit(&self, schema: &Schema, length: i32) -> Option<Self> {
        // Enums are texts to Debezium; JSON, XML, UUIDs and times are not.
        let is_text = schema.kind == Kind::String
            && matches!(schema.name.as_deref(), None | Some("io.debezium.data.Enum"));
        let can_be_cut =
            schema.kind == Kind::String || (schema.kind == Kind::Bytes && schema.name.is_none());
        let limit = usize::try_from(length).ok().filter(|length| *length > 0);
        match self {
            Self::With(_) if is_text => Some(self.clone()),
            Self::Hash(hash) if is_text => Some(Self::Hash(Hash { length: limit, ..hash.clone() })),
            Self::Truncate(n) if can_be_cut && limit.is_none_or(|limit| limit > *n) => {
                Some(self.clone())
            }
            _ => None,
        }
    }

    /// The parameter of a schema that tells of the mask.
    pub(crate) fn parameter(&self) -> (&'static str, String) {
        match self {
            Self::With(_) | Self::Hash(_) => ("masked", "true".to_owned()),
            Self::Truncate(n) => ("truncateLength", n.to_string()),
        }
    }

    /// What is shown in place of `value`. A hash or a part of a value that is not known is not known.
    pub(crate) fn apply(&self, value: Value) -> Value {
        match (self, value) {
            (Self::With(text), _) => Value::String(text.clone()),
            (Self::Hash(hash), Value::String(text)) => Value::String(hash.of(&text).into()),
            (Self::Truncate(n), Value::String(text)) => Value::String(truncated(text, *n)),
            (Self::Truncate(n), Value::Bytes(bytes)) if bytes.len() > *n => {
                Value::Bytes(bytes.slice(..*n))
            }
            (_, value) => value,
        }
    }
}

impl Hash {
    fn of(&self, text: &str) -> String {
        let salt = self.salt.as_bytes();
        let mut hash = match self.is_plain {
            true => self.algorithm.hex(salt, text.as_bytes()),
            false => self.algorithm.hex(salt, &serialised(text)),
        };
        if let Some(length) = self.length {
            // Its digits are one byte each.
            hash.truncate(length);
        }
        hash
    }
}

/// The first `n` characters in UTF-16; one that needs two of them is not cut in half.
fn truncated(text: Text, n: usize) -> Text {
    // No text has more UTF-16 units than bytes.
    if text.len() <= n {
        return text;
    }
    let mut units = 0;
    for (at, c) in text.char_indices() {
        units += c.len_utf16();
        if units > n {
            return text.slice_ref(&text[..at]);
        }
    }
    text
}

/// A text as Java's `ObjectOutputStream` writes it.
fn serialised(text: &str) -> Vec<u8> {
    let mut body = Vec::with_capacity(text.len());
    for unit in text.encode_utf16() {
        // Java's "modified UTF-8": surrogates on their own, and no zero byte.
        match unit {
            1..=0x7f => body.push(unit as u8),
            0 | 0x80..=0x7ff => {
                body.extend([0xc0 | (unit >> 6) as u8, 0x80 | (unit & 0x3f) as u8]);
            }
            _ => body.extend([
                0xe0 | (unit >> 12) as u8,
                0x80 | (unit >> 6 & 0x3f) as u8,
                0x80 | (unit & 0x3f) as u8,
            ]),
        }
    }
    let mut bytes = vec![0xac, 0xed, 0x00, 0x05];
    match u16::try_from(body.len()) {
        Ok(length) => {
            bytes.push(0x74);
            bytes.extend(length.to_be_bytes());
        }
        Err(_) => {
            bytes.push(0x7c);
            bytes.extend((body.len() as u64).to_be_bytes());
        }
    }
    bytes.extend(body);
    bytes
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(name: &str, is_plain: bool, text: &str) -> String {
        let algorithm = Algorithm::from_name(name).unwrap();
        Hash { algorithm, salt: "CzQMA0cB5K".into(), is_plain, length: None }.of(text)
    }

    #[test]
    fn hashes_are_debeziums() {
        // What Debezium's own tests expect.
        let expect = "8e68c68edbbac316dfe2f6ada6b0d2d3e2002b487a985d4b7c7c82dd83b0f4d7";
        assert_eq!(hash("SHA-256", false, "test"), expect);
        let plain = "b924906bc565bd0a7da8b7beddb901e9174e363361e31481b3dcd475d1f32694";
        assert_eq!(hash("sha-256", true, "test"), plain);
        let lengths = [("MD5", 32), ("SHA-1", 40), ("SHA-224", 56), ("SHA-512/256", 64)];
        for (name, length) in lengths {
            assert_eq!(hash(name, true, "test").len(), length, "{name}");
        }
        assert!(Algorithm::from_name("SHA-3").is_none());
    }

    #[test]
    fn texts_are_serialised_as_java_does() {
        assert_eq!(
            serialised("a\0é€😀"),
            *b"\xac\xed\0\x05t\0\x0ea\xc0\x80\xc3\xa9\xe2\x82\xac\xed\xa0\xbd\xed\xb8\x80"
        );
        let long = serialised(&"x".repeat(70_000));
        assert_eq!(long[..13], *b"\xac\xed\0\x05|\0\0\0\0\0\x01\x11\x70");
    }

    #[test]
    fn values_are_masked_and_cut() {
        let text = |text: &str| Value::String(text.to_owned().into());
        let with = Mask::With("***".into());
        assert_eq!(with.apply(text("secret")), text("***"));
        assert_eq!(with.apply(Value::Null), text("***"));
        assert_eq!(with.apply(Value::Unchanged), text("***"));
        let cut = Mask::Truncate(3);
        assert_eq!(cut.apply(text("éééé")), text("ééé"));
        assert_eq!(cut.apply(text("é")), text("é"));
        assert_eq!(cut.apply(text("ab😀c")), text("ab"));
        assert_eq!(cut.apply(text("a😀c")), text("a😀"));
        assert_eq!(cut.apply(Value::Bytes("abcd".into())), Value::Bytes("abc".into()));
        assert_eq!(cut.apply(Value::Unchanged), Value::Unchanged);
        let hash =
            Hash { algorithm: Algorithm::Md5, salt: "s".into(), is_plain: true, length: Some(4) };
        let hash = Mask::Hash(hash);
        let Value::String(hashed) = hash.apply(text("x")) else { panic!("no text") };
        assert_eq!(hashed.len(), 4);
        assert_eq!(hash.apply(Value::Null), Value::Null);
    }

    #[test]
    fn a_mask_fits_texts_only() {
        let with = Mask::With("".into());
        assert!(with.fit(&Schema::new(Kind::String), -1).is_some());
        assert!(with.fit(&Schema::new(Kind::String).named("io.debezium.data.Json"), -1).is_none());
        assert!(with.fit(&Schema::new(Kind::Int32), 10).is_none());
        let cut = Mask::Truncate(5);
        assert!(cut.fit(&Schema::new(Kind::String), 5).is_none());
        assert!(cut.fit(&Schema::new(Kind::Bytes), -1).is_some());
        let decimal = Schema::new(Kind::Bytes).named("org.apache.kafka.connect.data.Decimal");
        assert!(cut.fit(&decimal, -1).is_none());
    }
}
