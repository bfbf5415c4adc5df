//! Decimal numbers of any precision: Kafka Connect's logical type `Decimal`.
//!
//! Duty: between the three forms that a decimal takes: the unscaled number as big-endian two's
//! complement bytes beside a scale (Kafka), and text in the notation of `java.math.BigDecimal`
//! (JSON, people).
//!
//! Invariant: work is bounded: numbers beyond [`MAX_BYTES`] and exponents beyond what fits into that
//! are refused. Deliberately absent: arithmetic.

use std::fmt;

use crate::error::{Error, Result};

/// The longest unscaled number, in bytes: some 39,000 digits.
pub const MAX_BYTES: usize = 16 * 1024;
const MAX_DIGITS: usize = MAX_BYTES * 240 / 100;
const BILLION: u32 = 1_000_000_000;

/// The name of the logical type.
pub const DECIMAL: &str = "org.apache.kafka.connect.data.Decimal";
/// The schema parameter which holds a decimal's scale.
pub const SCALE: &str = "scale";

/// A decimal number: an integer of any length, divided by ten to the `scale`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    /// Without leading zeros; `0` alone for zero.
    digits: String,
    scale: i32,
}

impl Decimal {
    /// The number whose unscaled value is `bytes` in big-endian two's complement. No bytes is zero.
    ///
    /// # Errors
    /// If there are more than [`MAX_BYTES`].
    pub fn from_unscaled(bytes: &[u8], scale: i32) -> Result<Self> {
        if bytes.len() > MAX_BYTES {
            return Err(Error::data(format!(
                "a decimal of {} bytes is too long, at most {MAX_BYTES} are taken",
                bytes.len()
            )));
        }
        let negative = bytes.first().is_some_and(|b| *b >= 0x80);
        let fill = if negative { 0xFF } else { 0 };
        // Little-endian limbs of the magnitude.
        let mut limbs: Vec<u32> = bytes
            .rchunks(4)
            .map(|chunk| {
                let mut limb = [fill; 4];
                limb[4 - chunk.len()..].copy_from_slice(chunk);
                u32::from_be_bytes(limb)
            })
            .collect();
        if negative {
            negate(&mut limbs);
        }
        Ok(Self { negative, digits: to_digits(limbs), scale })
    }

