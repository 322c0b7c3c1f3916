//! Reading a directory.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::compose::{SVCB_ALPN, SVCB_PORT, below, first_label, legacy_target};
use super::epoch::SCHEMA;
use super::gone;
use super::{Directory, Epoch, Finding, KeyPin, Removed, Role, Schema, Site, SiteName};
use crate::version::owned;
use crate::{Bytes, Name, RrsetRef, Rtype, Zone, txt};

pub(super) fn read(zone: &Zone, known_zones: &[Name]) -> Directory {
    let mut reader = Reader::new(zone.apex());
    for (owner, set) in zone.rrsets() {
        reader.rrset(&owned(owner), set);
    }
    reader.legacy(zone, known_zones);
    reader.finish()
}

fn without(
    mut gone: BTreeMap<Name, i64>,
    listed: &BTreeMap<Name, SiteName>,
) -> BTreeMap<Name, i64> {
    gone.retain(|zone, _| !listed.contains_key(zone));
    gone
}

/// What a change of an RRset may change in what is read of a directory.
pub(super) enum Concern {
    /// Nothing.
    Nothing,
    /// Who is the primary of the zone that stands there.
    Owner,
    /// Whether a zone was removed by itself.
    Note,
    /// One site.
    Site(SiteName),
    /// What others say too.
    All,
}

/// What a change of an RRset concerns. Of the same mind as [`Reader::rrset`].
pub(super) fn concern(owner: &Name, rtype: Rtype, apex: &Name) -> Concern {
    let labels = labels_below(owner, apex);
    let labels: Vec<&[u8]> = labels.iter().map(Vec::as_slice).collect();
    match (&labels[..], rtype) {
        ([b"_zones", ..], Rtype::PTR) => Concern::Owner,
        ([b"_gone", ..], Rtype::TXT) => Concern::Note,
        ([b"_removed", ..], _) => Concern::All,
        // The form of the directory, or an owner in the older convention.
        ([_], Rtype::TXT) => Concern::All,
        ([site], Rtype::A | Rtype::AAAA)
        | ([site, b"_dns"], Rtype::SVCB)
        | ([site, b"_site"], Rtype::TXT)
        | ([site, b"_tcp" | b"_udp", _], Rtype::TLSA) => {
            match SiteName::new(&String::from_utf8_lossy(site)) {
                Ok(site) => Concern::Site(site),
                Err(_) => Concern::All,
            }
        }
        _ => Concern::Nothing,
    }
}

/// Something is wrong with what was to be read apart from the rest.
pub(super) struct Wrong;

/// The zone of a name below `_zones` and the site that is said to be its primary, if there is such an RRset.
pub(super) fn owner(zone: &Zone, owner: &Name) -> Result<Option<(Name, SiteName)>, Wrong> {
    let mut reader = read_alone(zone, owner, Rtype::PTR)?;
    Ok(reader.owners.pop_first())
}

/// The zone of a name below `_gone` and when it was removed, if there is such an RRset.
pub(super) fn note(zone: &Zone, owner: &Name) -> Result<Option<(Name, i64)>, Wrong> {
    let mut reader = read_alone(zone, owner, Rtype::TXT)?;
    Ok(reader.gone.pop_first())
}

/// What one RRset says, if it is there.
fn read_alone<'z>(zone: &'z Zone, owner: &'z Name, rtype: Rtype) -> Result<Reader<'z>, Wrong> {
    let mut reader = Reader::new(zone.apex());
    if let Some(set) = zone.rrset(owner, rtype) {
        reader.rrset(owner, set);
    }
    match reader.findings.is_empty() {
        true => Ok(reader),
        false => Err(Wrong),
    }
}

