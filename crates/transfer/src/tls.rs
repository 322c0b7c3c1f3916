//! TLS for zone transfers (RFC 9103), by itself or within QUIC (RFC 9250): each site has one key, and is known by the SHA-256 of its public key.
//!
//! Certificates of sites are self-signed wrapping and nothing in them but the public key is looked at: no name, no validity, no
//! issuer; a foreign server can be known by its name and who vouches for it instead ([`Trust`]). Whose key it is, the directory says (TLSA 3 1 1, RFC 7671 §5.1). TLS 1.3 only (RFC 9103 §7.1 asks for it),
//! no early data (RFC 9103 §7.1), no resumption: each handshake proves the peer's key anew, so that a pin that was taken
//! away is of no use from then on, and connections between sites are few and long. What clients without a certificate may do over QUIC,
//! the listener adds.
//!
//! It does not read or write files; [`SiteKey`] goes in and out as PEM text.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError,
    ServerConfig, SignatureScheme,
};

mod trust;

pub use self::trust::{Authorities, Noted, Trust};

/// The SHA-256 of a SubjectPublicKeyInfo: who someone is.
pub type Pin = [u8; 32];

/// ALPN of DNS over TLS, for queries and transfers alike (RFC 9103 §7.1, RFC 7858).
pub const ALPN_DOT: &[u8] = b"dot";

/// ALPN of DNS over QUIC (RFC 9250 §4.1.1).
pub const ALPN_DOQ: &[u8] = b"doq";

/// A site's private key (ECDSA on P-256) with its self-signed certificate. Does not print its secret.
pub struct SiteKey {
    pair: rcgen::KeyPair,
    certificate: CertificateDer<'static>,
    pin: Pin,
}

/// Why there is no usable key or configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The PEM text is not a private key of the kind that we use.
    #[error(
        "not a private key in PEM form (PKCS #8, ECDSA on P-256): restore the file from a backup, or remove it and join again with a new key"
    )]
    Key(#[source] rcgen::Error),
    /// The key or the certificate could not be made.
    #[error("could not make a key or its certificate")]
    Make(#[source] rcgen::Error),
    /// PEM text with certificates or a key is not readable.
    #[error("unreadable PEM text: {what}")]
    Pem {
        /// What was looked for.
        what: &'static str,
        /// What is wrong.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// A certificate cannot be read.
    #[error("unreadable certificate: {0}")]
    Certificate(String),
    /// The TLS library refuses the configuration.
    #[error("the TLS library refuses the configuration")]
    Config(#[from] rustls::Error),
}

impl SiteKey {
    /// Makes a new key; `name` is put into the certificate for people to read.
    ///
    /// # Errors
    ///
    /// When the system has no randomness, or the name cannot be in a certificate.
    pub fn generate(name: &str) -> Result<Self, TlsError> {
        let pair =
            rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(TlsError::Make)?;
        Self::wrap(pair, name)
    }

    /// Takes a key out of PEM text as [`SiteKey::to_pem`] gives it. The certificate is made anew: it is not part of
    /// who the site is.
    ///
    /// # Errors
    ///
    /// When it is not a P-256 key.
    pub fn from_pem(pem: &str, name: &str) -> Result<Self, TlsError> {
        let pair =
            rcgen::KeyPair::from_pkcs8_pem_and_sign_algo(pem, &rcgen::PKCS_ECDSA_P256_SHA256)
                .map_err(TlsError::Key)?;
        Self::wrap(pair, name)
    }

    fn wrap(pair: rcgen::KeyPair, name: &str) -> Result<Self, TlsError> {
        let mut params = rcgen::CertificateParams::default();
        let mut subject = rcgen::DistinguishedName::new();
        subject.push(rcgen::DnType::CommonName, name);
        params.distinguished_name = subject;
        // RFC 5280 §4.1.2.5: a certificate that is known by its key alone has no end.
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(9999, 12, 31);
        params.subject_alt_names = match name.try_into() {
            Ok(name) => vec![rcgen::SanType::DnsName(name)],
            Err(_) => Vec::new(),
        };
        let certificate = params.self_signed(&pair).map_err(TlsError::Make)?;
        let certificate = certificate.der().clone();
        let pin = pin_of(&certificate).map_err(TlsError::Certificate)?;
        Ok(Self {
            pair,
            certificate,
            pin,
        })
    }

    /// The private key in PEM form. A secret: store it readable by its owner alone.
    pub fn to_pem(&self) -> String {
        self.pair.serialize_pem()
    }

    /// The certificate in PEM form, for foreign servers that want one.
    pub fn certificate_pem(&self) -> String {
        let base64 = data_encoding::BASE64.encode(&self.certificate);
        let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
        for line in base64.as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
        pem
    }

    /// The SHA-256 of the public key.
    pub fn pin(&self) -> Pin {
        self.pin
    }

    /// A secret that follows from the key, another one for each purpose: the same after a restart, and nothing can be learnt from
    /// it about the key.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        use aws_lc_rs::hmac;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.pair.serialize_der());
        let mut secret = [0; 32];
        secret.copy_from_slice(hmac::sign(&key, purpose.as_bytes()).as_ref());
        secret
    }

    fn chain_and_key(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pair.serialize_der()));
        (vec![self.certificate.clone()], key)
    }
}

