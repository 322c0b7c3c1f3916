//! Semantic checks: what a zone may not have, and what it hardly means to have.
//!
//! What is an error here makes `named-checkzone` or `kzonecheck` refuse the zone as well; what they let pass with a
//! remark is a warning. The cost is that of one walk through the zone with a lookup for each target within it.
//! What it deliberately does not do: ask another server, and check signatures.

use domain::base::name::ToName;

use crate::file::report::Report;
use crate::finding::{Finding, Kind, Severity};
use crate::version::{NameRef, owned};
use crate::{Key, Name, Node, Rtype, SoaNumbers, Sought, Zone};

/// Checks a zone. Of each kind only the first few findings are listed; a last one says how many more there are.
pub fn check(zone: &Zone) -> Vec<Finding> {
    let mut report = Report::default();
    report.zone = Some(zone.apex().clone());
    let mut checker = Checker {
        zone,
        report,
        cut: None,
        dname: None,
    };
    checker.apex();
    for node in zone.nodes() {
        checker.node(node);
        if checker.report.is_full() {
            break;
        }
    }
    checker.report.finish()
}

struct Checker<'z> {
    zone: &'z Zone,
    report: Report,
    /// The last zone cut that was met. In canonical order all that is below it follows at once.
    cut: Option<&'z NameRef>,
    /// The last DNAME that was met.
    dname: Option<&'z NameRef>,
}

/// What a name that a record points to has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// It is not in the zone.
    Outside,
    Addresses,
    /// A CNAME, or a DNAME above it.
    Alias,
    /// It is in the zone and has no addresses.
    Nothing,
    /// It is below a zone cut, and there is no glue for it.
    Delegated,
}

/// # What is reported
impl<'z> Checker<'z> {
    fn error(&mut self, kind: Kind, owner: &NameRef, rtype: Rtype, message: impl Into<String>) {
        self.report
            .add(Finding::new(Severity::Error, kind, message).about(&owned(owner), rtype));
    }

    fn warn(&mut self, kind: Kind, owner: &NameRef, rtype: Rtype, message: impl Into<String>) {
        self.report
            .add(Finding::new(Severity::Warning, kind, message).about(&owned(owner), rtype));
    }

    fn apex(&mut self) {
        let apex = self.zone.apex();
        if self.zone.rrset(apex, Rtype::NS).is_none() {
            self.report.add(
                Finding::new(
                    Severity::Error,
                    Kind::Ns,
                    "no NS record at the apex; expected one for each server of the zone",
                )
                .about(apex, Rtype::SOA),
            );
        }
        for message in soa_times(self.zone.numbers()) {
            self.warn(Kind::SoaTimes, apex.for_slice(), Rtype::SOA, message);
        }
    }

    fn node(&mut self, node: &'z Node) {
        let owner = node.owner();
        let is_apex = owner == self.zone.apex();
        self.cut = self.cut.filter(|cut| owner.ends_with(cut));
        self.dname = self.dname.filter(|dname| owner.ends_with(dname));
        self.host_names(node);
        if let Some(cut) = self.cut {
            self.below_cut(node, cut);
            return;
        }
        if let Some(dname) = self.dname {
            self.below_dname(node, dname);
        }
        self.aliases(node, is_apex);
        self.wildcards(node);
        self.ds(node, is_apex);
        let is_cut = !is_apex && node.rrset(Rtype::NS).is_some();
        self.name_servers(node, is_cut);
        self.targets(node, Rtype::MX, 2);
        self.targets(node, Rtype::SRV, 6);
        if is_cut {
            self.at_cut(node);
            self.cut = Some(owner);
        }
        if node.rrset(Rtype::DNAME).is_some() {
            self.dname = Some(owner);
        }
    }
}

/// # The rules
impl<'z> Checker<'z> {
    /// RFC 1034 §3.6.2, RFC 2181 §10.1, RFC 6672 §2.3 and §2.4.
    fn aliases(&mut self, node: &Node, is_apex: bool) {
        let owner = node.owner();
        for (rtype, kind) in [(Rtype::CNAME, Kind::Cname), (Rtype::DNAME, Kind::Dname)] {
            if let Some(set) = node.rrset(rtype)
                && set.iter().nth(1).is_some()
            {
                let message = format!(
                    "{} {rtype} records at one name; expected one, remove the others",
                    set.len()
                );
                self.error(kind, owner, rtype, message);
            }
        }
        if node.rrset(Rtype::CNAME).is_some() {
            let other = node
                .rrsets()
                .map(|set| set.rtype())
                .find(|rtype| !may_stand_with_cname(*rtype));
            if let Some(other) = other {
                let message = format!(
                    "CNAME and other data ({other}); a name with a CNAME record has nothing else (RFC 2181 §10.1), remove one of them"
                );
                self.error(Kind::Cname, owner, Rtype::CNAME, message);
            }
        }
        if !is_apex && node.rrset(Rtype::DNAME).is_some() && node.rrset(Rtype::NS).is_some() {
            self.error(
                Kind::Dname,
                owner,
                Rtype::DNAME,
                "DNAME and NS at a name that is not the apex (RFC 6672 §2.3); remove one of them",
            );
        }
    }

