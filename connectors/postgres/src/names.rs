//! Names of topics, schemas and fields.
//!
//! Duty: `schema.name.adjustment.mode` and `field.name.adjustment.mode`, and the characters that topics
//! may have. Pure. Rules of Avro: <https://avro.apache.org/docs/1.12.0/specification/#names>.
//!
//! Characters are counted as Java counts them, in UTF-16: one beyond U+FFFF is replaced twice.

use std::borrow::Cow;

use crate::config::columns::Adjustment;

/// The name of a schema, which may have dots.
#[must_use]
pub(crate) fn schema(name: &str, how: Adjustment) -> Cow<'_, str> {
    adjust(name, how, true)
}

/// The name of a field.
#[must_use]
pub(crate) fn field(name: &str, how: Adjustment) -> Cow<'_, str> {
    adjust(name, how, false)
}

/// A topic's name: what no topic may have becomes `_`.
#[must_use]
pub(crate) fn topic(name: &str) -> Cow<'_, str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    replace(name, |_, unit| char::from_u32(unit.into()).is_some_and(allowed), |_, _| "_".to_owned())
}

fn adjust(name: &str, how: Adjustment, with_dots: bool) -> Cow<'_, str> {
    let is_unicode = how == Adjustment::AvroUnicode;
    let is_valid = |is_first: bool, unit: u16| match u8::try_from(unit) {
        Ok(b'_') => !is_unicode,
        Ok(b'.') => with_dots && !is_first,
        Ok(byte) if byte.is_ascii_digit() => !is_first,
        Ok(byte) => byte.is_ascii_alphabetic(),
        Err(_) => false,
    };
    let replacement = |is_first: bool, unit: u16| match (is_unicode, u8::try_from(unit)) {
        // As Debezium pads it.
        (true, Ok(byte)) => format!("_u00{byte:x}"),
        (true, Err(_)) => format!("_u{unit:x}"),
        // So that names which differ in it only still do.
        (false, Ok(digit)) if is_first && digit.is_ascii_digit() => format!("_{}", digit as char),
        (false, _) => "_".to_owned(),
    };
    match how {
        Adjustment::None => Cow::Borrowed(name),
        Adjustment::Avro | Adjustment::AvroUnicode => replace(name, is_valid, replacement),
    }
}

fn replace(
    name: &str,
    is_valid: impl Fn(bool, u16) -> bool,
    replacement: impl Fn(bool, u16) -> String,
) -> Cow<'_, str> {
    if name.encode_utf16().enumerate().all(|(n, unit)| is_valid(n == 0, unit)) {
        return Cow::Borrowed(name);
    }
    let mut adjusted = String::with_capacity(name.len());
    for (n, unit) in name.encode_utf16().enumerate() {
        match char::from_u32(unit.into()) {
            Some(c) if is_valid(n == 0, unit) => adjusted.push(c),
            _ => adjusted.push_str(&replacement(n == 0, unit)),
        }
    }
    Cow::Owned(adjusted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_avro() {
        for (name, avro, unicode) in [
            ("p.s.t_1.Value", "p.s.t_1.Value", "p.s.t_u005f1.Value"),
            ("p-q.s.t", "p_q.s.t", "p_u002dq.s.t"),
            ("p.s.naïve", "p.s.na_ve", "p.s.na_u00efve"),
            ("p.ſ", "p._", "p._u17f"),
            ("p.😀", "p.__", "p._ud83d_ude00"),
            ("1p", "_1p", "_u0031p"),
        ] {
            assert_eq!(schema(name, Adjustment::None), name);
            assert_eq!(schema(name, Adjustment::Avro), avro);
            assert_eq!(schema(name, Adjustment::AvroUnicode), unicode);
        }
        assert_eq!(field("a.b", Adjustment::Avro), "a_b");
        assert_eq!(field("2nd_name", Adjustment::Avro), "_2nd_name");
        assert_eq!(field("a b", Adjustment::AvroUnicode), "a_u0020b");
    }

    #[test]
    fn topics_have_what_topics_may_have() {
        assert_eq!(topic("p.s.my table-ä_1"), "p.s.my_table-__1");
        assert!(matches!(topic("p.s.t"), Cow::Borrowed(_)));
    }
}
