//! The one table of checks: what each is called, how bad it is, when it is there and what to do. The reference is made of it.

use zonemesh_api::types::{Check, CheckState};

/// One sort of check.
pub(super) struct Kind {
    /// Stable: programs look for it.
    name: &'static str,
    state: CheckState,
    /// When it is there.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the reference is made of it, by a test")
    )]
    when: &'static str,
    /// What to do next; shown with it.
    hint: &'static str,
}

impl Kind {
    /// Whether a check is of this sort.
    pub(super) fn is(&self, check: &Check) -> bool {
        check.name == self.name
    }

    /// The check, with what was found.
    pub(super) fn of(&self, subject: Option<String>, message: impl Into<String>) -> Check {
        Check {
            name: self.name.to_owned(),
            state: self.state,
            subject,
            message: message.into(),
            hint: Some(self.hint.to_owned()),
            since: None,
        }
    }
}

const fn critical(name: &'static str, when: &'static str, hint: &'static str) -> Kind {
    Kind {
        name,
        state: CheckState::Critical,
        when,
        hint,
    }
}

const fn warning(name: &'static str, when: &'static str, hint: &'static str) -> Kind {
    Kind {
        name,
        state: CheckState::Warning,
        when,
        hint,
    }
}

const fn fine(name: &'static str, when: &'static str, hint: &'static str) -> Kind {
    Kind {
        name,
        state: CheckState::Ok,
        when,
        hint,
    }
}

/// # This site
pub(super) const NOT_A_MEMBER: Kind = critical(
    "not-a-member",
    "the directory does not have this site, has it as removed, or no other site takes it for a member",
    "if it was removed: stop it, and join again with a new welcome packet: `zonemesh invite` on the catalog primary, then `zonemesh join` here",
);
pub(super) const NOT_READY: Kind = critical(
    "not-ready",
    "this site does not hold every zone of the mesh, and does not answer",
    "the zones below say why; `zonemesh status --watch` follows them",
);
pub(super) const STORE_FAILING: Kind = critical(
    "store-failing",
    "the last change could not be stored, or the disk has not answered a commit or a write to the data directory for 10 s; it is written to every 30 s at the least",
    "answers go on from memory, changes are refused with SERVFAIL; make room on, or mend, the disk of the data directory: nothing need be restarted then",
);
pub(super) const STORE_WAS_DAMAGED: Kind = warning(
    "store-was-damaged",
    "this site was started from a damaged store, which is kept beside the new one as `store.redb.damaged-N`; until that file is removed",
    "look why the disk has damaged it, and whether all zones are there; then remove the file, and the one beside it that says what was lost",
);
pub(super) const DISK_FILLING: Kind = warning(
    "disk-filling",
    "of the file system of the data directory less than 10 % and less than 1 GiB are free, or less than 10 % and 10,000 of its inodes; looked at every 5 s",
    "make room: a disk that is full takes no changes; `zonemesh_disk_free_bytes` shows how it goes",
);
pub(super) const DISK_NEARLY_FULL: Kind = critical(
    "disk-nearly-full",
    "less than 3 % and less than 128 MiB are free, or less than 3 % and 1,000 of the inodes",
    "make room now: when nothing is left, answers go on from memory, and changes are refused with SERVFAIL",
);
pub(super) const CORE_STUCK: Kind = critical(
    "core-stuck",
    "the site has made no decision for 10 s, or does not say how its zones stand within 3 s",
    "answers go on from memory; keep its log and a backtrace, and restart the site",
);
pub(super) const RECONCILE_LATE: Kind = critical(
    "reconcile-late",
    "no pass of planning has read directory and catalog and been carried out for three cycles of 60 s",
    "`zonemesh plan show` says what is missing or blocked; other sites and zones are followed no longer",
);
pub(super) const REMOVED_SITE_KNOCKING: Kind = warning(
    "removed-site-knocking",
    "a removed site has tried its old key within the last ten minutes, and was refused",
    "destroy its disk, or invite it anew",
);
pub(super) const CONFIGURATION_BROKEN: Kind = critical(
    "configuration-broken",
    "the configuration is not what its file says: the file is broken",
    "mend the file and run `zonemesh config reload`",
);
pub(super) const CONFIGURATION_NOT_LOADED: Kind = warning(
    "configuration-not-loaded",
    "the file of the configuration says something else than what runs: it was changed and not read again, has changes that only a start makes true, or could not be looked at",
    "`zonemesh config check` and then `zonemesh config reload`; what only a start makes true waits for that",
);
pub(super) const ZONE_FILE_NOT_READ: Kind = warning(
    "zone-file-not-read",
    "a zone file of the configuration was changed since it was read, was not imported, or cannot be looked at; what is served is the last good version",
    "`zonemesh config reload` reads it, and says what is wrong with it; `zonemesh zone check FILE` does too, and changes nothing",
);
pub(super) const PLAN_BLOCKED: Kind = critical(
    "plan-blocked",
    "the plan is not right, or came up three times in a row, and is not carried out",
    "`zonemesh plan show` has all reasons",
);
pub(super) const CATALOG_NOT_FOLLOWED: Kind = warning(
    "catalog-not-followed",
    "a foreign catalog, or some of its members, is not followed",
    "mend the catalog at its producer, or the `admit` list here; nothing was changed",
);
pub(super) const HELD_BY_BRAKE: Kind = warning(
    "held-by-brake",
    "removals in bulk wait for consent",
    "`zonemesh plan approve ID` lets it go on, `zonemesh plan decline ID` leaves everything as it is",
);

