//! Payloads by their schema, with Jackson's coercions.

use base64::Engine;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use towpath_sdk::decimal::{DECIMAL, Decimal, SCALE, shortest};
use towpath_sdk::java_text::{hash_map_order, java_hash};
use towpath_sdk::json::Node;
use towpath_sdk::schema::{Field, Kind, Schema, SchemaRef};
use towpath_sdk::value::{Struct, Value};
use towpath_sdk::{Error, Result, Text};

use crate::java::{DATE, TIME, TIMESTAMP, last_of_each};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);
const DAY_MS: i32 = 86_400_000;

/// How payloads are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Whether a null takes the schema's default.
    pub(super) defaults: bool,
}

impl Rules {
    /// The value of `schema` that `node` holds; `None` if there is no such member.
    pub(super) fn value(self, schema: &SchemaRef, node: Option<&Node>) -> Result<Value> {
        let node = match node {
            None | Some(Node::Null) => {
                return match &schema.default {
                    Some(default) if self.defaults => Ok(default.clone()),
                    _ if schema.optional => Ok(Value::Null),
                    _ => Err(Error::data(format!(
                        "Invalid null value for required {} field",
                        schema.kind.connect_name()
                    ))),
                };
            }
            Some(node) => node,
        };
        if let Some(value) = logical(schema, node)? {
            return Ok(value);
        }
        Ok(match &schema.kind {
            Kind::Boolean => Value::Boolean(matches!(node, Node::Boolean(true))),
            Kind::Int8 => Value::Int8(whole(node) as i8),
            Kind::Int16 => Value::Int16(whole(node) as i16),
            Kind::Int32 => Value::Int32(whole(node) as i32),
            Kind::Int64 => Value::Int64(whole(node)),
            // Java's decimals know no negative zero.
            Kind::Float32 => Value::Float32(fractional::<f32>(node) + 0.0),
            Kind::Float64 => Value::Float64(fractional::<f64>(node) + 0.0),
            Kind::String => match node {
                Node::String(text) => Value::String(text.clone()),
                _ => Value::Null,
            },
            Kind::Bytes => match node {
                Node::String(text) => Value::Bytes(
                    base64(text)
                        .map_err(|e| Error::data("Invalid bytes field").with_source(e))?
                        .into(),
                ),
                _ => Value::Null,
            },
            Kind::Array(items) => match node {
                Node::Array(nodes) => Value::Array(
                    nodes
                        .iter()
                        .map(|node| self.value(items, Some(node)))
                        .collect::<Result<_>>()?,
                ),
                Node::Object(members) => Value::Array(
                    members
                        .iter()
                        .map(|(_, node)| self.value(items, Some(node)))
                        .collect::<Result<_>>()?,
                ),
                _ => Value::Array(Vec::new()),
            },
            Kind::Map(keys, values) => self.map(keys, values, node)?,
            Kind::Struct(fields) => self.structure(schema, fields, node)?,
        })
    }

    fn map(self, keys: &SchemaRef, values: &SchemaRef, node: &Node) -> Result<Value> {
        let mut entries = Vec::new();
        if keys.kind == Kind::String {
            let Node::Object(members) = node else {
                return Err(Error::data(format!(
                    "Maps with string fields should be encoded as JSON objects, but found {}",
                    type_of(node)
                )));
            };
            for (key, node) in members {
                entries.push((Value::String(key.clone()), self.value(values, Some(node))?));
            }
        } else {
            let Node::Array(pairs) = node else {
                return Err(Error::data(format!(
                    "Maps with non-string fields should be encoded as JSON array of tuples, but \
                     found {}",
                    type_of(node)
                )));
            };
            for pair in pairs {
                let Node::Array(pair) = pair else {
                    return Err(Error::data(format!(
                        "Found invalid map entry instead of array tuple: {}",
                        type_of(pair)
                    )));
                };
                let [key, value] = pair.as_slice() else {
                    return Err(Error::data(format!(
                        "Found invalid map entry, expected length 2 but found :{}",
                        pair.len()
                    )));
                };
                let (key, value) = (self.value(keys, Some(key))?, self.value(values, Some(value))?);
                entries.push((key, value));
            }
            entries = last_of_each(entries.into_iter());
        }
        // Connect's map is a hash map, whose order others have come to see.
        let order = hash_map_order(entries.iter().map(|(key, _)| java_hash(key)));
        let mut entries: Vec<Option<(Value, Value)>> = entries.into_iter().map(Some).collect();
        Ok(Value::Map(order.into_iter().filter_map(|at| entries[at].take()).collect()))
    }

