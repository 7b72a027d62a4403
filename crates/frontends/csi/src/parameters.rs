//! What a StorageClass says of a volume, beside what it is used for.

use std::collections::HashMap;

use model::{CLAIM, NAMESPACE, VolumeOption, VolumeOptions};
use orchestrator::{CreateRequest, without_prefix};
use tonic::Status;

use crate::status;

/// What a provisioner adds by itself.
const ADDED: &str = "csi.storage.k8s.io/";

/// Takes parameters over.
///
/// # Errors
/// `INVALID_ARGUMENT` with the name of a class that cannot be one; the orchestrator tells what it does not know.
pub(crate) fn read(request: &mut CreateRequest, parameters: &HashMap<String, String>) -> Result<(), Status> {
    let mut sorted: Vec<_> = parameters.iter().collect();
    sorted.sort();
    for (key, value) in sorted {
        if let Some(added) = key.strip_prefix(ADDED) {
            label(request, added, value);
            continue;
        }
        request.take_parameter(key, value).map_err(status::refused)?;
    }
    Ok(())
}

/// What a VolumeAttributesClass says: options that can change while a volume is in use.
///
/// # Errors
/// `INVALID_ARGUMENT` with the key that is none.
pub(crate) fn options(mutable: &HashMap<String, String>) -> Result<VolumeOptions, Status> {
    let mut sorted: Vec<_> = mutable.iter().collect();
    sorted.sort();
    let read = |(key, value): (&String, &String)| match without_prefix(key).parse::<VolumeOption>() {
        Ok(option) => Ok((option, value.clone())),
        Err(problem) => Err(Status::invalid_argument(format!("mutable_parameters `{key}`: {problem}"))),
    };
    sorted.into_iter().map(read).collect()
}

/// Whose volume it is, for people who look at it later.
fn label(request: &mut CreateRequest, added: &str, value: &str) {
    let key = match added {
        "pvc/name" => CLAIM,
        "pvc/namespace" => NAMESPACE,
        "pv/name" => "pv",
        _ => return,
    };
    request.labels.insert(key.to_owned(), value.to_owned());
}

#[cfg(test)]
mod tests {
    use model::VolumeId;

    use super::*;

    #[test]
    fn mutable_parameters_are_options_and_nothing_else() {
        let read = |key: &str| options(&HashMap::from([(key.to_owned(), "x".to_owned())]));
        let known = read("leister.io/qosPolicy").unwrap();
        assert_eq!(known[&VolumeOption::QosPolicy], "x");
        let status = read("qosPolicies").unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert!(status.message().contains("did you mean `qosPolicy`"), "{}", status.message());
    }

    #[test]
    fn parameters_become_class_options_labels_and_wishes() {
        let mut request = CreateRequest::named(VolumeId::new("v").unwrap());
        let parameters = [
            ("class", "gold"),
            ("leister.io/snapshotDir", "true"),
            ("trident.netapp.io/media", "ssd"),
            ("selector", "tier=gold"),
            ("csi.storage.k8s.io/pvc/name", "data"),
            ("csi.storage.k8s.io/provisioner-secret-name", "secret"),
        ];
        let parameters = parameters.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        read(&mut request, &parameters).unwrap();
        assert_eq!(request.class.unwrap().as_str(), "gold");
        assert_eq!(request.options[&VolumeOption::SnapshotDir], "true");
        assert_eq!(request.labels.get("pvc").map(String::as_str), Some("data"));
        assert_eq!(request.labels.len(), 1);
        let keys: Vec<&str> = request.parameters.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["selector", "trident.netapp.io/media"]);
        let mut request = CreateRequest::named(VolumeId::new("v").unwrap());
        let status =
            read(&mut request, &HashMap::from([("class".to_owned(), "a b".to_owned())])).unwrap_err();
        assert!(status.message().contains("`class`"), "{}", status.message());
    }
}
