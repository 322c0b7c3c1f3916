use super::*;
use crate::invite::{LIFETIME_SECS, Token, TokenRefusal, TokenState};
use zonemesh_zone::record::parse_name;

fn site(text: &str) -> SiteName {
    SiteName::new(text).unwrap()
}

fn welcome() -> Welcome {
    Welcome {
        directory: parse_name("dns.internal").unwrap(),
        catalog: parse_name("catalog.dns.internal").unwrap(),
        site: site("site-c"),
        role: Role::Standard,
        catalog_sites: vec![CatalogSite {
            name: site("site-a"),
            addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            dot: Some(853),
            doq: None,
            pins: vec![KeyPin([7; 32])],
        }],
        trust_anchor: None,
        key_name: parse_name("join.site-c.dns.internal").unwrap(),
        key: Secret::new([0x5A; 32]),
        expires: 1000,
    }
}

#[test]
fn a_packet_is_read_as_it_was_made_also_when_pasting_broke_its_lines() {
    let text = welcome().encode();
    assert_eq!(Welcome::decode(&text, 999).unwrap(), welcome());
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(60)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    let pasted = format!("  {}\n", lines.join("\r\n  "));
    assert_eq!(Welcome::decode(&pasted, 999).unwrap(), welcome());
}

#[test]
fn a_packet_that_was_cut_off_anywhere_says_so() {
    let text = welcome().encode();
    for len in 1..text.len() {
        let error = Welcome::decode(&text[..len], 0).unwrap_err();
        assert!(matches!(error, PacketError::CutOff), "{len}: {error}");
    }
}

#[test]
fn a_changed_letter_is_found() {
    let text = welcome().encode();
    for at in 19..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        Welcome::decode(std::str::from_utf8(&bytes).unwrap(), 0).unwrap_err();
    }
}

#[test]
fn what_cannot_be_used_is_refused_with_what_to_do() {
    let refuse = |text: &str, now| Welcome::decode(text, now).unwrap_err().to_string();
    let good = welcome().encode();
    assert_eq!(
        refuse(&good, 1000),
        "the welcome packet expired at 1970-01-01T00:16:40Z; have another one made with `zonemesh invite`"
    );
    let newer = good.replacen("welcome-1", "welcome-2", 1);
    assert!(refuse(&newer, 0).starts_with("a welcome packet of version 2;"));
    assert!(refuse("hello", 0).starts_with("not a welcome packet"));
    assert!(refuse("", 0).starts_with("not a welcome packet"));
    assert!(refuse("zonemesh-welcome-ü.x", 0).starts_with("not a welcome packet"));
    let mut names_only = welcome();
    names_only.catalog_sites[0].addresses.clear();
    assert!(refuse(&names_only.encode(), 0).contains("no catalog site with an address"));
}

#[test]
fn secrets_are_not_printed() {
    let text = format!("{:?} {:?}", welcome(), token());
    assert!(text.contains("Secret(…)"));
    assert!(!text.contains("90, 90") && !text.contains("Wlpa"), "{text}");
}

fn token() -> Token {
    Token {
        site: site("site-c"),
        role: Role::Standard,
        replace: false,
        key_name: parse_name("join.site-c.dns.internal").unwrap(),
        key: Secret::new([0x5A; 32]),
        created: 0,
        expires: LIFETIME_SECS,
        used: None,
    }
}

#[test]
fn a_token_is_good_once_for_one_site_for_a_day() {
    let token = token();
    let by = "192.0.2.9".parse().unwrap();
    token.check(LIFETIME_SECS - 1, &site("site-c")).unwrap();
    assert!(matches!(
        token.check(LIFETIME_SECS, &site("site-c")),
        Err(TokenRefusal::Expired { .. })
    ));
    assert_eq!(
        token.check(5, &site("site-d")).unwrap_err().to_string(),
        "the welcome packet is for site-c, not for site-d; have one made with `zonemesh invite site-d`"
    );
    let used = token.spend(60, &site("site-c"), by).unwrap();
    assert_eq!(used.state(61), TokenState::Used);
    assert_eq!(
        used.spend(61, &site("site-c"), by).unwrap_err().to_string(),
        "the welcome packet of site-c was used at 1970-01-01T00:01:00Z from 192.0.2.9; \
         if that was not you, remove that site with `zonemesh site remove site-c`; for another try make a new packet with `zonemesh invite site-c`"
    );
    let json = serde_json::to_string(&used).unwrap();
    assert_eq!(serde_json::from_str::<Token>(&json).unwrap(), used);
}
