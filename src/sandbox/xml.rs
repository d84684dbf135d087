//! From an [`Answer`] or a [`Refusal`] to the XML of AWS's Query protocol.
//!
//! Pure. What must stay true: whatever text the world holds, the XML is well formed; and a role is rendered once for each
//! of its states, however many pages show it.

use std::{fmt::Write as _, time::Duration};

use jiff::{SignedDuration, Timestamp};

use crate::iam::SimulatedAction;

use super::{
    managed::{Managed, Version},
    query::Service,
    role::{Role, Tag, entity_id},
    wire::{Answer, Detail, Page, Refusal},
};

/// The moment on the calendar at which every world starts: the same in every run, so answers can be compared.
const START: Timestamp = Timestamp::constant(1_793_523_600, 0);

fn calendar(since_start: Duration) -> String {
    let moment = SignedDuration::try_from(since_start).ok().and_then(|since| START.checked_add(since).ok());
    written(moment.unwrap_or(Timestamp::MAX))
}

fn written(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Appends text, escaped; what XML 1.0 cannot hold becomes U+FFFD.
fn escape(text: &str, xml: &mut String) {
    for character in text.chars() {
        match character {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            '\r' => xml.push_str("&#xD;"),
            '\t' | '\n' => xml.push(character),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => xml.push('\u{fffd}'),
            _ => xml.push(character),
        }
    }
}

fn element(xml: &mut String, name: &str, text: &str) {
    let _ = write!(xml, "<{name}>");
    escape(text, xml);
    let _ = write!(xml, "</{name}>");
}

fn namespace(service: Service) -> &'static str {
    match service {
        Service::Iam => "https://iam.amazonaws.com/doc/2010-05-08/",
        Service::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
    }
}

/// The document that answers a call.
pub(super) fn answer(operation: &str, answer: &Answer, request_id: &str) -> String {
    let size = match answer {
        Answer::Details(page) => {
            let sizes = page.items.iter().map(|detail| match detail {
                Detail::Role(role) => rendered(role).len(),
                Detail::Policy(_) => 2048,
            });
            sizes.sum::<usize>() + 1024
        }
        _ => 2048,
    };
    let mut xml = String::with_capacity(size);
    let _ = write!(xml, "<{operation}Response xmlns=\"{}\">", namespace(Service::of(operation)));
    if !matches!(answer, Answer::Done) {
        let _ = write!(xml, "<{operation}Result>");
        result(answer, &mut xml);
        let _ = write!(xml, "</{operation}Result>");
    }
    xml.push_str("<ResponseMetadata>");
    element(&mut xml, "RequestId", request_id);
    let _ = write!(xml, "</ResponseMetadata></{operation}Response>");
    xml
}

/// The document that refuses a call.
pub(super) fn refusal(service: Service, refusal: &Refusal, request_id: &str) -> String {
    let mut xml = format!("<ErrorResponse xmlns=\"{}\"><Error>", namespace(service));
    element(&mut xml, "Type", if refusal.status >= 500 { "Receiver" } else { "Sender" });
    element(&mut xml, "Code", &refusal.code);
    element(&mut xml, "Message", &refusal.message);
    xml.push_str("</Error>");
    element(&mut xml, "RequestId", request_id);
    xml.push_str("</ErrorResponse>");
    xml
}

