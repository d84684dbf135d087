//! The documents: what they link to is there, and the commands of the first steps do what they say, by a real shell and the
//! real process against moto.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::world::{World, documented, tool, without_key};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All pages of the repository, but for what is below `target`.
fn pages(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !path.is_symlink() && name != "target" && !name.starts_with(".git") {
            pages(&path, found);
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

/// The anchor that a heading of Markdown gets on GitHub.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    kept.chars()
        .filter(|one| one.is_alphanumeric() || matches!(one, ' ' | '-' | '_'))
        .collect::<String>()
        .replace(' ', "-")
}

#[test]
fn whatever_a_document_links_to_is_in_the_repository() {
    let mut found = Vec::new();
    pages(repository(), &mut found);
    assert!(found.len() > 15, "{found:?}");
    let mut broken = Vec::new();
    for page in found {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            // What stands between backticks may look like one: a pattern.
            if link.contains("://") || link.is_empty() || link.contains([' ', '\n', '[', '*']) {
                continue;
            }
            let (file, place) = link.split_once('#').map_or((link, None), |(file, place)| (file, Some(place)));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let is_there = target.exists()
                && place.is_none_or(|place| {
                    target.extension().is_none_or(|kind| kind != "md")
                        || fs::read_to_string(&target)
                            .unwrap()
                            .lines()
                            .any(|line| line.starts_with('#') && anchor(line) == place)
                });
            if !is_there {
                broken.push(format!("{}: {link}", page.strip_prefix(repository()).unwrap().display()));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

/// The shell commands of a page, each block with the exit status that the page says.
fn commands(page: &str) -> Vec<(String, i32)> {
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let with_status = blocks.map(|(block, after)| {
        let said = after.trim_start().strip_prefix("<!-- exit status: ").and_then(|rest| rest.split(' ').next());
        (block.to_owned(), said.map_or(0, |status| status.parse().unwrap()))
    });
    with_status.collect()
}

/// Runs a script in the test's own directory, as somebody who has the program, the AWS CLI and credentials.
fn shell(world: &World, script: &str) -> std::process::Output {
    let programs = world.at("bin");
    if !programs.exists() {
        fs::create_dir(&programs).unwrap();
        symlink(env!("CARGO_BIN_EXE_ssm-role-controller"), programs.join("ssm-role-controller")).unwrap();
    }
    let tools = tool("aws").parent().unwrap().display().to_string();
    let mut bash = Command::new("timeout");
    bash.args(["120", "bash", "-c", script]).current_dir(world.at("")).env_clear().env("HOME", "/nonexistent");
    bash.env("PATH", format!("{}:{tools}:/usr/bin:/bin", programs.display())).env("AWS_EC2_METADATA_DISABLED", "true");
    bash.env("AWS_ENDPOINT_URL", world.endpoint()).env("AWS_DEFAULT_REGION", "us-east-1");
    bash.envs(world.keys().iter().map(|(name, value)| (name, value)));
    bash.output().unwrap()
}

#[test]
fn the_commands_of_the_first_steps_do_what_the_page_says() {
    let page = fs::read_to_string(repository().join("docs/getting-started.md")).unwrap();
    // Whatever goes wrong, nothing stays behind that would be waited for.
    let mut script = String::from("set -u\ntrap 'kill $(jobs -p) 2>/dev/null' EXIT\n");
    for (number, (block, status)) in commands(&page).into_iter().enumerate() {
        let checked = "echo \"block N ended with $ended\" >&2; exit 1".replace('N', &number.to_string());
        // As somebody types it: in the very shell, not in one of its own.
        script.push_str(&format!("{block}\nended=$?; [[ $ended == {status} ]] || {{ {checked}; }}\n"));
    }
    // Ports that are free here.
    let free: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind(("127.0.0.1", 0)).unwrap()).collect();
    for (port, free) in ["8080", "8081", "8082"].iter().zip(&free) {
        script = script.replace(port, &free.local_addr().unwrap().port().to_string());
    }
    // The one command that asks the customary port.
    let status = free[2].local_addr().unwrap().port();
    script = script.replace("controller status", &format!("controller status --server http://127.0.0.1:{status}"));
    drop(free);

    let world = World::new();
    world.node("web-server");
    let ran = shell(&world, &script);
    let [out, err] = [&ran.stdout, &ran.stderr].map(|said| String::from_utf8_lossy(said).into_owned());
    assert!(ran.status.success(), "{script}\n{out}\n{err}");
    assert!(documented() != without_key() && world.document("web-server") == Some(without_key()), "{out}\n{err}");
    for (event, times) in [("drift.detected", 2), ("drift.repaired", 2), ("controller.stopped", 1)] {
        let told = err.lines().filter(|line| line.contains(&format!("\"event\":\"{event}\""))).count();
        assert_eq!(told, times, "{event}\n{err}");
    }
}

#[test]
fn the_commands_that_keep_manifests_in_git_do_what_the_pages_say() {
    let world = World::new();
    world.node_with("web", &without_key());
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let (_, from_git) = readme.split_once("## From Git\n").unwrap();
    let (from_git, _) = from_git.split_once("\n## ").unwrap();
    let pages = [fs::read_to_string(repository().join("docs/gitops.md")).unwrap(), from_git.to_owned()];
    for (block, status) in pages.iter().flat_map(|page| commands(page)) {
        assert!(block.contains("ssm-role-controller"), "{block}");
        let ran = shell(&world, &format!("set -e\n{block}"));
        let [out, err] = [&ran.stdout, &ran.stderr].map(|said| String::from_utf8_lossy(said).into_owned());
        assert_eq!(ran.status.code(), Some(status), "{block}\n{out}\n{err}");
    }
    let imported = fs::read_to_string(world.at("config/imported.yaml")).unwrap();
    assert!(imported.contains("- web"), "{imported}");
    let comment = fs::read_to_string(world.at("plan.md")).unwrap();
    assert!(comment.contains("in sync") && world.document("web") == Some(without_key()), "{comment}");
}

#[test]
fn packages_get_completions_that_shells_take_and_a_manual_page_for_every_command() {
    let program = || Command::new(env!("CARGO_BIN_EXE_ssm-role-controller"));
    let out = |command: &mut Command| {
        let ran = command.output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    };
    let help = out(program().arg("--help"));
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let commands: Vec<&str> = commands
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.trim().split(' ').next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.contains(&"run") && commands.contains(&"import"), "{commands:?}");
    let directory = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let completions = out(program().args(["completions", shell]));
        assert!(
            commands.iter().all(|name| completions.contains(name)) && completions.contains("status-listen"),
            "{shell}"
        );
        let file = directory.path().join(shell);
        fs::write(&file, completions).unwrap();
        // Where the shell is not there, nobody is to complete anything in it.
        if let Ok(checked) = Command::new(shell).arg("-n").arg(&file).output() {
            assert!(checked.status.success(), "{shell}: {}", String::from_utf8_lossy(&checked.stderr));
        }
    }
    let pages = directory.path().join("man");
    out(program().arg("man").arg(&pages));
    for name in commands {
        let page = fs::read_to_string(pages.join(format!("ssm-role-controller-{name}.1"))).unwrap();
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{page}");
    }
    assert!(fs::read_to_string(pages.join("ssm-role-controller.1")).unwrap().contains(".TH"));
}
