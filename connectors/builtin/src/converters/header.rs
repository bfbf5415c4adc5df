//! Headers as plain text whose type is guessed when it is read.
//!
//! Kafka Connect's default for headers: a number becomes the smallest type that holds it, `true` a
//! boolean, `[1,2]` an array, `2024-01-15` a date, and anything that can't be read otherwise a text.
//! What is guessed is what Connect guesses, oddities included: only quoted texts may stand inside of
//! arrays and maps, and quotes around a whole text belong to it.
//!
//! Differences on purpose: dates and times are in UTC (Connect takes the machine's time zone) and by
//! the Gregorian calendar throughout; digits are ASCII digits; where Connect has an array or map
//! without an element type (`[]`, `[1,"a"]`), the value has no schema here, and dates and
//! large numbers in it are texts.

mod read;
mod shape;
mod temporal;
mod write;

use bytes::{Bytes, BytesMut};
use towpath_sdk::Result;
use towpath_sdk::config::{ConnectorConfig, FieldErrors};
use towpath_sdk::converter::Converter;
use towpath_sdk::plugin::PluginName;
use towpath_sdk::value::Datum;

use super::Configured;
use super::string::utf8;

pub(super) const NAMES: &[PluginName] =
    &[PluginName::new("org.apache.kafka.connect.storage.SimpleHeaderConverter")];
pub(super) const SUMMARY: &str = "Headers as plain text whose type is guessed when it is read.";

/// Headers as plain text. It has nothing to configure.
#[derive(Debug)]
pub struct SimpleHeaderConverter;

/// No keys.
#[derive(Debug, ConnectorConfig)]
pub struct SimpleHeaderConverterConfig {}

impl Configured for SimpleHeaderConverter {
    type Config = SimpleHeaderConverterConfig;

    fn new(_: SimpleHeaderConverterConfig) -> Result<Self, FieldErrors> {
        Ok(Self)
    }
}

impl Converter for SimpleHeaderConverter {
    fn decode(&self, _: &str, bytes: Option<Bytes>) -> Result<Datum> {
        Ok(bytes.map_or_else(Datum::null, |bytes| read::datum(&utf8(bytes))))
    }

    fn encode(&self, _: &str, datum: &Datum, scratch: &mut BytesMut) -> Result<Option<Bytes>> {
        if datum.is_null() {
            return Ok(None);
        }
        if let Some(text) = write::plain(datum) {
            return Ok(Some(text));
        }
        let mut text = String::new();
        write::value(&mut text, &datum.value, datum.schema.as_deref(), false);
        scratch.extend_from_slice(text.as_bytes());
        Ok(Some(scratch.split().freeze()))
    }
}

#[cfg(test)]
mod tests {
    use towpath_sdk::value::Value;

    use super::*;

    #[test]
    fn what_has_no_element_type_stays_readable() {
        for (text, back) in [
            ("[99999999999999999999, 5]", r#"["99999999999999999999",5]"#),
            (r#"["2024-01-15","x"]"#, r#"["2024-01-15","x"]"#),
            (r#"[["10:11:12.345Z"],5]"#, r#"[["10:11:12.345Z"],5]"#),
            (
                r#"{"a":"2024-01-15","b":{"c":1,"d":"x"}}"#,
                r#"{"a":"2024-01-15","b":{"c":1,"d":"x"}}"#,
            ),
            ("[]", "[]"),
        ] {
            let datum = SimpleHeaderConverter.decode("h", Some(Bytes::from(text))).unwrap();
            assert_eq!(datum.schema, None, "{text}");
            assert!(matches!(datum.value, Value::Array(_) | Value::Map(_)), "{text}");
            let written = SimpleHeaderConverter.encode("h", &datum, &mut BytesMut::new()).unwrap();
            assert_eq!(written.unwrap(), back, "{text}");
        }
    }

    #[test]
    fn text_passes_through_as_a_slice() {
        let bytes = Bytes::from("some text".to_owned());
        let datum = SimpleHeaderConverter.decode("h", Some(bytes.clone())).unwrap();
        let back = SimpleHeaderConverter.encode("h", &datum, &mut BytesMut::new()).unwrap();
        assert_eq!(back.map(|back| back.as_ptr()), Some(bytes.as_ptr()));
    }
}