    /// Reads `BigDecimal`'s notation, which is also JSON's: `-12.50`, `1e-3`. The scale is what is
    /// written: `1.50` has 2, `1e3` has -3.
    ///
    /// # Errors
    /// If `text` is no number, or too long.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || Error::data("not a decimal number");
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| bad())?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
            return Err(bad());
        }
        if whole.len() + fraction.len() > MAX_DIGITS {
            return Err(Error::data(format!("a decimal of more than {MAX_DIGITS} digits")));
        }
        let scale = i32::try_from(fraction.len())
            .ok()
            .and_then(|places| places.checked_sub(exponent))
            .ok_or_else(bad)?;
        let digits = format!("{whole}{fraction}");
        let digits = digits.trim_start_matches('0');
        let digits = if digits.is_empty() { "0" } else { digits };
        Ok(Self { negative: negative && digits != "0", digits: digits.to_owned(), scale })
    }

    /// The number of digits after the decimal point; negative for trailing zeros that are not
    /// written out.
    #[must_use]
    pub const fn scale(&self) -> i32 {
        self.scale
    }

    /// The number as a 64-bit integer, if it is whole and fits.
    #[must_use]
    pub fn to_i64(&self) -> Option<i64> {
        // Longer ones are not expanded in vain.
        let whole = i64::try_from(self.digits.len()).ok()? - i64::from(self.scale);
        if self.digits != "0" && !(1..=19).contains(&whole) {
            return None;
        }
        let number = self.clone().rescale(0).ok()?;
        let sign = if number.negative { "-" } else { "" };
        format!("{sign}{}", number.digits).parse().ok()
    }

    /// The same number with another scale.
    ///
    /// # Errors
    /// If digits would be lost, or the number would become too long.
    pub fn rescale(mut self, scale: i32) -> Result<Self> {
        let more = i64::from(scale) - i64::from(self.scale);
        if self.digits == "0" {
            self.scale = scale;
            return Ok(self);
        }
        match usize::try_from(more) {
            Ok(more) if more <= MAX_DIGITS.saturating_sub(self.digits.len()) => {
                self.digits.extend(std::iter::repeat_n('0', more));
            }
            Ok(_) => return Err(Error::data(format!("a decimal too long for scale {scale}"))),
            Err(_) => {
                let zeros = self.digits.bytes().rev().take_while(|b| *b == b'0').count();
                let fewer = usize::try_from(more.unsigned_abs()).unwrap_or(usize::MAX);
                if zeros < fewer {
                    return Err(Error::data(format!(
                        "the decimal {self} has more digits than scale {scale} keeps"
                    )));
                }
                self.digits.truncate(self.digits.len() - fewer);
            }
        }
        self.scale = scale;
        Ok(self)
    }

    /// The unscaled value as the shortest big-endian two's complement bytes.
    #[must_use]
    pub fn unscaled(&self) -> Vec<u8> {
        let mut limbs = from_digits(&self.digits);
        limbs.push(0);
        if self.negative {
            negate(&mut limbs);
        }
        let bytes: Vec<u8> = limbs.iter().rev().flat_map(|limb| limb.to_be_bytes()).collect();
        let fill = if self.negative { 0xFF } else { 0 };
        let redundant =
            bytes.windows(2).take_while(|pair| pair[0] == fill && (pair[1] ^ fill) < 0x80).count();
        bytes[redundant..].to_vec()
    }

    /// Without an exponent: `BigDecimal.toPlainString`.
    ///
    /// # Errors
    /// If the scale asks for more zeros than are reasonable.
    pub fn to_plain(&self) -> Result<String> {
        if self.scale.unsigned_abs() as usize > MAX_DIGITS {
            return Err(Error::data(format!("a decimal with scale {}", self.scale)));
        }
        let sign = if self.negative { "-" } else { "" };
        let digits = &self.digits;
        Ok(match usize::try_from(self.scale) {
            Ok(0) => format!("{sign}{digits}"),
            Ok(places) if digits.len() > places => {
                let (whole, fraction) = digits.split_at(digits.len() - places);
                format!("{sign}{whole}.{fraction}")
            }
            Ok(places) => format!("{sign}0.{digits:0>places$}"),
            Err(_) if digits == "0" => "0".to_owned(),
            Err(_) => {
                let zeros = "0".repeat(self.scale.unsigned_abs() as usize);
                format!("{sign}{digits}{zeros}")
            }
        })
    }
}

/// `BigDecimal.toString`: with an exponent where the scale is negative or the number very small.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exponent =
            i64::try_from(self.digits.len()).unwrap_or(i64::MAX) - 1 - i64::from(self.scale);
        if self.scale >= 0 && exponent >= -6 {
            return f.write_str(&self.to_plain().map_err(|_| fmt::Error)?);
        }
        if self.negative {
            f.write_str("-")?;
        }
        let (first, rest) = self.digits.split_at(1);
        f.write_str(first)?;
        if !rest.is_empty() {
            write!(f, ".{rest}")?;
        }
        if exponent == 0 { Ok(()) } else { write!(f, "E{exponent:+}") }
    }
}

/// The fewest of the big-endian two's complement `bytes` that are the same number.
#[must_use]
pub fn shortest(bytes: &[u8]) -> &[u8] {
    let redundant = |pair: &&[u8]| matches!((pair[0], pair[1] >= 0x80), (0, false) | (0xFF, true));
    &bytes[bytes.windows(2).take_while(redundant).count()..]
}

fn negate(limbs: &mut [u32]) {
    let mut carry = true;
    for limb in limbs {
        let (sum, overflow) = (!*limb).overflowing_add(u32::from(carry));
        *limb = sum;
        carry = overflow;
    }
}

/// Decimal digits of little-endian limbs, by division; quadratic, hence [`MAX_BYTES`].
fn to_digits(mut limbs: Vec<u32>) -> String {
    let mut groups = Vec::new();
    loop {
        while limbs.last() == Some(&0) {
            limbs.pop();
        }
        if limbs.is_empty() {
            break;
        }
        let mut rest = 0_u64;
        for limb in limbs.iter_mut().rev() {
            let part = (rest << 32) | u64::from(*limb);
            *limb = (part / u64::from(BILLION)) as u32;
            rest = part % u64::from(BILLION);
        }
        groups.push(rest);
    }
    let mut digits = groups.pop().unwrap_or(0).to_string();
    for group in groups.iter().rev() {
        digits.push_str(&format!("{group:09}"));
    }
    digits
}

