//! What others have written on a volume of theirs: Trident's labels, and the file system that it made.

use driver::{DriverError, ErrorKind, Result};
use model::{Filesystem, Labels, VolumeSpec};
use serde_json::Value;

use super::{Array, Found, Unit};
use crate::wire::luns;

/// The attribute of a LUN, or the entry of a namespace's comment.
const FILESYSTEM: &str = "com.netapp.ndvp.fstype";
const ENCRYPTED: &str = "LUKS";

/// As far as it is said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Described {
    labels: Labels,
    filesystem: Option<Filesystem>,
    encrypted: bool,
}

impl Array {
    /// What a volume of nobody's was made as, where its comments and attributes say so.
    ///
    /// # Errors
    /// `Unsupported` when its content is encrypted by whoever used it: no other can open it.
    ///
    /// # Source
    /// `trident/storage_drivers/ontap`: `ontap_common.go` (the names), `ontap_san_nvme.go` (a namespace's comment),
    /// `api/ontap_rest.go` (a LUN's comment before it had attributes).
    pub(crate) async fn described(
        &self,
        found: &Found,
        operation: &'static str,
    ) -> Result<Option<Box<VolumeSpec>>> {
        let mut said = Described::default();
        said.read_comment(found.volume.comment.as_deref());
        match &found.unit {
            Unit::Lun(lun) => {
                said.read_comment(lun.comment.as_deref());
                let attributes = luns::attributes(&self.client, &lun.uuid).await;
                for own in attributes.map_err(self.error(operation))? {
                    said.read(&own.name, &own.value);
                }
            }
            Unit::Namespace(namespace) => said.read_comment(namespace.comment.as_deref()),
            Unit::Files | Unit::Qtree(_) | Unit::Missing => {}
        }
        if said.encrypted {
            let message = format!(
                "what `{}` holds is encrypted with LUKS by whoever made it, which cannot be taken over; copy it into a \
                 volume of ours there",
                found.handle
            );
            return Err(DriverError::new(ErrorKind::Unsupported, operation, message));
        }
        let is_silent = said == Described::default();
        Ok((!is_silent).then(|| Box::new(found.least(self, said.filesystem, said.labels))))
    }
}

impl Described {
    fn read_comment(&mut self, comment: Option<&str>) {
        let Some(said) = comment.and_then(|text| serde_json::from_str::<Value>(text).ok()) else { return };
        for (key, value) in entries(&said["provisioning"]) {
            self.labels.insert(key.to_owned(), value.to_owned());
        }
        for (key, value) in entries(&said["nsAttribute"]) {
            self.read(key, value);
        }
        if let Some(filesystem) = said["lunAttributes"]["fstype"].as_str() {
            self.read(FILESYSTEM, filesystem);
        }
    }

    fn read(&mut self, name: &str, value: &str) {
        match name {
            // `raw` is none.
            FILESYSTEM => self.filesystem = value.parse().ok(),
            ENCRYPTED => self.encrypted = !["", "false"].contains(&value.to_ascii_lowercase().as_str()),
            _ => {}
        }
    }
}

fn entries(object: &Value) -> impl Iterator<Item = (&str, &str)> {
    object.as_object().into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(comments: &[&str], attributes: &[(&str, &str)]) -> Described {
        let mut said = Described::default();
        comments.iter().for_each(|comment| said.read_comment(Some(comment)));
        attributes.iter().for_each(|(name, value)| said.read(name, value));
        said
    }

    #[test]
    fn labels_and_file_systems_are_read_where_each_version_of_trident_wrote_them() {
        let labels = Labels::from([("tier".to_owned(), "gold".to_owned())]);
        let plain = Described { labels: labels.clone(), ..Described::default() };
        let xfs = |labels| Described { labels, filesystem: Some(Filesystem::Xfs), encrypted: false };
        let volume = r#"{"provisioning":{"tier":"gold"}}"#;
        assert_eq!(of(&[volume], &[]), plain);
        assert_eq!(of(&[volume], &[(FILESYSTEM, "raw"), (ENCRYPTED, "false"), ("context", "csi")]), plain);
        assert_eq!(of(&[volume], &[(FILESYSTEM, "xfs"), (ENCRYPTED, "")]), xfs(labels.clone()));
        let old = r#"{"lunAttributes":{"driverContext":"csi","fstype":"xfs"}}"#;
        assert_eq!(of(&["", old], &[]), xfs(Labels::new()));
        let namespace =
            r#"{"nsAttribute":{"LUKS":"false","com.netapp.ndvp.fstype":"xfs","driverContext":"csi"}}"#;
        assert_eq!(of(&[volume, namespace], &[]), xfs(labels));
        assert!(of(&[], &[(ENCRYPTED, "true")]).encrypted);
        for strange in ["made by hand", "[]", "7", r#"{"provisioning":"gold","nsAttribute":[1]}"#] {
            assert_eq!(of(&[strange], &[]), Described::default(), "{strange}");
        }
    }
}
