//! The parameters of SVCB and HTTPS records in presentation format (RFC 9460 §2.1 and appendix A).
//!
//! Ours because the scanner of `domain` 0.12 refuses keys with a `z` or a `9` in them, and its printer leaves out
//! escapes; and because a value may be quoted in part.

use std::net::{Ipv4Addr, Ipv6Addr};

use domain::base::scan::ScannerError;
use domain::utils::base64;

use super::scan::{Cursor, Result, ScanError, unescape};
use super::write::write_string;

/// Reads `KEY` and `KEY=VALUE` words up to the end of the entry; appends them in the order of their numbers.
pub(super) fn scan(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<()> {
    let mut all: Vec<(u16, Vec<u8>)> = Vec::new();
    while !cursor.is_done() {
        // A value in quotes is a token of its own that follows `key=` without white space.
        let mut text = Vec::new();
        unescape_keeping_key(cursor, &mut text)?;
        while cursor.peek().is_some_and(|token| token.joined) {
            cursor.octets_into(&mut text)?;
        }
        let (key, value) = match text.iter().position(|&byte| byte == b'=') {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (&text[..], None),
        };
        let number = key_number(key)?;
        let value = encode(number, value)?;
        if all.iter().any(|(other, _)| *other == number) {
            return Err(ScanError::new(format!(
                "the key {} a second time; each may be given once",
                key.escape_ascii()
            )));
        }
        all.push((number, value));
    }
    all.sort_unstable();
    if let Some((_, mandatory)) = all.iter().find(|(number, _)| *number == 0) {
        for number in mandatory
            .chunks_exact(2)
            .map(|two| u16::from_be_bytes([two[0], two[1]]))
        {
            if !all.iter().any(|(other, _)| *other == number) {
                return Err(ScanError::new(format!(
                    "the mandatory key number {number} is not there"
                )));
            }
        }
    }
    for (number, value) in all {
        let len = u16::try_from(value.len())
            .map_err(|_| ScanError::custom("a value of more than 65,535 octets"))?;
        out.extend_from_slice(&number.to_be_bytes());
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&value);
    }
    Ok(())
}

fn unescape_keeping_key(cursor: &mut Cursor<'_>, text: &mut Vec<u8>) -> Result<()> {
    let token = cursor.take()?;
    if token.quoted {
        return Err(ScanError::custom(
            "a quoted string; expected KEY or KEY=VALUE, of which only the value is quoted",
        ));
    }
    unescape(cursor.raw(token), text)
}

const KEYS: [&str; 9] = [
    "mandatory",
    "alpn",
    "no-default-alpn",
    "port",
    "ipv4hint",
    "ech",
    "ipv6hint",
    "dohpath",
    "ohttp",
];

fn key_number(key: &[u8]) -> Result<u16> {
    if let Some(at) = KEYS.iter().position(|known| known.as_bytes() == key) {
        return Ok(at as u16);
    }
    key.strip_prefix(b"key")
        .filter(|digits| digits.iter().all(u8::is_ascii_digit))
        .filter(|digits| digits.len() == 1 || !digits.starts_with(b"0"))
        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
        .filter(|number| *number != u16::MAX)
        .ok_or_else(|| {
            ScanError::new(format!(
                "`{}` is not a key; expected one of {} or key0 to key65534",
                key.escape_ascii(),
                KEYS.join(", ")
            ))
        })
}

/// A value in wire format.
fn encode(number: u16, value: Option<&[u8]>) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    match (number, value) {
        (2 | 8, None) => {}
        (2 | 8, Some(_)) => {
            return Err(ScanError::custom("no-default-alpn and ohttp have no value"));
        }
        (0 | 1 | 3 | 4 | 5 | 6, None | Some(b"")) => {
            return Err(ScanError::new(format!(
                "{} needs a value",
                KEYS[usize::from(number)]
            )));
        }
        (0, Some(value)) => {
            let mut keys = Vec::new();
            for key in value.split(|&byte| byte == b',') {
                keys.push(key_number(key)?);
            }
            keys.sort_unstable();
            if keys.first() == Some(&0) || keys.windows(2).any(|two| two[0] == two[1]) {
                return Err(ScanError::custom(
                    "mandatory lists other keys, each of them once",
                ));
            }
            out.extend(keys.iter().flat_map(|key| key.to_be_bytes()));
        }
        (1, Some(value)) => {
            for id in split_list(value) {
                match u8::try_from(id.len()) {
                    Ok(len @ 1..) => out.push(len),
                    _ => {
                        return Err(ScanError::custom(
                            "alpn lists protocols of 1 to 255 octets, with commas between them",
                        ));
                    }
                }
                out.extend(id);
            }
        }
        (3, Some(value)) => {
            let port: u16 = parse(value, "a port from 0 to 65535")?;
            out.extend(port.to_be_bytes());
        }
        (4, Some(value)) => {
            for address in value.split(|&byte| byte == b',') {
                out.extend(parse::<Ipv4Addr>(address, "an IPv4 address")?.octets());
            }
        }
        (6, Some(value)) => {
            for address in value.split(|&byte| byte == b',') {
                out.extend(parse::<Ipv6Addr>(address, "an IPv6 address")?.octets());
            }
        }
        (5, Some(value)) => {
            out = std::str::from_utf8(value)
                .ok()
                .and_then(|text| base64::decode::<Vec<u8>>(text).ok())
                .ok_or_else(|| ScanError::custom("ech is not base64"))?;
        }
        (_, value) => out.extend_from_slice(value.unwrap_or_default()),
    }
    Ok(out)
}

