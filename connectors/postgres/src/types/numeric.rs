//! `numeric` as its send function writes it.
//!
//! Source: the server's `numeric_send` and `numeric_out`: a count of digits to the base of 10000, the
//! power of that base which the first of them counts, the sign, how many decimal places are shown, and
//! the digits.

use bytes::Bytes;
use towpath_sdk::{Error, Result};

const BASE: i128 = 10_000;
/// Decimal places in a digit.
const PLACES: i32 = 4;
const NEGATIVE: u16 = 0x4000;

/// A value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numeric<'a> {
    /// What is no number, as the server shows it.
    Special(&'static str),
    Number(Digits<'a>),
}

/// A number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digits<'a> {
    digits: &'a [[u8; 2]],
    /// The power of the base which the first digit counts.
    weight: i32,
    is_negative: bool,
    /// The decimal places that are shown.
    scale: u16,
}

impl<'a> Numeric<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let wrong = || Error::data("not a binary numeric");
        let (words, []) = bytes.as_chunks::<2>() else { return Err(wrong()) };
        let [count, weight, sign, scale, digits @ ..] = words else { return Err(wrong()) };
        let is_negative = match u16::from_be_bytes(*sign) {
            0 => false,
            NEGATIVE => true,
            0xc000 => return Ok(Self::Special("NaN")),
            0xd000 => return Ok(Self::Special("Infinity")),
            0xf000 => return Ok(Self::Special("-Infinity")),
            _ => return Err(wrong()),
        };
        let is_whole = usize::from(u16::from_be_bytes(*count)) == digits.len()
            && digits.iter().all(|digit| i128::from(u16::from_be_bytes(*digit)) < BASE);
        if !is_whole {
            return Err(wrong());
        }
        Ok(Self::Number(Digits {
            digits,
            weight: i16::from_be_bytes(*weight).into(),
            is_negative,
            scale: u16::from_be_bytes(*scale),
        }))
    }

    /// The server's text.
    pub(super) fn text(&self) -> Bytes {
        match self {
            Self::Special(text) => Bytes::from_static(text.as_bytes()),
            Self::Number(digits) => digits.text().into(),
        }
    }
}

impl Digits<'_> {
    /// The decimal places that are shown.
    pub(super) fn scale(&self) -> i32 {
        self.scale.into()
    }

    /// The number times ten to the power of `scale`; `None` if that is beyond 128 bits or no whole number.
    pub(super) fn unscaled(&self, scale: i32) -> Option<i128> {
        // Nearly every number fits into 64 bits, whose arithmetic is many times as fast.
        let number = if self.digits.len() <= 4 {
            let digits = self.digits.iter();
            i128::from(digits.fold(0_u64, |number, digit| {
                number * BASE as u64 + u64::from(u16::from_be_bytes(*digit))
            }))
        } else {
            self.digits.iter().try_fold(0_i128, |number, digit| {
                number.checked_mul(BASE)?.checked_add(u16::from_be_bytes(*digit).into())
            })?
        };
        let last = self.weight - i32::try_from(self.digits.len()).ok()? + 1;
        let number = shift(number, scale.checked_add(last * PLACES)?)?;
        Some(if self.is_negative { -number } else { number })
    }

    /// The server's text.
    pub(super) fn text(&self) -> Vec<u8> {
        let scale = usize::from(self.scale);
        let whole = usize::try_from(self.weight + 1).unwrap_or(0);
        let mut text = Vec::with_capacity(2 + 4 * whole.max(1) + scale + 4);
        if self.is_negative {
            text.push(b'-');
        }
        for power in (0..=self.weight).rev() {
            self.put(power, &mut text);
        }
        let start = usize::from(self.is_negative);
        let zeros = text.iter().skip(start).take_while(|digit| **digit == b'0').count();
        text.drain(start..start + zeros);
        if text.len() == start {
            text.push(b'0');
        }
        if scale > 0 {
            text.push(b'.');
            let end = text.len() + scale;
            let mut power = -1;
            while text.len() < end {
                self.put(power, &mut text);
                power -= 1;
            }
            text.truncate(end);
        }
        text
    }

    /// Appends the four decimal digits which count this power of the base.
    fn put(&self, power: i32, text: &mut Vec<u8>) {
        let at = usize::try_from(self.weight - power).ok();
        let digit = at.and_then(|at| self.digits.get(at)).copied().map_or(0, u16::from_be_bytes);
        for place in [1000, 100, 10, 1] {
            text.push(b'0' + (digit / place % 10) as u8);
        }
    }
}

