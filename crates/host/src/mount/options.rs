//! Mount options as a person writes them, sorted by who takes them.

use rustix::mount::MountAttrFlags;

use crate::error::HostError;

/// Mount options understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// For the mount: what the kernel keeps per mount point.
    pub(crate) attributes: MountAttrFlags,
    /// For the filesystem: a word, or a word and its value.
    pub(crate) filesystem: Vec<(String, Option<String>)>,
}

pub(super) const ATTRIBUTES: [(&str, MountAttrFlags); 8] = [
    ("ro", MountAttrFlags::MOUNT_ATTR_RDONLY),
    ("nosuid", MountAttrFlags::MOUNT_ATTR_NOSUID),
    ("nodev", MountAttrFlags::MOUNT_ATTR_NODEV),
    ("noexec", MountAttrFlags::MOUNT_ATTR_NOEXEC),
    ("noatime", MountAttrFlags::MOUNT_ATTR_NOATIME),
    ("strictatime", MountAttrFlags::MOUNT_ATTR_STRICTATIME),
    ("nodiratime", MountAttrFlags::MOUNT_ATTR_NODIRATIME),
    ("nosymfollow", MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW),
];
/// What the kernel does anyway, and what is meant for `mount` and fstab only.
const NOTHING: [&str; 10] =
    ["rw", "defaults", "suid", "dev", "exec", "async", "relatime", "_netdev", "nofail", "noauto"];
/// Options that turn the call into another one, or pick another device.
const REFUSED: [&str; 12] = [
    "bind",
    "rbind",
    "move",
    "remount",
    "loop",
    "offset",
    "sizelimit",
    "device",
    "journal_path",
    "journal_dev",
    "logdev",
    "rtdev",
];

/// One by one. A comma between quotes is part of a value: labels of SELinux have them.
pub(super) fn words(options: &[String]) -> impl Iterator<Item = &str> {
    options.iter().flat_map(|text| split(text)).map(str::trim).filter(|word| !word.is_empty())
}

fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    text.split(move |c| {
        is_quoted ^= c == '"';
        c == ',' && !is_quoted
    })
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

impl Options {
    /// # Errors
    /// An option that would change what is mounted instead of how.
    pub(crate) fn parse(options: &[String], read_only: bool) -> Result<Options, HostError> {
        let mut parsed = Options { attributes: MountAttrFlags::empty(), filesystem: Vec::new() };
        parsed.attributes.set(MountAttrFlags::MOUNT_ATTR_RDONLY, read_only);
        for option in words(options) {
            let (word, value) =
                option.split_once('=').map_or((option, None), |(w, v)| (w, Some(unquoted(v))));
            if let Some((_, attribute)) = ATTRIBUTES.iter().find(|(known, _)| *known == option) {
                parsed.attributes.insert(*attribute);
            } else if REFUSED.contains(&word) {
                return Err(HostError::Invalid {
                    what: "mount option",
                    value: option.to_owned(),
                    problem: "would mount something else; remove it".to_owned(),
                });
            } else if !NOTHING.contains(&option) {
                parsed.filesystem.push((word.to_owned(), value.map(str::to_owned)));
            }
        }
        Ok(parsed)
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.attributes.contains(MountAttrFlags::MOUNT_ATTR_RDONLY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_go_to_whom_they_belong() {
        let given = ["noatime,discard".to_owned(), "data=ordered".to_owned(), "defaults".to_owned()];
        let parsed = Options::parse(&given, true).unwrap();
        assert_eq!(parsed.attributes, MountAttrFlags::MOUNT_ATTR_NOATIME | MountAttrFlags::MOUNT_ATTR_RDONLY);
        assert_eq!(
            parsed.filesystem,
            [("discard".to_owned(), None), ("data".to_owned(), Some("ordered".to_owned()))]
        );
    }

    #[test]
    fn a_label_of_selinux_is_one_option_with_its_commas() {
        let given = ["noatime,context=\"system_u:object_r:container_file_t:s0:c1,c2\",discard".to_owned()];
        let parsed = Options::parse(&given, false).unwrap();
        let label = "system_u:object_r:container_file_t:s0:c1,c2".to_owned();
        assert_eq!(parsed.attributes, MountAttrFlags::MOUNT_ATTR_NOATIME);
        assert_eq!(parsed.filesystem, [("context".to_owned(), Some(label)), ("discard".to_owned(), None)]);
    }

    #[test]
    fn an_option_that_mounts_something_else_is_refused() {
        for option in [
            "bind",
            "remount",
            "offset=4096",
            "device=/dev/sda",
            "noatime,loop",
            "journal_path=/dev/sda",
            "logdev=/dev/sda",
        ] {
            assert!(Options::parse(&[option.to_owned()], false).is_err(), "{option}");
        }
    }
}
