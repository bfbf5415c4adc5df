//! `numeric` and `money`.
//!
//! A number of up to 38 digits, which is nearly every number, goes through 128 bits; longer ones
//! through the SDK's [`Decimal`].

use std::sync::Arc;

use bytes::Bytes;
use towpath_sdk::decimal::{DECIMAL, Decimal, SCALE, shortest};
use towpath_sdk::schema::{Kind, Schema, SchemaRef};
use towpath_sdk::value::{Struct, Value};
use towpath_sdk::{Error, Result, Text};

use super::default::Written;
use super::form::{self, Binary, Form, ascii, utf8};
use super::modes::DecimalMode;
use super::number::float;
use super::numeric::Numeric;
use super::slice::Slice;

/// The parameter in which Avro converters look for the precision.
const PRECISION: &str = "connect.decimal.precision";
const VARIABLE: &str = "io.debezium.data.VariableScaleDecimal";

/// Precision and scale out of a `numeric`'s type modifier; `None` if it has none
/// (`numeric_typmod_precision` and `numeric_typmod_scale` in the server's `numeric.c`).
pub(super) fn precision_and_scale(typmod: i32) -> Option<(i32, i32)> {
    let packed = typmod.checked_sub(4).filter(|packed| *packed >= 0)?;
    Some((packed >> 16 & 0xffff, ((packed & 0x7ff) ^ 1024) - 1024))
}

/// The mapping of a `numeric` with this type modifier. What Debezium makes of a negative scale is not
/// verified; here it is the decimal's scale.
pub(super) fn numeric(typmod: i32, mode: DecimalMode) -> Arc<dyn Form> {
    match (mode, precision_and_scale(typmod)) {
        (DecimalMode::Precise, Some((precision, scale))) => Arc::new(Fixed { precision, scale }),
        (DecimalMode::Precise, None) => Arc::new(Variable::new()),
        (DecimalMode::Double, _) => Arc::new(Double),
        (DecimalMode::String, column) => Arc::new(Plain { scale: column.map(|(_, scale)| scale) }),
    }
}

/// What `numeric` knows beside numbers.
fn special(text: &[u8]) -> Option<&'static str> {
    match text {
        b"NaN" => Some("NAN"),
        b"Infinity" => Some("POSITIVE_INFINITY"),
        b"-Infinity" => Some("NEGATIVE_INFINITY"),
        _ => None,
    }
}

/// The unscaled number of `text` and its scale, if 128 bits hold it.
fn unscaled(text: &[u8]) -> Option<(i128, i32)> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let mut number = 0_i128;
    let mut point = None;
    for (at, byte) in digits.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            number = number.checked_mul(10)?.checked_add(i128::from(digit))?;
        } else if *byte == b'.' && point.is_none() {
            point = Some(at);
        } else {
            return None;
        }
    }
    let places = point.map_or(0, |at| digits.len() - at - 1);
    if digits.len() == usize::from(point.is_some()) {
        return None;
    }
    Some((if negative { -number } else { number }, i32::try_from(places).ok()?))
}

/// `number` with as many places more (or fewer, if these are zeros).
pub(super) fn shift(number: i128, places: i32) -> Option<i128> {
    let factor = 10_i128.checked_pow(places.unsigned_abs())?;
    if places >= 0 {
        return number.checked_mul(factor);
    }
    (number % factor == 0).then_some(number / factor)
}

fn to_bytes(number: i128) -> Bytes {
    Bytes::copy_from_slice(shortest(&number.to_be_bytes()))
}

fn long(text: &[u8]) -> Result<Decimal> {
    Decimal::parse(ascii(text))
}

/// `numeric(p, s)` as Connect's Decimal. What is no number is null, which is what Debezium makes of
/// it in this mode.
#[derive(Debug)]
struct Fixed {
    precision: i32,
    scale: i32,
}

