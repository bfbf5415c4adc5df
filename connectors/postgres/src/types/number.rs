//! Integers and floats.

use bytes::Bytes;
use towpath_sdk::schema::{Kind, Schema};
use towpath_sdk::value::Value;
use towpath_sdk::{Error, Result};

use super::default::Written;
use super::form::{Binary, Form, ascii};
use super::slice::Slice;

/// `int2`, `int4`, `int8`, `oid`, `float4`, `float8`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Int16,
    Int32,
    Int64,
    /// 32 bits without a sign, shown in 64.
    Oid,
    Float32,
    Float64,
}

impl Form for Number {
    fn schema(&self) -> Schema {
        Schema::new(match self {
            Self::Int16 => Kind::Int16,
            Self::Int32 => Kind::Int32,
            Self::Int64 | Self::Oid => Kind::Int64,
            Self::Float32 => Kind::Float32,
            Self::Float64 => Kind::Float64,
        })
    }

    fn decode(&self, text: &Bytes) -> Result<Value> {
        let wrong = |what: &'static str| move || Error::data(what);
        let whole = || integer(text);
        match self {
            Self::Int16 => whole()
                .and_then(|n| i16::try_from(n).ok())
                .map(Value::Int16)
                .ok_or_else(wrong("not an integer of 16 bits")),
            Self::Int32 => whole()
                .and_then(|n| i32::try_from(n).ok())
                .map(Value::Int32)
                .ok_or_else(wrong("not an integer of 32 bits")),
            Self::Int64 => whole().map(Value::Int64).ok_or_else(wrong("not an integer of 64 bits")),
            Self::Oid => whole()
                .and_then(|n| u32::try_from(n).ok())
                .map(|n| Value::Int64(n.into()))
                .ok_or_else(wrong("not an object identifier")),
            Self::Float32 => ascii(text)
                .parse()
                .map(Value::Float32)
                .map_err(|e| Error::data("not a single").with_source(e)),
            Self::Float64 => float(text).map(Value::Float64),
        }
    }

    fn binary(&self) -> Option<&dyn Binary> {
        Some(self)
    }

    fn default(&self, written: &Written) -> Option<Value> {
        match self {
            Self::Oid => None,
            _ => written.read(self, "0"),
        }
    }
}

impl Binary for Number {
    fn read(&self, value: Slice<'_>) -> Result<Value> {
        Ok(match self {
            Self::Int16 => Value::Int16(i16::from_be_bytes(value.number()?)),
            Self::Int32 => Value::Int32(i32::from_be_bytes(value.number()?)),
            Self::Int64 => Value::Int64(i64::from_be_bytes(value.number()?)),
            Self::Oid => Value::Int64(u32::from_be_bytes(value.number()?).into()),
            Self::Float32 => Value::Float32(f32::from_be_bytes(value.number()?)),
            Self::Float64 => Value::Float64(f64::from_be_bytes(value.number()?)),
        })
    }
}

/// A decimal integer, with `-` if it is negative.
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut number = 0_i64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // Counting downwards, since the smallest number has no positive twin.
        number = number.checked_mul(10)?.checked_sub(i64::from(digit))?;
    }
    if negative { Some(number) } else { number.checked_neg() }
}

/// A double as the server writes it, with `NaN` and `Infinity`.
pub(super) fn float(text: &[u8]) -> Result<f64> {
    ascii(text).parse().map_err(|e| Error::data("not a double").with_source(e))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(form: Number, text: &'static str) -> Option<Value> {
        form.decode(&Bytes::from_static(text.as_bytes())).ok()
    }

    #[test]
    fn numbers_are_read_up_to_their_limits() {
        for (form, text, value) in [
            (Number::Int16, "-32768", Some(Value::Int16(i16::MIN))),
            (Number::Int16, "32768", None),
            (Number::Int32, "2147483647", Some(Value::Int32(i32::MAX))),
            (Number::Int32, "-2147483649", None),
            (Number::Int64, "9223372036854775807", Some(Value::Int64(i64::MAX))),
            (Number::Int64, "-9223372036854775808", Some(Value::Int64(i64::MIN))),
            (Number::Int64, "9223372036854775808", None),
            (Number::Oid, "4294967295", Some(Value::Int64(4_294_967_295))),
            (Number::Oid, "4294967296", None),
            (Number::Oid, "-1", None),
            (Number::Float32, "1.5", Some(Value::Float32(1.5))),
            (Number::Float32, "3.4028235e+38", Some(Value::Float32(f32::MAX))),
            (Number::Float64, "2.718281828459045", Some(Value::Float64(std::f64::consts::E))),
            (Number::Float64, "-Infinity", Some(Value::Float64(f64::NEG_INFINITY))),
            (Number::Float64, "", None),
            (Number::Int32, "", None),
            (Number::Int32, "-", None),
            (Number::Int32, "1.0", None),
        ] {
            assert_eq!(decode(form, text), value, "{text}");
        }
        for form in [Number::Float32, Number::Float64] {
            let nan = decode(form, "NaN");
            assert!(
                matches!(nan, Some(Value::Float32(n)) if n.is_nan())
                    || matches!(nan, Some(Value::Float64(n)) if n.is_nan())
            );
        }
    }

    proptest! {
        #[test]
        fn integers_are_read_as_the_standard_library_reads_them(number: i64, text in "-?[0-9]{0,21}") {
            prop_assert_eq!(integer(number.to_string().as_bytes()), Some(number));
            prop_assert_eq!(integer(text.as_bytes()), text.parse().ok());
        }
    }
}
