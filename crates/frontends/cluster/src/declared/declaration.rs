//! What an object says.

use kube::ResourceExt as _;
use kube::core::DynamicObject;
use model::BackendName;
use orchestrator::BackendFile;
use serde_json::{Map, Value};

use super::definitions::Kind;

/// One object, read.
#[derive(Debug)]
pub(crate) struct Declaration {
    pub(crate) kind: Kind,
    /// As people name it: `Backend leister/gold`.
    pub(crate) object: String,
    pub(crate) uid: String,
    pub(crate) generation: i64,
    /// The backend that it has defined before.
    pub(crate) known: Option<BackendName>,
    pub(crate) status: Value,
    /// Or what is wrong with it.
    pub(crate) file: Result<BackendFile, String>,
}

const VERSION: &str = "version";
const NAME: &str = "backendName";
const POLICY: &str = "deletionPolicy";

impl Declaration {
    pub(crate) fn read(
        kind: Kind,
        object: &DynamicObject,
        check: fn(&BackendFile) -> Result<(), String>,
    ) -> Declaration {
        let name = object.name_any();
        let title = format!("{} {}/{name}", kind.name(), object.namespace().unwrap_or_default());
        let status = object.data.get("status").cloned().unwrap_or_default();
        let known = match kind {
            Kind::Backend => &status["backend"],
            Kind::Trident => &status["backendInfo"]["backendName"],
        };
        let known = known.as_str().and_then(|name| BackendName::new(name).ok());
        let spec = object.data.get("spec").and_then(Value::as_object).cloned().unwrap_or_default();
        let file = file(kind, spec, &name).and_then(|file| {
            if let Some(known) = known.as_ref().filter(|known| *known != file.name()) {
                let name = file.name();
                return Err(format!(
                    "`{NAME}`: it is `{known}` and cannot become `{name}`; make another object"
                ));
            }
            check(&file).map(|()| file)
        });
        Declaration {
            kind,
            object: title,
            uid: object.uid().unwrap_or_default(),
            generation: object.metadata.generation.unwrap_or_default(),
            known,
            status,
            file,
        }
    }

    /// The backend that it defines, or has defined.
    pub(crate) fn backend(&self) -> Option<&BackendName> {
        self.known.as_ref().or(self.file.as_ref().ok().map(BackendFile::name))
    }
}

fn file(kind: Kind, mut spec: Map<String, Value>, name: &str) -> Result<BackendFile, String> {
    let find =
        |spec: &Map<String, Value>, key: &str| spec.keys().find(|own| own.eq_ignore_ascii_case(key)).cloned();
    if kind == Kind::Trident
        && let Some(policy) = find(&spec, POLICY).and_then(|key| spec.remove(&key))
        && policy != "delete"
    {
        return Err(format!(
            "`{POLICY}: {policy}` cannot be had: a backend goes with its object, once it has no volumes; leave it out"
        ));
    }
    for (key, value) in [(VERSION, Value::from(1)), (NAME, Value::from(name))] {
        if find(&spec, key).is_none() {
            spec.insert(key.to_owned(), value);
        }
    }
    let file = BackendFile::from_value(Value::Object(spec), "spec").map_err(|e| e.to_string())?;
    match file.bare_secret() {
        Some(key) => Err(format!(
            "`{key}`: a secret does not stand in an object that many may read; write it into a Secret of this namespace \
             and name that: `credentials: {{name: ...}}`"
        )),
        None => Ok(file),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(kind: Kind, spec: &Value, status: &Value) -> Declaration {
        let object = json!({
            "apiVersion": kind.resource().api_version, "kind": kind.name(),
            "metadata": { "name": "gold", "namespace": "ns", "uid": "u", "generation": 3 },
            "spec": spec, "status": status,
        });
        Declaration::read(kind, &serde_json::from_value(object).unwrap(), |_| Ok(()))
    }

    #[test]
    fn an_object_is_a_backend_file_without_its_first_lines() {
        let spec = json!({ "storageDriverName": "ontap-nas", "svm": "svm1", "credentials": { "name": "s" } });
        let read = read(Kind::Backend, &spec, &json!({}));
        let file = read.file.unwrap();
        assert_eq!((read.object.as_str(), read.generation), ("Backend ns/gold", 3));
        assert_eq!((file.name().as_str(), file.driver_name()), ("gold", "ontap-nas"));
        assert_eq!(file.credentials().unwrap().name, "s");
    }

    #[test]
    fn what_cannot_be_is_said_by_its_field() {
        let nas = |more: Value| {
            let mut spec = json!({ "storageDriverName": "ontap-nas" });
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            spec
        };
        for (kind, spec, status, says) in [
            (Kind::Backend, json!({}), json!({}), "storageDriverName"),
            (Kind::Backend, nas(json!({ "password": "hunter2" })), json!({}), "`password`"),
            (
                Kind::Backend,
                nas(json!({ "ChapInitiatorSecret": "hunter2" })),
                json!({}),
                "credentials: {name",
            ),
            (Kind::Backend, nas(json!({ "deletionPolicy": "retain" })), json!({}), ""),
            (Kind::Trident, nas(json!({ "deletionPolicy": "retain" })), json!({}), "deletionPolicy"),
            (
                Kind::Backend,
                nas(json!({ "backendName": "b" })),
                json!({ "backend": "a" }),
                "cannot become `b`",
            ),
        ] {
            let read = read(kind, &spec, &status);
            match read.file {
                Err(problem) => assert!(problem.contains(says) && !problem.contains("hunter2"), "{problem}"),
                // An unknown key is the family's to refuse.
                Ok(_) => assert!(says.is_empty(), "{spec}"),
            }
        }
        let trident = read(
            Kind::Trident,
            &nas(json!({ "version": 1, "deletionPolicy": "delete" })),
            &json!({ "backendInfo": { "backendName": "gold" } }),
        );
        assert!(trident.file.is_ok() && trident.known.is_some());
    }
}
