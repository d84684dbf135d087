//! What needs no account: the command line, `validate`, `render` and `schema`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    process::{Finished, program},
    world::{KEY, documented, manifest, meets_schema, settings, tool, with_key},
};

const COMMANDS: [&str; 11] = [
    "validate",
    "render",
    "plan",
    "explain",
    "apply",
    "run",
    "import",
    "controller-policy",
    "schema",
    "demo",
    "sandbox",
];

/// A directory of a test's own, with an empty `config` in it.
pub(crate) struct Tree(TempDir);

impl Tree {
    pub(crate) fn of(files: &[(&str, String)]) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        fs::create_dir(tree.0.path().join("config")).unwrap();
        for (name, text) in files {
            fs::write(tree.at(name), text).unwrap();
        }
        tree
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        Finished::of(program().current_dir(self.0.path()).args(arguments))
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_command_takes_the_global_options_before_and_after_its_name() {
    let tree = Tree::of(&[]);
    let options = ["--config", "c", "--controller-config", "f", "--observe", "--log-format", "text"];
    let options = &options[..];
    for command in COMMANDS {
        // Help is given only where all that came before it was understood.
        tree.run(&[options, &[command, "--help"]].concat()).exits(0);
        let finished = tree.run(&[&[command], options, &["--help"]].concat()).exits(0);
        assert!(finished.stdout.contains("--controller-config <FILE>") && finished.stderr.is_empty(), "{finished:?}");
        tree.run(&[command, "--nonsense", "--help"]).exits(1);
    }
}

#[test]
fn the_options_mean_the_same_on_both_sides_of_the_command() {
    let tree = Tree::of(&[("web.yaml", manifest("web", "roles: [web]"))]);
    fs::create_dir(tree.at("other")).unwrap();
    fs::rename(tree.at("web.yaml"), tree.at("other/web.yaml")).unwrap();
    let before = tree.run(&["--config", "other", "validate"]).exits(0);
    let after = tree.run(&["validate", "--config", "other"]).exits(0);
    assert_eq!(before.stdout, after.stdout);
    assert_eq!(before.stdout, "other: no faults in 1 manifest about 1 role\n");
    // Without either it is `config`, which is empty here.
    tree.run(&["validate"]).exits(1);
}

#[test]
fn a_wrong_command_line_exits_1_and_help_and_version_exit_0() {
    let tree = Tree::of(&[]);
    for wrong in [
        &[][..],
        &["nonsense"],
        &["plan", "-o", "yaml"],
        &["plan", "-o", "github"],
        &["validate", "-o", "markdown"],
        &["explain", "web", "-o", "markdown"],
        &["import", "web"],
        &["plan", "--role"],
        &["plan", "--role", "not a role"],
        &["plan", "--account", "123"],
        &["explain"],
        &["explain", "not a role"],
        &["--log-format", "xml", "validate"],
        &["validate", "extra"],
        &["sandbox", "--listen", "nowhere"],
        &["controller-policy", "--path-prefix", "fleet"],
        &["controller-policy", "--tag", "team=*"],
        &["controller-policy", "--permissions-boundary", "ceiling"],
        &["controller-policy", "--own-role", "not a role"],
    ] {
        let finished = tree.run(wrong).exits(1);
        assert!(finished.stdout.is_empty() && !finished.stderr.is_empty(), "{wrong:?}: {finished:?}");
    }
    for asked in [&["--help"][..], &["-h"], &["help"], &["help", "plan"], &["plan", "--help"], &["--version"], &["-V"]]
    {
        let finished = tree.run(asked).exits(0);
        assert!(!finished.stdout.is_empty() && finished.stderr.is_empty(), "{asked:?}: {finished:?}");
    }
    let version = concat!("ssm-role-controller ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(tree.run(&["--version"]).stdout, version);
}

#[test]
fn render_lists_every_roles_document_as_it_would_be_sent() {
    let tree = Tree::of(&[
        ("config/web.yaml", manifest("web", &with_key("roles: [web, bastion], accountId: \"111122223333\""))),
        ("config/any.yaml", manifest("any", "roles: [any], policyName: Own")),
    ]);
    let finished = tree.run(&["render"]).exits(0);
    assert_eq!(finished.stderr, "");
    let rendered = finished.json();
    let heads: Vec<Value> =
        rendered.as_array().unwrap().iter().map(|one| json!([one["account"], one["role"], one["policy"]])).collect();
    let customary = "SessionManagerPermissions";
    assert_eq!(
        heads,
        [
            json!([null, "any", "Own"]),
            json!(["111122223333", "bastion", customary]),
            json!(["111122223333", "web", customary])
        ]
    );
    assert_eq!(rendered[1]["document"]["Statement"].as_array().unwrap().len(), 3);
    let keys: Vec<&String> = rendered[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["account", "document", "policy", "role"]);
    assert_eq!(rendered[1]["document"], documented());
    assert_eq!(rendered[1]["document"]["Statement"][2]["Resource"], json!(KEY));

    assert_eq!(tree.run(&["render", "--role", "WEB"]).exits(0).json().as_array().unwrap().len(), 1);
    let finished = tree.run(&["render", "--role", "nobody"]).exits(1);
    assert!(finished.stdout.is_empty() && finished.stderr.contains("no manifest is about the role nobody"));
}

#[test]
fn render_needs_an_account_only_where_the_document_names_it() {
    let logs = "roles: [web], sessionPreferences: {cloudWatchLogGroupName: /ssm/sessions}";
    let tree = Tree::of(&[("config/logs.yaml", manifest("logs", logs))]);
    let finished = tree.run(&["render"]).exits(1);
    assert_eq!(finished.stdout, "");
    assert!(finished.stderr.contains("depends on the account, and none is named"), "{finished:?}");
    assert!(finished.stderr.contains("config/logs.yaml:4") && finished.stderr.contains("--account"), "{finished:?}");

    let rendered = tree.run(&["render", "--account", "012345678901"]).exits(0).json();
    assert_eq!(rendered[0]["account"], "012345678901");
    let text = rendered[0]["document"].to_string();
    assert!(text.contains("arn:aws:logs:*:012345678901:log-group:/ssm/sessions"), "{text}");
}

#[test]
fn validate_prints_every_fault_at_once_with_its_place_and_a_hint() {
    let tree = Tree::of(&[
        ("config/a.yaml", manifest("a", "roles: [AWSServiceRoleForSSM], accountId: \"123\"")),
        ("config/b.yaml", manifest("b", "roles: [web], sessionPreferences: {kmsKeyId: alias/key}")),
        ("config/c.yml", "kind: [\n".to_owned()),
        ("config/good.yaml", manifest("good", "roles: [other]")),
        ("config/.hidden.yaml", "not: looked at".to_owned()),
    ]);
    let finished = tree.run(&["validate"]).exits(1);
    assert_eq!(finished.stdout, "", "faults are no data");
    let place = |line: &&str| {
        let mut parts = line.splitn(4, ':');
        let file = parts.next().is_some_and(|file| file.starts_with("config/"));
        let mut number = || parts.next().is_some_and(|part| part.parse::<usize>().is_ok());
        file && number() && number()
    };
    let headlines: Vec<&str> = finished.stderr.lines().filter(place).collect();
    assert_eq!(headlines.len(), 4, "{}", finished.stderr);
    for file in ["config/a.yaml:5:", "config/b.yaml:5:", "config/c.yml:2:"] {
        assert!(headlines.iter().any(|line| line.starts_with(file)), "{file} {}", finished.stderr);
    }
    assert_eq!(finished.stderr.matches("\nhint: ").count(), 4, "{}", finished.stderr);
    assert!(finished.stderr.ends_with("\n4 faults\n"), "{}", finished.stderr);
}

#[test]
fn the_schema_is_a_valid_one_that_takes_the_projects_manifests_and_refuses_a_wrong_one() {
    let tree = Tree::of(&[]);
    let schema = tree.at("schema.json");
    fs::write(&schema, tree.run(&["schema"]).exits(0).stdout).unwrap();
    let of_documents =
        ["plan", "explain", "validate"].map(|command| repository().join(format!("docs/{command}.schema.json")));
    let check = Finished::of(
        std::process::Command::new(tool("check-jsonschema")).arg("--check-metaschema").arg(&schema).args(of_documents),
    );
    check.exits(0);

    // Editors take a file's documents one by one; so the files are split here.
    let mut documents = Vec::new();
    let mut add = |text: &str| {
        for document in text.split("\n---\n") {
            let file = tree.at(&format!("document-{}.yaml", documents.len()));
            fs::write(&file, document).unwrap();
            documents.push(file);
        }
    };
    for entry in fs::read_dir(repository().join("config")).unwrap() {
        add(&fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    add(&settings("suspend: true, resyncInterval: 5m, defaultMode: observe"));
    add(&manifest(
        "full",
        &with_key(
            "roles: [web], accountId: \"012345678901\", mode: observe, suspend: true, policyName: P, nodeRegistration: granted, platform: hybrid, kmsKeyArns: [], logDelivery: {s3KmsKeyArns: [], s3BucketOwner: \"444455556666\"}",
        ),
    ));
    let documents: Vec<&Path> = documents.iter().map(PathBuf::as_path).collect();
    assert!(documents.len() >= 6);
    meets_schema(&schema, &documents).unwrap();

    let wrong = [
        manifest("wrong", "rolls: [web]"),
        manifest("wrong", "roles: web"),
        manifest("wrong", "roles: [web], mode: maybe"),
        manifest("wrong", "roles: [web]").replace("v1alpha1", "v9"),
        settings("suspend: maybe"),
    ];
    let files: Vec<PathBuf> = (0..wrong.len()).map(|index| tree.at(&format!("wrong-{index}.yaml"))).collect();
    files.iter().zip(&wrong).for_each(|(file, text)| fs::write(file, text).unwrap());
    let refused = meets_schema(&schema, &files.iter().map(PathBuf::as_path).collect::<Vec<_>>()).unwrap_err();
    for (file, text) in files.iter().zip(&wrong) {
        assert!(refused.contains(file.to_str().unwrap()), "it takes:\n{text}\nand refuses:\n{refused}");
    }
}
