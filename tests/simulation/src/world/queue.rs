//! What will happen, in the order in which it does: messages that arrive, disks that are done, cores that want to be woken.

use super::*;

/// Something that happens at a moment.
pub(super) enum Event {
    /// A site hears of something; void when it has stopped meanwhile.
    Input {
        host: String,
        epoch: u64,
        input: Box<Input>,
    },
    /// A request arrives.
    Request(Asked),
    /// Who asked somebody that hangs gives up.
    GiveUp(Asked),
    /// A link goes up or down.
    Link {
        one: String,
        other: String,
        up: bool,
    },
    /// A hostile machine does something.
    Mischief { host: String },
    /// A disk has done what it is at; void when the site has stopped meanwhile.
    Disk { host: String, epoch: u64 },
    /// A core wants to be woken, unless it is woken earlier or has stopped.
    Wake { host: String },
}

/// Events by time; at one moment in the order in which they were entered.
#[derive(Default)]
pub(super) struct Queue {
    events: BTreeMap<(Duration, u64), Event>,
    entered: u64,
}

impl Queue {
    /// Enters an event.
    pub(super) fn push(&mut self, when: Duration, event: Event) {
        self.entered += 1;
        self.events.insert((when, self.entered), event);
    }

    /// Takes out the next event unless it is after this moment.
    pub(super) fn pop(&mut self, until: Duration) -> Option<(Duration, Event)> {
        let first = self.events.first_entry()?;
        let when = first.key().0;
        (when <= until).then(|| (when, first.remove()))
    }

    /// Drops what was to happen to links.
    pub(super) fn drop_links(&mut self) {
        let is_link = |event: &Event| matches!(event, Event::Link { .. });
        self.events.retain(|_, event| !is_link(event));
    }
}
