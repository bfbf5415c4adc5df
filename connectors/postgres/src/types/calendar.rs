//! Dates and times of day out of the server's ISO notation, and back into Java's.
//!
//! Sources: the server's `EncodeDateOnly`, `EncodeTimeOnly` and `EncodeDateTime` for what is read;
//! `java.time.format.DateTimeFormatter` for what is written: at least four digits of the year, a sign
//! before more than four, and 1 BC as the year 0. The count of days is Howard Hinnant's
//! (<https://howardhinnant.github.io/date_algorithms.html>).

/// Microseconds of a day.
pub(super) const DAY: i64 = 86_400_000_000;
const SECOND: i64 = 1_000_000;

/// A day of the Gregorian calendar, which is used for all time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Date {
    /// 0 is 1 BC.
    pub(super) year: i32,
    pub(super) month: u8,
    pub(super) day: u8,
}

impl Date {
    /// The date, if there is such a day.
    pub(super) fn new(year: i32, month: u8, day: u8) -> Option<Self> {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let last = match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        (1..=last).contains(&day).then_some(Self { year, month, day })
    }

    /// Days since 1970-01-01.
    pub(super) fn days(self) -> i64 {
        let (month, day) = (i64::from(self.month), i64::from(self.day));
        // The year begins in March, so that the leap day is its last.
        let year = i64::from(self.year) - i64::from(month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * 146_097 + day_of_era - 719_468
    }

    /// The day so many days after 1970-01-01. `None` beyond 32 bits of years.
    pub(super) fn of_days(days: i64) -> Option<Self> {
        let days = days.checked_add(719_468)?;
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Self::new(year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?)
    }

    /// Appends `2024-02-29`.
    pub(super) fn write(self, out: &mut Line) {
        if self.year < 0 {
            out.push(b'-');
        } else if self.year > 9999 {
            out.push(b'+');
        }
        let year = self.year.unsigned_abs();
        if year < 10_000 {
            out.two(year / 100);
            out.two(year % 100);
        } else {
            out.text(itoa::Buffer::new().format(year));
        }
        out.push(b'-');
        out.two(self.month.into());
        out.push(b'-');
        out.two(self.day.into());
    }
}

/// The most bytes of a date and a time: `+2147483647-12-31T23:59:59.999999Z` has 34.
const LINE: usize = 40;

/// A text of digits and signs that is being written. What does not fit is cut off.
#[derive(Debug)]
pub(super) struct Line {
    bytes: [u8; LINE],
    length: usize,
}

impl Line {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; LINE], length: 0 }
    }

    /// Appends one byte, in ASCII.
    pub(super) fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    fn text(&mut self, text: &str) {
        text.bytes().for_each(|byte| self.push(byte));
    }

    /// Appends a number of two digits.
    fn two(&mut self, number: u32) {
        self.push(b'0' + (number / 10 % 10) as u8);
        self.push(b'0' + (number % 10) as u8);
    }

    /// What was written.
    pub(super) fn as_str(&self) -> &str {
        super::form::ascii(self.bytes.get(..self.length).unwrap_or_default())
    }
}

/// How many digits of a second are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fraction {
    /// As many as are not zero.
    Needed,
    /// So many, up to 6.
    Digits(u8),
}

/// Appends `12:34:56.789`, the time so many microseconds after midnight; less than a day.
pub(super) fn write_time(out: &mut Line, micros: i64, fraction: Fraction) {
    let seconds = (micros / SECOND) as u32;
    out.two(seconds / 3600);
    out.push(b':');
    out.two(seconds / 60 % 60);
    out.push(b':');
    out.two(seconds % 60);
    let mut part = (micros % SECOND) as u32;
    let mut digits = 6;
    match fraction {
        Fraction::Needed if part == 0 => return,
        Fraction::Needed => {
            while part.is_multiple_of(10) {
                part /= 10;
                digits -= 1;
            }
        }
        Fraction::Digits(wanted) => {
            while digits > wanted {
                part /= 10;
                digits -= 1;
            }
            if digits == 0 {
                return;
            }
        }
    }
    out.push(b'.');
    for place in (0..u32::from(digits)).rev() {
        out.push(b'0' + (part / 10_u32.pow(place) % 10) as u8);
    }
}

