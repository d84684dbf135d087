//! Manifests that are not there, cannot be read, or hold more faults than anybody reads.

use std::{fs, os::unix::fs::symlink};

use super::{Scene, assert_refused, assert_said, manifest, right};
use crate::support::program::{Running, bare, finish};

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_directory_is_an_error_with_a_hint() {
    let scene = Scene::with(&["web"]).await;
    let empty = scene.directory.path().join("empty");
    fs::create_dir(&empty).unwrap();
    for command in ["validate", "plan", "apply", "run", "render"] {
        let ended = finish(scene.command_at(&empty, &[command])).await;
        assert_refused(&ended, &["there is no manifest in `", "/empty`", "hint: ", ".yaml"]);
    }
    assert_eq!(scene.serving.sandbox.counts().len(), 0, "AWS was not even asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_not_there_is_an_error_with_a_hint() {
    let scene = Scene::with(&["web"]).await;
    let gone = scene.directory.path().join("nowhere");
    for command in ["validate", "plan", "apply", "run", "render"] {
        let ended = finish(scene.command_at(&gone, &[command])).await;
        assert_refused(&ended, &["there is no directory `", "/nowhere`", "hint: "]);
    }
    assert_eq!(scene.serving.sandbox.counts().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_place_of_the_directory_is_an_error_with_a_hint() {
    let scene = Scene::with(&["web"]).await;
    for command in ["validate", "plan", "apply", "run", "render"] {
        let ended = finish(scene.command_at(&scene.config().join("fleet.yaml"), &[command])).await;
        assert_refused(&ended, &["fleet.yaml` is not a directory", "hint: "]);
    }
    assert_eq!(scene.serving.sandbox.counts().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_entered_is_an_error_that_says_why_once() {
    let scene = Scene::with(&["web"]).await;
    let circle = scene.directory.path().join("circle");
    symlink("circle", &circle).unwrap();
    for command in ["validate", "plan", "apply", "run", "render"] {
        let ended = finish(scene.command_at(&circle, &[command])).await;
        assert_refused(&ended, &["the directory `", "/circle` cannot be read: ", "hint: "]);
        assert_eq!(ended.err.matches("os error").count(), 1, "{}", ended.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_vanishes_while_running_leaves_everything_in_force_until_it_comes_back() {
    let scene = Scene::with(&["web", "batch"]).await;
    let mut running = scene.run();
    running.event("drift.repaired", 2).await;

    let away = scene.directory.path().join("away");
    fs::rename(scene.config(), &away).unwrap();
    let told = running.event("manifests.vanished", 1).await;
    assert_said(told["message"].as_str().unwrap(), &["there is no directory `", "stays in force"]);
    scene.tamper("web");
    running.event("drift.repaired", 3).await;
    assert_eq!(scene.live("web").unwrap(), right());

    // It comes back about one role less.
    fs::write(away.join("fleet.yaml"), manifest("fleet", &["web"])).unwrap();
    fs::rename(&away, scene.config()).unwrap();
    running.event("manifests.returned", 1).await;
    assert_eq!(running.event("role.released", 1).await["role"], "batch");
    assert_eq!(scene.live("batch").unwrap(), right(), "nothing is removed");
    let ended = running.stop().await;
    assert_eq!(ended.code(), 0);
    assert_eq!(ended.err.matches("manifests.vanished").count(), 1, "told once: {}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_emptied_while_running_removes_nothing() {
    let scene = Scene::with(&["web"]).await;
    let mut running = scene.run();
    running.event("drift.repaired", 1).await;
    fs::remove_file(scene.config().join("fleet.yaml")).unwrap();
    fs::remove_file(scene.config().join("controller.yaml")).unwrap();
    let told = running.event("manifests.vanished", 1).await;
    assert_said(told["message"].as_str().unwrap(), &["there is no manifest", "nothing is managed"]);
    running.event("policy.orphaned", 1).await;
    assert_eq!(scene.live("web").unwrap(), right());
    assert_eq!(running.stop().await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_is_a_fault_with_its_name() {
    let scene = Scene::with(&["web"]).await;
    symlink("nowhere.yaml", scene.config().join("dangling.yaml")).unwrap();
    let fifo = scene.config().join("fifo.yaml");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let said = ["dangling.yaml:1:1: this link leads nowhere", "fifo.yaml:1:1: this is not a regular file", "2 faults"];
    for command in ["validate", "plan", "apply"] {
        assert_refused(&scene.finish(&[command]).await, &said);
    }
    assert_eq!(scene.serving.sandbox.counts().len(), 0, "AWS was not even asked");

    // The daemon goes on with what is good.
    let mut running = scene.run();
    running.event("drift.repaired", 1).await;
    running.event("manifest.rejected", 2).await;
    let ended = running.stop().await;
    assert_said(&ended.err, &["this link leads nowhere; nothing of this file is in force", "not a regular file"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_becomes_unreadable_while_running_stays_in_force() {
    let scene = Scene::with(&["web"]).await;
    let mut running = scene.run();
    running.event("drift.repaired", 1).await;
    let file = scene.config().join("fleet.yaml");
    fs::remove_file(&file).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    let told = running.event("manifest.rejected", 1).await;
    assert_said(told["message"].as_str().unwrap(), &["not a regular file", "its last good version stays in force"]);
    scene.tamper("web");
    running.event("drift.repaired", 2).await;
    assert_eq!(running.stop().await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_faults_are_all_told_at_once() {
    let scene = Scene::with(&["web"]).await;
    let roles: Vec<String> = (0..100).map(|number| format!("\"bad role {number}\"")).collect();
    let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
    for file in 0..50 {
        scene.save(&format!("broken-{file}.yaml"), &manifest(&format!("broken-{file}"), &roles));
    }
    for command in ["validate", "plan", "apply"] {
        let ended = scene.finish(&[command]).await;
        assert_refused(&ended, &["broken-0.yaml", "broken-49.yaml", "bad role 0", "bad role 99", "\n5000 faults\n"]);
    }
    let mut running = scene.run();
    running.event("drift.repaired", 1).await;
    running.until("all faults", |running| running.err().matches("manifest.rejected").count() >= 5_000).await;
    assert_eq!(running.stop().await.code(), 0);
    assert_eq!(scene.live("web").unwrap(), right(), "the good file is in force");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_five_thousand_faults_in_one_file_the_first_are_told_and_that_there_are_more() {
    let scene = Scene::with(&["web"]).await;
    let roles: Vec<String> = (0..5_000).map(|number| format!("\"bad role {number}\"")).collect();
    let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
    scene.save("broken.yaml", &manifest("broken", &roles));
    for command in ["validate", "plan", "apply"] {
        assert_refused(
            &scene.finish(&[command]).await,
            &["bad role 0", "bad role 99", "4900 more faults of this file"],
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_output_that_is_closed_early_ends_the_program_without_a_word() {
    let roles: Vec<String> = (0..2_000).map(|number| format!("role-{number}")).collect();
    let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
    let scene = Scene::with(&roles).await;
    for command in ["plan", "plan -o json", "render"] {
        let line = format!(
            "{} {command} --config '{}' | head -1",
            env!("CARGO_BIN_EXE_ssm-role-controller"),
            scene.config().display()
        );
        let mut shell = tokio::process::Command::new("sh");
        shell.args(["-c", &line]).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        shell.env("AWS_ENDPOINT_URL", scene.serving.endpoint()).env("AWS_EC2_METADATA_DISABLED", "true");
        shell.env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
        let ended = finish(shell).await;
        assert_eq!((ended.out.lines().count(), ended.err.as_str()), (1, ""), "{command}");
    }
    assert_eq!(scene.writes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_good_the_daemon_refuses_to_start_and_says_why() {
    let scene = Scene::with(&["web"]).await;
    scene.save("fleet.yaml", "kind: [");
    fs::remove_file(scene.config().join("controller.yaml")).unwrap();
    let ended = scene.finish(&["run"]).await;
    assert_refused(&ended, &["manifest.rejected", "fleet.yaml", "no manifest is good", "hint: `validate`"]);
    scene.save("fleet.yaml", &manifest("fleet", &["web"]));
    scene.save("controller.yaml", &super::SETTINGS.replace("1s", "soon"));
    let ended = scene.finish(&["run"]).await;
    assert_refused(&ended, &["controller.yaml", "the ControllerConfiguration has a fault", "hint: "]);
    assert_eq!(scene.serving.sandbox.counts().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_command_line_exits_1() {
    for arguments in [&["frobnicate"][..], &["plan", "--role", "not a role"], &["run", "--config"], &[]] {
        let ended = Running::start(bare(arguments)).end().await;
        assert_eq!(ended.code(), 1, "{arguments:?}: {}", ended.err);
    }
}
