//! One record, owned, with its RDATA in uncompressed wire format; and the SOA, which everyone looks into.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use domain::base::name::{FlattenInto, ToName};
use domain::base::rdata::{ComposeRecordData, ParseAnyRecordData};
use domain::base::record::ParsedRecord;
use domain::base::wire::ParseError;
use domain::base::{Name as DomainName, ParsedName};
use domain::dep::octseq::Parser;
use domain::rdata::AllRecordData;

pub use self::octets::RecordOctets;
use crate::{Class, Name, Rtype, Serial, Ttl};

mod octets;

/// A record of class IN.
///
/// Two records are equal when owner name (without regard to case), type, TTL and the octets of the RDATA are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The owner name.
    pub owner: Name,
    /// The type.
    pub rtype: Rtype,
    /// The TTL.
    pub ttl: Ttl,
    /// The data in wire format, names in it uncompressed; at most 65,535 octets.
    pub rdata: Bytes,
}

/// Why octets or text are not a record that we can hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The RDATA does not have the form that its type demands.
    #[error("malformed RDATA of a {rtype} record of {owner}")]
    Rdata {
        /// The owner name.
        owner: Name,
        /// The type whose form is not met.
        rtype: Rtype,
        /// What is wrong.
        #[source]
        source: ParseError,
    },
    /// The record is of a class other than IN.
    #[error("class {class} of a record of {owner}; only IN is served")]
    Class {
        /// The owner name.
        owner: Name,
        /// The class.
        class: Class,
    },
    /// The octets of the record's head are not well-formed.
    #[error("malformed record")]
    Message(#[from] ParseError),
    /// The text is not one record in zone file format.
    #[error("not a record in zone file format: {0}")]
    Text(String),
}

impl Record {
    /// Makes a record of parts that are known to be good.
    pub fn new(owner: Name, rtype: Rtype, ttl: Ttl, rdata: impl Into<Bytes>) -> Self {
        Self {
            owner,
            rtype,
            ttl,
            rdata: rdata.into(),
        }
    }

    /// Takes a record out of a message, undoing name compression in the RDATA and checking its form.
    ///
    /// # Errors
    ///
    /// When the class is not IN or the RDATA is malformed: the sender broke the protocol.
    pub fn from_message(record: &ParsedRecord<'_, [u8]>) -> Result<Self, RecordError> {
        let mut octets = RecordOctets::default();
        octets.read(record)?;
        Ok(Self {
            owner: record.owner().to_name(),
            rtype: record.rtype(),
            ttl: record.ttl(),
            rdata: octets.into_rdata().into(),
        })
    }

    /// Checks that the RDATA has the form that its type demands; types that `domain` does not know have none.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub fn check_rdata(&self) -> Result<(), RecordError> {
        let error = |source| RecordError::Rdata {
            owner: self.owner.clone(),
            rtype: self.rtype,
            source,
        };
        let mut parser = Parser::from_ref(self.rdata.as_ref());
        let data =
            AllRecordData::<&[u8], ParsedName<&[u8]>>::parse_any_rdata(self.rtype, &mut parser)
                .map_err(error)?;
        // Neither octets behind the end nor a compressed name, which points to elsewhere, are composed again.
        let mut again = Vec::with_capacity(self.rdata.len());
        match data.compose_rdata(&mut again) {
            Ok(()) if again == self.rdata => Ok(()),
            _ => Err(error(ParseError::form_error(
                "octets behind the end of the data, or a compressed name in it",
            ))),
        }
    }

    /// Reads one record in zone file format (RFC 1035 §5.1), such as `www 3600 IN A 192.0.2.1`. Without a TTL it gets
    /// one of an hour.
    ///
    /// # Errors
    ///
    /// When the text is not exactly one record.
    pub fn from_text(text: &str, origin: &Name) -> Result<Self, RecordError> {
        let default_ttl = Ttl::from_secs(3600);
        crate::file::read_record(text, origin, default_ttl)
            .map_err(|finding| RecordError::Text(finding.message))
    }

    /// Appends the record in wire format, uncompressed.
    pub fn compose(&self, target: &mut Vec<u8>) {
        target.extend_from_slice(self.owner.as_slice());
        target.extend_from_slice(&self.rtype.to_int().to_be_bytes());
        target.extend_from_slice(&Class::IN.to_int().to_be_bytes());
        target.extend_from_slice(&self.ttl.as_secs().to_be_bytes());
        target.extend_from_slice(&(self.rdata.len() as u16).to_be_bytes());
        target.extend_from_slice(&self.rdata);
    }

    /// The RDATA in presentation format.
    pub fn rdata_text(&self) -> String {
        rdata_text(self.rtype, &self.rdata)
    }

    /// Looks into the RDATA of an SOA record.
    ///
    /// # Errors
    ///
    /// When the RDATA is malformed.
    pub fn soa(&self) -> Result<Soa, RecordError> {
        Soa::parse(&self.rdata).map_err(|source| RecordError::Rdata {
            owner: self.owner.clone(),
            rtype: Rtype::SOA,
            source,
        })
    }
}

/// RDATA in presentation format; in that of RFC 3597 where it does not have its type's form.
pub fn rdata_text(rtype: Rtype, rdata: &[u8]) -> String {
    crate::file::rdata_text(rtype, rdata)
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = Vec::new();
        crate::file::write_record(&mut line, &self.owner, self.rtype, self.ttl, &self.rdata);
        f.write_str(String::from_utf8_lossy(&line).trim_end_matches('\n'))
    }
}

