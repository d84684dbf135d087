//! What happens to some lives once all is calm: a fight, a plan beyond the guards, a new name, a manifest that goes, a
//! relapse, much to do for one role.
//!
//! Nothing else goes wrong here, so that what must come of it, and when, can be said exactly. What must stay true: a
//! life that was calm is calm again at the end of it.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    judge::wanted,
    life::Life,
    plain::asks_to_be_left_alone,
    scene::{Key, Leave},
};
use crate::{
    manifest::Whose,
    sandbox::{Effect, Fault},
};

/// Until a reading shows what was done: a resync with its jitter, and the answers.
const SEEN: Duration = Duration::from_secs(66 + 24);

/// What grants too much is repaired so soon after it was seen, in whatever fight.
const WIDENED: Duration = Duration::from_secs(300);

/// What is missing is repaired so soon at the latest.
const MISSING: Duration = Duration::from_secs(1800);

/// How often what is missing may be put back in the first hour of a fight, and in a later one.
const FIRST_HOUR: u64 = 10;
const LATER_HOUR: u64 = 4;

const WIDE: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ssmmessages:*","s3:*"],"Resource":"*"}]}"#;

impl Life {
    pub(super) async fn aftermath(&mut self) {
        match self.rng.u8(..48) {
            0 => self.fight(None, MISSING).await,
            1 => self.fight(Some(WIDE), WIDENED).await,
            2..6 => self.beyond_the_guards().await,
            6..10 => self.new_names().await,
            10..14 => self.a_file_goes().await,
            14..20 => self.relapse().await,
            20..26 => self.two_of_one_role().await,
            _ => {}
        }
    }

    /// The policies that are as manifests that repair want them to be.
    fn right(&self) -> Vec<Key> {
        let scene = &self.scene;
        let state = scene.state();
        let set = state.in_force.clone();
        let keys = set.desired(Whose::own(&scene.own), None).policies.into_keys();
        let asked = keys.filter_map(|key| Some((wanted(&state, &set, &scene.own, &key.0, &key.1).ok()?, key)));
        let asked: Vec<_> = asked
            .filter(|(asked, (role, _))| {
                !asked.absent
                    && !role.as_str().eq_ignore_ascii_case(super::OWN_ROLE)
                    && !state.tags.get(role).is_some_and(asks_to_be_left_alone)
            })
            .collect();
        drop(state);
        let is_right = |asked: &super::judge::Asked, (role, policy): &Key| {
            let live = scene.sandbox.document(&scene.own, role.as_str(), policy.as_str());
            let path = scene.sandbox.path(&scene.own, role.as_str());
            let texts = scene.sandbox.policies(&scene.own, role.as_str()).into_iter();
            let texts = texts.filter_map(|policy| scene.sandbox.document(&scene.own, role.as_str(), &policy));
            // Where the role is almost full, what is right may find no room again.
            texts.map(|text| text.len()).sum::<usize>() < 8_000
                && asked.is_as_it_is(live.as_deref())
                && path.is_some_and(|path| !path.starts_with("/aws-") && !asked.outside_path(&path))
        };
        asked.into_iter().filter(|(asked, key)| is_right(asked, key)).map(|(_, key)| key).collect()
    }

    fn is_right(&self, key: &Key) -> bool {
        self.right().contains(key)
    }

    fn live(&self, key: &Key) -> Option<String> {
        self.scene.sandbox.document(&self.scene.own, key.0.as_str(), key.1.as_str())
    }

    fn undo(&self, key: &Key, document: Option<&str>) {
        self.scene.put(&self.scene.own, &key.0, key.1.as_str(), document);
    }

    /// Somebody undoes every repair of one policy within seconds, for three hours, and then no more.
    async fn fight(&mut self, with: Option<&str>, longest: Duration) {
        let right = self.right();
        let Some(key) = self.rng.choice(&right).cloned() else { return };
        let desired = self.scene.state().in_force.desired(Whose::own(&self.scene.own), None);
        let good = desired.document(&key).map(|document| document.as_str().to_owned());
        let hour = Duration::from_secs(3600);
        let mut undone = Instant::now();
        self.undo(&key, with);
        for number in 0..3 {
            let (begin, mut repairs) = (Instant::now(), 0);
            while begin.elapsed() < hour {
                self.pass(Duration::from_secs(2)).await;
                if self.live(&key) == good {
                    repairs += 1;
                    undone = Instant::now();
                    self.undo(&key, with);
                }
                if undone.elapsed() > longest + SEEN {
                    self.scene.violated("I17 fights back off", format!("{}/{} is left for too long", key.0, key.1));
                    return;
                }
            }
            let most = if number == 0 { FIRST_HOUR } else { LATER_HOUR };
            if with.is_none() && repairs > most {
                self.scene.violated("I17 fights back off", format!("{repairs} repairs in hour {number}"));
            }
        }
        if !self.scene.is_told_as_contended(&key) {
            self.scene.violated("I17 fights back off", "nobody was told of the fight");
        }
        self.pass(longest + SEEN).await;
        if !self.is_right(&key) {
            self.scene.violated("I10 convergence", format!("{}/{} after the fight", key.0, key.1));
        }
        self.pass(Duration::from_secs(30 * 60) + SEEN).await;
        if self.scene.is_told_as_contended(&key) {
            self.scene.violated("I17 fights back off", "nobody was told that the fight is over");
        }
    }

