//! `bytea`, `bit` and `bit varying`.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bytes::Bytes;
use towpath_sdk::schema::{Kind, Schema};
use towpath_sdk::value::Value;
use towpath_sdk::{Error, Result};

use super::default::Written;
use super::form::{Binary, Form, named, utf8};
use super::modes::{BinaryMode, Placeholder};
use super::slice::Slice;

/// Binary data in one of the modes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Octets {
    pub(super) mode: BinaryMode,
    /// Where the data comes from.
    pub(super) source: Source,
}

/// Where binary data comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// From `\x00ff10`, as `bytea` is shown with `bytea_output=hex`.
    Hex,
    /// The text itself is the data: a type without a mapping.
    Text,
}

impl Form for Octets {
    fn schema(&self) -> Schema {
        Schema::new(match self.mode {
            BinaryMode::Bytes => Kind::Bytes,
            BinaryMode::Base64 | BinaryMode::Base64UrlSafe | BinaryMode::Hex => Kind::String,
        })
    }

    fn decode(&self, text: &Bytes) -> Result<Value> {
        if self.source == Source::Text {
            return Ok(self.show(text.clone()));
        }
        let digits = text.strip_prefix(b"\\x").ok_or_else(|| {
            Error::data("not in the server's hexadecimal form (bytea_output=hex)")
        })?;
        if self.mode == BinaryMode::Hex && is_lower_hex(digits) {
            return utf8(&text.slice_ref(digits)).map(Value::String);
        }
        let bytes = from_hex(digits).ok_or_else(|| Error::data("not in hexadecimal"))?;
        Ok(self.show(bytes.into()))
    }

    fn binary(&self) -> Option<&dyn Binary> {
        (self.source == Source::Hex).then_some(self)
    }

    /// In base64, too, Debezium's text is taken as it is; no sample shows that mode.
    fn unavailable(&self, placeholder: &Placeholder) -> Value {
        match self.mode {
            BinaryMode::Bytes => Value::Bytes(placeholder.bytes().clone()),
            _ => Value::String(placeholder.text().clone()),
        }
    }
}

impl Binary for Octets {
    fn read(&self, value: Slice<'_>) -> Result<Value> {
        Ok(self.show(value.share()))
    }
}

impl Octets {
    fn show(&self, bytes: Bytes) -> Value {
        Value::String(match self.mode {
            BinaryMode::Bytes => return Value::Bytes(bytes),
            BinaryMode::Base64 => STANDARD.encode(&bytes).into(),
            BinaryMode::Base64UrlSafe => URL_SAFE.encode(&bytes).into(),
            BinaryMode::Hex => to_hex(&bytes).into(),
        })
    }
}

pub(super) const DIGITS: &[u8; 16] = b"0123456789abcdef";

fn is_lower_hex(digits: &[u8]) -> bool {
    digits.len().is_multiple_of(2)
        && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

fn to_hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from(DIGITS[usize::from(half & 0xf)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// The bytes that pairs of hexadecimal digits are.
pub(super) fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    };
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let mut bytes = Vec::with_capacity(pairs.len());
    for [high, low] in pairs {
        bytes.push(value(*high)? << 4 | value(*low)?);
    }
    Some(bytes)
}

/// `bit(n)` and `bit varying(n)`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bits {
    /// Of one bit: a boolean.
    One,
    /// Of up to `length` bits: bytes, the last bit first, without zero bytes at the end.
    Many { length: i32 },
}

impl Bits {
    pub(super) fn new(length: i32) -> Self {
        if length > 1 { Self::Many { length } } else { Self::One }
    }
}

impl Form for Bits {
    fn schema(&self) -> Schema {
        match self {
            Self::One => Schema::new(Kind::Boolean),
            Self::Many { length } => {
                named(Kind::Bytes, "io.debezium.data.Bits").parameter("length", length.to_string())
            }
        }
    }

    fn decode(&self, text: &Bytes) -> Result<Value> {
        if !text.iter().all(|bit| matches!(bit, b'0' | b'1')) {
            return Err(Error::data("not a string of bits"));
        }
        if let Self::One = self {
            return Ok(Value::Boolean(text.contains(&b'1')));
        }
        let octet = |bits: &[u8]| bits.iter().fold(0, |octet, bit| octet << 1 | (bit & 1));
        Ok(number(text.rchunks(8).map(octet).collect()))
    }

    fn binary(&self) -> Option<&dyn Binary> {
        Some(self)
    }

    fn default(&self, written: &Written) -> Option<Value> {
        written.read(self, "0")
    }
}

