//! Finding a name in a zone (RFC 1034 §4.3.2 step 3, RFC 4592, RFC 6672 §3.2) in one descent, or two where a wildcard
//! has to be looked for.

use zonemesh_zone::{Node, Rtype, Sought, Zone};

/// What a zone has for a name.
#[derive(Debug)]
pub struct Found<'z> {
    /// The node of the zone's apex.
    pub apex: &'z Node,
    /// What the name is.
    pub place: Place<'z>,
}

/// What a name is in a zone.
#[derive(Debug)]
pub enum Place<'z> {
    /// It owns records that the zone is authoritative for.
    Node(&'z Node),
    /// It is at a zone cut and was asked for DS, which the parent's side answers (RFC 4035 §3.1.4.1).
    AtCut(&'z Node),
    /// It is at or below this zone cut.
    Delegated(&'z Node),
    /// It is below this name, which has a DNAME.
    Redirected(&'z Node),
    /// It does not exist, but a wildcard below its closest encloser does; an empty one when it is none but has names below.
    Wildcard {
        /// The wildcard's node.
        node: Option<&'z Node>,
        /// Where in the name its closest encloser begins.
        encloser: usize,
    },
    /// It exists, without records: an empty non-terminal.
    Empty,
    /// It does not exist.
    Nothing {
        /// Where in the name its closest encloser begins.
        encloser: usize,
    },
}

impl<'z> Place<'z> {
    /// The node that records come from.
    pub(crate) fn node(&self) -> Option<&'z Node> {
        match *self {
            Self::Node(node)
            | Self::AtCut(node)
            | Self::Delegated(node)
            | Self::Redirected(node) => Some(node),
            Self::Wildcard { node, .. } => node,
            Self::Empty | Self::Nothing { .. } => None,
        }
    }
}

/// Finds a name, for a question of some type. None if the name is not in the zone.
pub fn find<'z>(zone: &'z Zone, sought: &Sought, qtype: Rtype) -> Option<Found<'z>> {
    let name_len = sought.wire().len();
    let apex_len = zone.apex().len();
    let mut apex = None;
    let mut descent = zone.descend(sought);
    let mut end = None;
    for node in descent.by_ref() {
        let len = node.owner_octets().len();
        let exact = len == name_len;
        if len == apex_len {
            apex = Some(node);
        } else if node.delegates() {
            end = Some(match exact && qtype == Rtype::DS {
                true => Place::AtCut(node),
                false => Place::Delegated(node),
            });
            break;
        }
        if exact {
            if !node.only_denies() {
                end = Some(Place::Node(node));
            }
            break;
        }
        if node.redirects() {
            end = Some(Place::Redirected(node));
            break;
        }
    }
    let apex = apex?;
    if let Some(place) = end {
        return Some(Found { apex, place });
    }
    let mut encloser = descent.encloser();
    if encloser == 0 {
        // RFC 5155 §7.2.8: the owner name of an NSEC3 record is no name that exists.
        match zone.tree().get(sought.key()) {
            Some(_) => encloser = name_len - apex_len,
            None => {
                return Some(Found {
                    apex,
                    place: Place::Empty,
                });
            }
        }
    }
    let place = wildcard(zone, sought, encloser);
    Some(Found { apex, place })
}

/// What comes of the wildcard below the closest encloser (RFC 4592 §3.3.1).
fn wildcard<'z>(zone: &'z Zone, sought: &Sought, encloser: usize) -> Place<'z> {
    let key = sought.wildcard_key(encloser);
    let Some(first) = zone.tree().first_at_or_below(key.as_slice()) else {
        return Place::Nothing { encloser };
    };
    // It is the wildcard's own unless that is an empty non-terminal.
    let len = sought.wire().len() - encloser + 2;
    let node = Some(first).filter(|first| first.owner_octets().len() == len);
    Place::Wildcard { node, encloser }
}