    fn below_dname(&mut self, node: &Node, dname: &NameRef) {
        // With a DNAME at the apex, NSEC3 records have nowhere else to stand.
        let first = node
            .rrsets()
            .map(|set| set.rtype())
            .find(|rtype| !matches!(*rtype, Rtype::NSEC3 | Rtype::RRSIG));
        if let Some(rtype) = first {
            let message = format!(
                "data below the DNAME at {dname}, which covers it (RFC 6672 §2.4); remove it, or the DNAME"
            );
            self.error(Kind::Dname, node.owner(), rtype, message);
        }
    }

    fn below_cut(&mut self, node: &Node, cut: &NameRef) {
        for rtype in node.rrsets().map(|set| set.rtype()) {
            // Glue, and what signers of old versions left over, is what one expects here.
            if !matches!(
                rtype,
                Rtype::A | Rtype::AAAA | Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3
            ) {
                let message = format!(
                    "below the delegation of {cut}, so nobody gets to see it; move it to the zone {cut}"
                );
                self.warn(Kind::Occluded, node.owner(), rtype, message);
            }
        }
    }

    fn at_cut(&mut self, node: &Node) {
        for rtype in node.rrsets().map(|set| set.rtype()) {
            if !matches!(
                rtype,
                Rtype::NS
                    | Rtype::DS
                    | Rtype::NSEC
                    | Rtype::RRSIG
                    | Rtype::A
                    | Rtype::AAAA
                    | Rtype::DNAME
                    | Rtype::CNAME
            ) {
                let owner = node.owner();
                let message = format!(
                    "at the delegation of {owner}, so nobody gets to see it; move it to the zone {owner}"
                );
                self.warn(Kind::Occluded, owner, rtype, message);
            }
        }
    }

    fn wildcards(&mut self, node: &Node) {
        let owner = node.owner();
        if owner.as_slice().starts_with(b"\x01*") {
            for rtype in [Rtype::NS, Rtype::DNAME] {
                if node.rrset(rtype).is_some() {
                    self.warn(
                        Kind::Wildcard,
                        owner,
                        rtype,
                        format!(
                            "{rtype} at a wildcard has no defined meaning (RFC 4592 §4); write out the names"
                        ),
                    );
                }
            }
        }
    }

    fn ds(&mut self, node: &Node, is_apex: bool) {
        if node.rrset(Rtype::DS).is_none() {
            return;
        }
        let owner = node.owner();
        if is_apex {
            self.error(
                Kind::Ds,
                owner,
                Rtype::DS,
                "DS at the zone's own apex (RFC 4035 §2.4); it belongs into the parent zone",
            );
        } else if node.rrset(Rtype::NS).is_none() {
            self.warn(
                Kind::Ds,
                owner,
                Rtype::DS,
                "DS at a name that is not delegated (RFC 4035 §2.4); add the NS records, or remove it",
            );
        }
    }

    fn name_servers(&mut self, node: &Node, is_cut: bool) {
        let owner = node.owner();
        for rdata in node.rrset(Rtype::NS).into_iter().flat_map(|set| set.iter()) {
            let Some(target) = name_at(rdata, 0) else {
                continue;
            };
            let found = self.target(&target);
            let (severity, kind, message) = match (found, is_cut) {
                (Target::Outside | Target::Addresses, _) => continue,
                (Target::Alias, false) => (
                    Severity::Error,
                    Kind::Ns,
                    format!(
                        "name server {target} is an alias (RFC 2181 §10.3); name the host that it stands for"
                    ),
                ),
                (Target::Alias, true) => (
                    Severity::Warning,
                    Kind::Target,
                    format!(
                        "name server {target} is an alias (RFC 2181 §10.3); name the host that it stands for"
                    ),
                ),
                (Target::Nothing | Target::Delegated, true) if target.ends_with(owner) => (
                    Severity::Error,
                    Kind::Glue,
                    format!(
                        "name server {target} is within what is delegated and has no address here; add an A or AAAA record as glue"
                    ),
                ),
                (Target::Nothing | Target::Delegated, true) => (
                    Severity::Warning,
                    Kind::Glue,
                    format!(
                        "name server {target} is in this zone and has no address; add an A or AAAA record"
                    ),
                ),
                (Target::Nothing | Target::Delegated, false) => (
                    Severity::Error,
                    Kind::Ns,
                    format!(
                        "name server {target} is in this zone and has no address; add an A or AAAA record"
                    ),
                ),
            };
            self.report
                .add(Finding::new(severity, kind, message).about(&owned(owner), Rtype::NS));
        }
    }

