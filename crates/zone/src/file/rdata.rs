//! Reads RDATA in presentation format and appends it in wire format.
//!
//! The types that make up nearly all of every zone are read here, without an allocation; the others are left to
//! `domain`. SOA is ours too, because its times may have units, and so is SVCB: see [`super::svcb`].

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use domain::base::ParsedName;
use domain::base::rdata::{ComposeRecordData, ParseAnyRecordData};
use domain::base::scan::{Scanner, ScannerError};
use domain::dep::octseq::Parser;
use domain::rdata::{AllRecordData, ZoneRecordData};

use super::name::NameBuffer;
use super::scan::{Cursor, Result, ScanError};
use super::{svcb, ttl};
use crate::{Name, Rtype};

/// Reads the RDATA of one record, up to the end of the entry.
pub(super) fn scan(rtype: Rtype, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    if cursor.scan_opt_unknown_marker()? {
        unknown(rtype, cursor, out)?;
    } else {
        known(rtype, cursor, out)?;
    }
    if !cursor.is_done() {
        cursor.take()?;
        return Err(ScanError::trailing_tokens());
    }
    if out.len() - start > 0xFFFF {
        return Err(ScanError::custom(
            "more than 65,535 octets of data; no record can hold that much",
        ));
    }
    Ok(())
}

