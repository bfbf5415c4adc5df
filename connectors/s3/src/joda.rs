//! Date patterns as Joda-Time means them, and its time zones.
//!
//! Duty: compile a pattern of `org.joda.time.format.DateTimeFormat` once and print times with it.
//! Joda's letters differ from Java's own: `Y` is the year of the era (not of the week), `x` the year
//! of the week, `e` the number of the weekday. A golden table made by the original holds this module
//! to it.
//!
//! Texts (month, weekday, half of the day, era) are English. Deliberately absent: other languages,
//! full names of time zones, parsing.

use std::fmt::Write as _;

use chrono::{DateTime, Datelike, FixedOffset, NaiveDateTime, Offset, TimeZone, Timelike};
use chrono_tz::{OffsetName, Tz};

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    tokens: Vec<Token>,
}

/// What a pattern is made of, with the number of letters where it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(String),
    Era,
    CenturyOfEra(usize),
    YearOfEra(usize),
    Year(usize),
    TwoDigitYear,
    Weekyear(usize),
    TwoDigitWeekyear,
    Week(usize),
    DayOfWeek(usize),
    DayName { full: bool },
    DayOfYear(usize),
    Month(usize),
    MonthName { full: bool },
    Day(usize),
    HalfDay,
    HourOfHalfDay(usize),
    ClockHourOfHalfDay(usize),
    Hour(usize),
    ClockHour(usize),
    Minute(usize),
    Second(usize),
    Fraction(usize),
    ZoneName,
    Offset { colon: bool },
    ZoneId,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

impl Pattern {
    /// Compiles `pattern`.
    ///
    /// # Errors
    /// With the reason, if a letter has no meaning or the pattern is empty.
    pub fn new(pattern: &str) -> Result<Self, String> {
        if pattern.is_empty() {
            return Err("a pattern must not be empty".to_owned());
        }
        let mut tokens = Vec::new();
        let mut rest = pattern;
        while let Some(first) = rest.chars().next() {
            if first.is_ascii_alphabetic() {
                let run = rest.len() - rest.trim_start_matches(first).len();
                tokens.push(Token::of_letters(first, run)?);
                rest = &rest[run..];
            } else {
                let (literal, after) = take_literal(rest);
                tokens.push(Token::Literal(literal));
                rest = after;
            }
        }
        Ok(Self { tokens })
    }

    /// Whether it prints words, which depend on the language.
    #[must_use]
    pub fn has_words(&self) -> bool {
        self.tokens.iter().any(|token| {
            matches!(
                token,
                Token::Era
                    | Token::DayName { .. }
                    | Token::MonthName { .. }
                    | Token::HalfDay
                    | Token::ZoneName
            )
        })
    }

    /// Prints the time `millis` after the epoch as it is in `zone`. `None` if it is beyond what a
    /// calendar of four-digit years can tell (years before 1 or after 9999 still print).
    #[must_use]
    pub fn format(&self, millis: i64, zone: &Zone) -> Option<String> {
        let offset = zone.offset_at(millis)?;
        let at = DateTime::from_timestamp_millis(millis)?.with_timezone(&offset);
        let mut out = String::with_capacity(32);
        for token in &self.tokens {
            token.print(&at, millis, zone, &mut out);
        }
        Some(out)
    }
}

/// Takes text up to the next unquoted letter. Quotes go; two of them are one; a quote that is never
/// closed reaches to the end.
fn take_literal(text: &str) -> (String, &str) {
    let mut literal = String::new();
    let mut quoted = false;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\'' {
            if chars.peek().is_some_and(|(_, next)| *next == '\'') {
                chars.next();
                literal.push('\'');
            } else {
                quoted = !quoted;
            }
        } else if !quoted && c.is_ascii_alphabetic() {
            return (literal, &text[at..]);
        } else {
            literal.push(c);
        }
    }
    (literal, "")
}

