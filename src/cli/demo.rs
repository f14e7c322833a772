//! `demo`: shows the whole product on this machine, without Azure, in about a minute.

use clap::Args;

use super::{ExitCode, Stop, out};
use crate::process::telemetry;
use crate::process::telemetry::LogFormat;
use crate::sandbox::demo;
use crate::sandbox::demo::DemoOptions;

/// Examples for the help text.
pub const EXAMPLES: &str = "\
Examples:
  perennial demo
  perennial demo --speed 2   # two days per second, to read along
  perennial demo --keep      # keeps running afterwards
  perennial demo --log       # with the log of the daemon, on stderr

Exit code 1: the daemon broke a promise (docs/promises.md), or the demo stopped
early.";

/// The allowed speeds in days per second. A slower demo would take too long, and no machine is fast enough for a faster
/// demo.
const SPEEDS: std::ops::RangeInclusive<f64> = 0.1..=12.0;

/// What `demo` takes.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Simulated days per second, 0.1 to 12
    #[arg(long, value_name = "DAYS", default_value = "3.5", value_parser = speed)]
    pub speed: f64,
    /// Keep running after the end, until Ctrl-C
    #[arg(long)]
    pub keep: bool,
    /// Show the daemon's log too, on stderr
    #[arg(long)]
    pub log: bool,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "must be a number of days".to_owned())?;
    let (least, most) = (SPEEDS.start(), SPEEDS.end());
    if SPEEDS.contains(&speed) {
        Ok(speed)
    } else {
        Err(format!("must be {least} to {most} days per second"))
    }
}

/// Runs the demo. The demo sets up its own logging, because the demo keeps the log in memory and searches the log for
/// secrets.
///
/// # Errors
/// Returns an error if the demo cannot begin.
pub async fn run(args: DemoArgs, format: LogFormat) -> Result<ExitCode, Stop> {
    end_on_panic();
    let asked = std::env::var_os("RUST_LOG").is_some_and(|directives| !directives.is_empty());
    let log = telemetry::capture((args.log || asked).then_some(format));
    let options = DemoOptions { speed: args.speed, keep: args.keep, colours: out::has_colors() };
    let say = Box::new(|text: &str| drop(out::line(text)));
    let stop = super::signals::stopped()?;
    match demo::run(options, say, log, stop).await {
        Ok(true) => Ok(ExitCode::Done),
        Ok(false) => Ok(ExitCode::Failed),
        Err(error) => {
            // The error goes to stderr and not to the log, since the demo's log is only in memory.
            eprintln!("error: {:#}", anyhow::Error::new(error));
            Ok(ExitCode::Failed)
        }
    }
}

/// Ends the process with exit code 1 if any task panics, even in a build in which a panic does not end the process.
fn end_on_panic() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        usual(info);
        std::process::exit(i32::from(ExitCode::Failed.number()));
    }));
}
