use model::{Chap, ChapAccount};
use serde::{Deserialize, Serialize};

use super::Named;
use crate::client::{Client, Result};
use crate::error::EXISTS;

const CHAP: &str = "chap";

#[derive(Debug, Deserialize)]
pub(crate) struct Service {
    pub(crate) enabled: Option<bool>,
    pub(crate) target: Option<Named>,
}

/// Who an initiator must be.
#[derive(Debug, Serialize)]
pub(crate) struct Credentials<'a> {
    svm: Named,
    initiator: &'a str,
    authentication_type: &'static str,
    chap: ChapBoth<'a>,
}

#[derive(Debug, Serialize)]
struct Anew<'a> {
    authentication_type: &'static str,
    chap: &'a ChapBoth<'a>,
}

#[derive(Debug, Serialize)]
struct ChapBoth<'a> {
    inbound: ChapOne<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outbound: Option<ChapOne<'a>>,
}

#[derive(Serialize)]
struct ChapOne<'a> {
    user: &'a str,
    password: &'a str,
}

impl std::fmt::Debug for ChapOne<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChapOne({}, ***)", self.user)
    }
}

pub(crate) async fn service(client: &Client, svm: &str) -> Result<Option<Service>> {
    client.find("protocols/san/iscsi/services", &[("svm.name", svm), ("fields", "enabled,target.name")]).await
}

/// Gives an initiator its CHAP accounts, for the first time or anew.
pub(crate) async fn set_credentials(client: &Client, credentials: &Credentials<'_>) -> Result<()> {
    const PATH: &str = "protocols/san/iscsi/credentials";
    match client.post(PATH, credentials).await {
        Err(error) if error.is(EXISTS) => {
            let query = [("initiator", credentials.initiator), ("svm.name", &*credentials.svm.name)];
            let anew = Anew { authentication_type: CHAP, chap: &credentials.chap };
            client.patch(PATH, &query, &anew).await.map(drop)
        }
        done => done,
    }
}

impl<'a> Credentials<'a> {
    pub(crate) fn new(svm: &str, initiator: &'a str, chap: &'a Chap) -> Credentials<'a> {
        fn one(account: &ChapAccount) -> ChapOne<'_> {
            ChapOne { user: &account.user, password: account.secret.expose() }
        }
        Credentials {
            svm: Named::new(svm),
            initiator,
            authentication_type: CHAP,
            chap: ChapBoth { inbound: one(&chap.initiator), outbound: chap.target.as_ref().map(one) },
        }
    }
}
