//! Opens an address in the user's browser. The *opener* is the program that `BROWSER` names, or else the system's own
//! program, such as `xdg-open`.

use std::process::{Command, Stdio};

use super::Prompter;

/// Starts the opener with an address. The opener does not inherit the environment variables that contain secrets. If
/// the opener fails, the user only gets a message, because the address was already printed.
pub(super) fn open(url: &str, secret_variables: &[&str], voice: Prompter) {
    let browser = std::env::var("BROWSER").ok();
    let mut words = command(browser.as_deref(), std::env::consts::OS, url).into_iter();
    let mut command = Command::new(words.next().unwrap_or_default());
    for name in secret_variables {
        command.env_remove(name);
    }
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.spawn() {
        Ok(mut child) => {
            // A thread waits until the opener ends, and reports a failure. `login` does not wait for the opener,
            // because some openers run as long as the browser.
            std::thread::spawn(move || {
                if child.wait().is_ok_and(|status| !status.success()) {
                    voice.say("no_browser", NOT_OPENED);
                }
            });
        }
        Err(_) => voice.say("no_browser", NOT_OPENED),
    }
}

const NOT_OPENED: &str = "Perennial could not open a browser. Open the printed address in a browser on this machine, or stop (Ctrl-C) and use --no-browser.";

/// Returns the command line: the first entry of `BROWSER`, or the system's own opener. In `BROWSER`, the address
/// replaces `%s`, or is appended if there is no `%s`. The value of `BROWSER` is not passed to a shell.
fn command(browser: Option<&str>, system: &str, url: &str) -> Vec<String> {
    let first = browser.and_then(|all| all.split(':').map(str::trim).find(|one| !one.is_empty()));
    let Some(first) = first else {
        let opener: &[&str] = match system {
            "macos" => &["open"],
            // `start` is a built-in command of the Windows shell. The empty argument is the window's title, because
            // `start` uses its first quoted word as the title. `&` is escaped, because an unescaped `&` would end the
            // command.
            "windows" => {
                return vec![
                    "cmd".into(),
                    "/C".into(),
                    "start".into(),
                    String::new(),
                    url.replace('&', "^&"),
                ];
            }
            _ => &["xdg-open"],
        };
        return opener.iter().copied().chain([url]).map(str::to_owned).collect();
    };
    let mut words: Vec<String> = first.split_whitespace().map(|word| word.replace("%s", url)).collect();
    if !first.contains("%s") {
        words.push(url.to_owned());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://login.example/authorize?a=1&b=2";

    #[test]
    fn the_variable_wins_over_the_system() {
        for (browser, system, words) in [
            (None, "linux", &["xdg-open", URL][..]),
            (None, "macos", &["open", URL]),
            (Some(""), "linux", &["xdg-open", URL]),
            (Some("firefox"), "macos", &["firefox", URL]),
            (Some("firefox --new-window %s:w3m"), "linux", &["firefox", "--new-window", URL]),
        ] {
            assert_eq!(command(browser, system, URL), words, "{browser:?} {system}");
        }
        assert_eq!(command(None, "windows", "x?a&b"), ["cmd", "/C", "start", "", "x?a^&b"]);
    }
}
