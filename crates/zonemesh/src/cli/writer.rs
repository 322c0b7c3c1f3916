//! `zonemesh site promote`, `role` and `yielded`: who writes directory and catalog, and what others had written.

use std::io::Read;

use anyhow::Context as _;
use zonemesh_api::Client;
use zonemesh_api::error::exit;
use zonemesh_api::types::{
    self, Discard, Promote, Promotion, Replay, Replayed, SetRole, YieldedState,
};

use super::args::{self, Yielded};
use super::output::{self, Colour, Table, or_dash};
use super::{Failure, Outcome};

pub(super) async fn promote(client: &Client, args: args::Promote) -> Outcome {
    let request = Promote {
        site: args.name,
        force: args.force,
        dry_run: args.dry_run,
        wait: args.change.into(),
    };
    let promotion = client.promote_site(&request).await?;
    let Some(changed) = &promotion.done else {
        if args.change.json {
            output::json(&promotion)?;
        } else {
            show(&promotion)?;
        }
        return Ok(exit::DONE);
    };
    if is_writer(&promotion) && !changed.changed && !args.change.json {
        output::line(&format!("{} is the writer already", promotion.site))?;
    }
    let what = format!(
        "{} writes directory and catalog from now on, in epoch {}",
        promotion.site, promotion.epoch
    );
    if args.change.json {
        output::json(&promotion)?;
    } else {
        for unknown in &promotion.unknown {
            output::line(&format!("not known here: {unknown}"))?;
        }
    }
    match args.change.json {
        true => Ok(output::changed_code(changed)),
        false => output::changed(changed, false, &what),
    }
}

/// Whether the site is the writer as it is.
fn is_writer(promotion: &Promotion) -> bool {
    promotion.from.as_ref() == Some(&promotion.site)
}

/// What a promotion would be.
fn show(promotion: &Promotion) -> Result<(), Failure> {
    let from = or_dash(promotion.from.as_deref());
    let how = match promotion.planned {
        _ if is_writer(promotion) => "nothing to do: it is the writer already".to_owned(),
        true => format!("{from} hands over to it in order"),
        false => format!("it takes over from {from}"),
    };
    let mut table = Table::new(["PROMOTE", &promotion.site]);
    table.row(["how", &how]);
    table.row(["epoch", &promotion.epoch.to_string()]);
    table.row(["directory", &or_dash(promotion.directory_serial)]);
    table.row(["catalog", &or_dash(promotion.catalog_serial)]);
    if let Some(at) = promotion.confirmed {
        table.row(["confirmed", &format!("{at:.0}")]);
    }
    table.row(["sites that answer", &promotion.answering.join(" ")]);
    table.row(["sites that do not", &promotion.silent.join(" ")]);
    table.print()?;
    for objection in &promotion.objections {
        let word = output::paint(Colour::Red, "against it");
        output::line(&format!("{word}: {objection}"))?;
    }
    for unknown in &promotion.unknown {
        output::line(&format!("not known here: {unknown}"))?;
    }
    output::line("nothing was changed")
}

pub(super) async fn role(
    client: &Client,
    name: String,
    role: types::InvitedRole,
    change: args::Change,
) -> Outcome {
    let done = match role {
        types::InvitedRole::Standard => format!("{name} is a standard site"),
        types::InvitedRole::CatalogSecondary => {
            format!("{name} is a catalog secondary and can be promoted")
        }
    };
    let request = SetRole {
        site: name,
        role,
        wait: change.into(),
    };
    let changed = client.set_role(&request).await?;
    output::changed(&changed, change.json, &done)
}

pub(super) async fn yielded(client: &Client, command: Yielded) -> Outcome {
    match command {
        Yielded::List(listing) => {
            let all = client.yielded().await?;
            match listing.json {
                true => output::json(&all)?,
                false => list(&all)?,
            }
            Ok(exit::DONE)
        }
        Yielded::Show { id, json } => {
            let kept = find(client, &id).await?;
            match json {
                true => output::json(&kept)?,
                false => changes(&kept)?,
            }
            Ok(exit::DONE)
        }
        Yielded::Replay {
            id,
            force,
            dry_run,
            change,
        } => {
            let (id, kept) = match id.as_str() {
                "-" => (None, Some(from_input()?)),
                _ => (Some(id), None),
            };
            let request = Replay {
                id,
                kept,
                force,
                dry_run,
                wait: change.into(),
            };
            replayed(&client.replay(&request).await?, &request, change.json)
        }
        Yielded::Discard { id, json } => {
            let left = client.discard(&Discard { id: id.clone() }).await?;
            match json {
                true => output::json(&left)?,
                false => output::line(&format!("{id} is gone for good"))?,
            }
            Ok(exit::DONE)
        }
    }
}

