//! Semantic checks: what a zone may not have, and what it hardly means to have.
//!
//! What is an error here makes `named-checkzone` or `kzonecheck` refuse the zone as well; what they let pass with a
//! remark is a warning. The cost is that of one walk through the zone with a lookup for each target within it.
//! What it deliberately does not do: ask another server, and check signatures.

use std::fmt::Display;

use crate::file::report::Report;
use crate::finding::{Finding, Kind, Severity};
use crate::version::{NameRef, is_at_or_below, owned};
use crate::{Node, Rtype, SoaNumbers, Sought, Zone};

/// Checks a zone. Of each kind only the first few findings are listed; a last one says how many more there are.
pub fn check(zone: &Zone) -> Vec<Finding> {
    let mut report = Report::default();
    report.zone = Some(zone.apex().clone());
    let mut checker = Checker {
        zone,
        report,
        cut: None,
        dname: None,
        sought: Sought::new(),
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
    cut: Option<&'z Node>,
    /// The last DNAME that was met.
    dname: Option<&'z Node>,
    /// The last target that was looked for.
    sought: Sought,
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
    fn error(&mut self, kind: Kind, node: &Node, rtype: Rtype, message: impl Display) {
        self.report(Severity::Error, kind, node, rtype, message);
    }

    fn warn(&mut self, kind: Kind, node: &Node, rtype: Rtype, message: impl Display) {
        self.report(Severity::Warning, kind, node, rtype, message);
    }

    fn report(
        &mut self,
        severity: Severity,
        kind: Kind,
        node: &Node,
        rtype: Rtype,
        message: impl Display,
    ) {
        self.report.add_if_listed(severity, kind, || {
            Finding::new(severity, kind, message.to_string()).about(&owned(node.owner()), rtype)
        });
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
            self.report.add(
                Finding::new(Severity::Warning, Kind::SoaTimes, message).about(apex, Rtype::SOA),
            );
        }
    }

    fn node(&mut self, node: &'z Node) {
        let owner = node.owner_octets();
        let is_apex = owner.len() == self.zone.apex().len();
        let is_below = |above: &&Node| is_at_or_below(owner, above.owner_octets());
        self.cut = self.cut.filter(is_below);
        self.dname = self.dname.filter(is_below);
        self.host_names(node);
        if let Some(cut) = self.cut {
            self.below_cut(node, cut.owner());
            return;
        }
        if let Some(dname) = self.dname {
            self.below_dname(node, dname.owner());
        }
        self.aliases(node, is_apex);
        self.wildcards(node);
        self.ds(node, is_apex);
        let is_cut = !is_apex && node.delegates();
        self.name_servers(node, is_cut);
        self.targets(node, Rtype::MX, 2);
        self.targets(node, Rtype::SRV, 6);
        if is_cut {
            self.at_cut(node);
            self.cut = Some(node);
        }
        if node.redirects() {
            self.dname = Some(node);
        }
    }
}

