//! Following what was started, and asking before data is lost.

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

use api::{Client, ClientError, ErrorKind, OperationState, OperationView, Started};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use super::reach::Follow;
use super::{Code, Failure, Result};
use crate::output;

/// How a verb ended.
pub(crate) enum Ended<T> {
    /// At once, with its result.
    Done(T),
    /// After a while: the result must be asked for.
    Later,
    /// Nobody waits for it.
    Going(Box<OperationView>),
}

const FIRST_LOOK: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const FRAME: Duration = Duration::from_millis(100);

/// Stays with the work until it ends or the time is up.
pub(crate) async fn follow<T>(
    client: &Client,
    started: Started<T>,
    follow: &Follow,
    what: &str,
) -> Result<Ended<T>> {
    let operation = match started {
        Started::Done(result) => return Ok(Ended::Done(result)),
        Started::Running(operation) if follow.no_wait => return Ok(Ended::Going(operation)),
        Started::Running(operation) => *operation,
    };
    let bar = spinner(what);
    let until = Instant::now() + follow.reach.timeout;
    let ended = watch(client, operation, until, &bar, what).await;
    bar.finish_and_clear();
    match ended?.error {
        None => Ok(Ended::Later),
        Some(error) => Err(error.into()),
    }
}

/// Prints what a verb did: `volume/db created`, or that it goes on.
pub(crate) fn report(what: &str, done: &str, going: Option<&OperationView>) -> Result<()> {
    match going {
        None => output::line(&format!("{what} {done}"))?,
        Some(operation) => {
            output::line(&format!("{what} {} started as {}", operation.verb, operation.id))?;
        }
    }
    Ok(())
}

/// Asks on a terminal; where nobody can answer, the command itself is the answer.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<()> {
    if yes || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(());
    }
    let mut error = io::stderr().lock();
    write!(error, "{question} [y/N] ")?;
    error.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new(Code::Failed, "nothing was done").hint("answer y, or give --yes")),
    }
}

async fn watch(
    client: &Client,
    mut operation: OperationView,
    until: Instant,
    bar: &ProgressBar,
    what: &str,
) -> Result<OperationView> {
    let mut pause = FIRST_LOOK;
    while operation.state == OperationState::Running {
        bar.set_message(operation.stage.clone().unwrap_or_default());
        if Instant::now() + pause > until {
            return Err(Failure::new(Code::Timeout, format!("{what}: still going on as {}", operation.id))
                .hint(format!("it goes on; look with `leister get operation {}`", operation.id)));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        operation = match client.operation(&operation.id).await {
            Ok(seen) => seen,
            // The server was started again, or forgot what ended long ago: the result itself tells.
            Err(ClientError::Refused { body, .. }) if body.kind == ErrorKind::NotFound => {
                return Ok(OperationView { state: OperationState::Done, ..operation });
            }
            Err(e) => return Err(e.into()),
        };
    }
    Ok(operation)
}

/// On a terminal's stderr only.
fn spinner(what: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(what.to_owned());
    bar.enable_steady_tick(FRAME);
    bar
}
