mod remote;

use std::collections::BTreeSet;
use std::path::PathBuf;

use driver::config::{BackendFile, ConfigError, Section};
use filer::{Image, PoolSpec};
use model::{Bytes, InstanceId, PoolName, VolumeOption};

use crate::DRIVER;
use crate::layout::file::Mode;
pub(crate) use remote::Remote;

/// What a person writes for this family.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) place: Place,
    /// `hdd`, `hybrid` or `ssd`; `None` looks at the device.
    pub(crate) media: Option<&'static str>,
    pub(crate) prefix: String,
}

/// Where the pool is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Place {
    Local(Local),
    Remote(Remote),
}

/// A pool on this machine.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Local {
    /// The directory where the pool is seen, or `group/pool`.
    pub(crate) pool: PathBuf,
    pub(crate) image: Option<PoolImage>,
    /// How many times its space the pool may promise to thin volumes.
    pub(crate) overcommit: f64,
}

/// A pool that lives in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PoolImage {
    pub(crate) path: PathBuf,
    /// `None`: it is there already and must not be made.
    pub(crate) size: Option<Bytes>,
    pub(crate) preallocate: bool,
}

pub(crate) const PREFIX: &str = "leister_";
const MEDIA: [&str; 3] = ["hdd", "hybrid", "ssd"];

/// The options that volumes here may carry.
pub(crate) fn accepts() -> BTreeSet<VolumeOption> {
    BTreeSet::from([
        VolumeOption::SnapshotDir,
        VolumeOption::UnixPermissions,
        VolumeOption::FormatOptions,
        VolumeOption::LuksEncryption,
    ])
}

impl Config {
    /// # Errors
    /// The first mistake, by its key.
    pub(crate) fn read(file: &BackendFile) -> Result<Config, ConfigError> {
        let mut keys = file.section();
        if file.driver_name() != DRIVER {
            let problem = format!("`{}` is another driver; write `{DRIVER}`", file.driver_name());
            return Err(keys.error("storageDriverName", problem));
        }
        let place = match keys.section("remote")? {
            Some(section) => Place::Remote(Remote::read(section, &mut keys)?),
            None => Place::Local(local(&mut keys)?),
        };
        let media = media(&mut keys)?;
        if file.credentials().is_some() {
            let problem = "this family needs none: a local pool asks for nothing, `remote` has its `certificate` and `key`";
            return Err(keys.error("credentials", problem));
        }
        keys.end()?;
        for section in file.pool_sections() {
            section.end()?;
        }
        file.check_defaults(&accepts())?;
        check_modes(file)?;
        let prefix = file.prefix().unwrap_or(PREFIX).to_owned();
        Ok(Config { place, media, prefix })
    }
}

impl Local {
    pub(crate) fn spec(&self, instance: &InstanceId) -> PoolSpec {
        let image = self.image.as_ref().map(|image| Image {
            path: image.path.clone(),
            size: image.size.unwrap_or(Bytes::ZERO),
            preallocate: image.preallocate,
        });
        PoolSpec { path: self.pool.clone(), image, overcommit: self.overcommit, owner: instance.to_string() }
    }

    /// The pool is called after its directory.
    pub(crate) fn pool_name(&self) -> PoolName {
        let name = self.pool.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        PoolName::new(name)
            .or_else(|_| PoolName::new("pool"))
            .unwrap_or_else(|_| unreachable!("a legal name"))
    }
}

fn local(keys: &mut Section) -> Result<Local, ConfigError> {
    let text = keys.text("pool")?.ok_or_else(|| {
        keys.error(
            "pool",
            "missing; write the directory of the pool, as in `/srv/leister`, a thin pool of LVM, as in `vg0/thin`, or \
             `remote` for a filer elsewhere",
        )
    })?;
    let named = PoolSpec::named(&text, "").map_err(|e| keys.error("pool", e.to_string()))?;
    let image = image(keys, &named.path)?;
    if let Some(image) = image.as_ref().filter(|_| named.is_lvm()) {
        let beside = image.path == named.path.with_added_extension("img");
        let key = if beside { "poolSize" } else { "image" };
        let problem = "a thin pool of LVM is not made here; make it with `lvcreate --type thin-pool` and leave this out";
        return Err(keys.error(key, problem));
    }
    let overcommit = overcommit(keys, named.overcommit)?;
    Ok(Local { pool: named.path, image, overcommit })
}