/// Reads from the front of a text. All methods give `None` where it is not what they look for.
pub(super) struct Reader<'t> {
    rest: &'t [u8],
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t [u8]) -> Self {
        Self { rest: text }
    }

    /// Whether nothing is left.
    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes `byte`, if it is next.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.eat(byte).then_some(())
    }

    /// A number of `min` to `max` digits, at most 9, and how many it has.
    fn digits(&mut self, min: usize, max: usize) -> Option<(u32, usize)> {
        let mut number = 0;
        let mut count = 0;
        while count < max
            && let Some((digit @ b'0'..=b'9', rest)) = self.rest.split_first()
        {
            number = number * 10 + u32::from(digit - b'0');
            count += 1;
            self.rest = rest;
        }
        (count >= min).then_some((number, count))
    }

    fn two(&mut self) -> Option<u8> {
        self.digits(2, 2).map(|(number, _)| number as u8)
    }

    /// `2024-02-29`, up to the year 999,999,999, still without ` BC` behind it.
    fn year_month_day(&mut self) -> Option<(i32, u8, u8)> {
        let (year, _) = self.digits(4, 9)?;
        self.expect(b'-')?;
        let month = self.two()?;
        self.expect(b'-')?;
        Some((year as i32, month, self.two()?))
    }

    /// The date of year, month and day, and of the ` BC` that may follow.
    fn era(&mut self, (year, month, day): (i32, u8, u8)) -> Option<Date> {
        let before = if let [b' ', b'B', b'C', rest @ ..] = self.rest {
            self.rest = rest;
            true
        } else {
            false
        };
        Date::new(if before { 1 - year } else { year }, month, day)
    }

    /// `12:34:56.123456`, in microseconds since midnight. `24:00:00` is a time.
    pub(super) fn time(&mut self) -> Option<i64> {
        let hour = i64::from(self.two()?);
        let micros = self.minutes_and_seconds()?;
        Some(hour * 3600 * SECOND + micros).filter(|time| *time <= DAY)
    }

    /// `:34:56.123456`, in microseconds since the hour.
    pub(super) fn minutes_and_seconds(&mut self) -> Option<i64> {
        self.expect(b':')?;
        let minute = self.two()?;
        self.expect(b':')?;
        let second = self.two()?;
        let mut micros = 0;
        if self.eat(b'.') {
            let (fraction, digits) = self.digits(1, 6)?;
            micros = i64::from(fraction) * 10_i64.pow(6 - digits as u32);
        }
        let seconds = i64::from(minute) * 60 + i64::from(second);
        (minute <= 59 && second <= 59).then_some(seconds * SECOND + micros)
    }

    /// `+02`, `-05:30` or `+00:19:32`, in microseconds east of Greenwich.
    pub(super) fn offset(&mut self) -> Option<i64> {
        let west = if self.eat(b'-') { true } else { self.expect(b'+').map(|()| false)? };
        let mut seconds = i64::from(self.two()?) * 3600;
        if self.eat(b':') {
            seconds += i64::from(self.two()?) * 60;
            if self.eat(b':') {
                seconds += i64::from(self.two()?);
            }
        }
        Some(if west { -seconds * SECOND } else { seconds * SECOND })
    }
}

/// A date alone.
pub(super) fn date(text: &[u8]) -> Option<Date> {
    let mut reader = Reader::new(text);
    let parts = reader.year_month_day()?;
    let date = reader.era(parts)?;
    reader.is_at_end().then_some(date)
}

/// A date and the microseconds since its midnight, which are less than a day.
pub(super) fn timestamp(text: &[u8]) -> Option<(Date, i64)> {
    let mut reader = Reader::new(text);
    let parts = reader.year_month_day()?;
    reader.expect(b' ')?;
    let time = reader.time().filter(|time| *time < DAY)?;
    let date = reader.era(parts)?;
    reader.is_at_end().then_some((date, time))
}

