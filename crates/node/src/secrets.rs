//! Passphrases of volumes that this node encrypts, in files that an operator writes.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use host::{Passphrase, Passphrases};
use model::{Secret, VolumeId};
use orchestrator::{Error, ErrorKind, Result};

/// A directory with the files `luks-passphrase`, `luks-passphrase-name`, `previous-luks-passphrase` and
/// `previous-luks-passphrase-name`, of which only the first is needed; or with such a directory for each volume, by its
/// name, which then counts instead.
///
/// # Behavior
/// Read each time that a volume is attached, so a file that is changed counts from then on. One newline at the end of a
/// file does not count.
#[derive(Clone, Debug, Default)]
pub struct Secrets(Option<PathBuf>);

pub(crate) const CURRENT: &str = "luks-passphrase";
pub(crate) const PREVIOUS: &str = "previous-luks-passphrase";
/// Nobody but its owner and group may read a passphrase.
const OTHERS: u32 = 0o007;

impl Secrets {
    pub fn new(directory: Option<PathBuf>) -> Secrets {
        Secrets(directory)
    }

    /// # Errors
    /// `Invalid`: there is no directory or no passphrase in it, or others may read it. No message shows one.
    pub async fn passphrases(&self, volume: &VolumeId) -> Result<Passphrases> {
        let Some(directory) = self.0.clone() else {
            let problem =
                format!("volume `{volume}` is encrypted by its node, and this one has no passphrases");
            return Err(Error::invalid(problem).hint(
                "start leister with `--luks-secrets DIR`, or name a Secret in the StorageClass \
                 (csi.storage.k8s.io/node-stage-secret-name)",
            ));
        };
        let volume = volume.clone();
        let read = tokio::task::spawn_blocking(move || read(&directory, &volume));
        read.await.map_err(|e| Error::new(ErrorKind::Internal, e.to_string()))?
    }
}

fn read(directory: &Path, volume: &VolumeId) -> Result<Passphrases> {
    let own = directory.join(volume.as_str());
    let directory = if own.is_dir() { own } else { directory.to_owned() };
    let Some(current) = passphrase(&directory, CURRENT)? else {
        let problem =
            format!("there is no passphrase for volume `{volume}`: no file {}", place(&directory, CURRENT));
        return Err(Error::invalid(problem).hint("write it, readable by root alone"));
    };
    Ok(Passphrases { current, previous: passphrase(&directory, PREVIOUS)? })
}

fn passphrase(directory: &Path, key: &str) -> Result<Option<Passphrase>> {
    let Some(secret) = text(directory, key)? else { return Ok(None) };
    let name = text(directory, &format!("{key}-name"))?.unwrap_or_else(|| place(directory, key));
    Ok(Some(Passphrase { name, secret: Secret::new(secret) }))
}

fn text(directory: &Path, key: &str) -> Result<Option<String>> {
    let path = directory.join(key);
    let failed = |e: io::Error| Error::invalid(format!("{} cannot be read: {e}", path.display()));
    let text = match fs::read_to_string(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(failed)?,
    };
    if fs::metadata(&path).map_err(failed)?.permissions().mode() & OTHERS != 0 {
        let problem = format!("{} is for everybody on this machine", path.display());
        return Err(Error::invalid(problem).hint(format!("`chmod 600 {}`", path.display())));
    }
    Ok(Some(line(&text).to_owned()))
}

/// Without the end of a line, which an editor writes.
pub(crate) fn line(text: &str) -> &str {
    let line = text.strip_suffix('\n').unwrap_or(text);
    line.strip_suffix('\r').unwrap_or(line)
}

fn place(directory: &Path, key: &str) -> String {
    directory.join(key).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, key: &str, text: &str) {
        fs::create_dir_all(directory).unwrap();
        fs::write(directory.join(key), text).unwrap();
        fs::set_permissions(directory.join(key), fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[tokio::test]
    async fn passphrases_are_read_as_they_are_now_and_a_volume_may_have_its_own() {
        let home = tempfile::tempdir().unwrap();
        let (secrets, v) = (Secrets::new(Some(home.path().to_owned())), VolumeId::new("v").unwrap());
        let error = secrets.passphrases(&v).await.unwrap_err();
        assert!(error.sentence().contains("luks-passphrase"), "{}", error.sentence());
        write(home.path(), "luks-passphrase", "correct horse\n");
        let found = secrets.passphrases(&v).await.unwrap();
        assert_eq!(found.current.secret.expose(), "correct horse");
        assert!(found.current.name.ends_with("/luks-passphrase") && found.previous.is_none());
        let own = home.path().join("v");
        for (key, text) in [
            ("luks-passphrase", " two  words "),
            ("luks-passphrase-name", "B"),
            ("previous-luks-passphrase", "old"),
            ("previous-luks-passphrase-name", "A\n"),
        ] {
            write(&own, key, text);
        }
        let found = secrets.passphrases(&v).await.unwrap();
        assert_eq!((found.current.name.as_str(), found.current.secret.expose()), ("B", " two  words "));
        let previous = found.previous.unwrap();
        assert_eq!((previous.name.as_str(), previous.secret.expose()), ("A", "old"));
        let other = secrets.passphrases(&VolumeId::new("w").unwrap()).await.unwrap();
        assert_eq!(other.current.secret.expose(), "correct horse");
    }

    #[tokio::test]
    async fn a_passphrase_that_everybody_may_read_or_that_is_nowhere_is_refused_with_the_way_out() {
        let home = tempfile::tempdir().unwrap();
        let v = VolumeId::new("v").unwrap();
        write(home.path(), "luks-passphrase", "hunter2");
        let path = home.path().join("luks-passphrase");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = Secrets::new(Some(home.path().to_owned())).passphrases(&v).await.unwrap_err().sentence();
        assert!(error.contains("chmod 600") && !error.contains("hunter2"), "{error}");
        let error = Secrets::default().passphrases(&v).await.unwrap_err().sentence();
        assert!(error.contains("--luks-secrets"), "{error}");
    }
}
