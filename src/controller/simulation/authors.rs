//! The people who write manifests: well, badly, in several files, and what they mean by it.
//!
//! Everything goes through the program's own parsing and its rules of what stands; what is meant is kept beside it, by
//! the number that each document carries in its description. What must stay true: a document that was spoilt on purpose
//! never counts.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::{
    operator::{Bounds, Settings},
    plain::{Ceiling, Grants},
};
use crate::{
    manifest::{Files, ManifestSet, Permissions, Standing, Verdict},
    names::AccountId,
};

pub(super) const CUSTOMARY: &str = "SessionManagerPermissions";

/// What somebody means by one document.
#[derive(Debug, Clone, Default)]
pub(super) struct Meant {
    pub(super) name: String,
    pub(super) account: Option<String>,
    pub(super) roles: Vec<String>,
    pub(super) observe: Option<bool>,
    pub(super) suspend: bool,
    /// The policy is to be gone.
    pub(super) absent: bool,
    pub(super) policy: Option<&'static str>,
    pub(super) registers: bool,
    encryption: Option<bool>,
    bucket: Option<(String, Option<&'static str>, Option<String>)>,
    keys: Vec<String>,
    bucket_keys: Vec<String>,
    log_group: Option<&'static str>,
}

/// One file: its documents, or text that is spoilt.
#[derive(Debug, Clone)]
enum Page {
    /// Numbers of what is meant.
    Good(Vec<usize>),
    Spoilt(Vec<u8>),
}

/// The tree of manifests, and everything that was ever meant.
#[derive(Debug)]
pub(super) struct Authors {
    rng: Rng,
    /// Names that roles may have, whether or not there are such roles.
    roles: Vec<String>,
    pages: BTreeMap<String, Page>,
    /// By number, of settings that were ever meant.
    settings: Vec<Settings>,
    /// Which of them stand somewhere now.
    in_file: Option<usize>,
    /// Whether they are given apart from the tree, as with `--controller-config`.
    is_apart: bool,
    /// By the number in the description.
    meant: Vec<Meant>,
    standing: Standing,
}

impl Authors {
    pub(super) fn new(mut rng: Rng, roles: Vec<String>) -> Self {
        let is_apart = rng.u8(..4) == 0;
        let settings = Settings::chosen(&mut rng);
        let in_file = (is_apart || rng.u8(..4) > 0).then_some(0);
        let mut authors = Self {
            rng,
            roles,
            pages: BTreeMap::new(),
            settings: vec![settings],
            in_file,
            is_apart,
            meant: Vec::new(),
            standing: Standing::default(),
        };
        for number in 0..authors.rng.usize(2..5) {
            authors.write(number);
        }
        authors
    }

    /// What was meant by a document that is in force. None: it was never meant to count.
    pub(super) fn meant_by(&self, permissions: &Permissions) -> Option<&Meant> {
        self.meant.get(self.number_of(permissions)?)
    }

    /// The number of a document that is in force.
    pub(super) fn number_of(&self, permissions: &Permissions) -> Option<usize> {
        permissions.description.as_deref()?.strip_prefix("number ")?.parse().ok()
    }

    /// What was meant by the document of this number.
    pub(super) fn meant(&self, number: usize) -> &Meant {
        &self.meant[number]
    }

    /// What was meant by the settings that are in force.
    pub(super) fn settings_of(&self, set: &ManifestSet) -> Settings {
        let line = set.configuration().map(|configuration| configuration.place.line);
        let number = line.and_then(Settings::number_at);
        number.and_then(|number| self.settings.get(number)).cloned().unwrap_or_default()
    }

    /// The settings as they are changed next.
    fn change_settings<T>(&mut self, change: impl FnOnce(&mut Settings, &mut Rng) -> T) -> T {
        let mut settings = self.in_file.map(|number| self.settings[number].clone()).unwrap_or_default();
        let changed = change(&mut settings, &mut self.rng);
        self.in_file = Some(self.settings.len());
        self.settings.push(settings);
        changed
    }

