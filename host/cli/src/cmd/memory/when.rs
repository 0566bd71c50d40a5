//! Points in time as people write them.

use jiff::{Timestamp, Zoned, civil::Date};

/// Milliseconds since the epoch, of a time with its zone, a day (its beginning here), or so long ago.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    parse_at(text, &Zoned::now())
}

fn parse_at(text: &str, now: &Zoned) -> Result<u64, String> {
    let at = if let Ok(time) = text.parse::<Timestamp>() {
        Some(time)
    } else if let Ok(day) = text.parse::<Date>() {
        day.to_zoned(now.time_zone().clone()).ok().map(|day| day.timestamp())
    } else {
        let ago = text.parse::<jiff::Span>().ok().filter(|ago| !ago.is_negative());
        ago.and_then(|ago| now.checked_sub(ago).ok()).map(|then| then.timestamp())
    };
    let ms = at.and_then(|at| u64::try_from(at.as_millisecond()).ok());
    ms.ok_or_else(|| "write a time (2026-11-21T08:00Z), a day (2026-11-21), or how long ago (90m, 36h, 7d)".to_owned())
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn times_days_and_durations_are_understood_and_nothing_else() {
        let now = "2026-11-21T12:00:00Z".parse::<Timestamp>().unwrap().to_zoned(TimeZone::UTC);
        let hour = 3_600_000;
        let noon = u64::try_from(now.timestamp().as_millisecond()).unwrap();
        for (text, expected) in [
            ("2026-11-21T12:00:00Z", noon),
            ("2026-11-21T14:00+02:00", noon),
            ("2026-11-21", noon - 12 * hour),
            ("2h", noon - 2 * hour),
            ("90m", noon - 3 * hour / 2),
            ("7d", noon - 7 * 24 * hour),
            ("1d 12h", noon - 36 * hour),
        ] {
            assert_eq!(parse_at(text, &now), Ok(expected), "{text}");
        }
        for bad in ["", "yesterday", "-2h", "99999999999d", "1960-01-01", "12"] {
            assert!(parse_at(bad, &now).is_err(), "{bad}");
        }
    }
}
