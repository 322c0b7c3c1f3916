//! Which writer a version of the directory or the catalog comes from.
//!
//! ```text
//! _schema.<directory>          TXT  "zonemesh=1" "epoch=3" "writer=site-c" "since=99" "by=site-b" "past=2:site-b:45"
//! zonemesh.ext.<catalog>       TXT  "epoch=3" "writer=site-c" "since=31" "by=site-b" "past=2:site-b:12"     RFC 9432 §4.4
//! ```
//!
//! The first epoch, that of the site that founded the mesh, is not written. A serial alone cannot tell apart what two
//! writers have published who did not see each other; the epoch goes before it.
//!
//! One epoch of one site may be begun twice: by its own promotion, and by the writer that has not heard of that and hands over
//! to it. From which version on, and by whom, tells the two apart (decision 0039).
//!
//! What this does not do: decide who may begin an epoch. That is an operator's command.

use std::cmp::{Ordering, Reverse};
use std::fmt;

use super::SiteName;
use crate::{Name, RrsetRef, Rtype, Serial, SerialExt, Zone, txt};

/// Which writer a version comes from. Compare with [`rank`](Self::rank); equality looks at the past too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Counts the writers since the mesh was founded, from 1.
    pub number: u32,
    /// The site that was made the writer; none in the first epoch.
    pub writer: Option<SiteName>,
    /// The serial of the last version of the epoch before that the writer had: where the histories part. Of a hand-over the serial
    /// after that, which no promotion has.
    pub since: Option<Serial>,
    /// The site that handed over; none where the writer was promoted at itself.
    pub by: Option<SiteName>,
    /// The epochs before, without the first, oldest first; no more than the last [`PAST`].
    pub past: Vec<Turn>,
}

/// When a site became the writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The epoch that began.
    pub number: u32,
    /// The site.
    pub writer: SiteName,
    /// The serial of the last version of the epoch before that it had.
    pub since: Serial,
}

/// How many epochs are remembered: more hand-overs than that are not missed by a site that comes back.
pub const PAST: usize = 16;

/// How the schema is written, before it, in the directory.
pub(super) const SCHEMA: &str = "zonemesh=1";

impl Default for Epoch {
    fn default() -> Self {
        Self {
            number: 1,
            writer: None,
            since: None,
            by: None,
            past: Vec::new(),
        }
    }
}

impl Epoch {
    /// The epoch that begins when a site is promoted that holds a version of this one.
    pub fn next(&self, writer: &SiteName, since: Serial) -> Self {
        let mut past = self.turns();
        past.drain(..past.len().saturating_sub(PAST));
        Self {
            number: self.number.saturating_add(1),
            writer: Some(writer.clone()),
            since: Some(since),
            by: None,
            past,
        }
    }

    /// The epoch that begins when its writer hands over, whose last version has this serial.
    pub fn handed_over(&self, to: &SiteName, by: &SiteName, last: Serial) -> Self {
        Self {
            by: Some(by.clone()),
            ..self.next(to, last.next())
        }
    }

    /// All hand-overs that are known, this one last.
    fn turns(&self) -> Vec<Turn> {
        let this = self.writer.clone().zip(self.since);
        let this = this.map(|(writer, since)| Turn {
            number: self.number,
            writer,
            since,
        });
        self.past.iter().cloned().chain(this).collect()
    }

    /// The serial of the last version that the history of this one, which has serial `mine`, and that of the other have
    /// in common; `None` when so many hand-overs lie between that it is no longer known.
    pub fn parting(&self, mine: Serial, other: &Self, theirs: Serial) -> Option<Serial> {
        let (own, others) = (self.turns(), other.turns());
        let known = |epoch: &Self, turns: &[Turn]| {
            // Of fewer than are remembered none was dropped, whatever number they begin with: a writer that was promoted again after
            // it had heard of another, and had taken nothing of it, has left that one's out.
            let all = epoch.since.is_some() && epoch.past.len() < PAST;
            epoch.number == 1 || all || turns.first().is_some_and(|turn| turn.number == 2)
        };
        if !known(self, &own) || !known(other, &others) {
            return None;
        }
        let shared = own.iter().zip(&others).take_while(|(a, b)| a == b).count();
        let until = |turns: &[Turn], head| turns.get(shared).map_or(head, |turn| turn.since);
        let (own, others) = (until(&own, mine), until(&others, theirs));
        Some(match own.is_after(others) {
            true => others,
            false => own,
        })
    }