impl Form for Fixed {
    fn schema(&self) -> Schema {
        Schema::new(Kind::Bytes)
            .named(DECIMAL)
            .versioned(1)
            .parameter(SCALE, self.scale.to_string())
            .parameter(PRECISION, self.precision.to_string())
    }

    fn decode(&self, text: &Bytes) -> Result<Value> {
        let short = unscaled(text)
            .and_then(|(number, scale)| shift(number, self.scale.checked_sub(scale)?));
        if let Some(number) = short {
            return Ok(Value::Bytes(to_bytes(number)));
        }
        if special(text).is_some() {
            return Ok(Value::Null);
        }
        Ok(Value::Bytes(long(text)?.rescale(self.scale)?.unscaled().into()))
    }

    fn binary(&self) -> Option<&dyn Binary> {
        Some(self)
    }

    fn default(&self, written: &Written) -> Option<Value> {
        written.read(self, "0").filter(|value| !value.is_null())
    }
}

impl Binary for Fixed {
    fn read(&self, value: Slice<'_>) -> Result<Value> {
        let digits = match Numeric::parse(&value)? {
            Numeric::Special(_) => return Ok(Value::Null),
            Numeric::Number(digits) => digits,
        };
        match digits.unscaled(self.scale) {
            Some(number) => Ok(Value::Bytes(to_bytes(number))),
            None => self.decode(&digits.text().into()),
        }
    }
}

/// `numeric` without precision: a struct of scale and number, trailing zeros stripped.
#[derive(Debug)]
struct Variable {
    schema: SchemaRef,
}

impl Variable {
    fn new() -> Self {
        let mut schema = Schema::structure([
            ("scale", Arc::new(Schema::new(Kind::Int32))),
            ("value", Arc::new(Schema::new(Kind::Bytes))),
        ]);
        schema.doc = Some("Variable scaled decimal".into());
        Self { schema: Arc::new(schema.named(VARIABLE).versioned(1)) }
    }

    fn structure(&self, scale: i32, number: Bytes) -> Result<Value> {
        let fields = vec![Value::Int32(scale), Value::Bytes(number)];
        Struct::new(self.schema.clone(), fields).map(Value::Struct)
    }
}

impl Form for Variable {
    fn schema(&self) -> Schema {
        Schema::clone(&self.schema)
    }

    fn decode(&self, text: &Bytes) -> Result<Value> {
        let stripped = strip(text);
        let (scale, number) = match unscaled(stripped) {
            Some((number, scale)) => (scale, to_bytes(number)),
            None if special(text).is_some() => return Ok(Value::Null),
            None => {
                let number = long(stripped)?;
                (number.scale(), number.unscaled().into())
            }
        };
        self.structure(scale, number)
    }

    fn binary(&self) -> Option<&dyn Binary> {
        Some(self)
    }

    fn bind(&self, schema: &SchemaRef) -> Option<Arc<dyn Form>> {
        Some(Arc::new(Self { schema: schema.clone() }))
    }

    fn zero(&self) -> Value {
        self.decode(&Bytes::from_static(b"0")).unwrap_or_default()
    }
}

impl Binary for Variable {
    fn read(&self, value: Slice<'_>) -> Result<Value> {
        let digits = match Numeric::parse(&value)? {
            Numeric::Special(_) => return Ok(Value::Null),
            Numeric::Number(digits) => digits,
        };
        let mut scale = digits.scale();
        let Some(mut number) = digits.unscaled(scale) else {
            return self.decode(&digits.text().into());
        };
        while scale > 0 && number % 10 == 0 {
            number /= 10;
            scale -= 1;
        }
        self.structure(scale, to_bytes(number))
    }
}

/// Without zeros at the end of the fraction.
fn strip(text: &[u8]) -> &[u8] {
    if !text.contains(&b'.') {
        return text;
    }
    let zeros = text.iter().rev().take_while(|byte| **byte == b'0').count();
    let kept = text.get(..text.len() - zeros).unwrap_or(text);
    kept.strip_suffix(b".").unwrap_or(kept)
}

