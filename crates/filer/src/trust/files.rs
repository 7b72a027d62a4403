//! Certificates and keys as PEM files.

use std::fmt;
use std::path::Path;

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::{FilerError, Result};

/// A chain, the owner's certificate first.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>);
    match read {
        Ok(chain) if chain.is_empty() => Err(refuse(path, "it holds no certificate in PEM")),
        Ok(chain) => Ok(chain),
        Err(e) => Err(refuse(path, told(e))),
    }
}

pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path).map_err(|e| match e {
        pem::Error::NoItemsFound => refuse(path, "it holds no private key in PEM"),
        e => refuse(path, told(e)),
    })
}

/// Refuses early, and in plain words, what the other side would refuse with an alert.
pub(super) fn check_dates(path: &Path, chain: &[CertificateDer<'_>]) -> Result<()> {
    let Some(first) = chain.first() else { return Ok(()) };
    let (_, parsed) =
        X509Certificate::from_der(first).map_err(|e| refuse(path, format!("it cannot be read: {e}")))?;
    let (from, until) = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
    let now = Timestamp::now().as_second();
    let show = |second| Timestamp::from_second(second).map_or_else(|_| second.to_string(), |t| t.to_string());
    if now > until {
        let problem = format!(
            "it has expired at {}, and here it is {}; issue a new one, or set the clock",
            show(until),
            show(now)
        );
        return Err(refuse(path, problem));
    }
    if now < from {
        let problem =
            format!("it is not valid before {}, and here it is {}; set the clock", show(from), show(now));
        return Err(refuse(path, problem));
    }
    Ok(())
}

pub(super) fn refuse(path: &Path, problem: impl fmt::Display) -> FilerError {
    FilerError::Invalid(format!("cannot use {}: {problem}", path.display()))
}

fn told(error: pem::Error) -> String {
    match error {
        pem::Error::Io(e) => e.to_string(),
        e => format!("it is not PEM: {e}"),
    }
}
