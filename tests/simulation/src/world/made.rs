//! Zones, changes and settings for tests.

use super::*;

/// The name of a host by its number from 0: `site-a` to `site-z`, then `site-27` and so on.
pub fn host_name(number: usize) -> String {
    match u8::try_from(number) {
        Ok(small @ 0..26) => format!("site-{}", char::from(b'a' + small)),
        _ => format!("site-{}", number + 1),
    }
}

/// A name of a zone or a record.
pub fn name(text: &str) -> Name {
    parse_name(text).unwrap()
}

/// The name of a site.
pub fn site(text: &str) -> SiteName {
    SiteName::new(text).unwrap()
}

/// The apex of the directory.
pub fn directory() -> Name {
    name("dns.internal")
}

/// The apex of the catalog.
pub fn catalog() -> Name {
    name("catalog.dns.internal")
}

/// A zone with the SOA times that most tests use.
pub fn zone(apex: &str, serial: u32, lines: &[&str]) -> Zone {
    timed_zone(apex, serial, (300, 60, 7200), lines)
}

/// A zone with other SOA times: refresh, retry, expire.
pub fn timed_zone(apex: &str, serial: u32, times: (u32, u32, u32), lines: &[&str]) -> Zone {
    let (refresh, retry, expire) = times;
    let apex = name(apex);
    let mut editor = Editor::new(apex.clone());
    let soa = format!("@ 3600 IN SOA ns hostmaster {serial} {refresh} {retry} {expire} 60");
    for line in [soa.as_str(), "@ 3600 IN NS ns", "ns 3600 IN A 192.0.2.53"]
        .iter()
        .chain(lines)
    {
        editor.add(Record::from_text(line, &apex).unwrap()).unwrap();
    }
    editor.finish().unwrap()
}

/// What replaces the address of `owner` by `192.0.2.last`.
pub fn put(apex: &str, owner: &str, last: u8) -> Change {
    let record =
        Record::from_text(&format!("{owner} 60 IN A 192.0.2.{last}"), &name(apex)).unwrap();
    let set = zonemesh_zone::Rrset::new(record.rtype, record.ttl, [&record.rdata[..]]);
    Change::Put(name(apex), vec![(record.owner, set)])
}

/// A change that deletes what [`put`] puts.
pub fn delete(apex: &str, owner: &str) -> Change {
    let owner = name(&format!("{owner}.{apex}"));
    Change::Delete(name(apex), vec![(owner, Some(zonemesh_zone::Rtype::A))])
}

/// Whether a name of a zone has this address record; with none, whether it has no address at all.
pub fn is(zone: &Zone, owner: &str, last: Option<u8>) -> bool {
    match last {
        Some(last) => has(zone, owner, last),
        None => {
            let owner = name(&format!("{owner}.{}", zone.apex()));
            zone.rrset(&owner, zonemesh_zone::Rtype::A).is_none()
        }
    }
}

/// Whether a zone has what [`put`] puts.
pub fn has(zone: &Zone, owner: &str, last: u8) -> bool {
    let owner = Record::from_text(&format!("{owner} 60 IN A 192.0.2.{last}"), zone.apex())
        .unwrap()
        .owner;
    zone.rrset(&owner, zonemesh_zone::Rtype::A)
        .is_some_and(|set| set.contains(&[192, 0, 2, last]))
}

/// A zone that a site's configuration makes it primary of, with foreign servers to tell.
pub fn own(apex: &str, notify: &[&str]) -> ZoneSpec {
    ZoneSpec {
        apex: name(apex),
        sources: PeerList::default(),
        primary: true,
        notify: notify
            .iter()
            .map(|peer| PeerId::Foreign((*peer).into()))
            .collect(),
        members_only: false,
        mesh: true,
    }
}

/// Removes a site, as the command does.
pub fn remove_site(world: &mut World, host: &str, zones: zonemesh_zone::directory::Departure) {
    let site = SiteName::new(host).unwrap();
    let at = world.clock().wall;
    let edit = |editor: &mut Editor, read: &Directory| {
        zonemesh_zone::directory::remove_site(editor, read, &site, &zones, at).unwrap();
    };
    world.edit_directory(edit).unwrap();
}
