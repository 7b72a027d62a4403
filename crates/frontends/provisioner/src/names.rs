//! Names and keys that others see, and that must never change.

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;

/// What a class may call us unless somebody chose otherwise: the name in the manifests of the case study.
pub const DEFAULT_NAME: &str = "netapp.io/trident";

/// Holds a PV until its volume is gone, or is to stay.
pub(crate) const FINALIZER: &str = "leister.io/provisioner";
pub(crate) const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// The backend with the volume of a PV: there it is looked for when its record is lost.
pub(crate) const BACKEND: &str = "leister.io/backend";
/// On a Node: addresses from which it reaches storage, where they are others than its own in the cluster.
pub(crate) const ADDRESSES: &str = "leister.io/storage-addresses";
/// On a Node: the name under which it logs in to iSCSI targets.
pub(crate) const INITIATOR: &str = "leister.io/initiator";

/// What the PV controller writes on a claim that waits for a provisioner, in its old and its new form.
const ASKED: [&str; 2] =
    ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"];
const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const IS_DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
/// As many characters of a claim's id as the case study's PVs have.
const PART_OF_ID: usize = 5;

/// Labels on our records: what made it, and for whom.
pub(crate) mod label {
    pub(crate) use model::{CLAIM, NAMESPACE};

    pub(crate) const PROVISIONER: &str = "provisioner";
    pub(crate) const CLAIM_ID: &str = "pvc-uid";
    pub(crate) const VOLUME: &str = "pv";
    pub(crate) const RECLAIM: &str = "reclaim-policy";
}

/// Checks a name of ours as Kubernetes wants that of a provisioner: `domain/word`, or a domain.
///
/// # Errors
/// What does not fit.
pub fn check_name(name: &str) -> Result<(), String> {
    const LONGEST: usize = 253;
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-./".contains(c);
    let has_firm_ends = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric());
    let is_free = !name.starts_with("kubernetes.io/");
    if name.len() <= LONGEST
        && has_firm_ends
        && is_free
        && name.chars().all(legal)
        && name.matches('/').count() < 2
    {
        return Ok(());
    }
    Err(format!(
        "write a domain and a word in lower case, as in {DEFAULT_NAME}; those of kubernetes.io are taken"
    ))
}

/// What its PV is called, and its volume: namespace, name, and the beginning of its id.
pub(crate) fn volume_of(claim: &PersistentVolumeClaim) -> Option<String> {
    let id = claim.metadata.uid.as_deref()?;
    let part: String = id.chars().take(PART_OF_ID).collect();
    Some(format!("{}-{}-{part}", claim.namespace()?, claim.name_any()))
}

/// Whom a claim waits for, once the PV controller has seen that no PV there is fits it.
pub(crate) fn asked(claim: &PersistentVolumeClaim) -> Option<&str> {
    ASKED.iter().find_map(|key| claim.annotations().get(*key)).map(String::as_str)
}

/// The class that a claim names itself. An empty one is none at all.
pub(crate) fn class_of(claim: &PersistentVolumeClaim) -> Option<&str> {
    let old = claim.annotations().get(OLD_CLASS).map(String::as_str);
    old.or_else(|| claim.spec.as_ref()?.storage_class_name.as_deref())
}

pub(crate) fn is_default(class: &StorageClass) -> bool {
    IS_DEFAULT.iter().any(|key| class.annotations().get(*key).is_some_and(|value| value == "true"))
}

pub(crate) fn refers_to(reference: &ObjectReference, claim: &PersistentVolumeClaim) -> bool {
    reference.namespace == claim.metadata.namespace
        && reference.name == claim.metadata.name
        && (reference.uid.is_none() || reference.uid == claim.metadata.uid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::claim;

    #[test]
    fn a_volume_is_named_as_in_the_case_study() {
        let claim = claim(serde_json::json!({}));
        assert_eq!(volume_of(&claim).as_deref(), Some("default-nfs-test-9e6cb"));
    }

    #[test]
    fn old_and_new_annotations_are_read() {
        for key in ASKED {
            let none = serde_json::json!({ "metadata": { "annotations": { ASKED[0]: null } } });
            let mut claim = claim(none);
            claim.annotations_mut().insert(key.to_owned(), "a/b".to_owned());
            assert_eq!(asked(&claim), Some("a/b"), "{key}");
        }
        let old = claim(serde_json::json!({ "metadata": { "annotations": { OLD_CLASS: "gold" } } }));
        assert_eq!(class_of(&old), Some("gold"));
        assert_eq!(class_of(&claim(serde_json::json!({}))), Some("basic"));
    }
}
