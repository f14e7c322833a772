//! Tests of the arguments and of the documented exit codes.

use std::path::Path;
use std::time::Duration;

use clap::CommandFactory as _;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn the_parser_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn global_options_stand_before_or_after_the_command() {
    let before = parse("perennial --config a.toml --log-format json run").expect("good");
    let after = parse("perennial run --config a.toml").expect("good");

    assert_eq!(before.global.config, after.global.config);
    assert_eq!(before.global.log_format, Some(LogFormat::Json));
    assert!(matches!(after.verb, Verb::Run(_)));
}

#[test]
fn spans_need_a_unit() {
    let whole = parse("perennial sandbox --dir d --age 80d --rotate-after 1m --issuer strict").expect("good");

    let Verb::Sandbox(args) = whole.verb else { panic!("the sandbox") };
    assert_eq!(args.age, Duration::from_secs(80 * 86_400));
    assert_eq!(args.rotate_after, Some(Duration::from_secs(60)));
    assert_eq!(args.issuer, sandbox::IssuerRules::Strict);
    assert_eq!(args.listen.to_string(), "127.0.0.1:8443");
    assert!(parse("perennial sandbox --dir d --age 80").is_err());
}

#[test]
fn every_command_has_examples() {
    for verb in Cli::command().get_subcommands() {
        let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();

        assert!(help.contains(&format!("  perennial {}", verb.get_name())), "{}", verb.get_name());
    }
}

/// 80 columns is the usual minimum width of a terminal. The help also keeps this limit if the output is not a terminal.
#[test]
fn help_fits_80_columns() {
    let mut texts: Vec<String> = help::TOPICS.iter().map(|(_, text)| text()).collect();
    let mut program = Cli::command();
    program.build();
    texts.push(program.render_long_help().to_string());
    for verb in program.get_subcommands_mut() {
        texts.push(verb.render_long_help().to_string());
        texts.push(verb.render_help().to_string());
    }
    // clap wraps long lines, and a wrapped example could not be copied. So the examples must fit without wrapping.
    let examples = Cli::command();
    texts.extend(examples.get_subcommands().filter_map(|verb| Some(verb.get_after_help()?.to_string())));
    for line in texts.iter().flat_map(|text| text.lines()) {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn examples_in_the_help_parse() {
    for example in [
        run::EXAMPLES,
        rotate::EXAMPLES,
        status::EXAMPLES,
        health::EXAMPLES,
        access_token::EXAMPLES,
        verify::EXAMPLES,
        init::EXAMPLES,
        check::EXAMPLES,
        login::EXAMPLES,
        sandbox::EXAMPLES,
        demo::EXAMPLES,
        completions::EXAMPLES,
    ] {
        let example = example.replace("\\\n", " ");
        for line in example.lines().map(str::trim).filter(|line| line.starts_with("perennial ")) {
            let words = line.split_whitespace().take_while(|word| !["#", ">", "<"].contains(word));

            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
    }
}

#[test]
fn the_gravest_exit_code_of_many_counts() {
    use crate::cli::ExitCode::{Done, Failed, Login, Operator};

    assert_eq!(Done.gravest(Failed).gravest(Operator).gravest(Login), Login);
    assert_eq!(Login.gravest(Operator), Login);
    assert_eq!(Operator.gravest(Failed), Operator);
}

#[test]
fn exit_codes_are_the_documented_ones() {
    let stop = Stop::Configuration(ConfigProblems { path: "x".into(), problems: Vec::new() });

    assert_eq!(stop.exit_code().number(), 78);
    assert_eq!(ExitCode::from(Remedy::Login).number(), 3);
    assert_eq!(ExitCode::from(Remedy::Operator).number(), 4);
    assert_eq!(ExitCode::from(Remedy::Retry).number(), 1);
    for code in [0, 1, 2, 3, 4, 78] {
        assert!(help::EXIT_CODES.contains(&format!("  {code:<4}")), "{code}");
    }
}

#[test]
fn configuration_problems_are_listed() {
    let problems =
        Config::parse(Path::new("p.toml"), "[vault]\ncredential = \"azure_cli\"", std::iter::empty());

    let shown = for_people(&Stop::Configuration(problems.expect_err("no token")));

    assert_eq!(shown, "error: p.toml cannot be used\n  token: there must be at least one [[token]]");
}
