//! The status page, in a real Chromium by clicks and keys: tests/page/check.py does it, against a server with canned
//! statuses of the form that docs/status.schema.json lays down.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::support::world::{meets_schema, tool};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What the script printed, where it found everything as it should be.
fn python(script: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(tool("python3"));
    command.arg("-B").arg(repository().join("tests/page").join(script)).args(arguments);
    let output = command.output().unwrap();
    let [out, err] = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said).into_owned());
    assert!(output.status.success(), "{out}\n{err}");
    out
}

#[test]
fn the_status_page_holds_in_chromium_by_clicks_and_keys() {
    let said = python("check.py", &["canned"]);
    eprintln!("{said}");
    assert!(said.lines().filter(|line| line.starts_with("ok ")).count() >= 16, "{said}");
}

/// Every canned status, in a file of its own.
fn canned(directory: &Path) -> Vec<PathBuf> {
    python("canned.py", &[directory.to_str().unwrap()]);
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn schema() -> PathBuf {
    repository().join("docs/status.schema.json")
}

#[test]
fn what_the_page_is_tried_with_is_what_the_schema_of_the_status_says() {
    let directory = tempfile::tempdir().unwrap();
    let documents = canned(directory.path());
    assert!(documents.len() >= 7, "{documents:?}");
    meets_schema(&schema(), &documents.iter().map(PathBuf::as_path).collect::<Vec<_>>()).unwrap();
}

#[test]
fn the_schema_of_the_status_is_a_schema_and_refuses_what_is_none() {
    let output = Command::new(tool("check-jsonschema")).arg("--check-metaschema").arg(schema()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));

    let directory = tempfile::tempdir().unwrap();
    canned(directory.path());
    let good: Value = serde_json::from_slice(&fs::read(directory.path().join("switched_off.json")).unwrap()).unwrap();
    let role = "/accounts/0/roles/0";
    let wrong: [(&str, Value); 9] = [
        ("/version", 2.into()),
        ("/takenAt", "now".into()),
        ("/accounts/0/account", "1234".into()),
        ("/accounts/0/state", "Silent".into()), // without saying why
        ("/manifests/inForce", (-1).into()),
        (&format!("{role}/drift"), "gone".into()),
        (&format!("{role}/drift"), Value::Null), // beside a difference
        (&format!("{role}/conditions/0/type"), "SessionReady".into()),
        (&format!("{role}/diff/0"), serde_json::json!({"change": "lost", "text": "x", "more": 1})),
    ];
    let files: Vec<PathBuf> = wrong
        .iter()
        .enumerate()
        .map(|(number, (place, value))| {
            let mut document = good.clone();
            *document.pointer_mut(place).unwrap() = value.clone();
            let file = directory.path().join(format!("wrong-{number}.json"));
            fs::write(&file, document.to_string()).unwrap();
            file
        })
        .collect();
    let refused = meets_schema(&schema(), &files.iter().map(PathBuf::as_path).collect::<Vec<_>>()).unwrap_err();
    for (file, (place, value)) in files.iter().zip(&wrong) {
        assert!(refused.contains(file.to_str().unwrap()), "it takes {value} at {place}:\n{refused}");
    }
}
