//! Reads TOML tables key by key, remembers where each value stood, and collects every fault.
//!
//! A key that was never asked for is unknown, so the list of known keys cannot drift from the code that reads them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::ConfigError;

/// A value and where it stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

impl<T> At<T> {
    pub(super) fn map<U>(self, map: impl FnOnce(T) -> U) -> At<U> {
        At {
            value: map(self.value),
            span: self.span,
        }
    }
}

/// The text being read and the faults found in it.
#[derive(Debug)]
pub(super) struct Context<'a> {
    file: String,
    text: &'a str,
    faults: RefCell<Vec<ConfigError>>,
}

impl<'a> Context<'a> {
    pub(super) fn new(file: String, text: &'a str) -> Self {
        Self {
            file,
            text,
            faults: RefCell::new(Vec::new()),
        }
    }

    /// Notes a fault at a place in the file.
    pub(super) fn fault(&self, span: &Range<usize>, message: impl Into<String>) {
        self.fault_with_hint(span, message, None);
    }

    /// Notes a fault, with what to do about it.
    pub(super) fn fault_with_hint(
        &self,
        span: &Range<usize>,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        let (line, column) = place(self.text, span.start);
        self.faults.borrow_mut().push(ConfigError {
            file: self.file.clone(),
            line: Some(line),
            column: Some(column),
            message: message.into(),
            hint,
        });
    }

    /// The faults, in the order of the file.
    pub(super) fn into_faults(self) -> Vec<ConfigError> {
        let mut faults = self.faults.into_inner();
        faults.sort_by_key(|fault| (fault.line, fault.column));
        faults.dedup();
        faults
    }
}

/// Line and column, both from 1, columns in characters.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (line, before[start..].chars().count() + 1)
}

