use serde::{Deserialize, Serialize};

use super::{ByUuid, Named};
use crate::client::{Client, Result};

/// What hosts connect to: here, one for each node.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Subsystem {
    pub(crate) uuid: String,
    pub(crate) target_nqn: Option<String>,
    #[serde(default)]
    pub(crate) hosts: Vec<Host>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Host {
    pub(crate) nqn: String,
}

#[derive(Debug, Serialize)]
struct NewSubsystem<'a> {
    name: &'a str,
    svm: Named,
    os_type: &'static str,
    hosts: [Host; 1],
}

#[derive(Debug, Serialize)]
struct NewMap {
    svm: Named,
    namespace: ByUuid,
    subsystem: Named,
}

const PATH: &str = "protocols/nvme/subsystems";
const MAPS: &str = "protocols/nvme/subsystem-maps";

pub(crate) async fn find(client: &Client, svm: &str, name: &str) -> Result<Option<Subsystem>> {
    client.find(PATH, &[("name", name), ("svm.name", svm), ("fields", "uuid,target_nqn,hosts.nqn")]).await
}

pub(crate) async fn create(client: &Client, svm: &str, name: &str, nqn: &str) -> Result<()> {
    let hosts = [Host { nqn: nqn.to_owned() }];
    client.post(PATH, &NewSubsystem { name, svm: Named::new(svm), os_type: "linux", hosts }).await
}

pub(crate) async fn add_host(client: &Client, subsystem: &str, nqn: &str) -> Result<()> {
    client.post(&format!("{PATH}/{subsystem}/hosts"), &Host { nqn: nqn.to_owned() }).await
}

pub(crate) async fn remove_host(client: &Client, subsystem: &str, nqn: &str) -> Result<()> {
    client.delete(&format!("{PATH}/{subsystem}/hosts/{}", nqn.replace(':', "%3A")), &[]).await.map(drop)
}

pub(crate) async fn map(client: &Client, svm: &str, namespace: &str, subsystem: &str) -> Result<()> {
    let map =
        NewMap { svm: Named::new(svm), namespace: ByUuid::new(namespace), subsystem: Named::new(subsystem) };
    client.post(MAPS, &map).await
}

pub(crate) async fn unmap(client: &Client, subsystem: &str, namespace: &str) -> Result<()> {
    client.delete(&format!("{MAPS}/{subsystem}/{namespace}"), &[]).await.map(drop)
}
