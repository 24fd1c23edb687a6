//! In: wall-clock time that the agent computes from the kernel's boot-time clock. Out: the encoders.

/// Nanoseconds since 1970-01-01 00:00:00 UTC; reaches to the year 2554.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

const NANOS: u64 = 1_000_000_000;

/// Length of `2006-01-02T15:04:05.000000000`.
const LEN: usize = 29;

impl Timestamp {
    /// Appends RFC 3339 in UTC with as few of 0, 3, 6 or 9 fractional digits as lose nothing.
    pub fn write_rfc3339(self, out: &mut String) {
        let nanos = self.0 % NANOS;
        // The point goes with the digits.
        let cut = match nanos {
            0 => 10,
            _ if nanos.is_multiple_of(1_000_000) => 6,
            _ if nanos.is_multiple_of(1_000) => 3,
            _ => 0,
        };
        self.write(out, LEN - cut);
    }

    /// Appends RFC 3339 in UTC with always 9 fractional digits, so that columns line up.
    pub fn write_fixed(self, out: &mut String) {
        self.write(out, LEN);
    }

    fn write(self, out: &mut String, len: usize) {
        let (year, month, day) = civil_date(self.0 / NANOS / 86_400);
        let seconds = (self.0 / NANOS % 86_400) as u32;
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let nanos = (self.0 % NANOS) as u32;
        let digit = |value: u32| b'0' + (value % 10) as u8;
        // Spelled out so that every division is by a constant: each event shows two or three instants.
        let text: [u8; LEN] = [
            digit(year / 1000),
            digit(year / 100),
            digit(year / 10),
            digit(year),
            b'-',
            digit(month / 10),
            digit(month),
            b'-',
            digit(day / 10),
            digit(day),
            b'T',
            digit(hour / 10),
            digit(hour),
            b':',
            digit(minute / 10),
            digit(minute),
            b':',
            digit(second / 10),
            digit(second),
            b'.',
            digit(nanos / 100_000_000),
            digit(nanos / 10_000_000),
            digit(nanos / 1_000_000),
            digit(nanos / 100_000),
            digit(nanos / 10_000),
            digit(nanos / 1_000),
            digit(nanos / 100),
            digit(nanos / 10),
            digit(nanos),
        ];
        // Digits and separators are always valid text.
        out.push_str(text.get(..len).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default());
        out.push('Z');
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::with_capacity(30);
        self.write_rfc3339(&mut text);
        f.write_str(&text)
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
///
/// Years are counted from 1 March, so that the leap day is the last of its year and month lengths follow a
/// linear rule (153 days per 5 months).
fn civil_date(days: u64) -> (u32, u32, u32) {
    // 719468 days lie between 0000-03-01 and 1970-01-01; 146097 days are 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year as u32, month as u32, day as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_have_0_3_6_or_9_digits() {
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00Z"),
            (951_868_799_999_999_999, "2000-02-29T23:59:59.999999999Z"),
            (1_795_469_099_982_278_226, "2026-11-23T21:24:59.982278226Z"),
            (1_795_469_099_500_000_000, "2026-11-23T21:24:59.500Z"),
            (1_795_469_099_000_007_000, "2026-11-23T21:24:59.000007Z"),
            (4_107_542_400_000_000_001, "2100-03-01T00:00:00.000000001Z"),
        ] {
            assert_eq!(Timestamp(nanos).to_string(), text);
        }
    }

    #[test]
    fn fixed_form_lines_up() {
        let mut text = String::new();
        Timestamp(1_795_469_099_500_000_000).write_fixed(&mut text);
        assert_eq!(text, "2026-11-23T21:24:59.500000000Z");
    }

    #[test]
    fn the_last_representable_instant_is_written() {
        assert_eq!(Timestamp(u64::MAX).to_string(), "2554-07-21T23:34:33.709551615Z");
    }
}
