//! What IAM refuses before it looks at any role: names, paths, sizes, and documents that are no policies.
//!
//! Pure, and knows no world. What must stay true: it refuses no document that the real IAM accepts. It accepts some that
//! IAM refuses (it knows no services, no condition keys): a test that needs such a refusal asks for it as a fault.

use serde_json::{Map, Value};

use super::wire::{Paging, Refusal};

/// IAM's ceiling for a document that arrives, long before the quota of the role.
const LONGEST_DOCUMENT: usize = 131_072;

pub(super) fn role_name(name: &str) -> Result<(), Refusal> {
    self::name("roleName", name, 64)
}

pub(super) fn policy_name(name: &str) -> Result<(), Refusal> {
    self::name("policyName", name, 128)
}

fn name(field: &str, name: &str, longest: usize) -> Result<(), Refusal> {
    let constraint = |constraint: String| {
        Err(Refusal::invalid(format!(
            "1 validation error detected: Value '{name}' at '{field}' failed to satisfy constraint: Member must {constraint}"
        )))
    };
    if name.is_empty() {
        return constraint("have length greater than or equal to 1".to_owned());
    }
    if name.chars().count() > longest {
        return constraint(format!("have length less than or equal to {longest}"));
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte)) {
        return Err(Refusal::invalid(format!(
            "The specified value for {field} is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-"
        )));
    }
    Ok(())
}

pub(super) fn path(path: &str) -> Result<(), Refusal> {
    let well_formed = path.starts_with('/')
        && path.ends_with('/')
        && path.len() <= 512
        && path.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    if well_formed {
        return Ok(());
    }
    Err(Refusal::invalid(
        "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters.",
    ))
}

/// The number of items that a page may hold.
pub(super) fn page_size(paging: &Paging) -> Result<usize, Refusal> {
    let asked = paging.max_items.unwrap_or(100);
    match usize::try_from(asked) {
        Ok(size @ 1..=1000) => Ok(size),
        _ => {
            let bound = if asked < 1 { "greater than or equal to 1" } else { "less than or equal to 1000" };
            Err(Refusal::invalid(format!(
                "1 validation error detected: Value '{asked}' at 'maxItems' failed to satisfy constraint: Member must have value {bound}"
            )))
        }
    }
}

fn characters(field: &str, document: &str) -> Result<(), Refusal> {
    if document.is_empty() {
        return Err(Refusal::invalid(format!(
            "1 validation error detected: Value at '{field}' failed to satisfy constraint: Member must have length greater than or equal to 1"
        )));
    }
    if document.chars().count() > LONGEST_DOCUMENT {
        return Err(Refusal::invalid(format!(
            "1 validation error detected: Value at '{field}' failed to satisfy constraint: Member must have length less than or equal to {LONGEST_DOCUMENT}"
        )));
    }
    if document.chars().all(|character| matches!(character, '\u{9}' | '\u{a}' | '\u{d}' | '\u{20}'..='\u{ff}')) {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "The specified value for {field} is invalid. It must contain only printable ASCII characters."
    )))
}

/// A trust policy: IAM reads it more closely than this; the sandbox only needs it to be one.
pub(super) fn trust_policy(document: &str) -> Result<(), Refusal> {
    characters("assumeRolePolicyDocument", document)?;
    let parsed: Value =
        serde_json::from_str(document).map_err(|_| Refusal::malformed("This policy contains invalid Json"))?;
    let statements = parsed.as_object().and_then(statements).ok_or_else(syntax)?;
    if statements.iter().any(|statement| statement.contains_key("Resource")) {
        return Err(Refusal::malformed("Has prohibited field Resource"));
    }
    Ok(())
}

fn syntax() -> Refusal {
    Refusal::malformed("Syntax errors in policy.")
}

/// The policy of a role: what may be done, to what.
pub(super) fn permission_policy(document: &str) -> Result<(), Refusal> {
    characters("policyDocument", document)?;
    let Ok(Value::Object(policy)) = serde_json::from_str(document) else { return Err(syntax()) };
    if policy.keys().any(|key| !matches!(key.as_str(), "Version" | "Id" | "Statement")) {
        return Err(syntax());
    }
    if policy.get("Version").is_some_and(|version| version != "2012-10-17" && version != "2008-10-17") {
        return Err(syntax());
    }
    let statements = statements(&policy).ok_or_else(syntax)?;
    let mut sids = Vec::new();
    for statement in statements {
        self::statement(statement)?;
        if let Some(sid) = statement.get("Sid").and_then(Value::as_str).filter(|sid| !sid.is_empty()) {
            if sids.contains(&sid) {
                return Err(Refusal::malformed("Statement IDs (SID) in a single policy must be unique."));
            }
            sids.push(sid);
        }
    }
    Ok(())
}

fn statements(policy: &Map<String, Value>) -> Option<Vec<&Map<String, Value>>> {
    let statements: Vec<_> = match policy.get("Statement")? {
        Value::Object(only) => vec![only],
        Value::Array(several) => several.iter().map(Value::as_object).collect::<Option<_>>()?,
        _ => return None,
    };
    (!statements.is_empty()).then_some(statements)
}

