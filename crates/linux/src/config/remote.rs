//! The keys of a pool on another machine.

use std::net::IpAddr;

use driver::config::{ConfigError, Section};
use filer::{TrustFiles, Wire};
use model::Layout;

use super::path;

/// A filer elsewhere, and how nodes reach its volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remote {
    pub(crate) url: String,
    pub(crate) trust: TrustFiles,
    /// `None`: files over NFS, blocks over iSCSI. With one, only what it carries.
    pub(crate) protocol: Option<Wire>,
    pub(crate) nfs_mount_options: Vec<String>,
    /// Where nodes reach the data; empty: where the filer says.
    pub(crate) data_addresses: Vec<IpAddr>,
}

impl Remote {
    pub(super) fn read(mut section: Section, keys: &mut Section) -> Result<Remote, ConfigError> {
        let missing = |section: &Section, key, what| section.error(key, format!("missing; write {what}"));
        let url = section
            .text("url")?
            .ok_or_else(|| missing(&section, "url", "the filer's address, as in `https://10.0.0.1:8444`"))?;
        filer::check_url(&url).map_err(|e| section.error("url", e))?;
        let mut file = |key, what| path(&mut section, key)?.ok_or_else(|| missing(&section, key, what));
        let trust = TrustFiles {
            certificate: file(
                "certificate",
                "the file that `leister filer trust issue` has made, `NAME.crt`",
            )?,
            key: file("key", "the file that `leister filer trust issue` has made, `NAME.key`")?,
            ca: file("ca", "the file with the certificate of the filer's authority, `ca.crt`")?,
        };
        section.end()?;
        for key in ["pool", "poolSize", "image", "overcommit"] {
            if keys.keys().iter().any(|given| given.eq_ignore_ascii_case(key)) {
                let problem =
                    "is of a pool on this machine, and `remote` is a filer elsewhere; remove one of them";
                return Err(keys.error(key, problem));
            }
        }
        let protocol: Option<Wire> = keys.word("protocol")?;
        let options = keys.text("nfsMountOptions")?.unwrap_or_default();
        let nfs_mount_options = mount_options(&options).map_err(|e| keys.error("nfsMountOptions", e))?;
        if !nfs_mount_options.is_empty() && protocol.is_some_and(|wire| wire != Wire::Nfs) {
            return Err(keys.error("nfsMountOptions", "the `protocol` is not nfs; remove one of them"));
        }
        let mut data_addresses = Vec::new();
        for text in keys.texts("dataAddresses")? {
            let address = text.trim_start_matches('[').trim_end_matches(']').parse().map_err(|_| {
                keys.error(
                    "dataAddresses",
                    format!("`{text}` is no address; write it as in 10.0.0.1 or fd00::1"),
                )
            })?;
            data_addresses.push(address);
        }
        Ok(Remote { url, trust, protocol, nfs_mount_options, data_addresses })
    }

    /// The wire for volumes of this layout; `None` where the config leaves the layout out.
    pub(crate) fn wire(&self, layout: Layout) -> Option<Wire> {
        match (layout, self.protocol) {
            (Layout::File, None | Some(Wire::Nfs)) => Some(Wire::Nfs),
            (Layout::Block, None | Some(Wire::Iscsi)) => Some(Wire::Iscsi),
            (Layout::Block, Some(Wire::Nvme)) => Some(Wire::Nvme),
            (Layout::File, Some(Wire::Iscsi | Wire::Nvme)) | (Layout::Block, Some(Wire::Nfs)) => None,
        }
    }
}

/// As Trident has them: one text, with or without a `-o` before it.
fn mount_options(text: &str) -> Result<Vec<String>, String> {
    let text = text.trim();
    let list = text.strip_prefix("-o").unwrap_or(text).trim();
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let options = list.split(',').map(str::trim);
    if let Some(bad) =
        options.clone().find(|option| option.is_empty() || option.contains(char::is_whitespace))
    {
        return Err(format!("`{bad}` in `{text}` is no option; write them with commas, as in vers=4.2,hard"));
    }
    Ok(options.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use driver::config::BackendFile;

    use super::super::{Config, Place};
    use super::*;

    const FILES: &str = "certificate: /c.crt, key: /c.key, ca: /ca.crt";

    fn read(remote: &str, rest: &str) -> Result<Config, ConfigError> {
        let text = format!("version: 1\nstorageDriverName: linux\nremote: {{{remote}}}\n{rest}");
        Config::read(&BackendFile::parse(&text, "gold.yaml")?)
    }

    #[test]
    fn a_filer_elsewhere_needs_its_address_and_three_files() {
        let all = format!("url: 'https://10.0.0.1:8444', {FILES}");
        let rest = "nfsMountOptions: -o vers=4.2,hard\ndataAddresses: [10.0.0.1, fd00::1]\nmedia: ssd\n";
        let config = read(&all, rest).unwrap();
        let Place::Remote(remote) = config.place else { panic!("{config:?}") };
        assert_eq!(remote.nfs_mount_options, ["vers=4.2", "hard"]);
        assert_eq!(remote.data_addresses.len(), 2);
        assert_eq!(remote.wire(Layout::File), Some(Wire::Nfs));
        assert_eq!(remote.wire(Layout::Block), Some(Wire::Iscsi));
        for (protocol, file, block) in [
            ("nfs", Some(Wire::Nfs), None),
            ("iSCSI", None, Some(Wire::Iscsi)),
            ("nvme", None, Some(Wire::Nvme)),
        ] {
            let config = read(&all, &format!("protocol: {protocol}\n")).unwrap();
            let Place::Remote(remote) = config.place else { panic!("{config:?}") };
            assert_eq!((remote.wire(Layout::File), remote.wire(Layout::Block)), (file, block), "{protocol}");
        }
    }

    #[test]
    fn every_mistake_names_the_key_and_the_way_out() {
        let url = "url: 'https://f'";
        for (remote, rest, message) in [
            (FILES.to_owned(), "", "`remote.url`: missing"),
            (format!("url: 'http://f', {FILES}"), "", "`remote.url`: URL `http://f` is not https"),
            (url.to_owned(), "", "`remote.certificate`: missing; write the file that `leister filer trust"),
            (format!("{url}, certificate: c.crt"), "", "`remote.certificate`: `c.crt` is not the full path"),
            (format!("{url}, {FILES}, cert: /x"), "", "`remote.cert`: unknown key"),
            (format!("{url}, {FILES}"), "pool: /p\n", "`pool`: is of a pool on this machine"),
            (format!("{url}, {FILES}"), "poolSize: 1G\n", "`poolSize`: is of a pool on this machine"),
            (
                format!("{url}, {FILES}"),
                "protocol: smb\n",
                "`protocol`: `smb` is no wire; write nfs, iscsi or nvme",
            ),
            (format!("{url}, {FILES}"), "dataAddresses: [filer]\n", "`dataAddresses`: `filer` is no address"),
            (format!("{url}, {FILES}"), "nfsMountOptions: 'hard, ,soft'\n", "`nfsMountOptions`: `` in"),
            (
                format!("{url}, {FILES}"),
                "protocol: nvme\nnfsMountOptions: hard\n",
                "`nfsMountOptions`: the `protocol` is not nfs",
            ),
        ] {
            let error = read(&remote, rest).unwrap_err().to_string();
            assert!(error.starts_with("gold.yaml: ") && error.contains(message), "{remote} {rest}: {error}");
        }
    }
}
