//! What a site wrote and had to yield: kept, shown, and made again when an operator wants it.
//!
//! A site that was the writer of a zone, and learns that another one is, takes the other's version. What it wrote that
//! the other's history does not have is set aside in the same commit, RRset by RRset: how each was in the last version
//! that both have, and how this site left it. It is never dropped and never made again without a command.
//!
//! Where the last common version is not known any longer, only what differs is; then nothing is said about how an RRset
//! was before, and what this site lacks may be what it removed or what the other one added.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use zonemesh_update::Update;
use zonemesh_zone::directory::{
    Directory, Removed, Role, SiteName, removal_note_beside, tombstone, zone_node,
};
use zonemesh_zone::{Name, Record, Rrset, RrsetRef, Rtype, Zone, txt};

/// The table of the store in which it is kept, by [`Yielded::id`].
pub const YIELDED: &str = "yielded";

/// What was set aside of one zone at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Yielded {
    /// The version of this form: 1.
    pub version: u32,
    /// The zone.
    #[serde(with = "crate::text")]
    pub zone: Name,
    /// Unix time at which it was set aside.
    pub at: i64,
    /// To whom it yielded.
    pub why: String,
    /// The serial of the last version that both have; none where that is not known.
    pub common: Option<u32>,
    /// The serial of the last version that was written here.
    pub mine: u32,
    /// The serial of the version that took its place.
    pub theirs: u32,
    /// What was written, in canonical order of the owner names.
    pub changes: Vec<Yield>,
    /// Of a directory, the tombstones that this site had of sites that the changes are about, in the form of zone files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tombstones: Vec<String>,
}

/// One RRset that was written, in the form of zone files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Yield {
    /// Its owner name.
    #[serde(with = "crate::text")]
    pub owner: Name,
    /// Its type.
    pub rtype: String,
    /// How it was in the last common version; empty where it was not there, and where that version is not known.
    pub before: Vec<String>,
    /// How this site left it; empty where it is not there.
    pub after: Vec<String>,
}

/// Which zone something was set aside of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The directory.
    Directory,
    /// The catalog.
    Catalog,
    /// Any other.
    Other,
}

/// What becomes of a change when it is made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The zone says so already.
    There,
    /// The RRset is as it was before: the change can be made.
    Fits,
    /// The RRset is otherwise by now.
    Conflicts,
}

/// # Setting aside
impl Yielded {
    /// What `mine` has that the history of `theirs` does not. Who writes directory and catalog is not among the changes: that
    /// is decided by promotion alone.
    pub fn between(base: Option<&Zone>, mine: &Zone, theirs: &Zone, kind: Kind) -> Self {
        let start = base.unwrap_or(theirs);
        let diff = start.diff(mine);
        let mut touched: Vec<(Name, Rtype)> = diff
            .removed
            .iter()
            .chain(&diff.added)
            .filter(|record| !kind.leaves_out(record, mine.apex()))
            .map(|record| (record.owner.clone(), record.rtype))
            .collect();
        touched.sort();
        touched.dedup();
        let roles = (kind == Kind::Directory).then(|| Roles::of(base, mine, theirs));
        let text = |zone: &Zone, owner: &Name, rtype| match zone.rrset(owner, rtype) {
            Some(set) => lines(owner, set, roles.as_ref()),
            None => Vec::new(),
        };
        let changes = touched.into_iter().filter_map(|(owner, rtype)| {
            let before = base.map_or_else(Vec::new, |base| text(base, &owner, rtype));
            let after = text(mine, &owner, rtype);
            let no_news = after == text(theirs, &owner, rtype);
            (!no_news && (base.is_none() || before != after)).then(|| Yield {
                rtype: rtype.to_string(),
                owner,
                before,
                after,
            })
        });
        let changes: Vec<Yield> = changes.collect();
        Self {
            version: 1,
            zone: mine.apex().clone(),
            at: 0,
            why: String::new(),
            common: base.map(|base| base.serial().into_int()),
            mine: mine.serial().into_int(),
            theirs: theirs.serial().into_int(),
            tombstones: match kind {
                Kind::Directory => known_tombstones(&changes, mine),
                Kind::Catalog | Kind::Other => Vec::new(),
            },
            changes,
        }
    }

    /// What it is called: the zone, the serial of its last version here, and when it was set aside.
    pub fn id(&self) -> String {
        let zone = self.zone.to_string().to_ascii_lowercase();
        format!("{zone}-{}-{}", self.mine, self.at)
    }

    /// As it is kept.
    pub fn encode(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok()
    }