pub(super) const YIELDED_CHANGES: Kind = warning(
    "yielded-changes",
    "this site wrote directory, catalog or another zone while another site was the writer, or followed one that did, and that is not in what is served",
    "`zonemesh site yielded list` shows it; make it again or discard it",
);

pub(super) const ROLE_DIFFERS: Kind = fine(
    "role-differs",
    "the directory gives this site another role than `[site] role` of its file, as after a promotion: what the directory says counts",
    "write that role into the file, or change it in the directory with `zonemesh site role` or `zonemesh site promote`",
);

/// # Other sites
pub(super) const SITE_UNREACHABLE: Kind = warning(
    "site-unreachable",
    "a site does not answer; two probes in a row within 15 s",
    "its zones are served by the others meanwhile; changes reach it when it is back. `zonemesh site remove` takes out one that will not come back: as long as it is listed, each start of another site waits 5 s for it",
);
pub(super) const CUT_OFF: Kind = warning(
    "cut-off",
    "none of the other sites answers, and there are two at least: more likely than that all are down is that this site is cut off",
    "look at the network of this host, and at the status of another site, before anything is done about the others; what is held is served meanwhile",
);
pub(super) const SITE_STUCK: Kind = warning(
    "site-stuck",
    "a site answers probes and says that its disk or its core has made no progress for 10 s",
    "`zonemesh status` there says what hangs; its zones are served, and take no changes",
);
pub(super) const CLOCK_WRONG: Kind = critical(
    "clock-wrong",
    "this site's clock is off by more than 300 s, the fudge of TSIG, by what most of its peers have; over at 240 s",
    "set the clock of this host: transfers signed with TSIG and joins are refused with BADTIME until then",
);
pub(super) const CLOCK_OF_PEER_WRONG: Kind = warning(
    "clock-of-peer-wrong",
    "the clock of another site is off by more than 300 s, by what most have; over at 240 s",
    "set the clock of that host: transfers signed with TSIG and joins are refused there with BADTIME until then",
);
pub(super) const CLOCKS_DIFFER: Kind = warning(
    "clocks-differ",
    "the clocks of this site and another differ by more than 300 s, and there is no majority to say which is wrong",
    "look at the clocks of both hosts; TSIG and joins fail between them with BADTIME",
);

/// # Foreign servers
pub(super) const SERVER_UNREACHABLE: Kind = warning(
    "server-unreachable",
    "a foreign server of the configuration did not answer twice in a row",
    "what is held of its zones is served until it expires, and changes reach it when it is back; look at the server and the way to it",
);