impl Token {
    fn of_letters(letter: char, run: usize) -> Result<Self, String> {
        Ok(match letter {
            'G' => Self::Era,
            'C' => Self::CenturyOfEra(run),
            'Y' | 'y' if run == 2 => Self::TwoDigitYear,
            'Y' => Self::YearOfEra(run),
            'y' => Self::Year(run),
            'x' if run == 2 => Self::TwoDigitWeekyear,
            'x' => Self::Weekyear(run),
            'w' => Self::Week(run),
            'e' => Self::DayOfWeek(run),
            'E' => Self::DayName { full: run >= 4 },
            'D' => Self::DayOfYear(run),
            'M' if run >= 3 => Self::MonthName { full: run >= 4 },
            'M' => Self::Month(run),
            'd' => Self::Day(run),
            'a' => Self::HalfDay,
            'K' => Self::HourOfHalfDay(run),
            'h' => Self::ClockHourOfHalfDay(run),
            'H' => Self::Hour(run),
            'k' => Self::ClockHour(run),
            'm' => Self::Minute(run),
            's' => Self::Second(run),
            'S' => Self::Fraction(run),
            'z' if run >= 4 => {
                return Err("full names of time zones (zzzz) are not supported, use z or Z".into());
            }
            'z' => Self::ZoneName,
            'Z' if run >= 3 => Self::ZoneId,
            'Z' => Self::Offset { colon: run == 2 },
            _ => {
                let token = letter.to_string().repeat(run);
                return Err(format!(
                    "Illegal pattern component: {token} (text goes between single quotes)"
                ));
            }
        })
    }

    fn print(&self, at: &DateTime<FixedOffset>, millis: i64, zone: &Zone, out: &mut String) {
        let half_hour = at.hour() % 12;
        let year = i64::from(at.year());
        let year_of_era = if year > 0 { year } else { 1 - year };
        match self {
            Self::Literal(text) => out.push_str(text),
            Self::Era => out.push_str(if year > 0 { "AD" } else { "BC" }),
            Self::CenturyOfEra(n) => number(out, year_of_era / 100, *n),
            Self::YearOfEra(n) => number(out, year_of_era, *n),
            Self::Year(n) => number(out, year, *n),
            Self::TwoDigitYear => number(out, year.abs() % 100, 2),
            Self::Weekyear(n) => number(out, i64::from(at.iso_week().year()), *n),
            Self::TwoDigitWeekyear => number(out, i64::from(at.iso_week().year()).abs() % 100, 2),
            Self::Week(n) => number(out, at.iso_week().week().into(), *n),
            Self::DayOfWeek(n) => number(out, at.weekday().number_from_monday().into(), *n),
            Self::DayName { full } => {
                let day = DAYS[at.weekday().num_days_from_monday() as usize];
                out.push_str(if *full { day } else { &day[..3] });
            }
            Self::DayOfYear(n) => number(out, at.ordinal().into(), *n),
            Self::Month(n) => number(out, at.month().into(), *n),
            Self::MonthName { full } => {
                let month = MONTHS[at.month0() as usize];
                out.push_str(if *full { month } else { &month[..3] });
            }
            Self::Day(n) => number(out, at.day().into(), *n),
            Self::HalfDay => out.push_str(if at.hour() < 12 { "AM" } else { "PM" }),
            Self::HourOfHalfDay(n) => number(out, half_hour.into(), *n),
            Self::ClockHourOfHalfDay(n) => {
                number(out, if half_hour == 0 { 12 } else { half_hour.into() }, *n);
            }
            Self::Hour(n) => number(out, at.hour().into(), *n),
            Self::ClockHour(n) => {
                number(out, if at.hour() == 0 { 24 } else { at.hour().into() }, *n);
            }
            Self::Minute(n) => number(out, at.minute().into(), *n),
            Self::Second(n) => number(out, at.second().into(), *n),
            Self::Fraction(n) => {
                let thousandths = format!("{:03}", millis.rem_euclid(1000));
                out.extend(thousandths.chars().chain(std::iter::repeat('0')).take(*n));
            }
            Self::ZoneName => out.push_str(&zone.short_name_at(millis)),
            Self::Offset { colon } => print_offset(out, at.offset().local_minus_utc(), *colon),
            Self::ZoneId => out.push_str(&zone.id()),
        }
    }
}

