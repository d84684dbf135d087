//! The manifests as people write them, field for field, and the JSON Schema that is made of these very types.
//!
//! Knows spelling, not sense: what a name or a number may be is the business of `judge`. The comments here are
//! what an editor shows while somebody types. What must stay true: an account id stays the text that was written (it is
//! read from a tree in which numbers are text, never by serde_yaml from the file itself, which would make a number of it in
//! an untagged, tagged or flattened enum), and every key is known here or refused.

use std::{collections::BTreeMap, sync::LazyLock};

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Mode, Platform, State};

/// The version of the manifests that this program reads.
pub(super) const API_VERSION: &str = "ssm-role-controller.dev/v1alpha1";
/// The kind that names roles.
pub(super) const PERMISSIONS: &str = "SessionManagerPermissions";
/// The kind that holds the controller's own settings.
pub(super) const CONFIGURATION: &str = "ControllerConfiguration";

/// Roles, and what their Session Manager policy shall grant.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "apiVersion and kind are read before")]
pub(super) struct PermissionsManifest {
    /// The version of this manifest's format.
    #[schemars(extend("const" = API_VERSION))]
    pub(super) api_version: String,
    /// What this manifest is.
    #[schemars(extend("const" = PERMISSIONS))]
    pub(super) kind: String,
    pub(super) metadata: Metadata,
    pub(super) spec: PermissionsSpec,
}

/// The controller's own settings. Every value has a default, so that none is needed to begin.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "apiVersion and kind are read before")]
pub(super) struct ConfigurationManifest {
    /// The version of this manifest's format.
    #[schemars(extend("const" = API_VERSION))]
    pub(super) api_version: String,
    /// What this manifest is.
    #[schemars(extend("const" = CONFIGURATION))]
    pub(super) kind: String,
    pub(super) metadata: Metadata,
    #[serde(default)]
    pub(super) spec: ConfigurationSpec,
}

/// What the manifest is called.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "namespace, labels and annotations are for people and for Kubernetes")]
pub(super) struct Metadata {
    /// The manifest's name, unique among all manifests: small letters, digits, `-` and `.`.
    #[schemars(extend("maxLength" = 253, "pattern" = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"))]
    pub(super) name: String,
    /// Accepted, and without meaning here.
    pub(super) namespace: Option<String>,
    /// Labels for people and tools; without meaning here.
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    /// Annotations for people and tools; without meaning here.
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
}

/// Which roles, and what their policy shall grant.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("anyOf" = json!([{"required": ["roles"]}, {"required": ["selector"]}])))]
pub(super) struct PermissionsSpec {
    /// For people: shown, never sent to IAM.
    pub(super) description: Option<String>,
    /// The account that the roles are in. Left out: the account of the controller's own credentials.
    pub(super) account_id: Option<Digits>,
    /// The accounts that the roles are in, in place of one `accountId`: a list of ids, or `"*"` for every account that the
    /// ControllerConfiguration names.
    pub(super) account_ids: Option<AccountIds>,
    /// The names of the roles, compared ignoring case.
    #[schemars(extend("minItems" = 1))]
    pub(super) roles: Option<Vec<String>>,
    /// Roles by what they are like, beside those that are named: also such as are made later.
    pub(super) selector: Option<SelectorSpec>,
    /// What to do about drift. Left out: the controller's `defaultMode`.
    pub(super) mode: Option<Mode>,
    /// Leave these roles alone, and say so.
    #[serde(default)]
    pub(super) suspend: bool,
    /// Whether the policy shall be there.
    #[serde(default)]
    pub(super) state: State,
    /// The name of the inline policy. Left out: `SessionManagerPermissions`.
    #[schemars(extend("default" = "SessionManagerPermissions", "maxLength" = 128))]
    pub(super) policy_name: Option<String>,
    /// Who grants what the node needs to register with Systems Manager.
    #[serde(default)]
    pub(super) node_registration: Registration,
    /// What kind of node uses the roles.
    #[serde(default)]
    pub(super) platform: Platform,
    /// The keys of the Session Manager preferences document: what stands under its `inputs` can be pasted here.
    #[serde(default)]
    pub(super) session_preferences: SessionPreferences,
    /// Further KMS keys for session data: keys are regional, a role is global.
    #[serde(default)]
    pub(super) kms_key_arns: Vec<String>,
    /// What the preferences document does not know about where logs go.
    #[serde(default)]
    pub(super) log_delivery: LogDelivery,
}

