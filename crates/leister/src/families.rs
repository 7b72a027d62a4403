//! The families of backends this program knows.

use std::sync::Arc;

use async_trait::async_trait;
use driver::{Driver, DriverError, ErrorKind};
use model::{InstanceId, NodeName};
use orchestrator::{BackendFile, Families};

use crate::vault::Vault;

/// Opens backends by the name of their driver.
#[derive(Debug)]
pub(crate) struct AllFamilies {
    instance: InstanceId,
    node: NodeName,
    vault: Vault,
}

/// Every `storageDriverName`.
fn known() -> impl Iterator<Item = &'static str> {
    std::iter::once(linux::DRIVER).chain(ontap::Kind::ALL.into_iter().map(ontap::Kind::name))
}

/// What can be said of a file without opening its backend.
///
/// # Errors
/// An unknown driver, with the nearest known one; the family's own complaint.
pub(crate) fn check(file: &BackendFile) -> Result<(), String> {
    match file.driver_name() {
        linux::DRIVER => linux::check(file).map_err(|e| e.to_string()),
        other if ontap::Kind::named(other).is_some() => ontap::check(file).map_err(|e| e.to_string()),
        other => Err(format!("backend `{}`: {}", file.name(), unknown(other))),
    }
}

/// Whether a PV without a driver can name volumes of the backend.
///
/// # Errors
/// What of the file makes that impossible.
pub(crate) fn check_for_pvs(file: &BackendFile) -> Result<(), String> {
    let word =
        |key: &str| file.to_value().get(key).and_then(|value| value.as_str()).map(str::to_ascii_lowercase);
    let is_local = file.driver_name() == linux::DRIVER && file.to_value().get("remote").is_none();
    let problem = match word("sanType").as_deref() {
        _ if is_local => "without `remote` its volumes are on this machine only",
        Some("nvme") => "with `sanType: nvme` its volumes are reached over NVMe only",
        _ => return Ok(()),
    };
    Err(format!(
        "backend `{}`: {problem}, which no PV can name; leave it out here, or serve it through CSI",
        file.name()
    ))
}

impl AllFamilies {
    pub(crate) fn new(instance: InstanceId, node: NodeName, vault: Vault) -> AllFamilies {
        AllFamilies { instance, node, vault }
    }
}

#[async_trait]
impl Families for AllFamilies {
    async fn open(&self, file: &BackendFile) -> Result<Arc<dyn Driver>, DriverError> {
        match file.driver_name() {
            linux::DRIVER => linux::open(file, self.instance.clone(), self.node.clone()).await,
            other if ontap::Kind::named(other).is_some() => {
                ontap::open(&self.vault.complete(file).await?, self.instance.clone()).await
            }
            other => Err(DriverError::new(ErrorKind::Invalid, "open backend", unknown(other))),
        }
    }
}

fn unknown(driver: &str) -> String {
    match model::nearest(driver, known()) {
        Some(near) => format!("unknown storageDriverName `{driver}`; did you mean `{near}`?"),
        None => {
            format!("unknown storageDriverName `{driver}`; known: {}", known().collect::<Vec<_>>().join(", "))
        }
    }
}
