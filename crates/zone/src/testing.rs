//! What tests of several modules need.

use crate::{Record, Zone};

/// The zone without those of some lines that it has and with those that it has not; the lines are told by their numbers.
pub(crate) fn toggled(zone: &Zone, of: &[&str], have: &mut Vec<usize>, lines: &[usize]) -> Zone {
    let mut editor = zone.edit();
    for line in lines {
        let record = Record::from_text(of[*line], zone.apex()).unwrap();
        match have.iter().position(|other| other == line) {
            Some(at) => {
                have.swap_remove(at);
                editor.remove(&record.owner, record.rtype, &record.rdata);
            }
            None => {
                have.push(*line);
                editor.add(record).unwrap();
            }
        }
    }
    editor.finish().unwrap()
}
