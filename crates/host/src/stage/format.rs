//! Whether a device may be formatted: the rule, and the record that a format has begun.
//!
//! The record exists because a tool that dies half-way leaves a device that is not blank any more. It is written,
//! durably, after the device was proven blank and before a byte is written to it; it names the device by its
//! identity; and it goes when the caller's own record says that the volume was staged.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use model::Filesystem;
use serde::{Deserialize, Serialize};

use crate::device::block::Subject;
use crate::device::proof::Sight;
use crate::error::{Doing, Result};
use crate::filesystem::Probe;

/// How far a format of ours has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Phase {
    Begun,
    /// The header of its encryption is whole; the filesystem inside may not be.
    Encrypted,
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct FormatRecord {
    format: u32,
    /// Written as `image` since there was nothing else.
    #[serde(rename = "image")]
    pub(crate) subject: Subject,
    pub(crate) filesystem: Filesystem,
    pub(crate) phase: Phase,
    /// The UUID of the header that is made first, where the content is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) luks: Option<String>,
}

/// What lies or shall lie on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Filesystem(Filesystem),
    Luks,
}

/// All that is known before deciding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) wanted: Content,
    pub(crate) read_only: bool,
    /// The caller's record.
    pub(crate) staged_before: bool,
    /// A clone or an import.
    pub(crate) may_hold_data: bool,
    /// How far we came with this very device and this content.
    pub(crate) phase: Option<Phase>,
    pub(crate) probe: &'a Probe,
    pub(crate) sight: Sight,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Mount what is there.
    Use,
    Format {
        over_remains: bool,
    },
}

const RECORD_FORMAT: u32 = 1;
const FILE: &str = ".format";

/// The rule. A device is formatted only when blkid, our own reading and the records all say that it is blank, or
/// when all of them agree that what lies there is the start of our own format.
///
/// # Errors
/// The evidence against it, and what a person can do.
pub(crate) fn next(evidence: &Evidence<'_>) -> Result<Next, String> {
    let Evidence { wanted, staged_before, may_hold_data, .. } = *evidence;
    if evidence.phase == Some(Phase::Encrypted) && !staged_before {
        // Nobody but us had the key: what shines through it is noise, or our own half-made filesystem.
        return allow(evidence, true);
    }
    let phase = evidence.phase.filter(|_| !may_hold_data && !staged_before);
    let found = match evidence.probe {
        Probe::Filesystem(found) => Some(Content::Filesystem(*found)),
        Probe::Luks(_) => Some(Content::Luks),
        _ => None,
    };
    match evidence.probe {
        Probe::Ambiguous => {
            Err("blkid finds several labels on it that contradict each other; look at it with \
                                 `wipefs` and remove what is stale"
                .to_owned())
        }
        Probe::Other(found) => Err(format!(
            "it holds {found} instead of {wanted}{}; take it for another volume, or erase it with `wipefs --all` \
             if nobody needs it",
            origin(evidence)
        )),
        Probe::Filesystem(_) | Probe::Luks(_) if found != Some(wanted) => Err(format!(
            "it holds {} and {wanted} is wanted{}; {}",
            found.map(|f| f.to_string()).unwrap_or_default(),
            origin(evidence),
            match found {
                Some(Content::Luks) => "if it is meant to be encrypted, ask for `LUKSEncryption`".to_owned(),
                _ if wanted == Content::Luks => "what is not encrypted is not made so; ask for it without \
                                                 encryption, or copy the files into a new volume"
                    .to_owned(),
                found => format!("if the content is right, ask for {}", found.unwrap_or(wanted)),
            }
        )),
        Probe::Filesystem(_) | Probe::Luks(_) if staged_before || may_hold_data => Ok(Next::Use),
        Probe::Filesystem(_) | Probe::Luks(_) => match phase {
            Some(Phase::Done) => Ok(Next::Use),
            Some(Phase::Begun) => allow(evidence, true),
            Some(Phase::Encrypted) | None => Err(format!(
                "it holds {wanted} although the record says that it was never staged; if the content is meant to \
                 be used, import it, else erase it with `wipefs --all`"
            )),
        },
        Probe::Nothing if staged_before => Err(format!(
            "the record says that it was staged, but no {} is on it: {}; it is damaged or the wrong \
             device; restore it from a snapshot or backup",
            kind(wanted),
            seen(evidence.sight)
        )),
        Probe::Nothing => match (phase, evidence.sight) {
            (Some(Phase::Done), sight) => Err(format!(
                "it was formatted a short while ago, but no {} is on it now: {}; delete the volume and \
                 create it again",
                kind(wanted),
                seen(sight)
            )),
            (Some(Phase::Begun), _) => allow(evidence, true),
            (_, Sight::Blank) => allow(evidence, false),
            (_, Sight::Data { .. }) => Err(format!(
                "blkid finds no label and the record says that it was never staged, but {}; erase it if nobody \
                 needs that, or use the volume raw",
                seen(evidence.sight)
            )),
        },
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Filesystem(filesystem) => filesystem.fmt(f),
            Content::Luks => f.write_str("LUKS"),
        }
    }
}

