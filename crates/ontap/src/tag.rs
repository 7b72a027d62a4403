//! What a volume's comment on the array says: whose it is, and what it was made as.

use driver::{DriverError, ErrorKind};
use model::{Filesystem, InstanceId, Labels, Owner, PoolName, VolumeId, VolumeSpec};
use serde::{Deserialize, Serialize};

/// Our part of a comment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tag {
    pub(crate) instance: InstanceId,
    pub(crate) volume: VolumeId,
    /// What lies in it, so that two backends on one SVM do not take each other's volumes for their own; absent:
    /// unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) holds: Option<Holds>,
    /// Where it was placed, when that is not its aggregate's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pool: Option<PoolName>,
    /// A node has put it to use.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) staged: bool,
    /// Its name before it was taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) imported: Option<String>,
    /// What a shared FlexVol was made for: volumes that want the same may lie in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) terms: Option<String>,
    /// Left out where the array's comment is too short for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) spec: Option<Box<VolumeSpec>>,
    /// What a node makes on it, where there is no room for all that it was made as: without it, a volume would be taken
    /// for a raw device.
    #[serde(rename = "fs", default, skip_serializing_if = "Option::is_none")]
    pub(crate) filesystem: Option<Filesystem>,
}

/// What lies in a volume of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Holds {
    Files,
    Group,
    Lun,
    Namespace,
    /// One LUN of a FlexVol that many share.
    SharedLun,
    /// A FlexVol for such LUNs.
    Luns,
    /// One qtree of a FlexVol that many share.
    Qtree,
    /// A FlexVol for such qtrees.
    Qtrees,
}

#[derive(Serialize, Deserialize)]
struct Comment {
    /// Labels, where Trident and its users look for them.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    provisioning: Labels,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leister: Option<Tag>,
}

impl Tag {
    /// `None`: nobody's, as far as we can say.
    pub(crate) fn read(comment: Option<&str>) -> Option<Tag> {
        serde_json::from_str::<Comment>(comment?).ok()?.leister
    }

    /// The comment to write, of at most `longest` characters.
    ///
    /// # Behavior
    /// What does not fit is left out, from the least needed on: what it was made as but for its file system, then
    /// labels.
    ///
    /// # Errors
    /// `Invalid` when not even names fit.
    pub(crate) fn write(
        &self,
        labels: &Labels,
        longest: usize,
        operation: &'static str,
    ) -> Result<String, DriverError> {
        let mut comment = Comment { provisioning: labels.clone(), leister: Some(self.clone()) };
        let shorten: [fn(&mut Comment); 3] = [
            |_| {},
            |comment| {
                if let Some(tag) = &mut comment.leister {
                    let spec = tag.spec.take();
                    tag.filesystem = spec.and_then(|spec| spec.filesystem).or(tag.filesystem);
                }
            },
            |comment| comment.provisioning.clear(),
        ];
        for shorten in shorten {
            shorten(&mut comment);
            let text = serde_json::to_string(&comment).map_err(|e| {
                DriverError::new(ErrorKind::Internal, operation, "a tag cannot be written").because(e)
            })?;
            if text.len() <= longest {
                return Ok(text);
            }
        }
        let message = format!(
            "the names `{}` and `{}` do not fit into a comment of {longest} characters; use shorter ones",
            self.instance, self.volume
        );
        Err(DriverError::new(ErrorKind::Invalid, operation, message))
    }

    /// Whether it was made by this instance through a backend of this kind.
    pub(crate) fn is_of(&self, ours: &InstanceId, holds: Holds) -> bool {
        self.instance == *ours && self.holds.is_none_or(|seen| seen == holds)
    }

    pub(crate) fn owner(tag: Option<&Tag>, ours: &InstanceId, holds: Holds) -> Owner {
        match tag {
            None => Owner::Nobody,
            Some(tag) if tag.is_of(ours, holds) => Owner::Ours,
            Some(tag) => Owner::Other(tag.instance.clone()),
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag() -> Tag {
        Tag {
            instance: InstanceId::new("ours").unwrap(),
            volume: VolumeId::new("v").unwrap(),
            holds: Some(Holds::Lun),
            pool: None,
            staged: true,
            imported: None,
            terms: None,
            spec: None,
            filesystem: None,
        }
    }

    #[test]
    fn a_tag_is_read_as_it_was_written() {
        let labels = Labels::from([("tier".to_owned(), "gold".to_owned())]);
        let text = tag().write(&labels, 1023, "test").unwrap();
        assert_eq!(Tag::read(Some(&text)), Some(tag()));
        assert!(text.contains("\"provisioning\":{\"tier\":\"gold\"}"), "{text}");
        for nobodys in
            [None, Some(""), Some("made by hand"), Some("{}"), Some("{\"provisioning\":{\"a\":\"b\"}}")]
        {
            assert_eq!(Tag::read(nobodys), None, "{nobodys:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out_but_never_whose_it_is() {
        let labels = Labels::from([("k".to_owned(), "x".repeat(300))]);
        let text = tag().write(&labels, 254, "test").unwrap();
        assert_eq!(Tag::read(Some(&text)), Some(tag()));
        assert_eq!(tag().write(&labels, 20, "test").unwrap_err().kind, ErrorKind::Invalid);
    }

    #[test]
    fn where_what_it_was_made_as_does_not_fit_its_file_system_is_still_said() {
        let spec = serde_json::json!({
            "size": 1, "layout": "block", "filesystem": "xfs", "provisioning": "thin", "mountOptions": ["x".repeat(200)],
        });
        let long = Tag { spec: Some(Box::new(serde_json::from_value(spec).unwrap())), ..tag() };
        let text = long.write(&Labels::new(), 254, "test").unwrap();
        let read = Tag::read(Some(&text)).unwrap();
        assert_eq!((read.spec.as_ref(), read.filesystem), (None, Some(Filesystem::Xfs)));
        // Also when it is written again, as when a node puts it to use.
        assert_eq!(Tag::read(Some(&read.write(&Labels::new(), 254, "test").unwrap())), Some(read));
    }
}
