//! Writing a directory: the records that a site publishes, owners of zones, tombstones.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytes::Bytes;

use super::epoch::SCHEMA;
use super::{Directory, Epoch, Finding, KeyPin, Removed, Role, Site, SiteName, TooLong};
use crate::{Editor, Name, Record, Rrset, Rtype, Serial, Soa, Ttl, Zone, ZoneError, txt};

/// Short enough that a changed address is seen within minutes even by a reader that asks, long enough to cache.
pub(super) const TTL: Ttl = Ttl::from_secs(300);

/// RFC 9460 §14.3.2.
pub(super) const SVCB_ALPN: u16 = 1;
/// RFC 9460 §14.3.2.
pub(super) const SVCB_PORT: u16 = 3;

/// A name made of labels and what is below them.
pub(super) fn below(labels: &[&[u8]], apex: &Name) -> Result<Name, TooLong> {
    let mut wire = Vec::new();
    for label in labels {
        wire.push(label.len() as u8);
        wire.extend_from_slice(label);
    }
    concat(&wire, apex, || {
        labels
            .iter()
            .map(|label| String::from_utf8_lossy(label))
            .collect::<Vec<_>>()
            .join(".")
    })
}

fn concat(prefix: &[u8], apex: &Name, text: impl Fn() -> String) -> Result<Name, TooLong> {
    let wire: Bytes = [prefix, apex.as_slice()].concat().into();
    let octets = wire.len();
    Name::from_octets(wire).map_err(|_| TooLong {
        prefix: text(),
        apex: apex.clone(),
        octets,
    })
}

/// The owner name of the record that says which site is primary for a zone: the zone's whole name below `_zones`.
/// That of the root zone is `_zones` itself.
///
/// # Errors
///
/// When the two names together are too long for a name; such a zone needs a directory with a shorter name.
pub fn zone_node(zone: &Name, apex: &Name) -> Result<Name, TooLong> {
    let wire = zone.as_slice();
    let labels = &wire[..wire.len() - 1];
    let prefix = [labels, b"\x06_zones"].concat();
    concat(&prefix, apex, || match labels {
        [] => "_zones".into(),
        _ => format!("{zone}._zones"),
    })
}

/// `_schema TXT "zonemesh=1"`, and from the second epoch on whose it is.
///
/// # Errors
///
/// When the directory's name leaves no room.
pub fn schema_record(apex: &Name, epoch: &Epoch) -> Result<Record, TooLong> {
    let strings = [SCHEMA.to_owned()].into_iter();
    Ok(Record::new(
        schema_owner(apex)?,
        Rtype::TXT,
        TTL,
        txt::compose(strings.chain(epoch.strings())),
    ))
}

/// Where the schema and the epoch stand.
pub(super) fn schema_owner(apex: &Name) -> Result<Name, TooLong> {
    below(&[b"_schema"], apex)
}

/// `<zone>._zones PTR <site>`.
///
/// # Errors
///
/// When a name is too long.
pub fn owner_record(zone: &Name, site: &SiteName, apex: &Name) -> Result<Record, TooLong> {
    Ok(Record::new(
        zone_node(zone, apex)?,
        Rtype::PTR,
        TTL,
        Bytes::copy_from_slice(site.under(apex)?.as_slice()),
    ))
}

/// `<site>._removed TXT "pin=…" "at=…"`.
///
/// # Errors
///
/// When a name is too long.
pub fn tombstone(site: &SiteName, removed: &Removed, apex: &Name) -> Result<Record, TooLong> {
    let strings = removed
        .pins
        .iter()
        .map(|pin| format!("pin={pin}"))
        .chain([format!("at={}", removed.at)]);
    Ok(Record::new(
        below(&[site.as_str().as_bytes(), b"_removed"], apex)?,
        Rtype::TXT,
        TTL,
        txt::compose(strings),
    ))
}

