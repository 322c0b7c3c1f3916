//! `zonemesh site …`, `invite`, `plan …`, `key …` and `events`: the mesh rather than its zones.

use std::io::{BufRead, IsTerminal};

use anyhow::Context as _;
use zonemesh_api::Client;
use zonemesh_api::error::exit;
use zonemesh_api::types::{self, RemoveSite, ZonesOfRemoved};

use super::args::{Invite, Plan, Site};
use super::output::{self, Colour, Table, or_dash};
use super::{Failure, Outcome};

pub(super) async fn site(client: &Client, command: Site) -> Outcome {
    match command {
        Site::List(listing) => {
            let sites = client.sites().await?;
            if listing.json {
                output::json(&sites)?;
            } else {
                super::status::sites_table(&sites).print()?;
            }
            Ok(exit::DONE)
        }
        Site::Show { name, json } => show(client, &name, json).await,
        Site::Promote(args) => super::writer::promote(client, args).await,
        Site::Role { name, role, change } => super::writer::role(client, name, role, change).await,
        Site::Yielded(command) => super::writer::yielded(client, command).await,
        Site::Remove {
            name,
            zones,
            change,
        } => {
            let zones = match zones {
                Some(zones) => Some(zones),
                None => ask_about_zones(client, &name).await?,
            };
            let request = RemoveSite {
                site: name.clone(),
                zones,
                wait: change.into(),
            };
            let changed = client.remove_site(&request).await?;
            output::changed(&changed, change.json, &format!("site {name} removed"))
        }
    }
}

async fn show(client: &Client, name: &str, json: bool) -> Outcome {
    let sites = client.sites().await?;
    let Some(site) = sites.iter().find(|site| site.name == name) else {
        let known: Vec<&str> = sites.iter().map(|site| site.name.as_str()).collect();
        return Err(Failure::new(format!("there is no site `{name}`"))
            .hint(format!("known: {}", known.join(", "))));
    };
    if json {
        output::json(site)?;
        return Ok(exit::DONE);
    }
    let yes_no = |value: Option<bool>| match value {
        Some(true) => "yes".to_owned(),
        Some(false) => "no".to_owned(),
        None => "?".to_owned(),
    };
    let mut table = Table::new(["SITE", name]);
    table.row(["role", &site.role]);
    table.row(["addresses", &site.addresses.join(" ")]);
    table.row(["failure domain", &or_dash(site.failure_domain.as_deref())]);
    table.row(["engine", &or_dash(site.engine.as_deref())]);
    table.row(["reachable", &yes_no(site.reachable)]);
    table.row(["ready", &yes_no(site.ready)]);
    table.row([
        "last seen",
        &or_dash(site.last_seen.map(|at| format!("{at:.0}"))),
    ]);
    table.row(["primary for", &format!("{} zones", site.zones)]);
    for pin in &site.pins {
        table.row(["key", pin]);
    }
    if let Some(error) = &site.error {
        table.row(["error", error]);
    }
    table.print()?;
    Ok(exit::DONE)
}

/// What becomes of the zones of a site is for the operator to say.
async fn ask_about_zones(client: &Client, name: &str) -> Result<Option<ZonesOfRemoved>, Failure> {
    let sites = client.sites().await?;
    let count = sites
        .iter()
        .find(|site| site.name == name)
        .map_or(0, |site| site.zones);
    if count == 0 {
        return Ok(None);
    }
    let question = format!("site {name} is primary for {count} zones: what becomes of them?");
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Failure::usage(question).hint("say `--zones adopt:SITE` or `--zones remove`"));
    }
    loop {
        eprintln!("{question} `adopt:SITE` or `remove`, nothing to stop:");
        let mut answer = String::new();
        std::io::stdin()
            .lock()
            .read_line(&mut answer)
            .context("cannot read the answer")?;
        match answer.trim() {
            "" => return Err(Failure::new("stopped; nothing was changed")),
            answer => match answer.parse() {
                Ok(zones) => return Ok(Some(zones)),
                Err(expected) => eprintln!("{expected}"),
            },
        }
    }
}

