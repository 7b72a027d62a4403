//! Whether a claim is for us, and of which class its volume shall be.

use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;

use crate::names;

/// What a claim without a volume asks of us.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Call {
    /// Nothing, or nothing yet.
    None,
    /// A volume of this class.
    Volume(Arc<StorageClass>),
    /// What we do not do, with the reason.
    Ignored(String),
    /// What cannot be right, with the reason.
    Wrong(String),
}

/// # Behavior
/// A claim is heard once the PV controller has written on it that it waits for us: until then a PV that is there
/// already may still fit it.
pub(crate) fn call(claim: &PersistentVolumeClaim, classes: &[Arc<StorageClass>], names: &[String]) -> Call {
    let is_ours = |name: &str| names.iter().any(|ours| ours == name);
    let Some(asked) = names::asked(claim).filter(|asked| is_ours(asked)) else { return Call::None };
    let class = match names::class_of(claim) {
        Some("") => return Call::None,
        Some(name) => match classes.iter().find(|class| class.name_any() == name) {
            Some(class) => class,
            None => {
                return Call::Wrong(format!(
                    "storageClassName: there is no StorageClass `{name}`; create it, or create the claim again with \
                     another one"
                ));
            }
        },
        None => {
            let defaults: Vec<_> = classes.iter().filter(|class| names::is_default(class)).collect();
            match defaults[..] {
                [class] => class,
                [] => return Call::None,
                _ => {
                    let names: Vec<_> = defaults.iter().map(|class| class.name_any()).collect();
                    return Call::Wrong(format!(
                        "storageClassName is missing and {} StorageClasses are marked as default ({}); name one in the \
                         claim, or leave the mark on one only",
                        names.len(),
                        names.join(", ")
                    ));
                }
            }
        }
    };
    if class.provisioner != asked {
        return if is_ours(&class.provisioner) {
            Call::Volume(class.clone())
        } else {
            Call::Wrong(format!(
                "storageClassName: StorageClass `{}` is now of provisioner `{}`, but the claim was given to `{asked}`; \
                 create the claim again",
                class.name_any(),
                class.provisioner
            ))
        };
    }
    match claim.spec.as_ref().and_then(|spec| spec.selector.as_ref()) {
        Some(_) => Call::Ignored(
            "selector: volumes made for a claim have no labels that it could select; leave it out, and choose with the \
             StorageClass"
                .to_owned(),
        ),
        None => Call::Volume(class.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::samples;

    const NEW: &str = "volume.kubernetes.io/storage-provisioner";

    fn called(claim: Value, classes: &[Value]) -> Call {
        let classes: Vec<_> = classes.iter().map(|class| Arc::new(samples::class(class.clone()))).collect();
        call(
            &samples::claim(claim),
            &classes,
            &["netapp.io/trident".to_owned(), "example.org/nas".to_owned()],
        )
    }

    fn of_class(call: &Call) -> Option<String> {
        match call {
            Call::Volume(class) => Some(class.name_any()),
            _ => None,
        }
    }

    #[test]
    fn a_claim_is_heard_when_the_pv_controller_has_given_it_to_us() {
        assert_eq!(of_class(&called(json!({}), &[json!({})])).as_deref(), Some("basic"));
        let not_yet = json!({ "metadata": { "annotations": { NEW: null } } });
        assert_eq!(called(not_yet, &[json!({})]), Call::None);
        let to_another = json!({ "metadata": { "annotations": { NEW: "other.org/disk" } } });
        assert_eq!(called(to_another, &[json!({})]), Call::None);
        let other_name = json!({ "metadata": { "annotations": { NEW: "example.org/nas" } } });
        let class = json!({ "provisioner": "example.org/nas" });
        assert_eq!(of_class(&called(other_name, &[class])).as_deref(), Some("basic"));
    }

    #[test]
    fn a_claim_without_a_class_gets_the_default_if_there_is_exactly_one() {
        let none = json!({ "spec": { "storageClassName": null } });
        let default =
            |name: &str, key: &str| json!({ "metadata": { "name": name, "annotations": { key: "true" } } });
        let new = "storageclass.kubernetes.io/is-default-class";
        let old = "storageclass.beta.kubernetes.io/is-default-class";
        assert_eq!(called(none.clone(), &[json!({})]), Call::None);
        assert_eq!(of_class(&called(none.clone(), &[json!({}), default("d", new)])).as_deref(), Some("d"));
        assert_eq!(of_class(&called(none.clone(), &[default("d", old)])).as_deref(), Some("d"));
        let Call::Wrong(reason) = called(none, &[default("d", old), default("e", new)]) else { panic!() };
        assert!(reason.contains("d, e"), "{reason}");
        assert_eq!(called(json!({ "spec": { "storageClassName": "" } }), &[default("d", new)]), Call::None);
    }

    #[test]
    fn what_is_not_done_or_cannot_be_right_has_a_reason_with_a_way_out() {
        let selector = json!({ "spec": { "selector": { "matchLabels": { "a": "b" } } } });
        assert!(
            matches!(called(selector, &[json!({})]), Call::Ignored(reason) if reason.contains("leave it out"))
        );
        assert!(matches!(called(json!({}), &[]), Call::Wrong(reason) if reason.contains("`basic`")));
        let changed = json!({ "provisioner": "other.org/disk" });
        assert!(
            matches!(called(json!({}), &[changed]), Call::Wrong(reason) if reason.contains("other.org/disk"))
        );
    }
}