fn list(all: &[types::Yielded]) -> Result<(), Failure> {
    let mut table = Table::new([
        "ID",
        "ZONE",
        "SET ASIDE",
        "CHANGES",
        "OPEN",
        "CONFLICTS",
        "WHY",
    ]);
    for kept in all {
        table.row([
            kept.id.clone(),
            kept.zone.clone(),
            format!("{:.0}", kept.at),
            kept.changes.len().to_string(),
            kept.count(YieldedState::Open).to_string(),
            kept.count(YieldedState::Conflict).to_string(),
            kept.reason.clone(),
        ]);
    }
    table.print()?;
    match all.is_empty() {
        true => output::line("nothing that this site wrote was set aside"),
        false => output::line(
            "`zonemesh site yielded show ID` has the changes, `replay ID` makes them again, `discard ID` throws them away",
        ),
    }
}

async fn find(client: &Client, id: &str) -> Result<types::Yielded, Failure> {
    let all = client.yielded().await?;
    let found = all.into_iter().find(|kept| kept.id == id);
    found.ok_or_else(|| {
        Failure::new(format!("nothing was set aside here as `{id}`"))
            .hint("`zonemesh site yielded list` shows what is")
    })
}

fn changes(kept: &types::Yielded) -> Result<(), Failure> {
    listed(kept).iter().try_for_each(|line| output::line(line))
}

/// What was set aside, line by line.
fn listed(kept: &types::Yielded) -> Vec<String> {
    let common = match kept.common {
        Some(serial) => format!("after serial {serial}"),
        None => "after a version that is not known any longer".to_owned(),
    };
    let mut text = vec![format!(
        "zone {}, held here {common} up to {}, and not in {}: {}",
        kept.zone, kept.mine, kept.theirs, kept.reason
    )];
    for change in &kept.changes {
        text.push(format!(
            "{} {} ({})",
            change.name, change.rtype, change.state
        ));
        let parts = [
            ('-', Colour::Red, &change.before, &change.after),
            ('+', Colour::Green, &change.after, &change.before),
        ];
        for (sign, colour, these, others) in parts {
            for record in these.iter().filter(|record| !others.contains(record)) {
                let painted = output::paint(colour, &format!("{sign} {record}"));
                text.push(format!("  {painted}"));
            }
        }
        if change.state == YieldedState::Conflict {
            match change.now.is_empty() {
                true => text.push("  the zone has nothing there now".to_owned()),
                false => text.push("  the zone says now:".to_owned()),
            }
            text.extend(change.now.iter().map(|record| format!("    {record}")));
        }
    }
    text
}

/// What another site has shown with `--json`.
fn from_input() -> Result<types::Yielded, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .context("cannot read standard input")?;
    serde_json::from_str(&text).map_err(|error| {
        Failure::new(format!("standard input is not what was set aside: {error}"))
            .hint("give it the output of `zonemesh site yielded show ID --json`")
    })
}

fn replayed(replayed: &Replayed, request: &Replay, json: bool) -> Outcome {
    let conflicts = replayed.kept.count(YieldedState::Conflict);
    let left = conflicts > 0 && !request.force;
    if json {
        output::json(replayed)?;
    } else {
        if request.dry_run || left {
            changes(&replayed.kept)?;
        }
        if request.dry_run {
            output::line("nothing was changed")?;
        } else if let Some(changed) = &replayed.done {
            output::changed(changed, false, "made again")?;
        } else if left {
            output::line("nothing could be made again")?;
        } else {
            output::line("all of it is in place already")?;
        }
        if left && !request.dry_run {
            output::error(
                &format!(
                    "{conflicts} of the changes conflict with what the zone says by now, and were not made"
                ),
                Some("make them by hand, or all of them with `--force`; they are kept until then"),
            );
        } else if replayed.settled {
            output::line("nothing of it is left to do")?;
        }
    }
    let code = replayed
        .done
        .as_ref()
        .map_or(exit::DONE, output::changed_code);
    Ok(match left && !request.dry_run {
        true => exit::FAILED,
        false => code,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_is_shown_with_what_the_zone_says_now() {
        let change = |state, now: &[&str]| types::YieldedChange {
            name: "a.example.".to_owned(),
            rtype: "A".to_owned(),
            after: vec!["a.example. 60 IN A 192.0.2.1".to_owned()],
            state,
            now: now.iter().map(ToString::to_string).collect(),
            ..types::YieldedChange::default()
        };
        let kept = |change| types::Yielded {
            id: "id".to_owned(),
            zone: "example.".to_owned(),
            at: jiff::Timestamp::UNIX_EPOCH,
            reason: "site-b is the primary now".to_owned(),
            common: Some(1),
            mine: 2,
            theirs: 3,
            changes: vec![change],
            tombstones: Vec::new(),
        };
        let now = "a.example. 60 IN A 192.0.2.2";
        let text = listed(&kept(change(YieldedState::Conflict, &[now])));
        assert!(
            text.ends_with(&["  the zone says now:".to_owned(), format!("    {now}")]),
            "{text:?}"
        );
        let text = listed(&kept(change(YieldedState::Conflict, &[])));
        assert_eq!(text.last().unwrap(), "  the zone has nothing there now");
        let text = listed(&kept(change(YieldedState::Open, &[])));
        assert_eq!(text.len(), 3, "{text:?}");
    }
}