/// One site by its own records, with the tombstones that are in force.
pub(super) fn site(
    zone: &Zone,
    name: &SiteName,
    removed: &BTreeMap<SiteName, Removed>,
) -> Result<Option<Site>, Wrong> {
    let mut reader = Reader::new(zone.apex());
    reader.below(zone, &name.under(zone.apex()).map_err(|_| Wrong)?);
    let own = removed.get_key_value(name);
    reader.removed = own
        .map(|(site, own)| (site.clone(), own.clone()))
        .into_iter()
        .collect();
    let Some(draft) = reader.drafts.remove(name).filter(Draft::is_site) else {
        return match reader.findings.is_empty() {
            true => Ok(None),
            false => Err(Wrong),
        };
    };
    let pins = draft.keys.iter().map(|(.., pin)| *pin);
    let barred = pins.filter(|pin| removed.values().any(|removed| removed.pins.contains(pin)));
    let barred = barred.collect();
    let site = reader.site_of(name, draft, &barred);
    match reader.findings.is_empty() {
        true => Ok(site),
        false => Err(Wrong),
    }
}

/// One site, whatever is wrong with it.
pub(super) fn site_alone(zone: &Zone, name: &SiteName) -> Option<Site> {
    let mut reader = Reader::new(zone.apex());
    reader.below(zone, &name.under(zone.apex()).ok()?);
    reader.below(zone, &below(&[b"_removed"], zone.apex()).ok()?);
    let barred = reader.barred();
    let draft = reader.drafts.remove(name).filter(Draft::is_site)?;
    reader.site_of(name, draft, &barred)
}

/// The labels of a name below the apex, from the apex outwards, in lower case.
fn labels_below(owner: &Name, apex: &Name) -> Vec<Vec<u8>> {
    let count = owner.label_count() - apex.label_count();
    let labels = owner.iter().take(count);
    let mut labels: Vec<Vec<u8>> = labels
        .map(|label| label.as_slice().to_ascii_lowercase())
        .collect();
    labels.reverse();
    labels
}

struct Reader<'z> {
    apex: &'z Name,
    drafts: BTreeMap<SiteName, Draft>,
    schema: Schema,
    epoch: Epoch,
    owners: BTreeMap<Name, SiteName>,
    removed: BTreeMap<SiteName, Removed>,
    gone: BTreeMap<Name, i64>,
    findings: Vec<Finding>,
}

/// What was seen of a site so far.
#[derive(Default)]
struct Draft {
    addresses: Vec<IpAddr>,
    dot: Option<u16>,
    doq: Option<u16>,
    /// Transport label, port, key.
    keys: Vec<(Transport, u16, KeyPin)>,
    about: Option<About>,
    /// A zone's older-convention record names it: that makes it a site.
    named: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Tcp,
    Udp,
}

#[derive(Default)]
struct About {
    role: Role,
    engine: String,
    failure_domain: Option<String>,
    dns: Option<u16>,
}

impl Draft {
    /// Plain addresses are no site: a directory may name other hosts.
    fn is_site(&self) -> bool {
        self.about.is_some()
            || self.dot.is_some()
            || self.doq.is_some()
            || !self.keys.is_empty()
            || self.named
    }
}

impl<'z> Reader<'z> {
    fn new(apex: &'z Name) -> Self {
        Self {
            apex,
            drafts: BTreeMap::new(),
            schema: Schema::Absent,
            epoch: Epoch::default(),
            owners: BTreeMap::new(),
            removed: BTreeMap::new(),
            gone: BTreeMap::new(),
            findings: Vec::new(),
        }
    }

    /// What stands at a name and below it.
    fn below(&mut self, zone: &Zone, name: &Name) {
        for node in zone.nodes_below(name) {
            let owner = owned(node.owner());
            for set in node.rrsets() {
                self.rrset(&owner, set);
            }
        }
    }

    fn finding(&mut self, owner: &Name, site: Option<&SiteName>, message: String) {
        self.findings.push(Finding {
            owner: owner.clone(),
            site: site.cloned(),
            message,
        });
    }

