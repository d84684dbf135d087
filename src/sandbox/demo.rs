//! The demo: an account whose roles stand in every relation to the policy that they should have, and somebody who
//! keeps changing them.
//!
//! Knows the sandbox's handle, and by heart what the demo's manifests ask for. What must stay true: the same steps tell
//! the same story.

use crate::names::AccountId;

use super::{RoleSeed, Sandbox};

/// The inline policy that the demo's manifests name.
const POLICY: &str = "SessionManagerPermissions";

/// The managed policy by which the demo's instances register with Systems Manager.
const CORE: &str = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore";

/// AWS's documented policy with a key: what web-server, web-canary and bastion should have.
const WEB: &str = r#"{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": [
        "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssmmessages:OpenDataChannel"
      ],
      "Resource": "*"
    },
    {
      "Effect": "Allow",
      "Action": [
        "s3:GetEncryptionConfiguration"
      ],
      "Resource": "*"
    },
    {
      "Effect": "Allow",
      "Action": [
        "kms:Decrypt"
      ],
      "Resource": "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    }
  ]
}"#;

/// [`WEB`] after somebody took the key away: sessions fail in the handshake.
const WEB_WITHOUT_KEY: &str = r#"{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": [
        "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssmmessages:OpenDataChannel"
      ],
      "Resource": "*"
    },
    {
      "Effect": "Allow",
      "Action": [
        "s3:GetEncryptionConfiguration"
      ],
      "Resource": "*"
    }
  ]
}"#;

/// [`WEB`] after somebody tidied it: other order, Sids and case; the same meaning.
const WEB_TIDIED: &str = r#"{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "SessionKey",
      "Effect": "Allow",
      "Action": "kms:decrypt",
      "Resource": [
        "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
      ]
    },
    {
      "Sid": "Bucket",
      "Effect": "Allow",
      "Action": "S3:GetEncryptionConfiguration",
      "Resource": "*"
    },
    {
      "Sid": "Channels",
      "Effect": "Allow",
      "Action": [
        "ssmmessages:OpenDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:CreateControlChannel"
      ],
      "Resource": "*"
    }
  ]
}"#;

/// What batch-worker should have, widened by somebody in a hurry: every `ssmmessages` action, and a bucket to read.
const BATCH_WIDENED: &str = r#"{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": "ssmmessages:*",
      "Resource": "*"
    },
    {
      "Effect": "Allow",
      "Action": "s3:GetEncryptionConfiguration",
      "Resource": "arn:aws:s3:::audit-sessions"
    },
    {
      "Effect": "Allow",
      "Action": "s3:PutObject",
      "Resource": "arn:aws:s3:::audit-sessions/batch/*"
    },
    {
      "Effect": "Allow",
      "Action": "logs:DescribeLogGroups",
      "Resource": "*"
    },
    {
      "Effect": "Allow",
      "Action": [
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "logs:DescribeLogStreams"
      ],
      "Resource": [
        "arn:aws:logs:*:111122223333:log-group:/ssm/sessions",
        "arn:aws:logs:*:111122223333:log-group:/ssm/sessions:*"
      ]
    },
    {
      "Sid": "TemporaryDebugging",
      "Effect": "Allow",
      "Action": [
        "s3:GetObject",
        "s3:ListBucket"
      ],
      "Resource": [
        "arn:aws:s3:::batch-input",
        "arn:aws:s3:::batch-input/*"
      ]
    }
  ]
}"#;

/// What build-agent should have, written by another hand: statements in another order, with Sids, in another case.
const BUILD_REWRITTEN: &str = r#"{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "SessionLogs",
      "Effect": "Allow",
      "Action": [
        "logs:describelogstreams",
        "logs:putlogevents",
        "logs:createlogstream"
      ],
      "Resource": [
        "arn:aws:logs:*:111122223333:log-group:/ssm/sessions:*",
        "arn:aws:logs:*:111122223333:log-group:/ssm/sessions"
      ]
    },
    {
      "Sid": "FindLogGroup",
      "Effect": "Allow",
      "Action": "logs:DescribeLogGroups",
      "Resource": "*"
    },
    {
      "Sid": "WriteTranscripts",
      "Effect": "Allow",
      "Action": "s3:PutObject",
      "Resource": "arn:aws:s3:::audit-sessions/batch/*"
    },
    {
      "Sid": "CheckEncryption",
      "Effect": "Allow",
      "Action": "s3:GetEncryptionConfiguration",
      "Resource": "arn:aws:s3:::audit-sessions"
    },
    {
      "Sid": "Channels",
      "Effect": "Allow",
      "Action": [
        "ssmmessages:OpenDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:CreateControlChannel"
      ],
      "Resource": "*"
    }
  ]
}"#;

/// What legacy-app has: one channel action short of what it should have.
const LEGACY_NARROWED: &str = r#"{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": [
        "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel"
      ],
      "Resource": "*"
    },
    {
      "Effect": "Allow",
      "Action": "s3:GetEncryptionConfiguration",
      "Resource": "*"
    }
  ]
}"#;

/// An inline policy that is nobody's business here: the web servers read their assets.
const ASSETS: &str = r#"{"Version":"2012-10-17","Statement":[{"Sid":"ReadAssets","Effect":"Allow","Action":["s3:GetObject"],"Resource":"arn:aws:s3:::example-web-assets/*"}]}"#;

/// Another one: the build agents push images.
const PUSH_IMAGES: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ecr:GetAuthorizationToken","ecr:BatchCheckLayerAvailability","ecr:PutImage"],"Resource":"*"}]}"#;

