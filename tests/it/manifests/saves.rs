//! What stays in force from one save to the next.

use ssm_role_controller::manifest::{Files, Standing, Verdict};

use super::*;

/// What one save after the other leads to.
#[derive(Default)]
struct Saves {
    standing: Standing,
    files: Files,
}

impl Saves {
    fn save(&mut self, changes: &[(&str, Option<&str>)]) -> Verdict {
        for (name, text) in changes {
            match text {
                Some(text) => self.files.tree.insert((*name).to_owned(), Ok(text.as_bytes().to_vec())),
                None => self.files.tree.remove(*name),
            };
        }
        self.standing.take(self.files.clone())
    }
}

fn names(verdict: &Verdict) -> Vec<&str> {
    verdict.set.permissions().iter().map(|permissions| permissions.name.as_str()).collect()
}

#[test]
fn a_broken_save_keeps_the_last_good_version_whole_and_is_told_once() {
    let mut saves = Saves::default();
    let (one, two) = (manifest("one", "roles: [a]"), manifest("two", "roles: [b]"));
    let verdict = saves.save(&[("a.yaml", Some(&one)), ("b.yaml", Some("nonsense"))]);
    assert_eq!((names(&verdict), verdict.accepted.as_slice()), (vec!["one"], &["a.yaml".to_owned()][..]));
    assert_eq!((verdict.rejected[0].file.as_str(), verdict.rejected[0].in_force), ("b.yaml", false));
    // One good document does not save the file.
    let broken = two.clone() + "nonsense";
    let verdict = saves.save(&[("a.yaml", Some(&broken))]);
    assert_eq!((names(&verdict), verdict.rejected.len(), verdict.rejected[0].in_force), (vec!["one"], 1, true));
    let verdict = saves.save(&[]);
    assert!(!verdict.is_news());
    assert_eq!(verdict.faults.len(), 2, "what stands is known also when nothing is new");
    // Another broken version is told, and the first one again after it was good in between.
    assert_eq!(saves.save(&[("a.yaml", Some("other nonsense"))]).rejected.len(), 1);
    assert_eq!(names(&saves.save(&[("a.yaml", Some(&two))])), ["two"]);
    assert_eq!(saves.save(&[("a.yaml", Some(&broken))]).rejected.len(), 1);
    let verdict = saves.save(&[("a.yaml", None)]);
    assert_eq!((names(&verdict).len(), verdict.removed.clone()), (0, vec!["a.yaml".to_owned()]));
}

#[test]
fn a_document_may_move_from_one_file_to_another_in_one_commit() {
    let mut saves = Saves::default();
    let (one, two) = (manifest("one", "roles: [a]"), manifest("two", "roles: [b]"));
    saves.save(&[("a.yaml", Some(&(one.clone() + &two))), ("b.yaml", Some("# nothing yet"))]);
    // The copy comes first: it is refused, and the older place counts.
    let verdict = saves.save(&[("b.yaml", Some(&two))]);
    assert_eq!((names(&verdict), verdict.rejected[0].file.as_str()), (vec!["one", "two"], "b.yaml"));
    // Then it is taken out of the other file: now the copy counts, although it did not change.
    let verdict = saves.save(&[("a.yaml", Some(&one))]);
    assert_eq!(
        (names(&verdict), verdict.accepted.clone()),
        (vec!["one", "two"], vec!["a.yaml".to_owned(), "b.yaml".to_owned()])
    );
    // And back, both in one look.
    let verdict = saves.save(&[("a.yaml", Some(&(one + &two))), ("b.yaml", Some("# nothing"))]);
    assert!(verdict.rejected.is_empty() && verdict.faults.is_empty());
}

#[test]
fn where_a_move_is_half_broken_nothing_of_it_happens() {
    let mut saves = Saves::default();
    let (one, two) = (manifest("one", "roles: [a]"), manifest("two", "roles: [b]"));
    saves.save(&[("a.yaml", Some(&(one.clone() + &two))), ("b.yaml", Some("# nothing yet"))]);
    let verdict = saves.save(&[("a.yaml", Some(&(one + "nonsense"))), ("b.yaml", Some(&two))]);
    assert_eq!((names(&verdict), verdict.rejected.len()), (vec!["one", "two"], 2));
}

