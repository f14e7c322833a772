//! Action texts for network failures.

use crate::net::no_response::{NoResponse, TlsFault};

/// Says how a failed request of the daemon is repeated.
pub const RETRIED: &str = "Perennial retries automatically";

/// Says what to fix on the network between this host and `host`, which did not respond. `again` says how the request is
/// repeated.
pub fn network(why: NoResponse, host: &str, again: &str) -> String {
    match why {
        NoResponse::NameUnknown | NoResponse::Lookup => {
            format!("check DNS on this host and the spelling of the host name: {host} cannot be resolved")
        }
        NoResponse::Connect | NoResponse::TimedOut | NoResponse::Cut => {
            format!("check the network, firewall and proxy between this host and {host}; {again}")
        }
        NoResponse::Tls(fault) => tls(fault, host),
        NoResponse::Proxy => {
            format!("check the proxy (HTTPS_PROXY, NO_PROXY): it refused to connect to {host}")
        }
    }
}

/// Says what to fix if another server answered in place of `host`.
pub fn intercepted(host: &str) -> String {
    format!(
        "something else answered in place of {host}: let this host reach the real server, and exempt the real server from blocking and TLS inspection by a proxy or web filter"
    )
}

/// Whether an answer with this status comes from another server, such as a gateway, a proxy or a captive portal. Call
/// this function only if the answer contains no error of the requested service.
pub fn is_of_another_server(status: u16) -> bool {
    matches!(status, 300..=407 | 409..=428 | 430..=499 | 511)
}

fn tls(fault: TlsFault, host: &str) -> String {
    match fault {
        TlsFault::Handshake => format!(
            "check the server at {host}: the server must speak TLS 1.2 or 1.3, and no proxy or firewall may cut the handshake"
        ),
        TlsFault::UnknownIssuer | TlsFault::Certificate => format!(
            "check the certificate of {host}; if a proxy inspects TLS, or if the certificate authority is private, set ca_file of [cloud] to the root certificate of this proxy or authority"
        ),
        TlsFault::OtherName => format!(
            "{host} shows the certificate of another host: correct the address in the configuration, or exempt {host} from the proxy that answers instead"
        ),
        TlsFault::Authority => format!(
            "give the server at {host} its own certificate, signed by the certificate authority, and set ca_file of [cloud] to the authority's certificate"
        ),
        TlsFault::NotInTime => format!(
            "set this host's clock: `timedatectl set-ntp true`; if the clock is right, renew the certificate of {host}"
        ),
    }
}