/// Which roles are meant: every part that is given must match, and one at least must be given beside `exclude`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("anyOf" = json!([{"required": ["pathPrefix"]}, {"required": ["nameLike"]}, {"required": ["tags"]}])))]
pub(super) struct SelectorSpec {
    /// What the role's path begins with, such as `/fleet/`. Case matters.
    pub(super) path_prefix: Option<String>,
    /// What the role's name is like, with `*` for any characters and `?` for one. Case does not matter.
    pub(super) name_like: Option<String>,
    /// Tags that the role carries. Case does not matter in their keys, and matters in their values.
    #[schemars(extend("minProperties" = 1))]
    pub(super) tags: Option<BTreeMap<String, String>>,
    /// Names that are not meant, with `*` and `?`. Case does not matter.
    #[serde(default)]
    pub(super) exclude: Vec<String>,
}

/// The `inputs` of the Session Manager preferences document. Empty text means not given.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "some preferences need no permission: they are accepted, and change nothing")]
pub(super) struct SessionPreferences {
    /// The bucket that session logs go to.
    pub(super) s3_bucket_name: Option<String>,
    /// The prefix of the log objects in the bucket.
    pub(super) s3_key_prefix: Option<String>,
    /// Only an encrypted bucket is accepted. Left out: true (false for `platform: ecs`).
    pub(super) s3_encryption_enabled: Option<bool>,
    /// The CloudWatch log group that session logs go to.
    pub(super) cloud_watch_log_group_name: Option<String>,
    /// Only an encrypted log group is accepted.
    pub(super) cloud_watch_encryption_enabled: Option<bool>,
    /// Session logs are streamed.
    pub(super) cloud_watch_streaming_enabled: Option<bool>,
    /// The ARN of the KMS key that encrypts session data.
    pub(super) kms_key_id: Option<String>,
    /// Needs no permission: accepted, and changes nothing.
    pub(super) run_as_enabled: Option<bool>,
    /// Needs no permission: accepted, and changes nothing.
    pub(super) run_as_default_user: Option<String>,
    /// Minutes, 1 to 60. Needs no permission: checked, and changes nothing.
    pub(super) idle_session_timeout: Option<Digits>,
    /// Minutes, 1 to 1440. Needs no permission: checked, and changes nothing.
    pub(super) max_session_duration: Option<Digits>,
    /// Needs no permission: accepted, and changes nothing.
    pub(super) shell_profile: Option<ShellProfile>,
}

/// Commands that a session begins with.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "needs no permission")]
pub(super) struct ShellProfile {
    /// On Windows.
    pub(super) windows: Option<String>,
    /// On Linux and macOS.
    pub(super) linux: Option<String>,
}

/// What the preferences document does not know about where logs go.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct LogDelivery {
    /// The ARNs of the KMS keys that encrypt the bucket.
    #[serde(default)]
    pub(super) s3_kms_key_arns: Vec<String>,
    /// The account that owns the bucket, where it is another one.
    pub(super) s3_bucket_owner: Option<Digits>,
}

/// The controller's own settings.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ConfigurationSpec {
    /// The kill switch: nothing is written anywhere.
    #[serde(default)]
    pub(super) suspend: bool,
    /// How often everything is checked, at the latest: 1s to 24h, such as `90s`, `5m` or `1h30m`.
    pub(super) resync_interval: Option<String>,
    /// How often everything is checked while change events are seen to arrive: 1s to 24h, not less than
    /// `resyncInterval`. Left out: no less often than without them.
    pub(super) resync_interval_with_events: Option<String>,
    /// Where changes in IAM are heard of: a role that somebody has changed is then looked at at once. Left out: at the next
    /// resync.
    pub(super) change_events: Option<ChangeEventsSpec>,
    /// The mode of manifests that name none. Left out: `enforce`.
    #[serde(default)]
    pub(super) default_mode: Mode,
    /// The accounts that are looked after: where there are any, manifests may name no others. Left out: the account of the
    /// controller's own credentials.
    #[serde(default)]
    pub(super) accounts: Vec<AccountSpec>,
    /// How much may change in an account within any hour: what goes beyond waits.
    #[serde(default)]
    pub(super) guards: GuardsSpec,
    /// A ceiling over all manifests: what is outside is a fault, and the writer refuses it as well. A limit that is
    /// left out bounds nothing; one that is an empty list admits nothing.
    #[serde(default)]
    pub(super) limits: LimitsSpec,
}

