//! Splits the octets of a zone file into entries, and entries into tokens (RFC 1035 §5.1).
//!
//! An entry is a line, or several within parentheses. What a token means is decided elsewhere; escapes are left in it.

/// A word or a quoted string.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    /// Where it begins in the text; behind the quotation mark.
    pub(super) start: usize,
    /// Where it ends; before the quotation mark.
    pub(super) end: usize,
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) quoted: bool,
    /// Whether it follows another token without white space, as a quoted value follows `key=`.
    pub(super) joined: bool,
}

/// What is known of an entry besides its tokens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Whether it begins with white space: the owner name is that of the record before.
    pub(super) indented: bool,
    /// Where it ends.
    pub(super) end: Position,
}

/// A line and a column, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: u32,
    pub(super) column: u32,
}

/// Text that cannot be split.
#[derive(Debug)]
pub(super) struct LexError {
    pub(super) at: Position,
    pub(super) message: &'static str,
}

pub(super) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    line: u32,
    line_start: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        // Some editors put a byte order mark before the text.
        let start = if text.starts_with(b"\xEF\xBB\xBF") {
            3
        } else {
            0
        };
        Self {
            text,
            at: start,
            line: 1,
            line_start: start,
        }
    }

    /// Reads the tokens of the next entry that has any. After an error the next line can be read.
    pub(super) fn next_entry(
        &mut self,
        tokens: &mut Vec<Token>,
    ) -> Option<Result<Entry, LexError>> {
        let result = self.split(tokens).transpose();
        if let Some(Err(_)) = result {
            self.skip_line();
        }
        result
    }

    fn split(&mut self, tokens: &mut Vec<Token>) -> Result<Option<Entry>, LexError> {
        tokens.clear();
        let mut open: Vec<Position> = Vec::new();
        let mut joined = false;
        let mut indented = false;
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'\n' => {
                    let end = self.position();
                    self.new_line();
                    joined = false;
                    if open.is_empty() {
                        if !tokens.is_empty() {
                            return Ok(Some(Entry { indented, end }));
                        }
                        indented = false;
                    }
                }
                b' ' | b'\t' | b'\r' => {
                    indented |= self.at == self.line_start && tokens.is_empty() && open.is_empty();
                    joined = false;
                    self.at += 1;
                }
                b';' => self.skip_comment(),
                b'(' => {
                    open.push(self.position());
                    joined = false;
                    self.at += 1;
                }
                b')' => {
                    if open.pop().is_none() {
                        return Err(self.error("`)` without a `(` before it; remove it, or write \\) where it is meant as a character"));
                    }
                    joined = false;
                    self.at += 1;
                }
                b'"' => {
                    tokens.push(self.quoted(joined)?);
                    joined = true;
                }
                _ => {
                    tokens.push(self.word(joined)?);
                    joined = true;
                }
            }
        }
        if let Some(at) = open.first() {
            return Err(LexError {
                at: *at,
                message: "this `(` is never closed; expected `)` before the end of the file",
            });
        }
        let end = self.position();
        Ok((!tokens.is_empty()).then_some(Entry { indented, end }))
    }

    fn word(&mut self, joined: bool) -> Result<Token, LexError> {
        let (start, Position { line, column }) = (self.at, self.position());
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'\\' => self.skip_escape()?,
                _ if ENDS_WORD[byte as usize] => break,
                _ => self.at += 1,
            }
        }
        Ok(Token {
            start,
            end: self.at,
            line,
            column,
            quoted: false,
            joined,
        })
    }

    fn quoted(&mut self, joined: bool) -> Result<Token, LexError> {
        let opening = self.position();
        self.at += 1;
        let start = self.at;
        loop {
            match self.text.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => self.skip_escape()?,
                None | Some(b'\n') => {
                    return Err(LexError {
                        at: opening,
                        message: "this quotation mark is never closed; expected another one on the same line (a line feed in a string is written \\010)",
                    });
                }
                Some(_) => self.at += 1,
            }
        }
        let end = self.at;
        self.at += 1;
        Ok(Token {
            start,
            end,
            line: opening.line,
            column: opening.column,
            quoted: true,
            joined,
        })
    }

    fn skip_escape(&mut self) -> Result<(), LexError> {
        match self.text.get(self.at + 1) {
            None | Some(b'\n' | b'\r') => {
                Err(self.error("`\\` at the end of a line; expected a character or three digits behind it, or parentheses to go on in the next line"))
            }
            Some(_) => {
                self.at += 2;
                Ok(())
            }
        }
    }

    fn skip_comment(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest
            .iter()
            .position(|&byte| byte == b'\n')
            .unwrap_or(rest.len());
    }

    fn skip_line(&mut self) {
        self.skip_comment();
        if self.at < self.text.len() {
            self.new_line();
        }
    }

    /// Steps over a line feed.
    fn new_line(&mut self) {
        self.at += 1;
        self.line = self.line.saturating_add(1);
        self.line_start = self.at;
    }

    fn position(&self) -> Position {
        Position {
            line: self.line,
            column: u32::try_from(self.at - self.line_start + 1).unwrap_or(u32::MAX),
        }
    }

    fn error(&self, message: &'static str) -> LexError {
        LexError {
            at: self.position(),
            message,
        }
    }
}

static ENDS_WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut at = 0;
    let ends = b" \t\r\n;()\"";
    while at < ends.len() {
        table[ends[at] as usize] = true;
        at += 1;
    }
    table
};