    /// Reads what was kept.
    ///
    /// # Errors
    ///
    /// When it is not of this form.
    pub fn decode(value: &[u8]) -> Result<Self, String> {
        let kept: Self = serde_json::from_slice(value).map_err(|error| error.to_string())?;
        match kept.version {
            1 => Ok(kept),
            version => Err(format!("version {version} is not known here")),
        }
    }
}

/// # Making it again
impl Yielded {
    /// What becomes of each change in a version of the zone, in the same order.
    ///
    /// # Errors
    ///
    /// When a record cannot be read.
    pub fn fates(&self, zone: &Zone) -> Result<Vec<Fate>, String> {
        let stays = self.stays(zone)?;
        let fate = |change: &Yield| {
            let (owner, rtype) = (&change.owner, change.rtype()?);
            let now = zone.rrset(owner, rtype);
            let before = rrset(rtype, &records(&change.before)?);
            let after = rrset(rtype, &records(&change.after)?);
            // Without the last common version an RRset that is there may be what the other one wrote.
            let fits = match self.common {
                Some(_) => now == before.as_ref().map(Rrset::as_ref),
                None => now.is_none(),
            };
            Ok(match (now == after.as_ref().map(Rrset::as_ref), fits) {
                (true, _) => Fate::There,
                (false, true) if self.lists_removed(change, zone)? => Fate::Conflicts,
                (false, true) if self.is_of_removed_site(change, zone)? => Fate::Conflicts,
                (false, true) if takes_out(change, &stays, zone.apex())? => Fate::Conflicts,
                (false, true) => Fate::Fits,
                (false, false) => Fate::Conflicts,
            })
        };
        self.changes.iter().map(fate).collect()
    }

    /// What a version of the zone says where a change would be made, in the form of zone files.
    ///
    /// # Errors
    ///
    /// When the type cannot be read.
    pub fn now(change: &Yield, zone: &Zone) -> Result<Vec<String>, String> {
        let set = zone.rrset(&change.owner, change.rtype()?);
        Ok(set.map_or_else(Vec::new, |set| lines(&change.owner, set, None)))
    }

    /// Whether a change lists a zone in the directory that was removed since, which the directory has a note of: another one than
    /// there was before the change.
    fn lists_removed(&self, change: &Yield, directory: &Zone) -> Result<bool, String> {
        let apex = directory.apex();
        let lists = *apex == self.zone && change.rtype()? == Rtype::PTR && !change.after.is_empty();
        let note = match lists {
            true => removal_note_beside(&change.owner, apex),
            false => None,
        };
        let noted = note.and_then(|note| Some((directory.rrset(&note, Rtype::TXT)?, note)));
        let Some((now, note)) = noted else {
            return Ok(false);
        };
        for other in &self.changes {
            if other.owner == note && other.rtype()? == Rtype::TXT {
                let before = rrset(Rtype::TXT, &records(&other.before)?);
                return Ok(before.is_none_or(|before| before != now));
            }
        }
        Ok(true)
    }

