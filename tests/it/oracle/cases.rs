//! Cases made up at random: policies that come near to what is asked, so that each rule decides some of them.

use std::sync::LazyLock;

use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::ROLE;

/// What can be asked: real actions, each with resources of its types; `*` for those that have none.
const QUESTIONS: &[(&str, &[&str])] = &[
    ("ssmmessages:CreateControlChannel", &["*"]),
    ("ssmmessages:CreateDataChannel", &["*"]),
    ("ssmmessages:OpenControlChannel", &["*"]),
    ("ssmmessages:OpenDataChannel", &["*"]),
    (
        "ssm:UpdateInstanceInformation",
        &[
            "arn:aws:ec2:us-east-1:111122223333:instance/i-0a1b2c3d",
            "arn:aws:ec2:eu-west-1:111122223333:instance/i-ffffffff",
            "arn:aws:ssm:us-east-1:111122223333:managed-instance/mi-0a1b2c3d",
        ],
    ),
    ("s3:GetEncryptionConfiguration", &["arn:aws:s3:::session-logs", "arn:aws:s3:::Other-logs"]),
    (
        "s3:PutObject",
        &["arn:aws:s3:::session-logs/prefix/a.log", "arn:aws:s3:::session-logs/b:c/d+e", "arn:aws:s3:::o/x"],
    ),
    ("s3:PutObjectAcl", &["arn:aws:s3:::session-logs/prefix/a.log"]),
    ("s3:GetObject", &["arn:aws:s3:::session-logs/prefix/a.log", "arn:aws:s3:::session-logs/${aws:username}"]),
    (
        "kms:Decrypt",
        &[
            "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:kms:eu-west-1:111122223333:key/mrk-1234abcd",
        ],
    ),
    ("kms:GenerateDataKey", &["arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"]),
    ("logs:DescribeLogGroups", &["*"]),
    ("logs:DescribeLogStreams", &["arn:aws:logs:us-east-1:111122223333:log-group:/ssm/sessions"]),
    ("logs:CreateLogStream", &["arn:aws:logs:us-east-1:111122223333:log-group:/ssm/sessions:log-stream:web-1"]),
    ("logs:PutLogEvents", &["arn:aws:logs:us-east-1:111122223333:log-group:/ssm/sessions:log-stream:web-1"]),
    ("ssm:GetParameter", &["arn:aws:ssm:us-east-1:111122223333:parameter/AmazonCloudWatch-linux"]),
    ("ssm:PutInventory", &["*"]),
    ("ec2messages:GetMessages", &["*"]),
    ("ec2:DescribeInstanceStatus", &["*"]),
    ("iam:GetRole", &[ROLE]),
    ("iam:ListRoles", &["*"]),
    ("sqs:SendMessage", &["arn:aws:sqs:us-east-1:111122223333:jobs"]),
];

/// What a session asks without knowing which resource it is: some that the pattern admits. The last says whether a `*`
/// of the sixth part may hold colons.
const PATTERNS: &[(&str, &str, bool)] = &[
    ("ssm:UpdateInstanceInformation", "arn:aws:ec2:*:111122223333:instance/i-*", false),
    ("ssm:UpdateInstanceInformation", "arn:aws:ssm:*:111122223333:managed-instance/mi-*", false),
    ("s3:GetEncryptionConfiguration", "arn:aws:s3:::*", false),
    ("s3:PutObject", "arn:aws:s3:::session-logs/prefix/*", true),
    ("s3:PutObject", "arn:aws:s3:::session-logs/*", true),
    ("s3:PutObjectAcl", "arn:aws:s3:::session-logs/*", true),
    ("logs:CreateLogStream", "arn:aws:logs:*:111122223333:log-group:/ssm/sessions:log-stream:*", false),
    ("logs:PutLogEvents", "arn:aws:logs:*:111122223333:log-group:/ssm/sessions:log-stream:*", false),
];

