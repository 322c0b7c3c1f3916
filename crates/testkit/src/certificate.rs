//! A key and a self-signed certificate for a foreign server, made by the peers' `openssl`, and its pin.

use std::fs;

use anyhow::{Context, Result};

use crate::peers::Peers;
use crate::place::Place;
use crate::servers;

/// A P-256 key with a self-signed certificate, as files in a [`Place`].
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Path of the certificate, PEM.
    pub cert_file: String,
    /// Path of the private key, PEM.
    pub key_file: String,
    /// SHA-256 of the public key in hexadecimal: the data of a TLSA 3 1 1 record (RFC 7671).
    pub tlsa: String,
    /// The same digest in base64, as Knot's `cert-key` and `kdig +tls-pin=` have it (RFC 7858).
    pub pin: String,
}

impl Certificate {
    /// Makes a key and a certificate for a host name.
    ///
    /// # Errors
    ///
    /// When `openssl` fails; with what it printed.
    pub fn make(peers: &Peers, place: &Place, host: &str) -> Result<Self> {
        let path = |suffix: &str| place.path(&format!("{host}.{suffix}"));
        let openssl = |words: &[&str]| servers::run(peers, "bin/openssl", words, "");
        let (cert, key) = (path("cert.pem"), path("key.pem"));
        let (public, der, digest) = (path("pub.pem"), path("pub.der"), path("sha256"));
        openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
            "-subj",
            &format!("/CN={host}"),
            "-addext",
            &format!("subjectAltName=DNS:{host}"),
            "-keyout",
            &key,
            "-out",
            &cert,
        ])?;
        openssl(&["x509", "-in", &cert, "-pubkey", "-noout", "-out", &public])?;
        openssl(&[
            "pkey", "-pubin", "-in", &public, "-outform", "DER", "-out", &der,
        ])?;
        openssl(&["dgst", "-sha256", "-binary", "-out", &digest, &der])?;
        let pin = openssl(&["base64", "-in", &digest])?.trim().to_owned();
        let digest = fs::read(&digest).with_context(|| format!("cannot read {digest}"))?;
        Ok(Self {
            cert_file: cert,
            key_file: key,
            tlsa: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            pin,
        })
    }
}
