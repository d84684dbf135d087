//! `completions` and `man`: what packages ship beside the program, made from its own command line.

use std::{fs, path::Path};

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use super::{Arguments, Ended, OK, print};

/// Prints the completions of a shell.
///
/// # Errors
///
/// Where standard output cannot be written.
pub fn completions(shell: Shell) -> Ended {
    let mut command = Arguments::command();
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut text);
    print(&String::from_utf8(text)?)?;
    Ok(OK)
}

/// Writes a manual page for the program and one for each command into a directory, which is made where it is not there.
///
/// # Errors
///
/// Where the directory cannot be written.
pub fn man(directory: &Path) -> Ended {
    let cannot = || format!("the manual pages cannot be written to {}", directory.display());
    fs::create_dir_all(directory).with_context(cannot)?;
    clap_mangen::generate_to(Arguments::command(), directory).with_context(cannot)?;
    Ok(OK)
}
