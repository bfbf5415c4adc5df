//! Values as Java prints them.
//!
//! Duty: the text of `String.valueOf(value)` for the objects that Kafka Connect would hold, in one
//! place, since the string converter, the file sink and error messages all show it.
//!
//! Differences on purpose: bytes are shown in base64 where Java shows an address; dates are shown in
//! UTC, where Java takes the machine's time zone.

use std::borrow::Cow;

use crate::decimal::{DECIMAL, Decimal, SCALE};
use crate::schema::{Kind, Schema};
use crate::value::{Datum, Struct, Value};

/// What Debezium puts in the place of a value that it does not know.
pub const UNAVAILABLE: &str = "__debezium_unavailable_value";

const DATE: &str = "org.apache.kafka.connect.data.Date";
const TIME: &str = "org.apache.kafka.connect.data.Time";
const TIMESTAMP: &str = "org.apache.kafka.connect.data.Timestamp";
const DAY_MS: i64 = 86_400_000;

/// The text of `datum`; borrowed if it is text already.
#[must_use]
pub fn java_text(datum: &Datum) -> Cow<'_, str> {
    match &datum.value {
        Value::String(text) => Cow::Borrowed(text),
        value => {
            let mut out = String::new();
            write_java_text(&mut out, value, datum.schema.as_deref());
            Cow::Owned(out)
        }
    }
}

/// Appends the text of `value` to `out`. The schema tells dates and decimals from plain numbers and
/// bytes.
pub fn write_java_text(out: &mut String, value: &Value, schema: Option<&Schema>) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Unchanged => out.push_str(UNAVAILABLE),
        Value::Boolean(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int8(n) => push_integer(out, i64::from(*n)),
        Value::Int16(n) => push_integer(out, i64::from(*n)),
        Value::Int32(n) => push_int32(out, *n, schema),
        Value::Int64(n) => match name_of(schema) {
            Some(TIMESTAMP) => push_date(out, *n),
            _ => push_integer(out, *n),
        },
        Value::Float32(n) => push_float(out, n.is_finite(), &format!("{n:E}"), || {
            let two = format!("{n:.1E}");
            (two.parse() == Ok(*n)).then_some(two)
        }),
        Value::Float64(n) => push_float(out, n.is_finite(), &format!("{n:E}"), || {
            let two = format!("{n:.1E}");
            (two.parse() == Ok(*n)).then_some(two)
        }),
        Value::String(text) => out.push_str(text),
        Value::Bytes(bytes) => push_bytes(out, bytes, schema),
        Value::Array(items) => {
            let of = match schema.map(|s| &s.kind) {
                Some(Kind::Array(of)) => Some(&**of),
                _ => None,
            };
            push_list(out, items.iter(), |out, item| write_java_text(out, item, of));
        }
        Value::Map(entries) => {
            let (keys, values) = match schema.map(|s| &s.kind) {
                Some(Kind::Map(keys, values)) => (Some(&**keys), Some(&**values)),
                _ => (None, None),
            };
            push_map(out, entries.iter(), keys, values);
        }
        Value::Struct(fields) => push_struct(out, fields),
        Value::Json(json) => push_json(out, &json.decode()),
    }
}

/// The order in which Java's `HashMap` goes over keys with these hashes ([`java_hash`]): their places.
/// The keys are distinct and were inserted in the given order. Connect's JSON converter puts objects
/// into such maps.
#[must_use]
pub fn hash_map_order(hashes: impl ExactSizeIterator<Item = u32>) -> Vec<usize> {
    // The table starts with 16 places and doubles once it is over three quarters full. A place keeps
    // the order of insertion.
    let mut table: u32 = 16;
    while hashes.len() as u64 * 4 > u64::from(table) * 3 && table < 1 << 30 {
        table *= 2;
    }
    let place = |hash: u32| (hash ^ (hash >> 16)) & (table - 1);
    let mut places: Vec<(u32, usize)> = hashes.map(place).zip(0..).collect();
    places.sort_unstable();
    places.into_iter().map(|(_, at)| at).collect()
}

/// `Object.hashCode` of the text, number or boolean that Connect would hold; 0 for anything else.
#[must_use]
pub fn java_hash(value: &Value) -> u32 {
    let fold = |hash: u32, unit: u16| hash.wrapping_mul(31).wrapping_add(unit.into());
    let long = |bits: u64| (bits ^ (bits >> 32)) as u32;
    match *value {
        Value::String(ref text) => text.encode_utf16().fold(0, fold),
        Value::Boolean(b) => 1231 + 6 * u32::from(!b),
        Value::Int8(n) => i32::from(n) as u32,
        Value::Int16(n) => i32::from(n) as u32,
        Value::Int32(n) => n as u32,
        Value::Int64(n) => long(n as u64),
        Value::Float32(n) => n.to_bits(),
        Value::Float64(n) => long(n.to_bits()),
        _ => 0,
    }
}

