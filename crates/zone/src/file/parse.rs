//! Goes through zone files entry by entry: records, and the directives `$ORIGIN`, `$TTL`, `$INCLUDE` and `$GENERATE`.

use std::io;
use std::path::Path;

use domain::base::scan::ScannerError;

use super::generate;
use super::name::NameBuffer;
use super::rdata;
use super::report::{Place, Report};
use super::scan::{Cursor, Result, ScanError};
use super::token::{Entry, Lexer, Position, Token};
use super::ttl;
use crate::finding::{Finding, Kind, Severity};
use crate::version::{NameRef, owned};
use crate::{Class, Name, Record, Rtype, Ttl};

/// What is done with each record.
pub(super) trait Sink {
    fn record(
        &mut self,
        place: Place,
        owner: &NameRef,
        rtype: Rtype,
        ttl: Ttl,
        rdata: &[u8],
        report: &mut Report,
    );
}

impl Sink for Vec<Record> {
    fn record(
        &mut self,
        _place: Place,
        owner: &NameRef,
        rtype: Rtype,
        ttl: Ttl,
        rdata: &[u8],
        _report: &mut Report,
    ) {
        self.push(Record::new(owned(owner), rtype, ttl, rdata.to_vec()));
    }
}

/// What a hostile file may make of us.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How deep files may include others.
    pub(super) depth: usize,
    /// How many files there may be in all.
    pub(super) files: usize,
    /// How many records all `$GENERATE` together may make.
    pub(super) generated: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 16,
            files: 10_000,
            // A /12 of reverse names; more than that is a typing error, or belongs into a file that a program writes.
            generated: 1 << 20,
        }
    }
}

/// Opens a file by its name.
pub(super) type Opener<'o> = &'o mut dyn FnMut(&str) -> io::Result<Vec<u8>>;

pub(super) struct Parser<'o, S> {
    opener: Opener<'o>,
    pub(super) sink: S,
    pub(super) report: Report,
    limits: Limits,
    /// The files that are being read, the innermost last.
    open: Vec<String>,
    files: usize,
    pub(super) generated: u64,
    origin: Option<Name>,
    /// That of the last record; empty before the first.
    owner: NameBuffer,
    /// Where the next one is read, which may turn out to be none.
    next_owner: NameBuffer,
    default_ttl: Option<u32>,
    last_ttl: Option<u32>,
    soa_minimum: Option<u32>,
    /// Whether a record of the owner name is being read, and of which type, as far as it is known.
    about: (bool, Option<Rtype>),
    rdata: Vec<u8>,
}

impl<'o, S: Sink> Parser<'o, S> {
    pub(super) fn new(opener: Opener<'o>, origin: Option<&Name>, sink: S, limits: Limits) -> Self {
        let mut report = Report::default();
        report.zone = origin.cloned();
        Self {
            opener,
            sink,
            report,
            limits,
            open: Vec::new(),
            files: 0,
            generated: 0,
            origin: origin.cloned(),
            owner: NameBuffer::new(),
            next_owner: NameBuffer::new(),
            default_ttl: None,
            last_ttl: None,
            soa_minimum: None,
            about: (false, None),
            rdata: Vec::new(),
        }
    }

    /// What `$TTL` would set.
    pub(super) fn set_default_ttl(&mut self, ttl: Ttl) {
        self.default_ttl = Some(ttl.as_secs());
    }

    /// Reads a file and what it includes. An error is one of opening it.
    pub(super) fn file(&mut self, path: &str) -> std::result::Result<(), String> {
        if self.open.iter().any(|open| open == path) {
            return Err(format!("{path} includes itself"));
        }
        if self.open.len() >= self.limits.depth {
            return Err(format!(
                "{path} is included {} files deep; expected less",
                self.limits.depth
            ));
        }
        self.files += 1;
        if self.files > self.limits.files {
            return Err(format!(
                "more than {} files; the zone includes too many",
                self.limits.files
            ));
        }
        let text = (self.opener)(path).map_err(|error| format!("cannot read {path}: {error}"))?;
        self.open.push(path.to_owned());
        let file = self.report.add_file(path);
        self.text(file, &text);
        self.open.pop();
        Ok(())
    }

