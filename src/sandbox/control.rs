//! The control path: what a test in another process, or in another language, can do to a sandbox over HTTP.
//!
//! | request | body, by example | what it does |
//! |---|---|---|
//! | `POST /_sandbox/faults` | `{"operation":"PutRolePolicy","role":"web-server","times":2,"effect":"throttle"}`, or a list | adds faults ([`Fault`]) |
//! | | `{"beyond":{"per_second":5,"burst":5},"effect":"throttle"}` | lets an account have no more than five calls a second |
//! | `DELETE /_sandbox/faults` | – | takes back every fault |
//! | `GET /_sandbox/calls` | – | `{"counts":{…},"calls":[…]}`, oldest first |
//! | `DELETE /_sandbox/calls` | – | forgets them |
//! | `POST /_sandbox/lag` | `{"bulk_ms":5000,"single_ms":0}` | lets reads lag behind writes |
//! | `POST /_sandbox/delay` | `{"ms":50}` | makes every call take this long |
//! | `POST /_sandbox/pages` | `{"cap":3}`, `{"cap":null}` | bounds the pages of listings |
//! | `POST /_sandbox/keys` | `{"access_key_id":"AKIAEXAMPLE","account":"444455556666"}` | gives a key to an account |
//! | `POST /_sandbox/roles` | `{"roles":[{"name":"web","policies":[{"name":"P","document":"not JSON"}]}]}` | plants roles, unchecked ([`RoleSeed`]) |
//! | `GET /_sandbox/roles` | – | the roles of an account, with the documents as they were given |
//! | `DELETE /_sandbox/roles/web` | – | removes a role |
//! | `POST /_sandbox/roles/web` | `{"attach":["arn:…"],"detach":[],"boundary":"arn:…","instance_profiles":["web"],"trust":"{…}"}`; what is not named stays | changes a living role as somebody else would, unchecked ([`RoleChange`]) |
//! | `POST /_sandbox/managed` | `{"policy":"Guard","document":"{…}"}`; a name or an ARN; `null` removes | plants a managed policy, or gives it a new default version |
//! | `POST /_sandbox/simulations` | `{"role":"web","results":[{"action":"ssmmessages:OpenDataChannel","decision":"allowed"}]}`; `null`: there is no simulator | what `SimulatePrincipalPolicy` says of a role ([`SimulatedAction`]) |
//! | `POST /_sandbox/policies` | `{"role":"web","policy":"P","document":"{…}"}`; `null` removes | writes an inline policy as somebody else would, unchecked |
//! | `POST /_sandbox/tamper` | `{"step":0}` | does an act of the demo's play: `{"did":"…"}` |
//!
//! Where an account can be meant, `"account"` (in a body) or `?account=` (else) says so; the sandbox's first account
//! otherwise. Effects are named in snake case (`throttle`, `deny`, `server_error`, `unavailable`, `expired_token`,
//! `invalid_client_token_id`, `hang`, `reset`, `cut`, `html`, `no_marker`, `repeat_marker`, `{"delay_ms":50}`,
//! `{"refuse":{"status":409,"code":"ConcurrentModification","message":"…"}}`).
//!
//! Knows the sandbox's handle and nothing of the world. What must stay true: a page in somebody's browser cannot use it:
//! the `Host` must be this machine, there must be no `Origin`, and a body must say that it is JSON.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use hyper::{
    Method, Response, StatusCode,
    body::Bytes,
    header::{CONTENT_TYPE, HOST, ORIGIN},
    http::request::Parts,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{iam::SimulatedAction, names::AccountId};

use super::{
    Fault, Lag, RoleChange, RoleSeed, Sandbox,
    body::{Payload, response},
    demo,
};