    fn structure(self, schema: &SchemaRef, fields: &[Field], node: &Node) -> Result<Value> {
        let Node::Object(members) = node else {
            return Err(Error::data(format!(
                "Structs should be encoded as JSON objects, but found {}",
                type_of(node)
            )));
        };
        let mut values = Vec::with_capacity(fields.len());
        for (at, field) in fields.iter().enumerate() {
            // Writers keep the schema's order, so that the first look mostly finds it.
            let node = match members.get(at) {
                Some((name, node)) if **name == *field.name => Some(node),
                _ => members.iter().find(|(name, _)| **name == *field.name).map(|(_, node)| node),
            };
            let value = self.value(&field.schema, node)?;
            require(&field.schema, &value, &|| format!("field: \"{}\"", field.name))?;
            values.push(value);
        }
        Ok(Value::Struct(Struct::new(schema.clone(), values)?))
    }
}

/// Refuses nulls where the schema requires a value, as a struct of Connect's does. Structs further
/// down have done so already.
fn require(schema: &Schema, value: &Value, place: &dyn Fn() -> String) -> Result<()> {
    match (value, &schema.kind) {
        (Value::Null, _) if !schema.optional => Err(Error::data(format!(
            "Invalid value: null used for required {}, schema type: {}",
            place(),
            schema.kind.connect_name()
        ))),
        (Value::Array(items), Kind::Array(of)) => {
            let place = || format!("element of array {}", place());
            items.iter().try_for_each(|item| require(of, item, &place))
        }
        (Value::Map(entries), Kind::Map(keys, values)) => {
            let of_key = || format!("key of map {}", place());
            let of_value = || format!("value of map {}", place());
            entries.iter().try_for_each(|(key, value)| {
                require(keys, key, &of_key)?;
                require(values, value, &of_value)
            })
        }
        _ => Ok(()),
    }
}

/// The value of a logical type, if `schema` is one.
fn logical(schema: &Schema, node: &Node) -> Result<Option<Value>> {
    let number = match node {
        Node::Number(text) if !text.contains(['.', 'e', 'E']) => Some(text),
        _ => None,
    };
    let int = || number.and_then(|text| text.parse::<i32>().ok());
    let refuse = |name: &str, wanted: &str| {
        Err(Error::data(format!(
            "Invalid type for {name}, underlying representation should be {wanted} but was {}",
            type_of(node)
        )))
    };
    Ok(Some(match schema.name.as_deref() {
        Some(DECIMAL) => return decimal(schema, node).map(Some),
        Some(DATE) => match int() {
            Some(days) => Value::Int32(days),
            None => return refuse("Date", "integer"),
        },
        Some(TIME) => match int() {
            Some(ms @ 0..=DAY_MS) => Value::Int32(ms),
            Some(_) => {
                return Err(Error::data(
                    "Time values must use number of milliseconds greater than 0 and less than \
                     86400000",
                ));
            }
            None => return refuse("Time", "integer"),
        },
        Some(TIMESTAMP) => match number {
            Some(text) => Value::Int64(integer(text)),
            None => return refuse("Timestamp", "integral"),
        },
        _ => return Ok(None),
    }))
}

