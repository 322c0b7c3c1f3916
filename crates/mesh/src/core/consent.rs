//! What operators have said about what the brake holds. It is kept on disk until it has served, so that a restart in between
//! neither forgets an approval nor asks again about what was declined.
//!
//! An approval goes once it has been made use of, and is good for a week until then; what was declined is not asked about for a
//! month, and can be approved all the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use zonemesh_zone::Serial;

use super::{Answer, Core, Now, RequestId, Settings};
use crate::brake::{Approvals, Fingerprint};

/// The table of the store in which it is kept, by what it is about; an empty value says nothing.
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
}

impl Consent {
    /// What was said before the start.
    pub(super) fn kept(settings: &mut Settings) -> Self {
        let mut consent = Self::default();
        for (hash, value) in std::mem::take(&mut settings.consent) {
            // What cannot be read is asked again.
            if let Ok(said) = serde_json::from_slice(&value) {
                consent.put(Fingerprint(hash), said);
            }
        }
        consent
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
