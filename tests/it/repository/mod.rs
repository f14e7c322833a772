//! What is written is true: documents, examples, deployments, and the house rules.

mod deploy;
mod documents;
mod example;
mod examples;
mod readme;
mod shown;
mod tidy;