/// `number` with as many places more (or fewer, if these are zeros).
fn shift(number: i128, places: i32) -> Option<i128> {
    let factor = 10_i64.checked_pow(places.unsigned_abs());
    match (factor, i64::try_from(number)) {
        (Some(factor), Ok(number)) if places < 0 => {
            (number % factor == 0).then(|| i128::from(number / factor))
        }
        (Some(factor), Ok(number)) => Some(i128::from(number) * i128::from(factor)),
        _ => super::decimal::shift(number, places),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the server has a number that is written like this: digits without zeros at the ends.
    fn sent(text: &str) -> Vec<u8> {
        let (sign, text) = match text.strip_prefix('-') {
            Some(text) => (NEGATIVE, text),
            None => (0, text),
        };
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let whole = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
        let digits = format!("{whole}{fraction}{}", "0".repeat((4 - fraction.len() % 4) % 4));
        let mut digits: Vec<u16> = digits
            .as_bytes()
            .chunks(4)
            .map(|four| std::str::from_utf8(four).unwrap().parse().unwrap())
            .collect();
        let mut weight = (whole.len() / 4) as i16 - 1;
        while digits.last() == Some(&0) {
            digits.pop();
        }
        while digits.first() == Some(&0) {
            digits.remove(0);
            weight -= 1;
        }
        if digits.is_empty() {
            weight = 0;
        }
        let header = [digits.len() as u16, weight.cast_unsigned(), sign, fraction.len() as u16];
        header.iter().chain(&digits).flat_map(|word| word.to_be_bytes()).collect()
    }

    fn text(bytes: &[u8]) -> Option<String> {
        Some(String::from_utf8(Numeric::parse(bytes).ok()?.text().to_vec()).unwrap())
    }

    #[test]
    fn what_is_no_number_and_what_is_damaged() {
        for (sign, shown) in [(0xc000_u16, "NaN"), (0xd000, "Infinity"), (0xf000, "-Infinity")] {
            let bytes: Vec<u8> =
                [0, 0, sign, 0].iter().flat_map(|word| word.to_be_bytes()).collect();
            assert_eq!(text(&bytes).as_deref(), Some(shown));
        }
        for wrong in [
            &[][..],
            &[0],
            &[0; 6],
            &[0, 1, 0, 0, 0, 0, 0, 0],
            &[0, 0, 0, 0, 1, 0, 0, 0],
            &[0, 1, 0, 0, 0, 0, 0, 0, 0x27, 0x10],
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        ] {
            assert_eq!(text(wrong), None, "{wrong:?}");
        }
        // The powers that a word holds at most, without digits: a long text, and no number of 128 bits.
        let far: Vec<u8> =
            [0, 0x7fff, 0, 0].iter().flat_map(|word: &u16| word.to_be_bytes()).collect();
        assert_eq!(text(&far).as_deref(), Some("0"));
        let far: Vec<u8> =
            [1, 0x7fff, 0, 0, 1].iter().flat_map(|word: &u16| word.to_be_bytes()).collect();
        let Ok(Numeric::Number(digits)) = Numeric::parse(&far) else { panic!() };
        assert_eq!((digits.unscaled(0), digits.text().len()), (None, 4 * 0x7fff + 1));
    }

    proptest! {
        #[test]
        fn texts_and_numbers_are_those_that_were_sent(
            whole in "0|[1-9][0-9]{0,19}",
            fraction in "[0-9]{0,12}",
            is_negative: bool,
        ) {
            let number: i128 = format!("{whole}{fraction}").parse().unwrap();
            let sign = if is_negative && number != 0 { "-" } else { "" };
            let point = if fraction.is_empty() { "" } else { "." };
            let shown = format!("{sign}{whole}{point}{fraction}");
            let bytes = sent(&shown);
            prop_assert_eq!(text(&bytes), Some(shown.clone()));
            let Ok(Numeric::Number(digits)) = Numeric::parse(&bytes) else { panic!("{shown}") };
            let number = if sign.is_empty() { number } else { -number };
            prop_assert_eq!(digits.unscaled(digits.scale()), Some(number));
            prop_assert_eq!(digits.unscaled(digits.scale() + 1), number.checked_mul(10));
            let less = (number % 10 == 0).then_some(number / 10);
            prop_assert_eq!(digits.unscaled(digits.scale() - 1), less);
        }

        #[test]
        fn nothing_makes_it_panic(bytes: Vec<u8>) {
            if let Ok(Numeric::Number(digits)) = Numeric::parse(&bytes) {
                digits.text();
                for scale in [i32::MIN, -5, 0, 5, i32::MAX] {
                    digits.unscaled(scale);
                }
            }
        }
    }
}
