//! Text that wants to be more than text: it can forge no line and colour no terminal.

use std::fs;

use serde_json::json;
use ssm_role_controller::sandbox::RoleSeed;

use super::{CHANNELS, POLICY, Scene, assert_said, document, manifest, right};
use crate::support::program::Running;

/// A line of log that nobody wrote, a colour by ESC and one by C1, a title, and text that runs backwards.
const HOSTILE: &str = "x\n2026-01-01T00:00:00.000Z  INFO drift.repaired forged\r\u{1b}[31mred\u{9b}32mgreen\u{1b}]0;title\u{7}\u{202e}desrever\u{2028}\u{7f}";

/// One line for each line, and nothing that a terminal acts upon.
#[track_caller]
fn assert_harmless(text: &str) {
    let acts = |c: char| {
        c.is_control() && c != '\n'
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
    };
    assert!(!text.chars().any(acts), "{text:?}");
    assert!(!text.lines().any(|line| line.starts_with("2026-01-01")), "a line was forged: {text}");
}

async fn scene() -> Scene {
    let statement = json!({
        "Sid": HOSTILE, "Effect": "Allow", "Action": ["s3:GetObject", HOSTILE],
        "Resource": format!("arn:aws:s3:::{HOSTILE}"), "Condition": {"StringLike": {HOSTILE: [HOSTILE]}},
    });
    let scene = Scene::with(&[]).await;
    scene.plant(RoleSeed::new("web").policy(POLICY, &document(&[CHANNELS, &statement.to_string()])));
    scene.plant(RoleSeed::new("prose").policy(POLICY, &format!("ssmmessages:OpenDataChannel {HOSTILE}")));
    scene.plant(
        RoleSeed::new("shaped")
            .policy(POLICY, &json!({"Statement": {HOSTILE: 1, "Action": "ssmmessages:OpenDataChannel"}}).to_string()),
    );
    scene.plant(
        RoleSeed::new("shut").policy(POLICY, &document(&[CHANNELS, &statement.to_string().replace("Allow", "Deny")])),
    );
    scene.save("fleet.yaml", &manifest("fleet", &["web", "prose", "shaped", "shut"]));
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_text_in_iam_cannot_forge_a_line_or_colour_a_terminal() {
    for format in ["text", "json"] {
        let scene = scene().await;
        let ended = scene.finish(&["plan", "--log-format", format]).await;
        assert_eq!(ended.code(), 2);
        assert_said(
            &ended.out,
            &["role web", "role prose", "role shaped", "role shut", "DeniesPresent", r"\u{202e}desrever"],
        );
        assert_harmless(&ended.out);
        assert_harmless(&ended.err);

        let mut running = Running::start(scene.command(&["run", "--log-format", format]));
        running
            .until("three repairs", |running| {
                running.err().matches("drift.repaired").count()
                    >= 3 + running.err().matches("drift.repaired forged").count()
            })
            .await;
        let ended = running.stop().await;
        assert_harmless(&ended.err);
        for line in ended.err.lines() {
            assert!(
                if format == "json" {
                    serde_json::from_str::<serde_json::Value>(line).is_ok()
                } else {
                    line.contains("Z  INFO ") || line.contains("Z  WARN ")
                },
                "{line}"
            );
        }
        assert_eq!(scene.live("web"), Some(right()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_documents_are_repaired_by_apply_and_shown_as_data_by_plan_in_json() {
    let scene = scene().await;
    let ended = scene.finish(&["plan", "-o", "json"]).await;
    let plan: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert!(plan["steps"].as_array().unwrap().iter().any(|step| step["diff"].to_string().contains("forged")));
    assert_harmless(&ended.out);
    let ended = scene.finish(&["apply"]).await;
    assert_eq!(ended.code(), 1, "what is shut stays shut");
    assert_harmless(&(ended.out + &ended.err));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_line_that_undoes_a_repair_is_harmless_and_puts_back_the_very_document() {
    let scene = Scene::with(&[]).await;
    let before = format!("ssmmessages:OpenDataChannel {HOSTILE} '$(touch /nonexistent/x)'");
    scene.plant(RoleSeed::new("web").policy(POLICY, &before));
    scene.save("fleet.yaml", &manifest("fleet", &["web"]));
    let mut running = scene.run();
    let told = running.event("drift.repaired", 1).await;
    let undo = told["undo"].as_str().unwrap();
    assert_harmless(undo);
    // A shell takes the document for one word, and for that very text.
    let shown = std::process::Command::new("bash")
        .args(["-c", &format!("aws() {{ printf %s \"${{@: -1}}\"; }}; {undo}")])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(shown.stdout).unwrap(), before);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_text_in_manifests_and_file_names_cannot_forge_a_line_or_colour_a_terminal() {
    let scene = Scene::with(&["web"]).await;
    let quoted = serde_json::to_string(HOSTILE).unwrap();
    let name = HOSTILE.replace('/', "-") + ".yaml";
    scene.save(&name, &manifest("hostile", &[&quoted]));
    scene.save("key.yaml", &(manifest("key", &["web"]) + &format!("  {quoted}: {quoted}\n")));
    scene.save("raw.yaml", &format!("kind: {HOSTILE}\n"));
    scene.save("name.yaml", &manifest(&quoted, &["web"]));
    for command in ["validate", "plan", "apply"] {
        for format in ["text", "json"] {
            let ended = scene.finish(&[command, "--log-format", format]).await;
            assert_eq!((ended.code(), ended.out.as_str()), (1, ""));
            assert_harmless(&ended.err);
            assert_said(&ended.err, &[r"\u{1b}[31mred"]);
        }
    }
    for format in ["text", "json"] {
        let mut running = Running::start(scene.command(&["run", "--log-format", format]));
        running
            .until("rejected and kept", |running| {
                scene.live("web").is_some() && running.err().matches("manifest.rejected").count() >= 3
            })
            .await;
        let ended = running.stop().await;
        assert_harmless(&ended.err);
    }
    assert_eq!(scene.live("web"), Some(right()), "the good file was in force");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_description_with_hostile_text_is_accepted_and_harmless() {
    let scene = Scene::with(&["web"]).await;
    let text = manifest("fleet", &["web"]) + &format!("  description: {}\n", serde_json::to_string(HOSTILE).unwrap());
    fs::write(scene.config().join("fleet.yaml"), text).unwrap();
    for command in ["validate", "render", "plan", "apply"] {
        let ended = scene.finish(&[command]).await;
        assert_harmless(&(ended.out + &ended.err));
    }
}