impl Site {
    /// What the site publishes in the directory.
    ///
    /// # Errors
    ///
    /// When the directory's name leaves no room.
    pub fn records(&self, apex: &Name) -> Result<Vec<Record>, TooLong> {
        let label = self.name.as_str().as_bytes();
        let name = self.name.under(apex)?;
        let mut records = Vec::new();
        for address in &self.addresses {
            records.push(match address {
                IpAddr::V4(v4) => Record::new(name.clone(), Rtype::A, TTL, v4.octets().to_vec()),
                IpAddr::V6(v6) => Record::new(name.clone(), Rtype::AAAA, TTL, v6.octets().to_vec()),
            });
        }
        for (port, alpn, transport) in [(self.dot, "dot", "_tcp"), (self.doq, "doq", "_udp")] {
            let Some(port) = port else { continue };
            records.push(Record::new(
                below(&[b"_dns", label], apex)?,
                Rtype::SVCB,
                TTL,
                svcb(&name, alpn, port),
            ));
            let owner = below(
                &[format!("_{port}").as_bytes(), transport.as_bytes(), label],
                apex,
            )?;
            for pin in &self.pins {
                records.push(Record::new(owner.clone(), Rtype::TLSA, TTL, tlsa(pin)));
            }
        }
        let mut strings = vec![
            format!("role={}", self.role),
            format!("engine={}", self.engine),
        ];
        if let Some(domain) = &self.failure_domain {
            strings.push(format!("failure-domain={domain}"));
        }
        if let Some(port) = self.dns.filter(|port| *port != 53) {
            strings.push(format!("dns-port={port}"));
        }
        records.push(Record::new(
            below(&[b"_site", label], apex)?,
            Rtype::TXT,
            TTL,
            txt::compose(strings),
        ));
        Ok(records)
    }
}

/// `SVCB 1 <target> alpn=<alpn> port=<port>`.
fn svcb(target: &Name, alpn: &str, port: u16) -> Bytes {
    let mut out = vec![0, 1];
    out.extend_from_slice(target.as_slice());
    out.extend_from_slice(&SVCB_ALPN.to_be_bytes());
    out.extend_from_slice(&(alpn.len() as u16 + 1).to_be_bytes());
    out.push(alpn.len() as u8);
    out.extend_from_slice(alpn.as_bytes());
    out.extend_from_slice(&SVCB_PORT.to_be_bytes());
    out.extend_from_slice(&2u16.to_be_bytes());
    out.extend_from_slice(&port.to_be_bytes());
    out.into()
}

/// `TLSA 3 1 1 <pin>`: the key itself, whoever has signed for it (RFC 7671 §5.1).
fn tlsa(pin: &KeyPin) -> Bytes {
    [&[3, 1, 1], &pin.0[..]].concat().into()
}

/// Makes a directory with one site in it.
///
/// # Errors
///
/// When the directory's name leaves no room.
pub fn new_zone(apex: &Name, first: &Site, serial: Serial) -> Result<Zone, TooLong> {
    let mname = first.name.under(apex)?;
    let soa = Soa {
        rname: below(&[b"hostmaster"], apex)?,
        mname: mname.clone(),
        serial,
        // NOTIFY makes changes quick; the timers are for when it is lost. Expire is the default of all our zones.
        refresh: 300,
        retry: 60,
        expire: 42 * 86_400,
        minimum: 60,
    };
    let mut records = vec![
        Record::new(apex.clone(), Rtype::SOA, TTL, soa.to_rdata()),
        Record::new(
            apex.clone(),
            Rtype::NS,
            TTL,
            Bytes::copy_from_slice(mname.as_slice()),
        ),
        schema_record(apex, &Epoch::default())?,
    ];
    records.extend(first.records(apex)?);
    let mut editor = Editor::new(apex.clone());
    for record in records {
        editor
            .add(record)
            .expect("all names were made below the apex, and only the apex got an SOA");
    }
    Ok(editor.finish().expect("one well-formed SOA was added"))
}

/// Makes a site the primary of a zone, in place of whichever was.
///
/// # Errors
///
/// When a name is too long.
pub fn set_owner(editor: &mut Editor, zone: &Name, site: &SiteName) -> Result<(), TooLong> {
    let record = owner_record(zone, site, &editor.apex().clone())?;
    editor.remove_rrset(&record.owner, Rtype::PTR);
    editor
        .add(record)
        .expect("the name was made below the apex");
    Ok(())
}

/// Takes a zone out of the directory; returns whether it was there.
///
/// # Errors
///
/// When the name is too long.
pub fn remove_owner(editor: &mut Editor, zone: &Name) -> Result<bool, TooLong> {
    let node = zone_node(zone, &editor.apex().clone())?;
    Ok(editor.remove_rrset(&node, Rtype::PTR))
}

