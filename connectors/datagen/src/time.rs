//! Times as text.

use chrono::{DateTime, SecondsFormat};

/// The times that can be written with a year of four digits.
const RANGE: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

/// `ms` since the epoch as `"2024-01-01T00:00:00.000Z"` in UTC, with the quotes. Years beyond 0 to 9999
/// are brought into that range.
pub(crate) fn iso(ms: i64) -> [u8; 26] {
    let ms = ms.clamp(*RANGE.start(), *RANGE.end());
    let (days, of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // Years are counted from March on, so that the leap day is the last; 400 of them are an era.
    let since = days + 719_468;
    let (era, day_of_era) = (since.div_euclid(146_097), since.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);

    let mut text = *b"\"0000-00-00T00:00:00.000Z\"";
    put(&mut text[1..5], year);
    put(&mut text[6..8], month);
    put(&mut text[9..11], day);
    put(&mut text[12..14], of_day / 3_600_000);
    put(&mut text[15..17], of_day / 60_000 % 60);
    put(&mut text[18..20], of_day / 1000 % 60);
    put(&mut text[21..24], of_day % 1000);
    text
}

/// The last digits of `n`, as many as there is room for.
fn put(digits: &mut [u8], mut n: i64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(n % 10).unwrap_or_default();
        n /= 10;
    }
}

/// Reads `2024-01-01T00:00:00Z` or milliseconds since the epoch.
pub(crate) fn parse(text: &str) -> Result<i64, String> {
    let ms = match text.parse() {
        Ok(ms) => ms,
        Err(_) => DateTime::parse_from_rfc3339(text)
            .map(|time| time.timestamp_millis())
            .map_err(|_| "Expected a time such as 2024-01-01T00:00:00Z".to_owned())?,
    };
    if RANGE.contains(&ms) {
        Ok(ms)
    } else {
        let last = DateTime::from_timestamp_millis(*RANGE.end()).unwrap_or_default();
        Err(format!("Expected a time up to {}", last.to_rfc3339_opts(SecondsFormat::Secs, true)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(parse("2024-01-01T00:00:00Z"), Ok(1_704_067_200_000));
        assert_eq!(parse("2024-01-01T01:00:00.5+01:00"), Ok(1_704_067_200_500));
        assert_eq!(parse("1704067200000"), Ok(1_704_067_200_000));
        assert_eq!(parse("soon").unwrap_err(), "Expected a time such as 2024-01-01T00:00:00Z");
        assert_eq!(
            parse("9223372036854775807").unwrap_err(),
            "Expected a time up to 9999-12-31T23:59:59Z"
        );
    }

    proptest! {
        #[test]
        fn text_is_chronos(ms in RANGE) {
            let expect = DateTime::from_timestamp_millis(ms).unwrap();
            let expect = expect.to_rfc3339_opts(SecondsFormat::Millis, true);
            let text = iso(ms);
            prop_assert_eq!(std::str::from_utf8(&text).unwrap(), format!("\"{expect}\""));
        }
    }
}