/// A date and a time with an offset, taken to UTC.
pub(super) fn zoned_timestamp(text: &[u8]) -> Option<(Date, i64)> {
    let mut reader = Reader::new(text);
    let parts = reader.year_month_day()?;
    reader.expect(b' ')?;
    let time = reader.time().filter(|time| *time < DAY)?;
    let offset = reader.offset()?;
    let date = reader.era(parts)?;
    if !reader.is_at_end() {
        return None;
    }
    let time = time - offset;
    if (0..DAY).contains(&time) {
        return Some((date, time));
    }
    let date = Date::of_days(date.days() + time.div_euclid(DAY))?;
    Some((date, time.rem_euclid(DAY)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(date: Date) -> String {
        let mut out = Line::new();
        date.write(&mut out);
        out.as_str().to_owned()
    }

    #[test]
    fn dates_count_from_1970() {
        for (text, days, shown) in [
            ("1970-01-01", 0, "1970-01-01"),
            ("2024-02-29", 19_782, "2024-02-29"),
            ("0001-01-01", -719_162, "0001-01-01"),
            ("0001-12-31 BC", -719_163, "0000-12-31"),
            ("4714-11-24 BC", -2_440_588, "-4713-11-24"),
            ("10000-01-01", 2_932_897, "+10000-01-01"),
            ("5874897-12-31", 2_145_042_905, "+5874897-12-31"),
        ] {
            let date = date(text.as_bytes()).unwrap();
            assert_eq!((date.days(), &*written(date)), (days, shown), "{text}");
            assert_eq!(Date::of_days(days), Some(date));
        }
        for wrong in [
            "",
            "2023-02-29",
            "2024-13-01",
            "2024-00-01",
            "2024-01-32",
            "2024-1-01",
            "24-01-01",
            "2024-01-01 AD",
            "2024-01-01x",
            "-2024-01-01",
            "1900-02-29",
            "0002-02-29 BC",
            "infinity",
        ] {
            assert_eq!(date(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn times_end_with_the_day() {
        let time = |text: &str| {
            let mut reader = Reader::new(text.as_bytes());
            reader.time().filter(|_| reader.is_at_end())
        };
        assert_eq!(time("00:00:00"), Some(0));
        assert_eq!(time("23:59:59.999999"), Some(DAY - 1));
        assert_eq!(time("24:00:00"), Some(DAY));
        assert_eq!(time("01:02:03.4"), Some(3_723_400_000));
        for wrong in [
            "24:00:00.1",
            "25:00:00",
            "00:60:00",
            "00:00:60",
            "0:00:00",
            "00:00",
            "00:00:00.",
            "00:00:00.1234567",
        ] {
            assert_eq!(time(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn offsets_take_the_date_along() {
        let day = |year, month, day| Date::new(year, month, day).unwrap();
        for (text, date, time) in [
            ("2024-02-29 00:30:00+02", day(2024, 2, 28), 22 * 3600 + 1800),
            ("2024-02-28 23:30:00-05:30", day(2024, 2, 29), 5 * 3600),
            ("1800-01-01 00:00:00+00:19:32", day(1799, 12, 31), 23 * 3600 + 40 * 60 + 28),
            ("0001-01-01 12:00:00+00 BC", day(0, 1, 1), 12 * 3600),
        ] {
            assert_eq!(zoned_timestamp(text.as_bytes()), Some((date, time * SECOND)), "{text}");
        }
        assert_eq!(zoned_timestamp(b"2024-02-29 00:30:00"), None);
        assert_eq!(timestamp(b"2024-02-29 24:00:00"), None);
    }

    #[test]
    fn fractions_are_as_long_as_wanted() {
        let shown = |micros, fraction| {
            let mut out = Line::new();
            write_time(&mut out, micros, fraction);
            out.as_str().to_owned()
        };
        assert_eq!(shown(3_723_456_000, Fraction::Needed), "01:02:03.456");
        assert_eq!(shown(3_723_000_000, Fraction::Needed), "01:02:03");
        assert_eq!(shown(3_723_000_001, Fraction::Needed), "01:02:03.000001");
        assert_eq!(shown(3_723_000_000, Fraction::Digits(6)), "01:02:03.000000");
        assert_eq!(shown(3_723_456_789, Fraction::Digits(3)), "01:02:03.456");
        assert_eq!(shown(3_723_456_789, Fraction::Digits(0)), "01:02:03");
    }

    /// Days by counting the years one by one.
    fn count(date: Date) -> i64 {
        let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let year = i64::from(date.year);
        let length = |year| if leap(year) { 366 } else { 365 };
        let years: i64 = if year >= 1970 {
            (1970..year).map(length).sum()
        } else {
            -(year..1970).map(length).sum::<i64>()
        };
        let months = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        years + months.iter().take(usize::from(date.month) - 1).sum::<i64>() + i64::from(date.day)
            - 1
    }

    proptest! {
        #[test]
        fn days_are_counted_right(year in -5000..12_000_i32, month in 1..=12_u8, day in 1..=31_u8) {
            if let Some(date) = Date::new(year, month, day) {
                prop_assert_eq!(date.days(), count(date));
                prop_assert_eq!(Date::of_days(date.days()), Some(date));
            }
        }

        #[test]
        fn all_days_go_there_and_back(days in -800_000_000_000..800_000_000_000_i64) {
            if let Some(date) = Date::of_days(days) {
                prop_assert_eq!(date.days(), days);
            }
        }

        #[test]
        fn times_go_there_and_back(micros in 0..DAY) {
            let mut out = Line::new();
            write_time(&mut out, micros, Fraction::Needed);
            prop_assert_eq!(Reader::new(out.as_str().as_bytes()).time(), Some(micros));
        }
    }
}
