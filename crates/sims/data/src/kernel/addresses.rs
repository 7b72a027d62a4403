//! The array's interfaces: addresses of this machine that come and go.
//!
//! # Behavior
//! An address of the array's is added without a network around it (`/32`, `/128`), to the interface of the network that
//! it is in: by that it is known as ours. One that the machine has by itself is used and never taken away.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::process::Command;

use filer::FilerError;
use filer::access::machine::{run, tool};

use super::{Result, failed};

#[derive(Debug, PartialEq, Eq)]
struct Seen {
    device: String,
    address: IpAddr,
    bits: u8,
}

/// Takes away those that are down. Who was connected hears nothing more.
pub(super) fn take(wanted: &BTreeMap<IpAddr, bool>) -> Result<()> {
    for own in seen()?.iter().filter(|own| own.is_ours()) {
        if wanted.get(&own.address) == Some(&false) {
            ip("del", &own.address, &own.device)?;
        }
    }
    Ok(())
}

/// Adds those that are up.
pub(super) fn add(wanted: &BTreeMap<IpAddr, bool>) -> Result<()> {
    let seen = seen()?;
    for address in wanted.iter().filter(|(_, up)| **up).map(|(address, _)| address) {
        if seen.iter().any(|own| own.address == *address) {
            continue;
        }
        let around = seen.iter().find(|own| own.holds(address)).ok_or_else(|| {
            FilerError::Invalid(format!(
                "the interface address {address} is in no network of this machine: give it one in a network that the \
                 machine has an address in"
            ))
        })?;
        ip("add", address, &around.device)?;
    }
    Ok(())
}

/// The devices that have an address.
pub(super) fn devices() -> Result<BTreeSet<String>> {
    Ok(seen()?.into_iter().map(|seen| seen.device).collect())
}

impl Seen {
    fn is_ours(&self) -> bool {
        self.bits == full(&self.address)
    }

    /// Whether an address is in the network around this one.
    fn holds(&self, address: &IpAddr) -> bool {
        let shift = u32::from(full(address) - self.bits.min(full(address)));
        match (self.address, address) {
            _ if self.is_ours() => false,
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                own.to_bits().checked_shr(shift) == other.to_bits().checked_shr(shift)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                own.to_bits().checked_shr(shift) == other.to_bits().checked_shr(shift)
            }
            _ => false,
        }
    }
}

fn full(address: &IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn ip(what: &str, address: &IpAddr, device: &str) -> Result<()> {
    let own = format!("{address}/{}", full(address));
    let mut words = ["address", what, &own, "dev", device].map(str::to_owned).to_vec();
    if address.is_ipv6() && what == "add" {
        words.push("nodad".to_owned());
    }
    run(&tool("ip", "iproute2")?, &words)
}

fn seen() -> Result<Vec<Seen>> {
    let ip = tool("ip", "iproute2")?;
    let said = Command::new(&ip).args(["-o", "address", "show"]).output();
    let said = said.map_err(|error| failed("run", &ip, error))?;
    Ok(String::from_utf8_lossy(&said.stdout).lines().filter_map(parse).collect())
}

/// From a line such as `2: eth0    inet 10.77.0.11/24 brd …`.
fn parse(line: &str) -> Option<Seen> {
    let mut words = line.split_whitespace();
    let device = words.nth(1)?.split('@').next()?.to_owned();
    let (address, bits) =
        words.nth(1)?.split_once('/').map_or((None, None), |(a, b)| (a.parse().ok(), b.parse().ok()));
    Some(Seen { device, address: address?, bits: bits? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_goes_to_the_interface_of_its_network() {
        let seen: Vec<Seen> = [
            "1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever",
            "2: eth0@if3    inet 10.77.0.11/24 brd 10.77.0.255 scope global eth0\\       valid_lft forever",
            "3: eth1    inet6 fd77:1::b/64 scope global \\       valid_lft forever preferred_lft forever",
            "2: eth0    inet 10.77.1.50/32 scope global eth0\\       valid_lft forever",
        ]
        .iter()
        .filter_map(|line| parse(line))
        .collect();
        assert_eq!(seen.len(), 4);
        for (address, device) in
            [("10.77.0.50", Some("eth0")), ("fd77:1::50", Some("eth1")), ("10.77.1.51", None)]
        {
            let address: IpAddr = address.parse().unwrap();
            let found = seen.iter().find(|own| own.holds(&address)).map(|own| own.device.as_str());
            assert_eq!(found, device, "{address}");
        }
        assert_eq!(seen.iter().filter(|own| own.is_ours()).count(), 1);
    }
}