/// The data of an SOA record (RFC 1035 §3.3.13). Times are in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Soa {
    /// The primary server.
    pub mname: Name,
    /// The mailbox of who is responsible.
    pub rname: Name,
    /// The version of the zone.
    pub serial: Serial,
    /// How long a secondary waits before it asks again.
    pub refresh: u32,
    /// How long it waits when that failed.
    pub retry: u32,
    /// How long it may serve without having reached a primary.
    pub expire: u32,
    /// TTL of negative answers, with the TTL of the SOA itself (RFC 2308 §5).
    pub minimum: u32,
}

impl Soa {
    /// Reads uncompressed RDATA.
    ///
    /// # Errors
    ///
    /// When it is malformed.
    pub fn parse(rdata: &[u8]) -> Result<Self, ParseError> {
        let data = parse_soa(rdata)?;
        let SoaNumbers {
            serial,
            refresh,
            retry,
            expire,
            minimum,
        } = SoaNumbers::of(&data);
        Ok(Self {
            mname: data.mname().to_name(),
            rname: data.rname().to_name(),
            serial,
            refresh,
            retry,
            expire,
            minimum,
        })
    }

    /// The RDATA in wire format.
    pub fn to_rdata(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.mname.len() + self.rname.len() + 20);
        out.extend_from_slice(self.mname.as_slice());
        out.extend_from_slice(self.rname.as_slice());
        for value in [
            self.serial.into_int(),
            self.refresh,
            self.retry,
            self.expire,
            self.minimum,
        ] {
            out.extend_from_slice(&value.to_be_bytes());
        }
        out.into()
    }
}

/// The numbers of an SOA record, as they are in a [`Soa`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoaNumbers {
    /// The version of the zone.
    pub serial: Serial,
    /// How long a secondary waits before it asks again, in seconds as all that follow.
    pub refresh: u32,
    /// How long it waits when that failed.
    pub retry: u32,
    /// How long it may serve without having reached a primary.
    pub expire: u32,
    /// TTL of negative answers.
    pub minimum: u32,
}

impl SoaNumbers {
    /// Reads them out of uncompressed RDATA.
    ///
    /// # Errors
    ///
    /// When it is malformed.
    pub fn parse(rdata: &[u8]) -> Result<Self, ParseError> {
        parse_soa(rdata).map(|data| Self::of(&data))
    }

    fn of<N>(data: &domain::rdata::Soa<N>) -> Self {
        Self {
            serial: data.serial(),
            refresh: data.refresh().as_secs(),
            retry: data.retry().as_secs(),
            expire: data.expire().as_secs(),
            minimum: data.minimum().as_secs(),
        }
    }
}

fn parse_soa(rdata: &[u8]) -> Result<domain::rdata::Soa<ParsedName<&[u8]>>, ParseError> {
    let mut parser = Parser::from_ref(rdata);
    let data = domain::rdata::Soa::parse(&mut parser)?;
    if parser.remaining() != 0 {
        return Err(ParseError::form_error("octets behind the end of the data"));
    }
    Ok(data)
}

/// Reads an absolute name as people type it, with or without the final dot.
///
/// # Errors
///
/// When it is not a domain name: the message says why.
pub fn parse_name(text: &str) -> Result<Name, String> {
    if text.is_empty() {
        return Err("a domain name must not be empty; the root is written as a dot".into());
    }
    let name = DomainName::<Vec<u8>>::from_str(text)
        .map_err(|error| format!("`{text}` is not a domain name: {error}"))?;
    Ok(name.flatten_into())
}

/// A name as it is written where one text must stand for one name: absolute, in lower case.
pub fn canonical_text(name: &Name) -> String {
    name.fmt_with_dot().to_string().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> Record {
        Record::from_text(text, &parse_name("example.com").unwrap()).unwrap()
    }

    #[test]
    fn text_and_back() {
        for text in [
            "www.example.com. 60 IN A 192.0.2.1",
            "www.example.com. 60 IN MX 10 mail.example.com.",
            "_853._tcp.example.com. 60 IN TLSA 3 1 1 ABCD",
            "x.example.com. 60 IN TYPE65280 \\# 3 010203",
        ] {
            let first = record(text);
            let again = record(&first.to_string());
            assert_eq!(first, again, "{text} became {first}");
            first.check_rdata().unwrap();
        }
    }

    #[test]
    fn rdata_of_the_wrong_length_is_refused() {
        let bad = Record {
            rdata: Bytes::from_static(&[1, 2, 3]),
            ..record("www 60 IN A 192.0.2.1")
        };
        bad.check_rdata().unwrap_err();
        let long = Record {
            rdata: Bytes::from_static(&[1, 2, 3, 4, 5]),
            ..record("www 60 IN A 192.0.2.1")
        };
        long.check_rdata().unwrap_err();
        assert_eq!(long.rdata_text(), "\\# 5 0102030405");
    }

    #[test]
    fn rdata_with_a_compressed_name_is_refused() {
        let compressed = Record {
            rtype: Rtype::NS,
            rdata: Bytes::from_static(&[1, b'a', 0xC0, 0]),
            ..record("www 60 IN A 192.0.2.1")
        };
        compressed.check_rdata().unwrap_err();
    }

    #[test]
    fn soa_survives_byte_for_byte() {
        let soa = record("@ 60 IN SOA NS.example.com. root.example.com. 4294967295 1 2 3 4");
        assert_eq!(soa.soa().unwrap().to_rdata(), soa.rdata);
        assert_eq!(soa.soa().unwrap().serial, Serial(u32::MAX));
    }
}
