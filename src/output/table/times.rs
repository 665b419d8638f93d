//! Times of day, in one time zone.

use jiff::tz::{Offset, TimeZone};

use crate::event::Timestamp;

const SECOND: i64 = 1_000_000_000;

#[derive(Debug)]
pub(super) struct Times {
    zone: TimeZone,
    date: bool,
    /// The second that was shown last: to find the time zone's rule for each event takes longer than all the rest.
    second: Option<i64>,
    text: String,
    /// Its offset from UTC, as the header names it.
    offset: String,
}

impl Times {
    pub(super) fn new(utc: bool, date: bool) -> Self {
        let zone = if utc { TimeZone::UTC } else { TimeZone::system() };
        Self::of(zone, date)
    }

    fn of(zone: TimeZone, date: bool) -> Self {
        Self { zone, date, second: None, text: String::new(), offset: String::new() }
    }

    /// With milliseconds.
    pub(super) fn show(&mut self, time: Timestamp) -> String {
        let (second, ns) = (time.0.div_euclid(SECOND), time.0.rem_euclid(SECOND));
        if self.second != Some(second) {
            self.second = Some(second);
            let format = if self.date { "%Y-%m-%d %H:%M:%S" } else { "%H:%M:%S" };
            if let Ok(time) = jiff::Timestamp::from_second(second) {
                let zoned = time.to_zoned(self.zone.clone());
                self.text = zoned.strftime(format).to_string();
                let offset = zoned.offset();
                self.offset = if offset == Offset::UTC { "UTC".to_owned() } else { zoned.strftime("%:z").to_string() };
            }
        }
        format!("{}.{:03}", self.text, ns / 1_000_000)
    }

    /// The offset of what was shown last: `UTC`, `+01:00`.
    pub(super) fn zone(&self) -> &str {
        &self.offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW_YEAR: i64 = 1_767_225_600 * SECOND;

    #[test]
    fn a_time_has_its_zone_and_its_date() {
        let mut utc = Times::new(true, true);
        assert_eq!(utc.show(Timestamp(NEW_YEAR + 7_999_999)), "2026-01-01 00:00:00.007");
        assert_eq!(utc.zone(), "UTC");
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let mut times = Times::of(zone, false);
        assert_eq!((times.show(Timestamp(NEW_YEAR)), times.zone()), ("01:00:00.000".to_owned(), "+01:00"));
        let july = NEW_YEAR + 190 * 86_400 * SECOND;
        assert_eq!((times.show(Timestamp(july)), times.zone()), ("02:00:00.000".to_owned(), "+02:00"));
        let mut half = Times::of(TimeZone::fixed(jiff::tz::offset(-3) - jiff::SignedDuration::from_mins(30)), false);
        assert_eq!((half.show(Timestamp(NEW_YEAR)), half.zone()), ("20:30:00.000".to_owned(), "-03:30"));
    }
}