/// # Copies of zones
pub(super) const ZONE_BEHIND: Kind = warning(
    "zone-behind",
    "a site serves an older version of a zone than the newest one known",
    "a change that was just made is seconds away; one that stays is not",
);
pub(super) const PEER_AHEAD: Kind = critical(
    "peer-ahead-of-primary",
    "a site, or a foreign secondary, has a greater serial of a zone than its primary: the primary was set back",
    "the primary goes above it by itself, and hears of it from the site that tells that secondary; look why its serial went back",
);
pub(super) const WENT_ABOVE: Kind = fine(
    "went-above",
    "since its start this site, a zone's primary, has met a peer with a greater serial, and has published what it has above that",
    "look why the serial was greater: an old copy was put back, the zone was made anew, or somebody else feeds that peer",
);
pub(super) const CONTENTS_DIFFER: Kind = critical(
    "contents-differ",
    "two sites hold different contents of a zone under the same serial; found by comparing digests, within 30 s",
    "who is not the zone's primary takes it anew from there; if the primary is away, bring it back: nobody else knows which is right",
);
pub(super) const ZONE_MISSING: Kind = critical(
    "zone-missing",
    "a site does not hold a zone of the mesh",
    "a zone that was just added is seconds away; one that stays missing is not",
);
pub(super) const COPY_LOST: Kind = critical(
    "copy-lost",
    "this site is a zone's primary, holds nothing of it, and waits for another site that does, or for all to say that they do not",
    "start the sites that are down; `zonemesh site remove` takes out those that will not come back",
);
pub(super) const ZONE_EMPTY: Kind = critical(
    "zone-empty",
    "this site is a zone's primary, and the zone has no contents anywhere: it has no zone file, or none that can be read",
    "`zonemesh zone import ZONE FILE` gives it contents, or `file` in its [[zone]]; the log says why a file was not read",
);
pub(super) const HISTORY_TAKEN: Kind = warning(
    "history-taken",
    "this site is a zone's primary with an old copy, and takes a newer history from another site; changes wait meanwhile",
    "it goes on by itself; look why the copy was an old one",
);
pub(super) const OTHERS_UNHEARD: Kind = warning(
    "others-unheard",
    "sites have not shown since this one started that they have nothing newer of its own zones",
    "start them: should this copy be an old one, what they have is taken; `zonemesh site remove` takes out those that will not come back: until then each start here delays changes by 5 s, and the first one by a jump of the serial by 65,536",
);
pub(super) const RECOVERED: Kind = fine(
    "recovered",
    "this site, a zone's primary, has taken from another site since its start what it had forgotten or lost",
    "`zonemesh zone history` shows what came; look why the copy was an old one",
);
pub(super) const ZONE_EXPIRING: Kind = warning(
    "zone-expiring",
    "a site could not refresh a zone for half of the time that its SOA allows; directory and catalog likewise",
    "mend the source that is named, before the zone is not answered any longer",
);
pub(super) const ZONE_NOT_REFRESHED: Kind = warning(
    "zone-not-refreshed",
    "no foreign source of a zone gives it any longer, though one at least answers",
    "what is held is served until it expires; look why the source refuses it, or has an older version",
);
pub(super) const ZONE_EXPIRED: Kind = critical(
    "zone-expired",
    "a site could not refresh a zone for as long as its SOA allows, and does not answer for it",
    "bring back one of its sources",
);

/// All of them, in the order of the reference.
#[cfg(test)]
const ALL: &[&Kind] = &[
    &NOT_A_MEMBER,
    &NOT_READY,
    &STORE_FAILING,
    &STORE_WAS_DAMAGED,
    &DISK_FILLING,
    &DISK_NEARLY_FULL,
    &CORE_STUCK,
    &RECONCILE_LATE,
    &REMOVED_SITE_KNOCKING,
    &CONFIGURATION_BROKEN,
    &CONFIGURATION_NOT_LOADED,
    &ZONE_FILE_NOT_READ,
    &PLAN_BLOCKED,
    &CATALOG_NOT_FOLLOWED,
    &HELD_BY_BRAKE,
    &YIELDED_CHANGES,
    &ROLE_DIFFERS,
    &SITE_UNREACHABLE,
    &CUT_OFF,
    &SITE_STUCK,
    &CLOCK_WRONG,
    &CLOCK_OF_PEER_WRONG,
    &CLOCKS_DIFFER,
    &SERVER_UNREACHABLE,
    &ZONE_BEHIND,
    &PEER_AHEAD,
    &WENT_ABOVE,
    &CONTENTS_DIFFER,
    &ZONE_MISSING,
    &COPY_LOST,
    &ZONE_EMPTY,
    &HISTORY_TAKEN,
    &OTHERS_UNHEARD,
    &RECOVERED,
    &ZONE_EXPIRING,
    &ZONE_NOT_REFRESHED,
    &ZONE_EXPIRED,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_of_checks_is_this_table() {
        let kinds = include_str!("table.rs").matches(": Kind = ").count();
        // One of them is in this very line.
        assert_eq!(kinds - 1, ALL.len(), "a check is missing in ALL");
        let mut table =
            String::from("| Check | Severity | When | What to do |\n|---|---|---|---|\n");
        for kind in ALL {
            let state = format!("{:?}", kind.state).to_lowercase();
            table += &format!(
                "| `{}` | {state} | {} | {} |\n",
                kind.name, kind.when, kind.hint
            );
        }
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docs/reference/status.md"
        );
        let text = std::fs::read_to_string(path).unwrap();
        let (start, end) = ("<!-- checks -->\n", "<!-- end of checks -->");
        let (before, rest) = text.split_once(start).unwrap();
        let (_, after) = rest.split_once(end).unwrap();
        let made = format!("{before}{start}{table}{end}{after}");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(path, &made).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(path).unwrap(),
            made,
            "run it with BLESS=1"
        );
    }
}
