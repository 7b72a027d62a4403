//! The id with which this instance tags what it makes. Made once, kept beside the records.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use model::InstanceId;

use crate::cli::{Code, Failure};

const FILE: &str = "instance";

/// The id kept in the state directory, or a new one for a new directory.
///
/// # Behavior
/// `wanted` is for whoever lost the state and wants the volumes back: it must agree with what is kept.
/// `has_records` says that there is a store already: without its id it would take its own volumes for foreign.
///
/// # Errors
/// The id is gone or illegal, or another one was wanted.
pub(crate) fn instance(
    state: &Path,
    name: &str,
    wanted: Option<&InstanceId>,
    has_records: bool,
) -> Result<InstanceId, Failure> {
    let path = state.join(FILE);
    let place = path.display();
    match fs::read_to_string(&path) {
        Ok(text) => {
            let kept = InstanceId::new(text.trim()).map_err(|e| {
                Failure::new(Code::Failed, format!("{place} is damaged: {e}"))
                    .hint("write the id that the pool's volumes carry, or restore the file from a backup")
            })?;
            match wanted {
                Some(wanted) if *wanted != kept => {
                    Err(Failure::new(Code::Conflict, format!("{place} says `{kept}`, not `{wanted}`"))
                        .hint("leave --instance-id out; it is for a new state directory"))
                }
                _ => Ok(kept),
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            if has_records && wanted.is_none() {
                let message = format!("{place} is gone, but there are records beside it");
                return Err(Failure::new(Code::Failed, message)
                    .hint("restore the file, or give the id that the volumes carry with --instance-id"));
            }
            let id = match wanted {
                Some(wanted) => wanted.clone(),
                None => fresh(name).map_err(|e| failed(&path, &e))?,
            };
            keep(state, &path, &id).map_err(|e| failed(&path, &e))?;
            Ok(id)
        }
        Err(e) => Err(failed(&path, &e)),
    }
}

/// The name, for people, and what makes it unlike any other.
pub(crate) fn fresh(name: &str) -> io::Result<InstanceId> {
    let mut random = [0; 6];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let tail: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    InstanceId::new(format!("{name}-{tail}")).map_err(io::Error::other)
}

/// Whole or not at all, and on disk before the first volume carries it.
fn keep(state: &Path, path: &Path, id: &InstanceId) -> io::Result<()> {
    let fresh = state.join(".instance.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    writeln!(file, "{id}")?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(state)?.sync_all()
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Code::Failed, format!("cannot keep the instance's id in {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_once_and_missed_when_it_is_gone() {
        let state = tempfile::tempdir().unwrap();
        let made = instance(state.path(), "leister", None, false).unwrap();
        assert!(made.as_str().starts_with("leister-"), "{made}");
        assert_eq!(instance(state.path(), "renamed", None, true).unwrap(), made);
        let other = InstanceId::new("other").unwrap();
        let refused = instance(state.path(), "leister", Some(&other), true).unwrap_err();
        assert!(refused.message.contains("not `other`"), "{refused:?}");

        fs::write(state.path().join(FILE), "a/b\n").unwrap();
        assert!(instance(state.path(), "leister", None, true).unwrap_err().message.contains("is damaged"));
        fs::remove_file(state.path().join(FILE)).unwrap();
        assert!(instance(state.path(), "leister", None, true).unwrap_err().message.contains("is gone"));
        assert_eq!(instance(state.path(), "leister", Some(&other), true).unwrap(), other);
    }
}
