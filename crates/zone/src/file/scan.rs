//! Reads names, numbers and strings out of the tokens of an entry, for ourselves and for `domain`'s record types.

use std::borrow::Cow;
use std::fmt;

use bytes::{Bytes, BytesMut};
use domain::base::charstr::CharStr;
use domain::base::scan::{ConvertSymbols, EntrySymbol, Scanner, ScannerError, Symbol};
use domain::dep::octseq::str::Str;

use super::name::NameBuffer;
use super::token::{Entry, Position, Token};
use crate::Name;

/// Walks over the tokens of one entry.
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    tokens: &'a [Token],
    /// The next token to read.
    next: usize,
    /// The token that was read last: where an error is.
    current: usize,
    end: Position,
    origin: Option<&'a Name>,
    /// Whether a name had an octet that is not ASCII and not escaped.
    pub(super) non_ascii: bool,
}

/// Why a token is not what it should be.
#[derive(Debug)]
pub(super) struct ScanError {
    pub(super) message: Cow<'static, str>,
    /// Whether the entry ended too early; the error is then at its end and not at a token.
    pub(super) at_end: bool,
}

pub(super) type Result<T> = std::result::Result<T, ScanError>;

impl<'a> Cursor<'a> {
    pub(super) fn new(
        text: &'a [u8],
        tokens: &'a [Token],
        entry: Entry,
        origin: Option<&'a Name>,
    ) -> Self {
        Self {
            text,
            tokens,
            next: 0,
            current: 0,
            end: entry.end,
            origin,
            non_ascii: false,
        }
    }

    /// The next token, which stays the next one.
    pub(super) fn peek(&self) -> Option<Token> {
        self.tokens.get(self.next).copied()
    }

    /// The octets of a token, escapes and all.
    pub(super) fn raw(&self, token: Token) -> &'a [u8] {
        &self.text[token.start..token.end]
    }

    /// Steps to the next token.
    pub(super) fn take(&mut self) -> Result<Token> {
        let token = self.peek().ok_or_else(ScanError::end_of_entry)?;
        self.current = self.next;
        self.next += 1;
        Ok(token)
    }

    /// The octets of the next token, escapes and all.
    pub(super) fn take_raw(&mut self) -> Result<&'a [u8]> {
        let token = self.take()?;
        Ok(self.raw(token))
    }

    pub(super) fn is_done(&self) -> bool {
        self.next >= self.tokens.len()
    }

    /// The tokens that were not read yet.
    pub(super) fn rest(&self) -> &'a [Token] {
        &self.tokens[self.next.min(self.tokens.len())..]
    }

    /// Says that errors from now on are about a token read before.
    pub(super) fn point_at(&mut self, token: usize) {
        self.current = token;
    }

    /// Where an error is.
    pub(super) fn position(&self, error: &ScanError) -> Position {
        match self.tokens.get(self.current) {
            Some(token) if !error.at_end => Position {
                line: token.line,
                column: token.column,
            },
            _ => self.end,
        }
    }

    /// Reads a name into a buffer: no allocation.
    pub(super) fn name_into(&mut self, buffer: &mut NameBuffer) -> Result<()> {
        let token = self.take()?;
        let raw = self.raw(token);
        self.non_ascii |= !raw.is_ascii();
        buffer.parse(raw, token.quoted, self.origin)
    }

    /// Appends the octets of the next token, escapes undone.
    pub(super) fn octets_into(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let raw = self.take_raw()?;
        unescape(raw, out)
    }

    /// Appends the next token as a character string.
    pub(super) fn string_into(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        out.push(0);
        self.octets_into(out)?;
        let len = out.len() - start - 1;
        out[start] = u8::try_from(len).map_err(|_| {
            ScanError::new(format!(
                "a string of {len} octets; expected at most 255, split it into several strings"
            ))
        })?;
        Ok(())
    }

    /// Reads a decimal number.
    pub(super) fn number<T: std::str::FromStr>(&mut self, what: &str) -> Result<T> {
        let raw = self.take_raw()?;
        std::str::from_utf8(raw)
            .ok()
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| ScanError::new(format!("`{}` is not {what}", raw.escape_ascii())))
    }
}

/// Appends the octets of a token, escapes undone.
pub(super) fn unescape(raw: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        if byte == b'\\' {
            out.push(escape(raw, &mut at)?);
        } else {
            out.push(byte);
            at += 1;
        }
    }
    Ok(())
}

/// Reads an escape that begins at `at`: a backslash and three digits, or one and any other octet.
pub(super) fn escape(raw: &[u8], at: &mut usize) -> Result<u8> {
    match raw.get(*at + 1) {
        Some(digit) if digit.is_ascii_digit() => {
            let value = raw
                .get(*at + 1..*at + 4)
                .filter(|digits| digits.iter().all(u8::is_ascii_digit))
                .map(|digits| {
                    digits
                        .iter()
                        .fold(0u32, |value, digit| value * 10 + u32::from(digit - b'0'))
                })
                .and_then(|value| u8::try_from(value).ok())
                .ok_or_else(|| ScanError::custom("malformed escape; expected `\\` and three digits from 000 to 255, or `\\` and a character that is not a digit"))?;
            *at += 4;
            Ok(value)
        }
        Some(&other) => {
            *at += 2;
            Ok(other)
        }
        None => Err(ScanError::custom(
            "`\\` with nothing behind it; expected a character or three digits",
        )),
    }
}

impl ScanError {
    pub(super) fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            message: message.into(),
            at_end: false,
        }
    }
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ScanError {}