fn statement(statement: &Map<String, Value>) -> Result<(), Refusal> {
    const KNOWN: [&str; 9] =
        ["Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition", "Principal", "NotPrincipal"];
    if statement.keys().any(|key| !KNOWN.contains(&key.as_str())) {
        return Err(syntax());
    }
    if !matches!(statement.get("Effect").and_then(Value::as_str), Some("Allow" | "Deny")) {
        return Err(syntax());
    }
    if statement.get("Condition").is_some_and(|condition| !condition.is_object()) {
        return Err(syntax());
    }
    if let Some(sid) = statement.get("Sid") {
        let sid = sid.as_str().ok_or_else(syntax)?;
        if !sid.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(Refusal::malformed(
                "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*",
            ));
        }
    }
    let either = |one: &str, other: &str| match (statement.get(one), statement.get(other)) {
        (Some(_), Some(_)) => Err(syntax()),
        (Some(value), None) | (None, Some(value)) => strings(value).ok_or_else(syntax),
        (None, None) => Ok(Vec::new()),
    };
    if statement.contains_key("Principal") || statement.contains_key("NotPrincipal") {
        return Err(Refusal::malformed("Policy document should not specify a principal."));
    }
    let (actions, resources) = (either("Action", "NotAction")?, either("Resource", "NotResource")?);
    if actions.is_empty() {
        return Err(Refusal::malformed("Policy statement must contain actions."));
    }
    if resources.is_empty() {
        return Err(Refusal::malformed("Policy statement must contain resources."));
    }
    if actions.iter().any(|action| *action != "*" && !action.contains(':')) {
        return Err(Refusal::malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."));
    }
    for resource in resources {
        if resource != "*" && !resource.starts_with("arn:") {
            return Err(Refusal::malformed(format!("Resource {resource} must be in ARN format or \"*\".")));
        }
    }
    Ok(())
}

/// A string, or a list of strings.
fn strings(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(only) => Some(vec![only]),
        Value::Array(several) => several.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(document: &str) -> String {
        let refusal = permission_policy(document).unwrap_err();
        format!("{} {}", refusal.code, refusal.message)
    }

    fn with_statement(statement: &str) -> String {
        format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#)
    }

    #[test]
    fn documents_are_refused_in_iams_words() {
        assert_eq!(refused("hello"), "MalformedPolicyDocument Syntax errors in policy.");
        assert_eq!(refused("[]"), "MalformedPolicyDocument Syntax errors in policy.");
        assert_eq!(refused(r#"{"Version":"2012-10-17"}"#), "MalformedPolicyDocument Syntax errors in policy.");
        assert_eq!(
            refused(&with_statement(r#"{"Effect":"allow","Action":"s3:*","Resource":"*"}"#)),
            "MalformedPolicyDocument Syntax errors in policy."
        );
        assert_eq!(
            refused(&with_statement(r#"{"Effect":"Allow","Action":"kms:Decrypt","Resource":"key-name"}"#)),
            "MalformedPolicyDocument Resource key-name must be in ARN format or \"*\"."
        );
        assert_eq!(
            refused(&with_statement(r#"{"Effect":"Allow","Resource":"*"}"#)),
            "MalformedPolicyDocument Policy statement must contain actions."
        );
        assert_eq!(
            refused(&with_statement(r#"{"Effect":"Allow","Action":"s3:*"}"#)),
            "MalformedPolicyDocument Policy statement must contain resources."
        );
        let twice = r#"{"Sid":"a","Effect":"Allow","Action":"s3:*","Resource":"*"}"#;
        assert!(refused(&with_statement(&format!("{twice},{twice}"))).ends_with("must be unique."));
        assert!(refused(&with_statement(&twice.replace("\"a\"", "\"a-b\""))).contains("alpha-numeric"));
        let principal = r#"{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*"}"#;
        assert!(refused(&with_statement(principal)).ends_with("should not specify a principal."));
        assert!(refused("\u{2019}").starts_with("ValidationError"));
        assert!(refused(&" ".repeat(LONGEST_DOCUMENT + 1)).starts_with("ValidationError"));
    }

    #[test]
    fn documents_that_iam_accepts_pass() {
        for statement in [
            r#"{"Effect":"Allow","Action":["s3:*"],"Resource":["*"]}"#,
            r#"{"Sid":"","Effect":"Deny","NotAction":"*","NotResource":"arn:aws:s3:::é"}"#,
            r#"{"Effect":"Allow","Action":"ssm:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":true}}}"#,
        ] {
            assert_eq!(permission_policy(&with_statement(statement)), Ok(()), "{statement}");
        }
        let single = r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
        assert_eq!(permission_policy(single), Ok(()));
    }

    proptest::proptest! {
        #[test]
        fn no_document_panics(
            text: String,
            statement in r#"\{("(Sid|Effect|Action|Resource|Condition|Principal)":("[a-z:*]{0,4}"|\[\]|\["a:b",1\]|\{\}|null),?){0,5}\}"#,
        ) {
            let _ = permission_policy(&text);
            let _ = permission_policy(&with_statement(&statement));
            let _ = trust_policy(&with_statement(&statement));
        }
    }
}
