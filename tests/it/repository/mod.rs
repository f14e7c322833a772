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