fn image(keys: &mut Section, pool: &std::path::Path) -> Result<Option<PoolImage>, ConfigError> {
    let size = keys.size("poolSize")?;
    let Some(mut section) = keys.section("image")? else {
        let beside = size.map(|size| PoolImage {
            path: pool.with_added_extension("img"),
            size: Some(size),
            preallocate: false,
        });
        return Ok(beside);
    };
    let image = PoolImage {
        path: path(&mut section, "path")?
            .ok_or_else(|| section.error("path", "missing; write the file that holds the pool"))?,
        size: section.size("size")?,
        preallocate: section.flag("preallocate")?.unwrap_or(false),
    };
    section.end()?;
    if size.is_some() {
        return Err(keys.error("poolSize", "the pool has an `image`; write its size as `image.size`"));
    }
    if image.path.starts_with(pool) {
        return Err(keys.error("image.path", "lies inside the pool that it would hold; move it out"));
    }
    Ok(Some(image))
}

fn path(keys: &mut Section, key: &str) -> Result<Option<PathBuf>, ConfigError> {
    let Some(text) = keys.text(key)? else { return Ok(None) };
    let path = PathBuf::from(&text);
    let plain = path.is_absolute() && !path.components().any(|c| c == std::path::Component::ParentDir);
    if plain && path.file_name().is_some() {
        // Without a slash at its end.
        Ok(Some(path.components().collect()))
    } else {
        Err(keys.error(
            key,
            format!("`{text}` is not the full path of a directory or file, as in `/srv/leister`"),
        ))
    }
}

fn overcommit(keys: &mut Section, default: f64) -> Result<f64, ConfigError> {
    let Some(text) = keys.text("overcommit")? else { return Ok(default) };
    match text.parse::<f64>() {
        Ok(ratio) if ratio.is_finite() && ratio >= 1.0 => Ok(ratio),
        _ => {
            Err(keys
                .error("overcommit", format!("`{text}` is no ratio; write a number of 1 or more, as in 10")))
        }
    }
}

fn media(keys: &mut Section) -> Result<Option<&'static str>, ConfigError> {
    let Some(text) = keys.text("media")? else { return Ok(None) };
    match MEDIA.into_iter().find(|media| media.eq_ignore_ascii_case(&text)) {
        Some(media) => Ok(Some(media)),
        None => Err(keys.error("media", format!("`{text}` is unknown; write hdd, hybrid or ssd"))),
    }
}

