//! JSON as Kafka Connect's Jackson writes it.
//!
//! Two workers that write the same key of a compacted topic differently write two keys, so the
//! bytes matter: no white space, control characters as `\u001F` (upper case), characters beyond the
//! basic plane as two escaped surrogates, everything else as plain UTF-8, and floating point numbers
//! as Java's `Double.toString` prints them.

use std::io;

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};

/// `value` as the JSON text that Kafka Connect's `JsonConverter` (schemas off) would write for it.
///
/// # Errors
/// If `value` can't be JSON, for instance a map whose keys aren't texts.
pub fn to_java_json<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<String> {
    let mut out = Vec::with_capacity(128);
    value.serialize(&mut Serializer::with_formatter(&mut out, Jackson))?;
    String::from_utf8(out).map_err(serde::ser::Error::custom)
}

struct Jackson;

impl Formatter for Jackson {
    fn write_char_escape<W: io::Write + ?Sized>(
        &mut self,
        out: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        let short = match escape {
            CharEscape::Quote => b"\\\"",
            CharEscape::ReverseSolidus => b"\\\\",
            CharEscape::Solidus => b"\\/",
            CharEscape::Backspace => b"\\b",
            CharEscape::FormFeed => b"\\f",
            CharEscape::LineFeed => b"\\n",
            CharEscape::CarriageReturn => b"\\r",
            CharEscape::Tab => b"\\t",
            CharEscape::AsciiControl(byte) => return write!(out, "\\u{byte:04X}"),
        };
        out.write_all(short)
    }

    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| u32::from(*c) > 0xFFFF) {
            out.write_all(&rest.as_bytes()[..at])?;
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                write!(out, "\\u{unit:04X}")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }

    fn write_f32<W: io::Write + ?Sized>(&mut self, out: &mut W, value: f32) -> io::Result<()> {
        out.write_all(java_float(&format!("{value:e}")).as_bytes())
    }

    fn write_f64<W: io::Write + ?Sized>(&mut self, out: &mut W, value: f64) -> io::Result<()> {
        out.write_all(java_float(&format!("{value:e}")).as_bytes())
    }
}

/// From Rust's shortest scientific form (`1.5e-7`) to Java's: plain from 10^-3 to below 10^7.
fn java_float(scientific: &str) -> String {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(positive) => ("-", positive),
        None => ("", mantissa),
    };
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    // A double's exponent has at most three digits.
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-3..7).contains(&exponent) {
        let (first, rest) = digits.split_at(1);
        let rest = if rest.is_empty() { "0" } else { rest };
        return format!("{sign}{first}.{rest}E{exponent}");
    }
    let Ok(whole) = usize::try_from(exponent + 1) else {
        let zeros = "0".repeat(exponent.unsigned_abs() as usize - 1);
        return format!("{sign}0.{zeros}{digits}");
    };
    let (whole, fraction) = if whole == 0 {
        ("0".to_owned(), digits)
    } else {
        let padded = format!("{digits:0<whole$}");
        (padded[..whole].to_owned(), padded[whole..].to_owned())
    };
    let fraction = if fraction.is_empty() { "0" } else { &fraction };
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_as_jackson_does() {
        let text = "tab\t quote\" back\\ nl\n cr\r ff\u{c} bs\u{8} slash/ ctl\u{1}\u{1f} del\u{7f} é \u{2028} 😀 <&>'";
        let expect = "\"tab\\t quote\\\" back\\\\ nl\\n cr\\r ff\\f bs\\b slash/ ctl\\u0001\\u001F del\u{7f} é \u{2028} \\uD83D\\uDE00 <&>'\"";
        assert_eq!(to_java_json(text).expect("text"), expect);
    }

    #[test]
    fn floats_are_printed_as_java_does() {
        let golden = [
            (1.0, "1.0"),
            (1.5, "1.5"),
            (100.0, "100.0"),
            (1e7, "1.0E7"),
            (1e10, "1.0E10"),
            (9_999_999.0, "9999999.0"),
            (0.001, "0.001"),
            (1e-4, "1.0E-4"),
            (1.5e-7, "1.5E-7"),
            (-0.0, "-0.0"),
            (123_456_789.125, "1.23456789125E8"),
            (f64::MAX, "1.7976931348623157E308"),
            (f64::MIN_POSITIVE, "2.2250738585072014E-308"),
            (0.002, "0.002"),
            (1_234_567.0, "1234567.0"),
            (12_345_678.0, "1.2345678E7"),
            (0.1, "0.1"),
            (0.012_5, "0.0125"),
            (-12.25, "-12.25"),
            (0.0, "0.0"),
        ];
        for (value, expect) in golden {
            assert_eq!(to_java_json(&value).expect("number"), expect);
        }
        assert_eq!(to_java_json(&3.402_823_5E38_f32).expect("number"), "3.4028235E38");
    }
}
