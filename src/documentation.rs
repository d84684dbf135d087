//! The parts of `docs/` that are made from the program, so that they cannot say anything else.
//!
//! For tests alone. What must stay true: a page that says something else fails its test, until
//! `UPDATE_DOCS=1 cargo test --lib the_documentation` writes it anew.

use std::{env, fs, path::Path};

/// Holds the page to this text between `<!-- NAME: begin -->` and `<!-- NAME: end -->`.
#[track_caller]
pub(crate) fn hold(page: &str, name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
    let before = fs::read_to_string(&path).unwrap();
    let (start, end) = (format!("<!-- {name}: begin -->\n"), format!("<!-- {name}: end -->"));
    let (head, rest) = before.split_once(&start).unwrap();
    let (_, tail) = rest.split_once(&end).unwrap();
    let expected = format!("{head}{start}{text}{end}{tail}");
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    assert!(before == expected, "docs/{page}: run UPDATE_DOCS=1 cargo test --lib the_documentation");
}
