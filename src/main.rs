//! `ssm-role-controller`: see the library's documentation, and `ssm-role-controller --help`.

use std::process::ExitCode;

use clap::Parser;
use ssm_role_controller::cli::{self, Arguments, Command};
use tikv_jemallocator::Jemalloc;

/// Pages of megabytes come and go beside the little that is kept of them: glibc's allocator spends a third of a pass over a
/// hundred accounts in search of room (benches/README.md).
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return cli::usage(&error),
    };
    let global = &arguments.global;
    ssm_role_controller::telemetry::init(global.log_format);
    let ended = match &arguments.command {
        Command::Validate { output } => cli::validate::validate(global, *output),
        Command::Render(filter) => cli::render::render(global, filter),
        Command::Plan { output, explain_reads, require_ready, filter } => {
            cli::block_on(cli::plan::plan(global, *output, *explain_reads, *require_ready, filter))
        }
        Command::Explain { output, simulate, role, account } => {
            cli::block_on(cli::explain::explain(global, *output, *simulate, role, account.as_ref()))
        }
        Command::Apply { approve, filter } => cli::block_on(cli::apply::apply(global, approve.as_ref(), filter)),
        Command::Run { shard, endpoints, election } => {
            cli::block_on(cli::run::run(global, *shard, endpoints, election))
        }
        Command::Status(asking) => cli::block_on(cli::status::status(asking)),
        Command::Import(filter) => cli::block_on(cli::import::import(global, filter)),
        Command::ControllerPolicy(rights) => cli::controller_policy::controller_policy(global, rights),
        Command::Schema => cli::schema::schema(),
        Command::Completions { shell } => cli::generate::completions(*shell),
        Command::Man { directory } => cli::generate::man(directory),
        Command::Demo { endpoints } => cli::block_on(cli::demo::demo(global, endpoints)),
        Command::Sandbox { listen } => cli::block_on(cli::sandbox::sandbox(listen.socket())),
    };
    cli::exit_code(ended)
}