    fn rrset(&mut self, owner: &Name, set: RrsetRef<'_>) {
        let prefix = owner.as_slice().len() - self.apex.as_slice().len();
        let labels = labels_below(owner, self.apex);
        let labels: Vec<&[u8]> = labels.iter().map(Vec::as_slice).collect();
        match (&labels[..], set.rtype()) {
            ([b"_schema"], Rtype::TXT) => self.schema(owner, set),
            ([b"_zones", ..], Rtype::PTR) => self.owner(owner, prefix, set),
            ([b"_removed", site], Rtype::TXT) => self.tombstone(owner, site, set),
            ([b"_gone", ..], Rtype::TXT) => self.gone(owner, set),
            ([site], Rtype::A | Rtype::AAAA) => self.address(owner, site, set),
            ([site, b"_dns"], Rtype::SVCB) => self.service(owner, site, set),
            ([site, b"_site"], Rtype::TXT) => self.about(owner, site, set),
            ([site, b"_tcp", port], Rtype::TLSA) => {
                self.key(owner, site, Transport::Tcp, port, set);
            }
            ([site, b"_udp", port], Rtype::TLSA) => {
                self.key(owner, site, Transport::Udp, port, set);
            }
            _ => {}
        }
    }

    /// The site of a label; a finding when it cannot be one.
    fn site(&mut self, owner: &Name, label: &[u8]) -> Option<SiteName> {
        let text = String::from_utf8_lossy(label);
        match SiteName::new(&text) {
            Ok(site) => Some(site),
            Err(error) => {
                self.finding(owner, None, error.to_string());
                None
            }
        }
    }

    fn schema(&mut self, owner: &Name, set: RrsetRef<'_>) {
        self.schema = match (set.first().and_then(txt::parse_text), set.len()) {
            (Some(strings), 1) if strings.first() == Some(&SCHEMA) => {
                // What else is there and not known here is from a newer version that this one can live with.
                if let Ok(epoch) = Epoch::parse(&strings) {
                    self.epoch = epoch;
                    return self.schema = Schema::V1;
                }
                Schema::Unknown(strings.join(" "))
            }
            (Some(strings), 1) => Schema::Unknown(strings.join(" ")),
            (None, 1) => Schema::Unknown("unreadable".into()),
            (_, records) => Schema::Unknown(format!("{records} records")),
        };
        self.finding(
            owner,
            None,
            "expected one TXT record, \"zonemesh=1\" and, from the second epoch on, \"epoch=<number>\" \"writer=<site>\"".into(),
        );
    }

    fn owner(&mut self, owner: &Name, prefix: usize, set: RrsetRef<'_>) {
        let labels = prefix - b"\x06_zones".len();
        let zone = [&owner.as_slice()[..labels], &[0]].concat();
        let Ok(zone) = Name::from_octets(Bytes::from(zone)) else {
            return self.finding(owner, None, "the zone's name cannot be read".into());
        };
        let (Some(rdata), 1) = (set.first(), set.len()) else {
            let message = format!(
                "{} sites claim to be primary for {}; a zone has one",
                set.len(),
                zone.fmt_with_dot()
            );
            return self.finding(owner, None, message);
        };
        let site = Name::from_octets(Bytes::copy_from_slice(rdata))
            .ok()
            .and_then(|name| SiteName::of(&name, self.apex));
        match site {
            Some(site) => {
                self.owners.insert(zone, site);
            }
            None => {
                let message = format!(
                    "expected the name of a site of {}, found {}",
                    self.apex.fmt_with_dot(),
                    crate::record::rdata_text(Rtype::PTR, rdata)
                );
                self.finding(owner, None, message);
            }
        }
    }

