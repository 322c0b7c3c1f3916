//! The writer: canonical order with the SOA first, one record a line, nothing that depends on a line before.
//!
//! What it writes, the reader reads back to the same octets. Our own printers are made so; those of `domain` 0.12 leave
//! parentheses, quotation marks and `@` in names as they are, and print an empty field as nothing. So what they printed
//! is read again, unless it is plain that there is no such thing in it, and where something else comes out the data is
//! written in the form of RFC 3597.

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use domain::base::ParsedName;
use domain::base::rdata::ParseAnyRecordData;
use domain::base::zonefile_fmt::{DisplayKind, ZonefileFmt};
use domain::dep::octseq::Parser;
use domain::rdata::AllRecordData;

use super::scan::Cursor;
use super::token::Lexer;
use super::{rdata, svcb};
use crate::{Name, Rtype, Ttl, Zone};

/// Enough for the output to go out in large pieces.
const BUFFER: usize = 64 * 1024;

/// Writes a zone as a zone file.
///
/// # Errors
///
/// When the output does not take it.
pub fn write(zone: &Zone, out: &mut impl io::Write) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER + 1024);
    let soa = zone.soa_record();
    write_record(&mut buffer, &soa.owner, soa.rtype, soa.ttl, &soa.rdata);
    let mut owner = Vec::new();
    for node in zone.nodes() {
        owner.clear();
        write_name(&mut owner, node.owner().as_slice());
        for set in node.rrsets() {
            if set.rtype() == Rtype::SOA {
                continue;
            }
            for rdata in set.iter() {
                buffer.extend_from_slice(&owner);
                write_rest(&mut buffer, set.rtype(), set.ttl(), rdata);
                if buffer.len() >= BUFFER {
                    out.write_all(&buffer)?;
                    buffer.clear();
                }
            }
        }
    }
    out.write_all(&buffer)
}

/// Appends one record as a line of a zone file.
pub fn write_record(out: &mut Vec<u8>, owner: &Name, rtype: Rtype, ttl: Ttl, rdata: &[u8]) {
    write_name(out, owner.as_slice());
    write_rest(out, rtype, ttl, rdata);
}

/// RDATA as it stands in a zone file.
pub fn rdata_text(rtype: Rtype, rdata: &[u8]) -> String {
    let mut out = Vec::new();
    write_rdata(&mut out, rtype, rdata);
    // All that is written is ASCII.
    String::from_utf8_lossy(&out).into_owned()
}

fn write_rest(out: &mut Vec<u8>, rtype: Rtype, ttl: Ttl, rdata: &[u8]) {
    out.push(b' ');
    write_number(out, ttl.as_secs());
    out.extend_from_slice(b" IN ");
    match rtype {
        Rtype::A => out.extend_from_slice(b"A"),
        Rtype::AAAA => out.extend_from_slice(b"AAAA"),
        Rtype::NS => out.extend_from_slice(b"NS"),
        _ => out.extend_from_slice(rtype.to_string().as_bytes()),
    }
    out.push(b' ');
    write_rdata(out, rtype, rdata);
    out.push(b'\n');
}

fn write_rdata(out: &mut Vec<u8>, rtype: Rtype, rdata: &[u8]) {
    let start = out.len();
    if ours(out, rtype, rdata).is_some()
        // What may stand together in SVCB is more than its printer looks at.
        && (!matches!(rtype, Rtype::SVCB | Rtype::HTTPS) || reads_as(rtype, &out[start..], rdata))
    {
        return;
    }
    out.truncate(start);
    match foreign_text(rtype, rdata) {
        Some(text) if is_faithful(rtype, rdata) || reads_as(rtype, text.as_bytes(), rdata) => {
            out.extend_from_slice(text.as_bytes());
        }
        _ => unknown(out, rdata),
    }
}

/// What `domain` prints; `None` when the data does not have the type's form.
fn foreign_text(rtype: Rtype, rdata: &[u8]) -> Option<String> {
    let mut parser = Parser::from_ref(rdata);
    let data =
        AllRecordData::<&[u8], ParsedName<&[u8]>>::parse_any_rdata(rtype, &mut parser).ok()?;
    let known = !matches!(data, AllRecordData::Unknown(_)) && parser.remaining() == 0;
    known.then(|| data.display_zonefile(DisplayKind::Simple).to_string())
}

