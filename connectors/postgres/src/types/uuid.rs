//! `uuid`.

use bytes::Bytes;
use towpath_sdk::schema::{Kind, Schema};
use towpath_sdk::value::Value;
use towpath_sdk::{Result, Text};

use super::default::Written;
use super::form::{Binary, Form, ascii, named, utf8};
use super::slice::Slice;

/// The text that it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Uuid;

impl Form for Uuid {
    fn schema(&self) -> Schema {
        named(Kind::String, "io.debezium.data.Uuid")
    }

    fn decode(&self, text: &Bytes) -> Result<Value> {
        utf8(text).map(Value::String)
    }

    fn binary(&self) -> Option<&dyn Binary> {
        Some(self)
    }

    fn default(&self, written: &Written) -> Option<Value> {
        written.read(self, "00000000-0000-0000-0000-000000000000")
    }
}

impl Binary for Uuid {
    fn read(&self, value: Slice<'_>) -> Result<Value> {
        let bytes: [u8; 16] = value.number()?;
        let mut text = [b'-'; 36];
        let mut at = 0;
        for (n, byte) in bytes.iter().enumerate() {
            at += usize::from(matches!(n, 4 | 6 | 8 | 10));
            for half in [byte >> 4, byte & 0xf] {
                if let Some(digit) = text.get_mut(at) {
                    *digit = super::binary::DIGITS[usize::from(half)];
                }
                at += 1;
            }
        }
        Ok(Value::String(Text::from(ascii(&text))))
    }
}
