//! What healing costs: time and messages, in meshes of several sizes.

pub mod core;
