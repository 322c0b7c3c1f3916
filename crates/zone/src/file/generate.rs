//! `$GENERATE`: records that differ in a number, in BIND's syntax.
//!
//! `$GENERATE START-STOP[/STEP] OWNER [TTL] [CLASS] TYPE RDATA`, where `$` in owner and RDATA stands for the number,
//! `${OFFSET,WIDTH,BASE}` for the number plus an offset, filled up to a width, in base d, o, x, X, n or N (the last two
//! are nibbles with dots between them, the lowest first), and `$$` and `\$` for a dollar sign.

use std::fmt::Write;
use std::ops::RangeInclusive;

use super::parse::rtype_of;
use super::scan::{Cursor, Result, ScanError};
use super::token::Position;

/// No label, number or address needs more.
const MOST_WIDTH: u32 = 255;

pub(super) struct Directive {
    pub(super) place: Position,
    range: RangeInclusive<i64>,
    step: usize,
    /// The record's fields with white space between them.
    template: Vec<Piece>,
}

enum Piece {
    Text(Vec<u8>),
    Number { offset: i64, width: usize, base: u8 },
}

impl Directive {
    /// Reads what follows the word `$GENERATE`.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self> {
        let too_short = || ScanError {
            message: "expected $GENERATE START-STOP[/STEP] OWNER [TTL] [CLASS] TYPE RDATA".into(),
            at_end: true,
        };
        let token = cursor.take().map_err(|_| too_short())?;
        let place = Position {
            line: token.line,
            column: token.column,
        };
        let (range, step) = range(cursor.raw(token))?;
        let rest = cursor.rest();
        if rest.len() < 3 {
            return Err(too_short());
        }
        let mut template = Vec::new();
        for at in 0..rest.len() {
            let token = cursor.take()?;
            let raw = cursor.raw(token);
            if at > 0 && !token.joined {
                push(&mut template, b" ");
            }
            // BIND takes all RDATA in one pair of quotation marks, within which they are escaped.
            let whole = token.quoted
                && at + 1 == rest.len()
                && at > 1
                && rtype_of(cursor.raw(rest[at - 1])).is_some();
            if whole {
                pieces(&unquote(raw), &mut template)?;
            } else if token.quoted {
                push(&mut template, b"\"");
                pieces(raw, &mut template)?;
                push(&mut template, b"\"");
            } else {
                pieces(raw, &mut template)?;
            }
        }
        Ok(Self {
            place,
            range,
            step,
            template,
        })
    }

    /// How many records it makes.
    pub(super) fn count(&self) -> u64 {
        ((self.range.end() - self.range.start()) as u64) / (self.step as u64) + 1
    }

    /// The numbers.
    pub(super) fn values(&self) -> impl Iterator<Item = i64> + use<> {
        self.range.clone().step_by(self.step)
    }

    /// Appends the record for a number.
    pub(super) fn expand(&self, value: i64, out: &mut Vec<u8>) -> Result<()> {
        for piece in &self.template {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Number {
                    offset,
                    width,
                    base,
                } => {
                    let number = u64::try_from(value + offset).map_err(|_| {
                        ScanError::new(format!(
                            "the offset {offset} makes {value} negative; begin the range higher"
                        ))
                    })?;
                    out.extend_from_slice(format_number(number, *width, *base).as_bytes());
                }
            }
        }
        Ok(())
    }
}

fn range(raw: &[u8]) -> Result<(RangeInclusive<i64>, usize)> {
    let parse = || {
        let text = std::str::from_utf8(raw).ok()?;
        let (range, step) = text.split_once('/').unwrap_or((text, "1"));
        let (start, stop) = range.split_once('-')?;
        Some((number(start)?, number(stop)?, number(step)?))
    };
    match parse() {
        Some((start, stop, step @ 1..)) if start <= stop => {
            Ok((start..=stop, usize::try_from(step).unwrap_or(usize::MAX)))
        }
        _ => Err(ScanError::new(format!(
            "`{}` is not a range; expected START-STOP or START-STOP/STEP, such as 1-254, upwards and at most 2147483647",
            raw.escape_ascii()
        ))),
    }
}

/// A number without a sign, of at most 31 bits.
fn number(text: &str) -> Option<i64> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse()
        .ok()
        .filter(|value| *value <= i64::from(i32::MAX))
}