fn from_digits(digits: &str) -> Vec<u32> {
    let mut limbs: Vec<u32> = Vec::new();
    let first = digits.len() % 9;
    let (head, tail) = digits.as_bytes().split_at(first);
    for group in std::iter::once(head).filter(|head| !head.is_empty()).chain(tail.chunks(9)) {
        let mut carry =
            group.iter().fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0'));
        for limb in &mut limbs {
            let part = u64::from(*limb) * u64::from(BILLION) + carry;
            *limb = part as u32;
            carry = part >> 32;
        }
        if carry > 0 {
            limbs.push(carry as u32);
        }
    }
    limbs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Decimal;

    #[test]
    fn shows_numbers_as_big_decimal_does() {
        for (text, shown, plain) in [
            ("0", "0", "0"),
            ("-0.00", "0.00", "0.00"),
            ("12.50", "12.50", "12.50"),
            ("-0.000001", "-0.000001", "-0.000001"),
            ("0.0000001", "1E-7", "0.0000001"),
            ("1e3", "1E+3", "1000"),
            ("-12.3E+8", "-1.23E+9", "-1230000000"),
            ("007.5", "7.5", "7.5"),
            ("0E-7", "0E-7", "0.0000000"),
            (
                "123456789012345678901234567890.5",
                "123456789012345678901234567890.5",
                "123456789012345678901234567890.5",
            ),
        ] {
            let decimal = Decimal::parse(text).unwrap();
            assert_eq!(decimal.to_string(), shown, "{text}");
            assert_eq!(decimal.to_plain().unwrap(), plain, "{text}");
        }
        for bad in ["", "-", ".", "1e", "1e5000000000", "1e-2147483648", "0x1", "1_0", "NaN"] {
            assert!(Decimal::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn unscaled_bytes_are_the_shortest() {
        for (text, bytes) in [
            ("0", &[0][..]),
            ("127", &[0x7F]),
            ("128", &[0, 0x80]),
            ("-128", &[0x80]),
            ("-129", &[0xFF, 0x7F]),
            ("12.50", &[0x04, 0xE2]),
            ("-1", &[0xFF]),
            ("4294967296", &[1, 0, 0, 0, 0]),
            ("18446744073709551615", &[0, 255, 255, 255, 255, 255, 255, 255, 255]),
        ] {
            let decimal = Decimal::parse(text).unwrap();
            assert_eq!(decimal.unscaled(), bytes, "{text}");
            assert_eq!(Decimal::from_unscaled(bytes, decimal.scale()).unwrap(), decimal);
        }
        assert_eq!(Decimal::from_unscaled(&[], 2).unwrap().to_string(), "0.00");
        assert!(Decimal::from_unscaled(&vec![1; super::MAX_BYTES + 1], 0).is_err());
    }

    #[test]
    fn rescaling_loses_nothing_and_stays_bounded() {
        let decimal = |text| Decimal::parse(text).unwrap();
        assert_eq!(decimal("1.5").rescale(3).unwrap().to_string(), "1.500");
        assert_eq!(decimal("1.500").rescale(1).unwrap().to_string(), "1.5");
        assert_eq!(decimal("1e3").rescale(0).unwrap().to_string(), "1000");
        assert!(decimal("1.55").rescale(1).is_err());
        assert!(decimal("1e2000000000").rescale(0).is_err());
        assert!(decimal("1e2000000000").to_plain().is_err());
        for (text, number) in [
            ("1.50", None),
            ("-2.00", Some(-2)),
            ("0e2000000000", Some(0)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("1e18", Some(1_000_000_000_000_000_000)),
            ("1e2000000000", None),
            ("1e-2000000000", None),
        ] {
            assert_eq!(decimal(text).to_i64(), number, "{text}");
        }
        assert_eq!(decimal("0e2000000000").rescale(1).unwrap().to_string(), "0.0");
    }

    proptest! {
        #[test]
        fn numbers_survive_all_forms(number: i128, scale in -40..40_i32) {
            let decimal = Decimal::from_unscaled(&number.to_be_bytes(), scale).unwrap();
            let back = Decimal::parse(&decimal.to_string()).unwrap();
            prop_assert_eq!(&back, &decimal);
            let bytes = back.unscaled();
            prop_assert_eq!(Decimal::from_unscaled(&bytes, scale).unwrap(), decimal);
            if scale == 0 {
                prop_assert_eq!(back.to_string(), number.to_string());
            }
        }
    }
}