/// Whether `domain` is known to print the data as it reads it: types of a signed zone, whose data is numbers,
/// hexadecimal digits, base64 and lists of types, with no field empty and nothing to escape in a name. They are most of
/// such a zone; all others are read again after printing, which costs as much as reading.
fn is_faithful(rtype: Rtype, rdata: &[u8]) -> bool {
    match rtype {
        Rtype::DS => rdata.len() > 4,
        Rtype::DNSKEY => rdata.len() > 4,
        Rtype::NSEC => plain_name(rdata).is_some_and(is_short_bitmap),
        Rtype::RRSIG => rdata
            .get(18..)
            .and_then(plain_name)
            .is_some_and(|rest| !rest.is_empty()),
        Rtype::NSEC3 => behind_string(rdata.get(4..).unwrap_or_default())
            // An empty hash would be printed as nothing at all.
            .filter(|rest| rest.first() != Some(&0))
            .and_then(behind_string)
            .is_some_and(is_short_bitmap),
        _ => false,
    }
}

/// Whether a list of types is in the form that it is read to: windows in ascending order, none with zeros at its end.
fn is_short_bitmap(mut bitmap: &[u8]) -> bool {
    let mut last = None;
    while let Some((&[window, len], rest)) = bitmap.split_first_chunk::<2>() {
        let Some((bits, rest)) = rest.split_at_checked(len.into()) else {
            return false;
        };
        if last >= Some(window) || bits.last().is_none_or(|octet| *octet == 0) {
            return false;
        }
        last = Some(window);
        bitmap = rest;
    }
    bitmap.is_empty()
}

fn behind_string(rdata: &[u8]) -> Option<&[u8]> {
    let (&len, rest) = rdata.split_first()?;
    Some(rest.split_at_checked(len.into())?.1)
}

/// Steps behind a name in which nothing must be escaped.
fn plain_name(rdata: &[u8]) -> Option<&[u8]> {
    let mut rest = rdata;
    loop {
        let (&len, after) = rest.split_first()?;
        let (label, after) = after.split_at_checked(usize::from(len))?;
        rest = after;
        if label.is_empty() {
            return Some(rest);
        }
        if !label
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'*'))
        {
            return None;
        }
    }
}

fn reads_as(rtype: Rtype, text: &[u8], rdata: &[u8]) -> bool {
    let mut tokens = Vec::new();
    let mut lexer = Lexer::new(text);
    let Some(Ok(entry)) = lexer.next_entry(&mut tokens) else {
        return false;
    };
    let mut cursor = Cursor::new(text, &tokens, entry, None);
    let mut again = Vec::with_capacity(rdata.len());
    rdata::scan(rtype, &mut cursor, &mut again).is_ok()
        && again == rdata
        && lexer.next_entry(&mut tokens).is_none()
}

/// Prints the types of which nearly all zones consist; `None` when the data does not have the type's form.
fn ours(out: &mut Vec<u8>, rtype: Rtype, rdata: &[u8]) -> Option<()> {
    match rtype {
        Rtype::A => print(out, Ipv4Addr::from(<[u8; 4]>::try_from(rdata).ok()?)),
        Rtype::AAAA => print(out, Ipv6Addr::from(<[u8; 16]>::try_from(rdata).ok()?)),
        Rtype::NS | Rtype::CNAME | Rtype::DNAME | Rtype::PTR => last_name(out, rdata)?,
        Rtype::MB | Rtype::MD | Rtype::MF | Rtype::MG | Rtype::MR => last_name(out, rdata)?,
        Rtype::RP | Rtype::MINFO => {
            let rest = name(out, rdata)?;
            out.push(b' ');
            last_name(out, rest)?;
        }
        Rtype::NAPTR => {
            let mut rest = number(out, rdata)?;
            rest = number(out, rest)?;
            for _ in 0..3 {
                let (&len, after) = rest.split_first()?;
                let (string, after) = after.split_at_checked(len.into())?;
                write_string(out, string);
                out.push(b' ');
                rest = after;
            }
            last_name(out, rest)?;
        }
        Rtype::SVCB | Rtype::HTTPS => {
            let rest = number(out, rdata)?;
            let rest = name(out, rest)?;
            svcb::print(out, rest)?;
        }
        Rtype::MX => {
            let rest = number(out, rdata)?;
            last_name(out, rest)?;
        }
        Rtype::SRV => {
            let mut rest = rdata;
            for _ in 0..3 {
                rest = number(out, rest)?;
            }
            last_name(out, rest)?;
        }
        Rtype::SOA => {
            let rest = name(out, rdata)?;
            out.push(b' ');
            let rest = name(out, rest)?;
            let numbers: &[u8; 20] = rest.try_into().ok()?;
            for four in numbers.chunks_exact(4) {
                out.push(b' ');
                write_number(out, u32::from_be_bytes(four.try_into().ok()?));
            }
        }
        Rtype::TXT | Rtype::SPF => strings(out, rdata)?,
        _ => return None,
    }
    Some(())
}

