//! The real side of the edge: the AWS SDK.
//!
//! Knows the SDK and nothing of what the answers are for. What must stay true: every call ends in bounded
//! time, and a write is sent once.

use std::{collections::BTreeMap, fmt::Display, time::Duration};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, environment::EnvironmentVariableRegionProvider, identity::IdentityCache, imds,
    imds::region::ImdsRegionProvider, meta::region::RegionProviderChain, profile::ProfileFileRegionProvider,
    retry::RetryConfig, sts::AssumeRoleProvider, timeout::TimeoutConfig,
};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_iam::{
    config::{SharedHttpClient, http::HttpResponse},
    error::{ProvideErrorMetadata, SdkError},
    operation::RequestId as _,
    types::{
        AttachedPermissionsBoundary, EntityType, EvaluationResult, ManagedPolicyDetail, PolicyEvaluationDecisionType,
        Statement, Tag,
    },
};
use aws_smithy_http_client::{
    Builder, Connector,
    proxy::ProxyConfig,
    tls::{self, rustls_provider::CryptoMode},
};

use super::{
    Caller, Decision, Entrance, Iam, IamError, InlinePolicy, Pages, PoliciesPage, PolicyDetail, Put, Removal,
    RequestId, RoleDetail, RolesPage, SimulatedAction, credentials::OfOneAccount, throttles::NoRetryOfThrottles,
    whole::WholeAnswers,
};
use crate::names::{AccountId, PolicyName, RoleName};

/// A page of 1,000 roles is some 4 MB, which AWS takes seconds to make.
const BULK_ATTEMPT: Duration = Duration::from_secs(25);
const BULK_OPERATION: Duration = Duration::from_secs(55);

/// Calls for one role are small; and a write in flight must end before the ten seconds that a stop may take.
const ROLE_ATTEMPT: Duration = Duration::from_secs(4);
const ROLE_OPERATION: Duration = Duration::from_secs(8);

const BULK: &str = "GetAccountAuthorizationDetails";
const SIMULATE: &str = "SimulatePrincipalPolicy";

const CONNECT: Duration = Duration::from_secs(3);

/// The calls through the AWS SDK, with the environment's credentials, profile and endpoints.
#[derive(Debug, Clone)]
pub struct SdkIam {
    /// What the clients are made of, for those of other accounts.
    config: SdkConfig,
    /// Whose the credentials are; none where nobody checks them.
    credentials: Option<OfOneAccount>,
    /// For bulk reads: long timeouts.
    bulk: aws_sdk_iam::Client,
    /// For calls about one role: short ones.
    role: aws_sdk_iam::Client,
    sts: aws_sdk_sts::Client,
}

