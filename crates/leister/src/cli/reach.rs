use std::time::Duration;

use api::{Client, Wait};
use clap::Args;

use super::Result;

/// Which server, and how long to stay with it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Reach {
    /// The server: unix:///path or http://host:port
    #[arg(
        long,
        env = "LEISTER_SERVER",
        value_name = "ADDRESS",
        default_value = "unix:///run/leister/leister.sock",
        hide_env_values = true
    )]
    pub(crate) server: String,
    /// How long to wait for an answer or for the work, such as 30s or 10m
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    pub(crate) timeout: Duration,
}

/// How to follow what was started.
#[derive(Clone, Debug, Args)]
pub(crate) struct Follow {
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// Wait until the work is done (the default)
    #[arg(long, overrides_with = "no_wait")]
    wait: bool,
    /// Return when the work has been started
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// How long a call stays before the operation is followed by asking: short work never shows a spinner.
const FIRST: Duration = Duration::from_millis(400);

impl Reach {
    pub(crate) fn client(&self) -> Result<Client> {
        Ok(Client::new(&self.server)?.with_timeout(self.timeout))
    }
}

impl Follow {
    pub(crate) fn client(&self) -> Result<Client> {
        self.reach.client()
    }

    /// The wait of the first call.
    pub(crate) fn first(&self) -> Wait {
        Wait::AtMost(if self.no_wait { Duration::ZERO } else { FIRST.min(self.reach.timeout) })
    }
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration =
        text.parse().map_err(|_| "write a number and a unit, as in 500ms, 30s, 10m or 1h".to_owned())?;
    match Duration::try_from(parsed) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("must be longer than nothing".to_owned()),
    }
}