/// At least `digits` digits; a minus sign is not counted.
fn number(out: &mut String, n: i64, digits: usize) {
    if n < 0 {
        out.push('-');
    }
    // Writing to a string can't fail.
    write!(out, "{:0digits$}", n.unsigned_abs()).ok();
}

/// `+hhmm` or `+hh:mm`; seconds only where there are some.
fn print_offset(out: &mut String, seconds: i32, colon: bool) {
    out.push(if seconds < 0 { '-' } else { '+' });
    let (colon, all) = (if colon { ":" } else { "" }, seconds.unsigned_abs());
    write!(out, "{:02}{colon}{:02}", all / 3600, all / 60 % 60).ok();
    if all % 60 != 0 {
        write!(out, "{colon}{:02}", all % 60).ok();
    }
}

/// A time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// A fixed distance from UTC.
    Fixed(FixedOffset),
    /// A zone of the time zone database.
    Named(Tz),
}

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self::Named(Tz::UTC);

    /// The zone called `id`: a name of the time zone database, or `+hh:mm`.
    ///
    /// # Errors
    /// With the reason.
    pub fn for_id(id: &str) -> Result<Self, String> {
        let unknown = || {
            format!(
                "The datetime zone id '{id}' is not recognised (use a name such as Europe/Paris, \
                 UTC, or an offset such as +02:00)"
            )
        };
        if id.starts_with(['+', '-']) {
            let seconds = parse_offset(id).ok_or_else(unknown)?;
            return FixedOffset::east_opt(seconds).map(Self::Fixed).ok_or_else(unknown);
        }
        id.parse().map(Self::Named).map_err(|_| unknown())
    }

    fn offset_at(&self, millis: i64) -> Option<FixedOffset> {
        match self {
            Self::Fixed(offset) => Some(*offset),
            Self::Named(zone) => {
                let at = DateTime::from_timestamp_millis(millis)?;
                Some(zone.offset_from_utc_datetime(&at.naive_utc()).fix())
            }
        }
    }

    /// Milliseconds to add to UTC at the time `millis`.
    #[must_use]
    pub fn offset_millis_at(&self, millis: i64) -> Option<i64> {
        self.offset_at(millis).map(|offset| i64::from(offset.local_minus_utc()) * 1000)
    }

    /// The time at which clocks show `local` (milliseconds as if they were UTC), as Joda decides
    /// where clocks skip or repeat it: a skipped time is moved on by the gap.
    #[must_use]
    pub fn local_to_utc(&self, local: i64) -> Option<i64> {
        let estimate = self.offset_millis_at(local)?;
        let offset = self.offset_millis_at(local.checked_sub(estimate)?)?;
        if estimate != offset && estimate < 0 && self.skips(local) {
            return local.checked_sub(estimate);
        }
        local.checked_sub(offset)
    }

    fn skips(&self, local: i64) -> bool {
        let naive = |millis| DateTime::from_timestamp_millis(millis).map(|at| at.naive_utc());
        match (self, naive(local)) {
            (Self::Named(zone), Some(local)) => is_gap(*zone, local),
            _ => false,
        }
    }

    /// The short name in use at `millis`; the offset where there is none.
    fn short_name_at(&self, millis: i64) -> String {
        match (self, DateTime::from_timestamp_millis(millis)) {
            (Self::Named(zone), Some(at)) => {
                let offset = zone.offset_from_utc_datetime(&at.naive_utc());
                match offset.abbreviation() {
                    Some(name) if !name.starts_with(['+', '-']) => name.to_owned(),
                    _ => offset_text(offset.fix().local_minus_utc()),
                }
            }
            _ => self.id(),
        }
    }

    /// The id, as Joda prints it.
    #[must_use]
    pub fn id(&self) -> String {
        match self {
            Self::Named(zone) => zone.name().to_owned(),
            Self::Fixed(offset) if offset.local_minus_utc() == 0 => "UTC".to_owned(),
            Self::Fixed(offset) => offset_text(offset.local_minus_utc()),
        }
    }
}

