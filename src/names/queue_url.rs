//! The URL of an SQS queue.
//!
//! Knows how SQS writes such URLs, and nothing of what is in a queue. What must stay true: a request for a queue goes to
//! AWS, or to this very machine (for tests), wherever a manifest points.
//!
//! Source: Amazon SQS Developer Guide, "Queue and message identifiers"; AWS General Reference, "Amazon SQS endpoints".

use std::{fmt, net::IpAddr, str::FromStr};

use super::{AccountId, NameError, is_region};

/// The URL of a standard queue: `https://sqs.us-east-1.amazonaws.com/111122223333/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueUrl {
    text: String,
    place: Place,
    account: AccountId,
}

/// Where the queue is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Place {
    /// In this Region of AWS.
    Region(String),
    /// On this machine, behind this endpoint.
    Local(String),
}

const FORM: &str = "a queue's URL looks like https://sqs.us-east-1.amazonaws.com/111122223333/name; \
     `aws sqs get-queue-url --queue-name NAME` prints it";

/// What the names of AWS's endpoints end with, in all partitions.
const SUFFIXES: [&str; 8] = [
    "amazonaws.com",
    "amazonaws.com.cn",
    "amazonaws.eu",
    "api.aws",
    "c2s.ic.gov",
    "sc2s.sgov.gov",
    "cloud.adc-e.uk",
    "csp.hci.ic.gov",
];

impl QueueUrl {
    /// The URL, as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The Region of the queue; none for one on this machine.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        match &self.place {
            Place::Region(region) => Some(region),
            Place::Local(_) => None,
        }
    }

    /// The endpoint on this machine; none for a queue of AWS, whose endpoint follows from the Region.
    #[must_use]
    pub fn local_endpoint(&self) -> Option<&str> {
        match &self.place {
            Place::Region(_) => None,
            Place::Local(endpoint) => Some(endpoint),
        }
    }

    /// The queue's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text.rsplit('/').next().unwrap_or_default()
    }

    /// The account that owns the queue.
    #[must_use]
    pub fn account(&self) -> &AccountId {
        &self.account
    }
}

impl fmt::Display for QueueUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for QueueUrl {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let shown = text.escape_debug();
        let refused = |what: &str| NameError::new(format!("`{shown}` {what}"), FORM);
        if text.starts_with("arn:") {
            return Err(refused("is an ARN: a queue is asked for by its URL"));
        }
        let (https, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(refused("is not the URL of a queue")),
        };
        let Some((host, path)) = rest.split_once('/') else {
            return Err(refused("names no queue after the host"));
        };
        let place = match region_of(host) {
            Some(region) if https => Place::Region(region.to_owned()),
            Some(_) => return Err(refused("must begin with https://: what IAM tells is nobody else's business")),
            // Loopback alone: elsewhere a signed request would be shown to whoever stands there.
            None if is_this_machine(host) => Place::Local(text[..text.len() - path.len() - 1].to_owned()),
            None => return Err(refused("does not point at an endpoint of SQS")),
        };
        let Some((account, name)) = path.split_once('/') else {
            return Err(refused("holds no account and name of a queue"));
        };
        let account = account.parse().map_err(|error: NameError| NameError::new(error.what, FORM))?;
        if name.ends_with(".fifo") {
            return Err(NameError::new(
                format!("`{shown}` is a FIFO queue: one event that cannot be read would hold up all behind it"),
                "make a standard queue; the order of events does not matter",
            ));
        }
        let sign = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if !(1..=80).contains(&name.len()) || !name.bytes().all(sign) {
            return Err(refused("does not end with the name of a queue: 1 to 80 letters, digits, `-` or `_`"));
        }
        Ok(Self { text: text.to_owned(), place, account })
    }
}

/// The Region that an endpoint of SQS is in: `sqs.REGION.amazonaws.com`, with FIPS or dual-stack spellings.
fn region_of(host: &str) -> Option<&str> {
    let rest = host.strip_prefix("sqs.").or_else(|| host.strip_prefix("sqs-fips."))?;
    let (region, suffix) = rest.split_once('.')?;
    (is_region(region) && SUFFIXES.contains(&suffix)).then_some(region)
}

/// Whether `HOST:PORT` is this very machine.
fn is_this_machine(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => return false,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let port_is_one = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    port_is_one && (name == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queues_url_tells_its_region_and_account() {
        for (text, region) in [
            ("https://sqs.us-east-1.amazonaws.com/111122223333/iam-changes", "us-east-1"),
            ("https://sqs.cn-north-1.amazonaws.com.cn/111122223333/a", "cn-north-1"),
            ("https://sqs.us-gov-west-1.amazonaws.com/111122223333/A_b-1", "us-gov-west-1"),
            ("https://sqs-fips.us-east-1.amazonaws.com/111122223333/a", "us-east-1"),
            ("https://sqs.us-east-1.api.aws/111122223333/a", "us-east-1"),
            ("https://sqs.eusc-de-east-1.amazonaws.eu/111122223333/a", "eusc-de-east-1"),
        ] {
            let url: QueueUrl = text.parse().unwrap();
            assert_eq!((url.region(), url.local_endpoint()), (Some(region), None));
            assert_eq!((url.account().as_str(), url.as_str()), ("111122223333", text));
        }
    }

    #[test]
    fn a_queue_on_this_machine_is_asked_there() {
        for endpoint in ["http://127.0.0.1:5000", "http://localhost:9324", "https://127.0.0.1:1", "http://[::1]:5000"] {
            let url: QueueUrl = format!("{endpoint}/123456789012/name").parse().unwrap();
            assert_eq!((url.region(), url.local_endpoint()), (None, Some(endpoint)));
        }
    }

    #[test]
    fn what_is_not_the_url_of_a_standard_queue_of_sqs_is_refused() {
        for bad in [
            "",
            "iam-changes",
            "arn:aws:sqs:us-east-1:111122223333:iam-changes",
            "http://sqs.us-east-1.amazonaws.com/111122223333/a",
            "https://sqs.us-east-1.amazonaws.com",
            "https://sqs.us-east-1.amazonaws.com/",
            "https://sqs.us-east-1.amazonaws.com/a",
            "https://sqs.us-east-1.amazonaws.com/1111/a",
            "https://sqs.us-east-1.amazonaws.com/111122223333/",
            "https://sqs.us-east-1.amazonaws.com/111122223333/a/b",
            "https://sqs.us-east-1.amazonaws.com/111122223333/a b",
            "https://sqs.us-east-1.amazonaws.com/111122223333/a?Action=DeleteQueue",
            "https://sqs.us-east-1.amazonaws.com/111122223333/a.fifo",
            "https://sqs.us-east-1.amazonaws.com:444/111122223333/a",
            "https://user@sqs.us-east-1.amazonaws.com/111122223333/a",
            "https://sqs.us-east-1.amazonaws.com.example.org/111122223333/a",
            "https://sqs.example.org/111122223333/a",
            "https://iam.us-east-1.amazonaws.com/111122223333/a",
            "http://127.0.0.1/123456789012/a",
            "http://127.0.0.1:0/123456789012/a",
            "http://127.0.0.1:+1/123456789012/a",
            "http://10.0.0.1:5000/123456789012/a",
            "http://localhost.example.org:5000/123456789012/a",
            "http://user@127.0.0.1:5000/123456789012/a",
        ] {
            assert!(bad.parse::<QueueUrl>().is_err(), "{bad}");
        }
        let long = format!("https://sqs.us-east-1.amazonaws.com/111122223333/{}", "x".repeat(81));
        assert!(long.parse::<QueueUrl>().is_err());
    }
}
