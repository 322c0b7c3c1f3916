//! Which server is the right one: by its key, or by a name that an authority vouches for.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};

use super::{Pin, TlsError, WrongPin, bad_certificate, only_tls13, pin_of};

/// Which servers are taken for the right one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// One that has a key with one of these pins; where there are none, no server.
    Pins(Vec<Pin>),
    /// Any server: what is said is hidden from those who only listen, and from nobody else (RFC 9103 §9.3.1).
    Anyone,
    /// One whose certificate is good for a name.
    Named {
        /// The name.
        name: ServerName<'static>,
        /// Who may vouch for it.
        by: Authorities,
    },
}

/// Certificates of those who may vouch for names.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorities(Vec<CertificateDer<'static>>);

impl Authorities {
    /// Reads PEM text.
    ///
    /// # Errors
    ///
    /// When it cannot be read, has no certificate, or one that cannot vouch for anybody.
    pub fn from_pem(text: &str) -> Result<Self, TlsError> {
        let all = CertificateDer::pem_slice_iter(text.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| TlsError::Pem {
                what: "certificates of authorities",
                source,
            })?;
        if all.is_empty() {
            return Err(TlsError::Certificate("there is none in the text".into()));
        }
        let all = Self(all);
        all.store()?;
        Ok(all)
    }

    fn store(&self) -> Result<RootCertStore, TlsError> {
        let mut store = RootCertStore::empty();
        for certificate in &self.0 {
            store.add(certificate.clone())?;
        }
        Ok(store)
    }
}

impl std::fmt::Debug for Authorities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authorities({})", self.0.len())
    }
}

impl Trust {
    /// The name that a connection is made for: the server's where it goes by one, else its address.
    pub fn server_name(&self, addr: std::net::IpAddr) -> ServerName<'static> {
        match self {
            Self::Named { name, .. } => name.clone(),
            Self::Pins(_) | Self::Anyone => ServerName::IpAddress(addr.into()),
        }
    }

    /// What proves the server, for logs and `status`.
    pub fn proof(&self) -> &'static str {
        match self {
            Self::Pins(_) => "tls-key",
            Self::Anyone => "address",
            Self::Named { .. } => "tls-name",
        }
    }

    pub(super) fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
        noted: &Arc<Noted>,
    ) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
        let algorithms = provider.signature_verification_algorithms;
        Ok(match self {
            Self::Pins(expected) => Arc::new(Pinned {
                expected: Some(expected.clone()),
                noted: noted.clone(),
                algorithms,
            }),
            Self::Anyone => Arc::new(Pinned {
                expected: None,
                noted: noted.clone(),
                algorithms,
            }),
            Self::Named { by, .. } => {
                let roots = Arc::new(by.store()?);
                WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
                    .build()
                    .map_err(|error| TlsError::Certificate(error.to_string()))?
            }
        })
    }
}

/// Where a verifier leaves the key that was not the right one.
#[derive(Debug, Default)]
pub struct Noted(Mutex<Option<WrongPin>>);

impl Noted {
    /// The wrong key of the last handshake that failed for it, once.
    pub fn take(&self) -> Option<WrongPin> {
        self.slot().take()
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<WrongPin>> {
        // Nothing is left half done where this lock is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a server whose key has one of the expected pins, or any.
#[derive(Debug)]
struct Pinned {
    expected: Option<Vec<Pin>>,
    noted: Arc<Noted>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let got = pin_of(end_entity).map_err(|_| bad_certificate())?;
        let expected = match &self.expected {
            Some(expected) if !expected.contains(&got) => expected.clone(),
            _ => return Ok(ServerCertVerified::assertion()),
        };
        let wrong = WrongPin { expected, got };
        *self.noted.slot() = Some(wrong.clone());
        Err(rustls::Error::InvalidCertificate(CertificateError::Other(
            OtherError(Arc::new(wrong)),
        )))
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
