//! `run --leader-elect`: on the command line, and, with the feature `kubernetes`, against a real API server.
//!
//! Those tests take the cluster that `KUBECONFIG` names, and say so where there is none:
//!
//! ```sh
//! KUBECONFIG=… cargo test --features kubernetes --test it lease::
//! tests/api_server cargo test --features kubernetes --test it lease::    # with an API server of its own
//! ```

use crate::support::program::{bare, finish};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_for_an_election_alone_is_refused_without_one_and_shards_elect_nobody() {
    for (arguments, told) in [
        (&["run", "--lease-namespace", "a"][..], "--leader-elect"),
        (&["run", "--lease-name", "a"], "--leader-elect"),
        (&["run", "--leader-elect", "--shard", "0/3"], "--shard"),
    ] {
        let ended = finish(bare(arguments)).await;
        assert_eq!(ended.code(), 1);
        assert!(ended.err.contains(told), "{}", ended.err);
    }
}

#[cfg(not(feature = "kubernetes"))]
#[tokio::test(flavor = "multi_thread")]
async fn a_build_without_kubernetes_says_so_and_does_not_run_as_if_it_led() {
    let ended = finish(bare(&["run", "--leader-elect"])).await;
    assert_eq!(ended.code(), 1);
    assert!(ended.err.contains("cannot ask Kubernetes for a Lease"), "{}", ended.err);
    assert!(ended.err.contains("hint: build it with `--features kubernetes`"), "{}", ended.err);
}

#[cfg(feature = "kubernetes")]
mod with_kubernetes {
    use std::{env, ffi::OsString, path::Path, time::Duration};

    use k8s_openapi::api::coordination::v1::Lease;
    use kube::{
        Api, Client, Config,
        api::{DeleteParams, Patch, PatchParams, PostParams},
        config::{KubeConfigOptions, Kubeconfig},
    };
    use serde_json::json;
    use ssm_role_controller::sandbox::{RoleSeed, Sandbox};
    use tokio::{process::Command, time::Instant};

    use super::*;
    use crate::support::{
        program::{Running, program},
        serving::Serving,
    };

    const POLICY: &str = "SessionManagerPermissions";
    const MANIFEST: &str = "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: SessionManagerPermissions\nmetadata: {name: fleet}\nspec: {roles: [web]}\n---\napiVersion: ssm-role-controller.dev/v1alpha1\nkind: ControllerConfiguration\nmetadata: {name: controller}\nspec: {resyncInterval: 1s}\n";

    /// The cluster of the environment; says why a test shows nothing where there is none.
    fn cluster() -> Option<OsString> {
        let kubeconfig = env::var_os("KUBECONFIG");
        if kubeconfig.is_none() {
            eprintln!("SKIPPED: it needs a cluster: name a kubeconfig in KUBECONFIG");
        }
        kubeconfig
    }

    async fn leases(kubeconfig: &OsString) -> Api<Lease> {
        let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        Api::namespaced(Client::try_from(config).unwrap(), "default")
    }

    /// A world of IAM, manifests, and a Lease of its own.
    struct World {
        serving: Serving,
        config: tempfile::TempDir,
        kubeconfig: OsString,
        lease: String,
    }

    impl World {
        async fn with(kubeconfig: OsString) -> Self {
            let serving = Serving::start("111122223333").await;
            serving.sandbox.plant(&serving.account, RoleSeed::new("web"));
            let config = tempfile::tempdir().unwrap();
            std::fs::write(config.path().join("fleet.yaml"), MANIFEST).unwrap();
            let lease = format!("ssm-role-controller-test-{:08x}", fastrand::u32(..));
            Self { serving, config, kubeconfig, lease }
        }

        fn command(&self, pod: &str) -> Command {
            let arguments = ["run", "--leader-elect", "--lease-namespace", "default", "--lease-name", &self.lease];
            let mut command = program(&self.serving.endpoint(), self.config.path(), &arguments);
            command.env("KUBECONFIG", &self.kubeconfig).env("POD_NAME", pod);
            command
        }

        fn start(&self, pod: &str) -> Running {
            Running::start(self.command(pod))
        }

        fn sandbox(&self) -> &Sandbox {
            &self.serving.sandbox
        }

        fn tamper(&self) {
            self.sandbox().remove_policy(&self.serving.account, "web", POLICY);
        }