    fn text(&mut self, file: u32, text: &[u8]) {
        let mut lexer = Lexer::new(text);
        let mut tokens = Vec::new();
        while let Some(entry) = lexer.next_entry(&mut tokens) {
            match entry {
                Ok(entry) => self.entry(file, text, &tokens, entry),
                Err(error) => self.complain(file, error.at, Kind::Syntax, error.message),
            }
            if self.report.is_full() {
                break;
            }
        }
    }

    fn complain(&mut self, file: u32, at: Position, kind: Kind, message: impl Into<String>) {
        let mut finding = Finding::new(Severity::Error, kind, message);
        let (has_owner, rtype) = std::mem::take(&mut self.about);
        let owner = self.owner.as_name().filter(|_| has_owner);
        (finding.owner, finding.rtype) = (owner.map(owned), rtype);
        self.report.add_at(place(file, at), finding);
    }

    fn entry(&mut self, file: u32, text: &[u8], tokens: &[Token], entry: Entry) {
        self.about = (false, None);
        let origin = self.origin.clone();
        let mut cursor = Cursor::new(text, tokens, entry, origin.as_ref());
        let first = match tokens.first() {
            Some(first) if !entry.indented && !first.quoted => cursor.raw(*first),
            _ => b"",
        };
        let (kind, result) = if first.first() == Some(&b'$') {
            (Kind::Directive, self.directive(file, &mut cursor))
        } else {
            (Kind::Record, self.record(file, &mut cursor, entry, None))
        };
        if let Err(error) = result {
            let at = cursor.position(&error);
            self.complain(file, at, kind, error.message);
        }
    }

    fn directive(&mut self, file: u32, cursor: &mut Cursor<'_>) -> Result<()> {
        let name = cursor.take_raw()?.to_ascii_uppercase();
        match name.as_slice() {
            b"$ORIGIN" => {
                let origin = rdata::single_name(cursor).map_err(expected("$ORIGIN NAME"))?;
                end(cursor)?;
                self.origin = Some(origin);
            }
            b"$TTL" => {
                let raw = cursor.take_raw().map_err(expected("$TTL TIME"))?;
                let value = ttl::parse(raw).map_err(ScanError::new)?;
                end(cursor)?;
                self.default_ttl = Some(value);
            }
            b"$INCLUDE" => self.include(cursor)?,
            b"$GENERATE" => self.generate(file, cursor)?,
            _ => {
                return Err(ScanError::new(format!(
                    "`{}` is not a directive; expected $ORIGIN, $TTL, $INCLUDE or $GENERATE, or \\$ where a name begins with a dollar sign",
                    name.escape_ascii()
                )));
            }
        }
        Ok(())
    }

    /// RFC 1035 §5.1: the origin and the owner name of the including file are what they were, afterwards.
    fn include(&mut self, cursor: &mut Cursor<'_>) -> Result<()> {
        let form = || expected("$INCLUDE FILE [ORIGIN]");
        let mut path = Vec::new();
        cursor.octets_into(&mut path).map_err(form())?;
        let path = String::from_utf8(path)
            .map_err(|_| ScanError::custom("a file name that is not UTF-8"))?;
        if path.is_empty() {
            return Err(ScanError::custom(
                "an empty file name; expected $INCLUDE FILE [ORIGIN]",
            ));
        }
        let origin = match cursor.is_done() {
            true => self.origin.clone(),
            false => Some(rdata::single_name(cursor).map_err(form())?),
        };
        end(cursor)?;
        let path = self.resolve(&path);
        let before = (
            std::mem::replace(&mut self.origin, origin),
            self.owner.clone(),
        );
        let result = self.file(&path);
        (self.origin, self.owner) = before;
        self.about = (false, None);
        result.map_err(ScanError::new)
    }

    /// A relative name is relative to the folder of the file that has it.
    fn resolve(&self, path: &str) -> String {
        let folder = self.open.last().and_then(|file| Path::new(file).parent());
        match folder {
            Some(folder) => folder.join(path).to_string_lossy().into_owned(),
            None => path.to_owned(),
        }
    }

