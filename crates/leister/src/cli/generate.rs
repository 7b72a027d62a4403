//! What is made from the description of the verbs: completion, man pages, the Markdown reference.

use std::io;
use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Code, Failure, Result};
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Made if it is not there
    directory: PathBuf,
}

pub(crate) fn completion(args: &CompletionArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "leister", &mut script);
    Ok(output::raw(&script)?)
}

pub(crate) fn man(args: &ManArgs) -> Result<()> {
    let directory = &args.directory;
    let write = || -> io::Result<()> {
        std::fs::create_dir_all(directory)?;
        clap_mangen::generate_to(Cli::command(), directory)
    };
    write().map_err(|e| {
        Failure::new(Code::Failed, format!("cannot write man pages into {}: {e}", directory.display()))
    })
}

pub(crate) fn reference() -> Result<()> {
    let options = clap_markdown::MarkdownOptions::new()
        .title("The commands of leister".to_owned())
        .show_footer(false)
        .show_table_of_contents(true);
    let text = clap_markdown::help_markdown_command_custom(&Cli::command(), &options);
    Ok(output::raw(text.trim_end().as_bytes()).and_then(|()| output::raw(b"\n"))?)
}