    /// Whether a change lets a site into the directory, or makes it a zone's primary, that was removed since: the directory has
    /// a tombstone of it that was not known where the change was made, and nothing else.
    fn is_of_removed_site(&self, change: &Yield, directory: &Zone) -> Result<bool, String> {
        let apex = directory.apex();
        if *apex != self.zone || change.after.is_empty() {
            return Ok(false);
        }
        for site in sites_of(change, apex)? {
            let place = tombstone_place(&site, apex);
            let stone = place.and_then(|place| Some((directory.rrset(&place, Rtype::TXT)?, place)));
            let Some((stone, place)) = stone else {
                continue;
            };
            let again = site_place(&site, apex);
            if again.is_some_and(|place| directory.rrset(&place, Rtype::TXT).is_some()) {
                continue;
            }
            let mut known = records(&self.tombstones)?;
            known.retain(|record| record.owner == place);
            if rrset(Rtype::TXT, &known).is_none_or(|known| known != stone) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The sites that the changes take out of the directory while it says of more zones than they knew of that these are theirs:
    /// nobody has said what is to become of those.
    fn stays(&self, directory: &Zone) -> Result<BTreeSet<SiteName>, String> {
        let apex = directory.apex();
        let mut stays = BTreeSet::new();
        for change in self.changes.iter().filter(|_| *apex == self.zone) {
            let site = site_of(&change.owner, apex).filter(|_| change.after.is_empty());
            if change.rtype()? == Rtype::TXT {
                stays.extend(site);
            }
        }
        if stays.is_empty() {
            return Ok(stays);
        }
        let read = Directory::read(directory);
        let is_settled = |zone: &Name| {
            let node = zone_node(zone, apex).ok();
            let mut changes = self.changes.iter();
            changes.any(|change| Some(&change.owner) == node.as_ref() && change.rtype == "PTR")
        };
        stays.retain(|site| !read.zones_of(site).iter().all(is_settled));
        Ok(stays)
    }

    /// The update that makes what fits, and with `force` what conflicts too; none where there is nothing to do.
    ///
    /// # Errors
    ///
    /// When a record cannot be read.
    pub fn replay(&self, zone: &Zone, force: bool) -> Result<Option<Update>, String> {
        let mut update = Update::new(self.zone.clone());
        let mut any = false;
        for (change, fate) in self.changes.iter().zip(self.fates(zone)?) {
            let now = zone.rrset(&change.owner, change.rtype()?);
            // Who is the writer now is decided by promotion alone.
            let stays = fate == Fate::Conflicts && (!force || names_writer(now));
            if fate == Fate::There || stays {
                continue;
            }
            any = true;
            update = update.delete_rrset(change.owner.clone(), change.rtype()?);
            for record in records(&change.after)? {
                update = update.add(record);
            }
        }
        Ok(any.then_some(update))
    }
}

impl Yield {
    /// Its type.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn rtype(&self) -> Result<Rtype, String> {
        let bad = || format!("`{}` is not a type of records", self.rtype);
        self.rtype.parse().map_err(|_| bad())
    }
}

impl Kind {
    /// Whether an RRset is none of the writer's changes: it says who the writer is, or which zones are members of the catalog,
    /// which follows from the directory.
    fn leaves_out(self, record: &Record, apex: &Name) -> bool {
        let below = record
            .owner
            .label_count()
            .saturating_sub(apex.label_count());
        let labels = record.owner.iter().take(below);
        let labels: Vec<Vec<u8>> = labels
            .map(|label| label.as_slice().to_ascii_lowercase())
            .collect();
        let labels: Vec<&[u8]> = labels.iter().map(Vec::as_slice).collect();
        matches!(
            (self, &labels[..], record.rtype),
            (_, [], Rtype::SOA)
                | (Self::Directory, [b"_schema"], Rtype::TXT)
                | (Self::Catalog, [b"zonemesh", b"ext"], Rtype::TXT)
                | (Self::Catalog, [_, b"zones"], Rtype::PTR)
        )
    }
}

/// What is said of a site's role in the records of it that are set aside.
struct Roles {
    theirs: Directory,
    /// Sites that were given a role other than that of the writer.
    given: BTreeSet<SiteName>,
}

impl Roles {
    fn of(base: Option<&Zone>, mine: &Zone, theirs: &Zone) -> Self {
        let (mine, theirs) = (Directory::read(mine), Directory::read(theirs));
        let base = base.map(Directory::read);
        let role = |directory: &Directory, site: &SiteName| {
            let site = directory.sites.get(site)?;
            Some(site.role).filter(|role| *role != Role::CatalogPrimary)
        };
        let is_given = |site: &&SiteName| {
            let before = base.as_ref().and_then(|base| role(base, site));
            let given = role(&mine, site);
            before.is_some() && given.is_some() && before != given && role(&theirs, site).is_some()
        };
        let given = mine.sites.keys().filter(is_given).cloned().collect();
        Self { theirs, given }
    }