    fn generate(&mut self, file: u32, cursor: &mut Cursor<'_>) -> Result<()> {
        let directive = generate::Directive::read(cursor)?;
        cursor.point_at(1);
        self.generated = self.generated.saturating_add(directive.count());
        if self.generated > self.limits.generated {
            return Err(ScanError::new(format!(
                "more than {} records by $GENERATE; make the range smaller",
                self.limits.generated
            )));
        }
        let origin = self.origin.clone();
        let (mut text, mut tokens) = (Vec::new(), Vec::new());
        for value in directive.values() {
            text.clear();
            directive.expand(value, &mut text)?;
            let within = |message: &str| {
                ScanError::new(format!(
                    "for {value} this makes `{}`: {message}",
                    text.escape_ascii()
                ))
            };
            let mut lexer = Lexer::new(&text);
            let entry = match lexer.next_entry(&mut tokens) {
                Some(Ok(entry)) => entry,
                Some(Err(error)) => return Err(within(error.message)),
                None => return Err(within("nothing")),
            };
            let mut made = Cursor::new(&text, &tokens, entry, origin.as_ref());
            self.record(file, &mut made, entry, Some(directive.place))
                .map_err(|error| within(&error.message))?;
        }
        Ok(())
    }

    /// Reads a record: `[OWNER] [TTL] [CLASS] TYPE RDATA`, TTL and class in either order.
    fn record(
        &mut self,
        file: u32,
        cursor: &mut Cursor<'_>,
        entry: Entry,
        made_at: Option<Position>,
    ) -> Result<()> {
        let start = made_at.or_else(|| {
            cursor.peek().map(|token| Position {
                line: token.line,
                column: token.column,
            })
        });
        self.read_owner(cursor, entry)?;
        self.about.0 = true;
        let (ttl, rtype) = head(cursor)?;
        self.about.1 = Some(rtype);
        let mut data = std::mem::take(&mut self.rdata);
        data.clear();
        let result = rdata::scan(rtype, cursor, &mut data)
            .map_err(|error| in_rdata(rtype, error))
            .and_then(|()| self.ttl(ttl, rtype, &data))
            .map(|(ttl, doubt)| {
                let at = place(file, start.unwrap_or(entry.end));
                let Some(owner) = self.owner.as_name() else {
                    return;
                };
                if let Some(doubt) = doubt {
                    let finding = Finding::new(Severity::Warning, Kind::Ttl, doubt);
                    self.report.add_at(at, finding.about(&owned(owner), rtype));
                }
                if cursor.non_ascii {
                    let finding = Finding::new(
                        Severity::Warning,
                        Kind::NonAscii,
                        "a name with characters outside of ASCII; write an internationalised name in its xn-- form, and other octets as \\DDD",
                    );
                    self.report.add_at(at, finding.about(&owned(owner), rtype));
                }
                self.sink
                    .record(at, owner, rtype, ttl, &data, &mut self.report);
            });
        self.rdata = data;
        result
    }

    /// Reads the owner name, which is that of the record before where the line begins with white space.
    fn read_owner(&mut self, cursor: &mut Cursor<'_>, entry: Entry) -> Result<()> {
        if entry.indented {
            return match self.owner.as_name() {
                Some(_) => Ok(()),
                None => Err(ScanError::custom(
                    "a line that begins with white space belongs to the name of the record before it, and there is none; begin it with a name",
                )),
            };
        }
        cursor.name_into(&mut self.next_owner)?;
        std::mem::swap(&mut self.owner, &mut self.next_owner);
        Ok(())
    }

