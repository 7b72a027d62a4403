//! Why there is no answer, in words that say what to do.

use std::error::Error;
use std::io;

use jiff::Timestamp;
use reqwest::Url;
use rustls::{AlertDescription, CertificateError};

use crate::error::FilerError;
use crate::trust::TrustFiles;

pub(super) fn told(url: &Url, trust: &TrustFiles, error: &reqwest::Error) -> FilerError {
    if let Some(tls) = find::<rustls::Error>(error)
        && let Some(told) = distrust(url, trust, tls)
    {
        return told;
    }
    let place = url.as_str().trim_end_matches('/');
    let unreachable = |why: &str| FilerError::Unreachable(format!("filer {place} {why}"));
    if error.is_timeout() {
        let what = if error.is_connect() { "cannot be reached in time" } else { "does not answer in time" };
        return unreachable(what);
    }
    match find::<io::Error>(error).map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => {
            unreachable("refuses the connection; is `leister filer run` running there, and the port right?")
        }
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof) => {
            unreachable("has closed the connection")
        }
        _ => unreachable(&format!("cannot be reached: {}", chain(error))),
    }
}

/// The message with its causes, each once.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let told = deeper.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        cause = deeper.source();
    }
    text
}

/// `None`: trust is not what is missing.
fn distrust(url: &Url, trust: &TrustFiles, error: &rustls::Error) -> Option<FilerError> {
    let place = url.as_str().trim_end_matches('/');
    let (ours, ca) = (trust.certificate.display(), trust.ca.display());
    let now = Timestamp::now();
    let why = match error {
        rustls::Error::InvalidCertificate(problem) => match problem {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                format!(
                    "shows a certificate that no authority in {ca} has signed; is that the filer's `ca.crt`?"
                )
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!(
                "shows a certificate that has expired, and here it is {now}; renew it with `leister filer trust \
                 init`, or set this clock"
            ),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => format!(
                "shows a certificate that is not valid yet, and here it is {now}; the clock of one of the two \
                 machines is wrong"
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
                "shows a certificate that is not for the name `{}`; use a name that stands in it, or make one with \
                 `leister filer trust init --host`",
                url.host_str().unwrap_or_default()
            ),
            other => format!("shows a certificate that cannot be used: {other}"),
        },
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::DecryptError => {
                format!("does not believe {ours}: another authority than the filer's has signed it")
            }
            AlertDescription::CertificateExpired => format!(
                "says that {ours} has expired or is not valid yet, and here it is {now}; issue a new one, or compare \
                 the clocks of the two machines"
            ),
            AlertDescription::CertificateRequired => {
                "wants a certificate of the client and was shown none".to_owned()
            }
            AlertDescription::AccessDenied
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked => format!("does not accept {ours}: {alert:?}"),
            _ => return None,
        },
        rustls::Error::InvalidMessage(_) => {
            "does not speak TLS on that port; is another program listening there?".to_owned()
        }
        _ => return None,
    };
    Some(FilerError::Denied(format!("filer {place} {why}")))
}

/// The first cause of this type; an `io::Error` hides one inside.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}