/// Gives a site another role. What else its record says stays, also what is not known here. Returns whether the site
/// has a record to say it in.
///
/// # Errors
///
/// When a name is too long.
pub fn set_role(editor: &mut Editor, site: &SiteName, role: Role) -> Result<bool, TooLong> {
    let owner = below(
        &[b"_site", site.as_str().as_bytes()],
        &editor.apex().clone(),
    )?;
    let Some(set) = editor.rrset(&owner, Rtype::TXT) else {
        return Ok(false);
    };
    let ttl = set.ttl();
    let strings = set.iter().filter_map(txt::parse).flatten();
    let others = strings.filter(|string| !string.starts_with(b"role="));
    let role = format!("role={role}").into_bytes();
    let strings: Vec<Vec<u8>> = [role]
        .into_iter()
        .chain(others.map(<[u8]>::to_vec))
        .collect();
    editor
        .put(&owner, Rrset::new(Rtype::TXT, ttl, [txt::compose(strings)]))
        .expect("the name was made below the apex");
    Ok(true)
}

/// Makes a site the one that writes the directory, in place of whichever was; that one is a catalog secondary afterwards.
/// Returns whether the site has a record to say it in; if not, nothing has changed.
///
/// # Errors
///
/// When a name is too long.
pub fn promote(
    editor: &mut Editor,
    directory: &Directory,
    site: &SiteName,
    epoch: &Epoch,
) -> Result<bool, TooLong> {
    let apex = editor.apex().clone();
    let schema = schema_record(&apex, epoch)?;
    let mname = site.under(&apex)?;
    if !set_role(editor, site, Role::CatalogPrimary)? {
        return Ok(false);
    }
    for other in directory.sites.values() {
        if other.role == Role::CatalogPrimary && other.name != *site {
            set_role(editor, &other.name, Role::CatalogSecondary)?;
        }
    }
    editor.remove_rrset(&schema.owner, schema.rtype);
    editor
        .add(schema)
        .expect("the name was made below the apex");
    // A difference that starts from the version of another writer says so by this name.
    editor.set_mname(&mname);
    Ok(true)
}

/// What becomes of the zones of a site that is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Departure {
    /// Another site becomes primary for them.
    Adopt(SiteName),
    /// They are taken out of the directory, and so of the mesh.
    Remove,
}

/// Removes a site: its records go, its zones go where `zones` says, and a tombstone with its keys is left. Returns
/// the zones that were its own.
///
/// # Errors
///
/// When a name is too long.
pub fn remove_site(
    editor: &mut Editor,
    directory: &Directory,
    site: &SiteName,
    zones: &Departure,
    at: i64,
) -> Result<Vec<Name>, TooLong> {
    let apex = editor.apex().clone();
    let mut pins = directory
        .sites
        .get(site)
        .map(|site| site.pins.clone())
        .unwrap_or_default();
    // A key that was barred once stays barred.
    pins.extend(
        directory
            .removed
            .get(site)
            .into_iter()
            .flat_map(|old| old.pins.iter().copied()),
    );
    pins.sort_unstable();
    pins.dedup();
    let stone = tombstone(site, &Removed { pins, at }, &apex)?;
    let owned: Vec<Name> = directory.zones_of(site).into_iter().collect();
    for zone in &owned {
        forget_legacy(editor, zone, site)?;
        match zones {
            Departure::Adopt(heir) => set_owner(editor, zone, heir)?,
            Departure::Remove => {
                remove_owner(editor, zone)?;
            }
        }
    }
    for owner in site_nodes(editor, site)? {
        editor.remove_name(&owner);
    }
    editor.remove_rrset(&stone.owner, Rtype::TXT);
    editor.add(stone).expect("the name was made below the apex");
    Ok(owned)
}

/// Removes what says in the older convention that a site is primary for a zone.
fn forget_legacy(editor: &mut Editor, zone: &Name, site: &SiteName) -> Result<(), TooLong> {
    let apex = editor.apex().clone();
    if zone.is_root() {
        return Ok(());
    }
    let owner = below(&[&first_label(zone)], &apex)?;
    let stale: Vec<Bytes> = editor
        .rrset(&owner, Rtype::TXT)
        .into_iter()
        .flat_map(|set| set.iter())
        .filter(|rdata| legacy_target(rdata, &apex).as_ref() == Some(site))
        .map(Bytes::copy_from_slice)
        .collect();
    for rdata in stale {
        editor.remove(&owner, Rtype::TXT, &rdata);
    }
    Ok(())
}

/// All names at and below a site's.
fn site_nodes(editor: &mut Editor, site: &SiteName) -> Result<Vec<Name>, TooLong> {
    let apex = editor.apex().clone();
    let name = site.under(&apex)?;
    Ok(editor.names_below(&name))
}

