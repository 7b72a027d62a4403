//! What must stay the same of a volume while it is served, also over a loss of power: nodes know it by that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write as _};
use std::path::{Path, PathBuf};

use model::Handle;
use serde::{Deserialize, Serialize};

use super::Protocol;
use crate::FilerError;
use crate::error::{Context as _, Result};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// 32 hexadecimal digits, made by chance: unit serial, NGUID, fsid.
    pub(super) serial: String,
    /// Logical unit number; other wires have none.
    pub(super) number: u16,
    pub(super) protocol: Protocol,
}

/// One file, written anew with each change.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    entries: BTreeMap<Handle, Entry>,
}

/// The largest number that every initiator understands with flat addressing (SAM-5, 4.7.7.3).
const LAST_NUMBER: u16 = 16_383;

impl Entry {
    /// As a UUID is written.
    pub(super) fn uuid(&self) -> String {
        let s = &self.serial;
        format!("{}-{}-{}-{}-{}", &s[..8], &s[8..12], &s[12..16], &s[16..20], &s[20..])
    }
}

impl Ledger {
    pub(super) fn open(folder: &Path) -> Result<Ledger> {
        fs::create_dir_all(folder).while_doing("create", folder)?;
        let path = folder.join("served.json");
        let entries = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeMap::new(),
            text => serde_json::from_slice::<BTreeMap<Handle, Entry>>(&text.while_doing("read", &path)?)
                .ok()
                .filter(|all| all.values().all(|entry| is_serial(&entry.serial)))
                .ok_or_else(|| {
                    FilerError::Invalid(format!(
                        "{} is damaged: put back a copy of it; without it every volume gets another serial, and \
                         nodes refuse it",
                        path.display()
                    ))
                })?,
        };
        Ok(Ledger { path, entries })
    }

    pub(super) fn entries(&self) -> &BTreeMap<Handle, Entry> {
        &self.entries
    }

    pub(super) fn find(&self, handle: &Handle) -> Option<Entry> {
        self.entries.get(handle).cloned()
    }

    /// The volume's entry, made when there is none; `taken` are numbers of others.
    pub(super) fn enter(
        &mut self,
        handle: &Handle,
        protocol: Protocol,
        taken: &BTreeSet<u16>,
    ) -> Result<Entry> {
        if let Some(entry) = self.entries.get(handle) {
            if entry.protocol == protocol {
                return Ok(entry.clone());
            }
            return Err(FilerError::Conflict(format!(
                "volume `{handle}` is served by {:?} already: withdraw it before it is served by {protocol:?}",
                entry.protocol
            )));
        }
        let used: BTreeSet<u16> =
            self.entries.values().map(|e| e.number).chain(taken.iter().copied()).collect();
        let number = match protocol {
            Protocol::Iscsi => (1..=LAST_NUMBER).find(|n| !used.contains(n)).ok_or_else(|| {
                FilerError::NoCapacity(format!("all {LAST_NUMBER} logical unit numbers are taken"))
            })?,
            Protocol::Nfs | Protocol::Nvme => 0,
        };
        let entry = Entry { serial: by_chance()?, number, protocol };
        self.entries.insert(handle.clone(), entry.clone());
        self.write().inspect_err(|_| drop(self.entries.remove(handle)))?;
        Ok(entry)
    }

    pub(super) fn forget(&mut self, handle: &Handle) -> Result<()> {
        match self.entries.remove(handle) {
            Some(entry) => self.write().inspect_err(|_| drop(self.entries.insert(handle.clone(), entry))),
            None => Ok(()),
        }
    }

    fn write(&self) -> Result<()> {
        let new = self.path.with_extension("new");
        let text = serde_json::to_vec_pretty(&self.entries)
            .map_err(|error| FilerError::Invalid(format!("cannot write what is served: {error}")))?;
        let mut file = File::create(&new).while_doing("create", &new)?;
        file.write_all(&text).while_doing("write", &new)?;
        file.sync_all().while_doing("flush", &new)?;
        fs::rename(&new, &self.path).while_doing("replace", &self.path)?;
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        File::open(folder).and_then(|f| f.sync_all()).while_doing("flush", folder)
    }
}

fn is_serial(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// A random UUID (RFC 9562, version 4), without its dashes.
fn by_chance() -> Result<String> {
    let mut bytes = [0u8; 16];
    let source = Path::new("/dev/urandom");
    File::open(source).and_then(|mut f| f.read_exact(&mut bytes)).while_doing("read", source)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_and_number_stay_until_the_volume_is_forgotten_and_are_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (Handle::new("one").unwrap(), Handle::new("two").unwrap());
        let mut ledger = Ledger::open(folder.path()).unwrap();
        let first = ledger.enter(&one, Protocol::Iscsi, &BTreeSet::from([1, 2])).unwrap();
        assert_eq!(first.number, 3);
        let mut ledger = Ledger::open(folder.path()).unwrap();
        assert_eq!(ledger.enter(&one, Protocol::Iscsi, &BTreeSet::from([3])).unwrap(), first);
        let second = ledger.enter(&two, Protocol::Iscsi, &BTreeSet::new()).unwrap();
        assert_eq!(second.number, 1);
        assert_ne!(second.serial, first.serial);
        assert!(ledger.enter(&one, Protocol::Nvme, &BTreeSet::new()).is_err());
        ledger.forget(&one).unwrap();
        let again =
            Ledger::open(folder.path()).unwrap().enter(&one, Protocol::Nvme, &BTreeSet::new()).unwrap();
        assert_ne!(again.serial, first.serial);
    }

    #[test]
    fn a_damaged_ledger_is_not_taken_for_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("served.json"), "{").unwrap();
        let error = Ledger::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("served.json is damaged"), "{error}");
    }
}
