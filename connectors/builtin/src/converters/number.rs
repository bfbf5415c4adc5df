//! Numbers as big-endian bytes, as Kafka's own serializers write them.

use std::fmt;
use std::marker::PhantomData;

use bytes::{Bytes, BytesMut};
use towpath_sdk::config::FieldErrors;
use towpath_sdk::converter::Converter;
use towpath_sdk::plugin::{PluginName, Registry};
use towpath_sdk::schema::{Kind, SchemaRef};
use towpath_sdk::value::{Datum, Value};
use towpath_sdk::{Error, Result};

use super::{Configured, PlainConverterConfig, optional, plugin};
use crate::java::class_of;

/// 16-bit integers.
pub type ShortConverter = NumberConverter<i16>;
/// 32-bit integers.
pub type IntegerConverter = NumberConverter<i32>;
/// 64-bit integers.
pub type LongConverter = NumberConverter<i64>;
/// Singles.
pub type FloatConverter = NumberConverter<f32>;
/// Doubles.
pub type DoubleConverter = NumberConverter<f64>;

/// Numbers of type `N` as big-endian bytes.
pub struct NumberConverter<N> {
    schema: SchemaRef,
    number: PhantomData<fn() -> N>,
}

/// A number that Kafka has a serializer for.
trait Number: Sized + 'static {
    const NAME: &'static str;
    const CLASS: &'static str;
    const SIZE: usize;
    const KIND: Kind;

    fn decode(bytes: &[u8]) -> Option<Value>;
    fn encode(value: &Value, class: &str, out: &mut BytesMut) -> Option<()>;
}

/// The class decides, since a date is not an integer though it is held as one.
macro_rules! numbers {
    ($($type:ty: $kind:ident, $name:literal, $class:literal;)*) => {$(
        impl Number for $type {
            const NAME: &'static str = $name;
            const CLASS: &'static str = $class;
            const SIZE: usize = size_of::<$type>();
            const KIND: Kind = Kind::$kind;

            fn decode(bytes: &[u8]) -> Option<Value> {
                Some(Value::$kind(<$type>::from_be_bytes(bytes.try_into().ok()?)))
            }

            fn encode(value: &Value, class: &str, out: &mut BytesMut) -> Option<()> {
                match value {
                    Value::$kind(number) if class == Self::CLASS => {
                        out.extend_from_slice(&number.to_be_bytes());
                        Some(())
                    }
                    _ => None,
                }
            }
        }
    )*};
}

numbers! {
    i16: Int16, "short", "java.lang.Short";
    i32: Int32, "integer", "java.lang.Integer";
    i64: Int64, "long", "java.lang.Long";
    f32: Float32, "float", "java.lang.Float";
    f64: Float64, "double", "java.lang.Double";
}

impl<N> fmt::Debug for NumberConverter<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NumberConverter({})", self.schema.kind.connect_name())
    }
}

impl<N: Number> Configured for NumberConverter<N> {
    type Config = PlainConverterConfig;

    fn new(_: PlainConverterConfig) -> Result<Self, FieldErrors> {
        Ok(Self { schema: optional(N::KIND), number: PhantomData })
    }
}

impl<N: Number> Converter for NumberConverter<N> {
    fn decode(&self, _: &str, bytes: Option<Bytes>) -> Result<Datum> {
        let value = match bytes {
            None => Value::Null,
            Some(bytes) => N::decode(&bytes).ok_or_else(|| {
                let cause = format!("{} bytes, expected {}", bytes.len(), N::SIZE);
                Error::data(format!("Failed to deserialize {}: ", N::NAME))
                    .with_source(Error::data(cause))
            })?,
        };
        Ok(Datum::new(self.schema.clone(), value))
    }

    fn encode(&self, _: &str, datum: &Datum, scratch: &mut BytesMut) -> Result<Option<Bytes>> {
        if datum.is_null() {
            return Ok(None);
        }
        let class = class_of(&datum.value, datum.schema.as_deref());
        match N::encode(&datum.value, class, scratch) {
            Some(()) => Ok(Some(scratch.split().freeze())),
            None => Err(Error::data(format!(
                "Failed to serialize to {} (was class {class}): ",
                N::NAME
            ))
            .with_source(Error::data(format!("a {class} is not a {}", N::CLASS)))),
        }
    }
}

pub(super) fn register(registry: &mut Registry) {
    macro_rules! add {
        ($($number:ty: $class:literal, $summary:literal;)*) => {$(
            registry.converter(plugin::<NumberConverter<$number>>(
                const {
                    &[PluginName::new(concat!("org.apache.kafka.connect.converters.", $class))]
                },
                $summary,
            ));
        )*};
    }
    add! {
        i16: "ShortConverter", "16-bit integers as two bytes.";
        i32: "IntegerConverter", "32-bit integers as four bytes.";
        i64: "LongConverter", "64-bit integers as eight bytes.";
        f32: "FloatConverter", "Singles as four bytes.";
        f64: "DoubleConverter", "Doubles as eight bytes.";
    }
}