fn offset_text(seconds: i32) -> String {
    let mut text = String::new();
    print_offset(&mut text, seconds, true);
    text
}

fn is_gap(zone: Tz, local: NaiveDateTime) -> bool {
    matches!(zone.offset_from_local_datetime(&local), chrono::LocalResult::None)
}

/// Seconds of `+hh`, `+hh:mm`, `+hhmm` or `+hh:mm:ss`.
pub(crate) fn parse_offset(text: &str) -> Option<i32> {
    let sign = match text.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    let digits: String = match text[1..].split(':').collect::<Vec<_>>()[..] {
        [hours] if matches!(hours.len(), 2 | 4) => hours.to_owned(),
        ref parts @ ([_, _] | [_, _, _]) if parts.iter().all(|part| part.len() == 2) => {
            parts.concat()
        }
        _ => return None,
    };
    let part = |at: usize| match digits.get(at..at + 2) {
        Some(two) if two.bytes().all(|b| b.is_ascii_digit()) => two.parse::<i32>().ok(),
        Some(_) => None,
        None => Some(0),
    };
    let (hours, minutes, seconds) = (part(0)?, part(2)?, part(4)?);
    (hours <= 23 && minutes <= 59 && seconds <= 59)
        .then_some(sign * (hours * 3600 + minutes * 60 + seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `pattern <tab> zone <tab> millis <tab> text`, printed by Joda-Time 2.12.7 with the locale `en`.
    const GOLDEN: &str = include_str!("joda_golden.tsv");

    #[test]
    fn prints_what_joda_prints() {
        let mut wrong = Vec::new();
        let mut lines = 0;
        for line in GOLDEN.lines().filter(|line| !line.starts_with('#')) {
            let [pattern, zone, millis, text] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("malformed line: {line}");
            };
            let zone = Zone::for_id(zone).unwrap();
            let ours = Pattern::new(pattern).unwrap().format(millis.parse().unwrap(), &zone);
            if ours.as_deref() != Some(text) {
                wrong.push(format!("{line} -> {ours:?}"));
            }
            lines += 1;
        }
        assert!(lines > 1000, "only {lines} lines");
        assert!(wrong.is_empty(), "{} of {lines} differ:\n{}", wrong.len(), wrong.join("\n"));
    }

    /// `zone <tab> local millis <tab> utc millis`, by Joda's `convertLocalToUTC(local, false)`.
    #[test]
    fn local_times_mean_what_joda_says() {
        let golden = include_str!("joda_local_golden.tsv");
        for line in golden.lines().filter(|line| !line.starts_with('#')) {
            let [zone, local, utc] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("malformed line: {line}");
            };
            let ours = Zone::for_id(zone).unwrap().local_to_utc(local.parse().unwrap());
            assert_eq!(ours, utc.parse().ok(), "{line}");
        }
    }

    #[test]
    fn wrong_patterns_and_zones_are_refused() {
        for pattern in ["", "yyyy-MM-ddTHH", "b", "zzzz"] {
            assert!(Pattern::new(pattern).is_err(), "{pattern}");
        }
        for zone in ["", "Mars/Olympus", "+25:00", "+1", "2:00", "+02:60", "+0200x"] {
            assert!(Zone::for_id(zone).is_err(), "{zone}");
        }
    }

    #[test]
    fn words_are_noticed() {
        assert!(!Pattern::new("'EEE 'yyyy/MM/dd Z").unwrap().has_words());
        for pattern in ["EEE", "MMM", "a", "G", "z"] {
            assert!(Pattern::new(pattern).unwrap().has_words(), "{pattern}");
        }
    }
}
