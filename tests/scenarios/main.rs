//! Whole sites under bad conditions: loss, partition, `kill -9`.

mod growing;
mod intruders;
mod ready;
mod starting;
mod zones;