impl SdkIam {
    /// Clients made from the standard AWS environment: variables, profiles, web identity, container and
    /// instance credentials. Where no Region is set the commercial partition's home is taken, since IAM is global.
    pub async fn from_environment() -> Self {
        let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
            .or_else(ProfileFileRegionProvider::new())
            .or_else(instance_region())
            .or_else(Region::from_static("us-east-1"));
        let loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).region(region);
        Self::of_account(&loader.http_client(http_client()).load().await, None, None)
    }

    /// Clients for a plain HTTP endpoint of the program's own, with credentials that nobody checks. Nothing of the environment
    /// is used.
    #[must_use]
    pub fn for_endpoint(url: &str) -> Self {
        let credentials = Credentials::new("sandbox", "sandbox", None, None, "sandbox");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            // Plain HTTP and no proxy: the default client asks the environment for one, even for this machine.
            .http_client(Builder::new().build_http())
            .endpoint_url(url)
            .build();
        Self::new(&config)
    }

    /// Clients with credentials that STS is asked about whenever they change, and that are renewed early.
    pub(super) fn of_account(config: &SdkConfig, base: Option<OfOneAccount>, account: Option<AccountId>) -> Self {
        let Some(source) = config.credentials_provider() else { return Self::new(config) };
        let timeouts = timeouts(ROLE_ATTEMPT, ROLE_OPERATION);
        let bounded = config.to_builder().timeout_config(timeouts).retry_config(retries()).build();
        let credentials = OfOneAccount::new(source, base, &bounded, account);
        let provider = SharedCredentialsProvider::new(credentials.clone());
        // They are kept there: the SDK's own cache would hold on to a session that AWS does not accept any more.
        let config =
            config.to_builder().credentials_provider(provider).identity_cache(IdentityCache::no_cache()).build();
        Self { credentials: Some(credentials), ..Self::new(&config) }
    }

    /// Words what the SDK reports of `operation`.
    fn failed<E>(&self, operation: &'static str) -> impl FnOnce(SdkError<E, HttpResponse>) -> IamError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let credentials = self.credentials.clone();
        move |error| {
            let has_answered = matches!(error, SdkError::ServiceError(_));
            let error = IamError::from_sdk(operation, &error);
            if let Some(credentials) = credentials.filter(|_| has_answered) {
                credentials.heed(error.class);
            }
            error
        }
    }

    /// What the clients are made of: credentials, Region, endpoints, and the HTTP client that all of them share.
    #[must_use]
    pub fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// Clients for this configuration: its retries and timeouts are replaced by those that the loop relies upon.
    #[must_use]
    pub fn new(config: &SdkConfig) -> Self {
        let iam = |attempt, operation| {
            let config = aws_sdk_iam::config::Builder::from(config)
                .retry_config(retries())
                .timeout_config(timeouts(attempt, operation))
                .interceptor(WholeAnswers)
                .retry_classifier(NoRetryOfThrottles)
                .build();
            aws_sdk_iam::Client::from_conf(config)
        };
        let sts = aws_sdk_sts::config::Builder::from(config)
            .retry_config(retries())
            .timeout_config(timeouts(ROLE_ATTEMPT, ROLE_OPERATION))
            .interceptor(WholeAnswers)
            .build();
        Self {
            bulk: iam(BULK_ATTEMPT, BULK_OPERATION),
            role: iam(ROLE_ATTEMPT, ROLE_OPERATION),
            sts: aws_sdk_sts::Client::from_conf(sts),
            config: config.clone(),
            credentials: None,
        }
    }
}

/// One for all accounts: each of its own would hold connections and certificates of its own.
fn http_client() -> SharedHttpClient {
    Builder::new().build_with_connector_fn(|settings, components| {
        let mut connector = Connector::builder();
        connector.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            connector.set_sleep_impl(components.sleep_impl());
        }
        connector.set_proxy_config(Some(ProxyConfig::from_env()));
        connector.tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc)).build()
    })
}

/// How long a role's session lasts: the longest that a session may last that was itself entered from a role's (IAM User
/// Guide, "Role chaining").
const SESSION: Duration = Duration::from_secs(3600);

fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(3)
}

fn timeouts(attempt: Duration, operation: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(attempt)
        .operation_timeout(operation)
        .build()
}

/// The Region of the EC2 instance, asked briefly: elsewhere nobody answers at that address.
fn instance_region() -> ImdsRegionProvider {
    let second = Duration::from_secs(1);
    let client = imds::Client::builder()
        .max_attempts(1)
        .connect_timeout(second)
        .read_timeout(second)
        .operation_timeout(second)
        .build();
    ImdsRegionProvider::builder().imds_client(client).build()
}

/// An answer of AWS that lacks what AWS always sends, or holds what it never does.
fn unreadable(operation: &'static str, why: impl Display) -> IamError {
    IamError::contradiction(operation, format!("the answer cannot be used: {why}"))
}

fn tags(told: Option<Vec<Tag>>) -> BTreeMap<String, String> {
    told.unwrap_or_default().into_iter().map(|tag| (tag.key, tag.value)).collect()
}

fn boundary(told: Option<AttachedPermissionsBoundary>) -> Option<String> {
    told?.permissions_boundary_arn
}

