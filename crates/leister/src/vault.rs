//! Secrets that backend files name instead of holding them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use cluster::{SecretError, Secrets};
use driver::{DriverError, ErrorKind};
use orchestrator::BackendFile;

use crate::run::chain;

/// A directory with a directory for each secret, by its name, with a file for each of its keys: as Kubernetes and others
/// mount them. Or the Secrets of a cluster.
///
/// # Behavior
/// Read each time that a backend is opened. One newline at the end of a file does not count. A directory comes before the
/// cluster, as far as it has the secret.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vault {
    directory: Option<PathBuf>,
    cluster: Option<Secrets>,
}

const OPEN: &str = "open backend";
/// Nobody but its owner and group may read a secret.
const OTHERS: u32 = 0o007;

impl Vault {
    pub(crate) fn new(directory: Option<PathBuf>, cluster: Option<Secrets>) -> Vault {
        Vault { directory, cluster }
    }

    /// The file with the keys of the secret that its `credentials` name, if they name one.
    ///
    /// # Errors
    /// `Invalid`: there is no such secret, others may read it, or a key stands in the file too. No message shows a value.
    pub(crate) async fn complete(&self, file: &BackendFile) -> Result<BackendFile, DriverError> {
        let Some(credentials) = file.credentials() else { return Ok(file.clone()) };
        let name = credentials.name.clone();
        let secret = match (&self.directory, &self.cluster) {
            (Some(directory), cluster) if cluster.is_none() || directory.join(&name).exists() => {
                let directory = directory.clone();
                let read = tokio::task::spawn_blocking(move || read(&directory, &name)).await;
                read.map_err(|e| DriverError::new(ErrorKind::Internal, OPEN, e.to_string()))??
            }
            (_, Some(cluster)) => cluster.read(&name).await.map_err(|e| of_cluster(&e))?,
            (_, None) => {
                let problem = format!(
                    "`credentials` name the secret `{name}`, and this instance has none; start it with \
                     `--backend-secrets DIR`"
                );
                return Err(invalid(problem));
            }
        };
        file.with_secret(secret).map_err(|e| invalid(e.to_string()))
    }
}

fn read(directory: &Path, name: &str) -> Result<BTreeMap<String, String>, DriverError> {
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(invalid(format!("`credentials.name`: `{name}` is no name of a secret")));
    }
    let place = directory.join(name);
    let failed = |path: &Path, e: io::Error| {
        invalid(format!("`credentials` name the secret `{name}`: {} cannot be read: {e}", path.display()))
    };
    let mut secret = BTreeMap::new();
    for entry in fs::read_dir(&place).map_err(|e| failed(&place, e))? {
        let path = entry.map_err(|e| failed(&place, e))?.path();
        let Some(key) = path.file_name().and_then(|key| key.to_str()).map(str::to_owned) else { continue };
        // Kubernetes keeps what it changes at once under such names.
        if key.starts_with('.') || path.is_dir() {
            continue;
        }
        let value = fs::read_to_string(&path).map_err(|e| failed(&path, e))?;
        if fs::metadata(&path).map_err(|e| failed(&path, e))?.permissions().mode() & OTHERS != 0 {
            let path = path.display();
            return Err(invalid(format!("{path} is for everybody on this machine; `chmod 600 {path}`")));
        }
        let line = value.strip_suffix('\n').unwrap_or(&value);
        secret.insert(key, line.strip_suffix('\r').unwrap_or(line).to_owned());
    }
    if secret.is_empty() {
        let place = place.display();
        return Err(invalid(format!("the secret `{name}` is empty; write a file for each key in {place}")));
    }
    Ok(secret)
}

fn of_cluster(error: &SecretError) -> DriverError {
    let problem = format!("`credentials`: {}", chain(error));
    match error {
        SecretError::Cluster { .. } => DriverError::new(ErrorKind::Unreachable, OPEN, problem),
        SecretError::Missing { .. } | SecretError::NoText { .. } => invalid(problem),
    }
}

fn invalid(problem: String) -> DriverError {
    DriverError::new(ErrorKind::Invalid, OPEN, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, key: &str, text: &str, mode: u32) {
        fs::create_dir_all(directory).unwrap();
        fs::write(directory.join(key), text).unwrap();
        fs::set_permissions(directory.join(key), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn file(name: &str) -> BackendFile {
        let text = format!(
            "version: 1\nstorageDriverName: ontap-nas\nmanagementLIF: 10.0.0.1\ncredentials: {{name: {name}}}\n"
        );
        BackendFile::parse(&text, "gold.yaml").unwrap()
    }

    #[tokio::test]
    async fn a_secret_is_read_as_it_is_now_and_its_refusals_name_the_way_out() {
        let home = tempfile::tempdir().unwrap();
        let vault = Vault::new(Some(home.path().to_owned()), None);
        let refused =
            async |vault: &Vault, name: &str| vault.complete(&file(name)).await.unwrap_err().to_string();
        assert!(refused(&Vault::default(), "svm1").await.contains("--backend-secrets"));
        assert!(refused(&vault, "svm1").await.contains("cannot be read"));
        for escape in ["../etc", "a/b", ".hidden"] {
            assert!(refused(&vault, escape).await.contains("no name of a secret"), "{escape}");
        }
        let own = home.path().join("svm1");
        write(&own, "username", "admin\n", 0o600);
        write(&own, "password", "hunter2\n", 0o644);
        let open = refused(&vault, "svm1").await;
        assert!(open.contains("chmod 600") && !open.contains("hunter2"), "{open}");
        write(&own, "password", "hunter2\n", 0o640);
        write(&own, "..data", "nothing", 0o644);
        for password in ["hunter2", "changed"] {
            write(&own, "password", password, 0o600);
            let whole = vault.complete(&file("svm1")).await.unwrap();
            assert_eq!(whole.section().text("username").unwrap().as_deref(), Some("admin"));
            assert_eq!(whole.section().text("password").unwrap().as_deref(), Some(password));
            assert!(!whole.to_value().to_string().contains(password));
        }
    }
}