/// Policies as AWS publishes them.
static PUBLISHED: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let managed = read(include_str!("../../data/policies/aws_managed_policies.json"));
    let mut published: Vec<Value> =
        managed.as_object().unwrap().values().map(|policy| policy["Document"].clone()).collect();
    for text in [
        include_str!("../../data/policies/a_existing_role.json"),
        include_str!("../../data/policies/b_minimal_custom_role.json"),
        include_str!("../../data/policies/c_s3_cwlogs_kms.json"),
        include_str!("../../data/policies/ecs_exec_ssmmessages.json"),
    ] {
        // The page's placeholder is no ARN, and IAM refuses it.
        published.push(read(&text.replace("\"key-name\"", "\"arn:aws:kms:us-east-1:111122223333:key/1234*\"")));
    }
    published
});

/// Condition keys of which nothing is known to us; the other judge is told some value.
const UNKNOWN_KEYS: &[(&str, &[&str])] =
    &[("aws:SourceVpc", &["vpc-1", "vpc-2"]), ("aws:PrincipalTag/team", &["red", "session-logs"])];

/// One question about one role, with what the other judge is told of the request.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) action: String,
    /// The resource, or one of those that are asked about.
    pub(crate) resource: String,
    /// What ours is asked about, where it is not that one resource; and whether its last `*` may hold colons.
    pub(crate) within: Option<(&'static str, bool)>,
    pub(crate) policies: Vec<Value>,
    pub(crate) boundary: Option<Value>,
    pub(crate) context: Map<String, Value>,
    /// The policy that ours cannot read.
    pub(crate) unreadable: Option<usize>,
}

impl Case {
    pub(crate) fn made(random: &mut Rng) -> Self {
        let (action, resources) = pick(random, QUESTIONS);
        let resource = pick(random, resources);
        Self::about(random, action, resource)
    }

    /// One about some resource of which it is not known which it is.
    pub(crate) fn made_within(random: &mut Rng) -> Self {
        let (action, pattern, holds_colons) = pick(random, PATTERNS);
        let resource = pattern.replacen("*", "us-east-1", pattern.matches('*').count() - 1).replace('*', "0a1b2c3d");
        Self { within: Some((pattern, holds_colons)), ..Self::about(random, action, &resource) }
    }

    fn about(random: &mut Rng, action: &str, resource: &str) -> Self {
        let mut maker = Maker { random, action, resource };
        let policies: Vec<Value> = (0..maker.random.usize(1..=4)).map(|_| maker.document()).collect();
        let boundary = maker.chance(25).then(|| maker.document());
        let unreadable = maker.chance(3).then(|| maker.random.usize(..policies.len()));
        let (action, resource) = (action.to_owned(), resource.to_owned());
        Self { action, resource, within: None, policies, boundary, context: context(random), unreadable }
    }

    /// Its policies and its boundary.
    pub(crate) fn documents_mut(&mut self) -> impl Iterator<Item = &mut Value> {
        self.policies.iter_mut().chain(&mut self.boundary)
    }

    /// The case as the other judge is asked it.
    pub(crate) fn question(&self) -> Value {
        let Self { action, resource, policies, boundary, context, .. } = self;
        json!({"action": action, "resource": resource, "policies": policies, "boundary": boundary, "context": context})
    }
}

/// What holds of every session of the role, and any value where ours knows none.
fn context(random: &mut Rng) -> Map<String, Value> {
    let mut context = Map::new();
    let mut say = |key: &str, value: &str| context.insert(key.to_owned(), json!(value));
    say("aws:PrincipalArn", ROLE);
    say("aws:PrincipalAccount", "111122223333");
    say("aws:PrincipalType", "AssumedRole");
    say("aws:PrincipalIsAWSService", "false");
    say("aws:TokenIssueTime", pick(random, &["2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z"]));
    say("aws:userid", "AROAEXAMPLE:i-0a1b2c3d");
    for (key, values) in UNKNOWN_KEYS {
        if random.bool() {
            say(key, pick(random, values));
        }
    }
    if random.bool() {
        say("aws:SecureTransport", pick(random, &["true", "false"]));
    }
    context
}