impl fmt::Debug for SiteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SiteKey(pin {})", hex(&self.pin))
    }
}

/// A certificate chain and its key, from a file that the operator gave, for clients that want to see a certain name.
pub struct GivenCertificate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl GivenCertificate {
    /// Reads a chain, the server's own certificate first, and its private key.
    ///
    /// # Errors
    ///
    /// When either is not readable or there is no certificate.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, TlsError> {
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| TlsError::Pem {
                what: "a certificate chain",
                source,
            })?;
        if chain.is_empty() {
            return Err(TlsError::Certificate("there is none in the text".into()));
        }
        let key =
            PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|source| TlsError::Pem {
                what: "a private key",
                source,
            })?;
        Ok(Self { chain, key })
    }

    /// The SHA-256 of its public key.
    ///
    /// # Errors
    ///
    /// When the certificate is not readable.
    pub fn pin(&self) -> Result<Pin, TlsError> {
        pin_of(&self.chain[0]).map_err(TlsError::Certificate)
    }
}

impl fmt::Debug for GivenCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GivenCertificate({} in chain)", self.chain.len())
    }
}

/// What a listener shows to its clients. It can be changed while the listener runs; connections that are open keep what
/// they were shown.
pub struct Credentials {
    current: ArcSwap<CertifiedKey>,
}

impl Credentials {
    /// The site's own key, or the certificate that the operator gave.
    ///
    /// # Errors
    ///
    /// When key and certificate do not belong together.
    pub fn new(key: &SiteKey, given: Option<&GivenCertificate>) -> Result<Self, TlsError> {
        let current = ArcSwap::from_pointee(certified(key, given)?);
        Ok(Self { current })
    }

    /// Shows another key from the next handshake on.
    ///
    /// # Errors
    ///
    /// When key and certificate do not belong together; nothing has changed then.
    pub fn set(&self, key: &SiteKey, given: Option<&GivenCertificate>) -> Result<(), TlsError> {
        self.current.store(Arc::new(certified(key, given)?));
        Ok(())
    }
}

fn certified(key: &SiteKey, given: Option<&GivenCertificate>) -> Result<CertifiedKey, TlsError> {
    let (chain, private) = match given {
        Some(given) => (given.chain.clone(), given.key.clone_key()),
        None => key.chain_and_key(),
    };
    Ok(CertifiedKey::from_der(chain, private, &provider())?)
}