fn name_of(schema: Option<&Schema>) -> Option<&str> {
    schema?.name.as_deref()
}

fn push_integer(out: &mut String, n: i64) {
    out.push_str(itoa::Buffer::new().format(n));
}

fn push_int32(out: &mut String, n: i32, schema: Option<&Schema>) {
    match name_of(schema) {
        Some(DATE) => push_date(out, i64::from(n) * DAY_MS),
        Some(TIME) => push_date(out, i64::from(n)),
        _ => push_integer(out, i64::from(n)),
    }
}

/// `Double.toString` (JDK 19 and later: the shortest digits that read back, but at least two if the
/// number is shown with an exponent). `shortest` is in scientific notation.
fn push_float(
    out: &mut String,
    finite: bool,
    shortest: &str,
    two_digits: impl FnOnce() -> Option<String>,
) {
    if !finite {
        let (sign, name) = shortest.strip_prefix('-').map_or(("", shortest), |name| ("-", name));
        out.push_str(sign);
        out.push_str(if name == "inf" { "Infinity" } else { "NaN" });
        return;
    }
    let two = if shortest.contains('.') { None } else { two_digits() };
    let text = two.as_deref().unwrap_or(shortest);
    let (mantissa, exponent) = text.split_once('E').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let mantissa = match mantissa.strip_prefix('-') {
        Some(mantissa) => {
            out.push('-');
            mantissa
        }
        None => mantissa,
    };
    let (first, rest) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    match exponent {
        _ if first == "0" => out.push_str("0.0"),
        0..7 => {
            // The point moves right by the exponent.
            let rest = rest.trim_end_matches('0');
            let places = exponent.unsigned_abs() as usize;
            out.push_str(first);
            out.extend(rest.chars().chain(std::iter::repeat('0')).take(places));
            out.push('.');
            out.push_str(rest.get(places..).filter(|rest| !rest.is_empty()).unwrap_or("0"));
        }
        -3..0 => {
            out.push_str("0.");
            out.extend(std::iter::repeat_n('0', exponent.unsigned_abs() as usize - 1));
            out.push_str(first);
            out.push_str(rest.trim_end_matches('0'));
        }
        _ => {
            out.push_str(&format!("{first}.{rest}E{exponent}"));
        }
    }
}

fn push_bytes(out: &mut String, bytes: &[u8], schema: Option<&Schema>) {
    if let (Some(DECIMAL), Some(schema)) = (name_of(schema), schema) {
        let scale = schema.parameters.get(SCALE).and_then(|scale| scale.parse().ok());
        if let Some(Ok(decimal)) = scale.map(|scale| Decimal::from_unscaled(bytes, scale)) {
            out.push_str(&decimal.to_string());
            return;
        }
    }
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place)) as usize & 63];
            out.push(if place <= group.len() { char::from(digit) } else { '=' });
        }
    }
}

/// `Date.toString` in UTC, by the Gregorian calendar throughout.
fn push_date(out: &mut String, ms: i64) {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let days = ms.div_euclid(DAY_MS);
    let second = ms.rem_euclid(DAY_MS) / 1000;
    // Years are counted from March, so that a leap day ends one; eras have 400 of them.
    let since = days + 719_468;
    let (era, day_of_era) = (since.div_euclid(146_097), since.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year_of_era + i64::from(month >= 10);
    out.push_str(&format!(
        "{} {} {day:02} {:02}:{:02}:{:02} UTC {year}",
        WEEKDAYS[days.rem_euclid(7) as usize],
        MONTHS[((month + 2) % 12) as usize],
        second / 3600,
        second / 60 % 60,
        second % 60,
    ));
}

fn push_list<T>(
    out: &mut String,
    items: impl Iterator<Item = T>,
    mut push: impl FnMut(&mut String, T),
) {
    out.push('[');
    for (at, item) in items.enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        push(out, item);
    }
    out.push(']');
}

fn push_map<'v>(
    out: &mut String,
    entries: impl Iterator<Item = &'v (Value, Value)>,
    keys: Option<&Schema>,
    values: Option<&Schema>,
) {
    out.push('{');
    for (at, (key, value)) in entries.enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        write_java_text(out, key, keys);
        out.push('=');
        write_java_text(out, value, values);
    }
    out.push('}');
}