    /// Somebody edits something. In words, for the trace.
    pub(super) fn edit(&mut self) -> String {
        let number = self.rng.usize(..5);
        match self.rng.u8(..26) {
            0..6 => {
                self.write(number);
                format!("writes file {number} anew")
            }
            6..9 => {
                let spoilt = self.spoil(number);
                self.pages.insert(file(number), Page::Spoilt(spoilt));
                format!("breaks file {number}")
            }
            9..10 => {
                self.pages.remove(&file(number));
                format!("removes file {number}")
            }
            10..13 => self.change_one(number, "suspends or resumes", |meant, _| meant.suspend = !meant.suspend),
            13..15 => self.change_one(number, "changes the mode in", |meant, rng| {
                meant.observe = rng.choice([None, Some(true), Some(false)]).flatten();
            }),
            15..16 => self.change_one(number, "changes nothing that matters in", |_, _| ()),
            16 if !self.is_apart => {
                self.in_file = None;
                "removes the controller's settings".to_owned()
            }
            17..20 => self.change_one(number, "wants something else to be there or gone in", |meant, rng| {
                if rng.bool() {
                    meant.absent = !meant.absent;
                } else {
                    meant.policy = if meant.policy.is_none() { Some("Sessions") } else { None };
                }
            }),
            _ => self.change_settings(Settings::change),
        }
    }

    /// Everything that is broken is mended, the kill switch is off, and the guards let everything through.
    pub(super) fn mend(&mut self) {
        let spoilt: Vec<usize> =
            (0..5).filter(|number| matches!(self.pages.get(&file(*number)), Some(Page::Spoilt(_)))).collect();
        for number in spoilt {
            self.write(number);
        }
        self.change_settings(|settings, rng| {
            let ceiling = if rng.bool() { settings.ceiling.clone() } else { Ceiling::default() };
            let bounds = Some(Bounds { changes: 1000, deletes: 1000, percent: None });
            *settings = Settings { resync: Some("1m"), ceiling, bounds, ..Settings::default() };
        });
    }

    /// So many changes within an hour, and no more.
    pub(super) fn allow(&mut self, changes: usize) {
        self.change_settings(|settings, _| settings.bounds = Some(Bounds { changes, deletes: 1000, percent: None }));
    }

    /// The same, and IAM is read every few seconds.
    pub(super) fn hurry(&mut self, changes: usize) {
        self.allow(changes);
        self.change_settings(|settings, _| settings.resync = Some("5s"));
    }

    /// The policies of one file get other names. In words, for the trace.
    pub(super) fn rename(&mut self) -> String {
        let number = self.rng.usize(..5);
        if let Some(Page::Good(documents)) = self.pages.get_mut(&file(number)) {
            for document in documents {
                let mut meant = self.meant[*document].clone();
                meant.policy = if meant.policy.is_none() { Some("Sessions") } else { None };
                *document = self.meant.len();
                self.meant.push(meant);
            }
        }
        format!("renames the policies of file {number}")
    }

    /// One file is removed. In words, for the trace.
    pub(super) fn forget(&mut self) -> String {
        let number = self.rng.usize(..5);
        if self.pages.len() > 1 {
            self.pages.remove(&file(number));
        }
        format!("removes file {number}")
    }

    /// What the program makes of the files as they are now.
    pub(super) fn look(&mut self) -> Verdict {
        let mut files = Files::default();
        for (name, page) in &self.pages {
            let bytes = match page {
                Page::Spoilt(bytes) => bytes.clone(),
                Page::Good(documents) => self.text(documents).into_bytes(),
            };
            files.tree.insert(name.clone(), Ok(bytes));
        }
        if let Some(number) = self.in_file {
            let text = self.settings[number].text(number).into_bytes();
            if self.is_apart {
                files.controller_config = Some(("settings.yaml".to_owned(), Ok(text)));
            } else {
                files.tree.insert("controller.yaml".to_owned(), Ok(text));
            }
        }
        self.standing.take(files)
    }

    fn change_one(&mut self, number: usize, what: &str, change: impl FnOnce(&mut Meant, &mut Rng)) -> String {
        if let Some(Page::Good(documents)) = self.pages.get_mut(&file(number))
            && let Some(document) = self.rng.choice(documents)
        {
            let mut meant = self.meant[*document].clone();
            change(&mut meant, &mut self.rng);
            *document = self.meant.len();
            self.meant.push(meant);
        }
        format!("{what} file {number}")
    }