    /// The role that is said of the site of which an owner name tells, in place of what its record says; none of a site that
    /// the other writer does not have. `None` where the record is left as it is.
    fn instead(&self, owner: &Name) -> Option<Option<Role>> {
        let site = site_of(owner, &self.theirs.apex).filter(|site| !self.given.contains(site))?;
        Some(self.theirs.sites.get(&site).map(|site| site.role))
    }
}

/// The records of an RRset as they are set aside.
fn lines(owner: &Name, set: RrsetRef<'_>, roles: Option<&Roles>) -> Vec<String> {
    let instead = roles.and_then(|roles| roles.instead(owner));
    let mut lines: Vec<String> = set
        .iter()
        .map(|rdata| {
            let rdata = match (&instead, txt::parse(rdata)) {
                (Some(role), Some(strings)) if set.rtype() == Rtype::TXT => {
                    with_role(&strings, *role)
                }
                _ => rdata.to_vec().into(),
            };
            Record::new(owner.clone(), set.rtype(), set.ttl(), rdata).to_string()
        })
        .collect();
    lines.sort();
    lines
}

/// The site of which a name `_site.<site>` of a directory tells.
fn site_of(owner: &Name, directory: &Name) -> Option<SiteName> {
    let depth = owner.label_count().checked_sub(directory.label_count())?;
    let mut labels = owner.iter();
    let first = labels.next()?.as_slice().to_ascii_lowercase();
    if depth != 2 || first != b"_site" {
        return None;
    }
    SiteName::new(std::str::from_utf8(labels.next()?.as_slice()).ok()?).ok()
}

/// Whether a change is one of those that take a site out of the directory.
fn takes_out(change: &Yield, sites: &BTreeSet<SiteName>, apex: &Name) -> Result<bool, String> {
    if sites.is_empty() {
        return Ok(false);
    }
    let stone = |site| tombstone_place(site, apex).as_ref() == Some(&change.owner);
    let of_it = sites_of(change, apex)?;
    let goes = change.after.is_empty() && of_it.iter().any(|site| sites.contains(site));
    Ok(goes || sites.iter().any(stone))
}

/// The tombstones in a directory of sites that changes of it are about.
fn known_tombstones(changes: &[Yield], directory: &Zone) -> Vec<String> {
    let apex = directory.apex();
    let sites = changes
        .iter()
        .flat_map(|change| sites_of(change, apex).unwrap_or_default());
    let stones = sites
        .collect::<BTreeSet<_>>()
        .into_iter()
        .filter_map(|site| {
            let place = tombstone_place(&site, apex)?;
            let set = directory.rrset(&place, Rtype::TXT)?;
            Some(lines(&place, set, None))
        });
    stones.flatten().collect()
}

/// The sites that a record of a directory may be about: the one at or above it, and the one that it names a zone's primary.
fn sites_of(change: &Yield, apex: &Name) -> Result<Vec<SiteName>, String> {
    let below = change
        .owner
        .label_count()
        .saturating_sub(apex.label_count());
    let label = match below {
        0 => None,
        below => change.owner.iter().nth(below - 1),
    };
    let label = label.and_then(|label| std::str::from_utf8(label.as_slice()).ok());
    let mut sites: Vec<SiteName> = label
        .and_then(|label| SiteName::new(label).ok())
        .into_iter()
        .collect();
    if change.rtype()? == Rtype::PTR {
        for record in records(&change.after)? {
            let target = Name::from_octets(record.rdata).ok();
            sites.extend(target.and_then(|target| SiteName::of(&target, apex)));
        }
    }
    Ok(sites)
}

/// Where a site's tombstone stands.
fn tombstone_place(site: &SiteName, apex: &Name) -> Option<Name> {
    let none = Removed {
        pins: Vec::new(),
        at: 0,
    };
    Some(tombstone(site, &none, apex).ok()?.owner)
}

/// Where a site's role stands.
fn site_place(site: &SiteName, apex: &Name) -> Option<Name> {
    let text = format!("_site.{}", site.under(apex).ok()?.fmt_with_dot());
    text.parse().ok()
}

/// Whether an RRset says who the writer is.
fn names_writer(set: Option<RrsetRef<'_>>) -> bool {
    let says = |rdata| {
        let strings = txt::parse(rdata).unwrap_or_default();
        strings.contains(&&b"role=catalog-primary"[..])
    };
    set.is_some_and(|set| set.rtype() == Rtype::TXT && set.iter().any(says))
}

fn with_role(strings: &[&[u8]], role: Option<Role>) -> zonemesh_zone::Bytes {
    let strings = strings.iter().map(|string| {
        let said = string.strip_prefix(b"role=");
        match (said, role) {
            (Some(_), Some(role)) => format!("role={role}").into_bytes(),
            // Nobody joins as the writer.
            (Some(b"catalog-primary"), None) => {
                format!("role={}", Role::CatalogSecondary).into_bytes()
            }
            _ => string.to_vec(),
        }
    });
    txt::compose(strings.collect::<Vec<_>>())
}

fn records(lines: &[String]) -> Result<Vec<Record>, String> {
    let root = Name::root_bytes();
    let read = |line: &String| {
        Record::from_text(line, &root).map_err(|error| format!("`{line}`: {error}"))
    };
    lines.iter().map(read).collect()
}

fn rrset(rtype: Rtype, records: &[Record]) -> Option<Rrset> {
    let ttl = records.last()?.ttl;
    Some(Rrset::new(
        rtype,
        ttl,
        records.iter().map(|record| &record.rdata),
    ))
}

#[cfg(test)]
mod tests;