#[test]
fn who_comes_second_never_blocks_who_was_first() {
    let mut saves = Saves::default();
    saves.save(&[
        ("controller.yaml", Some(&settings("suspend: false"))),
        ("a.yaml", Some(&manifest("a", "roles: [a]"))),
    ]);
    let second = manifest("a", "roles: [b]");
    let verdict = saves.save(&[("zz.yaml", Some(&settings("suspend: false"))), ("0.yaml", Some(&second))]);
    assert_eq!(verdict.rejected.len(), 2);
    let verdict = saves.save(&[
        ("controller.yaml", Some(&settings("suspend: true"))),
        ("a.yaml", Some(&manifest("a", "roles: [a, c]"))),
    ]);
    assert!(verdict.set.configuration().unwrap().suspend);
    assert_eq!(verdict.set.permissions()[0].roles.len(), 2);
    assert_eq!(verdict.accepted, ["a.yaml", "controller.yaml"]);
    // Two newcomers are equals: neither is chosen.
    let verdict =
        saves.save(&[("x.yaml", Some(&manifest("x", "roles: [x]"))), ("y.yaml", Some(&manifest("x", "roles: [y]")))]);
    assert_eq!((verdict.accepted.len(), verdict.rejected.len()), (0, 2));
    // And where the first gives a name up, the second takes it.
    let verdict = saves.save(&[("a.yaml", Some("# nothing"))]);
    assert_eq!(verdict.accepted, ["0.yaml", "a.yaml"]);
}

#[test]
fn a_role_in_conflict_rejects_no_file_but_stays_told() {
    let mut saves = Saves::default();
    let verdict = saves.save(&[
        ("a.yaml", Some(&manifest("a", &format!("roles: [web], {}", with_key("a"))))),
        ("b.yaml", Some(&manifest("b", &format!("roles: [web], {}", with_key("b"))))),
    ]);
    assert_eq!((names(&verdict), verdict.rejected.len(), verdict.faults.len()), (vec!["a", "b"], 0, 2));
}

#[test]
fn what_cannot_be_read_is_not_taken_for_removed() {
    let mut saves = Saves::default();
    saves.save(&[
        ("config/team/a.yaml", Some(&manifest("a", "roles: [a]"))),
        ("config/b.yaml", Some(&manifest("b", "roles: [b]"))),
    ]);
    let files = saves.files.tree.clone();
    saves.files.tree.remove("config/team/a.yaml");
    saves.files.tree.insert("config/team".to_owned(), Err(Fault::of_file("config/team", "it cannot be read", "…")));
    saves.files.tree.insert("config/b.yaml".to_owned(), Err(Fault::of_file("config/b.yaml", "it cannot be read", "…")));
    let verdict = saves.save(&[]);
    assert_eq!((names(&verdict), verdict.rejected.len()), (vec!["a", "b"], 2));
    saves.files.tree = files;
    assert_eq!(names(&saves.save(&[])), ["a", "b"]);
}

#[test]
fn settings_in_the_tree_are_refused_while_they_are_given_from_outside() {
    let mut saves = Saves::default();
    saves.files.controller_config = Some(("/etc/c.yaml".to_owned(), Ok(settings("suspend: true").into_bytes())));
    let verdict = saves.save(&[("c.yaml", Some(&settings("")))]);
    assert!(verdict.set.configuration().unwrap().suspend);
    assert_eq!(verdict.rejected.len(), 1);
    assert!(verdict.rejected[0].is_configuration && verdict.rejected[0].file == "c.yaml");
    // Broken from outside: the last good settings stay, and those of the tree do not take their place.
    saves.files.controller_config = Some(("/etc/c.yaml".to_owned(), Ok(b"nonsense".to_vec())));
    let verdict = saves.save(&[]);
    assert!(verdict.set.configuration().unwrap().suspend);
    assert_eq!(verdict.rejected.len(), 1);
}

#[test]
fn a_broken_file_that_mentions_a_configuration_is_one() {
    let good = settings("suspend: true");
    let mut no_text = good.clone().into_bytes();
    no_text.push(0xff);
    for broken in [
        (good.clone() + "a: b: c\n").into_bytes(),
        no_text,
        good.replace("spec:", "spec: !!map").into_bytes(),
        good.replace("ControllerConfiguration", "ControllerConfig").into_bytes(),
    ] {
        let mut saves = Saves::default();
        saves.files.tree.insert("c.yaml".to_owned(), Ok(broken.clone()));
        let verdict = saves.save(&[("a.yaml", Some(&manifest("a", "roles: [a]")))]);
        let text = String::from_utf8_lossy(&broken);
        assert!(verdict.rejected.iter().any(|rejected| rejected.is_configuration), "{text}");
    }
    assert!(!parse("a.yaml", b"# about ControllerConfiguration\n").means_configuration, "nothing is wrong with it");
}

