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
    let mut approach = zone.tree().approach(sought);
    // What ends the way: below a zone cut or a DNAME nothing is looked for.
    let end = approach.by_ref().find(|node| {
        let is_apex = node.owner_octets().len() == apex_len;
        if is_apex {
            apex = Some(*node);
        }
        node.delegates() && !is_apex || node.redirects()
    });
    let node = end.or_else(|| approach.nearest())?;
    // Only now is it seen whether that is the name or an ancestor of it, or went another way: then there is none below those before it.
    let (encloser, others) = sought.shared(node.owner_octets());
    if name_len - encloser < apex_len {
        return None;
    }
    let apex = apex?;
    let (is_above, is_exact) = (others == 0, others == 0 && encloser == 0);
    let place = if is_above && node.delegates() && node.owner_octets().len() != apex_len {
        match is_exact && qtype == Rtype::DS {
            true => Place::AtCut(node),
            false => Place::Delegated(node),
        }
    } else if is_exact {
        match node.only_denies() {
            // RFC 5155 §7.2.8: the owner name of an NSEC3 record is no name that exists.
            true => wildcard(zone, sought, name_len - apex_len),
            false => Place::Node(node),
        }
    } else if is_above && node.redirects() {
        Place::Redirected(node)
    } else if encloser == 0 {
        Place::Empty
    } else {
        wildcard(zone, sought, encloser)
    };
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

#[cfg(test)]
mod tests {
    use zonemesh_zone::record::parse_name;
    use zonemesh_zone::{Editor, Record};

    use super::*;

    #[test]
    fn a_cut_or_a_dname_beside_the_way_is_none_of_the_name() {
        let apex = parse_name("example").unwrap();
        let mut editor = Editor::new(apex.clone());
        for text in [
            "@ 60 SOA ns root 1 2 3 4 5",
            "@ 60 NS ns.example.net.",
            "ab 60 NS x.ab",
            "x.ab 60 A 192.0.2.1",
            "ka 60 DNAME example.net.",
            "x.ka 60 A 192.0.2.1",
        ] {
            editor.add(Record::from_text(text, &apex).unwrap()).unwrap();
        }
        let zone = editor.finish().unwrap();
        // The octets in which the names differ are skipped on the way, which leads past the cut and past the DNAME.
        for name in ["x.ac.example", "y.ac.example", "x.kb.example", "kb.example"] {
            let name = parse_name(name).unwrap();
            let found = find(&zone, &Sought::from_wire(name.as_slice()), Rtype::A).unwrap();
            let encloser = name.len() - apex.len();
            assert!(
                matches!(found.place, Place::Nothing { encloser: at } if at == encloser),
                "{name}: {found:?}"
            );
        }
        for (name, is_delegated) in [("x.ab.example", true), ("y.ka.example", false)] {
            let name = parse_name(name).unwrap();
            let found = find(&zone, &Sought::from_wire(name.as_slice()), Rtype::A).unwrap();
            assert_eq!(matches!(found.place, Place::Delegated(_)), is_delegated);
            assert_eq!(matches!(found.place, Place::Redirected(_)), !is_delegated);
        }
        let elsewhere = parse_name("x.ab.example.net").unwrap();
        assert!(find(&zone, &Sought::from_wire(elsewhere.as_slice()), Rtype::A).is_none());
    }
}
