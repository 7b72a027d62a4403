//! The accounts of iSCSI sessions, as a Secret that a kubelet reads.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Secret, SecretReference};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use model::{BackendName, Chap};
use serde_json::json;

use crate::within;

const KIND: &str = "kubernetes.io/iscsi-chap";
const OWNER: &str = "leister-provisioner";

/// Sees that the Secret of a backend is there and says what the backend says now.
pub(crate) async fn keep(
    client: &Client,
    namespace: &str,
    backend: &BackendName,
    chap: &Chap,
) -> kube::Result<SecretReference> {
    let name = name(backend);
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": name },
        "type": KIND,
        "stringData": words(chap),
    });
    let parameters = PatchParams::apply(OWNER).force();
    let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
    within(secrets.patch(&name, &parameters, &Patch::Apply(secret))).await?;
    Ok(SecretReference { name: Some(name), namespace: Some(namespace.to_owned()) })
}

/// What a Secret may be called, and no two backends share.
fn name(backend: &BackendName) -> String {
    let plain: String = backend
        .as_str()
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
        .collect();
    if plain == backend.as_str() {
        return format!("leister-chap-{plain}");
    }
    let exact: String = backend.as_str().bytes().map(|byte| format!("{byte:02x}")).collect();
    let exact = &exact[..exact.len().min(200)];
    format!("leister-chap-x{exact}")
}

fn words(chap: &Chap) -> BTreeMap<&'static str, &str> {
    let mut words = BTreeMap::from([
        ("node.session.auth.username", chap.initiator.user.as_str()),
        ("node.session.auth.password", chap.initiator.secret.expose()),
    ]);
    if let Some(target) = &chap.target {
        words.insert("node.session.auth.username_in", &target.user);
        words.insert("node.session.auth.password_in", target.secret.expose());
    }
    words
}

#[cfg(test)]
mod tests {
    use model::{ChapAccount, Secret};

    use super::*;

    #[test]
    fn a_kubelet_finds_both_accounts_under_the_names_it_knows() {
        let account =
            |user: &str, secret: &str| ChapAccount { user: user.to_owned(), secret: Secret::new(secret) };
        let mut chap = Chap { initiator: account("in", "secret1"), target: None };
        assert_eq!(words(&chap).len(), 2);
        chap.target = Some(account("out", "secret2"));
        let words = words(&chap);
        assert_eq!(words["node.session.auth.username"], "in");
        assert_eq!(words["node.session.auth.password_in"], "secret2");
    }

    #[test]
    fn each_backend_has_a_secret_of_its_own() {
        let named = |text: &str| name(&BackendName::new(text).unwrap());
        assert_eq!(named("gold-1"), "leister-chap-gold-1");
        assert_ne!(named("gold_1"), named("gold.1"));
        assert!(
            named("Gold")
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        );
    }
}