    /// A plan beyond the guards is held, and carried out once a person approves of it.
    async fn beyond_the_guards(&mut self) {
        let mut right = self.right();
        self.rng.shuffle(&mut right);
        right.truncate(self.rng.usize(2..8));
        if right.len() < 2 {
            return;
        }
        let most = self.rng.usize(1..right.len());
        self.scene.state().authors.allow(most);
        self.save("lowers the guards");
        self.pass(SEEN).await;
        for key in &right {
            self.undo(key, None);
        }
        self.pass(Duration::from_secs(600)).await;
        self.stop().await;
        let Some(void) = self.once(Leave::Nothing, "0".repeat(64).parse().ok()).await else { return };
        if void.written > 0 || void.digest.is_some() != void.approval_is_void {
            self.scene.violated("I19 an approval admits that very plan", format!("void, and {} written", void.written));
        }
        if let Some((planned, outcome)) = self.approve(void).await
            && (outcome.written != planned || outcome.approval_is_void || !self.scene.unsettled().0.is_empty())
        {
            let what = format!("{} of {planned} written, void {}", outcome.written, outcome.approval_is_void);
            self.scene.violated("I19 an approval admits that very plan", what);
        }
        self.start();
        self.pass(SEEN).await;
    }

    /// What was repaired is again as it was before, all at once, when a reading of that is not believed without a look.
    async fn relapse(&mut self) {
        let mut right = self.right();
        self.rng.shuffle(&mut right);
        right.truncate(self.rng.usize(2..8));
        if right.len() < 2 {
            return;
        }
        for key in &right {
            self.undo(key, None);
        }
        // Until they are repaired, and read back.
        self.pass(2 * SEEN).await;
        if self.rng.bool() {
            let most = self.rng.usize(1..2 * right.len());
            self.scene.state().authors.allow(most);
            self.save("lowers the guards");
            let soon = self.rng.u64(1..10);
            self.pass(Duration::from_secs(soon)).await;
        }
        for key in &right {
            self.undo(key, None);
        }
        self.pass(2 * SEEN).await;
        self.all_is_let_through().await;
    }

    /// Both policies of one role are to be repaired. While the first is under way more comes, so that all of it together
    /// is one more than the guards let through.
    async fn two_of_one_role(&mut self) {
        let (one, mut others): (Vec<Key>, Vec<Key>) = {
            let right = self.right();
            let twice = |key: &&Key| right.iter().filter(|other| other.0 == key.0).count() > 1;
            let Some(role) = right.iter().find(twice).map(|key| key.0.clone()) else { return };
            right.into_iter().partition(|key| key.0 == role)
        };
        self.rng.shuffle(&mut others);
        others.truncate(self.rng.usize(1..5));
        if others.is_empty() {
            return;
        }
        self.stop().await;
        self.scene.state().authors.hurry(one.len() + others.len() - 1);
        self.save("lowers the guards");
        self.start();
        self.pass(Duration::from_secs(20)).await;
        self.scene.sandbox.fault(Fault::new(Effect::DelayMs(self.rng.u64(3_000..7_000))).on("PutRolePolicy"));
        for key in &one {
            self.undo(key, None);
        }
        let meanwhile = self.rng.u64(1_000..15_000);
        self.pass(Duration::from_millis(meanwhile)).await;
        for key in &others {
            self.undo(key, None);
        }
        self.pass(SEEN).await;
        self.scene.sandbox.clear_faults();
        self.all_is_let_through().await;
    }

    /// The guards hold nothing any more, and all becomes right.
    async fn all_is_let_through(&mut self) {
        self.scene.state().authors.allow(1000);
        self.save("lifts the guards");
        // A fight that this made may keep a repair waiting.
        self.pass(MISSING + SEEN).await;
        let unsettled = self.scene.unsettled().0;
        if !unsettled.is_empty() {
            self.scene.violated("I10 convergence", unsettled.join("; "));
        }
    }

    /// The manifests of one file get other names for their policies.
    async fn new_names(&mut self) {
        let before = self.right();
        let what = self.scene.state().authors.rename();
        self.save(&what);
        for _ in 0..10 {
            self.pass(Duration::from_secs(60)).await;
        }
        let after = self.right();
        for key in before {
            let account = self.scene.own.clone();
            let state = self.scene.state();
            let formers = state.process.former.get(&key).into_iter().flatten();
            let mut newer = formers.filter_map(|former| state.successor_of(&state.in_force, &account, &key.0, former));
            let has_gone_over = newer.any(|newer| after.contains(&newer));
            drop(state);
            // Where another manifest has asked for the new name before, this one is told as an orphan.
            if has_gone_over && self.live(&key).is_some() && !self.scene.is_told_as_orphaned(&key) {
                self.scene.violated("I10 convergence", format!("{}/{} is left under its old name", key.0, key.1));
            }
        }
    }

    /// The manifests of one file are released: nothing is removed, and what they leave behind is told.
    async fn a_file_goes(&mut self) {
        let before = self.right();
        let effects = self.scene.state().tally.effects;
        let what = self.scene.state().authors.forget();
        self.save(&what);
        self.pass(Duration::from_secs(300)).await;
        let named: Vec<Key> =
            self.scene.state().in_force.desired(Whose::own(&self.scene.own), None).policies.into_keys().collect();
        for key in before.iter().filter(|key| !named.contains(key)) {
            if !self.scene.is_told_as_orphaned(key) {
                self.scene.violated("I15 orphans are told as they are", format!("{}/{} is not", key.0, key.1));
            }
        }
        // A conflict may be over now: then there is something to repair.
        if before.iter().any(|key| !named.contains(key) && self.live(key).is_none()) {
            self.scene.violated("I15 orphans are told as they are", format!("{effects} effects before a removal"));
        }
    }
}