/// Prints a name and steps behind it; `None` when it is not well-formed, and when it is compressed.
fn name<'a>(out: &mut Vec<u8>, rdata: &'a [u8]) -> Option<&'a [u8]> {
    let mut end = 0;
    loop {
        let len = *rdata.get(end)? as usize;
        end += len + 1;
        if len > 63 || end > 255 {
            return None;
        }
        if len == 0 {
            break;
        }
    }
    let (name, rest) = rdata.split_at_checked(end)?;
    write_name(out, name);
    Some(rest)
}

fn last_name(out: &mut Vec<u8>, rdata: &[u8]) -> Option<()> {
    name(out, rdata)?.is_empty().then_some(())
}

fn number<'a>(out: &mut Vec<u8>, rdata: &'a [u8]) -> Option<&'a [u8]> {
    let (number, rest) = rdata.split_first_chunk::<2>()?;
    write_number(out, u16::from_be_bytes(*number).into());
    out.push(b' ');
    Some(rest)
}

fn strings(out: &mut Vec<u8>, mut rdata: &[u8]) -> Option<()> {
    loop {
        let (&len, rest) = rdata.split_first()?;
        let (string, rest) = rest.split_at_checked(len as usize)?;
        write_string(out, string);
        if rest.is_empty() {
            return Some(());
        }
        out.push(b' ');
        rdata = rest;
    }
}

/// Prints a string in quotation marks.
pub(super) fn write_string(out: &mut Vec<u8>, string: &[u8]) {
    out.push(b'"');
    for &byte in string {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            b' '..=b'~' => out.push(byte),
            _ => decimal_escape(out, byte),
        }
    }
    out.push(b'"');
}

/// Prints an absolute name. The slice is a well-formed name in wire format.
fn write_name(out: &mut Vec<u8>, wire: &[u8]) {
    let mut rest = wire;
    if let [0, ..] = rest {
        out.push(b'.');
        return;
    }
    while let Some((&len @ 1.., after)) = rest.split_first() {
        let Some((label, after)) = after.split_at_checked(len as usize) else {
            return;
        };
        for &byte in label {
            match byte {
                b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => {
                    out.extend([b'\\', byte]);
                }
                b'!'..=b'~' => out.push(byte),
                _ => decimal_escape(out, byte),
            }
        }
        out.push(b'.');
        rest = after;
    }
}

fn decimal_escape(out: &mut Vec<u8>, byte: u8) {
    out.extend([
        b'\\',
        b'0' + byte / 100,
        b'0' + byte / 10 % 10,
        b'0' + byte % 10,
    ]);
}

fn unknown(out: &mut Vec<u8>, rdata: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(b"\\# ");
    write_number(out, rdata.len() as u32);
    if !rdata.is_empty() {
        out.push(b' ');
    }
    for byte in rdata {
        out.extend([
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ]);
    }
}

fn write_number(out: &mut Vec<u8>, number: u32) {
    print(out, number);
}

fn print(out: &mut Vec<u8>, what: impl std::fmt::Display) {
    struct Octets<'a>(&'a mut Vec<u8>);
    impl std::fmt::Write for Octets<'_> {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
    // Writing to a vector cannot fail, nor can the numbers and addresses that are printed here.
    let _ = write!(Octets(out), "{what}");
}
