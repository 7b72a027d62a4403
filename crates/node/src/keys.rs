//! What opens a volume that is handed over with it, as an orchestrator of containers does.

use std::collections::HashMap;
use std::hash::BuildHasher;

use host::{Passphrase, Passphrases};
use model::{Chap, ChapAccount, Route, Secret};
use orchestrator::{Error, Result};

use crate::secrets::{CURRENT, PREVIOUS, line};

/// In place of what this node, or the volume's backend, has for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// For a volume that its node encrypts.
    pub passphrases: Option<Passphrases>,
    /// For a volume over iSCSI.
    pub chap: Option<Chap>,
}

/// Of the initiator, then of the target: user and secret.
const CHAP: [[&str; 2]; 2] =
    [["chapUsername", "chapInitiatorSecret"], ["chapTargetUsername", "chapTargetInitiatorSecret"]];

impl Keys {
    /// By the names that they have in a Secret: `luks-passphrase`, `luks-passphrase-name` and the same with `previous-`;
    /// `chapUsername`, `chapInitiatorSecret`, `chapTargetUsername`, `chapTargetInitiatorSecret`. Other names are not ours.
    ///
    /// # Errors
    /// `Invalid`: one of them has no meaning without another that is missing. No message shows a secret.
    pub fn read<S: BuildHasher>(secrets: &HashMap<String, String, S>) -> Result<Keys> {
        let passphrase = |key: &str| -> Result<Option<Passphrase>> {
            let name = format!("{key}-name");
            match (secrets.get(key), secrets.get(&name)) {
                (Some(secret), name) => Ok(Some(Passphrase {
                    name: name.cloned().unwrap_or_else(|| key.to_owned()),
                    secret: Secret::new(line(secret)),
                })),
                (None, Some(_)) => Err(lacks(&name, key)),
                (None, None) => Ok(None),
            }
        };
        let account = |[user, secret]: [&str; 2]| match (secrets.get(user), secrets.get(secret)) {
            (Some(user), Some(secret)) => {
                Ok(Some(ChapAccount { user: user.clone(), secret: Secret::new(secret) }))
            }
            (Some(_), None) => Err(lacks(user, secret)),
            (None, Some(_)) => Err(lacks(secret, user)),
            (None, None) => Ok(None),
        };
        let passphrases = match (passphrase(CURRENT)?, passphrase(PREVIOUS)?) {
            (Some(current), previous) => Some(Passphrases { current, previous }),
            (None, Some(_)) => return Err(lacks(PREVIOUS, CURRENT)),
            (None, None) => None,
        };
        let [initiator, target] = CHAP;
        let chap = match (account(initiator)?, account(target)?) {
            (Some(initiator), target) => Some(Chap { initiator, target }),
            (None, Some(_)) => return Err(lacks(target[0], initiator[0])),
            (None, None) => None,
        };
        Ok(Keys { passphrases, chap })
    }

    /// The way to the volume, with what was handed over for it.
    pub(crate) fn onto(&self, route: Route) -> Route {
        match (route, &self.chap) {
            (Route::Iscsi(route), Some(chap)) => {
                Route::Iscsi(model::IscsiRoute { chap: Some(chap.clone()), ..route })
            }
            (route, _) => route,
        }
    }
}

fn lacks(given: &str, missing: &str) -> Error {
    Error::invalid(format!("secrets: `{given}` is given without `{missing}`"))
        .hint("write both into the Secret that the StorageClass names, or neither")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn passphrases_and_accounts_are_known_by_their_names_and_the_rest_is_not_ours() {
        let keys = Keys::read(&secrets(&[
            ("luks-passphrase", "correct horse\n"),
            ("luks-passphrase-name", "B"),
            ("previous-luks-passphrase", "old"),
            ("chapUsername", "me"),
            ("chapInitiatorSecret", "my secret"),
            ("somebody", "else"),
        ]))
        .unwrap();
        let passphrases = keys.passphrases.clone().unwrap();
        assert_eq!(
            (passphrases.current.name.as_str(), passphrases.current.secret.expose()),
            ("B", "correct horse")
        );
        assert_eq!(passphrases.previous.unwrap().name, "previous-luks-passphrase");
        let chap = keys.chap.clone().unwrap();
        assert_eq!((chap.initiator.user.as_str(), chap.target), ("me", None));
        assert_eq!(Keys::read(&secrets(&[("somebody", "else")])).unwrap(), Keys::default());
        let shown = format!("{keys:?}");
        assert!(!shown.contains("horse") && !shown.contains("my secret"), "{shown}");
    }

    #[test]
    fn half_of_a_pair_is_refused_by_the_name_of_the_other_half() {
        for (given, missing) in [
            ("luks-passphrase-name", "luks-passphrase"),
            ("previous-luks-passphrase", "luks-passphrase"),
            ("chapUsername", "chapInitiatorSecret"),
            ("chapInitiatorSecret", "chapUsername"),
            ("chapTargetUsername", "chapTargetInitiatorSecret"),
        ] {
            let error = Keys::read(&secrets(&[(given, "hunter2")])).unwrap_err().sentence();
            let named = format!("`{given}` is given without `{missing}`");
            assert!(error.contains(&named) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn an_account_replaces_that_of_the_backend_on_an_iscsi_route_alone() {
        let account = |user: &str| ChapAccount { user: user.to_owned(), secret: Secret::new("s") };
        let chap = |user: &str| Some(Chap { initiator: account(user), target: None });
        let route = |chap| {
            Route::Iscsi(model::IscsiRoute {
                target: "iqn.2026-01.io.leister:t".to_owned(),
                portals: vec!["10.0.0.1:3260".to_owned()],
                lun: 1,
                serial: "1".to_owned(),
                chap,
            })
        };
        let keys = Keys { passphrases: None, chap: chap("ours") };
        assert_eq!(keys.onto(route(chap("backend"))), route(chap("ours")));
        assert_eq!(Keys::default().onto(route(chap("backend"))), route(chap("backend")));
    }
}