fn known(rtype: Rtype, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<()> {
    match rtype {
        Rtype::A => {
            out.extend_from_slice(&address::<Ipv4Addr>(cursor, "an IPv4 address")?.octets())
        }
        Rtype::AAAA => {
            out.extend_from_slice(&address::<Ipv6Addr>(cursor, "an IPv6 address")?.octets())
        }
        Rtype::NS | Rtype::CNAME | Rtype::DNAME | Rtype::PTR => name(cursor, out)?,
        Rtype::MX => {
            number(cursor, out)?;
            name(cursor, out)?;
        }
        Rtype::SRV => {
            for _ in 0..3 {
                number(cursor, out)?;
            }
            name(cursor, out)?;
        }
        Rtype::TXT | Rtype::SPF => loop {
            cursor.string_into(out)?;
            if cursor.is_done() {
                break;
            }
        },
        Rtype::SOA => soa(cursor, out)?,
        Rtype::SVCB | Rtype::HTTPS => {
            number(cursor, out)?;
            name(cursor, out)?;
            svcb::scan(cursor, out)?;
        }
        _ => foreign(rtype, cursor, out)?,
    }
    Ok(())
}

/// A type that `domain` reads.
fn foreign(rtype: Rtype, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<()> {
    let data = ZoneRecordData::scan(rtype, cursor).map_err(|error| match is_known(rtype) {
        true => error,
        false => ScanError::new(format!(
            "the form of type {rtype} is not known; write its data as `\\# LENGTH HEX` (RFC 3597)"
        )),
    })?;
    data.compose_rdata(out)
        .map_err(|_| ScanError::custom("the data is too long"))
}

/// Whether the type's presentation format can be read.
fn is_known(rtype: Rtype) -> bool {
    form(rtype).is_some()
}

/// RFC 3597 §5: `\# LENGTH HEX…`; the hexadecimal digits may be in several words.
fn unknown(rtype: Rtype, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<()> {
    let expected: u16 = cursor.number("a length from 0 to 65535")?;
    let start = out.len();
    let mut half: Option<u8> = None;
    while !cursor.is_done() {
        for &digit in cursor.take_raw()? {
            let value = (digit as char)
                .to_digit(16)
                .ok_or_else(|| ScanError::custom("expected hexadecimal digits"))?
                as u8;
            half = match half {
                None => Some(value),
                Some(high) => {
                    out.push(high << 4 | value);
                    None
                }
            };
        }
    }
    let found = out.len() - start;
    if half.is_some() {
        return Err(ScanError::custom(
            "an odd number of hexadecimal digits; expected two for each octet",
        ));
    }
    if found != usize::from(expected) {
        return Err(ScanError::new(format!(
            "{found} octets of data where {expected} were announced"
        )));
    }
    check(rtype, &out[start..]).map_err(ScanError::new)
}

/// Checks that RDATA has the form of its type, and names in it are not compressed.
pub(super) fn check(rtype: Rtype, rdata: &[u8]) -> std::result::Result<(), String> {
    let mut parser = Parser::from_ref(rdata);
    let parsed = AllRecordData::<&[u8], ParsedName<&[u8]>>::parse_any_rdata(rtype, &mut parser)
        .map_err(|error| format!("these octets are not the data of type {rtype}: {error}"))?;
    let mut again = Vec::with_capacity(rdata.len());
    // What was left unread, and a compressed name, are not there in what is composed again.
    if parsed.compose_rdata(&mut again).is_ok() && again == rdata {
        Ok(())
    } else {
        Err(format!(
            "these octets are not the data of type {rtype}: its fields do not fill it exactly"
        ))
    }
}

fn address<T: FromStr>(cursor: &mut Cursor<'_>, what: &str) -> Result<T> {
    let raw = cursor.take_raw()?;
    std::str::from_utf8(raw)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| ScanError::new(format!("`{}` is not {what}", raw.escape_ascii())))
}

fn number(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<()> {
    let value: u16 = cursor.number("a number from 0 to 65535")?;
    out.extend_from_slice(&value.to_be_bytes());
    Ok(())
}

fn name(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<()> {
    let mut buffer = NameBuffer::new();
    cursor.name_into(&mut buffer)?;
    out.extend_from_slice(buffer.as_slice());
    Ok(())
}

fn soa(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<()> {
    name(cursor, out)?;
    name(cursor, out)?;
    let serial: u32 = cursor.number("a serial from 0 to 4294967295")?;
    out.extend_from_slice(&serial.to_be_bytes());
    for what in ["refresh", "retry", "expire", "minimum"] {
        let raw = cursor.take_raw()?;
        let value = ttl::parse(raw)
            .map_err(|problem| ScanError::new(format!("{what} of the SOA: {problem}")))?;
        out.extend_from_slice(&value.to_be_bytes());
    }
    Ok(())
}

/// The fields of a type in presentation format, for messages. `None` when the type can be written only by RFC 3597.
pub(super) fn form(rtype: Rtype) -> Option<&'static str> {
    Some(match rtype {
        Rtype::A => "IPV4-ADDRESS",
        Rtype::AAAA => "IPV6-ADDRESS",
        Rtype::NS | Rtype::CNAME | Rtype::DNAME | Rtype::PTR => "NAME",
        Rtype::MB | Rtype::MD | Rtype::MF | Rtype::MG | Rtype::MR => "NAME",
        Rtype::MX => "PREFERENCE NAME",
        Rtype::SRV => "PRIORITY WEIGHT PORT NAME",
        Rtype::TXT | Rtype::SPF => "\"STRING\"…",
        Rtype::SOA => "PRIMARY MAILBOX SERIAL REFRESH RETRY EXPIRE MINIMUM",
        Rtype::SVCB | Rtype::HTTPS => "PRIORITY TARGET [KEY=VALUE]…",
        Rtype::HINFO => "\"CPU\" \"OS\"",
        Rtype::MINFO => "MAILBOX ERROR-MAILBOX",
        Rtype::RP => "MAILBOX TXT-NAME",
        Rtype::CAA => "FLAGS TAG \"VALUE\"",
        Rtype::DS | Rtype::CDS => "KEY-TAG ALGORITHM DIGEST-TYPE HEX",
        Rtype::DNSKEY | Rtype::CDNSKEY => "FLAGS 3 ALGORITHM BASE64",
        Rtype::RRSIG => "TYPE ALGORITHM LABELS TTL EXPIRATION INCEPTION KEY-TAG SIGNER BASE64",
        Rtype::NSEC => "NEXT-NAME TYPE…",
        Rtype::NSEC3 => "HASH-ALGORITHM FLAGS ITERATIONS SALT NEXT-HASH TYPE…",
        Rtype::NSEC3PARAM => "HASH-ALGORITHM FLAGS ITERATIONS SALT",
        Rtype::TLSA => "USAGE SELECTOR MATCHING-TYPE HEX",
        Rtype::SSHFP => "ALGORITHM HASH-TYPE HEX",
        Rtype::OPENPGPKEY => "BASE64",
        Rtype::NAPTR => "ORDER PREFERENCE \"FLAGS\" \"SERVICES\" \"REGEXP\" NAME",
        Rtype::IPSECKEY => "PRECEDENCE GATEWAY-TYPE ALGORITHM GATEWAY BASE64",
        Rtype::ZONEMD => "SERIAL SCHEME HASH-ALGORITHM HEX",
        _ => return None,
    })
}

/// Reads a name that stands alone, such as an origin.
pub(super) fn single_name(cursor: &mut Cursor<'_>) -> Result<Name> {
    let mut buffer = NameBuffer::new();
    cursor.name_into(&mut buffer)?;
    buffer.to_name()
}