    fn tombstone(&mut self, owner: &Name, label: &[u8], set: RrsetRef<'_>) {
        let Some(site) = self.site(owner, label) else {
            return;
        };
        // All that can be read counts: a key that is barred by half a tombstone is better barred.
        let mut pins = BTreeSet::new();
        let mut at = None;
        for rdata in set.iter() {
            for string in txt::parse_text(rdata).unwrap_or_default() {
                let good = match string.split_once('=') {
                    Some(("pin", pin)) => pin.parse().map(|pin| pins.insert(pin)).is_ok(),
                    Some(("at", time)) => time.parse().map(|time| at = at.max(Some(time))).is_ok(),
                    _ => true,
                };
                if !good {
                    let message = format!("`{string}` in a tombstone cannot be read");
                    self.finding(owner, Some(&site), message);
                }
            }
        }
        if at.is_none() {
            let message = "a tombstone without \"at=<seconds since 1970>\"".into();
            self.finding(owner, Some(&site), message);
        }
        let removed = Removed {
            pins: pins.into_iter().collect(),
            at: at.unwrap_or(0),
        };
        self.removed.insert(site, removed);
    }

    fn gone(&mut self, owner: &Name, set: RrsetRef<'_>) {
        let strings = set.first().and_then(txt::parse_text).unwrap_or_default();
        let at = strings.iter().find_map(|text| text.strip_prefix("at="));
        match (
            at.and_then(|at| at.parse().ok()),
            gone::zone_of(owner, self.apex),
        ) {
            (Some(at), Some(zone)) => {
                self.gone.insert(zone, at);
            }
            _ => {
                let message = "expected \"at=<seconds since 1970>\" for a zone that was removed";
                self.finding(owner, None, message.into());
            }
        }
    }

    fn address(&mut self, owner: &Name, label: &[u8], set: RrsetRef<'_>) {
        // A directory may hold other hosts too, with names that no site could have.
        let Ok(site) = SiteName::new(&String::from_utf8_lossy(label)) else {
            return;
        };
        for rdata in set.iter() {
            let address: Option<IpAddr> = match set.rtype() {
                Rtype::A => <[u8; 4]>::try_from(rdata).ok().map(IpAddr::from),
                _ => <[u8; 16]>::try_from(rdata).ok().map(IpAddr::from),
            };
            match address {
                Some(address) => self.draft(&site).addresses.push(address),
                None => self.finding(owner, Some(&site), "malformed address".into()),
            }
        }
    }

    fn service(&mut self, owner: &Name, label: &[u8], set: RrsetRef<'_>) {
        let Some(site) = self.site(owner, label) else {
            return;
        };
        let mut seen: Vec<(Alpn, Option<u16>)> = Vec::new();
        for rdata in set.iter() {
            match parse_service(rdata) {
                Ok(Some(service)) => {
                    let target = SiteName::of(&service.target, self.apex);
                    if target.as_ref() != Some(&site) {
                        let message = format!(
                            "an SVCB record must lead to the site itself, not to {}",
                            service.target.fmt_with_dot()
                        );
                        self.finding(owner, Some(&site), message);
                        continue;
                    }
                    seen.extend(service.alpn.into_iter().map(|alpn| (alpn, service.port)));
                }
                Ok(None) => self.finding(
                    owner,
                    Some(&site),
                    "an SVCB record in alias form is not followed".into(),
                ),
                Err(message) => self.finding(owner, Some(&site), message),
            }
        }
        for wanted in [Alpn::Dot, Alpn::Doq] {
            let ports: BTreeSet<u16> = seen
                .iter()
                .filter(|(alpn, _)| *alpn == wanted)
                .map(|(_, port)| port.unwrap_or(853))
                .collect();
            if ports.len() > 1 {
                let message = format!("more than one port for {wanted:?}; the lowest is used");
                self.finding(owner, Some(&site), message);
            }
            let draft = self.draft(&site);
            match wanted {
                Alpn::Dot => draft.dot = ports.first().copied(),
                Alpn::Doq => draft.doq = ports.first().copied(),
            }
        }
    }

