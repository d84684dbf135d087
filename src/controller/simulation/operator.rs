//! The operator: the controller's settings, well chosen and badly, and what is meant by them.
//!
//! Knows the text of a `ControllerConfiguration` and nothing of how it is read. What must stay true: which settings are
//! meant is told by the line on which their name stands.

use fastrand::Rng;

use super::plain::Ceiling;

/// How much may change within an hour, as it is meant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bounds {
    pub(super) changes: usize,
    pub(super) deletes: usize,
    pub(super) percent: Option<usize>,
}

/// What holds where nobody says anything.
impl Default for Bounds {
    fn default() -> Self {
        Self { changes: 100, deletes: 5, percent: None }
    }
}

/// What somebody means by the controller's settings.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    pub(super) suspend: bool,
    pub(super) observe: bool,
    pub(super) resync: Option<&'static str>,
    pub(super) bounds: Option<Bounds>,
    pub(super) ceiling: Ceiling,
}

/// The line on which the name stands in settings before which there is no empty line.
const NAME_LINE: usize = 3;

impl Settings {
    /// Settings to begin with.
    pub(super) fn chosen(rng: &mut Rng) -> Self {
        let resync = rng.choice(["20s", "1m", "5m"]);
        let bounds = rng.bool().then(|| bounds(rng));
        let ceiling = if rng.u8(..4) == 0 { ceiling(rng) } else { Ceiling::default() };
        Self { resync, bounds, ceiling, ..Self::default() }
    }

    /// Changes something of it. In words, for the trace.
    pub(super) fn change(&mut self, rng: &mut Rng) -> String {
        match rng.u8(..10) {
            0..3 => {
                self.suspend = !self.suspend;
                format!("sets the kill switch to {}", self.suspend)
            }
            3 => {
                (self.observe, self.suspend) = (rng.bool(), false);
                self.resync = rng.choice(["5s", "20s", "1m", "5m"]);
                format!("sets defaultMode to observe {}, resyncInterval to {:?}", self.observe, self.resync)
            }
            4..7 => {
                self.bounds = (rng.u8(..4) > 0).then(|| bounds(rng));
                format!("sets the guards to {:?}", self.bounds)
            }
            _ => {
                self.ceiling = if rng.bool() { ceiling(rng) } else { Ceiling::default() };
                format!("sets the limits to {:?}", self.ceiling)
            }
        }
    }

    /// The text of settings of this number.
    pub(super) fn text(&self, number: usize) -> String {
        let mut text = "\n".repeat(number);
        text.push_str(&format!(
            "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: ControllerConfiguration\nmetadata: {{name: controller}}\nspec:\n  suspend: {}\n  defaultMode: {}\n",
            self.suspend,
            if self.observe { "observe" } else { "enforce" }
        ));
        if let Some(resync) = self.resync {
            text.push_str(&format!("  resyncInterval: {resync}\n"));
        }
        if let Some(Bounds { changes, deletes, percent }) = self.bounds {
            let percent = percent.map(|percent| format!(", maxChangePercent: {percent}")).unwrap_or_default();
            text.push_str(&format!(
                "  guards: {{maxChangesPerHour: {changes}, maxDeletesPerHour: {deletes}{percent}}}\n"
            ));
        }
        let Ceiling { accounts, paths, keys, buckets, groups } = &self.ceiling;
        let limits: Vec<String> = [
            ("accountIds", accounts),
            ("rolePathPrefixes", paths),
            ("kmsKeyArns", keys),
            ("s3BucketNames", buckets),
            ("cloudWatchLogGroupNames", groups),
        ]
        .into_iter()
        .filter_map(|(key, admitted)| Some(format!("{key}: {:?}", admitted.as_ref()?)))
        .collect();
        if !limits.is_empty() {
            text.push_str(&format!("  limits: {{{}}}\n", limits.join(", ")));
        }
        text
    }

    /// The number of the settings whose name stands on this line.
    pub(super) fn number_at(line: usize) -> Option<usize> {
        line.checked_sub(NAME_LINE)
    }
}

fn bounds(rng: &mut Rng) -> Bounds {
    Bounds { changes: rng.usize(1..12), deletes: rng.usize(..4), percent: (rng.u8(..3) == 0).then(|| rng.usize(1..60)) }
}

fn ceiling(rng: &mut Rng) -> Ceiling {
    let mut some =
        |choices: [&[&'static str]; 3]| (rng.u8(..3) == 0).then(|| choices[rng.usize(..choices.len())].to_vec());
    Ceiling {
        accounts: some([&[super::OWN], &[super::OWN, super::OTHER], &[super::OTHER]]),
        paths: some([&["/team/"], &["/"], &["/team/", "/elsewhere/"]]),
        keys: some([&[], &["arn:aws:kms:eu-west-1:*:key/*"], &["arn:*:kms:eu-west-?:*:key/*"]]),
        buckets: some([&["audit-1"], &["audit-*"], &["*-0", "other"]]),
        groups: some([&[], &["/ssm/*"], &["/other"]]),
    }
}