    /// RFC 2181 §10.3 and RFC 2782: the target of MX and SRV is a host, not an alias.
    fn targets(&mut self, node: &Node, rtype: Rtype, offset: usize) {
        for rdata in node.rrset(rtype).into_iter().flat_map(|set| set.iter()) {
            let Some(target) = name_at(rdata, offset).filter(|target| !target.is_root()) else {
                continue;
            };
            let message = match self.target(&target) {
                Target::Alias => {
                    format!(
                        "{target} is an alias; name the host that it stands for (RFC 2181 §10.3, RFC 2782)"
                    )
                }
                Target::Nothing => {
                    format!("{target} is in this zone and has no address; add an A or AAAA record")
                }
                Target::Outside | Target::Addresses | Target::Delegated => continue,
            };
            self.warn(Kind::Target, node.owner(), rtype, message);
        }
    }

    /// RFC 952 and RFC 1123 §2.1: hosts have names of letters, digits and hyphens.
    fn host_names(&mut self, node: &Node) {
        let Some(rtype) = [Rtype::A, Rtype::AAAA]
            .into_iter()
            .find(|rtype| node.rrset(*rtype).is_some())
        else {
            return;
        };
        if !is_host_name(node.owner()) {
            self.warn(
                Kind::HostName,
                node.owner(),
                rtype,
                "an address at a name that is not a host name; expected letters, digits and hyphens, with no hyphen at either end of a label",
            );
        }
    }

    fn target(&self, target: &Name) -> Target {
        let zone = self.zone;
        if !target.ends_with(zone.apex()) {
            return Target::Outside;
        }
        let sought = Sought::from_wire(target.as_slice());
        let mut exact = None;
        let mut delegated = false;
        for node in zone.descend(&sought) {
            delegated |= node.rrset(Rtype::NS).is_some() && node.owner() != zone.apex();
            if node.owner() == target {
                exact = Some(node);
            } else if !delegated && node.rrset(Rtype::DNAME).is_some() {
                return Target::Alias;
            }
        }
        let node = match exact {
            Some(node) => Some(node),
            None if delegated || zone.tree().has_at_or_below(sought.key()) => None,
            None => self.wildcard_for(target),
        };
        match node {
            Some(node) if has_address(node) => Target::Addresses,
            _ if delegated => Target::Delegated,
            Some(node) if node.rrset(Rtype::CNAME).is_some() => Target::Alias,
            _ => Target::Nothing,
        }
    }

    /// The wildcard that answers for a name that does not exist (RFC 4592 §3.3.1).
    fn wildcard_for(&self, name: &Name) -> Option<&'z Node> {
        let encloser = name
            .iter_suffixes()
            .skip(1)
            .map(|suffix| suffix.to_name::<bytes::Bytes>())
            .find(|suffix| self.zone.tree().has_at_or_below(Key::of(suffix).as_slice()))?;
        let mut wire = Vec::with_capacity(encloser.len() + 2);
        wire.extend_from_slice(b"\x01*");
        wire.extend_from_slice(encloser.as_slice());
        let wildcard = Name::from_octets(wire.into()).ok()?;
        self.zone.node(&wildcard)
    }
}

fn has_address(node: &Node) -> bool {
    node.rrset(Rtype::A).is_some() || node.rrset(Rtype::AAAA).is_some()
}

/// RFC 4035 §2.5: the signatures and the NSEC of the CNAME itself; KEY by RFC 3007 §5.
fn may_stand_with_cname(rtype: Rtype) -> bool {
    matches!(
        rtype,
        Rtype::CNAME | Rtype::RRSIG | Rtype::NSEC | Rtype::KEY
    )
}

fn name_at(rdata: &[u8], offset: usize) -> Option<Name> {
    let wire = rdata.get(offset..)?;
    Name::from_octets(bytes::Bytes::copy_from_slice(wire)).ok()
}

fn is_host_name(name: &NameRef) -> bool {
    name.iter()
        .filter(|label| !label.is_root())
        .enumerate()
        .all(|(at, label)| {
            let label = label.as_slice();
            (at == 0 && label == b"*")
                || (label
                    .iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
                    && !label.starts_with(b"-")
                    && !label.ends_with(b"-"))
        })
}

/// RFC 1912 §2.2 and RFC 2308 §5.
fn soa_times(soa: SoaNumbers) -> Vec<String> {
    let mut messages = Vec::new();
    let SoaNumbers {
        refresh,
        retry,
        expire,
        minimum,
        ..
    } = soa;
    for (what, value) in [("refresh", refresh), ("retry", retry), ("expire", expire)] {
        if value == 0 {
            messages.push(format!("{what} is 0; expected some seconds"));
        }
    }
    if retry > refresh {
        messages.push(format!(
            "retry ({retry} s) is longer than refresh ({refresh} s); expected less"
        ));
    }
    if u64::from(expire) < u64::from(refresh) + u64::from(retry) {
        messages.push(format!(
            "expire ({expire} s) is shorter than refresh and retry together ({refresh} s + {retry} s): one lost refresh takes the zone from its secondaries; make it days or weeks"
        ));
    }
    if minimum > 86_400 {
        messages.push(format!(
            "minimum ({minimum} s) is longer than a day, so a name that is missing for a moment is missed for long; expected at most 86400 (RFC 2308 §5)"
        ));
    }
    messages
}

#[cfg(test)]
mod tests;