fn decimal(schema: &Schema, node: &Node) -> Result<Value> {
    let scale = || match schema.parameters.get(SCALE) {
        Some(scale) => scale.parse::<i32>().map_err(|e| {
            Error::data("Invalid scale parameter found in Decimal schema: ").with_source(e)
        }),
        None => Err(Error::data("Invalid Decimal schema: scale parameter not found.")),
    };
    let invalid = |e: Error| Error::data("Invalid bytes for Decimal field").with_source(e);
    match node {
        Node::Number(text) => {
            let scale = scale()?;
            let decimal = Decimal::parse(text)?.rescale(scale)?;
            Ok(Value::Bytes(decimal.unscaled().into()))
        }
        Node::String(text) => {
            scale().map_err(invalid)?;
            match base64(text) {
                Ok(bytes) if !bytes.is_empty() => {
                    Ok(Value::Bytes(shortest(&bytes).to_vec().into()))
                }
                Ok(_) => Err(invalid(Error::data("zero-length number"))),
                Err(e) => Err(Error::data("Invalid bytes for Decimal field").with_source(e)),
            }
        }
        _ => Err(Error::data(format!(
            "Invalid type for Decimal, underlying representation should be numeric or bytes but \
             was {}",
            type_of(node)
        ))),
    }
}

/// Jackson's name of the node's type.
fn type_of(node: &Node) -> &'static str {
    match node {
        Node::Null => "NULL",
        Node::Boolean(_) => "BOOLEAN",
        Node::Number(_) => "NUMBER",
        Node::String(_) => "STRING",
        Node::Array(_) => "ARRAY",
        Node::Object(_) => "OBJECT",
    }
}

/// White space may stand between groups of four digits, where lines are broken.
fn base64(text: &Text) -> Result<Vec<u8>, base64::DecodeError> {
    if !text.bytes().any(|byte| byte <= b' ') {
        return BASE64.decode(text.as_bytes());
    }
    let mut digits = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        if byte > b' ' || digits.len() % 4 != 0 {
            digits.push(byte);
        }
    }
    BASE64.decode(digits)
}

/// A number's whole part, wrapped to 64 bits; 0 for anything but a number.
fn whole(node: &Node) -> i64 {
    match node {
        Node::Number(text) => integer(text),
        _ => 0,
    }
}

/// A number; 0 for anything else.
fn fractional<F: std::str::FromStr + Default>(node: &Node) -> F {
    match node {
        Node::Number(text) => text.parse().unwrap_or_default(),
        _ => F::default(),
    }
}

/// The whole part of a number of any size, wrapped to 64 bits.
pub(super) fn integer(text: &str) -> i64 {
    if let Ok(integer) = text.parse() {
        return integer;
    }
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let negative = mantissa.starts_with('-');
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let whole = whole.trim_start_matches('-');
    // How many digits come before the point once it has moved.
    let exponent = exponent
        .parse::<i64>()
        .unwrap_or_else(|_| if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 });
    let before = i64::try_from(whole.len()).unwrap_or(i64::MAX / 2) + exponent;
    let digits = whole.bytes().chain(fraction.bytes());
    let count = i64::try_from(whole.len() + fraction.len()).unwrap_or(i64::MAX);
    let kept = usize::try_from(before.clamp(0, count)).unwrap_or(0);
    let append = |number: u64, digit: u8| number.wrapping_mul(10).wrapping_add(digit.into());
    let mut number = digits.take(kept).map(|digit| digit - b'0').fold(0_u64, append);
    // Ten to the 64th is 0 in 64 bits.
    for _ in count.min(before)..before.min(count.saturating_add(64)) {
        number = append(number, 0);
    }
    if negative { number.wrapping_neg() as i64 } else { number as i64 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::integer;

    #[test]
    fn numbers_wrap_around() {
        for (text, number) in [
            ("9223372036854775808", i64::MIN),
            ("18446744073709551617", 1),
            ("-18446744073709551617", -1),
            ("1.9", 1),
            ("-1.9", -1),
            ("1234.5e2", 123_450),
            ("1234.5e-2", 12),
            ("12e-5", 0),
            ("1e19", 10_000_000_000_000_000_000_u64 as i64),
            ("1e64", 0),
            ("1e999999999999999999999", 0),
            ("1e-999999999999999999999", 0),
        ] {
            assert_eq!(integer(text), number, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_low_64_bits_remain(number: i128) {
            prop_assert_eq!(integer(&number.to_string()), number as i64);
        }
    }
}
