use std::net::IpAddr;
use std::str::FromStr;

use driver::config::{ConfigError, Section};

use super::Kind;

/// How export rules come to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exports {
    /// Only addresses of nodes within these get rules.
    pub(crate) within: Vec<Cidr>,
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cidr {
    network: IpAddr,
    bits: u8,
}

/// # Behavior
/// Rules always follow the use of volumes: what `autoExportPolicy` asks for is the only way here.
pub(super) fn read(keys: &mut Section, kind: Kind) -> Result<Exports, ConfigError> {
    let automatic = keys.flag("autoExportPolicy")?;
    let ranges = keys.texts("autoExportCIDRs")?;
    if !kind.is_nas() && (automatic.is_some() || !ranges.is_empty()) {
        return Err(keys.error("autoExportPolicy", format!("`{}` exports nothing; remove it", kind.name())));
    }
    let mut within = Vec::new();
    for range in ranges {
        within.push(range.parse().map_err(|problem: String| keys.error("autoExportCIDRs", problem))?);
    }
    Ok(Exports { within })
}

/// Options in one text, with or without `-o`, as Trident has them.
pub(super) fn mount_options(keys: &mut Section, kind: Kind) -> Result<Vec<String>, ConfigError> {
    let Some(text) = keys.text("nfsMountOptions")? else { return Ok(Vec::new()) };
    if !kind.is_nas() {
        return Err(keys.error("nfsMountOptions", format!("`{}` is not NFS; remove it", kind.name())));
    }
    let options = text.trim().strip_prefix("-o").unwrap_or(&text);
    Ok(options.split(',').map(str::trim).filter(|option| !option.is_empty()).map(str::to_owned).collect())
}

impl Exports {
    /// Whether a node is reached at this address.
    pub(crate) fn admit(&self, address: IpAddr) -> bool {
        self.within.is_empty() || self.within.iter().any(|range| range.contains(address))
    }
}

impl Cidr {
    fn contains(self, address: IpAddr) -> bool {
        match (self.network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                u32::from(network) & mask == u32::from(address) & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                u128::from(network) & mask == u128::from(address) & mask
            }
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = String;
    fn from_str(text: &str) -> Result<Cidr, String> {
        let refuse = || format!("`{text}` is no range of addresses; write one as in 10.0.0.0/16");
        let (network, bits) = text.split_once('/').ok_or_else(refuse)?;
        let network: IpAddr = network.parse().map_err(|_| refuse())?;
        let bits: u8 = bits.parse().map_err(|_| refuse())?;
        let most = if network.is_ipv4() { 32 } else { 128 };
        if bits > most { Err(refuse()) } else { Ok(Cidr { network, bits }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_the_addresses_they_name() {
        for (range, address, inside) in [
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("192.0.2.7/32", "192.0.2.7", true),
            ("192.0.2.7/32", "192.0.2.6", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
        ] {
            let range: Cidr = range.parse().unwrap();
            assert_eq!(range.contains(address.parse().unwrap()), inside, "{range:?} {address}");
        }
        for wrong in ["10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0.0/-1", "::/129"] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
    }
}
