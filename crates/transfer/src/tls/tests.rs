use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Connection, ServerConnection};

use super::*;

/// Shakes hands in memory; returns both ends, or why the client or the server refused.
fn handshake(
    client: ClientConfig,
    server: ServerConfig,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    handshake_shared(&Arc::new(client), &Arc::new(server))
}

fn handshake_shared(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut client: Connection = ClientConnection::new(client.clone(), name).unwrap().into();
    let mut server: Connection = ServerConnection::new(server.clone()).unwrap().into();
    for _ in 0..6 {
        move_octets(&mut client, &mut server)?;
        move_octets(&mut server, &mut client)?;
    }
    let (Connection::Client(client), Connection::Server(server)) = (client, server) else {
        unreachable!("as they were made above");
    };
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((client, server))
}

fn move_octets(from: &mut Connection, to: &mut Connection) -> Result<(), rustls::Error> {
    let mut octets = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut octets).unwrap();
    }
    let mut rest = octets.as_slice();
    while !rest.is_empty() {
        to.read_tls(&mut rest).unwrap();
        to.process_new_packets()?;
    }
    Ok(())
}

fn pins(pins: &[Pin]) -> Trust {
    Trust::Pins(pins.to_vec())
}

fn key(name: &str) -> SiteKey {
    SiteKey::generate(name).unwrap()
}

#[test]
fn both_sides_prove_their_keys() {
    let (a, b) = (key("site-a.dns.internal"), key("site-b.dns.internal"));
    let client = client_config(Some(&a), &pins(&[[0; 32], b.pin()])).unwrap();
    let (client, server) = handshake(client, shown(&b, None)).unwrap();
    assert_eq!(peer_pin(server.peer_certificates()), Some(a.pin()));
    assert_eq!(peer_pin(client.peer_certificates()), Some(b.pin()));
    assert_eq!(client.alpn_protocol(), Some(ALPN_DOT));
    assert_eq!(
        client.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_3)
    );
}

#[test]
fn a_client_without_a_key_is_served_but_has_no_identity() {
    let b = key("b");
    let client = client_config(None, &pins(&[b.pin()])).unwrap();
    let (_, server) = handshake(client, shown(&b, None)).unwrap();
    assert_eq!(peer_pin(server.peer_certificates()), None);
}

#[test]
fn a_server_with_another_key_is_refused_and_both_pins_are_named() {
    let (a, b) = (key("a"), key("b"));
    for expected in [vec![a.pin()], vec![]] {
        let client = client_config(None, &pins(&expected)).unwrap();
        let error = handshake(client, shown(&b, None)).err().unwrap();
        let wrong = WrongPin::find(&error).unwrap();
        assert_eq!(
            wrong,
            WrongPin {
                expected,
                got: b.pin()
            }
        );
        assert!(wrong.to_string().contains(&hex(&b.pin())), "{wrong}");
    }
}

#[test]
fn a_certificate_without_its_key_proves_nothing() {
    // The thief shows the certificate of `b` but has only a key of its own.
    let (b, thief) = (key("b"), key("thief"));
    let stolen = SiteKey {
        certificate: b.certificate.clone(),
        pin: b.pin,
        pair: rcgen::KeyPair::from_pem(&thief.to_pem()).unwrap(),
    };
    // The library itself refuses to configure such a pair, so that it must be forced.
    let (chain, private) = stolen.chain_and_key();
    let provider = provider();
    let signing = provider.key_provider.load_private_key(private).unwrap();
    #[derive(Debug)]
    struct Fixed(Arc<rustls::sign::CertifiedKey>);
    impl rustls::server::ResolvesServerCert for Fixed {
        fn resolve(
            &self,
            _: rustls::server::ClientHello<'_>,
        ) -> Option<Arc<rustls::sign::CertifiedKey>> {
            Some(self.0.clone())
        }
    }
    impl rustls::client::ResolvesClientCert for Fixed {
        fn resolve(
            &self,
            _: &[&[u8]],
            _: &[SignatureScheme],
        ) -> Option<Arc<rustls::sign::CertifiedKey>> {
            Some(self.0.clone())
        }
        fn has_certs(&self) -> bool {
            true
        }
    }
    let certified = Arc::new(rustls::sign::CertifiedKey::new(chain, signing));

    let mut server = shown(&b, None);
    server.cert_resolver = Arc::new(Fixed(certified.clone()));
    let client = client_config(None, &pins(&[b.pin()])).unwrap();
    assert!(handshake(client, server).is_err(), "as server");

    let mut client = client_config(None, &pins(&[b.pin()])).unwrap();
    client.client_auth_cert_resolver = Arc::new(Fixed(certified));
    let server = shown(&b, None);
    assert!(handshake(client, server).is_err(), "as client");
}

