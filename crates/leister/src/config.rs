//! Backends and classes from files, read before anything is started.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use api::manifest::{self, Document};
use model::{BackendName, Class, ClassName};
use orchestrator::BackendFile;

use crate::cli::Failure;
use crate::families;

/// What the files say, each with the file it stands in.
#[derive(Debug, Default)]
pub(crate) struct Config {
    pub(crate) backends: BTreeMap<BackendName, (BackendFile, PathBuf)>,
    pub(crate) classes: BTreeMap<ClassName, (Class, PathBuf)>,
}

const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];
/// The backend that `--pool` makes.
const EMBEDDED: &str = "local";

impl Config {
    /// # Errors
    /// Names the file, the document and the field. Nothing is half read.
    pub(crate) fn read(places: &[PathBuf]) -> Result<Config, Failure> {
        let mut config = Config::default();
        for place in places {
            for file in files(place)? {
                config.add(&file)?;
            }
        }
        Ok(config)
    }

    pub(crate) fn classes(&self) -> Vec<Class> {
        self.classes.values().map(|(class, _)| class.clone()).collect()
    }

    /// The pool in a directory of this machine, as if a file had asked for it.
    ///
    /// # Errors
    /// The pool or its size does not fit, or a file has a backend of the same name.
    pub(crate) fn embed(&mut self, pool: &Path, size: Option<&str>) -> Result<(), Failure> {
        let pool = std::path::absolute(pool)
            .map_err(|e| Failure::usage(format!("--pool {}: {e}", pool.display())))?;
        let mut file = serde_json::json!({
            "version": 1,
            "storageDriverName": linux::DRIVER,
            "backendName": EMBEDDED,
            "pool": pool,
        });
        if let Some(size) = size {
            file["poolSize"] = size.into();
        }
        let file = BackendFile::from_value(file, "--pool").map_err(|e| Failure::usage(e.to_string()))?;
        families::check(&file).map_err(Failure::usage)?;
        self.insert(file, Path::new("--pool"))
    }

    fn add(&mut self, path: &Path) -> Result<(), Failure> {
        let place = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|e| unreadable(path, &e))?;
        let documents = manifest::read(&text).map_err(|e| Failure::usage(format!("{place}: {e}")))?;
        for document in documents {
            match document {
                Document::Backend(value) => {
                    let file =
                        BackendFile::from_value(value, &place).map_err(|e| Failure::usage(e.to_string()))?;
                    families::check(&file).map_err(|e| {
                        Failure::usage(if e.starts_with(&place) { e } else { format!("{place}: {e}") })
                    })?;
                    self.insert(file, path)?;
                }
                Document::Class(class) => {
                    let class = rest::class(class).map_err(|e| Failure::usage(format!("{place}: {e}")))?;
                    if let Some((_, other)) = self.classes.get(&class.name) {
                        return Err(twice("class", class.name.as_str(), other, path));
                    }
                    self.classes.insert(class.name.clone(), (class, path.to_owned()));
                }
            }
        }
        Ok(())
    }

    fn insert(&mut self, file: BackendFile, path: &Path) -> Result<(), Failure> {
        if let Some((_, other)) = self.backends.get(file.name()) {
            return Err(twice("backend", file.name().as_str(), other, path));
        }
        self.backends.insert(file.name().clone(), (file, path.to_owned()));
        Ok(())
    }
}

/// A file as it is; of a directory, what ends as we read it, in the order of names.
fn files(place: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !place.is_dir() {
        return Ok(vec![place.to_owned()]);
    }
    let entries: io::Result<Vec<PathBuf>> =
        fs::read_dir(place).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut files = entries.map_err(|e| unreadable(place, &e))?;
    files.retain(|path| {
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        !hidden && ENDINGS.contains(&ending) && path.is_file()
    });
    files.sort();
    Ok(files)
}