/// `numeric` as a double.
#[derive(Debug)]
struct Double;

impl Form for Double {
    fn schema(&self) -> Schema {
        Schema::new(Kind::Float64)
    }

    fn decode(&self, text: &Bytes) -> Result<Value> {
        float(text).map(Value::Float64)
    }

    fn binary(&self) -> Option<&dyn Binary> {
        Some(self)
    }

    fn default(&self, written: &Written) -> Option<Value> {
        written.read(self, "0")
    }
}

impl Binary for Double {
    fn read(&self, value: Slice<'_>) -> Result<Value> {
        // Rounded as its text is.
        self.decode(&Numeric::parse(&value)?.text())
    }
}

/// `numeric` as text, with the server's digits. What is no number is called as Debezium calls it; a
/// sample shows that of `NaN` alone.
#[derive(Debug)]
struct Plain {
    scale: Option<i32>,
}

impl Form for Plain {
    fn schema(&self) -> Schema {
        Schema::new(Kind::String)
    }

    fn decode(&self, text: &Bytes) -> Result<Value> {
        Ok(Value::String(match special(text) {
            Some(name) => Text::from_static(name),
            None => utf8(text)?,
        }))
    }

    fn binary(&self) -> Option<&dyn Binary> {
        Some(self)
    }

    /// A default is not yet of the column's scale.
    fn default(&self, written: &Written) -> Option<Value> {
        let text = written.text_or("0.0");
        if special(&text).is_some() {
            return self.decode(&text).ok();
        }
        let number = long(&text).ok()?;
        let number = match self.scale {
            Some(scale) => number.rescale(scale).ok()?,
            None => number,
        };
        number.to_plain().ok().map(|plain| Value::String(plain.into()))
    }

    fn zero(&self) -> Value {
        zero_text(self.scale.unwrap_or_default())
    }
}

impl Binary for Plain {
    fn read(&self, value: Slice<'_>) -> Result<Value> {
        self.decode(&Numeric::parse(&value)?.text())
    }
}

/// Zero with so many digits behind the point.
fn zero_text(scale: i32) -> Value {
    let digits = usize::try_from(scale).unwrap_or_default();
    Value::String(format!("{:.digits$}", 0.0).into())
}

/// `money`. In [`DecimalMode::Precise`] it has the scale `money.fraction.digits`, rounded half up.
#[derive(Debug)]
pub(super) struct Money {
    pub(super) mode: DecimalMode,
    pub(super) fraction_digits: u16,
}

impl Money {
    /// The digits of `$1,234.50`, `-$1,234.50` or `($1,234.50)`: `-1234.50`.
    fn plain(text: &[u8]) -> Result<String> {
        let mut plain = String::with_capacity(text.len());
        if matches!(text.first(), Some(b'-' | b'(')) {
            plain.push('-');
        }
        for byte in text {
            match byte {
                b'0'..=b'9' | b'.' => plain.push(char::from(*byte)),
                b'$' | b',' | b'-' | b'(' | b')' => {}
                _ => return Err(Error::data("not an amount of money under lc_monetary=C")),
            }
        }
        match unscaled(plain.as_bytes()) {
            Some(_) => Ok(plain),
            None => Err(Error::data("not an amount of money")),
        }
    }

    fn show(&self, plain: String) -> Result<Value> {
        Ok(match self.mode {
            DecimalMode::Precise => Value::Bytes(self.precise(&plain).ok_or_else(|| {
                Error::data("an amount of money too long for money.fraction.digits")
            })?),
            DecimalMode::Double => Value::Float64(float(plain.as_bytes())?),
            DecimalMode::String => Value::String(plain.into()),
        })
    }

    fn precise(&self, plain: &str) -> Option<Bytes> {
        let (number, scale) = unscaled(plain.as_bytes())?;
        let more = i32::from(self.fraction_digits) - scale;
        if more >= 0 {
            return Some(to_bytes(shift(number, more)?));
        }
        let factor = 10_i128.checked_pow(more.unsigned_abs())?;
        let half = factor / 2 * number.signum();
        Some(to_bytes(number.checked_add(half)? / factor))
    }
}