    fn write(&mut self, number: usize) {
        let documents = (0..self.rng.usize(1..4))
            .map(|place| {
                let meant = self.invent(format!("doc-{number}-{place}"));
                self.meant.push(meant);
                self.meant.len() - 1
            })
            .collect();
        self.pages.insert(file(number), Page::Good(documents));
    }

    fn text(&self, documents: &[usize]) -> String {
        let texts: Vec<String> = documents.iter().map(|number| self.meant[*number].text(*number)).collect();
        texts.join("---\n")
    }

    /// A file as somebody leaves it who should not have saved it.
    fn spoil(&mut self, number: usize) -> Vec<u8> {
        let mut meant = self.invent(format!("doc-{number}-0"));
        // What counts would name it; a spoilt one has no number that anybody knows.
        let mut text = meant.text(usize::MAX);
        match self.rng.u8(..7) {
            0 => text.truncate(text.len() / 2),
            1 => text = text.replace("roles:", "role:"),
            2 => text.push_str("  modus: enforce\n"),
            3 => {
                meant.roles.push("no/role".to_owned());
                text = meant.text(usize::MAX);
            }
            4 => text = text.replace("spec:", "spec: ["),
            5 => text.push_str("---\napiVersion: ssm-role-controller.dev/v1alpha1\nkind: SessionManagerPermission\nmetadata: {name: x}\nspec: {roles: [x]}\n"),
            _ => return vec![0xff, 0xfe, b'\n', 0x00],
        }
        // Half a file may be a good one: then it is made worse.
        text.push_str("\n\t: }{\n");
        text.into_bytes()
    }

    fn invent(&mut self, name: String) -> Meant {
        let rng = &mut self.rng;
        let mut roles: Vec<String> = Vec::new();
        for _ in 0..rng.usize(1..12) {
            let role = self.roles[rng.usize(..self.roles.len())].clone();
            if !roles.iter().any(|known| known.eq_ignore_ascii_case(&role)) {
                roles.push(match rng.u8(..5) {
                    0 => role.to_ascii_uppercase(),
                    1 => role.to_ascii_lowercase(),
                    _ => role,
                });
            }
        }
        let account = match rng.u8(..12) {
            0 => Some("999999999999".to_owned()),
            1 => Some(super::OTHER.to_owned()),
            2..6 => Some(super::OWN.to_owned()),
            _ => None,
        };
        let key = |rng: &mut Rng| {
            let number = rng.u8(..3);
            format!("arn:aws:kms:eu-west-{number}:{}:key/1234abcd-12ab-34cd-56ef-1234567890a{number}", super::OWN)
        };
        let keys = if rng.u8(..4) == 0 { vec![key(rng)] } else { Vec::new() };
        let bucket = (rng.u8(..4) == 0).then(|| {
            let prefix = rng.choice([None, Some("web/logs")]).flatten();
            let own = Some(super::OWN.to_owned());
            let owner = rng.choice([None, own, Some(super::OTHER.to_owned())]).flatten();
            (format!("audit-{}", rng.u8(..3)), prefix, owner)
        });
        let bucket_keys = if bucket.is_some() && rng.bool() { vec![key(rng)] } else { Vec::new() };
        Meant {
            name,
            account,
            roles,
            observe: match rng.u8(..8) {
                0 => Some(true),
                1 | 2 => Some(false),
                _ => None,
            },
            suspend: rng.u8(..12) == 0,
            absent: rng.u8(..8) == 0,
            policy: (rng.u8(..5) == 0).then_some("Sessions"),
            registers: rng.u8(..5) == 0,
            encryption: rng.choice([None, None, Some(false)]).flatten(),
            bucket,
            keys,
            bucket_keys,
            log_group: (rng.u8(..6) == 0).then_some("/ssm/sessions"),
        }
    }
}

fn file(number: usize) -> String {
    format!("file-{number}.yaml")
}

impl Meant {
    pub(super) fn policy(&self) -> &str {
        self.policy.unwrap_or(CUSTOMARY)
    }

    /// Whether it is about this role of this account.
    pub(super) fn is_about(&self, account: &AccountId, role: &str, policy: &str) -> bool {
        self.is_in(account) && self.policy() == policy && self.names(role)
    }

    /// Whether it is about this account.
    pub(super) fn is_in(&self, account: &AccountId) -> bool {
        self.account.as_deref().is_none_or(|named| named == account.as_str())
    }

