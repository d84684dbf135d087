//! From the form of AWS's Query protocol to a [`Request`].
//!
//! Knows no HTTP and no world. What must stay true: no form panics, and one that is not understood is refused in AWS's
//! words.

use std::collections::BTreeMap;

use super::{
    role::Tag,
    wire::{Paging, Refusal, Request},
};

/// The two services that share the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Iam,
    Sts,
}

impl Service {
    fn version(self) -> &'static str {
        match self {
            Self::Iam => "2010-05-08",
            Self::Sts => "2011-06-15",
        }
    }

    /// The service of an operation; IAM where it is neither's.
    pub(super) fn of(operation: &str) -> Self {
        if matches!(operation, "GetCallerIdentity" | "AssumeRole") { Self::Sts } else { Self::Iam }
    }
}

struct Form(BTreeMap<String, String>);

impl Form {
    fn text(&self, field: &str) -> Option<String> {
        self.0.get(field).cloned()
    }

    fn needed(&self, field: &str) -> Result<String, Refusal> {
        self.text(field).ok_or_else(|| {
            let mut name = field.to_owned();
            if let Some(first) = name.get_mut(..1) {
                first.make_ascii_lowercase();
            }
            Refusal::invalid(format!(
                "1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"
            ))
        })
    }

    fn number(&self, field: &str) -> Result<Option<i64>, Refusal> {
        let number = |text: &String| {
            text.parse()
                .map_err(|_| Refusal::new(400, "MalformedInput", format!("{field}: the value is not a whole number")))
        };
        self.0.get(field).map(number).transpose()
    }

    fn paging(&self) -> Result<Paging, Refusal> {
        Ok(Paging { marker: self.text("Marker"), max_items: self.number("MaxItems")? })
    }

    /// `Field.member.1`, `Field.member.2` … up to the first that is missing.
    fn members(&self, field: &str) -> Vec<String> {
        (1..).map_while(|index| self.text(&format!("{field}.member.{index}"))).collect()
    }

    fn tags(&self) -> Vec<Tag> {
        let tag = |index: u32| {
            let key = self.text(&format!("Tags.member.{index}.Key"))?;
            Some(Tag { key, value: self.text(&format!("Tags.member.{index}.Value")).unwrap_or_default() })
        };
        (1..).map_while(tag).collect()
    }
}

/// Reads a form. The operation comes with a refusal too, as far as it is known.
pub(super) fn parse(body: &[u8]) -> Result<Request, Refusal> {
    let form = Form(form_urlencoded::parse(body).into_owned().collect());
    let Some(action) = form.text("Action") else {
        return Err(Refusal::new(400, "MissingAction", "The request must contain the parameter Action"));
    };
    let version = form.text("Version").unwrap_or_default();
    let request = match action.as_str() {
        "CreateRole" => Request::CreateRole {
            role: form.needed("RoleName")?,
            path: form.text("Path").unwrap_or_else(|| "/".to_owned()),
            trust: form.needed("AssumeRolePolicyDocument")?,
            description: form.text("Description"),
            tags: form.tags(),
        },
        "DeleteRole" => Request::DeleteRole { role: form.needed("RoleName")? },
        "GetRole" => Request::GetRole { role: form.needed("RoleName")? },
        "ListRolePolicies" => Request::ListRolePolicies { role: form.needed("RoleName")?, paging: form.paging()? },
        "GetRolePolicy" => {
            Request::GetRolePolicy { role: form.needed("RoleName")?, policy: form.needed("PolicyName")? }
        }
        "PutRolePolicy" => Request::PutRolePolicy {
            role: form.needed("RoleName")?,
            policy: form.needed("PolicyName")?,
            document: form.needed("PolicyDocument")?,
        },
        "DeleteRolePolicy" => {
            Request::DeleteRolePolicy { role: form.needed("RoleName")?, policy: form.needed("PolicyName")? }
        }
        "GetAccountAuthorizationDetails" => {
            Request::GetAccountAuthorizationDetails { filters: form.members("Filter"), paging: form.paging()? }
        }
        "TagRole" => Request::TagRole { role: form.needed("RoleName")?, tags: form.tags() },
        "UntagRole" => Request::UntagRole { role: form.needed("RoleName")?, keys: form.members("TagKeys") },
        "AttachRolePolicy" => {
            Request::AttachRolePolicy { role: form.needed("RoleName")?, arn: form.needed("PolicyArn")? }
        }
        "DetachRolePolicy" => {
            Request::DetachRolePolicy { role: form.needed("RoleName")?, arn: form.needed("PolicyArn")? }
        }
        "PutRolePermissionsBoundary" => Request::PutRolePermissionsBoundary {
            role: form.needed("RoleName")?,
            arn: form.needed("PermissionsBoundary")?,
        },
        "DeleteRolePermissionsBoundary" => Request::DeleteRolePermissionsBoundary { role: form.needed("RoleName")? },
        "GetPolicy" => Request::GetPolicy { arn: form.needed("PolicyArn")? },
        "GetPolicyVersion" => {
            Request::GetPolicyVersion { arn: form.needed("PolicyArn")?, version: form.needed("VersionId")? }
        }
        "SimulatePrincipalPolicy" => Request::SimulatePrincipalPolicy {
            role_arn: form.needed("PolicySourceArn")?,
            actions: form.members("ActionNames"),
            resources: form.members("ResourceArns"),
            paging: form.paging()?,
        },
        "GetCallerIdentity" => Request::GetCallerIdentity,
        "AssumeRole" => Request::AssumeRole {
            role_arn: form.needed("RoleArn")?,
            session: form.needed("RoleSessionName")?,
            external_id: form.text("ExternalId"),
            seconds: form.number("DurationSeconds")?,
        },
        _ => return Err(no_such_operation(&action, &version)),
    };
    if version != Service::of(&action).version() {
        return Err(no_such_operation(&action, &version));
    }
    Ok(request)
}

