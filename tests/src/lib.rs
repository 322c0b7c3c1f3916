//! Tests with real peers and whole sites; `cargo xtask interop` and `cargo xtask scenarios` run them.
//!
//! Each folder is one test program with a module for each subject: `interop/` has Knot, BIND and NSD on the other end,
//! in both directions; `scenarios/` has several sites, killed, cut off and started again.
//!
//! [`mesh`] makes meshes as their users do, each site a process: by `zonemesh up`, `invite` and `join`.

pub mod ask;
pub mod mesh;
pub mod site;

pub use mesh::Mesh;
pub use site::Site;