    fn key(
        &mut self,
        owner: &Name,
        label: &[u8],
        transport: Transport,
        port: &[u8],
        set: RrsetRef<'_>,
    ) {
        let Some(site) = self.site(owner, label) else {
            return;
        };
        let number = std::str::from_utf8(port)
            .ok()
            .and_then(|label| label.strip_prefix('_')?.parse::<u16>().ok());
        let Some(number) = number else {
            let message = "the first label of a TLSA record must be a port, such as _853".into();
            return self.finding(owner, Some(&site), message);
        };
        for rdata in set.iter() {
            match rdata.split_first_chunk::<3>() {
                Some(([3, 1, 1], hash)) if hash.len() == 32 => {
                    let mut pin = [0; 32];
                    pin.copy_from_slice(hash);
                    let key = (transport, number, KeyPin(pin));
                    self.draft(&site).keys.push(key);
                }
                _ => {
                    let message = format!(
                        "expected TLSA 3 1 1 and a SHA-256, found {}",
                        crate::record::rdata_text(Rtype::TLSA, rdata)
                    );
                    self.finding(owner, Some(&site), message);
                }
            }
        }
    }

    fn about(&mut self, owner: &Name, label: &[u8], set: RrsetRef<'_>) {
        let Some(site) = self.site(owner, label) else {
            return;
        };
        if set.len() > 1 {
            let message = "more than one TXT record; expected one with all strings".into();
            self.finding(owner, Some(&site), message);
        }
        let mut about = About::default();
        let mut role = None;
        for string in set.iter().filter_map(txt::parse_text).flatten() {
            let (key, value) = string.split_once('=').unwrap_or((string, ""));
            match key {
                "role" => match value.parse::<Role>() {
                    // Of two roles neither is believed.
                    Ok(found) if role.is_none_or(|have| have == found) => role = Some(found),
                    Ok(_) => {
                        role = Some(Role::Standard);
                        let message = "two roles; standard is assumed".into();
                        self.finding(owner, Some(&site), message);
                    }
                    Err(error) => self.finding(owner, Some(&site), error.to_string()),
                },
                "engine" => about.engine = value.into(),
                "failure-domain" => about.failure_domain = Some(value.into()),
                "dns-port" => match value.parse() {
                    Ok(port) if port != 0 => about.dns = Some(port).filter(|port| *port != 53),
                    _ => {
                        let message = format!("dns-port `{value}` is not a port");
                        self.finding(owner, Some(&site), message);
                    }
                },
                // From a newer version; not ours to mind.
                _ => {}
            }
        }
        if role.is_none() {
            let message = "no role that can be read; standard is assumed".into();
            self.finding(owner, Some(&site), message);
        }
        about.role = role.unwrap_or_default();
        self.draft(&site).about = Some(about);
    }

    fn draft(&mut self, site: &SiteName) -> &mut Draft {
        self.drafts.entry(site.clone()).or_default()
    }

    /// The older convention. It has only a zone's first label, so the zones must be known.
    fn legacy(&mut self, zone: &Zone, known_zones: &[Name]) {
        let mut labels: BTreeMap<Vec<u8>, BTreeSet<&Name>> = BTreeMap::new();
        for known in known_zones.iter().filter(|known| !known.is_root()) {
            labels.entry(first_label(known)).or_default().insert(known);
        }
        for (label, zones) in labels {
            let Ok(owner) = below(&[&label], self.apex) else {
                continue;
            };
            let Some(set) = zone.rrset(&owner, Rtype::TXT) else {
                continue;
            };
            let sites: BTreeSet<SiteName> = set
                .iter()
                .filter_map(|rdata| legacy_target(rdata, self.apex))
                .collect();
            let open: Vec<&Name> = zones
                .into_iter()
                .filter(|zone| !self.owners.contains_key(*zone))
                .collect();
            match (&open[..], sites.len(), sites.first()) {
                ([], ..) | (_, 0, _) => {}
                ([zone], 1, Some(site)) => {
                    self.owners.insert((*zone).clone(), site.clone());
                    self.draft(site).named = true;
                }
                ([_], ..) => {
                    let message = "names more than one site as primary; a zone has one".into();
                    self.finding(&owner, None, message);
                }
                (zones, ..) => {
                    let zones: Vec<_> = zones.iter().map(|zone| zone.to_string()).collect();
                    let message = format!(
                        "may mean {}; write a _zones record for each",
                        zones.join(" or ")
                    );
                    self.finding(&owner, None, message);
                }
            }
        }
    }