fn result(answer: &Answer, xml: &mut String) {
    match answer {
        Answer::Done => {}
        Answer::Role(role) | Answer::RoleCreated(role) => {
            xml.push_str("<Role>");
            identity(role, xml);
            if let Some(description) = &role.description {
                element(xml, "Description", description);
            }
            xml.push_str("<MaxSessionDuration>3600</MaxSessionDuration>");
            boundary(role, xml);
            if !role.tags.is_empty() {
                tags(&role.tags, xml);
            }
            if matches!(answer, Answer::Role(_)) {
                xml.push_str("<RoleLastUsed/>");
            }
            xml.push_str("</Role>");
        }
        Answer::PolicyNames(page) => {
            xml.push_str("<PolicyNames>");
            for name in &page.items {
                element(xml, "member", name);
            }
            xml.push_str("</PolicyNames>");
            end_of_page(page, xml);
        }
        Answer::Policy { role, policy, encoded_document } => {
            element(xml, "RoleName", role);
            element(xml, "PolicyName", policy);
            element(xml, "PolicyDocument", encoded_document);
        }
        Answer::Details(page) => {
            xml.push_str("<UserDetailList/><GroupDetailList/><RoleDetailList>");
            for detail in &page.items {
                if let Detail::Role(role) = detail {
                    xml.push_str(rendered(role));
                }
            }
            xml.push_str("</RoleDetailList><Policies>");
            for detail in &page.items {
                if let Detail::Policy(policy) = detail {
                    xml.push_str("<member>");
                    managed(policy, xml);
                    xml.push_str("<PolicyVersionList>");
                    for version in &policy.versions {
                        xml.push_str("<member>");
                        managed_version(version, is_default(policy, version), xml);
                        xml.push_str("</member>");
                    }
                    xml.push_str("</PolicyVersionList></member>");
                }
            }
            xml.push_str("</Policies>");
            end_of_page(page, xml);
        }
        Answer::Managed(policy) => {
            xml.push_str("<Policy>");
            managed(policy, xml);
            xml.push_str("</Policy>");
        }
        Answer::ManagedVersion { version, is_default } => {
            xml.push_str("<PolicyVersion>");
            managed_version(version, *is_default, xml);
            xml.push_str("</PolicyVersion>");
        }
        Answer::Simulated(page) => {
            xml.push_str("<EvaluationResults>");
            for simulated in &page.items {
                evaluation(simulated, xml);
            }
            xml.push_str("</EvaluationResults>");
            end_of_page(page, xml);
        }
        Answer::Caller(identity) => {
            element(xml, "Arn", &identity.arn);
            element(xml, "UserId", &format!("{}:sandbox", entity_id("AROA", &identity.arn)));
            element(xml, "Account", identity.account.as_str());
        }
        Answer::Session { access_key_id, secret, token, lasts, identity, id, .. } => {
            xml.push_str("<AssumedRoleUser>");
            element(xml, "AssumedRoleId", id);
            element(xml, "Arn", &identity.arn);
            xml.push_str("</AssumedRoleUser><Credentials>");
            element(xml, "AccessKeyId", access_key_id);
            element(xml, "SecretAccessKey", secret);
            element(xml, "SessionToken", token);
            // By the clock of this machine, as whoever asks goes by: by the world's own it would have ended long ago.
            let end = SignedDuration::try_from(*lasts).ok().and_then(|lasts| Timestamp::now().checked_add(lasts).ok());
            element(xml, "Expiration", &written(end.unwrap_or(Timestamp::MAX)));
            xml.push_str("</Credentials>");
        }
    }
}

/// What IAM tells of a managed policy everywhere, but for the number of its attachments, which would have to be counted
/// over all roles for nobody.
fn managed(policy: &Managed, xml: &mut String) {
    let (path, name) = policy.path_and_name();
    element(xml, "PolicyName", name);
    element(xml, "PolicyId", &policy.id);
    element(xml, "Arn", &policy.arn);
    element(xml, "Path", path);
    if let Some(default) = policy.default_version() {
        element(xml, "DefaultVersionId", &default.id());
        element(xml, "UpdateDate", &calendar(default.created));
    }
    element(xml, "IsAttachable", "true");
    element(xml, "CreateDate", &calendar(policy.created));
}

fn is_default(policy: &Managed, version: &Version) -> bool {
    policy.default_version().is_some_and(|default| default.number == version.number)
}

fn managed_version(version: &Version, is_default: bool, xml: &mut String) {
    element(xml, "Document", version.document.encoded());
    element(xml, "VersionId", &version.id());
    element(xml, "IsDefaultVersion", if is_default { "true" } else { "false" });
    element(xml, "CreateDate", &calendar(version.created));
}

/// What the simulator says of one action on one resource. IAM tells the keys that had no value with the resource where one
/// was named, and beside the action where none was.
fn evaluation(simulated: &SimulatedAction, xml: &mut String) {
    let of_resource = simulated.resource != "*";
    xml.push_str("<member>");
    element(xml, "EvalActionName", &simulated.action);
    element(xml, "EvalResourceName", &simulated.resource);
    element(xml, "EvalDecision", simulated.decision.as_str());
    statements(simulated, xml);
    let missing: &[String] = if of_resource { &[] } else { &simulated.missing_context };
    missing_context(missing, xml);
    if let Some(allowed) = simulated.allowed_by_organizations {
        xml.push_str("<OrganizationsDecisionDetail>");
        element(xml, "AllowedByOrganizations", if allowed { "true" } else { "false" });
        xml.push_str("</OrganizationsDecisionDetail>");
    }
    if of_resource {
        xml.push_str("<ResourceSpecificResults><member>");
        element(xml, "EvalResourceName", &simulated.resource);
        element(xml, "EvalResourceDecision", simulated.decision.as_str());
        statements(simulated, xml);
        missing_context(&simulated.missing_context, xml);
        xml.push_str("</member></ResourceSpecificResults>");
    }
    xml.push_str("</member>");
}

