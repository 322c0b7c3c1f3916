//! Requests and answers of the control socket.
//!
//! The JSON of these types is what `--json` prints. Within one [`SCHEMA`] fields are added, never renamed, retyped or
//! removed; readers ignore what they do not know. Times are RFC 3339 strings in UTC, durations whole seconds in fields
//! that end in `-secs` or milliseconds in fields that end in `-ms`. Zone and owner names are absolute, in lower case,
//! with the final dot.

mod change;
mod event;
mod status;
mod transfer;
mod writer;
mod zone;

pub use self::change::*;
pub use self::event::*;
pub use self::status::*;
pub use self::transfer::*;
pub use self::writer::*;
pub use self::zone::*;

/// Version of the JSON schema.
pub const SCHEMA: u32 = 1;
