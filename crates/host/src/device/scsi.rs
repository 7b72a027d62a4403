//! SCSI units that came over iSCSI, as sysfs shows them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Doing, Result};

/// A session with a target, logged in or trying to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) id: u32,
    pub(crate) target: String,
    /// `address:port` as configured, IPv6 in brackets.
    pub(crate) portal: String,
    host: u32,
    directory: PathBuf,
}

/// One path to a unit: a disk of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) name: String,
    pub(crate) session: Session,
    pub(crate) lun: u64,
    /// There before the disk has its name everywhere.
    directory: PathBuf,
}

const SESSIONS: &str = "/sys/class/iscsi_session";
const CONNECTIONS: &str = "/sys/class/iscsi_connection";

pub(crate) fn sessions() -> Result<Vec<Session>> {
    let entries = match fs::read_dir(SESSIONS) {
        // The kernel's part of iSCSI is not loaded: nobody is logged in.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.doing(|| format!("list {SESSIONS}"))?,
    };
    // One that goes away meanwhile is none.
    Ok(entries.flatten().filter_map(|e| session(&e.file_name().to_string_lossy())).collect())
}

fn session(name: &str) -> Option<Session> {
    let id: u32 = name.strip_prefix("session")?.parse().ok()?;
    let directory = fs::canonicalize(Path::new(SESSIONS).join(name).join("device")).ok()?;
    let host = directory.parent()?.file_name()?.to_str()?.strip_prefix("host")?.parse().ok()?;
    let target = value(&Path::new(SESSIONS).join(name).join("targetname"))?;
    let connection = Path::new(CONNECTIONS).join(format!("connection{id}:0"));
    let address = value(&connection.join("persistent_address"))?;
    let port = value(&connection.join("persistent_port"))?;
    let portal =
        if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") };
    Some(Session { id, target, portal, host, directory })
}

impl Session {
    /// Whether commands go through; else it recovers, or nobody sees to it any more.
    pub(crate) fn is_logged_in(&self) -> bool {
        let state = Path::new(SESSIONS).join(format!("session{}", self.id)).join("state");
        value(&state).as_deref() == Some("LOGGED_IN")
    }

    /// Lets the kernel look for one unit and no other.
    pub(crate) fn scan(&self, lun: u16) -> Result<()> {
        let path = format!("/sys/class/scsi_host/host{}/scan", self.host);
        fs::write(&path, format!("0 0 {lun}")).doing(|| format!("scan for unit {lun} by {path}"))
    }

    /// The disks of this session.
    pub(crate) fn disks(&self) -> Vec<Disk> {
        let targets = children(&self.directory).filter(|p| name_of(p).starts_with("target"));
        let units = targets.flat_map(|target| children(&target).collect::<Vec<_>>());
        units
            .filter_map(|unit| {
                let lun = name_of(&unit).rsplit(':').next()?.parse().ok()?;
                let name = children(&unit.join("block")).map(|disk| name_of(&disk)).next()?;
                Some(Disk { name, session: self.clone(), lun, directory: unit })
            })
            .collect()
    }
}

impl Disk {
    /// What the unit says its serial number is, asked anew.
    pub(crate) fn serial(&self) -> Result<String> {
        // The kernel keeps what a former unit of the same number said.
        self.rescan()?;
        self.known_serial()
    }

    /// What the unit said its serial number is when it was last asked.
    pub(crate) fn known_serial(&self) -> Result<String> {
        let path = self.attribute("vpd_pg80");
        let page =
            fs::read(&path).doing(|| format!("read the unit's serial number in {}", path.display()))?;
        let strange = || io::Error::other("the page is not one of serial numbers");
        serial(&page).ok_or_else(strange).doing(|| format!("understand {}", path.display()))
    }

    /// What the unit says that it is called in the whole world, asked anew; `None` where it has no such name.
    pub(crate) fn name_of_unit(&self) -> Result<Option<String>> {
        self.rescan()?;
        Ok(value(&self.attribute("wwid")).filter(|name| !name.is_empty()))
    }

    /// Whether the kernel sends it commands.
    pub(crate) fn is_running(&self) -> bool {
        value(&self.attribute("state")).as_deref() == Some("running")
    }

    /// Takes over what the unit says of itself now: its names, its size.
    pub(crate) fn rescan(&self) -> Result<()> {
        let path = self.attribute("rescan");
        fs::write(&path, "1").doing(|| format!("rescan {}", self.name))
    }

    /// Makes the kernel forget the disk. What is not written by now is lost.
    pub(crate) fn delete(&self) -> Result<()> {
        match fs::write(self.attribute("delete"), "1") {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            deleted => deleted.doing(|| format!("remove the disk {}", self.name)),
        }
    }

    fn attribute(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// The path that a disk of this name is, if it came over iSCSI.
pub(crate) fn find(name: &str) -> Result<Option<Disk>> {
    Ok(sessions()?.iter().flat_map(Session::disks).find(|disk| disk.name == name))
}

/// # Source
/// SPC-4, section 7.8.18 (Unit Serial Number VPD page).
fn serial(page: &[u8]) -> Option<String> {
    let [_, 0x80, high, low, text @ ..] = page else { return None };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let text = std::str::from_utf8(text.get(..length)?).ok()?;
    Some(text.trim_matches(|c: char| c == ' ' || c == '\0').to_owned())
}

fn children(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|e| e.path())
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn value(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_is_read_from_its_page_and_nothing_else_is_one() {
        for (page, expected) in [
            (&b"\0\x80\0\x05rig-1"[..], Some("rig-1")),
            (b"\0\x80\0\x08  rig-1 ", Some("rig-1")),
            (b"\0\x80\0\x03abcdef", Some("abc")),
            (b"\0\x80\0\x09short", None),
            (b"\0\x83\0\x01a", None),
            (b"\0\x80", None),
            (b"", None),
        ] {
            assert_eq!(serial(page).as_deref(), expected, "{page:?}");
        }
    }
}
