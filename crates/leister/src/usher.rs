//! Signals: the first asks for an orderly end, the second ends at once.

use std::process;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::cli::{Code, Failure};

/// Tells everyone when to stop.
#[derive(Clone, Debug)]
pub(crate) struct Usher {
    stop: watch::Sender<bool>,
}

/// What a shell shows for a process that an interrupt ended.
const INTERRUPTED: i32 = 130;

impl Usher {
    /// Listens for SIGTERM, SIGINT and SIGHUP from now on.
    pub(crate) fn listen() -> Result<Usher, Failure> {
        let hear = |kind| {
            signal(kind).map_err(|e| Failure::new(Code::Failed, format!("cannot listen for signals: {e}")))
        };
        let mut signals =
            [hear(SignalKind::terminate())?, hear(SignalKind::interrupt())?, hear(SignalKind::hangup())?];
        let usher = Usher { stop: watch::Sender::new(false) };
        let told = usher.clone();
        tokio::spawn(async move {
            any(&mut signals).await;
            tracing::info!("stopping; what is mounted stays mounted");
            told.stop();
            any(&mut signals).await;
            tracing::info!("stopping at once");
            process::exit(INTERRUPTED);
        });
        Ok(usher)
    }

    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Ends when it is time.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stop = self.stop.subscribe();
        async move {
            // The sender lives as long as anyone who waits here.
            let _ = stop.wait_for(|stop| *stop).await;
        }
    }
}

async fn any(signals: &mut [Signal; 3]) {
    let [terminate, interrupt, hangup] = signals;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hangup.recv() => {}
    }
}
