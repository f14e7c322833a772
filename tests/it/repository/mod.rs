//! What is written is true: documents, examples, deployments, and the house rules.

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
