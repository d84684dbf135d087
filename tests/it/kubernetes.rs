//! What is in deploy/kubernetes and deploy/container: what kustomize makes of it by Kubernetes' own schemas, the container
//! file by hadolint, and what neither sees by the program itself.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use ssm_role_controller::sandbox::RoleSeed;
use tempfile::TempDir;

use crate::support::{
    program::{Running, bare, finish, program},
    serving::Serving,
    world::tool,
};

const OVERLAYS: [&str; 3] = ["one-replica", "leader-election", "sharded"];

/// The schemas that kubernetes-validate holds.
const VERSIONS: std::ops::RangeInclusive<u32> = 25..=37;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What kustomize makes of a directory.
fn kustomize(directory: &Path) -> String {
    let ran = Command::new("kubectl").arg("kustomize").arg(directory).output();
    let output = ran.expect("this test needs kubectl 1.27 or newer");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// An overlay as it is.
fn overlay(name: &str) -> String {
    kustomize(&repository().join("deploy/kubernetes/overlays").join(name))
}

/// An overlay of a user's own beside a copy of ours: `kustomization` names them below `kubernetes/`.
fn own_overlay(kustomization: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    copy(&repository().join("deploy/kubernetes"), &directory.path().join("kubernetes"));
    fs::write(directory.path().join("kustomization.yaml"), kustomization).unwrap();
    kustomize(directory.path())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// The documents of a YAML stream.
fn documents(stream: &str) -> Vec<Value> {
    let parts = stream.split("\n---\n");
    parts.map(|part| serde_yaml::from_str(part).unwrap()).collect()
}

/// The one document of this kind and name.
fn document<'a>(documents: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut found =
        documents.iter().filter(|document| document["kind"] == kind && document["metadata"]["name"] == name);
    let one = found.next().unwrap_or_else(|| panic!("there is no {kind} {name}"));
    assert!(found.next().is_none(), "there are several {kind} {name}");
    one
}

fn controller(documents: &[Value]) -> &Value {
    document(documents, "StatefulSet", "ssm-role-controller")
}

fn container(documents: &[Value]) -> &Value {
    &controller(documents)["spec"]["template"]["spec"]["containers"][0]
}

fn arguments(documents: &[Value]) -> Vec<String> {
    let arguments = container(documents)["args"].as_array().unwrap().iter();
    arguments.map(|argument| argument.as_str().unwrap().to_owned()).collect()
}

/// The value of `--flag=value`.
fn value_of<'a>(arguments: &'a [String], flag: &str) -> Option<&'a str> {
    arguments.iter().find_map(|argument| argument.strip_prefix(flag)?.strip_prefix('='))
}

/// What kubernetes-validate has to say against a stream of documents; nothing where it is right.
fn complaints(stream: &str, version: u32) -> String {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("documents.yaml");
    fs::write(&file, stream).unwrap();
    let mut command = Command::new(tool("kubernetes-validate"));
    command.args(["--strict", "--quiet", "--kubernetes-version", &format!("1.{version}")]).arg(&file);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.success(), said.is_empty(), "{said}");
    said
}

#[test]
fn every_overlay_is_right_by_the_schemas_of_every_version_of_kubernetes() {
    for name in OVERLAYS {
        let stream = overlay(name);
        for version in VERSIONS {
            assert_eq!(complaints(&stream, version), "", "{name}, Kubernetes 1.{version}");
        }
    }
}

#[test]
fn a_field_that_kubernetes_does_not_know_would_be_found() {
    let stream = overlay("one-replica").replace("readOnlyRootFilesystem:", "readonlyRootFilesystem:");
    let said = complaints(&stream, 32);
    assert!(said.contains("readonlyRootFilesystem"), "{said}");
}