#[test]
fn no_session_is_resumed_so_that_each_handshake_checks_the_pin() {
    let (a, b) = (key("a"), key("b"));
    let client = Arc::new(client_config(Some(&a), &pins(&[b.pin()])).unwrap());
    let server = Arc::new(shown(&b, None));
    for _ in 0..3 {
        let (client, _) = handshake_shared(&client, &server).unwrap();
        assert_eq!(client.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
    // Even a client that would like to resume finds no server of ours that lets it.
    let mut eager = client_config(Some(&a), &pins(&[b.pin()])).unwrap();
    eager.resumption = rustls::client::Resumption::default();
    let eager = Arc::new(eager);
    for _ in 0..3 {
        let (client, _) = handshake_shared(&eager, &server).unwrap();
        assert_eq!(client.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
    // And a client of ours does not resume with a server that offers it.
    let mut generous = shown(&b, None);
    generous.session_storage = rustls::server::ServerSessionMemoryCache::new(8);
    generous.send_tls13_tickets = 2;
    let generous = Arc::new(generous);
    for _ in 0..3 {
        let (client, _) = handshake_shared(&client, &generous).unwrap();
        assert_eq!(client.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
}

#[test]
fn other_protocols_are_refused() {
    let b = key("b");
    let mut client = client_config(None, &pins(&[b.pin()])).unwrap();
    client.alpn_protocols = vec![b"h2".to_vec()];
    assert!(handshake(client, shown(&b, None)).is_err());
}

#[test]
fn keys_survive_saving_and_loading_and_stay_who_they_are() {
    let made = key("site-a.dns.internal");
    let pem = made.to_pem();
    let loaded = SiteKey::from_pem(&pem, "another name").unwrap();
    assert_eq!(loaded.pin(), made.pin());
    assert_eq!(loaded.to_pem(), pem);
    assert!(SiteKey::from_pem("no key", "x").is_err());
    let text = format!("{made:?}");
    assert!(
        text.len() < 100 && text.contains(&hex(&made.pin())),
        "{text}"
    );
}

#[test]
fn a_given_certificate_is_shown_instead_of_our_own() {
    let (ours, given) = (key("ours"), key("ns.example.com"));
    let given = GivenCertificate::from_pem(&given.certificate_pem(), &given.to_pem()).unwrap();
    let pin = given.pin().unwrap();
    let client = client_config(None, &pins(&[pin])).unwrap();
    handshake(client, shown(&ours, Some(&given))).unwrap();
    let other = key("other");
    let mixed = GivenCertificate::from_pem(&other.certificate_pem(), &ours.to_pem()).unwrap();
    assert!(Credentials::new(&ours, Some(&mixed)).is_err());
    assert!(GivenCertificate::from_pem("", &ours.to_pem()).is_err());
}

/// The configuration of a listener that shows a key.
fn shown(key: &SiteKey, given: Option<&GivenCertificate>) -> ServerConfig {
    server_config(&Arc::new(Credentials::new(key, given).unwrap())).unwrap()
}

#[test]
fn a_listener_shows_another_key_from_the_next_handshake_on() {
    let (old, new) = (
        SiteKey::generate("b").unwrap(),
        SiteKey::generate("b").unwrap(),
    );
    let credentials = Arc::new(Credentials::new(&old, None).unwrap());
    let server = server_config(&credentials).unwrap();
    handshake(
        client_config(None, &pins(&[old.pin()])).unwrap(),
        server.clone(),
    )
    .unwrap();
    credentials.set(&new, None).unwrap();
    handshake(
        client_config(None, &pins(&[new.pin()])).unwrap(),
        server.clone(),
    )
    .unwrap();
    assert!(handshake(client_config(None, &pins(&[old.pin()])).unwrap(), server).is_err());
}
