//! Stories of a simulated mesh, and of single cores that are fed by hand.

mod faults;
mod founding;
mod membership;
mod random;
mod replication;
mod single;
mod world;
