//! What `docker volume create -o` understands.
//!
//! Everything is checked here, before anything is asked of a backend: a volume that comes out other than its
//! user meant is worse than none.

mod reference;
mod values;

use std::collections::BTreeMap;

use model::{
    AccessMode, Attribute, BackendName, Bytes, Class, ClassName, Filesystem, Layout, NoUnit, PoolName,
    Provisioning, SnapshotName, Source, VolumeId, VolumeOption, nearest,
};
use orchestrator::{CreateRequest, Error, Result};

pub use reference::{OptionHelp, reference};

/// What an option is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Size,
    Class,
    From,
    FromSnapshot,
    Provisioning,
    Filesystem,
    Access,
    Backend,
    Pool,
    Labels,
    StoragePools,
    AdditionalStoragePools,
    ExcludeStoragePools,
    Selector,
    Attribute(Attribute),
    Option(VolumeOption),
}

/// An option as the user wrote it.
struct Given<'a> {
    name: &'a str,
    value: &'a str,
}

/// The wish for a volume of this name with these `-o` options.
///
/// # Behavior
/// Names of options are read without case. What is not given is left to class, pool and backend.
///
/// # Errors
/// `Invalid`, naming the option, its value and the way out: an unknown option, a value that does not fit,
/// options that contradict one another.
pub(crate) fn read(volume: VolumeId, options: &BTreeMap<String, String>) -> Result<CreateRequest> {
    let given = sort(options)?;
    let mut request = CreateRequest::named(volume);
    for (key, given) in &given {
        set(&mut request, *key, given)?;
    }
    check_parameters(&given, &request)?;
    request.source = source(&given, &request.volume)?;
    check_sharing(&given, &request)?;
    Ok(request)
}

fn sort(options: &BTreeMap<String, String>) -> Result<BTreeMap<Key, Given<'_>>> {
    let mut sorted: BTreeMap<Key, Given<'_>> = BTreeMap::new();
    for (name, value) in options {
        let key = reference::find(name).ok_or_else(|| unknown(name))?;
        let given = Given { name, value: value.trim() };
        if given.value.is_empty() {
            let help = reference::help(key);
            let hint = format!("write `-o {name}={}` or leave the option out", help.value);
            return Err(Error::invalid(format!("option `{name}` has no value")).hint(hint));
        }
        if let Some(other) = sorted.insert(key, given) {
            let problem = format!("options `{}` and `{name}` mean the same", other.name);
            return Err(Error::invalid(problem).hint("give one of them"));
        }
    }
    Ok(sorted)
}

fn unknown(name: &str) -> Error {
    let hint = match nearest(name, reference::names()) {
        Some(near) => format!("did you mean `{near}`? "),
        None => String::new(),
    };
    let known = reference().iter().map(|help| help.name).collect::<Vec<_>>().join(", ");
    Error::invalid(format!("unknown option `{name}`")).hint(format!("{hint}known: {known}"))
}

fn set(request: &mut CreateRequest, key: Key, given: &Given<'_>) -> Result<()> {
    let value = given.value;
    match key {
        Key::Size => request.size = Some(given.read(|v| Bytes::parse(v, NoUnit::Gibibytes))?),
        Key::Class => request.class = Some(given.read(ClassName::new)?),
        Key::Provisioning => request.provisioning = Some(given.read(str::parse::<Provisioning>)?),
        Key::Filesystem => {
            request.filesystem = Some(given.read(filesystem)?);
            request.layout = Some(Layout::Block);
        }
        Key::Access => request.access = Some(given.read(str::parse::<AccessMode>)?),
        Key::Backend => request.backend = Some(given.read(BackendName::new)?),
        Key::Pool => request.pool = Some(given.read(PoolName::new)?),
        Key::Labels => request.labels = given.read(values::labels)?,
        Key::StoragePools
        | Key::AdditionalStoragePools
        | Key::ExcludeStoragePools
        | Key::Selector
        | Key::Attribute(_) => {
            request.parameters.push((reference::help(key).name.to_owned(), value.to_owned()));
        }
        Key::Option(option) => {
            given.read(|v| values::check(option, v))?;
            request.options.insert(option, value.to_owned());
        }
        // Read together, by `source`.
        Key::From | Key::FromSnapshot => {}
    }
    Ok(())
}

fn filesystem(value: &str) -> Result<Filesystem, String> {
    if value.eq_ignore_ascii_case("raw") {
        return Err(
            "a raw device cannot be a Docker volume: a container is given a directory; write ext4, xfs, \
                    btrfs or ext3"
                .to_owned(),
        );
    }
    value.parse()
}

/// Parameters in the grammar of classes are checked by the grammar itself.
fn check_parameters(given: &BTreeMap<Key, Given<'_>>, request: &CreateRequest) -> Result<()> {
    let name = ClassName::new("options").map_err(|e| Error::invalid(e.to_string()))?;
    let parameters = request.parameters.iter().cloned().collect();
    let Err(error) = (Class { name, parameters, mount_options: Vec::new() }).wishes() else { return Ok(()) };
    let written = reference::find(&error.parameter).and_then(|key| given.get(&key));
    Err(match written {
        Some(given) => given.refused(&error.problem),
        None => Error::invalid(error.to_string()),
    })
}

fn source(given: &BTreeMap<Key, Given<'_>>, volume: &VolumeId) -> Result<Option<Source>> {
    let snapshot = match given.get(&Key::FromSnapshot) {
        Some(given) => Some((given, given.read(SnapshotName::new)?)),
        None => None,
    };
    match (given.get(&Key::From), snapshot) {
        (None, None) => Ok(None),
        (None, Some((given, snapshot))) => {
            let problem = format!("option `{}` names the snapshot `{snapshot}` of no volume", given.name);
            Err(Error::invalid(problem).hint("name its volume too: `-o from=VOLUME`"))
        }
        (Some(from), snapshot) => {
            let source = from.read(VolumeId::new)?;
            if source == *volume {
                return Err(
                    from.refused("a volume cannot be a clone of itself; give the new one another name")
                );
            }
            Ok(Some(Source { volume: source, snapshot: snapshot.map(|(_, name)| name) }))
        }
    }
}

fn check_sharing(given: &BTreeMap<Key, Given<'_>>, request: &CreateRequest) -> Result<()> {
    if request.filesystem.is_some() && request.access == Some(AccessMode::ReadWriteMany) {
        let names: Vec<&str> =
            [Key::Filesystem, Key::Access].iter().filter_map(|key| given.get(key)).map(|g| g.name).collect();
        let problem = format!("options `{}` contradict each other", names.join("` and `"));
        return Err(Error::invalid(problem).hint(
            "a file system on a block device is for one node at a time; leave the file system type out to get a \
             volume that several nodes can write",
        ));
    }
    Ok(())
}

impl<'a> Given<'a> {
    fn read<T, E: ToString>(&self, read: impl FnOnce(&'a str) -> Result<T, E>) -> Result<T> {
        read(self.value).map_err(|problem| self.refused(&problem.to_string()))
    }

    fn refused(&self, problem: &str) -> Error {
        let value = if problem.contains(self.value) { String::new() } else { format!(" `{}`", self.value) };
        Error::invalid(format!("option `{}`{value}: {problem}", self.name))
    }
}

#[cfg(test)]
mod tests;