    /// The keys of tombstones.
    fn barred(&self) -> BTreeSet<KeyPin> {
        let pins = self.removed.values().flat_map(|removed| &removed.pins);
        pins.copied().collect()
    }

    fn finish(mut self) -> Directory {
        let barred = self.barred();
        let mut sites = BTreeMap::new();
        for (name, draft) in std::mem::take(&mut self.drafts) {
            if draft.is_site()
                && let Some(site) = self.site_of(&name, draft, &barred)
            {
                sites.insert(name, site);
            }
        }
        self.cross_check(&sites);
        self.findings.sort_by(|a, b| a.owner.cmp(&b.owner));
        Directory {
            apex: self.apex.clone(),
            schema: self.schema,
            epoch: self.epoch,
            sites,
            removed: self.removed,
            // What is listed is there, whatever was once.
            gone: without(self.gone, &self.owners),
            owners: self.owners,
            findings: self.findings,
        }
    }

    /// Puts together what was seen of a site; `None` when it was removed and shows no new key.
    fn site_of(
        &mut self,
        name: &SiteName,
        draft: Draft,
        barred: &BTreeSet<KeyPin>,
    ) -> Option<Site> {
        let owner = name.under(self.apex).ok()?;
        let mut pins = BTreeSet::new();
        let mut struck = 0;
        for (transport, port, pin) in &draft.keys {
            let expected = match transport {
                Transport::Tcp => draft.dot,
                Transport::Udp => draft.doq,
            };
            if barred.contains(pin) {
                struck += 1;
                let message = format!("key {pin} belongs to a removed site and is not trusted");
                self.finding(&owner, Some(name), message);
            } else if expected == Some(*port) {
                pins.insert(*pin);
            } else {
                let message = format!(
                    "key {pin} is for port {port}, at which the site offers nothing; it is not trusted"
                );
                self.finding(&owner, Some(name), message);
            }
        }
        if pins.is_empty() && (struck > 0 || self.removed.contains_key(name)) {
            let message = "was removed; what is left of it is ignored".into();
            self.finding(&owner, Some(name), message);
            return None;
        }
        if pins.is_empty() && (draft.dot.is_some() || draft.doq.is_some()) {
            let message = "offers DNS over TLS or QUIC without a TLSA record for its key".into();
            self.finding(&owner, Some(name), message);
        }
        if draft.addresses.is_empty() {
            self.finding(&owner, Some(name), "has no address".into());
        }
        if draft.about.is_none() {
            let message = "has no _site record; the role standard is assumed".into();
            self.finding(&owner, Some(name), message);
        }
        let about = draft.about.unwrap_or_default();
        let mut addresses = draft.addresses;
        addresses.sort_unstable();
        addresses.dedup();
        Some(Site {
            name: name.clone(),
            addresses,
            dot: draft.dot,
            doq: draft.doq,
            dns: about.dns,
            pins: pins.into_iter().collect(),
            role: about.role,
            engine: about.engine,
            failure_domain: about.failure_domain,
        })
    }