/// # The rules
impl<'z> Checker<'z> {
    /// RFC 1034 §3.6.2, RFC 2181 §10.1, RFC 6672 §2.3 and §2.4.
    fn aliases(&mut self, node: &Node, is_apex: bool) {
        if !node.is_alias() && !node.redirects() {
            return;
        }
        for (rtype, kind) in [(Rtype::CNAME, Kind::Cname), (Rtype::DNAME, Kind::Dname)] {
            if let Some(set) = node.rrset(rtype)
                && set.len() > 1
            {
                let message = format_args!(
                    "{} {rtype} records at one name; expected one, remove the others",
                    set.len()
                );
                self.error(kind, node, rtype, message);
            }
        }
        if node.is_alias() {
            let other = node
                .rrsets()
                .map(|set| set.rtype())
                .find(|rtype| !may_stand_with_cname(*rtype));
            if let Some(other) = other {
                let message = format_args!(
                    "CNAME and other data ({other}); a name with a CNAME record has nothing else (RFC 2181 §10.1), remove one of them"
                );
                self.error(Kind::Cname, node, Rtype::CNAME, message);
            }
        }
        if !is_apex && node.redirects() && node.delegates() {
            self.error(
                Kind::Dname,
                node,
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
            let message = format_args!(
                "data below the DNAME at {dname}, which covers it (RFC 6672 §2.4); remove it, or the DNAME"
            );
            self.error(Kind::Dname, node, rtype, message);
        }
    }

    fn below_cut(&mut self, node: &Node, cut: &NameRef) {
        for rtype in node.rrsets().map(|set| set.rtype()) {
            // Glue, and what signers of old versions left over, is what one expects here.
            if !matches!(
                rtype,
                Rtype::A | Rtype::AAAA | Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3
            ) {
                let message = format_args!(
                    "below the delegation of {cut}, so nobody gets to see it; move it to the zone {cut}"
                );
                self.warn(Kind::Occluded, node, rtype, message);
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
                let message = format_args!(
                    "at the delegation of {owner}, so nobody gets to see it; move it to the zone {owner}"
                );
                self.warn(Kind::Occluded, node, rtype, message);
            }
        }
    }

    fn wildcards(&mut self, node: &Node) {
        if !node.owner_octets().starts_with(b"\x01*") {
            return;
        }
        for rtype in [Rtype::NS, Rtype::DNAME] {
            if node.rrset(rtype).is_some() {
                let message = format_args!(
                    "{rtype} at a wildcard has no defined meaning (RFC 4592 §4); write out the names"
                );
                self.warn(Kind::Wildcard, node, rtype, message);
            }
        }
    }

    fn ds(&mut self, node: &Node, is_apex: bool) {
        if node.rrset(Rtype::DS).is_none() {
            return;
        }
        if is_apex {
            self.error(
                Kind::Ds,
                node,
                Rtype::DS,
                "DS at the zone's own apex (RFC 4035 §2.4); it belongs into the parent zone",
            );
        } else if !node.delegates() {
            self.warn(
                Kind::Ds,
                node,
                Rtype::DS,
                "DS at a name that is not delegated (RFC 4035 §2.4); add the NS records, or remove it",
            );
        }
    }

    fn name_servers(&mut self, node: &Node, is_cut: bool) {
        for rdata in node.rrset(Rtype::NS).into_iter().flat_map(|set| set.iter()) {
            let Some(target) = name_at(rdata, 0) else {
                continue;
            };
            let is_within = is_at_or_below(target.as_slice(), node.owner_octets());
            let (severity, kind) = match (self.target(target), is_cut) {
                (Target::Outside | Target::Addresses, _) => continue,
                (Target::Alias, _) => {
                    let (severity, kind) = match is_cut {
                        false => (Severity::Error, Kind::Ns),
                        true => (Severity::Warning, Kind::Target),
                    };
                    let message = format_args!(
                        "name server {target} is an alias (RFC 2181 §10.3); name the host that it stands for"
                    );
                    self.report(severity, kind, node, Rtype::NS, message);
                    continue;
                }
                (Target::Nothing | Target::Delegated, true) if is_within => {
                    let message = format_args!(
                        "name server {target} is within what is delegated and has no address here; add an A or AAAA record as glue"
                    );
                    self.error(Kind::Glue, node, Rtype::NS, message);
                    continue;
                }
                (Target::Nothing | Target::Delegated, true) => (Severity::Warning, Kind::Glue),
                (Target::Nothing | Target::Delegated, false) => (Severity::Error, Kind::Ns),
            };
            let message = format_args!(
                "name server {target} is in this zone and has no address; add an A or AAAA record"
            );
            self.report(severity, kind, node, Rtype::NS, message);
        }
    }

    /// RFC 2181 §10.3 and RFC 2782: the target of MX and SRV is a host, not an alias.
    fn targets(&mut self, node: &Node, rtype: Rtype, offset: usize) {
        for rdata in node.rrset(rtype).into_iter().flat_map(|set| set.iter()) {
            let Some(target) = name_at(rdata, offset).filter(|target| !target.is_root()) else {
                continue;
            };
            match self.target(target) {
                Target::Alias => {
                    let message = format_args!(
                        "{target} is an alias; name the host that it stands for (RFC 2181 §10.3, RFC 2782)"
                    );
                    self.warn(Kind::Target, node, rtype, message);
                }
                Target::Nothing => {
                    let message = format_args!(
                        "{target} is in this zone and has no address; add an A or AAAA record"
                    );
                    self.warn(Kind::Target, node, rtype, message);
                }
                Target::Outside | Target::Addresses | Target::Delegated => {}
            }
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
                node,
                rtype,
                "an address at a name that is not a host name; expected letters, digits and hyphens, with no hyphen at either end of a label",
            );
        }
    }

    fn target(&mut self, target: &NameRef) -> Target {
        let zone = self.zone;
        if !is_at_or_below(target.as_slice(), zone.apex().as_slice()) {
            return Target::Outside;
        }
        let sought = self.sought.set(target.as_slice());
        let mut exact = None;
        let mut delegated = false;
        for node in zone.descend(sought) {
            let len = node.owner_octets().len();
            delegated |= node.delegates() && len > zone.apex().len();
            if len == target.len() {
                exact = Some(node);
            } else if !delegated && node.redirects() {
                return Target::Alias;
            }
        }
        let node = match exact {
            Some(node) => Some(node),
            None if delegated || zone.tree().has_at_or_below(sought.key()) => None,
            // The wildcard that answers for a name that does not exist (RFC 4592 §3.3.1).
            None => {
                let wildcard = sought.wildcard_key(zone.descend(sought).encloser());
                zone.tree().get(wildcard.as_slice())
            }
        };
        match node {
            Some(node) if has_address(node) => Target::Addresses,
            _ if delegated => Target::Delegated,
            Some(node) if node.is_alias() => Target::Alias,
            _ => Target::Nothing,
        }
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

fn name_at(rdata: &[u8], offset: usize) -> Option<&NameRef> {
    NameRef::from_slice(rdata.get(offset..)?).ok()
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