/// Where changes in IAM are heard of: a role that somebody has changed is then looked at at once. Left out: at the next
/// resync.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ChangeEventsSpec {
    /// The URL of the SQS queue that EventBridge sends IAM's events to, such as
    /// `https://sqs.us-east-1.amazonaws.com/111122223333/name`: a standard queue that nobody else reads.
    pub(super) queue_url: String,
}

/// How much may change in an account within any hour: what goes beyond waits.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GuardsSpec {
    /// Writes of either kind. 0: nothing is written.
    #[schemars(extend("default" = 100, "minimum" = 0, "maximum" = MOST_AN_HOUR))]
    pub(super) max_changes_per_hour: Option<Count>,
    /// Policies removed (`state: absent`). 0: none is removed.
    #[schemars(extend("default" = 5, "minimum" = 0, "maximum" = MOST_AN_HOUR))]
    pub(super) max_deletes_per_hour: Option<Count>,
    /// The share of the managed roles that may be written to, in percent; one role always may. Left out: no such bound.
    #[schemars(extend("minimum" = 1, "maximum" = 100))]
    pub(super) max_change_percent: Option<Count>,
}

/// More writes an hour than IAM would take.
pub(super) const MOST_AN_HOUR: u32 = 1_000_000;

/// A ceiling over all manifests: what is outside is a fault, and the writer refuses it as well. A limit that is left
/// out bounds nothing; one that is an empty list admits nothing.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct LimitsSpec {
    /// The accounts that may be written to. Left out: any. Empty: none.
    pub(super) account_ids: Option<Vec<Digits>>,
    /// The beginnings of the paths of the roles that may be written to, such as `/fleet/`. Left out: any. Empty: none.
    pub(super) role_path_prefixes: Option<Vec<String>>,
    /// The KMS keys that manifests may name, with `*` and `?`. Left out: any. Empty: none.
    pub(super) kms_key_arns: Option<Vec<String>>,
    /// The buckets that manifests may name, with `*` and `?`. Left out: any. Empty: none.
    pub(super) s3_bucket_names: Option<Vec<String>>,
    /// The log groups that manifests may name, with `*` and `?`. Left out: any. Empty: none.
    pub(super) cloud_watch_log_group_names: Option<Vec<String>>,
}

/// An account that is looked after, and how it is entered.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AccountSpec {
    /// The account's id.
    pub(super) id: Digits,
    /// The role that is assumed there. Left out: the controller's own credentials are of this account.
    pub(super) assume_role_arn: Option<String>,
    /// The external id that the role's trust policy asks for.
    pub(super) external_id: Option<String>,
    /// The name of the session, as CloudTrail shows it. Left out: `ssm-role-controller`.
    pub(super) session_name: Option<String>,
    /// The Region whose endpoints are called. Left out: the one in which the partition has its IAM.
    pub(super) region: Option<String>,
    /// The partition. Left out: that of the role's ARN.
    pub(super) partition: Option<String>,
    /// How often the account is checked, in place of `spec.resyncInterval`: 1s to 24h.
    pub(super) resync_interval: Option<String>,
    /// The mode of manifests that name none, in this account; `observe` holds back the others as well.
    pub(super) mode: Option<Mode>,
    /// Nothing is written in this account.
    #[serde(default)]
    pub(super) suspend: bool,
}

/// Who grants `ssm:UpdateInstanceInformation`.
#[derive(Default, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) enum Registration {
    /// Another policy of the role.
    #[default]
    Assumed,
    /// This policy; it moves a node off Default Host Management.
    Granted,
    /// Default Host Management: the role must not.
    DefaultHostManagement,
}