pub(super) async fn invite(client: &Client, invite: Invite) -> Outcome {
    let request = types::Invite {
        site: invite.name,
        valid_secs: Some(invite.valid.as_secs()),
        role: invite.role,
    };
    let invited = client.invite(&request).await?;
    if invite.json {
        output::json(&invited)?;
        return Ok(exit::DONE);
    }
    // Only the packet goes to standard output, so that it can be redirected into a file.
    output::line(&invited.packet)?;
    if let Some(note) = of_returning(&invited) {
        eprintln!("{note}");
    }
    eprintln!(
        "good once, for {}, until {:.0}; on the new host: zonemesh join - --addresses ADDRESS",
        invited.site, invited.expires
    );
    Ok(exit::DONE)
}

/// What is to be known of a packet for a site that is one already.
fn of_returning(invited: &types::Invited) -> Option<String> {
    let (site, role) = (&invited.site, invited.role);
    match (invited.returns, invited.answers) {
        (false, _) => None,
        (true, false) => Some(format!(
            "{site} is a site already; this packet lets it come back with role {role}"
        )),
        (true, true) => Some(format!(
            "{site} is a site already, and answers: when this packet is used, with role {role}, another host of that name is put out of the mesh; \
             a new site needs a new name"
        )),
    }
}

pub(super) async fn plan(client: &Client, command: Plan) -> Outcome {
    let (plan, json) = match command {
        Plan::Show(listing) => (client.plan().await?, listing.json),
        Plan::Approve(held) => (client.approve_plan(&held.id).await?, held.json),
        Plan::Decline(held) => (client.decline_plan(&held.id).await?, held.json),
    };
    if json {
        output::json(&plan)?;
    } else {
        output::line(&format!(
            "made from directory serial {} and catalog serial {}{}",
            or_dash(plan.directory_serial),
            or_dash(plan.catalog_serial),
            plan.at.map(|at| format!(", {at:.0}")).unwrap_or_default(),
        ))?;
        if plan.actions.is_empty() && plan.held.is_empty() {
            output::line("at rest: nothing to do")?;
        }
        for action in &plan.actions {
            output::line(&format!("  {action}"))?;
        }
        for reason in &plan.reasons {
            output::line(&format!("  because {reason}"))?;
        }
        for held in &plan.held {
            let (id, reason) = (&held.id, output::would_go(held));
            output::line(&match held.declined {
                true => format!(
                    "declined {id}: {reason}\n  → zonemesh plan approve {id} lets it go on all the same"
                ),
                false => format!(
                    "{} {id}: {reason}\n  → zonemesh plan approve {id}, or zonemesh plan decline {id}",
                    output::paint(Colour::Red, "held"),
                ),
            })?;
        }
    }
    Ok(match plan.held.iter().all(|held| held.declined) {
        true => exit::DONE,
        false => exit::HELD,
    })
}

pub(super) async fn roll_key(client: &Client, json: bool) -> Outcome {
    let rolled = client.roll_key().await?;
    if json {
        output::json(&rolled)?;
    } else {
        output::line(&format!(
            "old key {}\nnew key {}",
            rolled.old_pin, rolled.new_pin
        ))?;
        for note in &rolled.notes {
            output::line(&format!("note: {note}"))?;
        }
    }
    Ok(exit::DONE)
}

pub(super) async fn events(client: &Client, json: bool) -> Outcome {
    let mut events = client.events().await?;
    while let Some(event) = events.next().await {
        let event = event?;
        if json {
            let text = serde_json::to_string(&event).context("cannot write JSON")?;
            output::line(&text)?;
        } else {
            output::line(&format!("{:.0}  {}  {}", event.at, event.site, event.what))?;
        }
    }
    Err(Failure::new("the site ended the stream of events"))
}
