//! The simulator's certificate, and the certificates of its clients.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use thiserror::Error;

/// How a server speaks TLS.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Its certificate and key; made up at the start when there is none.
    pub certificate: Option<Certificate>,
}

/// A certificate with its key, as PEM.
#[derive(Clone)]
pub struct Certificate {
    pub certificate: String,
    pub key: String,
}

#[derive(Debug, Error)]
pub enum TlsError {
    #[error("the certificate cannot be made")]
    Make(#[source] rcgen::Error),
    #[error("the certificate or key is no PEM that TLS can use")]
    Pem(#[source] rustls::pki_types::pem::Error),
    #[error("the certificate and its key cannot be used")]
    Use(#[source] rustls::Error),
}

impl Certificate {
    /// A self-signed certificate for these names and addresses.
    ///
    /// # Errors
    /// A name is none that a certificate may hold.
    pub fn self_signed(names: &[&str]) -> Result<Self, TlsError> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).map_err(TlsError::Make)?;
        Ok(Self { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() })
    }

    /// The certificate as a client's proof shows it.
    ///
    /// # Errors
    /// It is no PEM.
    pub fn der(&self) -> Result<Vec<u8>, TlsError> {
        let der = CertificateDer::from_pem_slice(self.certificate.as_bytes()).map_err(TlsError::Pem)?;
        Ok(der.to_vec())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

pub(crate) fn config(certificate: &Certificate) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(certificate.certificate.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(TlsError::Pem)?;
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).map_err(TlsError::Pem)?;
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Use)?
        .with_client_cert_verifier(Arc::new(AnyClient(provider)))
        .with_single_cert(chain, key)
        .map_err(TlsError::Use)?;
    Ok(Arc::new(config))
}

/// Takes every client that holds the key of the certificate it shows. Who that is, the array decides: it knows its
/// accounts' certificates.
#[derive(Debug)]
struct AnyClient(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
