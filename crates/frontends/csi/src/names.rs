//! Names that callers choose: the protocol allows them every character, we do not.

use std::fmt::Write as _;

use model::{SnapshotName, VolumeId};
use sha2::{Digest as _, Sha256};
use tonic::Status;

/// Of a name that is not one of ours, so much stays for people to see.
const LONGEST: usize = 100;
/// Bytes of its digest: two names never become one.
const DIGEST: usize = 12;

/// # Errors
/// `INVALID_ARGUMENT` for an empty name.
pub(crate) fn volume(name: &str) -> Result<VolumeId, Status> {
    present(name)?;
    let id = VolumeId::new(name).or_else(|_| VolumeId::new(legal(name)));
    id.map_err(|e| Status::invalid_argument(e.to_string()))
}

/// # Errors
/// As [`volume`].
pub(crate) fn snapshot(name: &str) -> Result<SnapshotName, Status> {
    present(name)?;
    let own = SnapshotName::new(name).or_else(|_| SnapshotName::new(legal(name)));
    own.map_err(|e| Status::invalid_argument(e.to_string()))
}

fn present(name: &str) -> Result<(), Status> {
    if name.is_empty() { Err(Status::invalid_argument("name is missing")) } else { Ok(()) }
}

fn legal(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let shown: String = name.chars().map(plain).take(LONGEST).collect();
    let mut legal = format!("{}-", shown.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()));
    for byte in Sha256::digest(name).iter().take(DIGEST) {
        let _ = write!(legal, "{byte:02x}");
    }
    legal.trim_start_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_ours_stays_and_another_becomes_one_of_its_own() {
        assert_eq!(volume("pvc-1.a_b").unwrap().as_str(), "pvc-1.a_b");
        let names = ["vol+1", "vol_1", "vol 1", "+vol+1", "ümläut", "日本", "/", "-", &"x".repeat(128)];
        let ids: std::collections::BTreeSet<String> =
            names.iter().map(|name| volume(name).unwrap().to_string()).collect();
        assert_eq!(ids.len(), names.len(), "{ids:?}");
        assert_eq!(volume("vol+1").unwrap(), volume("vol+1").unwrap());
        assert!(volume("vol+1").unwrap().as_str().starts_with("vol_1-"));
        assert_eq!(volume("").unwrap_err().code(), tonic::Code::InvalidArgument);
        assert!(snapshot("at 12:00").unwrap().as_str().starts_with("at_12_00-"));
    }
}