/// Bytes of a number, the lowest first, without zeros at the end.
fn number(mut bytes: Vec<u8>) -> Value {
    let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
    bytes.truncate(bytes.len() - zeros);
    Value::Bytes(bytes.into())
}

impl Binary for Bits {
    /// How many bits, and these from the left, filled up with zeros.
    fn read(&self, mut value: Slice<'_>) -> Result<Value> {
        let count = u32::from_be_bytes(value.take()?);
        if value.len() != count.div_ceil(8) as usize {
            return Err(Error::data("not as many bits as it says"));
        }
        if let Self::One = self {
            return Ok(Value::Boolean(value.iter().any(|byte| *byte != 0)));
        }
        let unused = 8 * value.len() as u32 - count;
        let shifted = (0..value.len()).rev().map(|at| {
            let before = at.checked_sub(1).and_then(|at| value.get(at)).copied().unwrap_or(0);
            let pair = u16::from_be_bytes([before, value.get(at).copied().unwrap_or(0)]);
            (pair >> unused) as u8
        });
        Ok(number(shifted.collect()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytea(mode: BinaryMode, text: &'static str) -> Option<Value> {
        Octets { mode, source: Source::Hex }.decode(&Bytes::from_static(text.as_bytes())).ok()
    }

    #[test]
    fn binary_data_in_all_modes() {
        for (text, bytes, base64, url_safe, hex) in [
            (r"\x00ff10", &[0, 0xff, 0x10][..], "AP8Q", "AP8Q", "00ff10"),
            (r"\xFBFF", &[0xfb, 0xff], "+/8=", "-_8=", "fbff"),
            (r"\x", &[], "", "", ""),
        ] {
            let string = |text: &'static str| Some(Value::String(text.into()));
            assert_eq!(
                bytea(BinaryMode::Bytes, text),
                Some(Value::Bytes(Bytes::from_static(bytes)))
            );
            assert_eq!(bytea(BinaryMode::Base64, text), string(base64));
            assert_eq!(bytea(BinaryMode::Base64UrlSafe, text), string(url_safe));
            assert_eq!(bytea(BinaryMode::Hex, text), string(hex));
        }
        for wrong in ["", "00ff", r"\x0", r"\x0g", r"\000"] {
            assert_eq!(bytea(BinaryMode::Bytes, wrong), None, "{wrong}");
            assert_eq!(bytea(BinaryMode::Hex, wrong), None, "{wrong}");
        }
        let unknown = Octets { mode: BinaryMode::Hex, source: Source::Text };
        let value = unknown.decode(&Bytes::from_static(b"(1,a)")).unwrap();
        assert_eq!(value.as_str(), Some("28312c6129"));
    }

    #[test]
    fn bits_come_last_first() {
        for (length, text, bytes) in [
            (3, "101", &[5][..]),
            (8, "1011", &[0x0b]),
            (10, "1000000001", &[0x01, 0x02]),
            (10, "0000000001", &[0x01]),
            (3, "000", &[]),
            (i32::MAX, "", &[]),
        ] {
            let value = Bits::new(length).decode(&Bytes::from_static(text.as_bytes())).unwrap();
            assert_eq!(value, Value::Bytes(Bytes::from_static(bytes)), "{text}");
        }
        let one =
            |text: &'static str| Bits::new(1).decode(&Bytes::from_static(text.as_bytes())).ok();
        assert_eq!(one("1"), Some(Value::Boolean(true)));
        assert_eq!(one("0"), Some(Value::Boolean(false)));
        assert_eq!(one("2"), None);
        let schema = Bits::new(3).schema();
        assert_eq!(schema.name.as_deref(), Some("io.debezium.data.Bits"));
        assert_eq!(schema.parameters.get("length").map(String::as_str), Some("3"));
    }

    proptest! {
        #[test]
        fn hexadecimal_goes_there_and_back(bytes: Vec<u8>) {
            prop_assert_eq!(from_hex(to_hex(&bytes).as_bytes()), Some(bytes.clone()));
            prop_assert_eq!(from_hex(to_hex(&bytes).to_uppercase().as_bytes()), Some(bytes));
        }

        #[test]
        fn bits_are_a_number(number: u64, width in 64..80_usize) {
            let text = format!("{number:0width$b}");
            let Value::Bytes(bytes) = Bits::new(80).decode(&Bytes::from(text)).unwrap() else { panic!() };
            let read = bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
            prop_assert_eq!(read, number);
        }
    }
}
