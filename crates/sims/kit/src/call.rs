//! A call and its reply, without the wire.

use bytes::Bytes;
use hyper::HeaderMap;
use serde_json::Value;

use crate::JobFault;

/// One request as it came.
#[derive(Clone, Debug, Default)]
pub struct Call {
    pub method: String,
    /// As on the wire: still percent-encoded.
    pub path: String,
    /// What follows the `?`, still percent-encoded; empty when there is none.
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The certificate that the client proved to hold, in DER.
    pub client_certificate: Option<Vec<u8>>,
    /// What a fault says about the job that this call starts.
    pub job: Option<JobFault>,
}

impl Call {
    /// A header's value, when it is there and text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// What goes back.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Reply {
    pub fn json(status: u16, content_type: &str, body: &Value) -> Self {
        Self::new(status, content_type, body.to_string())
    }

    pub fn text(status: u16, body: &str) -> Self {
        Self::new(status, "text/plain", body.to_owned())
    }

    pub fn new(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Self { status, headers, body: body.into() }
    }

    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}
