//! LUKS2 by `cryptsetup`. A passphrase reaches it through a pipe or a file in memory, never through an argument.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use model::{Bytes, Secret};
use rustix::fs::MemfdFlags;
use serde_json::Value;

use crate::error::{Doing, Result};
use crate::exec::{ExecError, Tool};
use crate::filesystem::Tools;

/// What a header takes from the front of a device, and the least that is worth having behind it.
pub(crate) const SMALLEST: Bytes = Bytes::mib(20);

/// Of the first header on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Where the encrypted data begins.
    pub(crate) offset: Bytes,
    pub(crate) sector_size: u64,
}

/// Keeps two runs of cryptsetup from working on one volume, also one that outlived the process that started it: the
/// lock lasts as long as any process has the file.
pub(crate) struct Guard(File);

/// Exit codes of cryptsetup. Source: cryptsetup(8), section "NOTES".
const WRONG_PASSPHRASE: i32 = 2;
const MAGIC: &[u8] = b"LUKS\xba\xbe\0\x02";
const BINARY_AREA: usize = 4096;
/// The largest that LUKS2 allows.
const LARGEST_HEADER: usize = 4 << 20;

impl Header {
    /// # Behavior
    /// `None` where the first copy is not whole; cryptsetup then uses the second.
    ///
    /// # Source
    /// LUKS2 On-Disk Format Specification 1.1.1, sections 2.1 and 3.
    pub(crate) fn read(device: &File) -> io::Result<Option<Header>> {
        let mut binary = [0; BINARY_AREA];
        if let Err(error) = device.read_exact_at(&mut binary, 0) {
            return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(error) };
        }
        let size = u64::from_be_bytes(binary[8..16].try_into().map_err(io::Error::other)?);
        let size = usize::try_from(size).map_err(io::Error::other)?;
        if !binary.starts_with(MAGIC) || size <= BINARY_AREA || size > LARGEST_HEADER {
            return Ok(None);
        }
        let mut text = vec![0; size - BINARY_AREA];
        device.read_exact_at(&mut text, BINARY_AREA as u64)?;
        let end = text.iter().position(|b| *b == 0).unwrap_or(text.len());
        let json: Value = serde_json::from_slice(&text[..end]).unwrap_or_default();
        let segment = &json["segments"]["0"];
        let offset = segment["offset"].as_str().and_then(|text| text.parse().ok());
        let header = |offset| {
            Some(Header { offset: Bytes::new(offset), sector_size: segment["sector_size"].as_u64()? })
        };
        Ok(offset.and_then(header))
    }
}

