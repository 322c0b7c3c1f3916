//! Zones that were taken out of the directory one by one.
//!
//! A site that was away finds all of them missing at once, and cannot tell that from a catalog that has shrunk by mistake. So
//! the writer leaves a note of each removal that was no bulk, which is consent for it, and of each that went with a site that
//! was removed. A removal of many at once leaves none: every site asks for itself. A catalog that is older than the directory
//! is brought to what the directory says by the same notes.

use std::collections::BTreeSet;

use super::compose::{TTL, below};
use crate::{Bytes, Editor, Name, Record, Rtype, Zone, ZoneError, txt};

/// For how long a removal is remembered: longer than a copy may be served without a word from its sources.
pub const REMEMBERED_SECS: i64 = 60 * 86_400;

/// Which zones a change of the directory takes out, and which it lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unlisted {
    /// Listed before, and nowhere after it.
    pub removed: BTreeSet<Name>,
    /// Listed after it, and not before.
    pub added: BTreeSet<Name>,
}

impl Unlisted {
    /// Compares two versions, at a cost in proportion to the change. The older convention is left out.
    pub fn between(before: &Zone, after: &Zone) -> Self {
        let diff = before.diff(after);
        let apex = before.apex();
        let zones = |records: &[Record], lacks: &Zone| {
            let listed = records.iter().filter(|record| record.rtype == Rtype::PTR);
            let alone = listed.filter(|record| lacks.rrset(&record.owner, Rtype::PTR).is_none());
            alone
                .filter_map(|record| zone_below(b"_zones", &record.owner, apex))
                .collect()
        };
        Self {
            removed: zones(&diff.removed, after),
            added: zones(&diff.added, before),
        }
    }

    /// Whether there is nothing to remember, and nothing to forget.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty()
    }
}

/// Leaves notes of removals, forgets those of zones that are listed again, and what was long ago.
///
/// # Errors
///
/// When the version that comes of it is no zone.
pub fn remember_removals(zone: &Zone, change: &Unlisted, at: i64) -> Result<Zone, ZoneError> {
    let apex = zone.apex().clone();
    let mut editor = zone.edit();
    for owner in old_notes(&mut editor, &apex, at) {
        editor.remove_rrset(&owner, Rtype::TXT);
    }
    for zone in change.added.iter().chain(&change.removed) {
        if let Some(owner) = note_owner(zone, &apex) {
            editor.remove_rrset(&owner, Rtype::TXT);
        }
    }
    // The name was there below `_zones`, which is longer.
    for note in change
        .removed
        .iter()
        .filter_map(|zone| note(zone, &apex, at))
    {
        editor.add(note)?;
    }
    editor.finish()
}

/// The note that a zone was removed; none where its name leaves no room.
pub fn note(zone: &Name, apex: &Name, at: i64) -> Option<Record> {
    let text = txt::compose([format!("at={at}")]);
    Some(Record::new(note_owner(zone, apex)?, Rtype::TXT, TTL, text))
}

fn old_notes(editor: &mut Editor, apex: &Name, at: i64) -> Vec<Name> {
    let Ok(all) = below(&[b"_gone"], apex) else {
        return Vec::new();
    };
    let mut notes = editor.names_below(&all);
    notes.retain(|owner| {
        let set = editor.rrset(owner, Rtype::TXT);
        let strings = set.and_then(|set| set.first()).and_then(txt::parse_text);
        let strings = strings.unwrap_or_default();
        let then = strings.iter().find_map(|text| text.strip_prefix("at="));
        let then = then.and_then(|then| then.parse::<i64>().ok());
        then.is_some_and(|then| at.saturating_sub(then) > REMEMBERED_SECS)
    });
    notes
}

/// Where the note about a zone stands.
pub(super) fn note_owner(zone: &Name, apex: &Name) -> Option<Name> {
    let labels: Vec<&[u8]> = zone
        .iter()
        .filter(|label| !label.is_root())
        .map(|label| label.as_slice())
        .chain([&b"_gone"[..]])
        .collect();
    below(&labels, apex).ok()
}

