//! Volumes that their node encrypts: the storage host sees no content, and nobody but the node a passphrase.

use filer_suite::{Filer, Node};
use rig::Limit;
use serde_json::json;

use crate::stage::{SECRETS, Stage, on_stage};

const LIMIT: Limit = Limit::from_secs(120);
/// A volume's image on the storage host.
const IMAGE: &str = "$(find /srv/pool/volumes/tenant.leister_private -type f -size +1M)";

fn give(node: &Node<'_>, current: &str, previous: Option<&str>) {
    let script = format!("rm -rf {SECRETS}; mkdir -p {SECRETS}; chmod 700 {SECRETS}");
    node.exec(&script).ok("a place for passphrases");
    for (file, text) in [("luks-passphrase", Some(current)), ("previous-luks-passphrase", previous)] {
        let Some(text) = text else { continue };
        let path = format!("{SECRETS}/{file}");
        node.guest().put(&path, format!("{text}\n")).unwrap();
        node.exec(&format!("chmod 600 {path}")).ok("for root alone");
    }
}

/// Which of these passphrases open a volume, by its image on the storage host.
fn opening<'p>(filer: &Filer<'_>, passphrases: &[&'p str]) -> Vec<&'p str> {
    let opens = |passphrase: &&&str| {
        let script =
            format!("printf %s '{passphrase}' | cryptsetup open --test-passphrase --key-file=- {IMAGE}");
        filer.exec(&script).is_ok()
    };
    passphrases.iter().filter(opens).copied().collect()
}

fn hash(filer: &Filer<'_>) -> String {
    filer.exec(&format!("sync -f /srv/pool; sha256sum {IMAGE}")).ok("hash")
}

#[test]
fn an_encrypted_volume_is_used_grown_and_given_a_new_passphrase_and_shows_neither_content_nor_passphrase() {
    on_stage(|Stage { filer, node1: node, .. }| {
        let [old, new] = ["correct horse battery", "staple of another colour"];
        node.guest().put("/run/watched", format!("{old}\n{new}\n")).unwrap();
        // The words and the environment of all that runs, again and again.
        let watch = "PATH=/run/bb:$PATH; rm -f /run/watched.end /run/seen /run/tools
            while [ ! -e /run/watched.end ]; do
                cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' >/run/now
                grep -F -f /run/watched /run/now >>/run/seen
                grep -A2 'cryptsetup$' /run/now >>/run/tools
                sleep 0.3
            done";
        let watch = node.guest().spawn(watch).unwrap();

        give(node, old, None);
        node.create("private", &[("size", "64MiB"), ("LUKSEncryption", "true")]);
        let point = node.mount("private", "app");
        node.exec(&format!("yes PRECIOUS | head -c 4M >{point}/f && sync {point}/f")).ok("write");
        filer.exec("sync -f /srv/pool").ok("all of it is on the disk");
        assert_eq!(
            filer.exec(&format!("cryptsetup isLuks {IMAGE} && grep -c PRECIOUS {IMAGE}")).stdout.trim(),
            "0"
        );

        node.cli("grow private 128MiB").unwrap().ok("grow");
        let grown = format!("[ $(df -m --output=size {point} | tail -1) -gt 90 ]");
        node.guest().wait_for(&grown, LIMIT).ok("what is mounted has grown");
        node.exec(&format!("echo more >{point}/g && sync {point}/g")).ok("write");
        node.unmount("private", "app");

        // The volume has the old passphrase alone, and both are accepted; then the old one is retired.
        assert_eq!(opening(filer, &[old, new]), [old]);
        give(node, new, Some(old));
        let point = node.mount("private", "app");
        assert_eq!(opening(filer, &[old, new]), [new]);
        node.unmount("private", "app");
        give(node, new, None);
        let point_now = node.mount("private", "app");
        assert_eq!(point, point_now);
        let read = node.exec(&format!("cat {point}/g; grep -c PRECIOUS {point}/f")).ok("read");
        assert!(read.starts_with("more") && read.len() > 8, "{read}");
        node.unmount("private", "app");
        node.guest().wait_for("! dmsetup ls | grep leister", LIMIT).ok("it is closed");

        let before = hash(filer);
        give(node, "mistaken", None);
        let refused = node.plugin("Mount", &json!({ "Name": "private", "ID": "app" })).unwrap();
        let text = refused["Err"].as_str().unwrap_or_default();
        println!("with a wrong passphrase: {text}");
        assert!(text.contains("luks-passphrase") && !text.contains("mistaken"), "{refused}");
        assert_eq!(hash(filer), before);

        node.exec("touch /run/watched.end").ok("enough is seen");
        watch.wait(LIMIT).ok("watch");
        let tools = node.exec("sort /run/tools | uniq -c").ok("what ran");
        assert!(
            ["luksFormat", "luksAddKey", "open", "resize"].iter().all(|deed| tools.contains(deed)),
            "{tools}"
        );
        assert_eq!(node.exec("cat /run/seen").ok("seen"), "");
        let kept = format!(
            "grep -rlaF -f /run/watched /var/lib/leister /run/leister /rig/leister.log /etc | grep -v ^{SECRETS}"
        );
        assert_eq!(node.exec(&kept).stdout, "");
        assert!(!node.log().contains(new) && !filer.log().contains(new));
        filer.guest().put("/run/watched", format!("{old}\n{new}\n")).unwrap();
        let kept = "grep -rlaF -f /run/watched /var/lib/leister /etc /rig/filer.log";
        assert_eq!(filer.exec(kept).stdout, "");
        give(node, new, None);
        node.remove("private");
    });
}