fn policy(told: ManagedPolicyDetail) -> PolicyDetail {
    let version = told.default_version_id.unwrap_or_default();
    let mut versions = told.policy_version_list.unwrap_or_default().into_iter();
    let default = versions.find(|known| known.version_id.as_ref() == Some(&version));
    PolicyDetail {
        arn: told.arn.unwrap_or_default(),
        encoded_document: default.and_then(|default| default.document),
        version,
    }
}

/// What the simulator says of one action. Where resources were named, it tells of each of them within the action's result,
/// which then sums them up; what the organization decides it tells of the action alone.
fn simulated(told: EvaluationResult) -> Result<Vec<SimulatedAction>, IamError> {
    let action = told.eval_action_name;
    let allowed_by_organizations = told.organizations_decision_detail.map(|detail| detail.allowed_by_organizations);
    let one = |resource, decision: PolicyEvaluationDecisionType, statements: Option<Vec<Statement>>, missing| {
        let statements = statements.unwrap_or_default().into_iter();
        Ok(SimulatedAction {
            action: action.clone(),
            resource,
            decision: match decision {
                PolicyEvaluationDecisionType::Allowed => Decision::Allowed,
                PolicyEvaluationDecisionType::ExplicitDeny => Decision::ExplicitDeny,
                PolicyEvaluationDecisionType::ImplicitDeny => Decision::ImplicitDeny,
                other => return Err(unreadable(SIMULATE, format!("it decides {}", other.as_str()))),
            },
            allowed_by_organizations,
            missing_context: Option::unwrap_or_default(missing),
            matched: statements.filter_map(|statement| statement.source_policy_id).collect(),
        })
    };
    let each = told.resource_specific_results.unwrap_or_default();
    if each.is_empty() {
        let resource = told.eval_resource_name.unwrap_or_else(|| "*".to_owned());
        return Ok(vec![one(resource, told.eval_decision, told.matched_statements, told.missing_context_values)?]);
    }
    let each = each.into_iter().map(|told| {
        let (statements, missing) = (told.matched_statements, told.missing_context_values);
        one(told.eval_resource_name, told.eval_resource_decision, statements, missing)
    });
    each.collect()
}

impl Iam for SdkIam {
    async fn within(&self, entrance: &Entrance) -> Self {
        let region = entrance.region.as_ref().map(|region| Region::new(region.as_str().to_owned()));
        let region = region.or_else(|| self.config.region().cloned());
        let here = self.config.to_builder().region(region).build();
        let (base, account) = (self.credentials.clone(), Some(entrance.account.clone()));
        let Some(role) = &entrance.role else { return Self::of_account(&here, base, account) };
        let bounded = here.to_builder().timeout_config(timeouts(ROLE_ATTEMPT, ROLE_OPERATION)).retry_config(retries());
        let assumed = AssumeRoleProvider::builder(role.as_str())
            .configure(&bounded.build())
            .session_name(&entrance.session_name)
            .session_length(SESSION);
        let assumed = match &entrance.external_id {
            Some(id) => assumed.external_id(id),
            None => assumed,
        };
        let there = SharedCredentialsProvider::new(assumed.build().await);
        Self::of_account(&here.to_builder().credentials_provider(there).build(), base, account)
    }

    async fn caller(&self) -> Result<Caller, IamError> {
        const OPERATION: &str = "GetCallerIdentity";
        let answer = self.sts.get_caller_identity().send().await.map_err(self.failed(OPERATION))?;
        let account = answer.account().unwrap_or_default().parse().map_err(|error| unreadable(OPERATION, error))?;
        // Without it nobody knows which role is the controller's own.
        let arn = answer.arn().ok_or_else(|| unreadable(OPERATION, "it holds no ARN"))?;
        Ok(Caller { account, arn: arn.to_owned(), base_role: None })
    }

