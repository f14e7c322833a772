//! Tests that documents, examples, deployment files and coding rules agree with the code.

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

/// The placeholder in the examples for an id that only the reader knows.
const NIL: &str = "00000000-0000-0000-0000-000000000000";

/// Returns an example with ids instead of the placeholders.
fn filled_in(text: &str) -> String {
    text.replace(NIL, "0ed4b3a5-1b4c-4a5e-8a6f-0123456789ab")
}
