//! Lets no client write for a moment, as an array does while it takes snapshots of several volumes.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use filer::FilerError;
use filer::access::machine::tool;

use super::{Result, addresses, failed};

/// NFS, iSCSI and NVMe/TCP.
const PORTS: [u16; 3] = [2049, 3260, 4420];

/// What clients send is dropped while this lives. Their TCP sends it again.
#[derive(Debug)]
pub(crate) struct Gate {
    devices: BTreeSet<String>,
}

impl Gate {
    /// # Errors
    /// `Unsupported` without `tc`; what the kernel says.
    pub(super) fn shut() -> Result<Gate> {
        let gate = Gate { devices: addresses::devices()? };
        let mut words = String::new();
        for device in &gate.devices {
            words.push_str(&format!("qdisc replace dev {device} ingress\n"));
            for (protocol, word) in [("ip", "ip"), ("ipv6", "ip6")] {
                for port in PORTS {
                    words.push_str(&format!(
                        "filter add dev {device} parent ffff: protocol {protocol} u32 match {word} protocol 6 0xff \
                         match {word} dport {port} 0xffff action drop\n"
                    ));
                }
            }
        }
        tc(&words, &[])?;
        Ok(gate)
    }

    /// Opens what a process left shut that was killed.
    pub(super) fn open_all() -> Result<()> {
        drop(Gate { devices: addresses::devices()? });
        Ok(())
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let words: String =
            self.devices.iter().map(|device| format!("qdisc del dev {device} ingress\n")).collect();
        // One that is open is no error.
        if let Err(error) = tc(&words, &["-force"]) {
            tracing::debug!(%error, "what clients send");
        }
    }
}

fn tc(words: &str, more: &[&str]) -> Result<()> {
    let tc = tool("tc", "iproute2")?;
    let mut command = Command::new(&tc);
    command.args(more).args(["-batch", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let failed = |error: std::io::Error| failed("run", &tc, error);
    let mut child = command.spawn().map_err(failed)?;
    // Dropped, its input ends.
    child.stdin.take().map_or(Ok(()), |mut input| input.write_all(words.as_bytes())).map_err(failed)?;
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(FilerError::Unsupported(format!("clients cannot be kept waiting: tc: {said}")))
}
