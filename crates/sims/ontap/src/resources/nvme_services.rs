//! The NVMe service of an SVM.

use serde_json::Value;

use crate::record::{merge, set_default, text};
use crate::refusal::{Refusal, Result};
use crate::resource::{Change, Resource};

pub(crate) static NVME_SERVICES: Resource = Resource {
    path: "protocols/nvme/services",
    keys: &["svm.uuid"],
    table: "nvme_services",
    schema: "nvme_service",
    shown: &["svm.name"],
    post: Some(create),
    patch: Some(modify),
    delete: Some(delete),
    ..Resource::PLAIN
};

fn create(change: &mut Change, _: &[String], body: Value) -> Result<String> {
    let svm = change.svm(&body)?;
    let uuid = text(&svm, "uuid").unwrap_or_default().to_owned();
    if change.state.find("licences", "nvme_of").is_none() {
        return Err(Refusal::new(400, 72_089_636, "The NVMe protocol is not licensed."));
    }
    if change.state.find("nvme_services", &uuid).is_some() {
        return Err(Refusal::new(409, 5_376_452, format!("SVM {} has an NVMe service.", svm["name"])));
    }
    let mut service = body;
    service["svm"] = svm;
    set_default(&mut service, "enabled", true);
    change.state.put("nvme_services", &uuid, service);
    Ok(uuid)
}

fn modify(change: &mut Change, key: &str, body: Value) -> Result<()> {
    change.state.change("nvme_services", key, |service| merge(service, body));
    Ok(())
}

fn delete(change: &mut Change, key: &str) -> Result<()> {
    let used = change.state.list("nvme_subsystems").any(|own| text(own, "svm.uuid") == Some(key));
    if used {
        return Err(Refusal::new(409, 72_090_028, "The NVMe service has subsystems."));
    }
    change.state.remove("nvme_services", key);
    Ok(())
}
