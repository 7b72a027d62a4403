//! Mount options of NFS: which there are, whose go first, and what goes to `mount.nfs`.

use rustix::mount::MountAttrFlags;

use super::Options;
use super::options::words;
use crate::error::{HostError, Result};

/// Words of one row answer the same question: of one row only the first word given counts.
///
/// # Source
/// nfs(5) of nfs-utils 2.8. Left out: what leads to another server (`addr`, `clientaddr`, `mounthost`,
/// `mountaddr`), what goes on after the mount has returned (`bg`), and what this house decides (`fg`).
const QUESTIONS: [&[&str]; 42] = [
    &["vers", "nfsvers", "v3", "v4", "v4.0", "v4.1", "v4.2"],
    &["minorversion"],
    &["hard", "soft", "softerr"],
    &["softreval", "nosoftreval"],
    &["timeo"],
    &["retrans"],
    &["retry"],
    &["rsize"],
    &["wsize"],
    &["actimeo"],
    &["ac", "noac"],
    &["acregmin"],
    &["acregmax"],
    &["acdirmin"],
    &["acdirmax"],
    &["proto", "tcp", "udp", "rdma"],
    &["port"],
    &["mountproto"],
    &["mountport"],
    &["mountvers"],
    &["namlen"],
    &["nconnect"],
    &["max_connect"],
    &["trunkdiscovery", "notrunkdiscovery"],
    &["sec"],
    &["xprtsec"],
    &["sharecache", "nosharecache"],
    &["resvport", "noresvport"],
    &["rdirplus", "nordirplus"],
    &["lookupcache"],
    &["fsc", "nofsc"],
    &["lock", "nolock"],
    &["local_lock"],
    &["cto", "nocto"],
    &["acl", "noacl"],
    &["migration", "nomigration"],
    &["intr", "nointr"],
    &["write"],
    &["sync", "async"],
    &["rw", "ro"],
    &["atime", "noatime", "relatime", "norelatime", "strictatime"],
    // The label of SELinux that all files have.
    &["context"],
];

/// The options of a class, then those of the backend's config that answer what the class left open.
///
/// # Behavior
/// `class` `soft` goes before `backend` `hard,timeo=50`: the result is `soft,timeo=50`. Words that are in no row of
/// [`QUESTIONS`] are a question of their own, by their name without a leading `no`.
pub(crate) fn merge(class: &[String], backend: &[String]) -> Vec<String> {
    let mut merged: Vec<String> = words(class).map(str::to_owned).collect();
    for option in words(backend) {
        if !words(class).any(|set| question(set) == question(option)) {
            merged.push(option.to_owned());
        }
    }
    merged
}

/// What `mount.nfs -o` gets.
///
/// # Errors
/// Names the option that is none of NFS, or that this house decides.
pub(crate) fn text(options: &Options) -> Result<String> {
    let mut words = vec![if options.is_read_only() { "ro" } else { "rw" }.to_owned()];
    for (name, attribute) in super::options::ATTRIBUTES {
        if attribute != MountAttrFlags::MOUNT_ATTR_RDONLY && options.attributes.contains(attribute) {
            words.push(name.to_owned());
        }
    }
    for (word, value) in &options.filesystem {
        let option = match value {
            Some(value) if value.contains(',') => format!("{word}=\"{value}\""),
            Some(value) => format!("{word}={value}"),
            None => word.clone(),
        };
        if !QUESTIONS.iter().any(|words| words.contains(&word.as_str())) {
            return Err(HostError::Invalid {
                what: "mount option",
                value: option,
                problem: "is none that an NFS volume may have (see nfs(5)); correct or remove it in the class or in \
                          the backend's `nfsMountOptions`"
                    .to_owned(),
            });
        }
        words.push(option);
    }
    Ok(words.join(","))
}

fn question(option: &str) -> &str {
    let word = option.split_once('=').map_or(option, |(word, _)| word);
    let row = QUESTIONS.iter().find(|words| words.contains(&word));
    row.map_or_else(|| word.strip_prefix("no").unwrap_or(word), |words| words[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Vec<String> {
        text.split(' ').filter(|o| !o.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn a_class_goes_before_the_config_question_by_question() {
        for (class, backend, expected) in [
            ("", "", ""),
            ("", "vers=4.2,hard", "vers=4.2 hard"),
            ("soft", "hard,timeo=50", "soft timeo=50"),
            ("nfsvers=3", "vers=4.2", "nfsvers=3"),
            ("v4.1", "vers=4.2,minorversion=2", "v4.1 minorversion=2"),
            ("noac", "ac,actimeo=3", "noac actimeo=3"),
            ("noatime nosuid", "relatime,suid,nodev", "noatime nosuid nodev"),
            ("rsize=65536,wsize=65536", "rsize=1048576", "rsize=65536 wsize=65536"),
            ("udp", "proto=tcp", "udp"),
            ("ro", "rw", "ro"),
        ] {
            assert_eq!(
                merge(&options(class), &options(backend)),
                options(expected),
                "class {class}, backend {backend}"
            );
        }
    }

    #[test]
    fn mount_nfs_gets_what_it_knows() {
        for (given, read_only, expected) in [
            ("", false, "rw"),
            ("hard,_netdev,nofail", true, "ro,hard"),
            ("noatime,nosuid,vers=4.1", false, "rw,nosuid,noatime,vers=4.1"),
            ("sec=krb5p,nconnect=4", false, "rw,sec=krb5p,nconnect=4"),
            ("context=\"u:r:t:s0:c1,c2\"", false, "rw,context=\"u:r:t:s0:c1,c2\""),
        ] {
            let parsed = Options::parse(&options(given), read_only).unwrap();
            assert_eq!(text(&parsed).unwrap(), expected, "{given}");
        }
    }

    #[test]
    fn an_option_that_is_none_or_leads_elsewhere_is_named() {
        for option in ["sfot", "addr=10.0.0.9", "bg", "mounthost=evil", "clientaddr=1.2.3.4", "data=ordered"]
        {
            let parsed = Options::parse(&options(option), false).unwrap();
            let error = text(&parsed).unwrap_err().to_string();
            assert!(error.contains(option), "{error}");
        }
    }
}
