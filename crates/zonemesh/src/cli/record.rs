//! `zonemesh record …`

use zonemesh_api::Client;
use zonemesh_api::error::exit;
use zonemesh_api::types::{ChangeRecords, RecordChange, RecordFilter};

use super::Outcome;
use super::args::{Change, Record};
use super::output::{self, Colour, Table};

pub(super) async fn record(client: &Client, command: Record) -> Outcome {
    match command {
        Record::List {
            zone,
            name,
            rtype,
            json,
        } => {
            let records = client.records(&zone, &RecordFilter { name, rtype }).await?;
            if json {
                output::json(&records)?;
                return Ok(exit::DONE);
            }
            let mut table = Table::new(["NAME", "TTL", "TYPE", "DATA"]);
            for record in records {
                table.painted([
                    (record.name, Colour::Bold),
                    (record.ttl.to_string(), Colour::Plain),
                    (record.rtype, Colour::Plain),
                    (record.data, Colour::Plain),
                ]);
            }
            table.print()?;
            Ok(exit::DONE)
        }
        Record::Set {
            zone,
            name,
            rtype,
            data,
            ttl,
            dry_run,
            change,
        } => {
            let done = format!("{name} {rtype} set in zone {zone}");
            let set = RecordChange::Set {
                name,
                rtype,
                ttl,
                data,
            };
            send(client, zone, set, dry_run, change, &done).await
        }
        Record::Delete {
            zone,
            name,
            rtype,
            data,
            dry_run,
            change,
        } => {
            let done = format!("{name} deleted from zone {zone}");
            let data = (!data.is_empty()).then_some(data);
            let delete = RecordChange::Delete { name, rtype, data };
            send(client, zone, delete, dry_run, change, &done).await
        }
    }
}

async fn send(
    client: &Client,
    zone: String,
    record_change: RecordChange,
    dry_run: bool,
    change: Change,
    done: &str,
) -> Outcome {
    let request = ChangeRecords {
        zone,
        changes: vec![record_change],
        dry_run,
        wait: change.into(),
    };
    let changed = client.change_records(&request).await?;
    output::changed(&changed, change.json, done)
}
