//! The entry point: parses the command line, runs the command, and sets the exit code. All other code is in the
//! library.

use std::process::ExitCode;

fn main() -> ExitCode {
    perennial::cli::main()
}