#[test]
fn every_component_goes_with_an_overlay() {
    let with = |overlay: &str, component: &str| {
        own_overlay(&format!(
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [kubernetes/{overlay}]\ncomponents: [kubernetes/components/{component}]\n"
        ))
    };
    let identity = with("overlays/one-replica", "pod-identity");
    assert_eq!(complaints(&identity, 32), "");
    let identity = documents(&identity);
    let account = document(&identity, "ServiceAccount", "ssm-role-controller");
    assert!(!account.to_string().contains("role-arn"), "{account}");
    let egress = &document(&identity, "NetworkPolicy", "ssm-role-controller")["spec"]["egress"];
    assert!(egress.to_string().contains("169.254.170.23/32"), "{egress}");

    let shared = with("base", "shared-state");
    assert_eq!(complaints(&shared, 32), "");
    let shared = documents(&shared);
    let claim = document(&shared, "PersistentVolumeClaim", "ssm-role-controller-state");
    assert_eq!(claim["spec"]["accessModes"][0], "ReadWriteMany");
    let volumes = controller(&shared)["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
    let state = volumes.iter().find(|volume| volume["name"] == "state").unwrap();
    assert_eq!(state["persistentVolumeClaim"]["claimName"], claim["metadata"]["name"]);

    // Its kind is the Prometheus operator's, of which Kubernetes has no schema.
    let monitor = documents(&with("overlays/one-replica", "pod-monitor"));
    let endpoint = &document(&monitor, "PodMonitor", "ssm-role-controller")["spec"]["podMetricsEndpoints"][0];
    let ports = container(&monitor)["ports"].as_array().unwrap();
    assert!(ports.iter().any(|port| port["name"] == endpoint["port"]), "{endpoint}");
}

#[test]
fn the_overlay_of_the_readme_is_one_that_kustomize_takes() {
    let readme = fs::read_to_string(repository().join("deploy/kubernetes/README.md")).unwrap();
    let (_, rest) = readme.split_once("   # kustomization.yaml\n").unwrap();
    let (block, _) = rest.split_once("\n   ```").unwrap();
    let block: String = block.lines().map(|line| format!("{}\n", line.strip_prefix("   ").unwrap_or(line))).collect();
    let block = block.replace("ssm-role-controller/deploy/kubernetes", "kubernetes");
    let directory = tempfile::tempdir().unwrap();
    copy(&repository().join("deploy/kubernetes"), &directory.path().join("kubernetes"));
    fs::create_dir(directory.path().join("manifests")).unwrap();
    for name in ["web-fleet.yaml", "batch.yaml"] {
        fs::copy(repository().join("config").join(name), directory.path().join("manifests").join(name)).unwrap();
    }
    fs::write(directory.path().join("kustomization.yaml"), block).unwrap();
    let stream = kustomize(directory.path());
    assert_eq!(complaints(&stream, 32), "");
    let documents = documents(&stream);
    assert!(container(&documents)["image"].as_str().unwrap().starts_with("111122223333.dkr.ecr."));
    let manifests = &document(&documents, "ConfigMap", "ssm-role-controller-manifests")["data"];
    let names: BTreeSet<&str> = manifests.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, BTreeSet::from(["web-fleet.yaml", "batch.yaml"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_flag_is_one_that_the_program_knows() {
    let help = finish(bare(&["run", "--help"])).await.out;
    let is_known = |flag: &str| help.split([' ', '\n', ',']).any(|word| word == flag);
    for name in OVERLAYS {
        let arguments = arguments(&documents(&overlay(name)));
        assert_eq!(arguments[0], "run");
        for argument in &arguments[1..] {
            let flag = argument.split('=').next().unwrap();
            assert!(is_known(flag), "{name}: {flag}");
        }
        // And together they are a command line: nothing is given twice, or with a value that it cannot have.
        let known: Vec<String> =
            arguments.iter().map(|argument| argument.replace("$(POD_NAME)", "ssm-role-controller-2")).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).chain(["--help"]).collect();
        let ended = finish(bare(&known)).await;
        assert_eq!(ended.code(), 0, "{name}: {}", ended.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifests_in_the_config_maps_are_ones_that_the_program_takes() {
    let documents = documents(&overlay("one-replica"));
    let directory = tempfile::tempdir().unwrap();
    let lay_out = |map: &str| {
        let at = directory.path().join(map);
        fs::create_dir(&at).unwrap();
        for (name, text) in document(&documents, "ConfigMap", map)["data"].as_object().unwrap() {
            fs::write(at.join(name), text.as_str().unwrap()).unwrap();
        }
        at
    };
    let manifests = lay_out("ssm-role-controller-manifests");
    let configuration = lay_out("ssm-role-controller-configuration").join("controller.yaml");
    let mut command = bare(&["validate", "--config"]);
    command.arg(manifests).arg("--controller-config").arg(configuration);
    let ended = finish(command).await;
    assert_eq!(ended.code(), 0, "{}", ended.err);
}

#[test]
fn what_the_flags_name_is_what_is_mounted_and_probed() {
    for name in OVERLAYS {
        let documents = documents(&overlay(name));
        let (arguments, container) = (arguments(&documents), container(&documents));
        let mounts = container["volumeMounts"].as_array().unwrap();
        for flag in ["--config", "--controller-config", "--state-dir"] {
            let path = Path::new(value_of(&arguments, flag).unwrap());
            let mount = |at: &Path| mounts.iter().find(|mount| mount["mountPath"] == at.to_str().unwrap());
            let mount =
                mount(path).or_else(|| mount(path.parent().unwrap())).unwrap_or_else(|| panic!("{name}: {flag}"));
            assert_eq!(mount["readOnly"] == true, flag != "--state-dir", "{name}: {flag}");
            // A file that is mounted by itself never changes inside a container.
            assert!(mount["subPath"].is_null() && mount["subPathExpr"].is_null());
        }
        let ports = container["ports"].as_array().unwrap();
        for (port, flag) in [("metrics", "--metrics-listen"), ("health", "--health-listen")] {
            let number = value_of(&arguments, flag).unwrap().strip_prefix("0.0.0.0:").unwrap();
            let port = ports.iter().find(|known| known["name"] == port).unwrap();
            assert_eq!(port["containerPort"].to_string(), number, "{name}");
        }
        for (probe, path) in [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
            assert_eq!(container[probe]["httpGet"]["path"], path, "{name}");
            assert_eq!(container[probe]["httpGet"]["port"], "health", "{name}");
        }
        // Nobody reaches it but by port-forward, so it needs no token.
        assert!(value_of(&arguments, "--status-listen").unwrap().starts_with("127.0.0.1:"));
    }
}

#[test]
fn the_pods_may_do_nothing_that_they_need_not() {
    for name in OVERLAYS {
        let documents = documents(&overlay(name));
        let pod = &controller(&documents)["spec"]["template"]["spec"];
        let security = &container(&documents)["securityContext"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["capabilities"]["drop"][0], "ALL");
        let containerfile = fs::read_to_string(repository().join("deploy/container/Containerfile")).unwrap();
        let user = format!("USER {0}:{0}\n", pod["securityContext"]["runAsUser"]);
        assert!(containerfile.contains(&user), "{user}");
        // Kubernetes' own token is there only where something is asked of Kubernetes.
        let elects = arguments(&documents).iter().any(|argument| argument == "--leader-elect");
        assert_eq!(pod["automountServiceAccountToken"] == true, elects, "{name}");
        assert_eq!(documents.iter().any(|document| document["kind"] == "Role"), elects, "{name}");
        assert_eq!(elects, name == "leader-election");
    }
}

#[test]
fn budget_service_and_network_policy_are_about_the_controllers_pods() {
    for name in OVERLAYS {
        let documents = documents(&overlay(name));
        let labels = &controller(&documents)["spec"]["template"]["metadata"]["labels"];
        for (kind, path) in [
            ("PodDisruptionBudget", "/spec/selector/matchLabels"),
            ("NetworkPolicy", "/spec/podSelector/matchLabels"),
            ("Service", "/spec/selector"),
            ("StatefulSet", "/spec/selector/matchLabels"),
        ] {
            let document = document(&documents, kind, "ssm-role-controller");
            let selector = document.pointer(path).and_then(Value::as_object);
            let selector = selector.unwrap_or_else(|| panic!("{name}: the {kind} selects nothing"));
            assert!(
                !selector.is_empty() && selector.iter().all(|(key, value)| labels[key] == *value),
                "{name}: {kind}"
            );
        }
    }
}

#[test]
fn the_role_allows_what_the_election_asks_of_the_one_lease() {
    let documents = documents(&overlay("leader-election"));
    let role = document(&documents, "Role", "ssm-role-controller-lease");
    let rules = role["rules"].as_array().unwrap();
    let verbs = |rule: &Value| -> BTreeSet<String> {
        rule["verbs"].as_array().unwrap().iter().map(|verb| verb.as_str().unwrap().to_owned()).collect()
    };
    let set = |words: &[&str]| -> BTreeSet<String> { words.iter().map(|word| (*word).to_owned()).collect() };
    let (unnamed, named): (Vec<&Value>, Vec<&Value>) = rules.iter().partition(|rule| rule["resourceNames"].is_null());
    assert_eq!(unnamed.iter().map(|rule| verbs(rule)).collect::<Vec<_>>(), [set(&["create"])]);
    assert_eq!(named.iter().map(|rule| verbs(rule)).collect::<Vec<_>>(), [set(&["get", "update"])]);
    let arguments = arguments(&documents);
    assert_eq!(named[0]["resourceNames"][0].as_str(), value_of(&arguments, "--lease-name"));
    assert_eq!(controller(&documents)["spec"]["replicas"], 2);
}

#[test]
fn as_many_pods_run_as_there_are_shards() {
    let documents = documents(&overlay("sharded"));
    let arguments = arguments(&documents);
    let (pod, count) = value_of(&arguments, "--shard").unwrap().split_once('/').unwrap();
    assert_eq!(pod, "$(POD_NAME)");
    assert_eq!(controller(&documents)["spec"]["replicas"].to_string(), count);
    let environment = container(&documents)["env"].as_array().unwrap();
    let name = environment.iter().find(|variable| variable["name"] == "POD_NAME").unwrap();
    assert_eq!(name["valueFrom"]["fieldRef"]["fieldPath"], "metadata.name");
}

/// What hadolint has to say.
fn hadolint(containerfile: &Path) -> String {
    let output =
        Command::new(tool("hadolint")).args(["--failure-threshold", "style"]).arg(containerfile).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.success(), said.is_empty(), "{said}");
    said
}

fn containerfile() -> PathBuf {
    repository().join("deploy/container/Containerfile")
}

#[test]
fn hadolint_finds_nothing_to_say_of_the_container_file() {
    assert_eq!(hadolint(&containerfile()), "");
}

#[test]
fn hadolint_would_say_so_of_an_image_without_a_tag() {
    let directory = tempfile::tempdir().unwrap();
    let planted = directory.path().join("Containerfile");
    let text = fs::read_to_string(containerfile()).unwrap();
    fs::write(&planted, text.replace("FROM scratch\n", "FROM debian\n")).unwrap();
    assert!(hadolint(&planted).contains("DL3006"));
}

/// Every file below a directory.
fn files(directory: &Path, found: &mut Vec<String>, root: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found, root);
        } else {
            found.push(path.strip_prefix(root).unwrap().display().to_string());
        }
    }
}

#[test]
fn the_root_of_the_image_holds_the_program_what_it_is_linked_to_and_nothing_that_could_be_run_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let program = env!("CARGO_BIN_EXE_ssm-role-controller");
    let made = Command::new(repository().join("deploy/container/root")).arg(program).arg(root).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut found = Vec::new();
    files(root, &mut found, root);
    let is_expected = |name: &String| {
        name == "usr/local/bin/ssm-role-controller" || name.starts_with("etc/") || name.contains(".so.")
    };
    assert!(found.iter().all(is_expected) && found.len() >= 8, "{found:?}");
    // The loader finds all of it there, and nothing elsewhere: as nobody, where this may be tried.
    let mut inside = Command::new("chroot");
    inside.arg("--userspec=65532:65532").arg(root).args(["/usr/local/bin/ssm-role-controller", "--version"]);
    let ran = inside.output().unwrap();
    let [out, err] = [&ran.stdout, &ran.stderr].map(|said| String::from_utf8_lossy(said).into_owned());
    if err.contains("Operation not permitted") {
        eprintln!("only root may change roots: not tried");
        return;
    }
    assert_eq!(out, concat!("ssm-role-controller ", env!("CARGO_PKG_VERSION"), "\n"), "{err}");
}

/// The files that a build of the image sees, as .dockerignore lets them through.
fn context() -> TempDir {
    let ignore = fs::read_to_string(repository().join(".dockerignore")).unwrap();
    let rules: Vec<&str> = ignore.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(rules[0], "*");
    let directory = tempfile::tempdir().unwrap();
    for rule in &rules[1..] {
        let name = rule.strip_prefix('!').unwrap();
        let (from, to) = (repository().join(name), directory.path().join(name));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
    directory
}

#[test]
fn the_image_is_built_from_all_that_the_program_is_made_of() {
    let context = context();
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"]);
    let output = command.current_dir(context.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // What is compiled in lies among the sources, but for what tests compare with.
    let mut left = vec![context.path().join("src")];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let is_of_tests = path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs");
        if path.extension().is_none_or(|extension| extension != "rs") || is_of_tests {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let program = text.split("#[cfg(test)]").next().unwrap();
        for inclusion in ["include_str!(\"", "include_bytes!(\""] {
            for included in program.split(inclusion).skip(1) {
                let name = included.split('"').next().unwrap();
                assert!(path.parent().unwrap().join(name).exists(), "{} includes {name}", path.display());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_images_command_is_one_that_the_program_takes() {
    let text = fs::read_to_string(containerfile()).unwrap();
    let command = text.lines().find_map(|line| line.strip_prefix("CMD ")).unwrap();
    let command: Vec<String> = serde_json::from_str(command).unwrap();
    let command: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
    let ended = finish(bare(&command)).await;
    assert_eq!(ended.code(), 0, "{}", ended.err);
    let version = concat!("ARG VERSION=", env!("CARGO_PKG_VERSION"), "\n");
    assert!(text.contains(version), "{version}");
}

/// What the kubelet does with a ConfigMap that is mounted as a directory: the files lie in a directory of their own, which the
/// link `..data` names, and a newer version takes the place of the older one by one rename of that link.
fn mount_config_map(at: &Path, version: &str, files: &[(&str, &str)]) {
    fs::create_dir_all(at.join(version)).unwrap();
    for (name, text) in files {
        fs::write(at.join(version).join(name), text).unwrap();
        if !at.join(name).is_symlink() {
            symlink(Path::new("..data").join(name), at.join(name)).unwrap();
        }
    }
    let before = fs::read_link(at.join("..data"));
    symlink(version, at.join("..data_tmp")).unwrap();
    fs::rename(at.join("..data_tmp"), at.join("..data")).unwrap();
    if let Ok(before) = before {
        fs::remove_dir_all(at.join(before)).unwrap();
    }
}

fn names_role(manifest: &str, role: &str) -> String {
    format!(
        "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: SessionManagerPermissions\nmetadata: {{name: {manifest}}}\nspec: {{roles: [{role}]}}\n"
    )
}

fn configures(spec: &str) -> String {
    format!(
        "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: ControllerConfiguration\nmetadata: {{name: controller}}\nspec: {{{spec}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_takes_a_swapped_config_map_but_for_its_one_bad_document() {
    const POLICY: &str = "SessionManagerPermissions";
    let serving = Serving::start("111122223333").await;
    let (sandbox, account) = (&serving.sandbox, &serving.account);
    for role in ["web", "batch", "later"] {
        sandbox.plant(account, RoleSeed::new(role));
    }
    let mounts = tempfile::tempdir().unwrap();
    let (manifests, configuration) = (mounts.path().join("manifests"), mounts.path().join("configuration"));
    let (web, batch) = (names_role("web", "web"), names_role("batch", "batch"));
    mount_config_map(&manifests, "..2026_11_22_1", &[("web.yaml", &web), ("batch.yaml", &batch)]);
    let observe = configures("resyncInterval: 1s, defaultMode: observe");
    mount_config_map(&configuration, "..2026_11_22_1", &[("controller.yaml", &observe)]);
    let mut command = program(&serving.endpoint(), &manifests, &["run"]);
    command.arg("--controller-config").arg(configuration.join("controller.yaml"));
    let mut running = Running::start(command);
    running.event("drift.detected", 2).await;
    assert_eq!(running.told("drift.repaired"), 0);

    // The configuration is swapped apart from the manifests.
    mount_config_map(&configuration, "..2026_11_22_2", &[("controller.yaml", &configures("resyncInterval: 1s"))]);
    running.event("drift.repaired", 2).await;

    let later = names_role("later", "later");
    let files = [("web.yaml", web.as_str()), ("batch.yaml", "kind: SessionManagerPermissions\nspec: {rolls: []}\n")];
    mount_config_map(&manifests, "..2026_11_22_2", &[files[0], files[1], ("later.yaml", &later)]);
    let rejected = running.event("manifest.rejected", 1).await;
    assert_eq!(rejected["manifest"], manifests.join("batch.yaml").to_str().unwrap(), "{rejected}");
    running.event("drift.repaired", 3).await;
    // What the bad document said when it was good still holds.
    sandbox.remove_policy(account, "batch", POLICY);
    let repaired = running.event("drift.repaired", 4).await;
    assert_eq!(repaired["role"], "batch");

    mount_config_map(&manifests, "..2026_11_22_3", &[files[0], ("batch.yaml", &batch), ("later.yaml", &later)]);
    running
        .until("the good version", |running| {
            running
                .events()
                .iter()
                .any(|event| event["event"] == "manifest.accepted" && event["manifest"] == rejected["manifest"])
        })
        .await;
    assert_eq!(running.stop().await.code(), 0);
}
