//! What is made of one copy of a zone, and what needs attention.

use zonemesh_api::types as api;
use zonemesh_mesh::core::Failure;
use zonemesh_transfer::query::SoaAnswer;
use zonemesh_zone::directory::Site;
use zonemesh_zone::{Serial, SerialExt};

use super::table;

pub(super) fn copy_there(
    site: &str,
    answer: &Result<SoaAnswer, Failure>,
    newest: Option<Serial>,
    at_primary: Option<Serial>,
    (is_primary, members_only): (bool, bool),
) -> api::ZoneAtSite {
    let serial = answer.as_ref().ok().map(|answer| answer.soa.serial);
    let state = match (answer, newest) {
        // A site that does not take us for a member says nothing about what it holds.
        (Err(failure), _) if failure.unreachable || members_only => api::CopyState::Unknown,
        (Err(_), _) => api::CopyState::Missing,
        (Ok(answer), _)
            if at_primary.is_some_and(|primary| answer.soa.serial.is_after(primary)) =>
        {
            api::CopyState::Ahead
        }
        (Ok(answer), Some(newest)) if newest.is_after(answer.soa.serial) => api::CopyState::Behind,
        _ => api::CopyState::Current,
    };
    api::ZoneAtSite {
        site: site.to_owned(),
        state,
        serial: serial.map(Serial::into_int),
        age_secs: None,
        next_refresh_secs: None,
        expires_in_secs: answer
            .as_ref()
            .ok()
            .and_then(|answer| answer.expire)
            .filter(|_| !is_primary)
            .map(u64::from),
        transport: is_primary.then(|| "local".to_owned()),
        from: None,
        // Why a site does not answer at all stands with the site.
        last_error: answer
            .as_ref()
            .err()
            .filter(|failure| !failure.unreachable)
            .map(|failure| failure.message.clone()),
        errors: Vec::new(),
    }
}

/// What is wrong with one copy of a zone.
pub(super) fn copy_checks(
    zone: &str,
    copy: &api::ZoneAtSite,
    primary: Option<&str>,
    expire: u32,
    checks: &mut Vec<api::Check>,
) {
    let site = &copy.site;
    let why = copy
        .last_error
        .as_ref()
        .map(|error| format!(": {error}"))
        .unwrap_or_default();
    if is_expiring(copy, expire) {
        let what = expiring(zone, copy, &why);
        checks.push(table::ZONE_EXPIRING.of(Some(zone.to_owned()), what));
    }
    let (kind, message) = match copy.state {
        api::CopyState::Current => return,
        // The site itself is told of already.
        api::CopyState::Unknown => return,
        api::CopyState::Behind => (
            &table::ZONE_BEHIND,
            format!("{site} serves an older version of {zone}{why}"),
        ),
        api::CopyState::Ahead => (
            &table::PEER_AHEAD,
            format!(
                "{site} has a greater serial of {zone} than its primary {}",
                primary.unwrap_or("")
            ),
        ),
        api::CopyState::Missing => (
            &table::ZONE_MISSING,
            format!("{site} does not hold {zone}{why}"),
        ),
        api::CopyState::Expired => (
            &table::ZONE_EXPIRED,
            format!("{zone} has expired at {site} and is not answered there{why}"),
        ),
    };
    checks.push(kind.of(Some(zone.to_owned()), message));
}

/// Whether half of the time is over for which a copy may be served without a word from a source.
fn is_expiring(copy: &api::ZoneAtSite, expire: u32) -> bool {
    let served = matches!(
        copy.state,
        api::CopyState::Current | api::CopyState::Behind | api::CopyState::Ahead
    );
    let left = copy.expires_in_secs.filter(|_| served);
    left.is_some_and(|left| left <= u64::from(expire / 2))
}

fn expiring(zone: &str, copy: &api::ZoneAtSite, why: &str) -> String {
    let left = copy.expires_in_secs.unwrap_or(0);
    let (days, hours, minutes) = (left / 86_400, left / 3600 % 24, left / 60 % 60);
    let left = match (days, hours) {
        (0, 0) => format!("{minutes} min {} s", left % 60),
        (0, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    };
    format!(
        "{zone} at {} expires in {left}: for half of its expire time no source has confirmed it{why}",
        copy.site
    )
}

pub(super) fn site_status(
    site: Option<&Site>,
    name: &str,
    mesh: bool,
    zones: u64,
) -> api::SiteStatus {
    api::SiteStatus {
        name: name.to_owned(),
        role: match site {
            Some(site) => site.role.as_str().to_owned(),
            None if mesh => "none".to_owned(),
            None => "plain".to_owned(),
        },
        addresses: site
            .map(|site| site.addresses.iter().map(ToString::to_string).collect())
            .unwrap_or_default(),
        reachable: None,
        ready: None,
        rtt_ms: None,
        last_seen: None,
        engine: site.map(|site| site.engine.clone()),
        failure_domain: site.and_then(|site| site.failure_domain.clone()),
        pins: site
            .map(|site| site.pins.iter().map(ToString::to_string).collect())
            .unwrap_or_default(),
        zones,
        error: None,
        this: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checks of a copy that expires after so many seconds, of a zone that may be served for a day.
    fn of(state: api::CopyState, left: Option<u64>) -> Vec<api::Check> {
        let copy = api::ZoneAtSite {
            site: "site-b".to_owned(),
            state,
            serial: Some(1),
            age_secs: None,
            next_refresh_secs: None,
            expires_in_secs: left,
            transport: None,
            from: None,
            last_error: Some("site-a: no answer".to_owned()),
            errors: Vec::new(),
        };
        let mut checks = Vec::new();
        copy_checks("a.example.", &copy, Some("site-a"), 86_400, &mut checks);
        checks
    }

    fn names(checks: &[api::Check]) -> Vec<&str> {
        checks.iter().map(|check| check.name.as_str()).collect()
    }

    #[test]
    fn a_copy_warns_from_half_of_its_expiry_on_with_the_time_left_and_the_error() {
        use api::CopyState::{Behind, Current, Expired};
        assert!(of(Current, Some(43_201)).is_empty());
        assert!(of(Current, None).is_empty());
        let half = of(Current, Some(43_200));
        assert_eq!(names(&half), ["zone-expiring"]);
        assert_eq!(half[0].state, api::CheckState::Warning);
        assert_eq!(
            half[0].message,
            "a.example. at site-b expires in 12 h 0 min: for half of its expire time no source has confirmed it: site-a: no answer"
        );
        assert!(
            of(Current, Some(65))[0]
                .message
                .contains("expires in 1 min 5 s")
        );
        assert_eq!(
            names(&of(Behind, Some(60))),
            ["zone-expiring", "zone-behind"]
        );
        let over = of(Expired, Some(0));
        assert_eq!(names(&over), ["zone-expired"]);
        assert_eq!(over[0].state, api::CheckState::Critical);
    }

    #[test]
    fn a_copy_that_is_not_as_it_should_be_is_named_for_what_it_is() {
        use api::CopyState::{Ahead, Behind, Current, Missing, Unknown};
        for (state, expected) in [
            (Current, None),
            (Unknown, None),
            (Behind, Some(("zone-behind", api::CheckState::Warning))),
            (
                Ahead,
                Some(("peer-ahead-of-primary", api::CheckState::Critical)),
            ),
            (Missing, Some(("zone-missing", api::CheckState::Critical))),
        ] {
            let checks = of(state, Some(86_000));
            let found = checks
                .first()
                .map(|check| (check.name.as_str(), check.state));
            assert_eq!((found, checks.len()), (expected, expected.iter().len()));
        }
    }
}