impl FormatRecord {
    pub(crate) fn new(subject: Subject, filesystem: Filesystem, phase: Phase) -> FormatRecord {
        FormatRecord { format: RECORD_FORMAT, subject, filesystem, phase, luks: None }
    }

    /// As [`FormatRecord::new`], where a LUKS header with this UUID comes first.
    pub(crate) fn encrypted(
        subject: Subject,
        filesystem: Filesystem,
        phase: Phase,
        uuid: &str,
    ) -> FormatRecord {
        FormatRecord { luks: Some(uuid.to_owned()), ..FormatRecord::new(subject, filesystem, phase) }
    }

    /// How far a device came with a filesystem: directly on it, or behind the header with this UUID.
    pub(crate) fn phase_of(&self, filesystem: Filesystem, uuid: Option<&str>) -> Option<Phase> {
        let is_it = self.filesystem == filesystem && self.luks.as_deref() == uuid;
        Some(self.phase).filter(|phase| is_it && (uuid.is_none() || *phase != Phase::Begun))
    }

    /// How far a device came with the header before a filesystem, where blkid saw this on it.
    pub(crate) fn phase_of_header(&self, filesystem: Filesystem, probe: &Probe) -> Option<Phase> {
        let ours = self.luks.as_ref().filter(|_| self.filesystem == filesystem)?;
        match probe {
            Probe::Luks(found) if found != ours => None,
            _ if self.phase == Phase::Begun => Some(Phase::Begun),
            _ => Some(Phase::Done),
        }
    }

    /// What the directory of a volume keeps.
    ///
    /// # Errors
    /// A record that cannot be read is not taken for none.
    pub(crate) fn read(directory: &Path) -> Result<Option<FormatRecord>> {
        let path = file(directory);
        let doing = || format!("read the format record {}; if it is damaged, remove it", path.display());
        let text = match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.doing(doing)?,
        };
        let record: FormatRecord = serde_json::from_slice(&text).map_err(io::Error::other).doing(doing)?;
        if record.format != RECORD_FORMAT {
            return Err(io::Error::other(format!("its format {} is unknown", record.format))).doing(doing);
        }
        Ok(Some(record))
    }

    /// Writes it so that a crash leaves the old one or the new one.
    pub(crate) fn write(&self, directory: &Path) -> Result<()> {
        let doing = || format!("write a format record in {}", directory.display());
        let text = serde_json::to_vec(self).map_err(io::Error::other).doing(doing)?;
        let fresh = directory.join(".format.new");
        let mut file = File::create(&fresh).doing(doing)?;
        file.write_all(&text).doing(doing)?;
        file.sync_all().doing(doing)?;
        fs::rename(&fresh, self::file(directory)).doing(doing)?;
        File::open(directory).and_then(|d| d.sync_all()).doing(doing)
    }

    /// Durable before the filesystem is used: an old record must not come back over data.
    pub(crate) fn remove(directory: &Path) -> Result<()> {
        let doing = || format!("remove the format record in {}", directory.display());
        match fs::remove_file(file(directory)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => {
                removed.doing(doing)?;
                File::open(directory).and_then(|d| d.sync_all()).doing(doing)
            }
        }
    }
}