/// Where the note stands of the zone whose primary is named at `owner`; none where no zone's is.
pub fn note_beside(owner: &Name, apex: &Name) -> Option<Name> {
    note_owner(&zone_below(b"_zones", owner, apex)?, apex)
}

/// The zone that a note is about.
pub(super) fn zone_of(owner: &Name, apex: &Name) -> Option<Name> {
    zone_below(b"_gone", owner, apex)
}

/// The zone whose name stands below a label of the apex.
fn zone_below(label: &[u8], owner: &Name, apex: &Name) -> Option<Name> {
    let node = below(&[label], apex).ok()?;
    if !owner.ends_with(&node) || *owner == node {
        return None;
    }
    let labels = owner.as_slice().len() - node.as_slice().len();
    Name::from_octets(Bytes::from([&owner.as_slice()[..labels], &[0]].concat())).ok()
}

#[cfg(test)]
mod tests {
    use super::super::{Directory, Role, Site, SiteName, new_zone, remove_owner, set_owner};
    use super::*;
    use crate::Serial;
    use crate::record::parse_name;

    fn name(text: &str) -> Name {
        parse_name(text).unwrap()
    }

    fn empty(site: &SiteName) -> Zone {
        let site = Site {
            name: site.clone(),
            addresses: vec![[192, 0, 2, 1].into()],
            dot: None,
            doq: None,
            dns: None,
            pins: Vec::new(),
            role: Role::CatalogPrimary,
            engine: String::new(),
            failure_domain: None,
        };
        new_zone(&name("dns.internal"), &site, Serial(1)).unwrap()
    }

    fn with(zone: &Zone, change: impl FnOnce(&mut Editor)) -> Zone {
        let mut editor = zone.edit();
        change(&mut editor);
        editor.finish().unwrap()
    }

    #[test]
    fn a_zone_that_goes_by_itself_is_remembered_until_it_is_listed_again_or_long_ago() {
        let site = SiteName::new("site-a").unwrap();
        let first = empty(&site);
        let listed = with(&first, |editor| {
            set_owner(editor, &name("a.example"), &site).unwrap();
            set_owner(editor, &name("b.example"), &site).unwrap();
        });
        let removed = with(&listed, |editor| {
            assert!(remove_owner(editor, &name("a.example")).unwrap());
        });
        let change = Unlisted::between(&listed, &removed);
        assert_eq!(change.removed, BTreeSet::from([name("a.example")]));
        assert!(change.added.is_empty());
        let removed = remember_removals(&removed, &change, 1_000).unwrap();
        let read = Directory::read(&removed);
        assert_eq!(
            read.gone.into_iter().collect::<Vec<_>>(),
            [(name("a.example"), 1_000)]
        );
        assert_eq!(read.findings, []);

        let back = with(&removed, |editor| {
            set_owner(editor, &name("a.example"), &site).unwrap();
        });
        assert!(
            Directory::read(&back).gone.is_empty(),
            "what is listed is there"
        );
        let change = Unlisted::between(&removed, &back);
        let back = remember_removals(&back, &change, 1_001).unwrap();
        let node = name("a.example._gone.dns.internal");
        assert!(back.rrset(&node, Rtype::TXT).is_none());

        // The next removal, when the first is long ago.
        let other = with(&removed, |editor| {
            assert!(remove_owner(editor, &name("b.example")).unwrap());
        });
        let change = Unlisted::between(&removed, &other);
        let later = 1_001 + REMEMBERED_SECS;
        let gone = Directory::read(&remember_removals(&other, &change, later).unwrap()).gone;
        assert_eq!(
            gone.into_iter().collect::<Vec<_>>(),
            [(name("b.example"), later)]
        );
    }

    #[test]
    fn another_primary_is_no_removal() {
        let (one, other) = (
            SiteName::new("site-a").unwrap(),
            SiteName::new("site-b").unwrap(),
        );
        let listed = with(&empty(&one), |editor| {
            set_owner(editor, &name("a.example"), &one).unwrap();
        });
        let moved = with(&listed, |editor| {
            set_owner(editor, &name("a.example"), &other).unwrap();
        });
        assert!(Unlisted::between(&listed, &moved).is_empty());
    }
}
