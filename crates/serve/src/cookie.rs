//! DNS cookies (RFC 7873), with server cookies that all servers which share a secret understand (RFC 9018).
//!
//! A cookie is never demanded here; a client that shows a good one has proved its address.

use std::fmt;
use std::net::IpAddr;

/// What server cookies are made with. Change it by moving the current secret to `previous`.
#[derive(Clone, PartialEq, Eq)]
pub struct CookieSecrets {
    /// Makes cookies, and checks them.
    pub current: [u8; 16],
    /// Checks cookies that were made before the last change, or with the one that comes next.
    pub previous: Option<[u8; 16]>,
}

impl fmt::Debug for CookieSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieSecrets(..)")
    }
}

/// How old a cookie may be, in seconds (RFC 9018 §4.3).
const MAX_AGE: u32 = 3600;
/// How far in the future it may have been made, by a server whose clock is fast.
const MAX_AHEAD: u32 = 300;
/// From which age on the client is given a new one.
const RENEW_AGE: u32 = 1800;

impl CookieSecrets {
    /// The client's and the server's cookie for an answer, and whether the client has shown a good server cookie.
    /// None if there is no client cookie. `now` is in seconds since 1970, modulo 2³².
    pub fn answer(&self, cookie: &[u8], client: IpAddr, now: u32) -> Option<([u8; 24], bool)> {
        let client_cookie = cookie.first_chunk::<8>()?;
        let good = self.age_of(cookie, client, now);
        let mut both = [0; 24];
        match good {
            Some((age, true)) if age < RENEW_AGE => both.copy_from_slice(cookie),
            _ => {
                both[..8].copy_from_slice(client_cookie);
                both[8] = 1;
                both[12..16].copy_from_slice(&now.to_be_bytes());
                let hash = hash(&self.current, &both[..16], client);
                both[16..].copy_from_slice(&hash);
            }
        }
        Some((both, good.is_some()))
    }

    /// The age of a good cookie, and whether it was made with the current secret.
    fn age_of(&self, cookie: &[u8], client: IpAddr, now: u32) -> Option<(u32, bool)> {
        if cookie.len() != 24 || cookie[8] != 1 {
            return None;
        }
        let made = u32::from_be_bytes([cookie[12], cookie[13], cookie[14], cookie[15]]);
        // RFC 1982 arithmetic, as RFC 9018 §4.3 demands.
        let age = now.wrapping_sub(made) as i32;
        if age > MAX_AGE as i32 || age < -(MAX_AHEAD as i32) {
            return None;
        }
        let with = |secret: &[u8; 16]| hash(secret, &cookie[..16], client) == cookie[16..];
        if with(&self.current) {
            Some((age.max(0) as u32, true))
        } else if self.previous.as_ref().is_some_and(with) {
            Some((age.max(0) as u32, false))
        } else {
            None
        }
    }
}

fn hash(secret: &[u8; 16], head: &[u8], client: IpAddr) -> [u8; 8] {
    let mut input = [0; 32];
    input[..16].copy_from_slice(head);
    let len = match client {
        IpAddr::V4(ip) => {
            input[16..20].copy_from_slice(&ip.octets());
            20
        }
        IpAddr::V6(ip) => {
            input[16..].copy_from_slice(&ip.octets());
            32
        }
    };
    siphash_2_4(secret, &input[..len]).to_le_bytes()
}