fn allow(evidence: &Evidence<'_>, over_remains: bool) -> Result<Next, String> {
    if evidence.read_only {
        return Err(
            "it has no filesystem yet, and a read-only volume is not formatted; attach it for writing \
                    once"
                .to_owned(),
        );
    }
    Ok(Next::Format { over_remains })
}

fn kind(content: Content) -> &'static str {
    match content {
        Content::Filesystem(_) => "filesystem",
        Content::Luks => "LUKS header",
    }
}

fn seen(sight: Sight) -> String {
    match sight {
        Sight::Blank => "all that was read is zero".to_owned(),
        Sight::Data { at } => format!("byte {at} is not zero"),
    }
}

fn origin(evidence: &Evidence<'_>) -> &'static str {
    match (evidence.staged_before, evidence.may_hold_data) {
        (true, _) => ", though it was staged before: it is damaged or the wrong device",
        (false, true) => "",
        (false, false) => ", though the record says that it was never staged",
    }
}

fn file(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGHTS: [Sight; 2] = [Sight::Blank, Sight::Data { at: 512 }];

    fn record(phase: Phase) -> FormatRecord {
        let image = crate::device::image::Identity { device: 1, inode: 2, born: Some(3) };
        FormatRecord::new(Subject::Image(image), Filesystem::Ext4, phase)
    }

    fn probes() -> Vec<Probe> {
        vec![
            Probe::Nothing,
            Probe::Filesystem(Filesystem::Ext4),
            Probe::Filesystem(Filesystem::Xfs),
            Probe::Luks("a".to_owned()),
            Probe::Other("LVM2_member".to_owned()),
            Probe::Ambiguous,
        ]
    }

    /// Every combination there is.
    #[test]
    fn only_three_agreeing_proofs_or_our_own_remains_lead_to_a_format() {
        let phases = [None, Some(Phase::Begun), Some(Phase::Encrypted), Some(Phase::Done)];
        let ext4 = (Content::Filesystem(Filesystem::Ext4), Probe::Filesystem(Filesystem::Ext4));
        let luks = (Content::Luks, Probe::Luks("a".to_owned()));
        for ((wanted, its_label), phase, probe) in [ext4, luks]
            .iter()
            .flat_map(|w| phases.iter().flat_map(move |p| probes().into_iter().map(move |b| (w, *p, b))))
        {
            for (sight, bits) in SIGHTS.iter().flat_map(|sight| (0..8u8).map(move |bits| (*sight, bits))) {
                let [read_only, staged_before, may_hold_data] = [1, 2, 4].map(|bit| bits & bit != 0);
                let evidence = Evidence {
                    wanted: *wanted,
                    read_only,
                    staged_before,
                    may_hold_data,
                    phase,
                    probe: &probe,
                    sight,
                };
                let begun = phase == Some(Phase::Begun)
                    && !may_hold_data
                    && (probe == Probe::Nothing || probe == *its_label);
                // What is behind a header of ours is noise, whatever it looks like.
                let ours = begun || phase == Some(Phase::Encrypted);
                let blank = probe == Probe::Nothing && sight == Sight::Blank;
                match next(&evidence) {
                    Ok(Next::Format { over_remains }) => {
                        assert!(!staged_before && !read_only, "{evidence:?}");
                        assert!(if over_remains { ours } else { blank }, "{evidence:?}");
                    }
                    Ok(Next::Use) => assert_eq!(probe, *its_label, "{evidence:?}"),
                    Err(reason) => assert!(reason.len() > 40, "{evidence:?}: {reason}"),
                }
            }
        }
    }

    #[test]
    fn a_record_speaks_for_its_own_header_and_what_is_behind_it() {
        let of = |phase| FormatRecord { luks: Some("a".to_owned()), ..record(phase) };
        let (ext4, a, b) = (Filesystem::Ext4, Probe::Luks("a".to_owned()), Probe::Luks("b".to_owned()));
        for (phase, header, inside) in [
            (Phase::Begun, Phase::Begun, None),
            (Phase::Encrypted, Phase::Done, Some(Phase::Encrypted)),
            (Phase::Done, Phase::Done, Some(Phase::Done)),
        ] {
            let record = of(phase);
            assert_eq!(record.phase_of_header(ext4, &a), Some(header));
            assert_eq!(record.phase_of_header(ext4, &Probe::Nothing), Some(header));
            assert_eq!(record.phase_of_header(ext4, &b), None);
            assert_eq!(record.phase_of_header(Filesystem::Xfs, &a), None);
            assert_eq!(record.phase_of(ext4, Some("a")), inside);
            assert_eq!(record.phase_of(ext4, Some("b")), None);
            assert_eq!(record.phase_of(ext4, None), None);
        }
        assert_eq!(record(Phase::Begun).phase_of_header(ext4, &Probe::Nothing), None);
        assert_eq!(record(Phase::Begun).phase_of(ext4, None), Some(Phase::Begun));
        assert_eq!(record(Phase::Begun).phase_of(ext4, Some("a")), None);
    }

    #[test]
    fn a_blank_device_is_formatted_and_one_that_was_staged_is_used() {
        let blank = Evidence {
            wanted: Content::Filesystem(Filesystem::Ext4),
            read_only: false,
            staged_before: false,
            may_hold_data: false,
            phase: None,
            probe: &Probe::Nothing,
            sight: Sight::Blank,
        };
        assert_eq!(next(&blank), Ok(Next::Format { over_remains: false }));
        let probe = Probe::Filesystem(Filesystem::Ext4);
        assert_eq!(next(&Evidence { staged_before: true, probe: &probe, ..blank }), Ok(Next::Use));
        let lost = next(&Evidence { staged_before: true, ..blank }).unwrap_err();
        assert!(lost.contains("damaged or the wrong device"), "{lost}");
        let plain = Evidence { staged_before: true, wanted: Content::Luks, probe: &probe, ..blank };
        assert!(next(&plain).unwrap_err().contains("not encrypted"));
    }

    #[test]
    fn a_record_is_kept_replaced_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(FormatRecord::read(directory.path()).unwrap(), None);
        let unit = Subject::Unit { serial: "a".to_owned() };
        let unit = FormatRecord::new(unit, Filesystem::Xfs, Phase::Begun);
        unit.write(directory.path()).unwrap();
        assert_eq!(FormatRecord::read(directory.path()).unwrap(), Some(unit));
        for phase in [Phase::Begun, Phase::Done] {
            record(phase).write(directory.path()).unwrap();
            assert_eq!(FormatRecord::read(directory.path()).unwrap(), Some(record(phase)));
        }
        FormatRecord::remove(directory.path()).unwrap();
        FormatRecord::remove(directory.path()).unwrap();
        assert_eq!(FormatRecord::read(directory.path()).unwrap(), None);
    }

    #[test]
    fn a_damaged_record_is_an_error_and_not_none() {
        let directory = tempfile::tempdir().unwrap();
        for text in ["", "{", "{\"format\":2}"] {
            fs::write(file(directory.path()), text).unwrap();
            assert!(FormatRecord::read(directory.path()).is_err(), "{text}");
        }
    }
}