    /// Whether it names this role.
    pub(super) fn names(&self, role: &str) -> bool {
        self.roles.iter().any(|named| named.eq_ignore_ascii_case(role))
    }

    /// What it asks for, told from the documentation of AWS and not from the program.
    pub(super) fn grants(&self, account: &AccountId) -> Grants {
        let mut grants = Grants::new();
        let mut allow = |action: &str, resource: &str| {
            grants.insert((action.to_ascii_lowercase(), resource.to_owned()));
        };
        for direction in ["Create", "Open"] {
            for channel in ["Control", "Data"] {
                allow(&format!("ssmmessages:{direction}{channel}Channel"), "*");
            }
        }
        if self.registers {
            allow("ssm:UpdateInstanceInformation", "*");
        }
        match &self.bucket {
            None if self.encryption != Some(false) => allow("s3:GetEncryptionConfiguration", "*"),
            None => {}
            Some((bucket, prefix, owner)) => {
                let arn = format!("arn:aws:s3:::{bucket}");
                let objects = prefix.map_or_else(|| format!("{arn}/*"), |prefix| format!("{arn}/{prefix}/*"));
                allow("s3:GetEncryptionConfiguration", &arn);
                allow("s3:PutObject", &objects);
                if owner.as_deref().is_some_and(|owner| owner != account.as_str()) {
                    allow("s3:PutObjectAcl", &objects);
                }
            }
        }
        for key in self.keys.iter().chain(&self.bucket_keys) {
            allow("kms:Decrypt", key);
        }
        for key in &self.bucket_keys {
            allow("kms:GenerateDataKey", key);
        }
        if let Some(group) = self.log_group {
            allow("logs:DescribeLogGroups", "*");
            let group = format!("arn:aws:logs:*:{account}:log-group:{group}");
            for action in ["CreateLogStream", "PutLogEvents", "DescribeLogStreams"] {
                allow(&format!("logs:{action}"), &group);
                allow(&format!("logs:{action}"), &format!("{group}:*"));
            }
        }
        grants
    }

    fn text(&self, number: usize) -> String {
        let mut text = format!(
            "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: SessionManagerPermissions\nmetadata: {{name: {}}}\nspec:\n  description: number {number}\n  roles: [{}]\n",
            self.name,
            self.roles.iter().map(|role| format!("\"{role}\"")).collect::<Vec<_>>().join(", ")
        );
        let mut line = |line: String| {
            text.push_str("  ");
            text.push_str(&line);
            text.push('\n');
        };
        if let Some(account) = &self.account {
            line(format!("accountId: \"{account}\""));
        }
        if let Some(observe) = self.observe {
            line(format!("mode: {}", if observe { "observe" } else { "enforce" }));
        }
        if self.suspend {
            line("suspend: true".to_owned());
        }
        if self.absent {
            line("state: absent".to_owned());
        }
        if let Some(policy) = self.policy {
            line(format!("policyName: {policy}"));
        }
        if self.registers {
            line("nodeRegistration: granted".to_owned());
        }
        let mut preferences = Vec::new();
        preferences.extend(self.encryption.map(|on| format!("s3EncryptionEnabled: {on}")));
        preferences.extend(self.log_group.map(|group| format!("cloudWatchLogGroupName: {group}")));
        if let Some((bucket, prefix, _)) = &self.bucket {
            preferences.push(format!("s3BucketName: {bucket}"));
            preferences.extend(prefix.map(|prefix| format!("s3KeyPrefix: {prefix}")));
        }
        if !preferences.is_empty() {
            line(format!("sessionPreferences: {{{}}}", preferences.join(", ")));
        }
        let quoted = |keys: &[String]| keys.iter().map(|key| format!("\"{key}\"")).collect::<Vec<_>>().join(", ");
        if !self.keys.is_empty() {
            line(format!("kmsKeyArns: [{}]", quoted(&self.keys)));
        }
        let mut delivery = Vec::new();
        if let Some((_, _, Some(owner))) = &self.bucket {
            delivery.push(format!("s3BucketOwner: \"{owner}\""));
        }
        if !self.bucket_keys.is_empty() {
            delivery.push(format!("s3KmsKeyArns: [{}]", quoted(&self.bucket_keys)));
        }
        if !delivery.is_empty() {
            line(format!("logDelivery: {{{}}}", delivery.join(", ")));
        }
        text
    }
}