fn no_such_operation(action: &str, version: &str) -> Refusal {
    Refusal::new(400, "InvalidAction", format!("Could not find operation {action} for version {version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_with_its_lists_and_numbers() {
        let body = b"Action=GetAccountAuthorizationDetails&Version=2010-05-08&Filter.member.1=Role&Filter.member.2=User&MaxItems=7&Marker=a%2Bb";
        let Ok(Request::GetAccountAuthorizationDetails { filters, paging }) = parse(body) else { panic!() };
        assert_eq!(filters, ["Role", "User"]);
        assert_eq!((paging.max_items, paging.marker.as_deref()), (Some(7), Some("a+b")));
    }

    #[test]
    fn forms_that_are_not_understood_are_refused_in_awss_words() {
        for (body, code) in [
            (&b""[..], "MissingAction"),
            (b"Action=ListRoles&Version=2010-05-08", "InvalidAction"),
            (b"Action=GetRole&RoleName=a&Version=2011-06-15", "InvalidAction"),
            (b"Action=GetRole&RoleName=a", "InvalidAction"),
            (b"Action=GetRole&Version=2010-05-08", "ValidationError"),
            (b"Action=AttachRolePolicy&RoleName=a&Version=2010-05-08", "ValidationError"),
            (b"Action=GetAccountAuthorizationDetails&Version=2010-05-08&MaxItems=x", "MalformedInput"),
            (b"\xff%%%&&&===", "MissingAction"),
        ] {
            assert_eq!(parse(body).unwrap_err().code, code, "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn a_simulation_is_asked_of_several_actions_and_resources() {
        let body = b"Action=SimulatePrincipalPolicy&Version=2010-05-08&PolicySourceArn=arn&ActionNames.member.1=a%3Ab&ActionNames.member.2=a%3Ac&MaxItems=1";
        let Ok(Request::SimulatePrincipalPolicy { role_arn, actions, resources, paging }) = parse(body) else {
            panic!()
        };
        assert_eq!((role_arn.as_str(), actions.join(" ").as_str(), resources.len()), ("arn", "a:b a:c", 0));
        assert_eq!(paging.max_items, Some(1));
    }

    proptest::proptest! {
        #[test]
        fn no_form_panics(body: Vec<u8>, action in "[A-Z][a-zA-Z]{0,30}|PutRolePolicy|AssumeRole", rest: String) {
            let _ = parse(&body);
            let _ = parse(format!("Action={action}&Version=2010-05-08&RoleName={rest}&MaxItems={rest}").as_bytes());
        }
    }
}