impl Form for Money {
    fn schema(&self) -> Schema {
        match self.mode {
            DecimalMode::Precise => Schema::new(Kind::Bytes)
                .named(DECIMAL)
                .versioned(1)
                .parameter(SCALE, self.fraction_digits.to_string()),
            DecimalMode::Double => Schema::new(Kind::Float64),
            DecimalMode::String => Schema::new(Kind::String),
        }
    }

    fn decode(&self, text: &Bytes) -> Result<Value> {
        self.show(Self::plain(text)?)
    }

    fn binary(&self) -> Option<&dyn Binary> {
        Some(self)
    }

    fn zero(&self) -> Value {
        match self.mode {
            DecimalMode::String => zero_text(self.fraction_digits.into()),
            DecimalMode::Precise | DecimalMode::Double => form::zero(&self.schema()),
        }
    }
}

/// Hundredths, as `lc_monetary=C` has it.
impl Binary for Money {
    fn read(&self, value: Slice<'_>) -> Result<Value> {
        let amount = i64::from_be_bytes(value.number()?);
        let sign = if amount < 0 { "-" } else { "" };
        let amount = amount.unsigned_abs();
        self.show(format!("{sign}{}.{:02}", amount / 100, amount % 100))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The type modifier of `numeric(p, s)`.
    fn typmod(precision: i32, scale: i32) -> i32 {
        (precision << 16 | scale & 0x7ff) + 4
    }

    fn decode(form: &dyn Form, text: &str) -> Value {
        form.decode(&Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    #[test]
    fn type_modifiers_hold_precision_and_scale() {
        assert_eq!(precision_and_scale(-1), None);
        for (precision, scale) in [(10, 2), (38, 0), (1000, 1000), (3, -3), (1, -1000)] {
            let found = precision_and_scale(typmod(precision, scale));
            assert_eq!(found, Some((precision, scale)));
        }
    }

    #[test]
    fn numbers_of_a_scale_are_connects_decimals() {
        let form = numeric(typmod(10, 2), DecimalMode::Precise);
        let parameters: Vec<_> = form.schema().parameters.into_iter().collect();
        let expected = [("scale", "2"), ("connect.decimal.precision", "10")];
        assert_eq!(parameters, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
        for (text, bytes) in [
            ("99999999.99", &[0x02, 0x54, 0x0b, 0xe3, 0xff][..]),
            ("-0.01", &[0xff]),
            ("1.1", &[0x6e]),
            ("5", &[0x01, 0xf4]),
            ("1.500", &[0x00, 0x96]),
            ("0.00", &[0]),
        ] {
            assert_eq!(decode(&*form, text), Value::Bytes(Bytes::copy_from_slice(bytes)), "{text}");
        }
        assert!(decode(&*form, "NaN").is_null() && decode(&*form, "-Infinity").is_null());
        for wrong in ["", "-", ".", "1.2.3", "1x", "1.005", "1e", "Inf", "infinity"] {
            assert!(form.decode(&Bytes::copy_from_slice(wrong.as_bytes())).is_err(), "{wrong}");
        }
        let form = numeric(typmod(3, -3), DecimalMode::Precise);
        assert_eq!(decode(&*form, "12000"), Value::Bytes(Bytes::from_static(&[12])));
    }

    #[test]
    fn numbers_without_a_scale_bring_their_own() {
        let form = numeric(-1, DecimalMode::Precise);
        for (text, scale, bytes) in [
            ("123.456", 3, &[0x01, 0xe2, 0x40][..]),
            ("-0.000000000000000001", 18, &[0xff]),
            ("1.500", 1, &[15]),
            ("100", 0, &[100]),
            ("2.0", 0, &[2]),
            ("0.00", 0, &[0]),
        ] {
            let Value::Struct(fields) = decode(&*form, text) else { panic!("{text}") };
            let expected = [Value::Int32(scale), Value::Bytes(Bytes::copy_from_slice(bytes))];
            assert_eq!(fields.values(), expected, "{text}");
        }
        assert!(decode(&*form, "NaN").is_null());
    }

    #[test]
    fn numbers_as_text_and_doubles() {
        let form = numeric(-1, DecimalMode::String);
        for (text, shown) in [
            ("123.456", "123.456"),
            ("-0.000000000000000001", "-0.000000000000000001"),
            ("1.500", "1.500"),
            ("NaN", "NAN"),
            ("Infinity", "POSITIVE_INFINITY"),
            ("-Infinity", "NEGATIVE_INFINITY"),
        ] {
            assert_eq!(decode(&*form, text).as_str(), Some(shown));
        }
        let form = numeric(typmod(10, 2), DecimalMode::Double);
        assert_eq!(decode(&*form, "99999999.99"), Value::Float64(99_999_999.99));
        assert_eq!(decode(&*form, "-Infinity"), Value::Float64(f64::NEG_INFINITY));
    }

    #[test]
    fn money_in_all_modes() {
        let money = |mode, fraction_digits| Money { mode, fraction_digits };
        for (text, bytes, double, plain) in [
            ("$12.34", &[0x04, 0xd2][..], 12.34, "12.34"),
            ("-$1,234.50", &[0xfe, 0x1d, 0xc6], -1234.5, "-1234.50"),
            ("($0.01)", &[0xff], -0.01, "-0.01"),
            (
                "$92,233,720,368,547,758.07",
                &[0x7f, 255, 255, 255, 255, 255, 255, 255],
                92_233_720_368_547_758.07,
                "92233720368547758.07",
            ),
        ] {
            let expected = Value::Bytes(Bytes::copy_from_slice(bytes));
            assert_eq!(decode(&money(DecimalMode::Precise, 2), text), expected, "{text}");
            assert_eq!(decode(&money(DecimalMode::Double, 2), text), Value::Float64(double));
            assert_eq!(decode(&money(DecimalMode::String, 2), text).as_str(), Some(plain));
        }
        for (digits, text, bytes) in [
            (1, "$0.25", &[3][..]),
            (1, "-$0.25", &[0xfd]),
            (0, "$0.49", &[0]),
            (4, "$1.00", &[0x27, 0x10]),
        ] {
            let value = decode(&money(DecimalMode::Precise, digits), text);
            assert_eq!(value, Value::Bytes(Bytes::copy_from_slice(bytes)), "{text}");
        }
        for wrong in ["", "$", "12.34.5", "-", "1 €"] {
            let text = Bytes::copy_from_slice(wrong.as_bytes());
            assert!(money(DecimalMode::Precise, 2).decode(&text).is_err(), "{wrong}");
        }
        let text = Bytes::from_static(b"$1.00");
        assert!(money(DecimalMode::Precise, u16::MAX).decode(&text).is_err());
    }

    proptest! {
        #[test]
        fn short_and_long_numbers_agree_with_the_sdk(text in "-?[0-9]{1,45}(\\.[0-9]{1,12})?", scale in 0..20_i32) {
            let expected = Decimal::parse(&text).unwrap().rescale(scale).ok().map(|d| d.unscaled());
            let found = numeric(typmod(60, scale), DecimalMode::Precise)
                .decode(&Bytes::from(text.clone())).ok();
            prop_assert_eq!(found, expected.map(|bytes| Value::Bytes(bytes.into())));

            let value = decode(&*numeric(-1, DecimalMode::Precise), &text);
            let Value::Struct(fields) = value else { panic!("{text}") };
            let [Value::Int32(scale), Value::Bytes(bytes)] = fields.values() else { panic!("{text}") };
            let number = Decimal::from_unscaled(bytes, *scale).unwrap();
            prop_assert_eq!(number.rescale(12).unwrap(), Decimal::parse(&text).unwrap().rescale(12).unwrap());
        }
    }
}