/// SipHash-2-4 by Aumasson and Bernstein.
fn siphash_2_4(key: &[u8; 16], input: &[u8]) -> u64 {
    let word = |octets: &[u8]| {
        octets
            .iter()
            .rev()
            .fold(0u64, |word, &octet| word << 8 | u64::from(octet))
    };
    let (k0, k1) = (word(&key[..8]), word(&key[8..]));
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let chunks = input.chunks_exact(8);
    let last = word(chunks.remainder()) | (input.len() as u64) << 56;
    for m in chunks.map(word).chain([last]) {
        v[3] ^= m;
        round(&mut v);
        round(&mut v);
        v[0] ^= m;
    }
    v[2] ^= 0xff;
    for _ in 0..4 {
        round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    fn secrets(current: &str) -> CookieSecrets {
        CookieSecrets {
            current: hex(current).try_into().unwrap(),
            previous: None,
        }
    }

    #[test]
    fn the_reference_value_of_siphash_comes_out() {
        let key: [u8; 16] = std::array::from_fn(|i| i as u8);
        let input: Vec<u8> = (0..15).collect();
        assert_eq!(siphash_2_4(&key, &input), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn rfc9018_appendix_a1_learning_a_new_server_cookie() {
        let secrets = secrets("e5e973e5a6b2a43f48e7dc849e37bfcf");
        let (both, good) = secrets
            .answer(
                &hex("2464c4abcf10c957"),
                "198.51.100.100".parse().unwrap(),
                1_559_731_985,
            )
            .unwrap();
        assert!(!good);
        assert_eq!(
            both[..],
            hex("2464c4abcf10c957010000005cf79f111f8130c3eee29480")
        );
    }

    #[test]
    fn rfc9018_appendix_a2_the_same_client_gets_a_new_cookie_when_its_own_has_aged() {
        let secrets = secrets("e5e973e5a6b2a43f48e7dc849e37bfcf");
        let cookie = hex("2464c4abcf10c957010000005cf79f111f8130c3eee29480");
        let ip = "198.51.100.100".parse().unwrap();
        // Forty minutes later.
        let (both, good) = secrets.answer(&cookie, ip, 1_559_734_385).unwrap();
        assert!(good);
        assert_eq!(
            both[..],
            hex("2464c4abcf10c957010000005cf7a871d4a564a1442aca77")
        );
    }

    #[test]
    fn rfc9018_appendix_a3_reserved_octets_are_hashed_as_they_come_and_given_out_as_zeros() {
        let secrets = secrets("e5e973e5a6b2a43f48e7dc849e37bfcf");
        let cookie = hex("fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5");
        let ip = "203.0.113.203".parse().unwrap();
        let made = 1_559_727_985;
        assert!(secrets.answer(&cookie, ip, made).unwrap().1);
        let (both, _) = secrets.answer(&cookie, ip, 1_559_734_700).unwrap();
        assert_eq!(
            both[..],
            hex("fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e")
        );
        // By then it is older than the hour that §4.3 gives it, whatever the appendix calls it.
        assert!(!secrets.answer(&cookie, ip, 1_559_734_700).unwrap().1);
    }

    #[test]
    fn rfc9018_appendix_a4_a_cookie_of_the_old_secret_is_good_and_a_new_one_of_the_new_secret() {
        let old = secrets("dd3bdf9344b678b185a6f5cb60fca715");
        let mut new = secrets("445536bcd2513298075a5d379663c962");
        let cookie = hex("22681ab97d52c298010000005cf7c57926556bd0934c72f8");
        let renewed = hex("22681ab97d52c298010000005cf7c609a6bb79d16625507a");
        let ip = "2001:db8:220:1:59de:d0f4:8769:82b8".parse().unwrap();
        let now = 1_559_741_961;
        assert!(old.answer(&cookie, ip, now).unwrap().1);
        let (both, good) = new.answer(&cookie, ip, now).unwrap();
        assert_eq!((&both[..], good), (&renewed[..], false));
        new.previous = Some(old.current);
        let (both, good) = new.answer(&cookie, ip, now).unwrap();
        assert_eq!((&both[..], good), (&renewed[..], true));
        // A server of the same address where the new secret is still to be given out takes both.
        let before = CookieSecrets {
            current: old.current,
            previous: Some(new.current),
        };
        assert!(before.answer(&cookie, ip, now).unwrap().1);
        assert!(before.answer(&renewed, ip, now).unwrap().1);
    }

    #[test]
    fn a_fresh_cookie_is_returned_as_it_is() {
        let secrets = secrets("e5e973e5a6b2a43f48e7dc849e37bfcf");
        let cookie = hex("2464c4abcf10c957010000005cf79f111f8130c3eee29480");
        let ip = "198.51.100.100".parse().unwrap();
        let (both, good) = secrets.answer(&cookie, ip, 1_559_731_985 + 60).unwrap();
        assert!(good);
        assert_eq!(both[..], cookie);
        let other = "198.51.100.101".parse().unwrap();
        assert!(!secrets.answer(&cookie, other, 1_559_731_985).unwrap().1);
        assert!(!secrets.answer(&cookie, ip, 1_559_731_985 + 3601).unwrap().1);
        assert!(!secrets.answer(&cookie, ip, 1_559_731_985 - 301).unwrap().1);
    }

    #[test]
    fn a_cookie_of_the_previous_secret_is_good_and_replaced() {
        let old = secrets("e5e973e5a6b2a43f48e7dc849e37bfcf");
        let ip = "2001:db8::1".parse().unwrap();
        let (cookie, _) = old.answer(&[7; 8], ip, 1000).unwrap();
        let new = CookieSecrets {
            current: [9; 16],
            previous: Some(old.current),
        };
        let (renewed, good) = new.answer(&cookie, ip, 1001).unwrap();
        assert!(good);
        assert_ne!(renewed, cookie);
        assert!(new.answer(&renewed, ip, 1002).unwrap().1);
    }
}
