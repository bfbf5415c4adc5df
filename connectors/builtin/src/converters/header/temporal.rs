//! Dates and times in ISO 8601, read as leniently as Java reads them: fields may have fewer digits, a
//! sign, or be out of range, and then count on (the 32nd of January is the 1st of February).

use std::sync::{Arc, LazyLock};

use towpath_sdk::schema::{Kind, Schema, SchemaRef};
use towpath_sdk::value::Value;

use crate::java::{DATE, TIME, TIMESTAMP};

pub(super) const DAY_MS: i64 = 86_400_000;

static DATES: LazyLock<SchemaRef> = LazyLock::new(|| schema(Kind::Int32, DATE));
static TIMES: LazyLock<SchemaRef> = LazyLock::new(|| schema(Kind::Int32, TIME));
static TIMESTAMPS: LazyLock<SchemaRef> = LazyLock::new(|| schema(Kind::Int64, TIMESTAMP));

fn schema(kind: Kind, name: &str) -> SchemaRef {
    Arc::new(Schema::new(kind).named(name).versioned(1))
}

/// The date, time or timestamp that `text` is. Its length decides which of them it may be.
pub(super) fn read(text: &str) -> Option<(SchemaRef, Value)> {
    // Colons may have been escaped.
    let text = text.replace("\\:", ":");
    let mut fields = Fields(&text);
    match text.encode_utf16().count() {
        10 => {
            let days = fields.date()?;
            Some((DATES.clone(), Value::Int32(i32::try_from(days).ok()?)))
        }
        13 => {
            let ms = fields.time()?;
            Some((TIMES.clone(), Value::Int32(i32::try_from(ms).ok()?)))
        }
        24 => {
            let days = fields.date()?;
            fields.literal('T')?;
            let ms = fields.time()?;
            Some((TIMESTAMPS.clone(), Value::Int64(days.checked_mul(DAY_MS)?.checked_add(ms)?)))
        }
        _ => None,
    }
}

/// What is left to read. Whatever follows the last field does not matter.
struct Fields<'t>(&'t str);

impl Fields<'_> {
    fn literal(&mut self, c: char) -> Option<()> {
        self.0 = self.0.strip_prefix(c)?;
        Some(())
    }

    fn number(&mut self) -> Option<i64> {
        let text = self.0.trim_start_matches([' ', '\t']);
        let digits = text.strip_prefix('-').unwrap_or(text);
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        let number: i64 = digits.get(..end)?.parse().ok()?;
        self.0 = digits.get(end..)?;
        Some(if digits.len() < text.len() { -number } else { number })
    }

    /// Days since 1970.
    fn date(&mut self) -> Option<i64> {
        let year = self.number()?;
        self.literal('-')?;
        let month = self.number()?;
        self.literal('-')?;
        let day = self.number()?;
        // Years are counted from March, so that a leap day ends one; eras have 400 of them.
        let months = year.checked_mul(12)?.checked_add(month - 3)?;
        let (year, month) = (months.div_euclid(12), months.rem_euclid(12));
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let before_month = (153 * month + 2) / 5;
        let before_year = year_of_era * 365 + year_of_era / 4 - year_of_era / 100;
        Some(era * 146_097 + before_year + before_month + (day - 1) - 719_468)
    }

    /// Milliseconds since midnight.
    fn time(&mut self) -> Option<i64> {
        let hours = self.number()?;
        self.literal(':')?;
        let minutes = self.number()?;
        self.literal(':')?;
        let seconds = self.number()?;
        self.literal('.')?;
        let ms = self.number()?;
        self.literal('Z')?;
        Some(((hours * 60 + minutes) * 60 + seconds) * 1000 + ms)
    }
}

/// `ms` since 1970 in the one of the three forms that it fits.
pub(super) fn write(out: &mut String, ms: i64) {
    let (days, in_day) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
    if ms >= DAY_MS {
        let since = days + 719_468;
        let (era, day_of_era) = (since.div_euclid(146_097), since.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let year = era * 400 + year_of_era + i64::from(month >= 10);
        out.push_str(&format!("{year:04}-{:02}-{day:02}", (month + 2) % 12 + 1));
        if in_day == 0 {
            return;
        }
        out.push('T');
    }
    let (seconds, ms) = (in_day / 1000, in_day % 1000);
    out.push_str(&format!(
        "{:02}:{:02}:{:02}.{ms:03}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    ));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn timestamps_survive(ms in DAY_MS..253_402_300_800_000_i64) {
            let mut text = String::new();
            write(&mut text, ms);
            let expected =
                if ms % DAY_MS == 0 { Value::Int32((ms / DAY_MS) as i32) } else { Value::Int64(ms) };
            prop_assert_eq!(read(&text).map(|(_, value)| value), Some(expected));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[-0-9T:.Z 9]{10,24}") {
            drop(read(&text));
        }
    }
}
