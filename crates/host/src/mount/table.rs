//! The kernel's mount table, `/proc/self/mountinfo`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::error::{Doing, Result};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) parent: u64,
    pub(crate) device: (u32, u32),
    /// What of the filesystem is mounted: `/` is all of it.
    pub(crate) root: PathBuf,
    pub(crate) point: PathBuf,
    pub(crate) options: String,
    pub(crate) filesystem: String,
    pub(crate) source: OsString,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Table(Vec<Entry>);

impl Table {
    pub(crate) fn read() -> Result<Table> {
        let path = "/proc/self/mountinfo";
        let text = std::fs::read(path).doing(|| format!("read {path}"))?;
        Table::parse(&text).map_err(std::io::Error::other).doing(|| format!("understand {path}"))
    }

    pub(crate) fn parse(text: &[u8]) -> Result<Table, String> {
        let lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        let entries = lines.map(|line| {
            entry(line).ok_or_else(|| format!("strange line `{}`", String::from_utf8_lossy(line)))
        });
        Ok(Table(entries.collect::<Result<_, _>>()?))
    }

    /// What is mounted exactly here; the uppermost where several lie over one another.
    pub(crate) fn at(&self, point: &Path) -> Option<&Entry> {
        self.0.iter().rev().find(|e| e.point == point)
    }

    /// Mounts anywhere below a directory, not on it; later ones may lie over or below earlier ones.
    pub(crate) fn below<'a>(&'a self, directory: &'a Path) -> impl DoubleEndedIterator<Item = &'a Entry> {
        self.0.iter().filter(move |e| e.point != directory && e.point.starts_with(directory))
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.0
    }
}

impl Entry {
    pub(crate) fn is_read_only(&self) -> bool {
        self.options.split(',').any(|o| o == "ro")
    }

    /// Whether the directory that is mounted has been deleted since.
    pub(crate) fn is_deleted(&self) -> bool {
        self.root.as_os_str().as_encoded_bytes().ends_with(b"//deleted")
    }
}

fn entry(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|b| *b == b' ');
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let (major, minor) = std::str::from_utf8(fields.next()?).ok()?.split_once(':')?;
    let device = (major.parse().ok()?, minor.parse().ok()?);
    let root = PathBuf::from(unescape(fields.next()?));
    let point = PathBuf::from(unescape(fields.next()?));
    let options = String::from_utf8(fields.next()?.to_vec()).ok()?;
    // Any number of optional fields, then a lone dash.
    fields.find(|field| *field == b"-")?;
    let filesystem = unescape(fields.next()?).into_string().ok()?;
    let source = unescape(fields.next()?);
    Some(Entry { id, parent, device, root, point, options, filesystem, source })
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// The kernel writes blanks, tabs, line feeds, backslashes and `#` as a backslash and three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        match octal(rest) {
            Some(escaped) => {
                plain.push(escaped);
                rest = &rest[4..];
            }
            None => {
                plain.push(byte);
                rest = tail;
            }
        }
    }
    OsString::from_vec(plain)
}

fn octal(text: &[u8]) -> Option<u8> {
    let [b'\\', digits @ ..] = text.get(..4)? else { return None };
    digits.iter().try_fold(0u8, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(digit - b'0'),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_as_kernels_write_them_are_understood() {
        let text =
            b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue\n\
            37 35 0:44 /a\\040b//deleted /srv/t\\011ab\\134 ro - fuse.sshfs me@there:/x\\040y rw\n\
            38 35 0:45 / /empty rw -  tmpfs rw\n";
        let table = Table::parse(text).unwrap();
        let [first, second, third] = table.entries() else { panic!("three entries: {table:?}") };
        assert_eq!((first.id, first.parent, first.device), (36, 35, (98, 0)));
        assert_eq!((first.filesystem.as_str(), first.source.as_bytes()), ("ext3", &b"/dev/root"[..]));
        assert_eq!(second.point, Path::new("/srv/t\tab\\"));
        assert_eq!(second.source.as_bytes(), b"me@there:/x y");
        assert!(second.is_deleted() && second.is_read_only() && !first.is_read_only());
        assert_eq!(third.filesystem, "");
    }

    #[test]
    fn the_uppermost_of_stacked_mounts_is_found() {
        let table = Table::parse(
            b"1 0 0:1 / /a rw - x one rw\n2 1 0:2 / /a rw - x two rw\n3 2 0:3 / /a/b rw - x c rw\n",
        )
        .unwrap();
        assert_eq!(table.at(Path::new("/a")).unwrap().source, "two");
        assert_eq!(table.below(Path::new("/a")).count(), 1);
        assert!(table.at(Path::new("/ab")).is_none());
    }

    #[test]
    fn a_strange_line_is_an_error_and_not_a_missing_mount() {
        for text in ["x", "1 2 3 / / rw - a b", "1 2 0:3 / / rw shared:1 a b c", "1 2 0:3 / / rw -"] {
            let error = Table::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn this_kernels_table_is_understood() {
        let table = Table::read().unwrap();
        assert!(table.at(Path::new("/proc")).is_some_and(|e| e.filesystem == "proc"));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Table::parse(&text);
        }

        #[test]
        fn any_path_survives_the_kernels_escapes(
            path in proptest::collection::vec(1u8..=255, 1..40), source in "[ -~]{0,20}"
        ) {
            let line = [b"7 1 0:9 / /".as_slice(), &escape(&path), b" rw,relatime shared:3 - tmpfs ",
                &escape(source.as_bytes()), b" rw\n"].concat();
            let table = Table::parse(&line).unwrap();
            let entry = &table.entries()[0];
            prop_assert_eq!(&entry.point.as_os_str().as_bytes()[1..], &path[..]);
            prop_assert_eq!(entry.source.as_bytes(), source.as_bytes());
        }
    }

    fn escape(text: &[u8]) -> Vec<u8> {
        let escaped =
            |b: &u8| if b" \t\n\\#".contains(b) { format!("\\{b:03o}").into_bytes() } else { vec![*b] };
        text.iter().flat_map(escaped).collect()
    }
}
