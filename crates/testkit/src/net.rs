//! Addresses and ports on loopback that nobody else uses.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

/// Returns an address in 127.0.0.0/8 that no other test has, be it of this process or of one that runs beside it.
///
/// Linux answers on all of the block without any set-up. (`named` alone does not listen on an address that no
/// interface lists; it gets 127.0.0.1 and a port of its own.)
pub fn loopback() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    nth_loopback(process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The n-th address of a process: 127.x.y.z, where x and y come from the process ID and x is never 0.
fn nth_loopback(pid: u32, n: u32) -> Ipv4Addr {
    let block = pid.wrapping_add((n / 254).wrapping_mul(7919)) % (254 * 256);
    let [_, _, high, low] = (block + 256).to_be_bytes();
    Ipv4Addr::new(127, high, low, (n % 254) as u8 + 1)
}

/// Returns a port that is free for both UDP and TCP at this address.
///
/// It is taken from below the range that the kernel gives to outgoing connections, and not given out twice by one
/// process.
///
/// # Errors
///
/// When a thousand ports in a row are taken.
pub fn free_port(address: Ipv4Addr) -> Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..1000 {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = process::id().wrapping_mul(97).wrapping_add(n) % 20_000;
        let port = 10_000 + offset as u16;
        let socket = SocketAddr::from((address, port));
        if UdpSocket::bind(socket).is_ok() && TcpListener::bind(socket).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port from 10000 to 29999 is free at {address}")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn addresses_do_not_repeat_within_a_process_nor_in_its_neighbours() {
        let mut seen = HashSet::new();
        for pid in 1000..1010 {
            for n in 0..200 {
                assert!(seen.insert(nth_loopback(pid, n)));
            }
        }
    }

    #[test]
    fn addresses_are_loopback_but_not_the_common_one() {
        for pid in [0, 1, 65023, 65024, 4_194_303, u32::MAX] {
            for n in [0, 253, 254, 100_000] {
                let address = nth_loopback(pid, n);
                assert!(address.is_loopback(), "{address}");
                assert_ne!(address.octets()[1], 0, "{address}");
                assert!((1..=254).contains(&address.octets()[3]), "{address}");
            }
        }
    }

    #[test]
    fn two_ports_differ() {
        let address = loopback();
        assert_ne!(free_port(address).unwrap(), free_port(address).unwrap());
    }
}