/// What the console's "Revoke sessions" writes.
const REVOKED: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":["*"],"Resource":["*"],"Condition":{"DateLessThan":{"aws:TokenIssueTime":"2024-10-30T16:20:00.000Z"}}}]}"#;

const TRUST_LAMBDA: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

/// A sandbox with the demo's account.
#[must_use]
pub fn sandbox(account: AccountId) -> Sandbox {
    let sandbox = Sandbox::new(account);
    seed(&sandbox);
    sandbox
}

/// Plants the demo's roles in the sandbox's first account. The documents name the account 111122223333.
pub fn seed(sandbox: &Sandbox) {
    let account = sandbox.account();
    let instance = |name: &str, team: &str| {
        RoleSeed::new(name).attached(CORE).instance_profile(name).tag("team", team).tag("environment", "production")
    };
    let lambda = RoleSeed { trust: TRUST_LAMBDA.to_owned(), ..RoleSeed::new("nightly-report").path("/service-role/") };
    let service_linked = RoleSeed {
        trust: super::role::trust_of_ec2(),
        ..RoleSeed::new("AWSServiceRoleForEC2")
            .path("/aws-service-role/ec2.amazonaws.com/")
            .attached("arn:aws:iam::aws:policy/aws-service-role/AWSEC2ServiceRolePolicy")
    };
    for role in [
        instance("web-server", "web").policy("ReadAssets", ASSETS).policy(POLICY, WEB),
        instance("web-canary", "web").policy("ReadAssets", ASSETS),
        instance("bastion", "platform").policy(POLICY, WEB_WITHOUT_KEY).policy("AWSRevokeOlderSessions", REVOKED),
        instance("batch-worker", "data").policy(POLICY, BATCH_WIDENED),
        instance("build-agent", "platform").policy("PushImages", PUSH_IMAGES).policy(POLICY, BUILD_REWRITTEN),
        instance("legacy-app", "billing").policy(POLICY, LEGACY_NARROWED),
        service_linked,
        lambda.policy("WriteReport", ASSETS),
        RoleSeed::new("deploy-pipeline").path("/ci/").tag("team", "platform").policy("PushImages", PUSH_IMAGES),
    ] {
        sandbox.plant(&account, role);
    }
}

/// Does the next act of a little play of tampering, and says what somebody did. After the last act it begins again.
#[must_use]
pub fn tamper(sandbox: &Sandbox, step: u64) -> String {
    let account = sandbox.account();
    let write = |role: &str, policy: &str, document: &str| sandbox.write_policy(&account, role, policy, document);
    let (done, sentence) = match step % 6 {
        0 => (
            sandbox.remove_policy(&account, "web-server", POLICY),
            "Somebody deleted SessionManagerPermissions from web-server.",
        ),
        1 => (
            write("web-canary", POLICY, WEB_WITHOUT_KEY),
            "Somebody dropped the kms:Decrypt statement from SessionManagerPermissions of web-canary.",
        ),
        2 => (
            write("batch-worker", POLICY, BATCH_WIDENED),
            "Somebody widened SessionManagerPermissions of batch-worker: ssmmessages:*, and a bucket to read.",
        ),
        3 => (
            write("bastion", POLICY, WEB_TIDIED),
            "Somebody reordered SessionManagerPermissions of bastion and gave its statements Sids; it means the same.",
        ),
        4 => (
            write("web-server", "TemporaryDebugging", ASSETS),
            "Somebody added an inline policy of another name, TemporaryDebugging, to web-server.",
        ),
        _ => (
            sandbox.remove_policy(&account, "build-agent", POLICY),
            "Somebody deleted SessionManagerPermissions from build-agent.",
        ),
    };
    if done { sentence.to_owned() } else { "Somebody found nothing to change: the role is gone.".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_of_the_demo_is_one_that_iam_accepts() {
        for document in [
            WEB,
            WEB_WITHOUT_KEY,
            WEB_TIDIED,
            BATCH_WIDENED,
            BUILD_REWRITTEN,
            LEGACY_NARROWED,
            ASSETS,
            PUSH_IMAGES,
            REVOKED,
        ] {
            assert_eq!(super::super::rules::permission_policy(document), Ok(()), "{document}");
        }
        for trust in [super::super::role::trust_of_ec2().as_str(), TRUST_LAMBDA] {
            assert_eq!(super::super::rules::trust_policy(trust), Ok(()));
        }
    }

    #[test]
    fn the_play_changes_something_in_every_act_and_tells_the_same_story_every_time() {
        let account: AccountId = "111122223333".parse().unwrap();
        let state = |sandbox: &Sandbox| -> Vec<(String, Vec<String>)> {
            let roles = sandbox.roles(&account).into_iter();
            let documents = |role: &str| {
                let policies = sandbox.policies(&account, role);
                policies.iter().map(|policy| sandbox.document(&account, role, policy).unwrap()).collect()
            };
            roles.map(|role| (role.clone(), documents(&role))).collect()
        };
        let (one, other) = (sandbox(account.clone()), sandbox(account.clone()));
        // The act that widens shows once the role was repaired.
        one.write_policy(&account, "batch-worker", POLICY, ASSETS);
        other.write_policy(&account, "batch-worker", POLICY, ASSETS);
        let mut told = Vec::new();
        for step in 0..6 {
            let before = state(&one);
            told.push(tamper(&one, step));
            assert_ne!(state(&one), before, "{told:?}");
            assert_eq!(tamper(&other, step), told[told.len() - 1]);
        }
        assert_eq!(state(&one), state(&other));
    }
}
