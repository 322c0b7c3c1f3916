//! What a site wrote and had to yield: kept, shown, and made again when an operator wants it.
//!
//! A site that was the writer of a zone, and learns that another one is, takes the other's version. What it wrote that
//! the other's history does not have is set aside in the same commit, RRset by RRset: how each was in the last version
//! that both have, and how this site left it. It is never dropped and never made again without a command.
//!
//! Where the last common version is not known any longer, only what differs is; then nothing is said about how an RRset
//! was before, and what this site lacks may be what it removed or what the other one added.

use serde::{Deserialize, Serialize};
use zonemesh_update::Update;
use zonemesh_zone::directory::{Directory, Role, SiteName};
use zonemesh_zone::{Name, Record, Rrset, Rtype, Zone, txt};

/// The table of the store in which it is kept, by [`Yielded::id`]; an empty value where it was made again or discarded.
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
    /// What `mine` has that the history of `theirs` does not. Of the directory, who writes it and which site has which role
    /// are not among the changes: that is decided by promotion alone.
    pub fn between(base: Option<&Zone>, mine: &Zone, theirs: &Zone, directory: bool) -> Self {
        let start = base.unwrap_or(theirs);
        let diff = start.diff(mine);
        let mut touched: Vec<(Name, Rtype)> = diff
            .removed
            .iter()
            .chain(&diff.added)
            .filter(|record| record.rtype != Rtype::SOA && !is_about_writers(record, mine.apex()))
            .map(|record| (record.owner.clone(), record.rtype))
            .collect();
        touched.sort();
        touched.dedup();
        let roles = directory.then(|| Directory::read(theirs));
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
        Self {
            version: 1,
            zone: mine.apex().clone(),
            at: 0,
            why: String::new(),
            common: base.map(|base| base.serial().into_int()),
            mine: mine.serial().into_int(),
            theirs: theirs.serial().into_int(),
            changes: changes.collect(),
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
        let fate = |change: &Yield| {
            let (owner, rtype) = (&change.owner, change.rtype()?);
            let now = zone.rrset(owner, rtype);
            let before = rrset(rtype, &records(&change.before)?);
            let after = rrset(rtype, &records(&change.after)?);
            // Without the last common version an RRset that is there may be what the other one wrote.
            let fits = match self.common {
                Some(_) => now == before.as_ref(),
                None => now.is_none(),
            };
            Ok(match (now == after.as_ref(), fits) {
                (true, _) => Fate::There,
                (false, true) => Fate::Fits,
                (false, false) => Fate::Conflicts,
            })
        };
        self.changes.iter().map(fate).collect()
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
            if fate == Fate::There || (fate == Fate::Conflicts && !force) {
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

/// Who writes directory and catalog is none of the writer's changes.
fn is_about_writers(record: &Record, apex: &Name) -> bool {
    let below = record
        .owner
        .label_count()
        .saturating_sub(apex.label_count());
    let first = record.owner.first().as_slice().to_ascii_lowercase();
    record.rtype == Rtype::TXT
        && match below {
            1 => first == b"_schema",
            2 => {
                first == b"zonemesh"
                    && record
                        .owner
                        .iter()
                        .nth(1)
                        .is_some_and(|label| label.as_slice().eq_ignore_ascii_case(b"ext"))
            }
            _ => false,
        }
}

/// The records of an RRset, with the roles that sites have in the directory that goes before.
fn lines(owner: &Name, set: &Rrset, roles: Option<&Directory>) -> Vec<String> {
    let site = roles.and_then(|directory| about(owner, directory));
    let mut lines: Vec<String> = set
        .iter()
        .map(|rdata| {
            let rdata = match (&site, txt::parse(rdata)) {
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

/// The role of the site of which an owner name tells, where it is one; none of a site that the directory does not have.
fn about(owner: &Name, directory: &Directory) -> Option<Option<Role>> {
    let depth = owner
        .label_count()
        .checked_sub(directory.apex.label_count())?;
    let mut labels = owner.iter();
    let first = labels.next()?.as_slice().to_ascii_lowercase();
    if depth != 2 || first != b"_site" {
        return None;
    }
    let site = SiteName::new(std::str::from_utf8(labels.next()?.as_slice()).ok()?).ok()?;
    Some(directory.sites.get(&site).map(|site| site.role))
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
