//! The end of the process, asked for or not, at any moment.

use ssm_role_controller::sandbox::Effect;

use super::{Scene, assert_said, right};
use crate::support::program::Running;

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_in_the_middle_of_a_write_lets_it_finish_and_tells_it() {
    for (command, signal) in [("run", "TERM"), ("run", "INT"), ("apply", "TERM")] {
        let scene = Scene::with(&["web"]).await;
        scene.fault(Effect::DelayMs(2_000), "PutRolePolicy");
        let mut running = Running::start(scene.command(&[command]));
        running.until("the write is under way", |_| scene.calls("PutRolePolicy") > 0).await;
        assert_eq!(scene.live("web"), None);
        if signal == "INT" {
            running.signal("INT");
        }
        let ended = running.stop().await;
        assert_eq!((ended.code(), scene.live("web")), (0, Some(right())), "{command} {signal}: {}", ended.err);
        assert_said(&ended.err, &["drift.detected", "drift.repaired"]);
        assert_eq!(scene.writes(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_it_in_time_though_nobody_answers() {
    for operation in ["GetCallerIdentity", "GetAccountAuthorizationDetails", "PutRolePolicy"] {
        let scene = Scene::with(&["web"]).await;
        scene.fault(Effect::Hang, operation);
        let mut running = scene.run();
        running.until("the call is under way", |_| scene.calls(operation) > 0).await;
        assert_eq!(running.stop().await.code(), 0, "{operation}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_and_started_again_it_converges() {
    let names: Vec<String> = (0..20).map(|number| format!("role-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let scene = Scene::with(&names).await;
    scene.fault(Effect::DelayMs(30), "PutRolePolicy");
    let mut random = fastrand::Rng::with_seed(11);
    let mut moments = Vec::new();
    for _ in 0..10 {
        // Drift, as if somebody tampered all the while.
        for name in &names {
            if random.bool() {
                scene.serving.sandbox.remove_policy(&scene.serving.account, name, super::POLICY);
            }
        }
        let (writes, before) = (random.u64(..15), scene.calls("PutRolePolicy"));
        let mut running = scene.run();
        // Killed before, among or after its writes: at some write, where there are so many, else once it is quiet.
        running
            .until("the moment", |running| {
                let in_sync = names.iter().all(|name| scene.live(name).is_some());
                scene.calls("PutRolePolicy") >= before + writes || in_sync && running.told("controller.started") > 0
            })
            .await;
        running.signal("KILL");
        assert_eq!(running.end().await.status.code(), None);
        moments.push(scene.calls("PutRolePolicy") - before);
        assert_eq!(scene.calls("DeleteRolePolicy"), 0);
    }
    let mut running = scene.run();
    running.until("everything is right", |_| names.iter().all(|name| scene.live(name) == Some(right()))).await;
    running.until("and known to be so", |running| running.told("controller.started") > 0).await;
    assert_eq!(running.stop().await.code(), 0, "killed after {moments:?} writes");
    assert_eq!(scene.finish(&["plan"]).await.code(), 0);
    for name in &names {
        assert_eq!(scene.serving.sandbox.policies(&scene.serving.account, name), [super::POLICY]);
    }
}
