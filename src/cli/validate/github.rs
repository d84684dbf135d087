//! Faults as workflow commands of GitHub Actions, which it shows beside the lines of a pull request.
//!
//! Pure. What must stay true: nothing that comes from a manifest or from a file's name ends a property, a command or a line;
//! and what is printed stays short however many faults there are.
//!
//! Sources: GitHub Docs, "Workflow commands for GitHub Actions" (`error`); actions/toolkit, `packages/core/src/command.ts`
//! (what is escaped in data and in properties).

use std::path::{Component, Path, PathBuf};

use crate::{manifest::Fault, text::printable};

/// So many faults are annotated: GitHub shows ten of a step, and the rest in its log.
const MOST_ANNOTATIONS: usize = 100;

/// Where the files are that a workflow has checked out.
pub(super) struct Checkout {
    /// The directory in which the program runs.
    pub(super) current: PathBuf,
    /// The checkout's own directory, which GitHub names files by.
    pub(super) root: PathBuf,
}

/// One command a fault, in their order; one for all beyond [`MOST_ANNOTATIONS`].
pub(super) fn annotations(faults: &[Fault], checkout: &Checkout) -> String {
    let mut lines = String::new();
    for fault in faults.iter().take(MOST_ANNOTATIONS) {
        let title = if fault.path.is_empty() { "faulty manifest" } else { &fault.path };
        let hint = fault.hint.as_ref().map(|hint| format!("\nhint: {}", printable(hint))).unwrap_or_default();
        lines.push_str(&format!(
            "::error file={},line={},col={},title={}::{}\n",
            property(&printable(&checkout.named(&fault.place.file))),
            fault.place.line,
            fault.place.column,
            property(&printable(title)),
            data(&format!("{}{hint}", printable(&fault.message)))
        ));
    }
    let untold: usize = faults.iter().skip(MOST_ANNOTATIONS).map(|fault| fault.stands_for).sum();
    if untold > 0 {
        lines.push_str(&annotation(&format!("and {untold} more faults"), "`validate` prints them all"));
    }
    lines
}

/// A command that is about no file.
pub(super) fn annotation(message: &str, hint: &str) -> String {
    format!("::error title=faulty manifests::{}\n", data(&format!("{}\nhint: {}", printable(message), printable(hint))))
}

/// Text after the last `::` of a command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The value of a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

impl Checkout {
    /// A file as the checkout names it, with slashes, from its root on; as it was given where it lies elsewhere.
    fn named(&self, file: &str) -> String {
        let whole = without_dots(&self.current.join(file));
        let within = whole.strip_prefix(without_dots(&self.root)).ok().filter(|path| !path.as_os_str().is_empty());
        within.map_or_else(|| file.to_owned(), |path| path.to_string_lossy().into_owned())
    }
}

/// The path without `.` and `..`, by its words alone: no link is followed.
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => _ = plain.pop(),
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn checkout() -> Checkout {
        Checkout { current: "/home/ci/repo/infra".into(), root: "/home/ci/repo/".into() }
    }

    /// A command as GitHub's runner reads it back: its properties and its data.
    fn read(line: &str) -> (Vec<(String, String)>, String) {
        let rest = line.strip_prefix("::").unwrap();
        let (head, text) = rest.split_once("::").unwrap();
        let (name, properties) = head.split_once(' ').unwrap();
        assert_eq!(name, "error");
        let unescaped = |text: &str| text.replace("%0D", "\r").replace("%0A", "\n");
        let pair = |pair: &str| {
            let (key, value) = pair.split_once('=').unwrap();
            let value = unescaped(&value.replace("%3A", ":").replace("%2C", ",")).replace("%25", "%");
            (key.to_owned(), value)
        };
        (properties.split(',').map(pair).collect(), unescaped(text).replace("%25", "%"))
    }

    fn fault(file: &str, path: &str, message: &str, hint: Option<&str>) -> Fault {
        Fault { path: path.to_owned(), hint: hint.map(str::to_owned), ..Fault::of_file(file, message, "") }
    }

    #[test]
    fn a_fault_is_one_command_that_names_the_line() {
        let faults = [fault("config/a.yaml", "spec.roles[2]", "100% wrong: a, b", Some("write c"))];
        insta::assert_snapshot!(annotations(&faults, &checkout()), @"::error file=infra/config/a.yaml,line=1,col=1,title=spec.roles[2]::100%25 wrong: a, b%0Ahint: write c");
    }

    #[test]
    fn files_are_named_as_the_checkout_names_them() {
        for (file, named) in [
            ("config/a.yaml", "infra/config/a.yaml"),
            ("./config/a.yaml", "infra/config/a.yaml"),
            ("../config/a.yaml", "config/a.yaml"),
            ("/home/ci/repo/x/./y/../a.yaml", "x/a.yaml"),
            ("/home/ci/repository/a.yaml", "/home/ci/repository/a.yaml"),
            ("../../elsewhere/a.yaml", "../../elsewhere/a.yaml"),
            ("/home/ci/repo", "/home/ci/repo"),
        ] {
            assert_eq!(checkout().named(file), named);
        }
    }

    #[test]
    fn five_thousand_faults_are_a_hundred_annotations_and_one_for_the_rest() {
        let mut faults: Vec<Fault> = (0..4_999).map(|at| fault(&format!("{at}.yaml"), "", "wrong", None)).collect();
        faults.push(Fault { stands_for: 10, ..fault("z.yaml", "", "and 10 more faults of this file", None) });
        let written = annotations(&faults, &checkout());
        assert_eq!(written.lines().count(), MOST_ANNOTATIONS + 1);
        assert!(
            written
                .ends_with("::error title=faulty manifests::and 4909 more faults%0Ahint: `validate` prints them all\n")
        );
    }

    proptest! {
        #[test]
        fn nothing_that_a_manifest_holds_ends_a_property_a_command_or_a_line(
            file in "([a-z/.]|::|,|%|=|\r|\n|%0A|##\\[error\\]|\u{1b}|\u{2028}){1,12}",
            path in ".{0,12}",
            message in "([a-z]|::|,|%|\r|\n|%0A|::error|\u{85}){0,12}",
            hint in prop::option::of("([a-z]|::|%|\n){0,12}"),
        ) {
            let written = annotations(&[fault(&file, &path, &message, hint.as_deref())], &checkout());
            prop_assert_eq!(written.lines().count(), 1);
            prop_assert!(written.trim_end_matches('\n').chars().all(|character| !character.is_control()));
            let (properties, text) = read(written.trim_end_matches('\n'));
            let keys: Vec<&str> = properties.iter().map(|(key, _)| key.as_str()).collect();
            prop_assert_eq!(keys, ["file", "line", "col", "title"]);
            let title = if path.is_empty() { "faulty manifest".to_owned() } else { printable(&path).into_owned() };
            prop_assert_eq!(&properties[3].1, &title);
            let hint = hint.map(|hint| format!("\nhint: {}", printable(&hint))).unwrap_or_default();
            prop_assert_eq!(text, format!("{}{}", printable(&message), hint));
        }
    }
}
