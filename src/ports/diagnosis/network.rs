//! The action if no answer came.

use crate::net::no_response::NoResponse;

/// What to fix between this host and a host that did not answer.
pub fn network(why: NoResponse, host: &str) -> String {
    match why {
        NoResponse::NameUnknown | NoResponse::Lookup => {
            format!("check DNS on this host, and the name: {host} cannot be looked up")
        }
        NoResponse::Connect | NoResponse::TimedOut | NoResponse::Cut => {
            format!(
                "check the network, firewall and proxy on the way to {host}; Perennial tries again by itself"
            )
        }
        NoResponse::Tls => format!(
            "check the certificate that {host} shows: where a proxy inspects TLS, or the authority is private, give its root as ca_file of [cloud]"
        ),
        NoResponse::NotInTime => format!(
            "set this host's clock: `timedatectl set-ntp true`; if the clock is right, renew the certificate of {host}"
        ),
        NoResponse::Proxy => {
            format!("check the proxy (HTTPS_PROXY, NO_PROXY): it refused to connect to {host}")
        }
    }
}
