//! What is kept of a logical volume: its record, in LVM's tags, so that it changes with the volume in one step.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{FilerError, Result};
use crate::volume::{SnapshotRecord, VolumeRecord};

/// Every tag of ours begins so.
pub(super) const TAG: &str = "leister";
/// LVM allows 1024 characters a tag.
const PIECE: usize = 900;
/// A group's metadata area is 1 MiB by default, for all volumes together.
const MAX_RECORD: usize = 12 << 10;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// 0 while it is being made; of several with one handle the highest counts, the others are what a restore left.
    pub(super) generation: u64,
    pub(super) kept: Kept,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kept {
    Volume(VolumeRecord),
    Snapshot { volume: String, owner: String, created: Timestamp, record: SnapshotRecord },
}

impl Entry {
    /// The tags that hold it: `leister:<index>/<count>:<text in base64>`.
    pub(super) fn tags(&self) -> Result<Vec<String>> {
        let invalid = |problem: String| FilerError::Invalid(problem);
        let text = serde_json::to_vec(self).map_err(|e| invalid(e.to_string()))?;
        if text.len() > MAX_RECORD {
            return Err(invalid(
                "the labels of the volume are too long; keep name, labels and permits under 12 KiB together"
                    .to_owned(),
            ));
        }
        let text = STANDARD.encode(text);
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(PIECE).collect();
        let count = pieces.len();
        let tag = |(index, piece): (usize, &&[u8])| {
            format!("{TAG}:{index}/{count}:{}", String::from_utf8_lossy(piece))
        };
        Ok(pieces.iter().enumerate().map(tag).collect())
    }

    /// What the tags hold; `None` without a tag of ours.
    ///
    /// # Errors
    /// The problem, for people.
    pub(super) fn read(tags: &str) -> std::result::Result<Option<Entry>, String> {
        let mut pieces = Vec::new();
        let mut wanted = 0;
        for tag in tags.split(',').filter_map(|tag| tag.strip_prefix(TAG)?.strip_prefix(':')) {
            let (place, text) = tag.split_once(':').ok_or("a tag without a place")?;
            let (index, count) = place.split_once('/').ok_or("a tag without a count")?;
            let number = |text: &str| text.parse::<usize>().map_err(|e| format!("tag `{place}`: {e}"));
            pieces.push((number(index)?, text));
            wanted = number(count)?;
        }
        if pieces.is_empty() {
            return Ok(None);
        }
        pieces.sort_unstable();
        if !pieces.iter().map(|(index, _)| *index).eq(0..wanted) {
            return Err(format!("{} of {wanted} tags of its record are there", pieces.len()));
        }
        let text: String = pieces.into_iter().map(|(_, text)| text).collect();
        let text = STANDARD.decode(text).map_err(|e| format!("its record is no base64: {e}"))?;
        serde_json::from_slice(&text).map(Some).map_err(|e| format!("its record cannot be read: {e}"))
    }
}

#[cfg(test)]
mod tests {
    use model::Bytes;

    use super::*;
    use crate::volume::CreateVolume;

    #[test]
    fn a_record_goes_through_tags_and_a_missing_piece_is_told() {
        let mut wanted = CreateVolume::new("v", Bytes::mib(64));
        wanted.labels.insert("long".to_owned(), "ä,:".repeat(700));
        let entry = Entry { generation: 3, kept: Kept::Volume(wanted.record("us", false)) };
        let mut tags = entry.tags().unwrap();
        assert!(tags.len() > 2 && tags.iter().all(|tag| tag.len() <= 1024));
        tags.reverse();
        let with_others = format!("backup,{}", tags.join(","));
        assert_eq!(Entry::read(&with_others).unwrap(), Some(entry));
        assert_eq!(Entry::read("backup"), Ok(None));
        assert!(Entry::read(&tags[1..].join(",")).unwrap_err().contains("tags of its record"));
        assert!(Entry::read("leister:0/1:e30=").unwrap_err().contains("cannot be read"));
    }
}