/// Where the control path begins.
pub(super) const PATH: &str = "/_sandbox/";

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(Fault),
    More(Vec<Fault>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LagBody {
    #[serde(default)]
    bulk_ms: u64,
    #[serde(default)]
    single_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DelayBody {
    ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PagesBody {
    cap: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysBody {
    access_key_id: String,
    account: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RolesBody {
    account: Option<String>,
    roles: Vec<RoleSeed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyBody {
    account: Option<String>,
    role: String,
    policy: String,
    document: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ManagedBody {
    account: Option<String>,
    policy: String,
    document: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SimulationBody {
    account: Option<String>,
    role: String,
    results: Option<Vec<SimulatedAction>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TamperBody {
    step: u64,
}

/// Why the control path does not do what it was asked.
struct No(StatusCode, String);

pub(super) fn respond(sandbox: &Sandbox, address: SocketAddr, head: &Parts, body: &[u8]) -> Response<Payload> {
    let (status, body) = match answer(sandbox, address, head, body) {
        Ok(body) => (StatusCode::OK, body),
        Err(No(status, error)) => (status, json!({ "error": error })),
    };
    response(status, "application/json", Bytes::from(format!("{body}\n")))
}

fn answer(sandbox: &Sandbox, address: SocketAddr, head: &Parts, body: &[u8]) -> Result<Value, No> {
    keep_browsers_out(address, head)?;
    let done = json!({});
    let what = head.uri.path().strip_prefix(PATH).unwrap_or_default();
    Ok(match (&head.method, what) {
        (&Method::POST, "faults") => {
            let faults = match read(head, body)? {
                OneOrMore::One(fault) => vec![fault],
                OneOrMore::More(faults) => faults,
            };
            faults.into_iter().for_each(|fault| sandbox.fault(fault));
            json!({ "in_force": sandbox.faults_left() })
        }
        (&Method::DELETE, "faults") => {
            sandbox.clear_faults();
            done
        }
        (&Method::GET, "calls") => json!({ "counts": sandbox.counts(), "calls": sandbox.calls() }),
        (&Method::DELETE, "calls") => {
            sandbox.clear_calls();
            done
        }
        (&Method::POST, "lag") => {
            let LagBody { bulk_ms, single_ms } = read(head, body)?;
            let (bulk, single) = (Duration::from_millis(bulk_ms), Duration::from_millis(single_ms));
            sandbox.set_lag(Lag { bulk, single });
            done
        }
        (&Method::POST, "delay") => {
            let DelayBody { ms } = read(head, body)?;
            sandbox.set_delay(Duration::from_millis(ms));
            done
        }
        (&Method::POST, "pages") => {
            let PagesBody { cap } = read(head, body)?;
            sandbox.set_page_cap(cap);
            done
        }
        (&Method::POST, "keys") => {
            let KeysBody { access_key_id, account } = read(head, body)?;
            sandbox.give_key(&access_key_id, self::account(sandbox, Some(&account))?);
            done
        }
        (&Method::POST, "roles") => {
            let RolesBody { account, roles } = read(head, body)?;
            let account = self::account(sandbox, account.as_deref())?;
            roles.into_iter().for_each(|role| sandbox.plant(&account, role));
            done
        }
        (&Method::GET, "roles") => roles(sandbox, &account_of_query(sandbox, head)?),
        (&Method::POST, "policies") => {
            let PolicyBody { account, role, policy, document } = read(head, body)?;
            let account = self::account(sandbox, account.as_deref())?;
            let found = match document {
                Some(document) => sandbox.write_policy(&account, &role, &policy, &document),
                None => sandbox.remove_policy(&account, &role, &policy),
            };
            if !found {
                return Err(No(StatusCode::NOT_FOUND, format!("there is no role {role}")));
            }
            done
        }
        (&Method::POST, "tamper") => {
            let TamperBody { step } = read(head, body)?;
            json!({ "did": demo::tamper(sandbox, step) })
        }
        (&Method::POST, "managed") => {
            let ManagedBody { account, policy, document } = read(head, body)?;
            let account = self::account(sandbox, account.as_deref())?;
            match document {
                Some(document) if !sandbox.write_managed(&account, &policy, &document) => {
                    sandbox.plant_policy(&account, &policy, &document);
                }
                None if !sandbox.remove_managed(&account, &policy) => {
                    return Err(No(StatusCode::NOT_FOUND, format!("there is no managed policy {policy}")));
                }
                _ => {}
            }
            done
        }
        (&Method::POST, "simulations") => {
            let SimulationBody { account, role, results } = read(head, body)?;
            sandbox.set_simulation(&self::account(sandbox, account.as_deref())?, &role, results);
            done
        }
        (&Method::POST, path) if path.starts_with("roles/") => {
            let role = path.trim_start_matches("roles/");
            let change: RoleChange = read(head, body)?;
            if !sandbox.change_role(&account_of_query(sandbox, head)?, role, &change) {
                return Err(No(StatusCode::NOT_FOUND, format!("there is no role {role}")));
            }
            done
        }
        (&Method::DELETE, path) if path.starts_with("roles/") => {
            let role = path.trim_start_matches("roles/");
            if !sandbox.remove_role(&account_of_query(sandbox, head)?, role) {
                return Err(No(StatusCode::NOT_FOUND, format!("there is no role {role}")));
            }
            done
        }
        (method, _) => {
            return Err(No(StatusCode::NOT_FOUND, format!("there is no {method} {}", head.uri.path())));
        }
    })
}

fn roles(sandbox: &Sandbox, account: &AccountId) -> Value {
    let roles = sandbox.roles(account).into_iter().map(|role| {
        let policies = sandbox.policies(account, &role).into_iter();
        let policies: Vec<Value> = policies
            .filter_map(|policy| {
                let document = sandbox.document(account, &role, &policy)?;
                Some(json!({ "name": policy, "document": document }))
            })
            .collect();
        json!({ "name": role, "policies": policies })
    });
    json!({ "account": account, "roles": roles.collect::<Vec<_>>() })
}

fn account(sandbox: &Sandbox, text: Option<&str>) -> Result<AccountId, No> {
    match text {
        None => Ok(sandbox.account()),
        Some(text) => text.parse().map_err(|error| No(StatusCode::BAD_REQUEST, format!("account: {error}"))),
    }
}

fn account_of_query(sandbox: &Sandbox, head: &Parts) -> Result<AccountId, No> {
    let query = form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes());
    let query: BTreeMap<_, _> = query.into_owned().collect();
    account(sandbox, query.get("account").map(String::as_str))
}

fn read<T: DeserializeOwned>(head: &Parts, body: &[u8]) -> Result<T, No> {
    // A browser sends another site's JSON only after asking first, which is answered with a 404 here.
    let is_json = head.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if !is_json {
        let message = "the body must come with `Content-Type: application/json`".to_owned();
        return Err(No(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    serde_json::from_slice(body).map_err(|error| No(StatusCode::BAD_REQUEST, error.to_string()))
}

fn keep_browsers_out(address: SocketAddr, head: &Parts) -> Result<(), No> {
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
        .map_or(host, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let here = host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip == address.ip());
    if here && !head.headers.contains_key(ORIGIN) {
        return Ok(());
    }
    Err(No(StatusCode::FORBIDDEN, "the control path is for this machine's own tests, not for browsers".to_owned()))
}