/// Digits that people write with or without quotes: read exactly as they are written.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Digits(pub(super) String);

impl JsonSchema for Digits {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Digits".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"] })
    }
}

/// Ids of accounts, or one word for them all. What was written as a number is text here already.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum AccountIds {
    Listed(Vec<Digits>),
    Word(String),
}

impl JsonSchema for AccountIds {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AccountIds".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["array", "string"], "items": { "type": ["string", "integer"] }, "minItems": 1, "pattern": r"^\*$" })
    }
}

/// A number, read as it is written: whether it is one that makes sense is judged where its fault can say so.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Count(pub(super) String);

impl JsonSchema for Count {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer" })
    }
}

/// The JSON Schema of both kinds, for editors: draft 7, which yaml-language-server knows best.
#[must_use]
pub fn schema() -> Value {
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Manifests of ssm-role-controller",
        "description": "Keeps IAM roles able to use AWS Systems Manager Session Manager.",
        "type": "object",
        "required": ["apiVersion", "kind"],
        "oneOf": [*PERMISSIONS_SCHEMA, *CONFIGURATION_SCHEMA],
    })
}

/// The part of the schema for documents of `kind`.
pub(super) fn schema_of(kind: &str) -> Option<&'static Value> {
    match kind {
        PERMISSIONS => Some(&PERMISSIONS_SCHEMA),
        CONFIGURATION => Some(&CONFIGURATION_SCHEMA),
        _ => None,
    }
}

static PERMISSIONS_SCHEMA: LazyLock<Value> = LazyLock::new(one::<PermissionsManifest>);
static CONFIGURATION_SCHEMA: LazyLock<Value> = LazyLock::new(one::<ConfigurationManifest>);

fn one<T: JsonSchema>() -> Value {
    let mut generator = SchemaSettings::draft07()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .into_generator();
    let mut schema = generator.root_schema_for::<T>().to_value();
    if let Some(object) = schema.as_object_mut() {
        let kind = object["properties"]["kind"]["const"].clone();
        object.insert("title".to_owned(), kind);
    }
    without_null(&mut schema);
    schema
}

/// A key may be left out, but it may not be null: takes back what `Option` says in a schema.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Object(object) => {
            if let Some(Value::Array(variants)) = object.get_mut("anyOf") {
                variants.retain(|variant| variant.get("type").is_none_or(|kind| kind != "null"));
                if let [Value::Object(only)] = &mut variants[..] {
                    let mut only = std::mem::take(only);
                    object.remove("anyOf");
                    // What the field says of itself goes before what its type says.
                    only.append(object);
                    *object = only;
                }
            }
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = &types[..] {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if object.get("default").is_some_and(|value| value.is_null() || value.is_object()) {
                object.remove("default");
            }
            object.values_mut().for_each(without_null);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_admits_null_nowhere_and_no_unknown_key() {
        fn walk(value: &Value, path: &str) {
            match value {
                Value::Object(object) => {
                    assert_ne!(object.get("type"), Some(&json!("null")), "{path}");
                    if object.contains_key("properties") && path.contains("oneOf") {
                        assert_eq!(object.get("additionalProperties"), Some(&json!(false)), "{path}");
                    }
                    object.iter().for_each(|(key, value)| walk(value, &format!("{path}/{key}")));
                }
                Value::Array(items) => {
                    items.iter().enumerate().for_each(|(at, value)| walk(value, &format!("{path}/{at}")));
                }
                Value::String(text) => assert_ne!(text, "null", "{path}"),
                Value::Null => panic!("null at {path}"),
                _ => {}
            }
        }
        walk(&schema(), "");
    }

    #[test]
    fn every_key_in_the_schema_is_described_for_editors() {
        fn walk(value: &Value, path: &str) {
            if let Some(properties) = value.get("properties").and_then(Value::as_object) {
                for (key, below) in properties {
                    assert!(below.get("description").is_some(), "{path}.{key}");
                    walk(below, &format!("{path}.{key}"));
                }
            }
        }
        walk(&PERMISSIONS_SCHEMA, PERMISSIONS);
        walk(&CONFIGURATION_SCHEMA, CONFIGURATION);
    }
}
