use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use model::Chap;
use serde::{Deserialize, Serialize};

use crate::FilerError;
use crate::error::Result;

/// What this machine serves, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Addresses of this machine that clients reach. NFS routes name the first.
    pub portals: Vec<IpAddr>,
    /// Keeps each volume's serial and number, durably. One process at a time.
    pub state: PathBuf,
    #[serde(default)]
    pub nfs: Option<NfsSettings>,
    #[serde(default)]
    pub iscsi: Option<IscsiSettings>,
    #[serde(default)]
    pub nvme: Option<NvmeSettings>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NfsSettings {
    /// A directory that becomes the root of what is exported, on a file system in memory.
    pub root: PathBuf,
    pub threads: u16,
    /// For how long clients may claim what they had before this server was started; also the lease of NFSv4. At least
    /// ten seconds.
    pub grace_seconds: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IscsiSettings {
    /// The target's IQN; everything below it is this filer's.
    pub target: String,
    pub port: u16,
    /// What every initiator without an account of its own must prove.
    #[serde(default)]
    pub chap: Option<Chap>,
    /// By initiator.
    #[serde(default)]
    pub accounts: BTreeMap<String, Chap>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NvmeSettings {
    /// How the names of this filer's subsystems begin.
    pub base: String,
    pub port: u16,
}

impl Settings {
    pub(super) fn check(&self) -> Result<()> {
        let invalid = |text: String| Err(FilerError::Invalid(text));
        if self.portals.is_empty() {
            return invalid("`portals` is empty: name an address of this machine that clients reach".into());
        }
        if let Some(address) = self.portals.iter().find(|a| a.is_unspecified() || a.is_multicast()) {
            return invalid(format!(
                "`portals`: `{address}` is no address of one machine: name them one by one"
            ));
        }
        if let Some(nfs) = &self.nfs {
            if !nfs.root.is_absolute() {
                return invalid(format!("`nfs.root`: `{}` is not absolute", nfs.root.display()));
            }
            if nfs.threads == 0 || nfs.grace_seconds < 10 {
                return invalid(format!(
                    "`nfs.threads` is {}, `nfs.graceSeconds` {}: use at least 1 and 10",
                    nfs.threads, nfs.grace_seconds
                ));
            }
        }
        if let Some(iscsi) = &self.iscsi {
            check_name("iscsi.target", &iscsi.target, &["iqn.", "eui.", "naa."], 223)?;
            for chap in iscsi.chap.iter().chain(iscsi.accounts.values()) {
                check_chap(chap)?;
            }
        }
        if let Some(nvme) = &self.nvme {
            // A volume's serial and a host's digest follow.
            check_name("nvme.base", &nvme.base, &["nqn."], 223 - 50)?;
        }
        Ok(())
    }
}

/// What a person or a node calls itself becomes a file name in configfs.
pub(super) fn check_name(field: &str, name: &str, begin: &[&str], longest: usize) -> Result<()> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    if begin.iter().any(|b| name.starts_with(b)) && name.len() <= longest && name.chars().all(legal) {
        return Ok(());
    }
    Err(FilerError::Invalid(format!(
        "{field}: `{name}` is not legal; it begins with {}, has at most {longest} characters, of A-Z a-z 0-9 - . _ :",
        begin.join(" or ")
    )))
}

fn check_chap(chap: &Chap) -> Result<()> {
    for account in std::iter::once(&chap.initiator).chain(&chap.target) {
        let secret = account.secret.expose();
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
        if account.user.is_empty() || !plain(&account.user) || account.user.len() > 255 {
            return Err(FilerError::Invalid(format!(
                "CHAP user `{}`: use 1 to 255 printable characters without blanks",
                account.user
            )));
        }
        if !(12..=255).contains(&secret.len()) || !plain(secret) {
            return Err(FilerError::Invalid(format!(
                "the CHAP secret of `{}` must have 12 to 255 printable characters without blanks",
                account.user
            )));
        }
    }
    match &chap.target {
        Some(target) if target.secret == chap.initiator.secret => Err(FilerError::Invalid(format!(
            "the CHAP secrets of `{}` and `{}` are the same: the target needs one of its own",
            chap.initiator.user, target.user
        ))),
        _ => Ok(()),
    }
}
