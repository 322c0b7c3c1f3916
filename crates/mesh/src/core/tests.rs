//! Tests of the core: whole meshes of cores over a simulated network, disk and clock, and single cores fed by hand.

mod faults;
mod founding;
mod membership;
mod random;
mod replication;
mod sim;
mod single;
