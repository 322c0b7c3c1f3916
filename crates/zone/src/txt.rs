//! Character strings, of which the RDATA of TXT records is made (RFC 1035 §3.3 and §3.3.14).

use bytes::Bytes;

/// Makes the RDATA of a TXT record. A string longer than 255 octets goes on in the next one.
pub fn compose<I, S>(strings: I) -> Bytes
where
    I: IntoIterator<Item = S>,
    S: AsRef<[u8]>,
{
    let mut out = Vec::new();
    for string in strings {
        let string = string.as_ref();
        if string.is_empty() {
            out.push(0);
        }
        for chunk in string.chunks(255) {
            out.push(chunk.len() as u8);
            out.extend_from_slice(chunk);
        }
    }
    if out.is_empty() {
        // RFC 1035 §3.3.14: one or more strings.
        out.push(0);
    }
    out.into()
}

/// The strings of a TXT record; `None` when the RDATA is malformed.
pub fn parse(rdata: &[u8]) -> Option<Vec<&[u8]>> {
    let mut strings = Vec::new();
    let mut rest = rdata;
    while let Some((len, tail)) = rest.split_first() {
        let (string, tail) = tail.split_at_checked(*len as usize)?;
        strings.push(string);
        rest = tail;
    }
    (!strings.is_empty()).then_some(strings)
}

/// The strings of a TXT record as text; `None` when the RDATA is malformed or not UTF-8.
pub fn parse_text(rdata: &[u8]) -> Option<Vec<&str>> {
    parse(rdata)?
        .into_iter()
        .map(|string| std::str::from_utf8(string).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_back() {
        assert_eq!(
            parse(&compose(["a", "", "bc"])),
            Some(vec![&b"a"[..], b"", b"bc"])
        );
        assert_eq!(parse(&compose([[7u8; 300]])).map(|all| all.len()), Some(2));
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[5, 1]), None);
        assert_eq!(parse_text(&[1, 0xFF]), None);
    }
}
