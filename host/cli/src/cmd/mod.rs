//! The command line: one file for each group of commands.

mod audit;
mod completions;
mod doctor;
mod exec;
mod faculty;
mod focus;
mod ledger;
mod memory;
mod model;
mod plugin;
mod run;
mod secret;
mod serve;
mod skill;
mod status;
mod tool;
mod work;

use std::{
    io::{self, IsTerminal as _, Read as _},
    path::PathBuf,
    process::ExitCode,
};

use anstyle::Style;
use clap::{Args, Parser, Subcommand, error::ErrorKind};

use crate::{
    config,
    context::Context,
    fault::{During as _, Exit, Fault, Result},
    home::Home,
    out::{self, Out},
    telemetry::{Telemetry, Wants},
};

pub(crate) use faculty::{Described, described};
pub(crate) use plugin::Dropped;

/// Who did it, in the audit log, when a person typed the command.
const OPERATOR: &str = "operator";

/// Run agents made of WebAssembly components, behind one capability boundary
#[derive(Parser)]
#[command(name = "animus", version, arg_required_else_help = true, max_term_width = 120)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Global {
    /// Write results as JSON on standard output; docs/cli.md describes their shapes
    #[arg(long, global = true)]
    json: bool,
    /// The home folder of this host [default: ~/.animus]
    #[arg(long, global = true, env = "ANIMUS_HOME", value_name = "FOLDER")]
    home: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Have a faculty do a piece of work
    Run(run::Run),
    /// Have an interpreter run a program that reaches the world through tools
    Exec(exec::Exec),
    /// Take work from the queue, and offer it over HTTP
    Serve(serve::Serve),
    /// Submit work to the queue, look at it, cancel it, try it again
    Work(work::Work),
    /// The faculties, and where work goes
    Faculty(faculty::Faculty),
    /// Make, build, install and grant plugins
    Plugin(plugin::Plugin),
    /// List and call the tools of installed plugins
    Tool(tool::Tool),
    /// Look at single runs of work, and run them again against their journals
    Focus(focus::Focus),
    /// What a piece of work planned, found, decided and did
    Ledger(ledger::Ledger),
    /// What outlives a piece of work
    Memory(memory::Memory),
    /// Make, test, install and approve skills
    Skill(skill::Skill),
    /// The models behind the roles
    Model(model::Model),
    /// Values that the host uses and nobody reads back
    Secret(secret::Secret),
    /// Who changed what, in a chain that shows tampering
    Audit(audit::Audit),
    /// Show what is installed and what was done lately
    Status(status::Status),
    /// Check everything, and say how to mend what is broken; exit code 1 when something is
    Doctor(doctor::Doctor),
    /// Write the completions of a shell to standard output
    Completions(completions::Completions),
}

impl Command {
    async fn run(self, cx: &Context) -> Result<Exit> {
        match self {
            Self::Run(run) => run.run(cx).await,
            Self::Exec(exec) => exec.run(cx).await,
            Self::Serve(serve) => serve.run(cx).await,
            Self::Work(work) => work.run(cx).await,
            Self::Faculty(faculty) => faculty.run(cx).await,
            Self::Plugin(plugin) => plugin.run(cx).await,
            Self::Tool(tool) => tool.run(cx).await,
            Self::Focus(focus) => focus.run(cx).await,
            Self::Ledger(ledger) => ledger.run(cx).await,
            Self::Memory(memory) => memory.run(cx).await,
            Self::Skill(skill) => skill.run(cx).await,
            Self::Model(model) => model.run(cx).await,
            Self::Secret(secret) => secret.run(cx).await,
            Self::Audit(audit) => audit.run(cx).await,
            Self::Status(status) => status.run(cx).await,
            Self::Doctor(doctor) => doctor.run(cx).await,
            Self::Completions(completions) => completions.run(cx),
        }
    }
}

/// The whole program.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misread(&error).into(),
    };
    let out = Out::new(cli.global.json);
    let exit = execute(cli, &out).unwrap_or_else(|fault| fault.report(&out));
    match out.finish() {
        Ok(()) => exit.into(),
        Err(error) => Fault::failed(format!("could not write the result: {error}")).report(&out).into(),
    }
}

fn execute(cli: Cli, out: &Out) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .during(|| "start the asynchronous runtime".into())?;
    let home = Home::open(cli.global.home)?;
    // A file that cannot be read is told by every command that needs it.
    let settings = config::telemetry(home.path()).unwrap_or_default();
    let serves = matches!(cli.command, Command::Serve(_));
    let wants = Wants { settings, prometheus: serves, continues: !serves };
    let telemetry = Telemetry::start(wants, runtime.handle(), out)?;
    let cx = Context::new(out.clone(), home, telemetry.scrape());
    let exit = runtime.block_on(cli.command.run(&cx));
    telemetry.finish();
    // A thread that still reads standard input must not keep the process.
    runtime.shutdown_background();
    exit
}

/// The command line does not parse, or asks for help.
fn misread(error: &clap::Error) -> Exit {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if !asked && std::env::args_os().any(|arg| arg == "--json") {
        let text = error.to_string();
        return Fault::usage(text.trim_start_matches("error: ").trim_end()).report(&Out::new(true));
    }
    // Nobody is left to be told when the stream is closed.
    let _ = error.print();
    if asked { Exit::Done } else { Exit::Usage }
}

/// The longest text that is read from standard input, in bytes.
const LONGEST_INPUT: u64 = 4 << 20;

/// Words of the command line as one text; `-` alone is standard input.
fn words(words: &[String]) -> Result<String> {
    if words != ["-"] {
        return Ok(words.join(" "));
    }
    if io::stdin().is_terminal() {
        Out::new(false).note("reading standard input; end it with Ctrl-D");
    }
    let mut text = String::new();
    let read = io::stdin().take(LONGEST_INPUT + 1).read_to_string(&mut text);
    if read.during(|| "read standard input".into())? as u64 > LONGEST_INPUT {
        return Err(Fault::usage(format!("standard input is longer than {LONGEST_INPUT} bytes")));
    }
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn state_style(state: animus_core::work::State) -> Style {
    use animus_core::work::State;
    match state {
        State::Completed => out::GOOD,
        State::Failed | State::Dead => out::BAD,
        State::Cancelled | State::Merged => out::WARN,
        State::Queued | State::Running => out::BOLD,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_command_and_argument_says_what_it_is() {
        fn check(command: &clap::Command) {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name} has no description");
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{} of {name} has no description", arg.get_id());
            }
            command.get_subcommands().for_each(check);
        }
        let command = Cli::command();
        command.clone().debug_assert();
        check(&command);
    }
}