/// The owners in the older convention, `<first label of the zone> TXT "<site>"`, and what cannot be said in it: two
/// zones with the same first label, the root zone, a label that is a site's name.
pub fn legacy_records(directory: &Directory) -> (Vec<Record>, Vec<Finding>) {
    let mut labels: BTreeMap<Vec<u8>, Vec<(&Name, &SiteName)>> = BTreeMap::new();
    for (zone, site) in &directory.owners {
        labels
            .entry(first_label(zone))
            .or_default()
            .push((zone, site));
    }
    let (mut records, mut findings) = (Vec::new(), Vec::new());
    for (label, zones) in labels {
        let text = String::from_utf8_lossy(&label).into_owned();
        let mut skip = |message: String| {
            findings.push(Finding {
                owner: directory.apex.clone(),
                site: None,
                message,
            });
        };
        let [(_, site)] = zones[..] else {
            let names: Vec<_> = zones.iter().map(|(zone, _)| zone.to_string()).collect();
            skip(format!(
                "legacy-txt: {} have the same first label and cannot both be written",
                names.join(" and ")
            ));
            continue;
        };
        if label.is_empty()
            || SiteName::new(&text).is_ok_and(|name| directory.sites.contains_key(&name))
        {
            skip(format!(
                "legacy-txt: a zone whose first label is `{text}` cannot be written"
            ));
            continue;
        }
        match (
            below(&[&label], &directory.apex),
            site.under(&directory.apex),
        ) {
            (Ok(owner), Ok(target)) => records.push(Record::new(
                owner,
                Rtype::TXT,
                TTL,
                txt::compose([format!("{target}.")]),
            )),
            (Err(error), _) | (_, Err(error)) => skip(format!("legacy-txt: {error}")),
        }
    }
    (records, findings)
}

/// Lets the records of the older convention follow a change of the directory: those of zones that were let go of or
/// have another primary are removed, and with `write` those of all owners are added. Records that cannot be told to
/// be out of date stay, for a directory written by hand may have nothing else. Returns the directory as it becomes,
/// and what cannot be said in the older convention.
///
/// # Errors
///
/// When the two are not versions of the same zone.
pub fn follow_legacy(
    before: &Zone,
    after: &Zone,
    known_zones: &[Name],
    write: bool,
) -> Result<(Zone, Vec<Finding>), ZoneError> {
    let old = Directory::read_with_legacy(before, known_zones);
    let mut new = Directory::read_with_legacy(after, known_zones);
    let has_ptr = |version: &Zone, zone: &Name| {
        zone_node(zone, version.apex()).is_ok_and(|node| version.rrset(&node, Rtype::PTR).is_some())
    };
    // What is taken out of `_zones` is let go of, though a record of the older convention still names it.
    new.owners
        .retain(|zone, _| !has_ptr(before, zone) || has_ptr(after, zone));
    let (wanted, findings) = legacy_records(&new);
    let mut editor = after.edit();
    for record in legacy_records(&old).0 {
        if wanted.contains(&record) {
            continue;
        }
        let stale: Vec<Bytes> = editor
            .rrset(&record.owner, Rtype::TXT)
            .into_iter()
            .flat_map(|set| set.iter())
            .filter(|rdata| same_target(rdata, &record.rdata, &old))
            .map(Bytes::copy_from_slice)
            .collect();
        for rdata in stale {
            editor.remove(&record.owner, Rtype::TXT, &rdata);
        }
    }
    if write {
        for record in wanted {
            let there = editor.rrset(&record.owner, Rtype::TXT).is_some_and(|set| {
                set.iter()
                    .any(|rdata| same_target(rdata, &record.rdata, &new))
            });
            if !there {
                editor.add(record)?;
            }
        }
    }
    Ok((editor.finish()?, if write { findings } else { Vec::new() }))
}

/// Whether two records of the older convention name the same site, final dot or not.
fn same_target(one: &[u8], other: &[u8], directory: &Directory) -> bool {
    let site = legacy_target(one, &directory.apex);
    site.is_some() && site == legacy_target(other, &directory.apex)
}

/// The site that a TXT record of the older convention names.
pub(super) fn legacy_target(rdata: &[u8], apex: &Name) -> Option<SiteName> {
    let strings = txt::parse_text(rdata)?;
    let [text] = strings[..] else { return None };
    let name = crate::record::parse_name(text).ok()?;
    SiteName::of(&name, apex)
}

/// The first label of a name in lower case; empty for the root.
pub(super) fn first_label(name: &Name) -> Vec<u8> {
    name.first().as_slice().to_ascii_lowercase()
}