fn push(template: &mut Vec<Piece>, text: &[u8]) {
    match template.last_mut() {
        Some(Piece::Text(last)) => last.extend_from_slice(text),
        _ => template.push(Piece::Text(text.to_vec())),
    }
}

/// Takes the escapes from quotation marks.
fn unquote(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().peekable();
    while let Some(&byte) = bytes.next() {
        match (byte, bytes.peek()) {
            (b'\\', Some(b'"')) => {}
            (b'\\', Some(&&next)) => {
                out.extend([byte, next]);
                bytes.next();
            }
            _ => out.push(byte),
        }
    }
    out
}

fn pieces(raw: &[u8], template: &mut Vec<Piece>) -> Result<()> {
    let mut rest = raw;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'\\', [next, after @ ..]) => {
                push(template, &[b'\\', *next]);
                rest = after;
            }
            (b'$', [b'$', after @ ..]) => {
                push(template, b"\\$");
                rest = after;
            }
            (b'$', [b'{', after @ ..]) => {
                let close = after.iter().position(|&byte| byte == b'}');
                let (piece, len) = close
                    .and_then(|at| Some((modifier(&after[..at])?, at + 1)))
                    .ok_or_else(|| {
                        ScanError::new(format!(
                            "`{}` is malformed; expected ${{OFFSET}}, ${{OFFSET,WIDTH}} or ${{OFFSET,WIDTH,BASE}} with base d, o, x, X, n or N, and a width of at most {MOST_WIDTH}",
                            raw.escape_ascii()
                        ))
                    })?;
                template.push(piece);
                rest = &after[len..];
            }
            (b'$', _) => template.push(Piece::Number {
                offset: 0,
                width: 0,
                base: b'd',
            }),
            _ => push(template, &[byte]),
        }
    }
    Ok(())
}

fn modifier(text: &[u8]) -> Option<Piece> {
    let mut fields = std::str::from_utf8(text).ok()?.split(',');
    let offset = fields.next()?;
    let (sign, digits) = match offset.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, offset.strip_prefix('+').unwrap_or(offset)),
    };
    let offset = sign * number(digits)?;
    let width = number(fields.next().unwrap_or("0"))?;
    let base = fields.next().unwrap_or("d");
    if fields.next().is_some() || width > i64::from(MOST_WIDTH) {
        return None;
    }
    match base.as_bytes() {
        [base @ (b'd' | b'o' | b'x' | b'X' | b'n' | b'N')] => Some(Piece::Number {
            offset,
            width: usize::try_from(width).ok()?,
            base: *base,
        }),
        _ => None,
    }
}

fn format_number(number: u64, width: usize, base: u8) -> String {
    match base {
        b'o' => format!("{number:0width$o}"),
        b'x' => format!("{number:0width$x}"),
        b'X' => format!("{number:0width$X}"),
        b'n' | b'N' => nibbles(number, width, base == b'N'),
        _ => format!("{number:0width$}"),
    }
}

/// The dots count in the width, as they do in BIND: `${0,16,n}` makes eight nibbles and a dot at the end.
fn nibbles(mut number: u64, mut width: usize, upper: bool) -> String {
    let mut out = String::new();
    loop {
        let nibble = number & 15;
        number >>= 4;
        // Writing to a string cannot fail.
        let _ = match upper {
            true => write!(out, "{nibble:X}"),
            false => write!(out, "{nibble:x}"),
        };
        width = width.saturating_sub(1);
        if width > 0 || number != 0 {
            out.push('.');
            width = width.saturating_sub(1);
        }
        if width == 0 && number == 0 {
            return out;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::format_number;

    #[test]
    fn numbers_are_formatted_as_bind_does() {
        for (number, width, base, text) in [
            (7, 0, b'd', "7"),
            (7, 3, b'd', "007"),
            (64, 4, b'o', "0100"),
            (255, 4, b'x', "00ff"),
            (255, 0, b'X', "FF"),
            (0x1a, 0, b'n', "a.1"),
            (0x1a, 0, b'N', "A.1"),
            (0x1a, 5, b'n', "a.1.0"),
            (0x1a, 8, b'n', "a.1.0.0."),
            (0, 0, b'n', "0"),
        ] {
            assert_eq!(format_number(number, width, base), text);
        }
    }
}