struct Maker<'a> {
    random: &'a mut Rng,
    action: &'a str,
    resource: &'a str,
}

impl Maker<'_> {
    fn chance(&mut self, percent: u32) -> bool {
        self.random.u32(..100) < percent
    }

    fn document(&mut self) -> Value {
        if self.chance(20) {
            return PUBLISHED[self.random.usize(..PUBLISHED.len())].clone();
        }
        let statements: Vec<Value> = (0..self.random.usize(1..=3)).map(|_| self.statement()).collect();
        let mut document = json!({"Statement": statements});
        match self.random.u32(..20) {
            0 => {}
            1 => document["Version"] = json!("2008-10-17"),
            _ => document["Version"] = json!("2012-10-17"),
        }
        document
    }

    fn statement(&mut self) -> Value {
        let mut statement = json!({"Effect": if self.chance(70) { "Allow" } else { "Deny" }});
        let many = |maker: &mut Self, make: fn(&mut Self) -> String| -> Vec<String> {
            (0..maker.random.usize(1..=3)).map(|_| make(maker)).collect()
        };
        let actions = many(self, Self::action);
        statement[if self.chance(10) { "NotAction" } else { "Action" }] = json!(actions);
        let resources = many(self, Self::resource);
        statement[if self.chance(15) { "NotResource" } else { "Resource" }] = json!(resources);
        if self.chance(4) {
            statement["Condition"] = self.condition();
        }
        statement
    }

    /// An action pattern, of the action that is asked for or of another one.
    fn action(&mut self) -> String {
        let named = if self.chance(70) { self.action } else { pick(self.random, QUESTIONS).0 };
        let (service, name) = named.split_once(':').unwrap();
        let name = match self.random.u32(..6) {
            0 => "*".to_owned(),
            1 | 2 => self.with_wildcard(name),
            3 => self.with_wildcard(&with_other_case(name)),
            4 => with_other_case(name),
            _ => name.to_owned(),
        };
        match self.random.u32(..40) {
            0 => "*".to_owned(),
            1 => format!("{}:{name}", service.to_uppercase()),
            _ => format!("{service}:{name}"),
        }
    }

    /// A resource pattern, of the resource that is asked for or of another one.
    fn resource(&mut self) -> String {
        let mut named = self.resource;
        if named == "*" || self.chance(35) {
            let (_, resources) = pick(self.random, QUESTIONS);
            named = pick(self.random, resources);
        }
        if named == "*" || self.chance(15) {
            return "*".to_owned();
        }
        // As written in a policy, what is a wildcard or a variable there would mean something else.
        let named = named.replace("${", "").replace(['*', '}'], "");
        let mut parts: Vec<String> = named.splitn(6, ':').map(str::to_owned).collect();
        for part in &mut parts[3..5] {
            if self.chance(20) {
                *part = "*".to_owned();
            } else if !part.is_empty() && self.chance(8) {
                *part = self.with_wildcard(part);
            }
        }
        match self.random.u32(..13) {
            0..4 => parts[5] = self.with_wildcard(&parts[5]),
            4 => {
                let once = self.with_wildcard(&parts[5]);
                parts[5] = self.with_wildcard(&once);
            }
            5 => parts[5] = with_other_case(&parts[5]),
            6 => parts[5] = "*".to_owned(),
            7 if self.chance(40) => {
                let variable =
                    pick(self.random, &["aws:PrincipalAccount", "aws:username", "aws:PrincipalTag/team", "*", "$"]);
                let at = self.random.usize(..=parts[5].len());
                parts[5].insert_str(at, &format!("${{{variable}}}"));
            }
            8 if self.chance(20) => {
                let at = self.random.usize(1..5);
                parts[at] = parts[at].to_uppercase();
            }
            9 if self.chance(20) => {
                // Fewer parts than an ARN has: sure where a `*` ends it.
                parts.truncate(self.random.usize(3..6));
                parts.push("*".to_owned());
            }
            10 if self.chance(10) => {
                parts.truncate(self.random.usize(3..6));
            }
            11 if self.chance(20) => {
                // A `*` that ends a part, for several of them.
                parts[3] = "*".to_owned();
                parts.remove(4);
            }
            12 if self.chance(40) => {
                // A wildcard anywhere behind the service, so that it may have to run across a colon from inside a part.
                let behind = self.with_wildcard(&parts[3..].join(":"));
                return format!("{}:{behind}", parts[..3].join(":"));
            }
            _ => {}
        }
        parts.join(":")
    }

    fn condition(&mut self) -> Value {
        let lines = [
            json!({"StringEquals": {"aws:PrincipalAccount": ["111122223333", "444455556666"]}}),
            json!({"StringNotEquals": {"aws:PrincipalAccount": "111122223333"}}),
            json!({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/fleet/*"}}),
            json!({"ArnNotEquals": {"aws:principalarn": "arn:aws:iam::111122223333:role/fleet/we?"}}),
            json!({"StringLike": {"aws:PrincipalArn": ["*/db", "*/W*"]}}),
            json!({"StringEqualsIgnoreCase": {"aws:PrincipalType": "assumedrole"}}),
            json!({"Bool": {"aws:PrincipalIsAWSService": "true"}}),
            json!({"Bool": {"aws:SecureTransport": "false"}}),
            json!({"BoolIfExists": {"aws:SecureTransport": "true"}}),
            json!({"Null": {"aws:TokenIssueTime": "false"}}),
            json!({"Null": {"aws:username": "true", "aws:SourceVpc": "true"}}),
            json!({"StringEquals": {"aws:username": "bob"}}),
            json!({"StringNotLike": {"aws:username": "b*"}}),
            json!({"StringEqualsIfExists": {"aws:username": "bob", "aws:SourceVpc": "vpc-1"}}),
            json!({"DateLessThan": {"aws:TokenIssueTime": "2026-03-01T00:00:00Z"}}),
            json!({"StringEquals": {"aws:PrincipalTag/team": "red"}, "StringLike": {"aws:SourceVpc": "vpc-*"}}),
            json!({"StringEquals": {"aws:PrincipalTag/team": "${aws:PrincipalAccount}"}}),
            json!({"StringLike": {"aws:PrincipalArn": "arn:aws:iam::${aws:PrincipalAccount}:role/*"}}),
            json!({"StringNotEquals": {"aws:PrincipalAccount": "${aws:PrincipalTag/team}"}}),
            json!({"StringNotEquals": {"aws:PrincipalAccount": "${aws:username}"}}),
            json!({"StringLike": {"aws:PrincipalArn": "*${aws:username, 'web'}"}}),
        ];
        lines[self.random.usize(..lines.len())].clone()
    }

    /// The text with a stretch of it, or nothing, replaced by a wildcard.
    fn with_wildcard(&mut self, text: &str) -> String {
        let from = self.random.usize(..=text.len());
        let wildcard = pick(self.random, &["*", "*", "?", "?*"]);
        let to = match wildcard {
            "?" => (from + 1).min(text.len()),
            _ => self.random.usize(from..=text.len()),
        };
        format!("{}{wildcard}{}", &text[..from], &text[to..])
    }
}

fn pick<T: Copy>(random: &mut Rng, from: &[T]) -> T {
    from[random.usize(..from.len())]
}

/// The text with the case of one letter turned.
fn with_other_case(text: &str) -> String {
    let Some(at) = text.find(|letter: char| letter.is_ascii_alphabetic()) else { return text.to_owned() };
    let letter = &text[at..=at];
    let turned = if letter == letter.to_uppercase() { letter.to_lowercase() } else { letter.to_uppercase() };
    format!("{}{turned}{}", &text[..at], &text[at + 1..])
}
