use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use crate::within;

/// The Secrets of the namespace, which backends name in `credentials`.
#[derive(Clone)]
pub struct Secrets {
    secrets: Api<Secret>,
    namespace: String,
}

/// Why a Secret cannot be used. No message shows a value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("there is no Secret `{name}` in the namespace {namespace}")]
    Missing { name: String, namespace: String },
    #[error("the Secret `{name}` has bytes in `{key}` that are no text")]
    NoText { name: String, key: String },
    #[error("the Secret `{name}` cannot be read")]
    Cluster {
        name: String,
        #[source]
        source: Box<kube::Error>,
    },
}

impl Secrets {
    pub fn of(client: Client, namespace: &str) -> Secrets {
        Secrets { secrets: Api::namespaced(client, namespace), namespace: namespace.to_owned() }
    }

    /// The keys of one as they are now. One newline at the end of a value does not count.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub async fn read(&self, name: &str) -> Result<BTreeMap<String, String>, SecretError> {
        let read = within(self.secrets.get_opt(name)).await;
        let secret =
            read.map_err(|source| SecretError::Cluster { name: name.to_owned(), source: Box::new(source) })?;
        let Some(secret) = secret else {
            return Err(SecretError::Missing { name: name.to_owned(), namespace: self.namespace.clone() });
        };
        let text = |(key, bytes): (String, k8s_openapi::ByteString)| match String::from_utf8(bytes.0) {
            Ok(mut text) => {
                if text.ends_with('\n') {
                    text.pop();
                }
                Ok((key, text))
            }
            Err(_) => Err(SecretError::NoText { name: name.to_owned(), key }),
        };
        secret.data.unwrap_or_default().into_iter().map(text).collect()
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}
