//! Dates and times of day as text.

/// The length of a day; UTC as Unix counts it has no leap seconds.
const SECONDS_A_DAY: u64 = 86_400;

/// A date and a time of day, from the seconds since 1970.
///
/// ```
/// assert_eq!(words::utc(1_795_390_812), "2026-11-22 23:40:12 UTC");
/// ```
pub fn utc(unix_s: u64) -> String {
    let (year, month, day) = civil(unix_s / SECONDS_A_DAY);
    let second = unix_s % SECONDS_A_DAY;
    format!("{year}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", second / 3600, second / 60 % 60, second % 60)
}

/// The year, month and day of the Gregorian calendar that is `days` days after 1970-01-01.
///
/// Years are counted from March, so that the leap day is the last. Eras have 400 years, and all have equally many days.
///
/// # Source
/// Howard Hinnant, “chrono-Compatible Low-Level Date Algorithms”, `civil_from_days`.
fn civil(days: u64) -> (u64, u64, u64) {
    /// The number of days from 0000-03-01 to 1970-01-01.
    const EPOCH: u64 = 719_468;
    /// The number of days in 400 years.
    const ERA: u64 = 146_097;
    let (era, day_of_era) = ((days + EPOCH) / ERA, (days + EPOCH) % ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (400 * era + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_the_date_that_gnu_date_gives() {
        for (unix_s, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (1_795_390_812, "2026-11-22 23:40:12 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(unix_s), text);
        }
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..146_097 {
            assert_eq!(civil(days), (year, month, day));
            let length = match month {
                2 => 28 + u64::from(leap(year)),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            (year, month, day) = match (day < length, month < 12) {
                (true, _) => (year, month, day + 1),
                (false, true) => (year, month + 1, 1),
                (false, false) => (year + 1, 1, 1),
            };
        }
    }
}
