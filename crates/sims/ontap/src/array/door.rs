//! Who calls, and what that caller may see.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sim_kit::Call;

use crate::record;
use crate::refusal::{Refusal, Result};
use crate::state::State;

/// Somebody who may call.
#[derive(Clone)]
pub(crate) struct Account {
    pub user: String,
    pub password: Option<String>,
    /// The client certificate that stands for the password, in DER.
    pub certificate: Option<Vec<u8>>,
    /// The name of the SVM that the account belongs to; none for the cluster's.
    pub svm: Option<String>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("user", &self.user).field("svm", &self.svm).finish_non_exhaustive()
    }
}

/// Lets a caller in.
///
/// # Behavior
/// The UUID of the SVM that the call is confined to comes back: that of the account, or for an account of the cluster
/// the one that a header names.
pub(crate) fn enter(accounts: &[Account], state: &State, call: &Call) -> Result<Option<String>> {
    let account = recognize(accounts, call).ok_or_else(unauthorized)?;
    let absent = |svm: &str| Refusal::new(400, 2_621_462, format!("SVM \"{svm}\" does not exist."));
    let of_name = |name: &str| {
        let found = state.find_by("svms", "name", name).map(|(key, _)| key.to_owned());
        found.ok_or_else(|| absent(name))
    };
    let own = account.svm.as_deref().map(of_name).transpose()?;
    let named = match (call.header("x-dot-svm-name"), call.header("x-dot-svm-uuid")) {
        (None, None) => None,
        (Some(name), None) => Some(of_name(name)?),
        (name, Some(uuid)) => {
            let svm = state.find("svms", uuid).ok_or_else(|| absent(uuid))?;
            if name.is_some_and(|name| record::text(svm, "name") != Some(name)) {
                let message = "The specified SVM UUID and SVM name refer to different SVMs.";
                return Err(Refusal::new(400, 2_621_706, message));
            }
            Some(uuid.to_owned())
        }
    };
    match (own, named) {
        (Some(own), Some(named)) if own != named => Err(unauthorized()),
        (own, named) => Ok(own.or(named)),
    }
}

pub(crate) fn unauthorized() -> Refusal {
    Refusal::new(401, 6_691_623, "User is not authorized.")
}

fn recognize<'a>(accounts: &'a [Account], call: &Call) -> Option<&'a Account> {
    if let Some(header) = call.header("authorization") {
        let encoded = header.strip_prefix("Basic ")?;
        let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
        let (user, password) = decoded.split_once(':')?;
        return accounts
            .iter()
            .find(|account| account.user == user && account.password.as_deref() == Some(password));
    }
    let shown = call.client_certificate.as_ref()?;
    accounts.iter().find(|account| account.certificate.as_ref() == Some(shown))
}
