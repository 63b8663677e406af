//! Wall-clock times as skynet writes them.

/// Broken-down local time.
pub(crate) struct LocalTime(libc::tm);

impl LocalTime {
    /// Of a time in seconds since 1970.
    pub(crate) fn of(seconds: i64) -> Self {
        let seconds: libc::time_t = seconds;
        // SAFETY: all-zero bytes are a valid `tm`: numbers and a pointer that nobody follows.
        let mut broken = unsafe { core::mem::zeroed() };
        // SAFETY: both point to values of the right type; the function keeps neither.
        unsafe { libc::localtime_r(&seconds, &mut broken) };
        Self(broken)
    }

    /// `23/11/26 04:06:32`.
    pub(crate) fn short(&self) -> String {
        let it = &self.0;
        let (year, month) = (it.tm_year.rem_euclid(100), it.tm_mon + 1);
        let (day, hour, minute, second) = (it.tm_mday, it.tm_hour, it.tm_min, it.tm_sec);
        format!("{day:02}/{month:02}/{year:02} {hour:02}:{minute:02}:{second:02}")
    }

    /// `Mon Nov 23 04:41:38 2026`, C's `ctime` without its end of line.
    pub(crate) fn long(&self) -> String {
        const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let it = &self.0;
        let (weekday, month) = (DAYS[it.tm_wday as usize % 7], MONTHS[it.tm_mon as usize % 12]);
        let (day, hour, minute, second) = (it.tm_mday, it.tm_hour, it.tm_min, it.tm_sec);
        format!("{weekday} {month} {day:2} {hour:02}:{minute:02}:{second:02} {}", it.tm_year + 1900)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_have_a_fixed_width() {
        let time = LocalTime::of(1_700_000_000);
        assert_eq!(time.short().len(), "23/11/26 04:06:32".len());
        assert_eq!(time.long().len(), "Mon Nov 23 04:41:38 2026".len());
        assert!(time.long().ends_with(" 2023") && time.short().contains("/11/23 "), "{}", time.long());
    }
}