fn check_modes(file: &BackendFile) -> Result<(), ConfigError> {
    for (path, defaults) in file.all_defaults() {
        if let Some(mode) = defaults.options.get(&VolumeOption::UnixPermissions) {
            mode.parse::<Mode>().map_err(|e| file.section().error(&format!("{path}.unixPermissions"), e))?;
        }
        for option in [VolumeOption::SnapshotDir, VolumeOption::LuksEncryption] {
            let Some(flag) = defaults.options.get(&option) else { continue };
            crate::layout::file::flag(flag)
                .map_err(|e| file.section().error(&format!("{path}.{option}"), e))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(rest: &str) -> Result<Config, ConfigError> {
        let text = format!("version: 1\nstorageDriverName: linux\n{rest}");
        Config::read(&BackendFile::parse(&text, "gold.yaml")?)
    }

    fn read_local(rest: &str) -> Local {
        match read(rest).unwrap().place {
            Place::Local(local) => local,
            Place::Remote(remote) => panic!("{remote:?}"),
        }
    }

    #[test]
    fn a_directory_on_a_mounted_file_system_is_enough() {
        let config = read("pool: /srv/fast/\n").unwrap();
        assert_eq!((config.media, config.prefix.as_str()), (None, "leister_"));
        let local = read_local("pool: /srv/fast/\n");
        assert_eq!(local.pool, PathBuf::from("/srv/fast"));
        assert_eq!((local.image.as_ref(), local.overcommit), (None, 10.0));
        assert_eq!(local.pool_name().as_str(), "fast");
        assert_eq!(read_local("pool: /srv/a b\n").pool_name().as_str(), "pool");
    }

    #[test]
    fn a_thin_pool_is_named_by_its_group_and_promises_no_more_than_it_has() {
        let local = read_local("pool: vg0/thin\n");
        assert_eq!((local.pool.as_path(), local.image.as_ref()), (std::path::Path::new("vg0/thin"), None));
        assert_eq!((local.overcommit, local.pool_name().as_str()), (1.0, "thin"));
        assert_eq!(read_local("pool: vg0/thin\novercommit: 2\n").overcommit, 2.0);
    }

    #[test]
    fn an_embedded_pool_has_an_image_beside_it_or_where_the_file_says() {
        let beside = read_local("pool: /srv/fast\npoolSize: 20Gi\n").image.unwrap();
        assert_eq!((beside.path, beside.size), (PathBuf::from("/srv/fast.img"), Some(Bytes::gib(20))));
        let text = "pool: /srv/fast\nimage: {path: /d/x, size: 1Gi, preallocate: true}\nmedia: SSD\novercommit: 1.5\n";
        assert_eq!(read(text).unwrap().media, Some("ssd"));
        let local = read_local(text);
        assert_eq!(local.overcommit, 1.5);
        let image = local.image.unwrap();
        assert_eq!(
            (image.path, image.size, image.preallocate),
            (PathBuf::from("/d/x"), Some(Bytes::gib(1)), true)
        );
        assert_eq!(read_local("pool: /srv/fast\nimage: {path: /d/x}\n").image.unwrap().size, None);
    }

    #[test]
    fn every_mistake_names_the_key_and_the_way_out() {
        for (text, message) in [
            ("", "`pool`: missing; write the directory of the pool"),
            ("pool: fast\n", "`pool`: `fast` is not the full path"),
            ("pool: /srv/../etc\n", "`pool`: `/srv/../etc` is not the full path"),
            ("pool: /\n", "`pool`: `/` is not the full path"),
            ("pool: [a]\n", "`pool`: `[\"a\"]` is a list; write a text"),
            ("pool: a/b/c\n", "`pool`: `a/b/c` is not the full path"),
            ("pool: ./thin\n", "nor a thin pool of LVM, as in `vg0/thin`"),
            (
                "pool: zfs:tank/a\n",
                "`pool`: zfs:tank/a: this release has no pools on ZFS, whose kernel module `zfs`",
            ),
            ("pool: vg0/thin\npoolSize: 1G\n", "`poolSize`: a thin pool of LVM is not made here"),
            ("pool: vg0/thin\nimage: {path: /i}\n", "`image`: a thin pool of LVM is not made here"),
            ("pool: /p\nimage: {size: 1G}\n", "`image.path`: missing"),
            ("pool: /p\nimage: {path: /p/i}\n", "`image.path`: lies inside the pool"),
            ("pool: /p\nimage: {path: /i, siez: 1G}\n", "`image.siez`: unknown key; did you mean `size`?"),
            ("pool: /p\nimage: {path: /i}\npoolSize: 1G\n", "`poolSize`: the pool has an `image`"),
            ("pool: /p\npoolSize: 1.5G\n", "`poolSize`: size `1.5G` is not a whole number"),
            ("pool: /p\novercommit: 0.5\n", "`overcommit`: `0.5` is no ratio"),
            ("pool: /p\novercommit: much\n", "`overcommit`: `much` is no ratio"),
            ("pool: /p\nmedia: tape\n", "`media`: `tape` is unknown; write hdd, hybrid or ssd"),
            ("pool: /p\nmdia: ssd\n", "`mdia`: unknown key; did you mean `media`?"),
            ("pool: /p\ncredentials: {name: x}\n", "`credentials`: this family needs none"),
            ("pool: /p\nstorage: [{pool: /q}]\n", "`storage[0].pool`: unknown key"),
            (
                "pool: /p\ndefaults: {exportPolicy: x}\n",
                "`defaults.exportPolicy`: driver `linux` cannot do this",
            ),
            (
                "pool: /p\ndefaults: {nameTemplate: \"{{.volume.Nam}}\"}\n",
                "`defaults.nameTemplate`: template `{{.volume.Nam}}`: `.volume.Nam` is no field; write one of .volume.Name",
            ),
            ("pool: /p\ndefaults: {unixPermissions: \"0999\"}\n", "`defaults.unixPermissions`: mode `0999`"),
            (
                "pool: /p\nstorage: [{defaults: {snapshotDir: maybe}}]\n",
                "`storage[0].defaults.snapshotDir`: `maybe`",
            ),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.starts_with("gold.yaml: ") && error.contains(message), "{text}: {error}");
        }
        let text = "version: 1\nstorageDriverName: ontap-nas\n";
        let error = Config::read(&BackendFile::parse(text, "f").unwrap()).unwrap_err().to_string();
        assert_eq!(error, "f: `storageDriverName`: `ontap-nas` is another driver; write `linux`");
    }
}
