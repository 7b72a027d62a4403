//! The program: `leister run` serves, `leister sim` plays an array, all other verbs ask a server.

mod cli;
mod config;
mod crds;
mod families;
mod filer;
mod instance;
mod output;
mod provisioner;
mod run;
mod sim;
mod usher;
mod vault;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use cli::{Cli, Daemon, Failure, Verb};

fn main() -> ExitCode {
    let Some(verb) = Cli::parse().verb else {
        let help = Cli::command().render_long_help();
        return end(output::line(help.to_string().trim_end()).map_err(Failure::from));
    };
    let mut builder = match verb {
        Verb::Daemon(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            let failure = Failure::new(cli::Code::Failed, format!("cannot start: {e}"));
            return end(Err(failure));
        }
    };
    let ended = runtime.block_on(async {
        match verb {
            Verb::Daemon(daemon) => serve(daemon).await,
            verb => cli::execute(verb).await,
        }
    });
    end(ended)
}

async fn serve(daemon: Daemon) -> Result<(), Failure> {
    match daemon {
        Daemon::Run(args) => run::serve(args.parts()).await,
        Daemon::Csi(args) => run::serve(args.parts()?).await,
        Daemon::Controller(args) => run::serve(args.parts()?).await,
        Daemon::Node(args) => run::serve(args.parts()?).await,
        Daemon::Provisioner(args) => provisioner::run(*args).await,
        Daemon::Filer(args) => filer::execute(args).await,
        Daemon::Sim(args) => sim::run(args).await,
    }
}

fn end(result: Result<(), Failure>) -> ExitCode {
    let Err(failure) = result else { return ExitCode::SUCCESS };
    if !failure.is_quiet() {
        // When standard error is gone too, the exit code has to do.
        let _ = output::note(&format!("error: {}", failure.message));
        if let Some(hint) = &failure.hint {
            let _ = output::note(&format!("hint: {hint}"));
        }
    }
    ExitCode::from(failure.code as u8)
}