#[test]
fn the_kill_switch_outlives_its_file_until_another_configuration_counts() {
    let (on, off) = (settings("suspend: true"), settings("suspend: false"));
    let typo = off.replace("ControllerConfiguration", "ControllerConfig");
    let suspended = |verdict: &Verdict| verdict.set.configuration().is_some_and(|settings| settings.suspend);
    let other = manifest("a", "roles: [a]");
    for moved in [None, Some(("d.yaml", Some(typo.as_str()))), Some(("c.yaml", Some("# nothing")))] {
        let mut saves = Saves::default();
        let verdict = saves.save(&[("c.yaml", Some(&on)), ("a.yaml", Some(&other))]);
        assert!(suspended(&verdict) && !verdict.configuration_kept);
        let mut changes = vec![("c.yaml", None)];
        changes.extend(moved);
        let verdict = saves.save(&changes);
        assert!(suspended(&verdict) && verdict.configuration_kept, "{moved:?}");
        let verdict = saves.save(&[("a.yaml", None)]);
        assert!(suspended(&verdict) && !verdict.configuration_kept, "it is told once");
        let verdict = saves.save(&[("d.yaml", Some(&off))]);
        assert!(!suspended(&verdict) && verdict.set.configuration().is_some());
        let verdict = saves.save(&[("d.yaml", None)]);
        assert!(verdict.configuration_kept);
    }
}

/// The manifests in force that are held by the limits.
fn held(verdict: &Verdict) -> Vec<String> {
    let desired = verdict.set.desired(Whose::own(&account("111122223333")), None);
    let held = desired.policies.values().filter(|wanted| wanted.outside.is_some());
    held.map(|wanted| wanted.manifest.name.clone()).collect()
}

fn with_bucket(name: &str, bucket: &str) -> String {
    manifest(name, &format!("roles: [{name}], sessionPreferences: {{s3BucketName: {bucket}}}"))
}

fn buckets(admitted: &str) -> String {
    settings(&format!("limits: {{s3BucketNames: [{admitted}]}}"))
}

fn bucket_of(verdict: &Verdict, name: &str) -> String {
    let manifest = verdict.set.permissions().iter().find(|permissions| permissions.name == name).unwrap();
    manifest.settings.log_bucket.as_ref().unwrap().name.clone()
}

