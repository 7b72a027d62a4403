//! The table of exports that `exportfs` and mountd share.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::Path;

use crate::access::machine::escaped;
use crate::error::{Context as _, Result};

pub(super) const TABLE: &str = "/var/lib/nfs/etab";

/// What matters of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Export {
    pub(super) read_only: bool,
    /// 32 hexadecimal digits.
    pub(super) fsid: String,
}

impl Export {
    pub(super) fn options(&self) -> String {
        let how = if self.read_only { "ro" } else { "rw" };
        // `mountpoint`: never the empty directory below a volume that is not there.
        format!("{how},sync,no_subtree_check,no_root_squash,sec=sys,mountpoint,fsid={}", self.fsid)
    }
}

/// Who may mount a path now.
pub(super) fn exports(path: &str) -> Result<BTreeMap<IpAddr, Export>> {
    let all = read()?;
    let wanted = escaped(path);
    Ok(parse(&all).filter(|(p, ..)| *p == wanted).map(|(_, client, export)| (client, export)).collect())
}

/// Every client of a path that begins so.
pub(super) fn clients_below(begin: &str) -> Result<Vec<IpAddr>> {
    let all = read()?;
    let begin = format!("{}/", escaped(begin));
    Ok(parse(&all).filter(|(path, ..)| path.starts_with(&begin)).map(|(_, client, _)| client).collect())
}

/// Whether there is a line that is not below `begin`.
pub(super) fn has_foreign(begin: &str) -> Result<bool> {
    let begin = format!("{}/", escaped(begin));
    Ok(read()?.lines().any(|line| !line.trim().is_empty() && !line.starts_with(&begin)))
}

pub(super) fn read() -> Result<String> {
    let table = Path::new(TABLE);
    match fs::read_to_string(table) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        text => text.while_doing("read", table),
    }
}

/// Lines such as `/path<tab>10.0.0.1(rw,sync,…)`; those for names and networks are not ours.
fn parse(table: &str) -> impl Iterator<Item = (&str, IpAddr, Export)> {
    table.lines().filter_map(|line| {
        let (path, rest) = line.split_once('\t')?;
        let (client, options) = rest.split_once('(')?;
        let mut options = options.trim_end_matches(')').split(',');
        let read_only = options.clone().any(|option| option == "ro");
        let fsid = options.find_map(|option| option.strip_prefix("fsid="))?;
        let fsid = fsid.chars().filter(char::is_ascii_hexdigit).collect::<String>().to_lowercase();
        Some((path, client.parse().ok()?, Export { read_only, fsid }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_with_an_fsid_are_read_from_the_table() {
        let table = "/leister/a\t10.0.0.1(rw,sync,fsid=0123abcd,sec=sys,rw,secure)\n\
                     /leister/a\tfd77::2(ro,sync,fsid=0123ABCD,sec=sys,ro,secure)\n\
                     /home\t*(rw,sync)\n/leister/a\t@net(rw,fsid=1)\n";
        let seen: Vec<_> = parse(table).collect();
        let export = |read_only| Export { read_only, fsid: "0123abcd".to_owned() };
        assert_eq!(
            seen,
            [
                ("/leister/a", "10.0.0.1".parse().unwrap(), export(false)),
                ("/leister/a", "fd77::2".parse().unwrap(), export(true)),
            ]
        );
    }
}
