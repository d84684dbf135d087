//! `validate`: every fault of every manifest, offline.

mod github;

use std::env;

use clap::ValueEnum;
use serde::Serialize;

use self::github::{Checkout, annotation, annotations};
use super::{Ended, FAILED, Global, OK, complain, count_of, print, tell_faults};
use crate::{
    manifest::{Fault, ManifestSet},
    text::{printable, printable_json},
    watch::{self, Loaded},
};

/// How faults are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people, on standard error.
    Text,
    /// As annotations of a GitHub Actions workflow.
    Github,
    /// The stable document.
    Json,
}

/// Prints every fault; exit status 1 where there is one.
///
/// # Errors
///
/// Where there is no manifest at all, or standard output cannot be written.
pub fn validate(global: &Global, output: Output) -> Ended {
    let loaded = watch::load(&global.config, global.controller_config.as_deref()).inspect_err(|error| {
        if output == Output::Github {
            // A pull request that removes the directory is told so where it is looked at. Where this cannot be printed the
            // error that follows cannot either.
            let _ = print(&annotation(&error.to_string(), error.hint()));
        }
    })?;
    let Loaded { set, faults } = &loaded;
    let sound = || format!("{}: no faults in {}", printable(&global.config.to_string_lossy()), counted(set));
    match output {
        Output::Text if faults.is_empty() => print(&sound())?,
        Output::Text => tell_faults(faults),
        Output::Github if faults.is_empty() => print(&sound())?,
        Output::Github => {
            print(&annotations(faults, &Checkout::of_environment()))?;
            complain(&count_of(faults));
        }
        Output::Json => print(&printable_json(&serde_json::to_string_pretty(&Report::of(&loaded))?))?,
    }
    Ok(if faults.is_empty() { OK } else { FAILED })
}

/// What the manifests are about, in words.
fn counted(set: &ManifestSet) -> String {
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let selectors = selectors(set);
    let mut roles = count(set.role_count(), "role");
    if selectors > 0 {
        roles.push_str(&format!(
            " and what {} {}",
            count(selectors, "selector"),
            if selectors == 1 { "picks" } else { "pick" }
        ));
    }
    format!("{} about {roles}", count(set.permissions().len(), "manifest"))
}

fn selectors(set: &ManifestSet) -> usize {
    set.permissions().iter().filter(|manifest| manifest.selector.is_some()).count()
}

/// The stable document of `validate -o json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    valid: bool,
    manifests: usize,
    roles: usize,
    selectors: usize,
    fault_count: usize,
    faults: Vec<FaultReport<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FaultReport<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    path: Option<&'a str>,
    message: &'a str,
    hint: Option<&'a str>,
    stands_for: usize,
}

impl<'a> Report<'a> {
    fn of(Loaded { set, faults }: &'a Loaded) -> Self {
        let told = |fault: &'a Fault| FaultReport {
            file: &fault.place.file,
            line: fault.place.line,
            column: fault.place.column,
            path: Some(fault.path.as_str()).filter(|path| !path.is_empty()),
            message: &fault.message,
            hint: fault.hint.as_deref(),
            stands_for: fault.stands_for,
        };
        Self {
            valid: faults.is_empty(),
            manifests: set.permissions().len(),
            roles: set.role_count(),
            selectors: selectors(set),
            fault_count: faults.iter().map(|fault| fault.stands_for).sum(),
            faults: faults.iter().map(told).collect(),
        }
    }
}

impl Checkout {
    /// Where this process stands, and where GitHub says that the checkout is.
    fn of_environment() -> Self {
        let current = env::current_dir().unwrap_or_default();
        let root = env::var_os("GITHUB_WORKSPACE").filter(|root| !root.is_empty());
        Self { root: root.map_or_else(|| current.clone(), Into::into), current }
    }
}
