//! Documents, examples, deployments and coding rules agree with the code.

mod api_versions;
mod deploy;
mod documents;
mod example;
mod examples;
mod links;
mod readme;
mod reference;
mod shown;
mod status_document;
mod tidy;

/// What the examples have in the place of an id that only their reader knows.
const NIL: &str = "00000000-0000-0000-0000-000000000000";

/// An example as its reader fills it in.
fn filled_in(text: &str) -> String {
    text.replace(NIL, "0ed4b3a5-1b4c-4a5e-8a6f-0123456789ab")
}