    /// The TTL of a record, and what is doubtful about it. Given; else by `$TTL` (RFC 2308 §4); else that of the record
    /// before (RFC 1035 §5.1); else the minimum of the SOA, as BIND does.
    fn ttl(
        &mut self,
        given: Option<u32>,
        rtype: Rtype,
        rdata: &[u8],
    ) -> Result<(Ttl, Option<String>)> {
        if rtype == Rtype::SOA
            && let Some(minimum) = rdata.last_chunk::<4>()
        {
            self.soa_minimum.get_or_insert(u32::from_be_bytes(*minimum));
        }
        let mut doubt = None;
        let ttl = match (given, self.default_ttl, self.last_ttl, self.soa_minimum) {
            (Some(ttl), ..) => {
                self.last_ttl = Some(ttl);
                ttl
            }
            (None, Some(ttl), ..) | (None, None, Some(ttl), _) => ttl,
            (None, None, None, Some(ttl)) => {
                self.last_ttl = Some(ttl);
                doubt = Some(format!(
                    "no TTL and no $TTL before; the minimum of the SOA is used, {ttl}"
                ));
                ttl
            }
            (None, None, None, None) => {
                return Err(ScanError::custom(
                    "no TTL, and none before it; put a line such as `$TTL 3600` at the top of the file",
                ));
            }
        };
        if ttl > 0x7FFF_FFFF {
            doubt = Some(format!(
                "TTL {ttl} is taken for 0 by others; expected at most 2147483647 (RFC 2181 §8)"
            ));
        }
        Ok((Ttl::from_secs(ttl), doubt))
    }
}

fn place(file: u32, at: Position) -> Place {
    Place {
        file,
        line: at.line,
        column: at.column,
    }
}

/// Reads TTL, class and type.
fn head(cursor: &mut Cursor<'_>) -> Result<(Option<u32>, Rtype)> {
    let (mut ttl, mut class) = (None, None);
    loop {
        let token = cursor.take().map_err(|error| ScanError {
            message: "the record ends before its type; expected [TTL] [CLASS] TYPE RDATA".into(),
            ..error
        })?;
        let raw = cursor.raw(token);
        if raw.first().is_some_and(u8::is_ascii_digit) && ttl.is_none() {
            ttl = Some(ttl::parse(raw).map_err(ScanError::new)?);
            continue;
        }
        if class.is_none()
            && let Some(found) = class_of(raw)
        {
            if found != Class::IN {
                return Err(ScanError::new(format!("class {found}; only IN is served")));
            }
            class = Some(found);
            continue;
        }
        let rtype = rtype_of(raw).ok_or_else(|| no_type(raw))?;
        // RFC 6895 §3.1: reserved ones, OPT, and those that stand in questions and messages alone.
        if matches!(rtype.to_int(), 0 | 41 | 128..=255 | 65535) {
            return Err(ScanError::new(format!("type {rtype} cannot be in a zone")));
        }
        return Ok((ttl, rtype));
    }
}

pub(super) fn rtype_of(text: &[u8]) -> Option<Rtype> {
    Some(match text {
        b"A" => Rtype::A,
        b"AAAA" => Rtype::AAAA,
        b"NS" => Rtype::NS,
        b"CNAME" => Rtype::CNAME,
        b"MX" => Rtype::MX,
        b"PTR" => Rtype::PTR,
        b"TXT" => Rtype::TXT,
        b"DS" => Rtype::DS,
        b"NSEC" => Rtype::NSEC,
        b"RRSIG" => Rtype::RRSIG,
        _ => return std::str::from_utf8(text).ok()?.parse().ok(),
    })
}

fn class_of(text: &[u8]) -> Option<Class> {
    match text {
        [b'I' | b'i', b'N' | b'n'] => Some(Class::IN),
        [b'C' | b'c' | b'H' | b'h', ..] => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

fn no_type(raw: &[u8]) -> ScanError {
    ScanError::new(format!(
        "`{}` is not a record type; expected [TTL] [CLASS] TYPE RDATA, with a type such as A, MX or TYPE65280",
        raw.escape_ascii()
    ))
}

/// Says which data was expected.
fn in_rdata(rtype: Rtype, error: ScanError) -> ScanError {
    let message = match rdata::form(rtype) {
        Some(form) => format!("{}; expected {rtype} {form}", error.message),
        None => error.message.into_owned(),
    };
    ScanError {
        message: message.into(),
        ..error
    }
}

/// Says which directive was expected.
fn expected(form: &'static str) -> impl Fn(ScanError) -> ScanError {
    move |error| ScanError {
        message: format!("{}; expected {form}", error.message).into(),
        ..error
    }
}

fn end(cursor: &mut Cursor<'_>) -> Result<()> {
    if cursor.is_done() {
        return Ok(());
    }
    cursor.take()?;
    Err(ScanError::trailing_tokens())
}
