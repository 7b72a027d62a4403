//! Portals as routes write them: `address:port`, IPv6 in brackets.

use std::net::{IpAddr, SocketAddr};

use crate::error::{HostError, Result};

/// # Errors
/// `Invalid` for anything else, and for none at all.
pub(super) fn parse(portals: &[String]) -> Result<Vec<SocketAddr>> {
    let invalid = |value: &str, problem: &str| HostError::Invalid {
        what: "portal",
        value: value.chars().take(80).collect::<String>().escape_default().to_string(),
        problem: problem.to_owned(),
    };
    if portals.is_empty() {
        return Err(invalid("", "is needed, and the route has none; see the backend's data addresses"));
    }
    let parse = |text: &String| {
        let portal: SocketAddr = text
            .parse()
            .map_err(|_| invalid(text, "is not `address:port`; write an IPv6 address in brackets"))?;
        match portal.port() {
            0 => Err(invalid(text, "has the port 0; use the one the target listens on")),
            _ => Ok(portal),
        }
    };
    portals.iter().map(parse).collect()
}

/// An address as tools want it before a port.
pub(super) fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_portal_is_an_address_and_a_port() {
        let good = ["10.0.0.1:3260".to_owned(), "[fd77::1]:4420".to_owned()];
        assert_eq!(parse(&good).unwrap().len(), 2);
        assert_eq!(bracketed("fd77::1".parse().unwrap()), "[fd77::1]");
        for bad in ["", "10.0.0.1", "fd77::1:3260", "host:3260", "10.0.0.1:0", "10.0.0.1:99999", "a b:1"] {
            let error = parse(&[bad.to_owned()]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("portal `{bad}`")), "{error}");
        }
        assert!(parse(&[]).unwrap_err().to_string().contains("has none"));
    }
}