impl Guard {
    /// Waits until nobody has it any more.
    ///
    /// # Errors
    /// `None`: somebody has it at the limit.
    pub(crate) fn take(path: &Path, limit: Duration) -> Result<Option<Guard>> {
        let doing = || format!("lock {}", path.display());
        let until = Instant::now() + limit;
        loop {
            let file = File::options().append(true).create(true).open(path).doing(doing)?;
            match file.try_lock() {
                // One that was removed meanwhile keeps nobody out.
                Ok(()) if file.metadata().doing(doing)?.nlink() > 0 => return Ok(Some(Guard(file))),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    std::thread::park_timeout(Duration::from_millis(10));
                }
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error).doing(doing),
            }
        }
    }

    /// Ends it, with its file.
    pub(crate) fn end(self, path: &Path) -> Result<()> {
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(e).doing(|| format!("remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    fn tool(&self, tools: &Tools) -> Result<Tool> {
        let file = self.0.try_clone().doing(|| "share a lock with cryptsetup".to_owned())?;
        Ok(tools.long("cryptsetup").arg("--batch-mode").output_to(file))
    }
}

/// Makes a new header with this UUID, which one passphrase opens. What the device held is lost.
///
/// # Behavior
/// A passphrase costs 64 MiB and a fraction of a second to try, whatever the machine: a small node can open what a
/// large one made.
pub(crate) async fn format(
    guard: &Guard,
    device: &Path,
    uuid: &str,
    secret: &Secret,
    tools: &Tools,
) -> Result<()> {
    let tool = guard.tool(tools)?.args([
        "luksFormat",
        "--type=luks2",
        "--cipher=aes-xts-plain64",
        "--key-size=512",
        "--hash=sha256",
        "--pbkdf=argon2id",
        "--pbkdf-memory=65536",
        "--pbkdf-parallel=1",
        "--pbkdf-force-iterations=4",
        "--key-file=-",
    ]);
    tool.arg(format!("--uuid={uuid}")).path(device).input(secret.expose()).run().await?;
    Ok(())
}

/// The key slot that a passphrase opens.
pub(crate) async fn slot(device: &Path, secret: &Secret, tools: &Tools) -> Result<Option<u32>> {
    let tool = tools.long("cryptsetup").args(["open", "--test-passphrase", "--type=luks2", "--verbose"]);
    let tool = tool.arg("--key-file=-").path(device).input(secret.expose()).accept(&[0, WRONG_PASSPHRASE]);
    let output = tool.run().await?;
    if output.code == WRONG_PASSPHRASE {
        return Ok(None);
    }
    let number = |line: &str| line.strip_prefix("Key slot ")?.split(' ').next()?.parse().ok();
    let found = output.stdout.lines().find_map(number);
    found
        .map(Some)
        .ok_or_else(|| io::Error::other("cryptsetup did not say which"))
        .doing(|| "find a key slot".to_owned())
}

/// Lets `added` open it too. Repeated, it makes another slot: see [`slot`] first.
pub(crate) async fn add(
    guard: &Guard,
    device: &Path,
    known: &Secret,
    added: &Secret,
    tools: &Tools,
) -> Result<()> {
    let doing = || "hand cryptsetup a passphrase".to_owned();
    let memory = rustix::fs::memfd_create("leister", MemfdFlags::CLOEXEC).doing(doing)?;
    let mut memory = File::from(memory);
    memory.write_all(added.expose().as_bytes()).doing(doing)?;
    // Opened anew by its name it is read from its start; only this user's processes may.
    let name = format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd());
    let tool = guard.tool(tools)?.args([
        "luksAddKey",
        "--pbkdf=argon2id",
        "--pbkdf-memory=65536",
        "--pbkdf-parallel=1",
        "--pbkdf-force-iterations=4",
        "--key-file=-",
    ]);
    tool.path(device).arg(name).input(known.expose()).run().await?;
    Ok(())
}

/// Ends what a slot opens. `kept` opens another one, or it is refused.
pub(crate) async fn remove(
    guard: &Guard,
    device: &Path,
    slot: u32,
    kept: &Secret,
    tools: &Tools,
) -> Result<()> {
    let tool = guard.tool(tools)?.args(["luksKillSlot", "--key-file=-"]).path(device).arg(slot.to_string());
    tool.input(kept.expose()).run().await?;
    Ok(())
}

/// Opens the mapping. What the filesystem frees is freed below, as a thin volume needs.
pub(crate) async fn open(
    guard: &Guard,
    device: &Path,
    name: &str,
    secret: &Secret,
    read_only: bool,
    tools: &Tools,
) -> Result<()> {
    let tool = guard.tool(tools)?.args(["open", "--type=luks2", "--allow-discards", "--key-file=-"]);
    let tool = if read_only { tool.arg("--readonly") } else { tool };
    tool.path(device).arg(name).input(secret.expose()).run().await?;
    Ok(())
}

/// Takes over the size of the device below.
pub(crate) async fn resize(name: &str, secret: &Secret, tools: &Tools) -> Result<(), ExecError> {
    tools
        .long("cryptsetup")
        .args(["resize", "--key-file=-", name])
        .input(secret.expose())
        .run()
        .await
        .map(drop)
}

/// Closes the mapping; the key is forgotten.
pub(crate) async fn close(name: &str, tools: &Tools) -> Result<(), ExecError> {
    tools.quick("cryptsetup").args(["close", name]).run().await.map(drop)
}
