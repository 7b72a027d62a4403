//! What the cluster's nodes can reach, known before a volume is made for them.

use model::{Filesystem, Layout, NodeIdentity};
use orchestrator::CreateRequest;

use crate::names::{ADDRESSES, INITIATOR};

/// Whether there are nodes for files, and for blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    files: bool,
    blocks: bool,
}

/// A wish that was kept to one layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Narrowed {
    /// What pools say that have the other one only.
    pub(crate) refusal: &'static str,
    pub(crate) because: String,
}

impl Reach {
    pub(crate) fn of(cluster: Option<&NodeIdentity>) -> Reach {
        Reach {
            files: cluster.is_some_and(|cluster| !cluster.addresses.is_empty()),
            blocks: cluster.is_some_and(|cluster| !cluster.initiators().is_empty()),
        }
    }

    /// Keeps a wish to what can be reached; says how it was narrowed.
    ///
    /// # Errors
    /// What was asked for cannot be reached, with the way out.
    pub(crate) fn narrow(self, request: &mut CreateRequest) -> Result<Option<Narrowed>, String> {
        let needs_block = request.layout == Some(Layout::Block) || request.filesystem.is_some();
        let no_files =
            || format!("no Node has an address of type InternalIP; write the annotation {ADDRESSES} on them");
        let no_blocks =
            || format!("no Node says its iSCSI initiator name; write the annotation {INITIATOR} on them");
        match (self.files, self.blocks) {
            (_, false) if needs_block => Err(format!("a block volume could not be reached: {}", no_blocks())),
            (false, _) if request.layout == Some(Layout::File) => {
                Err(format!("a file volume could not be reached: {}", no_files()))
            }
            (false, false) => Err(format!("no volume could be reached: {}", no_files())),
            (true, false) if request.layout.is_none() => {
                request.layout = Some(Layout::File);
                Ok(Some(Narrowed {
                    refusal: "has no file volumes",
                    because: format!("only file volumes are looked for, since {}", no_blocks()),
                }))
            }
            (false, true) if request.layout.is_none() => {
                request.layout = Some(Layout::Block);
                request.filesystem.get_or_insert(Filesystem::Ext4);
                Ok(Some(Narrowed {
                    refusal: "has no block volumes",
                    because: format!("only block volumes are looked for, since {}", no_files()),
                }))
            }
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use model::VolumeId;

    use super::*;

    #[test]
    fn a_wish_is_kept_to_what_the_clusters_nodes_can_reach() {
        let (file, block) = (Some(Layout::File), Some(Layout::Block));
        for (files, blocks, asked, expected) in [
            (true, true, None, Ok(None)),
            (true, true, block, Ok(block)),
            (true, false, None, Ok(file)),
            (true, false, file, Ok(file)),
            (true, false, block, Err(INITIATOR)),
            (false, true, None, Ok(block)),
            (false, true, file, Err(ADDRESSES)),
            (false, false, None, Err(ADDRESSES)),
        ] {
            let mut request = CreateRequest::named(VolumeId::new("v").unwrap());
            request.layout = asked;
            let narrowed = Reach { files, blocks }.narrow(&mut request);
            match expected {
                Ok(layout) => {
                    assert_eq!(narrowed.map(|_| request.layout), Ok(layout), "{files} {blocks} {asked:?}")
                }
                Err(part) => assert!(narrowed.unwrap_err().contains(part), "{files} {blocks} {asked:?}"),
            }
        }
        let mut request = CreateRequest::named(VolumeId::new("v").unwrap());
        request.filesystem = Some(Filesystem::Xfs);
        assert!(Reach { files: true, blocks: false }.narrow(&mut request).unwrap_err().contains(INITIATOR));
    }
}
