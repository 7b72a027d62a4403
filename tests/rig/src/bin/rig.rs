//! The rig for people: guests that stay until they are taken down.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to a person")]

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use rig::{Backend, Guest, GuestSpec, Output, Rig};

/// Small Linux machines that share this one's root file system, on two networks of their own.
///
/// Guest k is 10.77.0.(10+k) on link 0 and 10.77.1.(10+k) on link 1; this machine is .1 there. Names work, too: NAME,
/// and NAME-1 on link 1. /rig in a guest is a folder shared with this machine; all other files that a guest writes are
/// gone when it is killed, except those on its disks.
#[derive(Parser)]
#[command(name = "rig", version, after_help = EXAMPLE)]
struct Arguments {
    /// Which rig: several can stand side by side
    #[arg(long, global = true, env = "RIG_NAME", default_value = "default")]
    name: String,
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLE: &str = "Example:
  rig up storage:1G:8G node1 node2
  rig exec node1 -- ping -c 1 storage
  rig cut node1 0
  rig down";

#[derive(Subcommand)]
enum Verb {
    /// Boot guests and leave them running
    Up {
        /// uml: user-mode Linux, fast. tcg: qemu and Debian's kernel, with NVMe, ALUA and carrier loss
        #[arg(short, long, default_value = "uml")]
        backend: Backend,
        /// NAME[:MEMORY[:DISK,DISK…]], such as storage:1G:8G,2G
        #[arg(required = true, value_parser = spec)]
        guests: Vec<GuestSpec>,
    },
    /// Run a command in one guest; exits with its code, 124 when it took too long, 125 when it could not run
    Exec {
        guest: String,
        #[command(flatten)]
        what: What,
    },
    /// Run a command in every guest at once; exits with the highest code
    All {
        #[command(flatten)]
        what: What,
    },
    /// Run a command of this machine on the guests' networks
    Host {
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Let nothing pass on a link; the guest keeps its carrier
    Cut(Cable),
    /// Undo cut
    Join(Cable),
    /// Take the carrier off a link (tcg only)
    Unplug(Cable),
    /// Undo unplug
    Plug(Cable),
    /// Kill a guest as a power failure would
    Kill { guest: String },
    /// Boot a guest again, with the same disks
    Start { guest: String },
    /// Freeze a guest
    Stop { guest: String },
    /// Let a frozen guest go on
    Cont { guest: String },
    /// List the guests
    Status,
    /// End all guests and remove their disks
    Down,
}

#[derive(Args)]
struct What {
    /// Seconds after which the command is killed
    #[arg(short, long, default_value_t = 60.0, value_parser = seconds)]
    time: f64,
    /// A program and its arguments, or a script in one word
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

#[derive(Args)]
struct Cable {
    guest: String,
    /// 0 or 1
    #[arg(default_value_t = 0)]
    link: u8,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        Err(error) => {
            eprintln!("rig: {error:#}");
            ExitCode::from(125)
        }
    }
}

fn run(Arguments { name, verb }: Arguments) -> Result<i32> {
    let folder = folder(&name)?;
    match verb {
        Verb::Up { backend, guests } => {
            Rig::builder().guests(guests).backend(backend).detached_at(&folder).up()?;
        }
        Verb::Down => Rig::end(&folder)?,
        verb => return on(&Rig::attach(&folder)?, verb),
    }
    Ok(0)
}

fn on(rig: &Rig, verb: Verb) -> Result<i32> {
    match verb {
        Verb::Up { .. } | Verb::Down => {}
        Verb::Exec { guest, what } => {
            let output = rig.find_guest(&guest)?.exec_within(what.limit(), &script(&what.command));
            return show(&output, "");
        }
        Verb::All { what } => return all(rig, &what),
        Verb::Host { command } => {
            let mut command_line = Command::new(&command[0]);
            command_line.args(&command[1..]);
            let status = rig.in_namespace(|| command_line.status())?;
            let status = status.with_context(|| format!("`{}` did not start", command[0]))?;
            return Ok(status.code().unwrap_or(Output::NOT_RUN));
        }
        Verb::Cut(Cable { guest, link }) => rig.find_guest(&guest)?.cut(link)?,
        Verb::Join(Cable { guest, link }) => rig.find_guest(&guest)?.join(link)?,
        Verb::Unplug(Cable { guest, link }) => rig.find_guest(&guest)?.unplug(link)?,
        Verb::Plug(Cable { guest, link }) => rig.find_guest(&guest)?.plug(link)?,
        Verb::Kill { guest } => rig.find_guest(&guest)?.kill()?,
        Verb::Start { guest } => rig.find_guest(&guest)?.start()?,
        Verb::Stop { guest } => rig.find_guest(&guest)?.stop()?,
        Verb::Cont { guest } => rig.find_guest(&guest)?.cont()?,
        Verb::Status => rig.guests().iter().for_each(|guest| println!("{}", line(rig, guest))),
    }
    Ok(0)
}

fn all(rig: &Rig, what: &What) -> Result<i32> {
    let script = script(&what.command);
    let outputs: Vec<_> = std::thread::scope(|scope| {
        let guests = rig.guests().iter();
        let jobs: Vec<_> =
            guests.map(|guest| scope.spawn(|| guest.exec_within(what.limit(), &script))).collect();
        jobs.into_iter()
            .map(|job| job.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut highest = 0;
    for (guest, output) in rig.guests().iter().zip(&outputs) {
        highest = highest.max(show(output, &format!("{}: ", guest.name()))?);
    }
    Ok(highest)
}

fn line(rig: &Rig, guest: &Guest) -> String {
    let state = match (guest.is_up(), guest.is_stopped()) {
        (false, _) => "down",
        (_, true) => "stopped",
        _ => "up",
    };
    let disks: Vec<_> = guest.disks().iter().map(ToString::to_string).collect();
    let (name, first, second) = (guest.name(), guest.address(0), guest.address(1));
    let (backend, memory, disks) = (rig.backend(), guest.memory(), disks.join(","));
    format!("{name} {state} {backend} {first} {second} {memory} {disks} {}", guest.share().display())
}

fn show(output: &Output, prefix: &str) -> Result<i32> {
    let prefixed =
        |text: &str| text.split_inclusive('\n').map(|line| format!("{prefix}{line}")).collect::<String>();
    let write = || {
        std::io::stdout().write_all(prefixed(&output.stdout).as_bytes())?;
        std::io::stderr().write_all(prefixed(&output.stderr).as_bytes())
    };
    write().context("cannot write the output")?;
    Ok(output.code)
}

impl What {
    fn limit(&self) -> Duration {
        Duration::from_secs_f64(self.time)
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|seconds: &f64| Duration::try_from_secs_f64(*seconds).is_ok());
    number.ok_or_else(|| "write seconds, such as 90 or 0.5".into())
}

fn spec(text: &str) -> Result<GuestSpec, String> {
    text.parse().map_err(|error: anyhow::Error| format!("{error:#}"))
}

/// One word is a script; several are a program and its arguments.
fn script(command: &[String]) -> String {
    match command {
        [script] => script.clone(),
        words => words
            .iter()
            .map(|word| format!("'{}'", word.replace('\'', r"'\''")))
            .collect::<Vec<_>>()
            .join(" "),
    }
}

fn folder(name: &str) -> Result<PathBuf> {
    let fits = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    anyhow::ensure!(fits && name.len() <= 32, "rig name `{name}`: use up to 32 letters, digits and `-`");
    Ok(std::env::temp_dir().join(format!("rig.{name}")))
}
