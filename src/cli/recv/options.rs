//! How transfers are received, and where to, by what the command line says.

use std::os::fd::AsFd;
use std::sync::Arc;

use anyhow::anyhow;

use crate::cli::args::recv::{Compression, RecvArgs, Verify};
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::os::said::Said;
use crate::server::state::ReceiveOptions;
use crate::session::Diligence;
use crate::session::rate_limit::Pace;
use crate::store::{Existing, Folder, FolderOptions, Output, Target};

/// How transfers are received. Asked for again when settings were read again.
pub fn receive_options(args: &RecvArgs) -> Result<ReceiveOptions, Failure> {
    Ok(ReceiveOptions {
        to: Arc::new(target(args)?),
        patience: args.patience.timeout(),
        diligence: Diligence { sync: args.sync, reread: args.verify == Verify::Reread },
        delta: args.delta,
        compress: args.compress == Compression::Auto,
        max_file: args.max_file,
        min_free: args.min_free,
        pace: args.limit.map(|rate| Arc::new(Pace::new(rate))),
        cache: None,
    })
}

fn target(args: &RecvArgs) -> Result<Target, Failure> {
    if !args.to_stdout() {
        let existing = match (args.overwrite || args.delta, args.rename) {
            (_, true) => Existing::Rename,
            (true, _) => Existing::Overwrite,
            _ => Existing::Refuse,
        };
        let options = FolderOptions {
            existing,
            direct: args.direct,
            mounted: args.mounted,
            access_lists: args.archive,
        };
        let folder = Folder::new(&args.dir, options);
        folder.prepare().map_err(|error| Failure::new(Exit::Storage, error))?;
        return Ok(Target::Folder(folder));
    }
    let stdout = std::io::stdout().as_fd().try_clone_to_owned();
    let stdout = stdout.map_err(|error| {
        Failure::new(
            Exit::Storage,
            anyhow!("cannot write to standard output: {}; see where it goes", Said(&error)),
        )
    })?;
    Ok(Target::Output(Arc::new(Output::new(stdout))))
}
