//! Whole sites under bad conditions: loss, partition, `kill -9`.

mod brake;
mod clocks;
mod cold;
mod crashes;
mod disks;
mod flooded;
mod following;
mod growing;
mod hanging;
mod intruders;
mod leaving;
mod many;
mod network;
mod partitions;
mod promotion;
mod quic;
mod ready;
mod recovering;
mod rest;
mod reverting;
mod secondaries;
mod serials;
mod sources;
mod starting;
mod trying;
mod zones;
