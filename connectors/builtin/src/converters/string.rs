//! Text.
//!
//! UTF-8 passes through as a slice. Malformed input becomes U+FFFD as in Java. Values of other types
//! are written as Java's `toString` shows them ([`towpath_sdk::java_text`]).

use bytes::{Bytes, BytesMut};
use towpath_sdk::config::{ConfigValue, ConnectorConfig, FieldErrors, FieldType};
use towpath_sdk::converter::Converter;
use towpath_sdk::plugin::PluginName;
use towpath_sdk::schema::{Kind, SchemaRef};
use towpath_sdk::value::{Datum, Value, java_text};
use towpath_sdk::{Result, Text};

use super::{Configured, ConverterType, optional};

pub(super) const NAMES: &[PluginName] =
    &[PluginName::new("org.apache.kafka.connect.storage.StringConverter")];
pub(super) const SUMMARY: &str = "Text, in UTF-8 or another encoding.";

/// The configuration of a [`StringConverter`].
#[derive(Debug, ConnectorConfig)]
pub struct StringConverterConfig {
    /// Which part of a record the converter is for. The runtime sets it.
    #[config(key = "converter.type", importance = low)]
    pub converter_type: ConverterType,
    /// The encoding of the bytes, by one of its names in Java: `UTF-8`, `US-ASCII`, `ISO-8859-1`,
    /// `UTF-16` (big-endian unless a byte order mark says otherwise), `UTF-16BE` or `UTF-16LE`.
    /// UTF-8 is what everybody else writes.
    #[config(
        key = "converter.encoding",
        default = "UTF-8",
        importance = high,
        width = medium,
        display = "Encoding"
    )]
    pub encoding: Encoding,
}

/// A character encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8.
    Utf8,
    /// US-ASCII.
    Ascii,
    /// ISO 8859-1.
    Latin1,
    /// UTF-16 by its byte order mark.
    Utf16,
    /// UTF-16, big-endian.
    Utf16Be,
    /// UTF-16, little-endian.
    Utf16Le,
}

impl ConfigValue for Encoding {
    const KIND: FieldType = FieldType::String;

    fn parse_value(text: &str) -> Result<Self, String> {
        Ok(match text.trim().to_ascii_uppercase().as_str() {
            "UTF-8" | "UTF8" => Self::Utf8,
            "US-ASCII" | "ASCII" | "ISO646-US" => Self::Ascii,
            "ISO-8859-1" | "ISO8859-1" | "ISO8859_1" | "ISO_8859-1" | "LATIN1" | "L1" => {
                Self::Latin1
            }
            "UTF-16" | "UTF16" | "UTF_16" => Self::Utf16,
            "UTF-16BE" | "UTF_16BE" => Self::Utf16Be,
            "UTF-16LE" | "UTF_16LE" => Self::Utf16Le,
            _ => {
                return Err("Unsupported encoding, use UTF-8, US-ASCII, ISO-8859-1, UTF-16, \
                            UTF-16BE or UTF-16LE"
                    .to_owned());
            }
        })
    }
}

impl Encoding {
    fn decode(self, bytes: Bytes) -> Text {
        match self {
            Self::Utf8 => utf8(bytes),
            Self::Ascii => bytes
                .iter()
                .map(|b| if b.is_ascii() { char::from(*b) } else { '\u{FFFD}' })
                .collect::<String>()
                .into(),
            Self::Latin1 => bytes.iter().map(|byte| char::from(*byte)).collect::<String>().into(),
            Self::Utf16 => match bytes.as_ref() {
                [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes),
                [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes),
                rest => utf16(rest, u16::from_be_bytes),
            },
            Self::Utf16Be => utf16(&bytes, u16::from_be_bytes),
            Self::Utf16Le => utf16(&bytes, u16::from_le_bytes),
        }
    }

    /// What an encoding can't express becomes a question mark.
    fn encode(self, text: &str, out: &mut BytesMut) {
        match self {
            Self::Utf8 => out.extend_from_slice(text.as_bytes()),
            Self::Ascii | Self::Latin1 => {
                let limit = if self == Self::Ascii { 0x7F } else { 0xFF };
                let byte = |c| u8::try_from(u32::from(c)).ok().filter(|byte| *byte <= limit);
                out.extend(text.chars().map(|c| byte(c).unwrap_or(b'?')));
            }
            Self::Utf16 | Self::Utf16Be => {
                if self == Self::Utf16 {
                    out.extend_from_slice(&[0xFE, 0xFF]);
                }
                out.extend(text.encode_utf16().flat_map(u16::to_be_bytes));
            }
            Self::Utf16Le => out.extend(text.encode_utf16().flat_map(u16::to_le_bytes)),
        }
    }
}

