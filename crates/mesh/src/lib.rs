//! Healing: planner, plan checker, brake, join and identity.
