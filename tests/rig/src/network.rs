//! Two networks: bridges in the rig's namespace, and a tap for each guest on each.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::namespace::Namespace;

/// Each guest is on links 0 and 1.
pub const LINKS: [u8; 2] = [0, 1];

/// This machine's number on each link.
pub const HOST: u8 = 1;

/// `10.77.LINK.NUMBER`.
pub(crate) fn address(link: u8, number: u8) -> String {
    format!("10.77.{link}.{number}")
}

/// `fd77:LINK::NUMBER`, the number in hexadecimal.
pub(crate) fn address6(link: u8, number: u8) -> String {
    format!("fd77:{link}::{number:x}")
}

pub(crate) fn tap(link: u8, number: u8) -> String {
    format!("tap{number}-{link}")
}

pub(crate) fn mac(link: u8, number: u8) -> String {
    format!("52:54:00:77:{link:02x}:{number:02x}")
}

/// Makes both networks.
pub(crate) fn make(namespace: &Namespace, guests: impl Iterator<Item = u8>) -> Result<()> {
    let mut lines = vec!["link set lo up".to_owned()];
    for link in LINKS {
        lines.push(format!("link add br{link} up type bridge"));
        lines.push(format!("addr add {}/24 dev br{link}", address(link, HOST)));
        if Path::new("/proc/sys/net/ipv6").exists() {
            lines.push(format!("addr add {}/64 dev br{link} nodad", address6(link, HOST)));
        }
    }
    for number in guests {
        for link in LINKS {
            let tap = tap(link, number);
            lines.push(format!("tuntap add {tap} mode tap"));
            lines.push(format!("link set {tap} up master br{link}"));
        }
    }
    ip(namespace, &lines)
}

/// A black hole: nothing passes, and the guest does not notice by its carrier.
pub(crate) fn cut(namespace: &Namespace, link: u8, number: u8) -> Result<()> {
    ensure_link(link)?;
    ip(namespace, &[format!("link set {} nomaster", tap(link, number))])
}

pub(crate) fn join(namespace: &Namespace, link: u8, number: u8) -> Result<()> {
    ensure_link(link)?;
    ip(namespace, &[format!("link set {} master br{link}", tap(link, number))])
}

pub(crate) fn ensure_link(link: u8) -> Result<()> {
    ensure!(LINKS.contains(&link), "there is no link {link}; each guest has links 0 and 1");
    Ok(())
}

fn ip(namespace: &Namespace, lines: &[String]) -> Result<()> {
    let mut ip = Command::new("ip");
    ip.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = namespace.on_network(|| ip.spawn())?.context("`ip` did not start; install iproute2")?;
    let mut stdin = child.stdin.take().context("no pipe to `ip`")?;
    stdin.write_all((lines.join("\n") + "\n").as_bytes()).context("cannot write to `ip`")?;
    drop(stdin);
    let output = child.wait_with_output().context("cannot wait for `ip`")?;
    ensure!(output.status.success(), "`ip` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
