use std::net::IpAddr;

use serde::Deserialize;

use crate::client::{Client, Result};

/// A logical interface that carries data.
#[derive(Debug, Deserialize)]
pub(crate) struct Interface {
    pub(crate) ip: Ip,
    pub(crate) state: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Ip {
    pub(crate) address: IpAddr,
}

/// What an interface carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Nfs,
    Iscsi,
    Nvme,
}

impl Service {
    const fn as_str(self) -> &'static str {
        match self {
            Service::Nfs => "data_nfs",
            Service::Iscsi => "data_iscsi",
            Service::Nvme => "data_nvme_tcp",
        }
    }
}

/// Addresses of the SVM's interfaces that are up.
pub(crate) async fn addresses(client: &Client, svm: &str, service: Service) -> Result<Vec<IpAddr>> {
    let query = [("services", service.as_str()), ("svm.name", svm), ("fields", "ip.address,state")];
    let all: Vec<Interface> = client.list("network/ip/interfaces", &query).await?;
    let up = all.into_iter().filter(|i| i.state.as_deref().is_none_or(|state| state == "up"));
    Ok(up.map(|i| i.ip.address).collect())
}
