//! Healing: planner, plan checker, brake, join and identity.

pub mod brake;
pub mod core;
pub mod desired;
#[doc(hidden)]
pub mod fuzz;
mod hash;
pub mod invite;
pub mod packet;
pub mod plan;
mod text;
pub mod verify;