impl ScannerError for ScanError {
    fn custom(message: &'static str) -> Self {
        Self::new(message)
    }

    fn end_of_entry() -> Self {
        Self {
            message: "the record ends too early".into(),
            at_end: true,
        }
    }

    fn short_buf() -> Self {
        Self::new("the data is too long")
    }

    fn trailing_tokens() -> Self {
        Self::new("more than expected; the record should end before this")
    }
}

/// The symbols of a token. An octet that is not printable ASCII comes as if it had been escaped.
struct Symbols<'a> {
    raw: &'a [u8],
    at: usize,
}

impl Iterator for Symbols<'_> {
    type Item = Result<Symbol>;

    fn next(&mut self) -> Option<Self::Item> {
        let &byte = self.raw.get(self.at)?;
        if byte == b'\\' {
            let simple = self
                .raw
                .get(self.at + 1)
                .is_some_and(|next| !next.is_ascii_digit());
            let octet = escape(self.raw, &mut self.at);
            if octet.is_err() {
                self.at = self.raw.len();
            }
            return Some(octet.map(|octet| match simple {
                true => Symbol::SimpleEscape(octet),
                false => Symbol::DecimalEscape(octet),
            }));
        }
        self.at += 1;
        Some(Ok(match byte {
            b' '..=b'~' => Symbol::Char(byte.into()),
            _ => Symbol::DecimalEscape(byte),
        }))
    }
}

impl Cursor<'_> {
    fn symbols(&mut self) -> Result<Symbols<'_>> {
        Ok(Symbols {
            raw: self.take_raw()?,
            at: 0,
        })
    }
}

impl Scanner for Cursor<'_> {
    type Octets = Bytes;
    type OctetsBuilder = BytesMut;
    type Name = Name;
    type Error = ScanError;

    fn has_space(&self) -> bool {
        self.peek().is_some_and(|token| !token.joined)
    }

    fn continues(&mut self) -> bool {
        !self.is_done()
    }

    fn scan_symbols<F>(&mut self, mut op: F) -> Result<()>
    where
        F: FnMut(Symbol) -> Result<()>,
    {
        self.symbols()?.try_for_each(|symbol| op(symbol?))
    }

    fn scan_entry_symbols<F>(&mut self, mut op: F) -> Result<()>
    where
        F: FnMut(EntrySymbol) -> Result<()>,
    {
        loop {
            self.scan_symbols(|symbol| op(symbol.into()))?;
            op(EntrySymbol::EndOfToken)?;
            if self.is_done() {
                return Ok(());
            }
        }
    }

    fn convert_token<C: ConvertSymbols<Symbol, ScanError>>(
        &mut self,
        mut convert: C,
    ) -> Result<Bytes> {
        let mut out = Vec::new();
        for symbol in self.symbols()? {
            if let Some(data) = convert.process_symbol(symbol?)? {
                out.extend_from_slice(data);
            }
        }
        if let Some(data) = convert.process_tail()? {
            out.extend_from_slice(data);
        }
        Ok(out.into())
    }

    fn convert_entry<C: ConvertSymbols<EntrySymbol, ScanError>>(
        &mut self,
        mut convert: C,
    ) -> Result<Bytes> {
        let mut out = Vec::new();
        while !self.is_done() {
            for symbol in self.symbols()? {
                if let Some(data) = convert.process_symbol(symbol?.into())? {
                    out.extend_from_slice(data);
                }
            }
        }
        if let Some(data) = convert.process_tail()? {
            out.extend_from_slice(data);
        }
        Ok(out.into())
    }

    fn scan_octets(&mut self) -> Result<Bytes> {
        let mut out = Vec::new();
        self.octets_into(&mut out)?;
        Ok(out.into())
    }

    fn scan_ascii_str<F, T>(&mut self, op: F) -> Result<T>
    where
        F: FnOnce(&str) -> Result<T>,
    {
        let raw = self.take_raw()?;
        let mut unescaped = Vec::new();
        let octets = if raw.contains(&b'\\') {
            unescape(raw, &mut unescaped)?;
            &unescaped
        } else {
            raw
        };
        match std::str::from_utf8(octets) {
            Ok(text) if text.is_ascii() => op(text),
            _ => Err(ScanError::custom("expected ASCII characters only")),
        }
    }

    fn scan_name(&mut self) -> Result<Name> {
        let mut buffer = NameBuffer::new();
        self.name_into(&mut buffer)?;
        buffer.to_name()
    }

    fn scan_charstr(&mut self) -> Result<CharStr<Bytes>> {
        let octets = self.scan_octets()?;
        let len = octets.len();
        CharStr::from_octets(octets)
            .map_err(|_| ScanError::new(format!("a string of {len} octets; expected at most 255")))
    }

    fn scan_string(&mut self) -> Result<Str<Bytes>> {
        Str::from_utf8(self.scan_octets()?)
            .map_err(|_| ScanError::custom("a string that is not UTF-8"))
    }

    fn scan_charstr_entry(&mut self) -> Result<Bytes> {
        let mut out = Vec::new();
        loop {
            self.string_into(&mut out)?;
            if self.is_done() {
                return Ok(out.into());
            }
        }
    }

    fn scan_opt_unknown_marker(&mut self) -> Result<bool> {
        let marked = self
            .peek()
            .is_some_and(|token| !token.quoted && self.raw(token) == b"\\#");
        if marked {
            self.take()?;
        }
        Ok(marked)
    }

    fn octets_builder(&mut self) -> Result<BytesMut> {
        Ok(BytesMut::new())
    }
}