impl ResolvesServerCert for Credentials {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// The configuration of a listener.
///
/// Clients are asked for a certificate and may go without. Any is taken whose key signs the handshake; who that is, the
/// caller judges by [`peer_pin`] once the handshake is done, each time it matters, so that a pin that is taken away
/// loses its rights on connections that are open already.
///
/// # Errors
///
/// When the TLS library refuses it.
pub fn server_config(credentials: &Arc<Credentials>) -> Result<ServerConfig, TlsError> {
    let provider = provider();
    let verifier = Arc::new(AnyClient {
        algorithms: provider.signature_verification_algorithms,
    });
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(credentials.clone());
    config.alpn_protocols = vec![ALPN_DOT.to_vec()];
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// The same for a listener of QUIC.
///
/// # Errors
///
/// As [`server_config`].
pub fn quic_server_config(credentials: &Arc<Credentials>) -> Result<ServerConfig, TlsError> {
    let mut config = server_config(credentials)?;
    config.alpn_protocols = vec![ALPN_DOQ.to_vec()];
    Ok(config)
}

/// The configuration of a connection to a server that is trusted in this way. With `key`, the client shows its certificate.
///
/// # Errors
///
/// When the TLS library refuses the key, or the authorities that are to vouch for the server.
pub fn client_config(key: Option<&SiteKey>, trust: &Trust) -> Result<ClientConfig, TlsError> {
    Ok(client(key, trust, ALPN_DOT)?.0)
}

/// The same for a connection of QUIC, and where it is noted when a server had another key: QUIC itself passes on no more than
/// a sentence.
///
/// # Errors
///
/// As [`client_config`].
pub fn quic_client_config(
    key: Option<&SiteKey>,
    trust: &Trust,
) -> Result<(ClientConfig, Arc<Noted>), TlsError> {
    client(key, trust, ALPN_DOQ)
}

fn client(
    key: Option<&SiteKey>,
    trust: &Trust,
    alpn: &[u8],
) -> Result<(ClientConfig, Arc<Noted>), TlsError> {
    let provider = provider();
    let noted = Arc::new(Noted::default());
    let verifier = trust.verifier(&provider, &noted)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match key {
        Some(key) => {
            let (chain, private) = key.chain_and_key();
            builder.with_client_auth_cert(chain, private)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    // A resumed session would not show a certificate, and so would go around the check of the pin.
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_early_data = false;
    // Sites go by their keys; a server that goes by its name may have several.
    config.enable_sni = matches!(trust, Trust::Named { .. });
    Ok((config, noted))
}

/// The pin that the peer has proven in a finished handshake, if it showed a certificate.
pub fn peer_pin(certificates: Option<&[CertificateDer<'_>]>) -> Option<Pin> {
    pin_of(certificates?.first()?).ok()
}

/// The SHA-256 of the SubjectPublicKeyInfo of a certificate.
fn pin_of(certificate: &CertificateDer<'_>) -> Result<Pin, String> {
    let (rest, parsed) =
        x509_parser::parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
    if !rest.is_empty() {
        return Err("octets behind its end".into());
    }
    let digest = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA256,
        parsed.tbs_certificate.subject_pki.raw,
    );
    let mut pin = [0; 32];
    pin.copy_from_slice(digest.as_ref());
    Ok(pin)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn hex(pin: &Pin) -> String {
    data_encoding::HEXLOWER.encode(pin)
}

/// A server showed another key than was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server has key {}, expected was {}", hex(.got), list(.expected))]
pub struct WrongPin {
    /// What was expected.
    pub expected: Vec<Pin>,
    /// What the server showed.
    pub got: Pin,
}

impl WrongPin {
    /// Finds it in an error of the TLS library.
    pub fn find(error: &rustls::Error) -> Option<Self> {
        match error {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
                inner.downcast_ref::<Self>().cloned()
            }
            _ => None,
        }
    }
}

fn list(pins: &[Pin]) -> String {
    match pins {
        [] => "none that we know of".into(),
        pins => pins.iter().map(hex).collect::<Vec<_>>().join(" or "),
    }
}

fn bad_certificate() -> rustls::Error {
    rustls::Error::InvalidCertificate(CertificateError::BadEncoding)
}

/// Takes any client that proves to have the key of the certificate that it shows, and those that show none.
#[derive(Debug)]
struct AnyClient {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        pin_of(end_entity).map_err(|_| bad_certificate())?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn only_tls13() -> rustls::Error {
    rustls::Error::General("a TLS 1.2 signature where only TLS 1.3 is spoken".into())
}

#[cfg(test)]
mod tests;