        fn is_right(&self) -> bool {
            self.sandbox().document(&self.serving.account, "web", POLICY).is_some()
        }

        /// Waits until it is right; how long that took.
        async fn repaired(&self) -> Duration {
            let begun = Instant::now();
            while !self.is_right() {
                assert!(begun.elapsed() < Duration::from_secs(60), "nobody repairs it");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            begun.elapsed()
        }
    }

    async fn seconds(count: u64) {
        tokio::time::sleep(Duration::from_secs(count)).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_of_two_leads_and_the_other_takes_over_when_it_dies_or_ends() {
        let Some(kubeconfig) = cluster() else { return };
        let world = World::with(kubeconfig.clone()).await;
        let leases = leases(&kubeconfig).await;
        let mut first = world.start("keeper-0");
        first.event("leader.elected", 1).await;
        first.event("drift.repaired", 1).await;
        let mut second = world.start("keeper-1");
        let standby = second.event("leader.standby", 1).await;
        assert!(standby["message"].as_str().unwrap().contains("keeper-0_"), "{standby}");
        let held = leases.get(&world.lease).await.unwrap();
        let spec = held.spec.unwrap();
        assert!(spec.holder_identity.unwrap().starts_with("keeper-0_"));
        assert_eq!(spec.lease_duration_seconds, Some(15));
        assert!(spec.renew_time.is_some() && spec.acquire_time.is_some());

        // Whoever dies is replaced when its time is over.
        first.signal("KILL");
        first.end().await;
        world.tamper();
        second.event("leader.elected", 1).await;
        world.repaired().await;
        assert_eq!(leases.get(&world.lease).await.unwrap().spec.unwrap().lease_transitions, Some(1));

        // Whoever ends gives it up.
        let mut third = world.start("keeper-2");
        third.event("leader.standby", 1).await;
        let ended = second.stop().await;
        assert!(ended.err.contains("leader.resigned"), "{}", ended.err);
        assert_eq!(ended.code(), 0);
        let begun = Instant::now();
        world.tamper();
        third.event("leader.elected", 1).await;
        assert!(begun.elapsed() < Duration::from_secs(14), "{:?}", begun.elapsed());
        world.repaired().await;
        // What others wrote to the object's metadata stays there.
        let labels = json!({"metadata": {"labels": {"team": "fleet"}}});
        leases.patch(&world.lease, &PatchParams::default(), &Patch::Merge(labels)).await.unwrap();
        seconds(6).await;
        let held = leases.get(&world.lease).await.unwrap();
        assert_eq!(held.metadata.labels.unwrap()["team"], "fleet");
        assert!(held.spec.unwrap().holder_identity.unwrap().starts_with("keeper-2_"));
        assert_eq!(third.told("leader.lost"), 0, "{}", third.err());
        leases.delete(&world.lease, &DeleteParams::default()).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_holder_that_is_frozen_finds_when_it_thaws_that_another_one_leads_and_writes_nothing() {
        let Some(kubeconfig) = cluster() else { return };
        let world = World::with(kubeconfig.clone()).await;
        let mut first = world.start("keeper-0");
        first.event("leader.elected", 1).await;
        let mut second = world.start("keeper-1");
        second.event("leader.standby", 1).await;
        first.signal("STOP");
        second.event("leader.elected", 1).await;
        let writes = |world: &World| world.sandbox().counts().get("PutRolePolicy").map_or(0, |count| count.calls);
        world.tamper();
        world.repaired().await;
        let before = (writes(&world), first.told("drift.repaired"));
        first.signal("CONT");
        first.event("leader.lost", 1).await;
        world.tamper();
        world.repaired().await;
        seconds(3).await;
        assert_eq!((writes(&world), first.told("drift.repaired")), (before.0 + 1, before.1), "{}", first.err());
        leases(&kubeconfig).await.delete(&world.lease, &DeleteParams::default()).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_lease_that_somebody_removes_is_made_anew_and_one_that_is_given_away_is_left() {
        let Some(kubeconfig) = cluster() else { return };
        let world = World::with(kubeconfig.clone()).await;
        let leases = leases(&kubeconfig).await;
        let mut running = world.start("keeper-0");
        running.event("leader.elected", 1).await;
        leases.delete(&world.lease, &DeleteParams::default()).await.unwrap();
        seconds(6).await;
        assert_eq!(running.told("leader.lost"), 0, "{}", running.err());
        let mut held = leases.get(&world.lease).await.unwrap();
        held.spec.as_mut().unwrap().holder_identity = Some("somebody-else".to_owned());
        // It may be renewed meanwhile.
        for _ in 0..20 {
            if leases.replace(&world.lease, &PostParams::default(), &held).await.is_ok() {
                break;
            }
            held.metadata.resource_version = leases.get(&world.lease).await.unwrap().metadata.resource_version;
        }
        let lost = running.event("leader.lost", 1).await;
        assert!(lost["message"].as_str().unwrap().contains("somebody-else"), "{lost}");
        world.tamper();
        seconds(5).await;
        assert!(!world.is_right());
        running.event("leader.elected", 2).await;
        world.repaired().await;
        leases.delete(&world.lease, &DeleteParams::default()).await.unwrap();
    }

    /// `tests/api_server` names a kubeconfig of the service account of deploy/kubernetes.
    #[tokio::test(flavor = "multi_thread")]
    async fn the_role_of_the_overlay_is_what_an_election_needs_and_without_it_the_hint_names_the_lease() {
        let (Some(kubeconfig), Some(keeper)) = (cluster(), env::var_os("KUBECONFIG_OF_KEEPER")) else {
            eprintln!("SKIPPED: it needs a kubeconfig of the service account in KUBECONFIG_OF_KEEPER");
            return;
        };
        let kubectl = async |arguments: &[&str]| {
            let mut command = Command::new("kubectl");
            command.env("KUBECONFIG", &kubeconfig).args(arguments);
            let output = command.output().await.unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        let role = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/kubernetes/overlays/leader-election/lease-role.yaml");
        let world = World::with(keeper).await;
        let start = || {
            let arguments = ["run", "--leader-elect", "--lease-namespace", "ssm-role-controller"];
            let mut command = program(&world.serving.endpoint(), world.config.path(), &arguments);
            command.env("KUBECONFIG", &world.kubeconfig).env("POD_NAME", "ssm-role-controller-0");
            Running::start(command)
        };
        kubectl(&["create", "namespace", "ssm-role-controller"]).await;
        let mut running = start();
        let told = running.event("leader.unreachable", 1).await;
        assert!(told["message"].as_str().unwrap().contains("forbidden"), "{told}");
        assert!(told["hint"].as_str().unwrap().contains("the Lease ssm-role-controller/ssm-role-controller"), "{told}");
        kubectl(&["apply", "--filename", role]).await;
        running.event("leader.reachable", 1).await;
        running.event("leader.elected", 1).await;
        running.event("drift.repaired", 1).await;
        let ended = running.stop().await;
        assert!(ended.err.contains("leader.resigned"), "{}", ended.err);
        kubectl(&["delete", "namespace", "ssm-role-controller", "--wait=false"]).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_api_server_that_is_out_of_reach_lets_nobody_write_and_is_told_with_a_hint() {
        // None is needed for this one.
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = directory.path().join("kubeconfig");
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "none",
            "clusters": [{"name": "none", "cluster": {"server": "https://127.0.0.1:1"}}],
            "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
            "users": [{"name": "none", "user": {"token": "none"}}],
        });
        std::fs::write(&kubeconfig, text.to_string()).unwrap();
        let world = World::with(kubeconfig.into_os_string()).await;
        let mut running = world.start("keeper-0");
        let told = running.event("leader.unreachable", 1).await;
        assert!(told["message"].as_str().unwrap().contains("default/ssm-role-controller-test-"), "{told}");
        assert!(told["hint"].is_string(), "{told}");
        let reads = || world.sandbox().counts().get("GetAccountAuthorizationDetails").map_or(0, |count| count.calls);
        running.until("reading", |_| reads() > 2).await;
        assert!(!world.is_right());
        assert_eq!(running.told("drift.detected"), 0);
        assert_eq!(running.stop().await.code(), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_any_cluster_it_says_what_to_do() {
        let world = World::with(OsString::from("/nonexistent/kubeconfig")).await;
        let ended = finish(world.command("keeper-0")).await;
        assert_eq!(ended.code(), 1);
        assert!(ended.err.contains("there is no cluster to elect a leader in"), "{}", ended.err);
        assert!(ended.err.contains("KUBECONFIG"), "{}", ended.err);
        assert!(!Path::new("/nonexistent").exists());
    }
}