/// Fields without a value are left out.
fn push_struct(out: &mut String, fields: &Struct) {
    out.push_str("Struct{");
    let mut first = true;
    for (field, value) in fields.schema().fields().iter().zip(fields.values()) {
        if value.is_null() {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        out.push_str(&field.name);
        out.push('=');
        write_java_text(out, value, Some(&field.schema));
    }
    out.push('}');
}

/// A decoded JSON document, whose objects Connect would have put into hash maps.
fn push_json(out: &mut String, value: &Value) {
    match value {
        Value::Array(items) => push_list(out, items.iter(), push_json),
        Value::Map(entries) => {
            let hashes = entries.iter().map(|(key, _)| java_hash(key));
            out.push('{');
            for (nth, at) in hash_map_order(hashes).into_iter().enumerate() {
                let (key, value) = &entries[at];
                if nth > 0 {
                    out.push_str(", ");
                }
                push_json(out, key);
                out.push('=');
                push_json(out, value);
            }
            out.push('}');
        }
        other => write_java_text(out, other, None),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::java_text;
    use crate::schema::{Kind, Schema};
    use crate::value::{Datum, Json, Struct, Value};

    fn plain(value: Value) -> String {
        java_text(&Datum::schemaless(value)).into_owned()
    }

    #[test]
    fn floating_point_numbers() {
        for (number, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-1.5, "-1.5"),
            (100.0, "100.0"),
            (123.456, "123.456"),
            (0.001, "0.001"),
            (0.012, "0.012"),
            (0.0009, "9.0E-4"),
            (1234567.5, "1234567.5"),
            (9999999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (12345678.9, "1.23456789E7"),
            (2e23, "2.0E23"),
            (f64::MAX, "1.7976931348623157E308"),
            (5e-324, "4.9E-324"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(plain(Value::Float64(number)), text);
        }
        assert_eq!(plain(Value::Float32(0.1)), "0.1");
        assert_eq!(plain(Value::Float32(16_777_216.0)), "1.6777216E7");
        assert_eq!(plain(Value::Float32(f32::from_bits(1))), "1.4E-45");
    }

    #[test]
    fn containers() {
        let text = |text: &'static str| Value::String(text.into());
        assert_eq!(plain(Value::Null), "null");
        assert_eq!(
            plain(Value::Array(vec![Value::Int8(1), Value::Null, text("a b")])),
            "[1, null, a b]"
        );
        assert_eq!(
            plain(Value::Map(vec![(text("b"), Value::Boolean(true)), (text("a"), text("x"))])),
            "{b=true, a=x}"
        );
        for (bytes, shown) in [(&b""[..], ""), (b"f", "Zg=="), (b"fo", "Zm8="), (b"foo", "Zm9v")] {
            assert_eq!(plain(Value::Bytes(Bytes::from_static(bytes))), shown);
        }
        let schema = Arc::new(Schema::structure([
            ("a", Arc::new(Schema::new(Kind::Int32).optional())),
            ("b", Arc::new(Schema::new(Kind::String).optional())),
            ("c", Arc::new(Schema::new(Kind::Float32))),
        ]));
        let values = vec![Value::Int32(1), Value::Null, Value::Float32(2.5)];
        assert_eq!(plain(Value::Struct(Struct::new(schema, values).unwrap())), "Struct{a=1,c=2.5}");
    }

    #[test]
    fn json_objects_are_hash_maps() {
        let json = |text: &'static str| plain(Value::Json(Json::new(text.into()).unwrap()));
        assert_eq!(
            json(r#"{"user":"x","id":1,"a":[{"z":1,"y":null}]}"#),
            "{a=[{y=null, z=1}], id=1, user=x}"
        );
        assert_eq!(
            json(
                r#"{"zero":0,"one":1,"two":2,"three":3,"four":4,"five":5,"six":6,"seven":7,
                "eight":8,"nine":9,"ten":10,"eleven":11,"twelve":12}"#
            ),
            "{nine=9, six=6, one=1, seven=7, two=2, three=3, eight=8, zero=0, four=4, twelve=12, \
             eleven=11, ten=10, five=5}"
        );
    }

    #[test]
    fn logical_types() {
        let show = |value, kind, name: &str| {
            let schema = Schema::new(kind).named(name).parameter("scale", "2");
            java_text(&Datum::new(Arc::new(schema), value)).into_owned()
        };
        let bytes = Value::Bytes(Bytes::from_static(&[0x04, 0xD2]));
        assert_eq!(show(bytes, Kind::Bytes, super::DECIMAL), "12.34");
        for (ms, text) in [
            (0, "Thu Jan 01 00:00:00 UTC 1970"),
            (-1, "Wed Dec 31 23:59:59 UTC 1969"),
            (951_782_400_000, "Tue Feb 29 00:00:00 UTC 2000"),
            (1_795_229_778_250, "Sat Nov 21 02:56:18 UTC 2026"),
        ] {
            assert_eq!(show(Value::Int64(ms), Kind::Int64, super::TIMESTAMP), text);
        }
        assert_eq!(
            show(Value::Int32(-1), Kind::Int32, super::DATE),
            "Wed Dec 31 00:00:00 UTC 1969"
        );
        assert_eq!(
            show(Value::Int32(1000), Kind::Int32, super::TIME),
            "Thu Jan 01 00:00:01 UTC 1970"
        );
    }
}
