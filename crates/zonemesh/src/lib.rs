//! The binary's inside: configuration, wiring, command line.
//!
//! A library only so that tests reach it; nothing outside of this workspace uses it.

mod allocator;
pub mod cli;
pub mod config;
pub mod logging;
pub mod site;
pub mod systemd;

// The feature belongs to the simulation alone: `cargo xtask simulate --planted`.
const _: () = assert!(
    !zonemesh_planted::ON,
    "zonemesh must not be built with the feature `on` of zonemesh-planted: it would make mistakes on purpose"
);
