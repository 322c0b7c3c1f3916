//! What operators have said about what the brake holds, and for which zones and sites it waits for them to say something. It is kept
//! on disk until it has served, so that a restart in between neither forgets an approval nor asks again about what was declined; and
//! so that what is held stays held, however much of it has come back meanwhile.
//!
//! An approval goes once it has been made use of, and is good for a week until then; what was declined is not asked about for a
//! month, and can be approved all the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use zonemesh_zone::directory::SiteName;
use zonemesh_zone::record::{canonical_text, parse_name};
use zonemesh_zone::{Name, Serial};

use super::{Answer, Core, Now, RequestId, Settings};
use crate::brake::{Approvals, Fingerprint};
use crate::desired::{Peer, Scope};
use crate::plan::Observed;

/// The table of the store in which it is kept, by what it is about: a fingerprint, a zone or a site. An empty value says nothing.
pub const CONSENT: &str = "consent";

const DAY: u64 = 86_400;

/// What an operator says to what is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Let it go on.
    Approve,
    /// Leave everything as it is, and ask no more.
    Decline,
}

impl Verdict {
    /// For how many seconds it holds.
    fn good_for(self) -> u64 {
        match self {
            Self::Approve => 7 * DAY,
            Self::Decline => 30 * DAY,
        }
    }
}

/// One of them, and when it was said, as it is kept.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Said {
    verdict: Verdict,
    /// Unix time.
    at: i64,
}

/// All of them.
#[derive(Default)]
pub(super) struct Consent {
    said: BTreeMap<Fingerprint, Said>,
    approved: Approvals,
    /// For which zones and sites the store has that they wait.
    waiting: Scope,
}

/// What begins the key of a zone that waits, and of a site; a fingerprint has no space in it.
const ZONE: &str = "zone ";
const SITE: &str = "site ";

impl Consent {
    /// What was said before the start; and what waited then, as it was met.
    pub(super) fn kept(settings: &mut Settings) -> (Self, Observed) {
        let mut consent = Self::default();
        let mut waiting = Observed::default();
        for (key, value) in std::mem::take(&mut settings.consent) {
            if value.is_empty() {
                continue;
            }
            if let Some(zone) = key.strip_prefix(ZONE) {
                waiting.held.zones.extend(parse_name(zone).ok());
            } else if let Some(site) = key.strip_prefix(SITE) {
                // What cannot be read was written by another version, and is asked again when there is more than one of it.
                let peer = serde_json::from_slice::<Peer>(&value).ok();
                if let Some((site, peer)) = SiteName::new(site).ok().zip(peer) {
                    waiting.held.sites.insert(site.clone());
                    waiting.peers.insert(site, peer);
                }
            } else if let Ok(said) = serde_json::from_slice(&value) {
                consent.put(Fingerprint(key), said);
            }
        }
        consent.waiting = waiting.held.clone();
        (consent, waiting)
    }

    fn put(&mut self, about: Fingerprint, said: Said) {
        match said.verdict {
            Verdict::Approve => self.approved.insert(about.clone()),
            Verdict::Decline => self.approved.remove(&about),
        };
        self.said.insert(about, said);
    }

    /// What may go on.
    pub(super) fn approved(&self) -> &Approvals {
        &self.approved
    }

    pub(super) fn is_declined(&self, about: &Fingerprint) -> bool {
        let said = self.said.get(about);
        said.is_some_and(|said| said.verdict == Verdict::Decline)
    }
}

/// # What operators have said
impl Core {
    /// An operator says what becomes of what is held. The answer comes when that is durable.
    pub(super) fn decide(&mut self, request: RequestId, hash: String, verdict: Verdict, now: Now) {
        let said = Said {
            verdict,
            at: now.wall,
        };
        let about = Fingerprint(hash);
        let answer = Answer {
            request,
            serial: Serial(0),
            changed: true,
        };
        let value = serde_json::to_vec(&said).unwrap_or_default();
        let note = (CONSENT.to_owned(), about.0.clone(), value);
        self.consent.put(about.clone(), said);
        self.commit(Vec::new(), vec![note], Some(answer));
        self.decided(&about, verdict, now);
        self.reconcile(now);
    }

    /// Keeps on disk for which zones and sites the brake waits, where others wait than that says.
    pub(super) fn keep_waiting(&mut self) {
        let Some(mesh) = &self.mesh else { return };
        let (now, kept) = (mesh.held(), &mut self.consent.waiting);
        if *now == *kept {
            return;
        }
        let zone = |zone: &Name, value: &[u8]| {
            let key = format!("{ZONE}{}", canonical_text(zone));
            (CONSENT.to_owned(), key, value.to_vec())
        };
        let site = |site: &SiteName, value| (CONSENT.to_owned(), format!("{SITE}{site}"), value);
        let met = |site: &SiteName| serde_json::to_vec(&mesh.peer(site)).unwrap_or_default();
        let mut notes = Vec::new();
        notes.extend(kept.zones.difference(&now.zones).map(|it| zone(it, b"")));
        notes.extend(now.zones.difference(&kept.zones).map(|it| zone(it, b"1")));
        let gone = kept.sites.difference(&now.sites);
        notes.extend(gone.map(|it| site(it, Vec::new())));
        let more = now.sites.difference(&kept.sites);
        notes.extend(more.map(|it| site(it, met(it))));
        *kept = now.clone();
        self.commit(Vec::new(), notes, None);
    }

    /// Whether an operator wants to be asked no more about what is held under this name.
    pub fn is_declined(&self, about: &Fingerprint) -> bool {
        self.consent.is_declined(about)
    }

    /// What was said has served.
    pub(super) fn forget_consent<'a>(&mut self, all: impl IntoIterator<Item = &'a Fingerprint>) {
        let mut notes = Vec::new();
        for about in all {
            self.consent.approved.remove(about);
            if self.consent.said.remove(about).is_some() {
                notes.push((CONSENT.to_owned(), about.0.clone(), Vec::new()));
            }
        }
        if !notes.is_empty() {
            self.commit(Vec::new(), notes, None);
        }
    }

    /// What was said too long ago is asked again; so is what was said by a clock that is as wrong as that.
    pub(super) fn forget_old_consent(&mut self, now: Now) {
        let said = self.consent.said.iter();
        let old = said.filter(|(_, said)| said.at.abs_diff(now.wall) > said.verdict.good_for());
        let old: Vec<Fingerprint> = old.map(|(about, _)| about.clone()).collect();
        self.forget_consent(&old);
    }
}
