//! Verbs about the server itself: doctor, version.

use clap::Args;

use super::reach::Reach;
use super::{Code, Failure, Result};
use crate::output::{self, Format};

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Only that of this program
    #[arg(long)]
    client: bool,
    #[command(flatten)]
    reach: Reach,
}

pub(crate) async fn doctor(args: DoctorArgs) -> Result<()> {
    let findings = args.reach.client()?.doctor().await?;
    if findings.is_empty() && matches!(args.output, Format::Table | Format::Wide) {
        return Ok(output::line("nothing is wrong")?);
    }
    output::items(&findings, args.output, false)?;
    match findings.len() {
        0 => Ok(()),
        1 => Err(Failure::new(Code::Failed, "1 finding")),
        count => Err(Failure::new(Code::Failed, format!("{count} findings"))),
    }
}

pub(crate) async fn version(args: VersionArgs) -> Result<()> {
    output::line(&format!("client   {}", env!("CARGO_PKG_VERSION")))?;
    if args.client {
        return Ok(());
    }
    let server = args.reach.client()?.version().await?;
    output::line(&format!("server   {}", server.version))?;
    output::line(&format!("instance {}", server.instance))?;
    output::line(&format!("node     {}", server.node))?;
    if let Some(leader) = server.leader.filter(|leader| *leader != server.node) {
        output::line(&format!("leader   {leader}"))?;
    }
    match server.trouble {
        Some(trouble) => Ok(output::line(&format!("trouble  {trouble}"))?),
        None => Ok(()),
    }
}