fn statements(simulated: &SimulatedAction, xml: &mut String) {
    xml.push_str("<MatchedStatements>");
    for policy in &simulated.matched {
        xml.push_str("<member>");
        element(xml, "SourcePolicyId", policy);
        xml.push_str("</member>");
    }
    xml.push_str("</MatchedStatements>");
}

fn missing_context(keys: &[String], xml: &mut String) {
    xml.push_str("<MissingContextValues>");
    for key in keys {
        element(xml, "member", key);
    }
    xml.push_str("</MissingContextValues>");
}

fn end_of_page<T>(page: &Page<T>, xml: &mut String) {
    element(xml, "IsTruncated", if page.is_truncated { "true" } else { "false" });
    if let Some(marker) = &page.marker {
        element(xml, "Marker", marker);
    }
}

/// What IAM tells of a role everywhere.
fn identity(role: &Role, xml: &mut String) {
    element(xml, "Path", &role.path);
    element(xml, "RoleName", &role.name);
    element(xml, "RoleId", &role.id);
    element(xml, "Arn", &role.arn);
    element(xml, "CreateDate", &calendar(role.created));
    element(xml, "AssumeRolePolicyDocument", role.trust.encoded());
}

fn tags(tags: &[Tag], xml: &mut String) {
    xml.push_str("<Tags>");
    for tag in tags {
        xml.push_str("<member>");
        element(xml, "Key", &tag.key);
        element(xml, "Value", &tag.value);
        xml.push_str("</member>");
    }
    xml.push_str("</Tags>");
}

fn boundary(role: &Role, xml: &mut String) {
    if let Some(arn) = &role.boundary {
        xml.push_str("<PermissionsBoundary><PermissionsBoundaryType>Policy</PermissionsBoundaryType>");
        element(xml, "PermissionsBoundaryArn", arn);
        xml.push_str("</PermissionsBoundary>");
    }
}

/// A role as a bulk read shows it.
fn rendered(role: &Role) -> &str {
    role.rendered.0.get_or_init(|| {
        let mut xml = String::from("<member>");
        identity(role, &mut xml);
        xml.push_str("<InstanceProfileList>");
        for name in &role.instance_profiles {
            instance_profile(role, name, &mut xml);
        }
        xml.push_str("</InstanceProfileList><RolePolicyList>");
        for (name, document) in &role.policies {
            xml.push_str("<member>");
            element(&mut xml, "PolicyName", name);
            element(&mut xml, "PolicyDocument", document.encoded());
            xml.push_str("</member>");
        }
        xml.push_str("</RolePolicyList><AttachedManagedPolicies>");
        for arn in &role.attached {
            xml.push_str("<member>");
            element(&mut xml, "PolicyName", arn.rsplit('/').next().unwrap_or(arn));
            element(&mut xml, "PolicyArn", arn);
            xml.push_str("</member>");
        }
        xml.push_str("</AttachedManagedPolicies>");
        boundary(role, &mut xml);
        tags(&role.tags, &mut xml);
        xml.push_str("<RoleLastUsed/></member>");
        xml.shrink_to_fit();
        xml
    })
}

fn instance_profile(role: &Role, name: &str, xml: &mut String) {
    xml.push_str("<member><Path>/</Path>");
    element(xml, "InstanceProfileName", name);
    element(xml, "InstanceProfileId", &entity_id("AIPA", &format!("{}/{name}", role.account)));
    element(xml, "Arn", &format!("arn:aws:iam::{}:instance-profile/{name}", role.account));
    element(xml, "CreateDate", &calendar(role.created));
    xml.push_str("<Roles><member>");
    identity(role, xml);
    xml.push_str("</member></Roles></member>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_what_xml_cannot_hold_is_replaced() {
        let mut xml = String::new();
        element(&mut xml, "a", "<&>\"'\u{0}\r é");
        assert_eq!(xml, "<a>&lt;&amp;&gt;&quot;'\u{fffd}&#xD; é</a>");
    }

    #[test]
    fn the_calendar_starts_at_the_same_moment_in_every_run() {
        assert_eq!(calendar(Duration::ZERO), "2026-11-01T09:00:00Z");
        assert_eq!(calendar(Duration::MAX), "9999-12-30T22:00:00Z");
    }
}