/// One table of the file.
#[derive(Debug)]
pub(super) struct Table<'c, 'a> {
    context: &'c Context<'a>,
    table: &'c DeTable<'a>,
    /// Where the table begins.
    pub(super) span: Range<usize>,
    /// As messages call it, such as `[site]`.
    path: String,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'c, 'a> Table<'c, 'a> {
    pub(super) fn new(
        context: &'c Context<'a>,
        table: &'c DeTable<'a>,
        span: Range<usize>,
        path: impl Into<String>,
    ) -> Self {
        Self {
            context,
            table,
            span,
            path: path.into(),
            asked: RefCell::default(),
        }
    }

    fn find(&self, key: &'static str) -> Option<(&'c DeValue<'a>, Range<usize>)> {
        self.asked.borrow_mut().insert(key);
        self.table
            .iter()
            .find(|(name, _)| name.get_ref() == key)
            .map(|(_, value)| (value.get_ref(), value.span()))
    }

    fn expected(&self, key: &str, span: &Range<usize>, expected: &str, found: &DeValue<'_>) {
        let message = format!(
            "`{key}` in {} must be {expected}, found {}",
            self.path,
            kind(found)
        );
        self.context.fault(span, message);
    }

    /// Whether the key is there, whatever its value.
    pub(super) fn span_of(&self, key: &'static str) -> Option<Range<usize>> {
        self.find(key).map(|(_, span)| span)
    }

    pub(super) fn string(&self, key: &'static str) -> Option<At<String>> {
        let (value, span) = self.find(key)?;
        match value {
            DeValue::String(text) => Some(At {
                value: text.to_string(),
                span,
            }),
            other => {
                self.expected(key, &span, "a string", other);
                None
            }
        }
    }

    /// A string that must be there.
    pub(super) fn required(&self, key: &'static str, example: &str) -> Option<At<String>> {
        if self.find(key).is_none() {
            self.context.fault_with_hint(
                &self.span,
                format!("{} lacks `{key}`", self.path),
                Some(format!("add `{key} = {example}`")),
            );
        }
        self.string(key)
    }

    pub(super) fn boolean(&self, key: &'static str) -> Option<At<bool>> {
        let (value, span) = self.find(key)?;
        match value {
            DeValue::Boolean(value) => Some(At {
                value: *value,
                span,
            }),
            other => {
                self.expected(key, &span, "true or false", other);
                None
            }
        }
    }

    pub(super) fn integer(
        &self,
        key: &'static str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Option<i64> {
        let (value, span) = self.find(key)?;
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let DeValue::Integer(number) = value else {
            self.expected(key, &span, &expected, value);
            return None;
        };
        match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                let message = format!(
                    "`{key}` in {} must be {expected}, found {number}",
                    self.path
                );
                self.context.fault(&span, message);
                None
            }
        }
    }

    /// A list of strings; a single string is a list of one.
    pub(super) fn strings(&self, key: &'static str) -> Option<Vec<At<String>>> {
        let (value, span) = self.find(key)?;
        match value {
            DeValue::String(text) => Some(vec![At {
                value: text.to_string(),
                span,
            }]),
            DeValue::Array(items) => {
                let mut strings = Vec::new();
                for item in items.iter() {
                    match item.get_ref() {
                        DeValue::String(text) => {
                            strings.push(At {
                                value: text.to_string(),
                                span: item.span(),
                            });
                        }
                        other => self.expected(key, &item.span(), "a list of strings", other),
                    }
                }
                Some(strings)
            }
            other => {
                self.expected(key, &span, "a list of strings", other);
                None
            }
        }
    }

    /// A list whose items are strings or tables.
    pub(super) fn strings_or_tables(&self, key: &'static str) -> Option<Vec<Item<'c, 'a>>> {
        let (value, span) = self.find(key)?;
        let expected = "a list of names, networks or tables";
        let item = |value: &'c DeValue<'a>, span: Range<usize>| match value {
            DeValue::String(text) => Some(Item::Text(At {
                value: text.to_string(),
                span,
            })),
            DeValue::Table(table) => Some(Item::Table(Table::new(
                self.context,
                table,
                span,
                format!("`{key}`"),
            ))),
            other => {
                self.expected(key, &span, expected, other);
                None
            }
        };
        match value {
            DeValue::Array(items) => Some(
                items
                    .iter()
                    .filter_map(|value| item(value.get_ref(), value.span()))
                    .collect(),
            ),
            other => Some(item(other, span).into_iter().collect()),
        }
    }

    /// `true`, `false` or a string.
    pub(super) fn boolean_or_string(&self, key: &'static str) -> Option<At<BoolOrText>> {
        let (value, span) = self.find(key)?;
        let value = match value {
            DeValue::Boolean(value) => BoolOrText::Bool(*value),
            DeValue::String(text) => BoolOrText::Text(text.to_string()),
            other => {
                self.expected(key, &span, "true, false or a string", other);
                return None;
            }
        };
        Some(At { value, span })
    }

    /// A table below this one.
    pub(super) fn table(&self, key: &'static str) -> Option<Table<'c, 'a>> {
        let (value, span) = self.find(key)?;
        match value {
            DeValue::Table(table) => {
                Some(Table::new(self.context, table, span, format!("[{key}]")))
            }
            other => {
                self.context.fault_with_hint(
                    &span,
                    format!("`{key}` must be a table, found {}", kind(other)),
                    Some(format!("write `[{key}]` and its keys below it")),
                );
                None
            }
        }
    }

    /// An array of tables, `[[key]]`.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Table<'c, 'a>> {
        let Some((value, span)) = self.find(key) else {
            return Vec::new();
        };
        let wrong = |span: &Range<usize>, found: &DeValue<'_>| {
            self.context.fault_with_hint(
                span,
                format!("`{key}` must be a list of tables, found {}", kind(found)),
                Some(format!(
                    "write `[[{key}]]` and its keys below it, once for each"
                )),
            );
        };
        match value {
            DeValue::Array(items) => items
                .iter()
                .filter_map(|item| match item.get_ref() {
                    DeValue::Table(table) => Some(Table::new(
                        self.context,
                        table,
                        item.span(),
                        format!("[[{key}]]"),
                    )),
                    other => {
                        wrong(&item.span(), other);
                        None
                    }
                })
                .collect(),
            other => {
                wrong(&span, other);
                Vec::new()
            }
        }
    }

    /// Notes a fault for each key that nobody asked for.
    pub(super) fn finish(self) {
        let asked = self.asked.borrow();
        for (key, _) in self.table.iter() {
            let name: &str = key.get_ref();
            if asked.contains(name) {
                continue;
            }
            let hint = match later(name) {
                Some(hint) => hint.to_owned(),
                None => match nearest(name, asked.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!(
                        "known here: {}",
                        asked.iter().copied().collect::<Vec<_>>().join(", ")
                    ),
                },
            };
            self.context.fault_with_hint(
                &key.span(),
                format!("unknown key `{name}` in {}", self.path),
                Some(hint),
            );
        }
    }
}

/// An item of a list that takes strings and tables.
#[derive(Debug)]
pub(super) enum Item<'c, 'a> {
    Text(At<String>),
    Table(Table<'c, 'a>),
}

/// A value that is a boolean or a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BoolOrText {
    Bool(bool),
    Text(String),
}

/// Keys of documents and examples that this version does not have.
fn later(key: &str) -> Option<&'static str> {
    match key {
        "dnssec" => Some("signing is not built yet; remove the key"),
        _ => None,
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The known word most like `word`, when it is like enough to be meant.
pub(super) fn nearest<'n>(word: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let limit = (word.chars().count() / 3).clamp(1, 3);
    known
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many characters to insert, delete, replace or swap with a neighbour. `_` and `-` are alike.
fn distance(a: &str, b: &str) -> usize {
    let fold = |text: &str| -> Vec<char> {
        text.chars()
            .map(|c| {
                if c == '_' {
                    '-'
                } else {
                    c.to_ascii_lowercase()
                }
            })
            .collect()
    };
    let (a, b) = (fold(a), fold(b));
    // Row `i` holds the distances of the first `i` characters of `a` to every beginning of `b`.
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let mut least = (above[j] + usize::from(a[i] != b[j]))
                .min(above[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}
