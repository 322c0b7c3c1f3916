//! Whole sites under bad conditions: loss, partition, `kill -9`.

mod brake;
mod crashes;
mod following;
mod growing;
mod hanging;
mod intruders;
mod leaving;
mod network;
mod ready;
mod starting;
mod zones;