fn twice(what: &str, name: &str, first: &Path, second: &Path) -> Failure {
    Failure::usage(format!(
        "{what} `{name}` is defined twice: in {} and in {}",
        first.display(),
        second.display()
    ))
    .hint("rename or remove one of them")
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::usage(format!("cannot read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKEND: &str = "version: 1\nstorageDriverName: linux\nbackendName: b\npool: /srv/pool\n";

    #[test]
    fn a_directory_is_read_file_by_file_and_document_by_document() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("b.yaml"), format!("{BACKEND}---\nname: gold\n")).unwrap();
        fs::write(place.path().join("a.json"), "{\"name\":\"silver\"}").unwrap();
        fs::write(place.path().join("notes.txt"), "not ours").unwrap();
        fs::write(place.path().join(".hidden.yaml"), "not: ours").unwrap();
        let config = Config::read(&[place.path().to_owned()]).unwrap();
        assert_eq!(config.backends.len(), 1);
        let names: Vec<&str> = config.classes.keys().map(ClassName::as_str).collect();
        assert_eq!(names, ["gold", "silver"]);
    }

    #[test]
    fn the_embedded_pool_is_a_backend_called_local() {
        let mut config = Config::default();
        config.embed(Path::new("/srv/pool"), Some("20GiB")).unwrap();
        let (file, _) = config.backends.values().next().unwrap();
        assert_eq!((file.name().as_str(), file.driver_name()), ("local", "linux"));
        assert!(config.embed(Path::new("/srv/pool"), None).unwrap_err().message.contains("defined twice"));
        let mut config = Config::default();
        let refused = config.embed(Path::new("/srv/pool"), Some("20Gx")).unwrap_err();
        assert!(refused.message.contains("poolSize"), "{refused:?}");
    }

    #[test]
    fn mistakes_name_the_file_and_the_way_out() {
        for (text, part) in [
            ("", "the text is empty"),
            ("a: [", "not valid YAML or JSON"),
            ("version: 1\nstorageDriverName: linx\nbackendName: b\n", "did you mean `linux`?"),
            ("version: 1\nstorageDriverName: zzz\nbackendName: b\n", "known: linux"),
            ("storageDriverName: linux\npool: /x\n", "write `version: 1`"),
            ("version: 2\nstorageDriverName: linux\npool: /x\n", "write `version: 1`"),
            ("version: 1\nstorageDriverName: linux\n", "`pool`"),
            ("version: 1\nstorageDriverName: linux\npool: relative\n", "is not the full path"),
            ("version: 1\nstorageDriverName: linux\npool: /x\npoolsize: 5Gx\n", "unknown unit"),
            ("version: 1\nstorageDriverName: linux\npool: /x\npoool: /y\n", "poool"),
            ("version: 1\nstorageDriverName: linux\nbackendName: a/b\npool: /x\n", "the character `/`"),
            ("version: 1\nstorageDriverName: linux\npool: /x\npool: /y\n", "pool"),
            ("name: gold\nparameters: {mediaa: ssd}\n", "did you mean `media`?"),
            ("name: gold\nparameters: {media: tape}\n", "write hdd, hybrid or ssd"),
            ("name: gold\nparameters: {selector: 'a;;b'}\n", "a clause or word is empty"),
            ("name: gold\nparameters: {storagePools: pool1}\n", "backend:pool1,pool2"),
            ("name: 'go ld'\n", "the character ` `"),
            ("name: gold\n---\nname: gold\n", "defined twice"),
            ("name: gold\n---\nname: [x]\n", "document 2"),
            ("kind: PersistentVolumeClaim\n", "only StorageClass is read here"),
        ] {
            let place = tempfile::tempdir().unwrap();
            let path = place.path().join("x.yaml");
            fs::write(&path, text).unwrap();
            let failure = Config::read(std::slice::from_ref(&path)).unwrap_err();
            assert!(failure.message.contains(part), "{text:?}: {failure:?}");
            assert!(failure.message.contains("x.yaml"), "{text:?}: {failure:?}");
        }
        let gone = Config::read(&[PathBuf::from("/nowhere/x.yaml")]).unwrap_err();
        assert!(gone.message.contains("cannot read /nowhere/x.yaml"), "{gone:?}");
    }
}