/// Splits a comma-separated list in which a comma and a backslash can be escaped (RFC 9460 appendix A.1).
fn split_list(value: &[u8]) -> Vec<Vec<u8>> {
    let mut items = vec![Vec::new()];
    let mut bytes = value.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b',' => items.push(Vec::new()),
            _ => {
                let byte = match byte {
                    b'\\' => *bytes.next().unwrap_or(&byte),
                    _ => byte,
                };
                if let Some(item) = items.last_mut() {
                    item.push(byte);
                }
            }
        }
    }
    items
}

fn parse<T: std::str::FromStr>(text: &[u8], what: &str) -> Result<T> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| ScanError::new(format!("`{}` is not {what}", text.escape_ascii())))
}

/// Appends parameters in presentation format, each after a space; `None` when they are malformed.
pub(super) fn print(out: &mut Vec<u8>, mut params: &[u8]) -> Option<()> {
    while !params.is_empty() {
        let (number, rest) = params.split_first_chunk::<2>()?;
        let (len, rest) = rest.split_first_chunk::<2>()?;
        let (value, rest) = rest.split_at_checked(u16::from_be_bytes(*len).into())?;
        params = rest;
        let number = u16::from_be_bytes(*number);
        out.push(b' ');
        out.extend_from_slice(key_name(number).as_bytes());
        let plain = |items: Vec<String>| (!items.is_empty()).then(|| items.join(","));
        let text = match number {
            2 | 8 if value.is_empty() => continue,
            2 | 8 => return None,
            0 => plain(keys(value)?.into_iter().map(key_name).collect())?,
            3 => u16::from_be_bytes(value.try_into().ok()?).to_string(),
            4 => plain(addresses::<4, Ipv4Addr>(value)?)?,
            6 => plain(addresses::<16, Ipv6Addr>(value)?)?,
            5 => base64::encode_string(value),
            _ => {
                let list = match number {
                    1 => protocols(value)?,
                    _ => value.to_vec(),
                };
                out.push(b'=');
                if !list.is_empty() && list.iter().all(|byte| is_plain(*byte)) {
                    out.extend_from_slice(&list);
                } else {
                    write_string(out, &list);
                }
                continue;
            }
        };
        out.push(b'=');
        out.extend_from_slice(text.as_bytes());
    }
    Some(())
}

/// Whether an octet needs neither an escape nor quotation marks around it.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._/,:+".contains(&byte)
}

fn key_name(number: u16) -> String {
    match KEYS.get(usize::from(number)) {
        Some(name) => (*name).to_owned(),
        None => format!("key{number}"),
    }
}

fn keys(value: &[u8]) -> Option<Vec<u16>> {
    let (pairs, []) = value.as_chunks::<2>() else {
        return None;
    };
    Some(pairs.iter().map(|two| u16::from_be_bytes(*two)).collect())
}

fn addresses<const LEN: usize, T: From<[u8; LEN]> + ToString>(value: &[u8]) -> Option<Vec<String>> {
    let (all, []) = value.as_chunks::<LEN>() else {
        return None;
    };
    Some(all.iter().map(|one| T::from(*one).to_string()).collect())
}

/// The list of protocols with commas between them, in which commas and backslashes are escaped.
fn protocols(mut value: &[u8]) -> Option<Vec<u8>> {
    let mut list = Vec::new();
    while let Some((&len, rest)) = value.split_first() {
        let (id, rest) = rest.split_at_checked(len.into())?;
        value = rest;
        if !list.is_empty() {
            list.push(b',');
        }
        for &byte in id {
            if matches!(byte, b',' | b'\\') {
                list.push(b'\\');
            }
            list.push(byte);
        }
    }
    Some(list)
}