    async fn roles_page(&self, marker: Option<String>) -> Result<RolesPage, IamError> {
        let answer = self
            .bulk
            .get_account_authorization_details()
            .filter(EntityType::Role)
            .max_items(1000)
            .set_marker(marker)
            .send()
            .await
            .map_err(self.failed(BULK))?;
        let roles = answer.role_detail_list.unwrap_or_default().into_iter().map(|role| {
            let inline_policies = role.role_policy_list.unwrap_or_default().into_iter().map(|policy| InlinePolicy {
                name: policy.policy_name.unwrap_or_default(),
                encoded_document: policy.policy_document.unwrap_or_default(),
            });
            let attached = role.attached_managed_policies.unwrap_or_default().into_iter();
            let profiles = role.instance_profile_list.unwrap_or_default().into_iter();
            RoleDetail {
                inline_policies: inline_policies.collect(),
                attached: attached.filter_map(|policy| policy.policy_arn).collect(),
                boundary: boundary(role.permissions_boundary),
                instance_profiles: profiles.map(|profile| profile.instance_profile_name).collect(),
                trust: role.assume_role_policy_document.unwrap_or_default(),
                name: role.role_name.unwrap_or_default(),
                arn: role.arn.unwrap_or_default(),
                tags: tags(role.tags),
                path: role.path.unwrap_or_default(),
            }
        });
        Ok(RolesPage { roles: roles.collect(), is_truncated: answer.is_truncated, marker: answer.marker })
    }

    async fn role(&self, role: &RoleName) -> Result<RoleDetail, IamError> {
        const OPERATION: &str = "GetRole";
        let answer = self.role.get_role().role_name(role.as_str()).send().await.map_err(self.failed(OPERATION))?;
        let role = answer.role.ok_or_else(|| unreadable(OPERATION, "it holds no role"))?;
        Ok(RoleDetail {
            name: role.role_name,
            arn: role.arn,
            path: role.path,
            tags: tags(role.tags),
            trust: role.assume_role_policy_document.unwrap_or_default(),
            boundary: boundary(role.permissions_boundary),
            ..RoleDetail::default()
        })
    }

    async fn role_policy(&self, role: &RoleName, policy: &PolicyName) -> Result<String, IamError> {
        let call = self.role.get_role_policy().role_name(role.as_str()).policy_name(policy.as_str());
        Ok(call.send().await.map_err(self.failed("GetRolePolicy"))?.policy_document)
    }

    async fn policies_page(&self, marker: Option<String>) -> Result<PoliciesPage, IamError> {
        let call = self.bulk.get_account_authorization_details().filter(EntityType::LocalManagedPolicy).max_items(1000);
        let answer = call.set_marker(marker).send().await.map_err(self.failed(BULK))?;
        let policies = answer.policies.unwrap_or_default().into_iter().map(policy).collect();
        Ok(PoliciesPage { policies, is_truncated: answer.is_truncated, marker: answer.marker })
    }

    async fn managed_policy(&self, arn: &str) -> Result<PolicyDetail, IamError> {
        const OPERATION: &str = "GetPolicy";
        let answer = self.role.get_policy().policy_arn(arn).send().await.map_err(self.failed(OPERATION))?;
        let policy = answer.policy.ok_or_else(|| unreadable(OPERATION, "it holds no policy"))?;
        let version = policy.default_version_id.ok_or_else(|| unreadable(OPERATION, "it names no default version"))?;
        Ok(PolicyDetail { arn: policy.arn.unwrap_or_else(|| arn.to_owned()), version, encoded_document: None })
    }

    async fn managed_policy_document(&self, arn: &str, version: &str) -> Result<String, IamError> {
        const OPERATION: &str = "GetPolicyVersion";
        let call = self.role.get_policy_version().policy_arn(arn).version_id(version);
        let answer = call.send().await.map_err(self.failed(OPERATION))?;
        let document = answer.policy_version.and_then(|version| version.document);
        document.ok_or_else(|| unreadable(OPERATION, "it holds no document"))
    }

