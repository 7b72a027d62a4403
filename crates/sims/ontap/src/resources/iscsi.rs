//! The iSCSI service of an SVM, and the credentials of initiators.

use serde_json::Value;

use crate::record::{get, merge, remove, set_default, text};
use crate::refusal::{self, Refusal, Result};
use crate::resource::{Change, Resource};
use crate::state::State;

pub(crate) static SERVICES: Resource = Resource {
    path: "protocols/san/iscsi/services",
    keys: &["svm.uuid"],
    table: "iscsi_services",
    schema: "iscsi_service",
    shown: &["svm.name"],
    post: Some(create),
    patch: Some(modify),
    delete: Some(delete),
    ..Resource::PLAIN
};

pub(crate) static CREDENTIALS: Resource = Resource {
    path: "protocols/san/iscsi/credentials",
    keys: &["svm.uuid", "initiator"],
    table: "iscsi_credentials",
    schema: "iscsi_credentials",
    shown: &["svm.name"],
    view: without_passwords,
    post: Some(create_credentials),
    patch: Some(modify_credentials),
    delete: Some(delete_credentials),
    ..Resource::PLAIN
};

fn create(change: &mut Change, _: &[String], body: Value) -> Result<String> {
    let svm = change.svm(&body)?;
    let uuid = text(&svm, "uuid").unwrap_or_default().to_owned();
    if change.state.find("licences", "iscsi").is_none() {
        return Err(Refusal::new(400, 5_374_078, "The iSCSI protocol is not licensed."));
    }
    if change.state.find("iscsi_services", &uuid).is_some() {
        return Err(Refusal::new(409, 5_373_983, format!("SVM {} has an iSCSI service.", svm["name"])));
    }
    let mut service = body;
    service["svm"] = svm.clone();
    set_default(&mut service, "enabled", true);
    set_default(&mut service, "target.alias", svm["name"].clone());
    let name = format!("iqn.1992-08.com.netapp:sn.{}:vs.3", uuid.replace('-', ""));
    set_default(&mut service, "target.name", name);
    change.state.put("iscsi_services", &uuid, service);
    Ok(uuid)
}

fn modify(change: &mut Change, key: &str, body: Value) -> Result<()> {
    change.state.change("iscsi_services", key, |service| merge(service, body));
    Ok(())
}

fn delete(change: &mut Change, key: &str) -> Result<()> {
    if change.state.find("iscsi_services", key).is_some_and(|service| service["enabled"] == true) {
        return Err(Refusal::new(
            409,
            5_374_093,
            "The iSCSI service is enabled: disable it before it is deleted.",
        ));
    }
    change.state.remove("iscsi_services", key);
    Ok(())
}

fn without_passwords(_: &State, stored: &Value) -> Value {
    let mut credentials = stored.clone();
    for path in ["chap.inbound.password", "chap.outbound.password"] {
        remove(&mut credentials, path);
    }
    credentials
}

fn create_credentials(change: &mut Change, _: &[String], body: Value) -> Result<String> {
    let svm = change.svm(&body)?;
    let initiator = text(&body, "initiator").ok_or_else(|| refusal::missing("initiator"))?.to_owned();
    let key = format!("{}/{initiator}", text(&svm, "uuid").unwrap_or_default());
    if change.state.find("iscsi_credentials", &key).is_some() {
        return Err(
            Refusal::new(409, 5_374_895, format!("Credentials of \"{initiator}\" exist.")).at("initiator")
        );
    }
    check(&body)?;
    let mut credentials = body;
    credentials["svm"] = svm;
    change.state.put("iscsi_credentials", &key, credentials);
    Ok(key)
}

fn modify_credentials(change: &mut Change, key: &str, body: Value) -> Result<()> {
    let mut after = change.state.find("iscsi_credentials", key).cloned().unwrap_or_default();
    merge(&mut after, body);
    check(&after)?;
    if after["authentication_type"] != "chap" {
        remove(&mut after, "chap");
    }
    change.state.put("iscsi_credentials", key, after);
    Ok(())
}

fn delete_credentials(change: &mut Change, key: &str) -> Result<()> {
    if key.ends_with("/default") {
        return Err(Refusal::new(400, 5_374_900, "The default credentials cannot be deleted."));
    }
    change.state.remove("iscsi_credentials", key);
    Ok(())
}

fn check(credentials: &Value) -> Result<()> {
    match text(credentials, "authentication_type") {
        Some("none" | "deny") => Ok(()),
        Some("chap") => {
            for side in ["inbound", "outbound"] {
                let of = |field: &str| text(credentials, &format!("chap.{side}.{field}")).map(str::to_owned);
                if get(credentials, &format!("chap.{side}")).is_none() && side == "outbound" {
                    continue;
                }
                let (user, password) = (of("user"), of("password"));
                if user.is_none_or(|user| user.is_empty() || user.len() > 128) {
                    return Err(refusal::missing(&format!("chap.{side}.user")));
                }
                if password.is_none_or(|password| !(1..=512).contains(&password.len())) {
                    return Err(refusal::missing(&format!("chap.{side}.password")));
                }
            }
            Ok(())
        }
        other => Err(refusal::invalid("authentication_type", other.unwrap_or_default(), "<chap|none|deny>")),
    }
}
