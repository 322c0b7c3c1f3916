//! Times as zone files have them: seconds, or numbers with units, such as `1h30m`.

/// Reads a time.
///
/// # Errors
///
/// A sentence that says what was expected.
pub fn parse(text: &[u8]) -> Result<u32, String> {
    let bad = || {
        format!(
            "`{}` is not a time; expected seconds, such as 3600, or numbers with the units w, d, h, m and s, such as 1h30m",
            text.escape_ascii()
        )
    };
    let mut total: u64 = 0;
    let mut number: Option<u64> = None;
    for (at, &byte) in text.iter().enumerate() {
        if byte.is_ascii_digit() {
            let value = number.unwrap_or(0) * 10 + u64::from(byte - b'0');
            if value > u64::from(u32::MAX) {
                return Err(too_long(text));
            }
            number = Some(value);
            // A number without a unit must be all there is.
            if at + 1 == text.len() && text.len() > 1 && !text.iter().all(u8::is_ascii_digit) {
                return Err(bad());
            }
            continue;
        }
        let unit = match byte.to_ascii_lowercase() {
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return Err(bad()),
        };
        total += number.take().ok_or_else(bad)? * unit;
        if total > u64::from(u32::MAX) {
            return Err(too_long(text));
        }
    }
    if text.is_empty() {
        return Err(bad());
    }
    u32::try_from(total + number.unwrap_or(0)).map_err(|_| too_long(text))
}

fn too_long(text: &[u8]) -> String {
    format!(
        "`{}` is longer than a time can be; expected at most 4294967295 seconds",
        text.escape_ascii()
    )
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn times_have_units_or_are_seconds() {
        for (text, seconds) in [
            ("0", 0),
            ("3600", 3600),
            ("1h30m", 5400),
            ("1W2D3H4M5S", 788_645),
            ("4294967295", u32::MAX),
            ("0w", 0),
        ] {
            assert_eq!(parse(text.as_bytes()), Ok(seconds), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in [
            "",
            "h",
            "1x",
            "1h30",
            "-1",
            "+1",
            "1 h",
            "4294967296",
            "99999999999999999999",
            "8000w",
            "1hh",
        ] {
            parse(text.as_bytes()).unwrap_err();
        }
    }
}
