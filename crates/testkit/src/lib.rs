//! Real peers, temporary sites and deadlines, for tests only.
//!
//! * [`peers`] finds the folder of foreign name servers that `cargo xtask peers` makes; [`servers`] starts `knotd`,
//!   `named`, `nsd` and `unbound` from it, each in a folder and on an address of its own.
//! * [`site`] starts our own binary, kills and restarts it.
//! * [`dig`] asks with the real `dig` and `kdig`; [`query`] asks without either, down to the byte.
//! * [`disk`] makes small disks that fill up, hang and turn read-only.
//! * [`wall_clock`] gives single processes a clock that is wrong.
//! * [`netns`] joins network namespaces by a bridge, loses packets and cuts links; [`relay`] does a milder form of
//!   the same between two sockets, without root.
//! * [`memory`] counts what memory is asked for; [`seeds`] has the inputs that are kept for fuzz targets.
//! * [`load`] keeps asking and counts what is lost; [`certificate`] makes keys for foreign servers.
//! * [`wait`] polls with a deadline. Nothing here sleeps for a fixed time and hopes.
//!
//! Whatever is started is ended when its handle is dropped; if the test fails, the end of its log is printed.
//! A test whose peers are missing says so aloud with [`skip`], and in CI it fails.

pub mod certificate;
pub mod daemon;
pub mod dig;
pub mod disk;
pub mod load;
pub mod memory;
pub mod net;
pub mod netns;
pub mod peers;
pub mod place;
pub mod query;
pub mod relay;
pub mod seeds;
pub mod servers;
pub mod site;
pub mod skip;
pub mod wait;
pub mod wall_clock;

pub use certificate::Certificate;
pub use dig::{Answer, Dig};
pub use disk::Disk;
pub use load::Load;
pub use peers::Peers;
pub use place::Place;
pub use servers::{Knot, Named, Nsd, PowerDns, Unbound};
pub use site::Site;
pub use wall_clock::WallClock;
