//! Action texts that tell a person to wait or to look up an error.

use super::super::is_known;
use super::super::network::RETRIED;
use super::super::subject::{LoginMethod, Subject};

/// The highest HTTP status. If the response has no AADSTS number, the code of the trace is the HTTP status.
const HIGHEST_STATUS: u32 = 599;

impl Subject<'_> {
    /// Says who repeats the failed request: Perennial, or a person with a command.
    pub(super) fn again(&self) -> String {
        match self.way {
            LoginMethod::Stored => RETRIED.to_owned(),
            LoginMethod::Code | LoginMethod::DeviceCode | LoginMethod::Import => {
                format!("run {} again in a few minutes", self.login())
            }
        }
    }

    pub(super) fn throttled(&self) -> String {
        let again = self.again();
        format!(
            "wait: {again}; if the throttling lasts, find what else signs in as {}: {}",
            self.who(),
            self.sign_in_logs()
        )
    }

    pub(super) fn outage(&self) -> String {
        let again = self.again();
        format!(
            "wait for the end of the outage: {again}; see https://azure.status.microsoft, and if no outage is shown there, check the proxy and network between this host and {}",
            self.authority
        )
    }

    pub(super) fn look_up(&self) -> String {
        let again = self.again();
        match self.trace.code {
            Some(code) => format!("look the code up: {}; {again}", self.page_of(code)),
            None => format!("look up the failed sign-in: {}; {again}", self.sign_in_logs()),
        }
    }

    /// If a sign-in failed, adds the command `perennial login` to the text, unless the text already names this command.
    pub(super) fn then_again(&self, words: String) -> String {
        let is_sign_in = matches!(self.way, LoginMethod::Code | LoginMethod::DeviceCode);
        if !is_sign_in || words.contains("perennial login") {
            return words;
        }
        format!("{words}; then start the sign-in again: {}", self.login())
    }

    /// Entra's page about an AADSTS number.
    pub(super) fn page_of(&self, code: u32) -> String {
        format!("{}/error?code={code}", self.entra())
    }

    /// The page about the rejection's number, if the table does not have this number. For such a number, the advice is
    /// less specific.
    pub(super) fn page_of_unknown(&self) -> Option<String> {
        let code = self.trace.code.filter(|code| *code > HIGHEST_STATUS && !is_known(*code))?;
        Some(self.page_of(code))
    }
}