    /// Which of two versions of one zone goes before by its writer: that of the later epoch. Two who were promoted apart from each
    /// other, each by an operator, have the same number; then the site whose name comes first does, because a name is all that
    /// no side can change while they do not see each other. Where one epoch of one site was begun twice, its own promotion goes
    /// before a hand-over by who had not heard of that, or else what was begun from the later version: who begins once more from an
    /// older one has forgotten the other.
    pub fn rank(&self, other: &Self) -> Ordering {
        let begun = |epoch: &Self| {
            // Serials as numbers, so that the order is one whatever they are.
            let since = epoch.since.map(Serial::into_int);
            let past = epoch.past.iter().rev();
            let past = past.map(|turn| {
                (
                    turn.number,
                    Reverse(turn.writer.clone()),
                    turn.since.into_int(),
                )
            });
            (
                epoch.by.is_none(),
                since,
                epoch.by.clone(),
                past.collect::<Vec<_>>(),
            )
        };
        let writers = self.rank_of_writer(other);
        writers.then_with(|| begun(self).cmp(&begun(other)))
    }

    /// The same by the writer alone, as the directory and the catalog are compared with each other: their serials are their own.
    fn rank_of_writer(&self, other: &Self) -> Ordering {
        let key = |epoch: &Self| (epoch.number, epoch.writer.clone().map(Reverse));
        key(self).cmp(&key(other))
    }

    /// Whether a version of this epoch is never replaced by one of the other of the same zone, whatever its serial.
    pub fn outranks(&self, other: &Self) -> bool {
        self.rank(other) == Ordering::Greater
    }

    /// Whether this is a later writer than that of a version of the other zone: of the directory than of the catalog, or of the
    /// catalog than of the directory.
    pub fn outranks_beside(&self, other: &Self) -> bool {
        self.rank_of_writer(other) == Ordering::Greater
    }

    /// Whether the two have the same number and writer, and were yet begun by two commands.
    pub fn was_begun_twice(&self, other: &Self) -> bool {
        self.rank_of_writer(other) == Ordering::Equal && self.rank(other) != Ordering::Equal
    }

    /// The epoch of a version of the directory.
    ///
    /// # Errors
    ///
    /// When it is written down in a way that cannot be read. Such a version must not take the place of another.
    pub fn of_directory(zone: &Zone) -> Result<Self, BadEpoch> {
        match super::compose::schema_owner(zone.apex()) {
            Ok(owner) => Self::at(zone, &owner),
            // The name does not fit, so that nothing can be there.
            Err(_) => Ok(Self::default()),
        }
    }

    /// The epoch of a version of the catalog.
    ///
    /// # Errors
    ///
    /// As for the directory.
    pub fn of_catalog(zone: &Zone) -> Result<Self, BadEpoch> {
        match crate::catalog::epoch_owner(zone.apex()) {
            Some(owner) => Self::at(zone, &owner),
            None => Ok(Self::default()),
        }
    }

    /// Whether an edit leaves it to promotions to say who writes the directory: the schema and the epoch stay as they are.
    ///
    /// # Errors
    ///
    /// When the edit changes them. Nobody would take such a version: without the epoch it is that of an earlier writer.
    pub fn stays_in_directory(before: &Zone, edited: &Zone) -> Result<(), Rewritten> {
        match super::compose::schema_owner(before.apex()) {
            Ok(owner) => Self::stays(before, edited, owner, Some(SCHEMA)),
            Err(_) => Ok(()),
        }
    }

    /// The same for the catalog, where there is no schema.
    ///
    /// # Errors
    ///
    /// As for the directory.
    pub fn stays_in_catalog(before: &Zone, edited: &Zone) -> Result<(), Rewritten> {
        match crate::catalog::epoch_owner(before.apex()) {
            Some(owner) => Self::stays(before, edited, owner, None),
            None => Ok(()),
        }
    }

    fn stays(
        before: &Zone,
        edited: &Zone,
        owner: Name,
        schema: Option<&str>,
    ) -> Result<(), Rewritten> {
        let was = before.rrset(&owner, Rtype::TXT);
        let is = edited.rrset(&owner, Rtype::TXT);
        let same = match (&was, &is) {
            (Some(was), Some(is)) => was.as_wire() == is.as_wire(),
            (None, None) => true,
            _ => false,
        };
        if same {
            return Ok(());
        }
        // What was not there is put there, or what could not be read is mended: nobody else could do that.
        let old = Self::at(before, &owner);
        let new = Self::at(edited, &owner);
        let says = |zone: &Zone| {
            let set = zone.rrset(&owner, Rtype::TXT);
            let strings = set.and_then(|set| txt::parse_text(set.first()?));
            schema.is_none_or(|schema| strings.is_some_and(|strings| strings.contains(&schema)))
        };
        let first = was.is_none() && new.as_ref().is_ok_and(|new| *new == Self::default());
        if (first || old.is_err() && new.is_ok()) && says(edited) {
            return Ok(());
        }
        Err(Rewritten {
            zone: before.apex().clone(),
            expected: shown(was),
            found: shown(is),
            owner,
        })
    }