    async fn simulate(
        &self,
        role_arn: &str,
        actions: &[String],
        resources: &[String],
    ) -> Result<Vec<SimulatedAction>, IamError> {
        let resources = Some(resources.to_vec()).filter(|resources| !resources.is_empty());
        let call = self.role.simulate_principal_policy().policy_source_arn(role_arn);
        let call = call.set_action_names(Some(actions.to_vec())).set_resource_arns(resources);
        let (mut all, mut pages, mut marker) = (Vec::new(), Pages::of(SIMULATE), None);
        loop {
            let page = call.clone().set_marker(marker).send().await.map_err(self.failed(SIMULATE))?;
            for result in page.evaluation_results.unwrap_or_default() {
                for said in simulated(result)? {
                    // Nothing keeps IAM from telling of every resource in the result of each.
                    if !all.contains(&said) {
                        all.push(said);
                    }
                }
            }
            marker = pages.next(page.is_truncated, page.marker)?;
            if marker.is_none() {
                return Ok(all);
            }
        }
    }

    async fn put_role_policy(&self, put: &Put<'_>) -> Result<RequestId, IamError> {
        let call = self.role.put_role_policy().role_name(put.role().as_str()).policy_name(put.policy().as_str());
        let call = call.policy_document(put.document()).customize().config_override(one_attempt());
        let answer = call.send().await.map_err(self.failed(Put::OPERATION))?;
        from_aws(Put::OPERATION, answer.request_id())
    }

    async fn delete_role_policy(&self, removal: &Removal<'_>) -> Result<RequestId, IamError> {
        let (role, policy) = (removal.role().as_str(), removal.policy().as_str());
        let call = self.role.delete_role_policy().role_name(role).policy_name(policy);
        let answer =
            call.customize().config_override(one_attempt()).send().await.map_err(self.failed(Removal::OPERATION))?;
        from_aws(Removal::OPERATION, answer.request_id())
    }
}

/// Between two attempts of a write somebody else may write, and a fresh read must stand before every write of ours.
fn one_attempt() -> aws_sdk_iam::config::Builder {
    aws_sdk_iam::config::Builder::new().retry_config(RetryConfig::disabled())
}

/// The answer to a write has no body to be misread: what is not from AWS would pass for a success.
fn from_aws(operation: &'static str, request_id: Option<&str>) -> Result<RequestId, IamError> {
    request_id.map(RequestId::new).ok_or_else(|| unreadable(operation, "it holds no request id of AWS"))
}

#[cfg(test)]
mod tests {
    use aws_sdk_iam::types::{OrganizationsDecisionDetail, ResourceSpecificResult};

    use super::*;

    #[test]
    fn the_simulator_is_heard_for_each_resource_or_for_all_at_once() {
        let organization = OrganizationsDecisionDetail::builder().allowed_by_organizations(false).build();
        let told = EvaluationResult::builder()
            .eval_action_name("kms:Decrypt")
            .eval_decision(PolicyEvaluationDecisionType::ImplicitDeny)
            .missing_context_values("aws:SourceIp")
            .matched_statements(Statement::builder().source_policy_id("Guard").build())
            .organizations_decision_detail(organization);
        let expected = SimulatedAction {
            allowed_by_organizations: Some(false),
            missing_context: vec!["aws:SourceIp".to_owned()],
            matched: vec!["Guard".to_owned()],
            ..SimulatedAction::new("kms:Decrypt", "*", Decision::ImplicitDeny)
        };
        assert_eq!(simulated(told.clone().build().unwrap()), Ok(vec![expected]));

        let each =
            [("one", PolicyEvaluationDecisionType::Allowed), ("two", PolicyEvaluationDecisionType::ExplicitDeny)].map(
                |(name, decision)| {
                    let result = ResourceSpecificResult::builder().eval_resource_name(name);
                    result.eval_resource_decision(decision).build().unwrap()
                },
            );
        let said = simulated(told.set_resource_specific_results(Some(each.to_vec())).build().unwrap()).unwrap();
        let said = said.iter().map(|said| (said.resource.as_str(), said.decision, said.allowed_by_organizations));
        let expected = [("one", Decision::Allowed, Some(false)), ("two", Decision::ExplicitDeny, Some(false))];
        assert_eq!(said.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_decision_that_nobody_knows_is_no_answer() {
        let told = EvaluationResult::builder().eval_action_name("kms:Decrypt").eval_decision("perhaps".into());
        assert!(simulated(told.build().unwrap()).unwrap_err().message.contains("perhaps"));
    }
}
