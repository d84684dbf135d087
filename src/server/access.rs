//! Who may read the status.
//!
//! What must stay true: a page of another site cannot read it through somebody's browser (the Host header is that of this
//! server), and without the token nothing is said, however the request looks.

use std::{
    fs,
    net::IpAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use sha2::{Digest, Sha256};

use crate::telemetry::{Event, EventName, emit};

/// So long a token is at most, in bytes.
const LONGEST_TOKEN: u64 = 4_096;

/// What to do about a token that cannot be used.
pub(super) const HINT: &str = "write a long random word into it, and let nobody else read it: chmod 600";

/// So long it is at least.
const SHORTEST_TOKEN: usize = 16;

/// What is asked of whoever wants to read the status.
#[derive(Debug)]
pub(super) struct Access {
    token_file: Option<PathBuf>,
    hosts: Vec<String>,
    /// Why the token could not be used when it was last asked for, as it was told.
    told: Mutex<Option<String>>,
}

/// Why a request is turned away.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// It is meant for another host.
    Misdirected,
    /// The token is missing or wrong.
    NoToken,
    /// The token cannot be read, so nobody can be let in.
    TokenUnknown,
}

impl Access {
    pub(super) fn new(token_file: Option<PathBuf>, hosts: Vec<String>) -> Self {
        Self { token_file, hosts, told: Mutex::default() }
    }

    /// Whether the token can be used, where there is one.
    ///
    /// # Errors
    ///
    /// Why not, in words.
    pub(super) async fn check(&self) -> Result<(), String> {
        match &self.token_file {
            Some(_) => self.token().await.map(|_| ()),
            None => Ok(()),
        }
    }

    /// Whether the request is meant for this server: by an IP address, localhost, or a name that it goes by. A name that
    /// somebody else can point at this machine is none of these.
    pub(super) fn admits_host(&self, host: Option<&str>) -> Result<(), Denied> {
        let name = host.map(without_port).ok_or(Denied::Misdirected)?;
        let is_ours = name.eq_ignore_ascii_case("localhost")
            || name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
            || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name));
        if is_ours { Ok(()) } else { Err(Denied::Misdirected) }
    }

    /// Whether the request carries the token. It is read each time, so that a new one counts at once.
    pub(super) async fn admits(&self, authorization: Option<&[u8]>) -> Result<(), Denied> {
        if self.token_file.is_none() {
            return Ok(());
        }
        let token = self.token().await;
        self.tell(token.as_ref().err());
        let token = token.map_err(|_| Denied::TokenUnknown)?;
        let given = authorization.and_then(bearer).ok_or(Denied::NoToken)?;
        // Digests take the same time to compare whatever they are of.
        if Sha256::digest(given) == Sha256::digest(token.as_bytes()) { Ok(()) } else { Err(Denied::NoToken) }
    }

    /// Tells that the token cannot be used, once for each reason.
    fn tell(&self, trouble: Option<&String>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = trouble.filter(|why| told.as_ref() != Some(*why)) {
            emit(&Event {
                hint: Some(HINT.to_owned()),
                ..Event::new(EventName::EndpointFailed, format!("the status endpoint lets nobody in: {why}"))
            });
        }
        *told = trouble.cloned();
    }

    async fn token(&self) -> Result<String, String> {
        let Some(path) = self.token_file.clone() else { return Err("there is no token".to_owned()) };
        // A file on a dead mount must not hold up the runtime.
        tokio::task::spawn_blocking(move || read_token(&path)).await.map_err(|error| error.to_string())?
    }
}

fn read_token(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let metadata = fs::metadata(path).map_err(|error| format!("the token file {shown} cannot be read: {error}"))?;
    if !metadata.is_file() || metadata.len() > LONGEST_TOKEN {
        return Err(format!("the token file {shown} is no file of at most {LONGEST_TOKEN} bytes"));
    }
    if metadata.permissions().mode() & 0o007 != 0 {
        return Err(format!("the token file {shown} can be read or written by everybody on this machine"));
    }
    let token = fs::read_to_string(path).map_err(|error| format!("the token file {shown} cannot be read: {error}"))?;
    let token = token.trim();
    if token.len() < SHORTEST_TOKEN || token.contains(char::is_whitespace) {
        return Err(format!("the token file {shown} does not hold one word of at least {SHORTEST_TOKEN} characters"));
    }
    Ok(token.to_owned())
}

fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// `name:port` without its port; an IPv6 address stands in brackets.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
            if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { host }
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn only_what_names_this_server_is_meant_for_it() {
        let access = Access::new(None, vec!["status.example.org".to_owned()]);
        for host in [
            "localhost",
            "LOCALHOST:8082",
            "127.0.0.1:8082",
            "10.1.2.3",
            "[::1]:8082",
            "[::1]",
            "Status.Example.org:443",
        ] {
            assert_eq!(access.admits_host(Some(host)), Ok(()), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:8082",
            "status.example.org.",
            "localhost:x",
            "a b",
        ] {
            assert_eq!(access.admits_host(Some(host)), Err(Denied::Misdirected), "{host}");
        }
        assert_eq!(access.admits_host(None), Err(Denied::Misdirected));
    }

    #[tokio::test]
    async fn nobody_is_let_in_without_the_token_and_a_new_one_counts_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let access = Access::new(Some(path.clone()), Vec::new());
        let write = |token: &str, mode| {
            fs::write(&path, token).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        };
        let first = "0123456789abcdef";
        assert_eq!(access.admits(Some(b"Bearer x")).await, Err(Denied::TokenUnknown), "no file");
        write(&format!("{first}\n"), 0o600);
        assert_eq!(access.check().await, Ok(()));
        assert_eq!(access.admits(Some(format!("Bearer {first}").as_bytes())).await, Ok(()));
        assert_eq!(access.admits(Some(format!("bearer {first}").as_bytes())).await, Ok(()));
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdeff",
            "Basic 0123456789abcdef",
            first,
        ] {
            assert_eq!(access.admits(Some(wrong.as_bytes())).await, Err(Denied::NoToken), "{wrong}");
        }
        assert_eq!(access.admits(None).await, Err(Denied::NoToken));
        write("fedcba9876543210", 0o640);
        assert_eq!(access.admits(Some(format!("Bearer {first}").as_bytes())).await, Err(Denied::NoToken));
        assert_eq!(access.admits(Some(b"Bearer fedcba9876543210")).await, Ok(()));
    }

    #[tokio::test]
    async fn a_token_that_others_can_read_or_that_is_none_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let access = Access::new(Some(path.clone()), Vec::new());
        let why = |why: Result<(), String>| why.unwrap_err().replace(&path.display().to_string(), "FILE");
        assert_eq!(
            why(access.check().await),
            "the token file FILE cannot be read: No such file or directory (os error 2)"
        );
        for (token, mode, expected) in [
            ("0123456789abcdef", 0o604, "the token file FILE can be read or written by everybody on this machine"),
            ("short", 0o600, "the token file FILE does not hold one word of at least 16 characters"),
            ("", 0o600, "the token file FILE does not hold one word of at least 16 characters"),
            ("two words of a token", 0o600, "the token file FILE does not hold one word of at least 16 characters"),
            (&"x".repeat(4_097), 0o600, "the token file FILE is no file of at most 4096 bytes"),
        ] {
            fs::write(&path, token).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(why(access.check().await), expected);
        }
    }
}
