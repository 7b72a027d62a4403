//! Who may talk to whom: certificates of a filer and of its clients.

mod authority;
mod files;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::{FilerError, Result};
pub use authority::{Authority, Issued};

/// A certificate, its key and the authority whose word is believed of the other side: PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TrustFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub ca: PathBuf,
}

/// Whose volumes a client asks for: the common name of its certificate.
///
/// # Behavior
/// Letters, digits, `-` and `_`, at most 63: it is the first part of each of its volumes' names on the pool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(Arc<str>);

const LONGEST_TENANT: usize = 63;

impl Tenant {
    /// # Errors
    /// `Invalid` names what is wrong with it.
    pub fn new(name: &str) -> Result<Tenant> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if name.is_empty() || name.len() > LONGEST_TENANT || !name.bytes().all(legal) {
            return Err(FilerError::Invalid(format!(
                "tenant `{}` is not usable; use 1 to {LONGEST_TENANT} letters, digits, `-` or `_`",
                name.escape_debug()
            )));
        }
        Ok(Tenant(name.into()))
    }

    /// The common name of a certificate that has been verified.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Result<Tenant> {
        let (_, parsed) = X509Certificate::from_der(certificate)
            .map_err(|e| FilerError::Invalid(format!("the client's certificate cannot be read: {e}")))?;
        let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        Tenant::new(name.unwrap_or_default()).map_err(|_| {
            FilerError::Invalid(format!(
                "the certificate's common name `{}` names no tenant; use 1 to {LONGEST_TENANT} letters, digits, `-` \
                 or `_`",
                name.unwrap_or_default().escape_debug()
            ))
        })
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TrustFiles {
    /// What a filer shows, and the clients it believes: those whose certificate `ca` has signed.
    ///
    /// # Errors
    /// `Invalid` names the file and what is wrong with it.
    pub(crate) fn for_server(&self) -> Result<ServerConfig> {
        let provider = provider();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()?), provider.clone());
        let verifier = verifier.build().map_err(|e| files::refuse(&self.ca, e))?;
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = builder
            .map_err(|e| files::refuse(&self.certificate, e))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(files::certificates(&self.certificate)?, files::key(&self.key)?)
            .map_err(|e| self.mismatch(&e))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A session that is taken up again would outlive a certificate that has expired meanwhile.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// What a client shows, and the filers it believes.
    ///
    /// # Errors
    /// `Invalid` names the file; also for a certificate that has expired or is not valid yet.
    pub(crate) fn for_client(&self) -> Result<ClientConfig> {
        let chain = files::certificates(&self.certificate)?;
        files::check_dates(&self.certificate, &chain)?;
        let provider = provider();
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(self.roots()?), provider.clone());
        let verifier = verifier.build().map_err(|e| files::refuse(&self.ca, e))?;
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        builder
            .map_err(|e| files::refuse(&self.certificate, e))?
            .with_webpki_verifier(verifier)
            .with_client_auth_cert(chain, files::key(&self.key)?)
            .map_err(|e| self.mismatch(&e))
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        for certificate in files::certificates(&self.ca)? {
            roots.add(certificate).map_err(|e| files::refuse(&self.ca, e))?;
        }
        Ok(roots)
    }

    fn mismatch(&self, error: &rustls::Error) -> FilerError {
        FilerError::Invalid(format!(
            "certificate {} and key {} do not fit together: {error}",
            self.certificate.display(),
            self.key.display()
        ))
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(test)]
mod tests;
