//! Debian's kernel on qemu's smallest machine, in software: works where nothing is virtualised.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{kernel, program};
use crate::guest::Guest;
use crate::namespace::make_fifo;
use crate::network::{LINKS, mac, tap};

pub(super) fn command(guest: &Guest) -> Result<Command> {
    let folder = guest.folder();
    make_fifo(&folder.join("ctl.out"))?;
    let mut qemu = program("qemu-system-x86_64");
    qemu.current_dir("/").env_remove("TMPDIR");
    qemu.args(["-M", "microvm", "-accel", "tcg,thread=multi", "-cpu", "max,la57=off"]);
    qemu.args(["-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"]);
    qemu.arg("-m").arg((guest.spec.memory.bytes() >> 20).to_string());
    qemu.arg("-kernel").arg(&guest.world.kernel.image);
    qemu.arg("-initrd").arg(kernel::initramfs(&guest.world.folder));
    // The clock's rate is told, not measured: that costs a second and fails on a loaded machine.
    qemu.arg("-append").arg(format!(
        "console=ttyS0 quiet panic=-1 tsc_early_khz={} tsc=reliable mitigations=off init_on_alloc=0",
        clock_khz()
    ));
    qemu.arg("-qmp").arg(format!("unix:{},server=on,wait=off", control_socket(guest).display()));
    let mut device = |option: &str, value: String, device: String| {
        qemu.args([option, &value, "-device", &device]);
    };
    device(
        "-chardev",
        format!("pipe,id=ctl,path={}", folder.join("ctl").display()),
        "virtio-serial-device,id=serial".into(),
    );
    for (tag, path, mode) in
        [("root", "/".into(), ",readonly=on,multidevs=remap"), ("rig", guest.share(), "")]
    {
        device(
            "-fsdev",
            format!("local,id={tag},path={},security_model=none{mode}", path.display()),
            format!("virtio-9p-device,fsdev={tag},mount_tag={tag}"),
        );
    }
    for link in LINKS {
        device(
            "-netdev",
            format!("tap,id=net{link},ifname={},script=no,downscript=no", tap(link, guest.number)),
            format!("virtio-net-device,id=card{link},netdev=net{link},mac={}", mac(link, guest.number)),
        );
    }
    for (at, image) in guest.disk_images().iter().enumerate() {
        device(
            "-drive",
            format!("id=disk{at},file={},format=raw,if=none,cache=unsafe,discard=unmap", image.display()),
            format!("virtio-blk-device,drive=disk{at},serial=disk{at}"),
        );
    }
    qemu.args(["-device", "virtserialport,chardev=ctl,name=rig"]).stdin(Stdio::null());
    Ok(qemu)
}

/// Takes the carrier off a card, or puts it back.
pub(super) fn set_carrier(guest: &Guest, link: u8, up: bool) -> Result<()> {
    let path = control_socket(guest);
    let stream =
        UnixStream::connect(&path).with_context(|| format!("cannot connect to {}", path.display()))?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).context("cannot limit qemu's answer")?;
    let mut lines = BufReader::new(stream.try_clone().context("cannot share a socket")?).lines();
    for request in [
        json!({"execute": "qmp_capabilities"}),
        json!({"execute": "set_link", "arguments": {"name": format!("card{link}"), "up": up}}),
    ] {
        writeln!(&stream, "{request}").context("cannot write to qemu")?;
        loop {
            let line = lines.next().context("qemu hung up")?.context("qemu did not answer")?;
            let answer: Value = serde_json::from_str(&line).with_context(|| format!("qemu said: {line}"))?;
            if let Some(error) = answer.get("error") {
                bail!("qemu refused {request}: {error}");
            }
            // Greetings and events come between.
            if answer.get("return").is_some() {
                break;
            }
        }
    }
    Ok(())
}

fn control_socket(guest: &Guest) -> PathBuf {
    guest.sockets().join(format!("qmp-{}", guest.number))
}

/// The rate of the time stamp counter, as the kernel outside has it.
fn clock_khz() -> u64 {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let bogomips = cpus.lines().find_map(|line| {
        line.strip_prefix("bogomips")?.split(':').nth(1)?.trim().split('.').next()?.parse::<u64>().ok()
    });
    bogomips.unwrap_or(4000) * 500
}
