//! The errors for requests that the sandbox does not serve, such as requests for deleted certificates
//! (docs/azure-facts.md F224).

use axum::http::Method;

use crate::sandbox::world::VaultRefusal;

/// A path belongs to a vault if its first segment is one of these.
const OF_A_VAULT: [&str; 9] = [
    "secrets",
    "deletedsecrets",
    "keys",
    "deletedkeys",
    "certificates",
    "deletedcertificates",
    "storage",
    "deletedstorage",
    "rng",
];

/// Whether a path belongs to a vault.
pub(super) fn is_of_a_vault(path: &str) -> bool {
    segments(path).first().is_some_and(|first| OF_A_VAULT.contains(first))
}

/// Returns the error for a request that the sandbox does not serve.
pub(super) fn refusal(method: &Method, path: &str) -> VaultRefusal {
    match (method.as_str(), &segments(path)[..]) {
        (_, ["secrets" | "deletedsecrets", _, operation]) => wrong_operation(method, operation),
        (_, ["secrets" | "deletedsecrets"] | ["secrets" | "deletedsecrets", _]) => wrong_method(method),
        // Key Vault serves these requests, but the sandbox does not simulate them.
        ("PUT", ["keys", _])
        | ("POST", ["keys" | "certificates", "restore"] | ["keys", _, "create" | "import"])
        | (_, ["certificates", "contacts" | "issuers", ..]) => not_here(method, path),
        // Any other request for a key or a certificate gets the error for a missing object, even if the object exists.
        (_, ["keys", name, ..]) => VaultRefusal::absent("KeyNotFound", "key", name),
        (_, ["certificates", name, ..]) => VaultRefusal::absent("CertificateNotFound", "certificate", name),
        (_, ["deletedkeys", name, ..]) => {
            VaultRefusal::new(404, "KeyNotFound", None, format!("Deleted Key not found: {name}"))
        }
        (_, ["deletedcertificates", name, ..]) => {
            let text = format!("Deleted Certificate not found: {name}");
            VaultRefusal::new(404, "CertificateNotFound", None, text)
        }
        _ => not_here(method, path),
    }
}

/// Returns the error for an operation that the HTTP method does not allow. In the path, the operation is the segment
/// after the secret's name. The error's text comes from a log of a program that called Key Vault.
pub(super) fn wrong_operation(method: &Method, operation: &str) -> VaultRefusal {
    VaultRefusal::bad_parameter(format!("Method {method} does not allow operation '{operation}'"))
}

/// Returns the error for a path that does not support the request's HTTP method.
pub(super) fn wrong_method(method: &Method) -> VaultRefusal {
    let text = format!("The requested resource does not support http method '{method}'.");
    VaultRefusal::new(405, "MethodNotAllowed", None, text)
}

/// Returns the sandbox's own error for a request that the sandbox does not serve. The real Key Vault serves the request
/// or answers with a web page.
fn not_here(method: &Method, path: &str) -> VaultRefusal {
    let text = if is_of_a_vault(path) {
        format!("The sandbox simulates only a part of Key Vault, and does not serve {method} {path}.")
    } else {
        format!("The sandbox does not serve {method} {path}.")
    };
    VaultRefusal::new(404, "NotFound", None, text)
}

fn segments(path: &str) -> Vec<&str> {
    path.split('/').filter(|segment| !segment.is_empty()).collect()
}
