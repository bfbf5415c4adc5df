//! Numbers and dates as Java writes them.

use std::io::Write;

/// Appends what `Display` writes. A vector takes all bytes, so there is no error to handle.
pub(super) fn write_display(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    let _infallible = write!(out, "{value}");
}

/// `Double.toString`, except that the digits are always the fewest that tell the number from its
/// neighbours (Java before 19 sometimes writes one more).
pub(super) fn write_double(out: &mut Vec<u8>, n: f64) {
    let plain = n == 0.0 || (1e-3..1e7).contains(&n.abs());
    if n.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if n.is_infinite() {
        out.extend_from_slice(if n > 0.0 { b"Infinity" } else { b"-Infinity" });
    } else if plain {
        write_display(out, format_args!("{n:?}"));
    } else {
        write_scientific(out, &format!("{n:E}"));
    }
}

/// `Float.toString`, with the same exception.
pub(super) fn write_float(out: &mut Vec<u8>, n: f32) {
    let plain = n == 0.0 || (1e-3..1e7).contains(&n.abs());
    if n.is_finite() && plain {
        write_display(out, format_args!("{n:?}"));
    } else if n.is_finite() {
        write_scientific(out, &format!("{n:E}"));
    } else {
        write_double(out, n.into());
    }
}

/// Java's mantissa has at least one digit after the point.
fn write_scientific(out: &mut Vec<u8>, text: &str) {
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => {
            write_display(out, format_args!("{digits}.0E{exponent}"));
        }
        _ => out.extend_from_slice(text.as_bytes()),
    }
}

/// `BigDecimal.toString` of the big-endian two's complement `unscaled` and `scale`.
pub(super) fn write_decimal(out: &mut Vec<u8>, unscaled: &[u8], scale: i32) {
    let (negative, digits) = decimal_digits(unscaled);
    if negative {
        out.push(b'-');
    }
    let count = i64::try_from(digits.len()).unwrap_or(i64::MAX);
    let exponent = count - 1 - i64::from(scale);
    if scale >= 0 && exponent >= -6 {
        let fraction = usize::try_from(scale).unwrap_or(0);
        if fraction == 0 {
            out.extend_from_slice(digits.as_bytes());
        } else if fraction < digits.len() {
            let (whole, rest) = digits.split_at(digits.len() - fraction);
            write_display(out, format_args!("{whole}.{rest}"));
        } else {
            write_display(out, format_args!("0.{digits:0>fraction$}"));
        }
    } else {
        let (first, rest) = digits.split_at(1);
        out.extend_from_slice(first.as_bytes());
        if !rest.is_empty() {
            write_display(out, format_args!(".{rest}"));
        }
        if exponent != 0 {
            write_display(out, format_args!("E{exponent:+}"));
        }
    }
}

/// The sign and the decimal digits of a two's complement number.
fn decimal_digits(bytes: &[u8]) -> (bool, String) {
    const BASE: u64 = 1_000_000_000;
    let negative = bytes.first().is_some_and(|b| *b >= 0x80);
    // Groups of nine digits, least significant first.
    let mut groups: Vec<u64> = vec![0];
    for byte in bytes {
        let byte = if negative { !*byte } else { *byte };
        let mut carry = u64::from(byte);
        for group in &mut groups {
            carry += *group << 8;
            *group = carry % BASE;
            carry /= BASE;
        }
        if carry > 0 {
            groups.push(carry);
        }
    }
    if negative {
        let mut carry = 1;
        for group in &mut groups {
            *group += carry;
            carry = *group / BASE;
            *group %= BASE;
        }
        if carry > 0 {
            groups.push(carry);
        }
    }
    let mut digits = String::new();
    for (i, group) in groups.iter().rev().enumerate() {
        let text = if i == 0 { group.to_string() } else { format!("{group:09}") };
        digits.push_str(&text);
    }
    (negative, digits)
}

/// `java.util.Date.toString` in UTC.
pub(super) fn write_date(out: &mut Vec<u8>, millis: i64) {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = millis.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let name = |names: &[&'static str], i: i64| {
        usize::try_from(i).ok().and_then(|i| names.get(i).copied()).unwrap_or("")
    };
    write_display(
        out,
        format_args!(
            "{} {} {day:02} {:02}:{:02}:{:02} UTC {year}",
            name(&DAYS, days.rem_euclid(7)),
            name(&MONTHS, month - 1),
            second / 3600,
            second / 60 % 60,
            second % 60,
        ),
    );
}

/// Year, month and day of the day `days` after 1970-01-01, by counting years from March on, so that
/// the leap day is the last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_and_floats() {
        for (n, expect) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.001, "0.001"),
            (0.000_9, "9.0E-4"),
            (9_999_999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (1.25e-10, "1.25E-10"),
            (f64::MAX, "1.7976931348623157E308"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(text(|out| write_double(out, n)), expect);
        }
        assert_eq!(text(|out| write_float(out, 0.1)), "0.1");
        assert_eq!(text(|out| write_float(out, 1e10)), "1.0E10");
        assert_eq!(text(|out| write_float(out, f32::INFINITY)), "Infinity");
    }

    #[test]
    fn decimals() {
        for (unscaled, scale, expect) in [
            (&[0x30, 0x39][..], 2, "123.45"),
            (&[0xcf, 0xc7], 2, "-123.45"),
            (&[0x00], 0, "0"),
            (&[], 0, "0"),
            (&[0x00], 2, "0.00"),
            (&[0x7b], 5, "0.00123"),
            (&[0x01], 7, "1E-7"),
            (&[0x7b], 10, "1.23E-8"),
            (&[0x7b], -1, "1.23E+3"),
            (&[0x01, 0, 0, 0, 0, 0, 0, 0, 0], 0, "18446744073709551616"),
            (&[0xff, 0, 0, 0, 0, 0, 0, 0, 0], 0, "-18446744073709551616"),
        ] {
            assert_eq!(text(|out| write_decimal(out, unscaled, scale)), expect);
        }
    }

    #[test]
    fn dates() {
        for (millis, expect) in [
            (0, "Thu Jan 01 00:00:00 UTC 1970"),
            (-1, "Wed Dec 31 23:59:59 UTC 1969"),
            (951_782_400_000, "Tue Feb 29 00:00:00 UTC 2000"),
            (1_700_000_000_999, "Tue Nov 14 22:13:20 UTC 2023"),
        ] {
            assert_eq!(text(|out| write_date(out, millis)), expect);
        }
    }
}