    fn at(zone: &Zone, owner: &Name) -> Result<Self, BadEpoch> {
        let Some(set) = zone.rrset(owner, Rtype::TXT) else {
            return Ok(Self::default());
        };
        let bad = |found: String| BadEpoch {
            owner: owner.clone(),
            found,
        };
        let (Some(rdata), 1) = (set.first(), set.len()) else {
            return Err(bad("more than one record".into()));
        };
        let strings = txt::parse_text(rdata).ok_or_else(|| bad("what is no text".into()))?;
        Self::parse(&strings).map_err(bad)
    }

    /// Reads it out of strings, among which there may be others; what cannot be read otherwise.
    pub(super) fn parse(strings: &[&str]) -> Result<Self, String> {
        let mut epoch = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        for string in strings {
            let bad = || format!("\"{string}\"");
            let (key, value) = match string.split_once('=') {
                Some(("past", value)) => {
                    epoch.past.push(turn(value).ok_or_else(bad)?);
                    continue;
                }
                Some((key @ ("epoch" | "writer" | "since" | "by"), value)) => (key, value),
                _ => continue,
            };
            if seen.contains(&key) {
                return Err(bad());
            }
            seen.push(key);
            match key {
                "epoch" => epoch.number = number(value).filter(|n| *n > 0).ok_or_else(bad)?,
                "writer" => epoch.writer = Some(SiteName::new(value).map_err(|_| bad())?),
                "by" => epoch.by = Some(SiteName::new(value).map_err(|_| bad())?),
                _ => epoch.since = Some(Serial(number(value).ok_or_else(bad)?)),
            }
        }
        // The first one is the founder's, and all others somebody's.
        let before = epoch.past.last().map_or(1, |turn| turn.number);
        let rising = epoch
            .past
            .windows(2)
            .all(|turns| turns[0].number < turns[1].number);
        let bare = epoch.since.is_none() && epoch.by.is_none() && epoch.past.is_empty();
        match (epoch.number, &epoch.writer) {
            (1, Some(_)) => Err("a writer without an epoch".into()),
            (2.., None) => Err("an epoch without a writer".into()),
            (1, None) if bare => Ok(epoch),
            (number, Some(_)) if rising && before < number && epoch.past.len() <= PAST => Ok(epoch),
            _ => Err("a past that does not lead to it".into()),
        }
    }

    /// How it is written; nothing at all in the first epoch.
    pub fn strings(&self) -> Vec<String> {
        let Some(writer) = &self.writer else {
            return Vec::new();
        };
        let mut strings = vec![format!("epoch={}", self.number), format!("writer={writer}")];
        strings.extend(self.since.map(|since| format!("since={since}")));
        strings.extend(self.by.iter().map(|by| format!("by={by}")));
        let past = self.past.iter();
        strings.extend(past.map(
            |Turn {
                 number,
                 writer,
                 since,
             }| format!("past={number}:{writer}:{since}"),
        ));
        strings
    }
}

/// The data of a TXT RRset as it is written in a zone file.
fn shown(set: Option<RrsetRef<'_>>) -> String {
    let Some(set) = set else {
        return "no such record".to_owned();
    };
    let record = |rdata: &[u8]| {
        let strings = txt::parse(rdata).unwrap_or_default();
        let strings = strings.iter();
        let quoted: Vec<String> = strings
            .map(|string| format!("\"{}\"", string.escape_ascii()))
            .collect();
        quoted.join(" ")
    };
    let records: Vec<String> = set.iter().map(record).collect();
    records.join(" and ")
}

/// One hand-over: `<number>:<site>:<serial>`.
fn turn(text: &str) -> Option<Turn> {
    let mut parts = text.split(':');
    let turn = Turn {
        number: number(parts.next()?).filter(|number| *number > 1)?,
        writer: SiteName::new(parts.next()?).ok()?,
        since: Serial(number(parts.next()?)?),
    };
    parts.next().is_none().then_some(turn)
}

/// A number as it is written here, and in no other way: no sign, no leading zero.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|n: &u32| n.to_string() == text)
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {}", self.number)?;
        match &self.writer {
            Some(writer) => write!(f, " of {writer}"),
            None => Ok(()),
        }
    }
}

/// An epoch that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the epoch at {} cannot be read: expected one TXT record with \"epoch=<number from 2>\" \"writer=<site>\", found {found}",
    .owner.fmt_with_dot()
)]
pub struct BadEpoch {
    /// Where it stands.
    pub owner: Name,
    /// What was found there.
    pub found: String,
}

/// An edit that would say who the writer is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{zone}: {} TXT says which site writes this zone, and no other site would take a version that says something else: expected \
     {expected}, found {found}; leave the record as it is, and make another site the writer with `zonemesh site promote`",
    .owner.fmt_with_dot()
)]
pub struct Rewritten {
    /// The zone.
    pub zone: Name,
    /// Where it stands.
    pub owner: Name,
    /// What is there.
    pub expected: String,
    /// What the edit makes of it.
    pub found: String,
}