#[test]
fn a_version_outside_of_the_limits_is_refused_and_the_last_good_one_stays() {
    let mut saves = Saves::default();
    saves.save(&[("c.yaml", Some(&buckets("audit"))), ("a.yaml", Some(&with_bucket("a", "audit")))]);
    let verdict =
        saves.save(&[("a.yaml", Some(&with_bucket("a", "other"))), ("b.yaml", Some(&with_bucket("b", "other")))]);
    let refused: Vec<_> = verdict.rejected.iter().map(|file| (file.file.as_str(), file.in_force)).collect();
    assert_eq!(refused, [("a.yaml", true), ("b.yaml", false)]);
    assert_eq!((names(&verdict), bucket_of(&verdict, "a"), held(&verdict)), (vec!["a"], "audit".to_owned(), vec![]));
    insta::assert_snapshot!(verdict.rejected[0].faults[0], @r"
    a.yaml:5:55: outside of the limits: the bucket other is not among `s3BucketNames`: audit
       at spec.sessionPreferences.s3BucketName
       |
     5 | spec: {roles: [a], sessionPreferences: {s3BucketName: other}}
       |                                                       ^^^^^
    hint: `spec.limits.s3BucketNames` of the ControllerConfiguration (c.yaml:4) is a ceiling over all manifests: write what it admits, or have it raised
    ");
    let verdict = saves.save(&[]);
    assert!(!verdict.is_news(), "it is told once");
    assert_eq!(verdict.faults.len(), 2);
    // The ceiling is raised: what was refused counts, without another save.
    let verdict = saves.save(&[("c.yaml", Some(&buckets("audit, other")))]);
    assert_eq!(verdict.accepted, ["a.yaml", "b.yaml", "c.yaml"]);
    assert_eq!((names(&verdict), bucket_of(&verdict, "a")), (vec!["a", "b"], "other".to_owned()));
    assert!(verdict.faults.is_empty());
}

#[test]
fn limits_are_lowered_whatever_stands_and_what_is_outside_then_is_held_until_they_are_raised() {
    let mut saves = Saves::default();
    saves.save(&[
        ("c.yaml", Some(&buckets("audit, other"))),
        ("a.yaml", Some(&with_bucket("a", "audit"))),
        ("b.yaml", Some(&with_bucket("b", "other"))),
    ]);
    let verdict = saves.save(&[("c.yaml", Some(&buckets("audit")))]);
    assert_eq!((verdict.accepted.clone(), verdict.rejected.len()), (vec!["c.yaml".to_owned()], 0));
    assert_eq!((names(&verdict), held(&verdict)), (vec!["a", "b"], vec!["b".to_owned()]));
    assert_eq!(verdict.faults.len(), 1);
    assert_eq!(&*verdict.faults[0].place.file, "b.yaml");
    // A version that is outside as well is refused, and what is held stays so.
    let more = with_bucket("b", "other") + &with_bucket("b2", "audit");
    let verdict = saves.save(&[("b.yaml", Some(&more))]);
    assert_eq!((names(&verdict), held(&verdict), verdict.rejected.len()), (vec!["a", "b"], vec!["b".to_owned()], 1));
    // Everything returns by itself.
    let verdict = saves.save(&[("c.yaml", Some(&settings("")))]);
    assert_eq!((names(&verdict), held(&verdict)), (vec!["a", "b", "b2"], vec![]));
    assert!(verdict.faults.is_empty());
}

#[test]
fn limits_that_are_lowered_in_the_same_look_as_a_manifest_is_changed_bind_it_at_once() {
    let mut saves = Saves::default();
    saves.save(&[("c.yaml", Some(&buckets("audit, other"))), ("a.yaml", Some(&with_bucket("a", "audit")))]);
    let verdict = saves.save(&[("c.yaml", Some(&buckets("audit"))), ("a.yaml", Some(&with_bucket("a", "other")))]);
    assert_eq!((verdict.accepted.clone(), bucket_of(&verdict, "a")), (vec!["c.yaml".to_owned()], "audit".to_owned()));
    // And a broken ceiling does not lift the one before.
    let verdict = saves.save(&[("c.yaml", Some("kind: ControllerConfiguration"))]);
    assert_eq!(bucket_of(&verdict, "a"), "audit");
    // Nor does one that is gone.
    let verdict = saves.save(&[("c.yaml", None)]);
    assert_eq!((verdict.configuration_kept, bucket_of(&verdict, "a")), (true, "audit".to_owned()));
    assert!(saves.save(&[("b.yaml", Some(&with_bucket("b", "other")))]).accepted.is_empty());
}

#[test]
fn a_file_with_settings_counts_also_where_its_own_manifests_are_outside() {
    let mut saves = Saves::default();
    let both = |admitted: &str, suspend: bool| {
        with_bucket("a", "audit") + &settings(&format!("suspend: {suspend}, limits: {{s3BucketNames: [{admitted}]}}"))
    };
    saves.save(&[("all.yaml", Some(&both("audit", false)))]);
    let verdict = saves.save(&[("all.yaml", Some(&both("", true)))]);
    assert!(verdict.set.configuration().unwrap().suspend);
    assert_eq!((verdict.rejected.len(), held(&verdict), verdict.faults.len()), (0, vec!["a".to_owned()], 1));
    // So it is at the start.
    let verdict = Saves::default().save(&[("all.yaml", Some(&both("", false)))]);
    assert_eq!((verdict.rejected.len(), held(&verdict)), (0, vec!["a".to_owned()]));
}

#[test]
fn a_ceiling_from_outside_of_the_tree_binds_the_tree() {
    let mut saves = Saves::default();
    let ceiling = |admitted: &str| Some(("/etc/c.yaml".to_owned(), Ok(buckets(admitted).into_bytes())));
    saves.files.controller_config = ceiling("audit");
    let verdict =
        saves.save(&[("a.yaml", Some(&with_bucket("a", "other"))), ("b.yaml", Some(&with_bucket("b", "audit")))]);
    assert_eq!((names(&verdict), verdict.rejected.len()), (vec!["b"], 1));
    // A configuration in the tree is refused, and raises nothing.
    let verdict = saves.save(&[("c.yaml", Some(&buckets("audit, other")))]);
    assert_eq!((names(&verdict), verdict.rejected.len()), (vec!["b"], 1));
    saves.files.controller_config = ceiling("other");
    let verdict = saves.save(&[]);
    assert_eq!((names(&verdict), held(&verdict)), (vec!["a", "b"], vec!["b".to_owned()]));
}
