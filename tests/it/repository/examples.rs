//! Tests that the commands in help, README and docs can be parsed, and that those that can run here succeed.

use std::path::Path;
use std::process::Command;

use clap::Parser as _;
use perennial::cli;
use perennial::cli::Cli;

use crate::rotation::daemon::Lab;

const README: &str = include_str!("../../../README.md");

/// Returns all calls of the program in a text, without the comments after the calls.
fn calls(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(str::trim).filter(|line| line.starts_with("perennial "));
    lines.map(|line| line.split_once(" #").map_or(line, |(call, _)| call).trim())
}

/// Returns the lines of all shell blocks of a page.
fn shell_blocks(page: &str) -> String {
    let blocks = page.split("```sh\n").skip(1);
    blocks.filter_map(|rest| rest.split("```").next()).collect::<Vec<_>>().join("\n").replace("\\\n", " ")
}

#[tokio::test]
async fn every_example_that_needs_no_person_runs() {
    let lab = Lab::start().await;
    let (world, partner) = (lab.sandbox.world(), &lab.partner);
    // All examples together would exceed Entra's loop limit, so the simulated Entra does not apply this limit.
    world.set_loop_limit(false);
    let customer = "11111111-2222-3333-4444-555555555555";
    world.add_customer(&partner.tenant_id, customer, "customer.onmicrosoft.com", &[&partner.client_id]);
    let examples = [
        cli::rotate::EXAMPLES,
        cli::status::EXAMPLES,
        cli::access_token::EXAMPLES,
        cli::verify::EXAMPLES,
        cli::check::EXAMPLES,
        cli::completions::EXAMPLES,
    ];
    let examples = examples.map(|text| text.replace("\\\n", " "));
    let calls: Vec<String> = examples.iter().flat_map(|text| calls(text)).map(str::to_owned).collect();
    assert!(calls.len() > 15, "{calls:?}");

    for call in calls {
        let mut shell = Command::new("sh");
        let function = format!("perennial() {{ '{}' \"$@\"; }}; {call}", env!("CARGO_BIN_EXE_perennial"));
        shell.args(["-c", &function]).current_dir(&lab.dir).env("PERENNIAL_CONFIG", &lab.config);
        let run = tokio::task::spawn_blocking(move || shell.output());

        let output = run.await.expect("no panic").expect("a shell");

        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{call}: {}{told}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn every_command_in_readme_and_docs_parses() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut pages = vec![README.to_owned()];
    for entry in std::fs::read_dir(docs).expect("a folder") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|kind| kind == "md") {
            pages.push(std::fs::read_to_string(path).expect("text"));
        }
    }
    let mut typed = 0;
    for page in &pages {
        let blocks = shell_blocks(page).replace("./target/release/perennial", "perennial");
        for call in calls(&blocks) {
            let words = call.split_whitespace().take_while(|word| !["<", ">", "|", "&&"].contains(word));
            let parsed = Cli::try_parse_from(words.map(|word| word.trim_matches('"')));

            // `--help` and `--version` also make the parser return an error, but they are not mistakes.
            let mistake = parsed.err().filter(clap::Error::use_stderr);
            assert!(mistake.is_none(), "{call}");
            typed += 1;
        }
    }
    assert!(typed > 5, "found only {typed}");
}