    /// What shows only when all sites are known.
    fn cross_check(&mut self, sites: &BTreeMap<SiteName, Site>) {
        let mut keys: BTreeMap<KeyPin, Vec<&SiteName>> = BTreeMap::new();
        for site in sites.values() {
            for pin in &site.pins {
                keys.entry(*pin).or_default().push(&site.name);
            }
        }
        let apex = self.apex.clone();
        for (pin, users) in keys.into_iter().filter(|(_, users)| users.len() > 1) {
            let users: Vec<_> = users.iter().map(|site| site.as_str()).collect();
            let message = format!(
                "{} have the same key {pin}; make a new one at all but one of them",
                users.join(" and ")
            );
            self.finding(&apex, None, message);
        }
        let primaries: Vec<_> = sites
            .values()
            .filter(|site| site.role == Role::CatalogPrimary)
            .map(|site| site.name.as_str())
            .collect();
        if primaries.len() > 1 {
            let message = format!("{} all say catalog-primary", primaries.join(" and "));
            self.finding(&apex, None, message);
        } else if let (Some(writer), [primary]) = (&self.epoch.writer, &primaries[..])
            && writer.as_str() != *primary
        {
            let message = format!(
                "{} was made the writer, but {primary} says catalog-primary",
                self.epoch
            );
            self.finding(&apex, None, message);
        }
        let lost: Vec<_> = self
            .owners
            .iter()
            .filter(|(_, site)| !sites.contains_key(*site))
            .map(|(zone, site)| (zone.clone(), site.clone()))
            .collect();
        for (zone, site) in lost {
            let message = format!(
                "the primary of {} is {site}, which is not a site of this directory",
                zone.fmt_with_dot()
            );
            self.finding(&apex, Some(&site), message);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alpn {
    Dot,
    Doq,
}

struct Service {
    target: Name,
    alpn: Vec<Alpn>,
    port: Option<u16>,
}

/// Looks into an SVCB record (RFC 9460 §2.2); `None` for the alias form.
fn parse_service(rdata: &[u8]) -> Result<Option<Service>, String> {
    let malformed = || "malformed SVCB record".to_string();
    let (priority, rest) = rdata.split_first_chunk::<2>().ok_or_else(malformed)?;
    let mut len = 0;
    loop {
        match rest.get(len) {
            Some(0) => break,
            Some(label) => len += *label as usize + 1,
            None => return Err(malformed()),
        }
    }
    let (target, mut params) = rest.split_at(len + 1);
    let target = Name::from_octets(Bytes::copy_from_slice(target)).map_err(|_| malformed())?;
    if *priority == [0, 0] {
        return Ok(None);
    }
    let mut service = Service {
        target,
        alpn: Vec::new(),
        port: None,
    };
    while let Some((&[k0, k1, l0, l1], rest)) = params.split_first_chunk::<4>() {
        let (value, rest) = rest
            .split_at_checked(u16::from_be_bytes([l0, l1]) as usize)
            .ok_or_else(malformed)?;
        params = rest;
        match u16::from_be_bytes([k0, k1]) {
            SVCB_ALPN => {
                let ids = txt::parse(value).ok_or_else(malformed)?;
                service
                    .alpn
                    .extend(ids.into_iter().filter_map(|id| match id {
                        b"dot" => Some(Alpn::Dot),
                        b"doq" => Some(Alpn::Doq),
                        _ => None,
                    }));
            }
            SVCB_PORT => {
                let port = <[u8; 2]>::try_from(value).map_err(|_| malformed())?;
                service.port = Some(u16::from_be_bytes(port)).filter(|port| *port != 0);
            }
            // RFC 9460 §8: a mandatory key that we do not know makes the record useless; 0 lists them.
            0 if value.chunks(2).any(|key| {
                !matches!(key, [high, low] if [SVCB_ALPN, SVCB_PORT]
                    .contains(&u16::from_be_bytes([*high, *low])))
            }) =>
            {
                return Err("an SVCB record demands a parameter that is not known".into());
            }
            _ => {}
        }
    }
    match params {
        [] => Ok(Some(service)),
        _ => Err(malformed()),
    }
}