/// As Java decodes it: a high surrogate takes the unit after it along, whatever that is.
fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Text {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let mut units = pairs.iter().map(|pair| unit(*pair));
    let mut text = String::with_capacity(pairs.len());
    while let Some(first) = units.next() {
        let second = (0xD800..0xDC00).contains(&first).then(|| units.next()).flatten();
        let c = char::decode_utf16(std::iter::once(first).chain(second)).next();
        text.push(c.and_then(Result::ok).unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    text.extend(odd.iter().map(|_| char::REPLACEMENT_CHARACTER));
    text.into()
}

/// A slice, unless something is malformed.
pub(crate) fn utf8(bytes: Bytes) -> Text {
    match Text::try_from(bytes.clone()) {
        Ok(text) => text,
        Err(_) => lossy(&bytes).into(),
    }
}

/// As Java decodes it: one U+FFFD for the longest start of a character, and one for an encoded
/// surrogate.
#[cold]
fn lossy(mut bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    while let Err(error) = std::str::from_utf8(bytes) {
        let (valid, rest) = bytes.split_at(error.valid_up_to());
        text.push_str(&String::from_utf8_lossy(valid));
        text.push(char::REPLACEMENT_CHARACTER);
        let malformed = match rest {
            [0xED, 0xA0..=0xBF, 0x80..=0xBF, ..] => 3,
            _ => error.error_len().unwrap_or(rest.len()),
        };
        bytes = &rest[malformed..];
    }
    text.push_str(&String::from_utf8_lossy(bytes));
    text
}

/// Text in one encoding.
#[derive(Debug)]
pub struct StringConverter {
    encoding: Encoding,
    schema: SchemaRef,
}

impl Configured for StringConverter {
    type Config = StringConverterConfig;

    fn new(config: StringConverterConfig) -> Result<Self, FieldErrors> {
        Ok(Self { encoding: config.encoding, schema: optional(Kind::String) })
    }
}

impl Converter for StringConverter {
    fn decode(&self, _: &str, bytes: Option<Bytes>) -> Result<Datum> {
        let value = match bytes {
            Some(bytes) => Value::String(self.encoding.decode(bytes)),
            None => Value::Null,
        };
        Ok(Datum::new(self.schema.clone(), value))
    }

    fn encode(&self, _: &str, datum: &Datum, scratch: &mut BytesMut) -> Result<Option<Bytes>> {
        match &datum.value {
            Value::Null => Ok(None),
            Value::String(text) if self.encoding == Encoding::Utf8 => {
                Ok(Some(text.as_bytes().clone()))
            }
            _ => {
                self.encoding.encode(&java_text(datum), scratch);
                Ok(Some(scratch.split().freeze()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use towpath_sdk::config::{Properties, testing};

    use super::*;

    fn converter(encoding: &str) -> StringConverter {
        let properties =
            Properties::from([("converter.type", "value"), ("converter.encoding", encoding)]);
        StringConverter::new(StringConverterConfig::parse(&properties).unwrap()).unwrap()
    }

    #[test]
    fn utf8_passes_through_as_a_slice() {
        let converter = converter("utf-8");
        let bytes = Bytes::from("grüße".to_owned());
        let datum = converter.decode("t", Some(bytes.clone())).unwrap();
        let back = converter.encode("t", &datum, &mut BytesMut::new()).unwrap().unwrap();
        assert_eq!(back.as_ptr(), bytes.as_ptr());
    }

    #[test]
    fn the_encoding_decides() {
        let text = Value::String("aü€😀".into());
        let check = |encoding: &str, bytes: &[u8], back: &str| {
            let converter = converter(encoding);
            let datum = Datum::schemaless(text.clone());
            let encoded = converter.encode("t", &datum, &mut BytesMut::new()).unwrap().unwrap();
            assert_eq!(encoded, bytes, "{encoding}");
            let decoded = converter.decode("t", Some(encoded)).unwrap();
            assert_eq!(decoded.value, Value::String(back.into()), "{encoding}");
        };
        check("US-ASCII", b"a???", "a???");
        check("latin1", b"a\xFC??", "aü??");
        check("UTF-16LE", b"a\0\xFC\0\xAC\x20\x3D\xD8\x00\xDE", "aü€😀");
        check("UTF-16", b"\xFE\xFF\0a\0\xFC\x20\xAC\xD8\x3D\xDE\x00", "aü€😀");
        let errors = StringConverterConfig::parse(&Properties::from([
            ("converter.type", "value"),
            ("converter.encoding", "EBCDIC"),
        ]));
        assert!(errors.unwrap_err().to_string().contains("converter.encoding: Unsupported"));
    }

    #[test]
    fn every_key_has_its_effect() {
        testing::assert_definition::<StringConverterConfig>();
        testing::assert_every_key_is_claimed(
            StringConverterConfig::definition(),
            &[
                ("converter.type", "the_type_may_be_repeated_but_not_contradicted"),
                ("converter.encoding", "the_encoding_decides"),
            ],
        );
    }
}
