//! A whole mesh in one process: the product's own decisions on a simulated network, disk and clock, everything drawn from one
//! seed.
//!
//! Nothing here decides anything about zones: [`World`] runs cores (`zonemesh_mesh::core`) and does what their shell would.

// What is not as a test has set it up ends the test.
#![allow(clippy::unwrap_used)]

pub mod campaign;
pub mod cost;
pub mod dice;
pub mod history;
pub mod oracle;
#[cfg(feature = "planted")]
pub mod planted;
pub mod prepared;
pub mod record;
pub mod shrink;
pub mod text;
mod world;

pub use self::world::*;
