//! Sign-in in a browser with the authorization code flow. The authorization code arrives through a redirect to
//! loopback, or the user pastes it.
//!
//! The browser's last page waits for the result of the sign-in, so that it can show whether the token was stored. The
//! browser sends the code in a form, so the code is not in the browser's history. With `--no-browser`, the code is in
//! the redirect's address, since the user has to copy this address.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::http::StatusCode;
use secrecy::ExposeSecret as _;
use secrecy::SecretString;
use tokio::sync::oneshot;

use super::listener::{Listener, ListenerEvent, Served};
use super::page::ResultPage;
use super::pasted::Lines;
use super::session::{LoginSession, StoredLogin};
use super::{LoginArgs, browser};
use crate::azure::entra::CodeExchange;
use crate::cli::{Stop, signals};
use crate::login;
use crate::login::authorization_request::{AuthorizationRequest, RANDOM_BYTES, Request, ResponseMode};
use crate::login::redirect::AuthorizationResponse;
use crate::login::{StepFailure, explain, redirect};
use crate::ports::diagnosis::LoginMethod;
use crate::ports::failure::Remedy;

/// The default time limit for the user's sign-in, which leaves time to get a phone for MFA.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// Signs a user in and stores the token. The browser's last page shows the result.
pub(super) async fn sign_in(
    desk: &LoginSession,
    args: &LoginArgs,
    secret_variables: &[&str],
) -> Result<StoredLogin, Stop> {
    let attempt = Arc::new(attempt()?);
    let listener = bind(args.port).await?;
    let redirect_uri = format!("http://localhost:{}", listener.port());
    let scope = login::scopes(&desk.grant().scope);
    let claims = desk.challenge().await;
    let request = Request {
        client_id: desk.client_id(),
        redirect_uri: &redirect_uri,
        scope: &scope,
        mode: if args.no_browser { ResponseMode::Query } else { ResponseMode::FormPost },
        login_hint: args.login_hint.as_deref(),
        claims: claims.as_deref(),
    };
    let endpoint = desk.rotator.issuer.authorize_endpoint(&desk.grant().tenant_id);
    let url = attempt.url(endpoint, &request).to_string();
    let mut served = listener.serve(Arc::clone(&attempt));
    let lines = begin(desk, args, &url, secret_variables);

    let patience = args.timeout.unwrap_or(PATIENCE);
    let waiting = tokio::time::timeout(patience, wait(desk, &attempt, &mut served, lines));
    // By default, Ctrl-C ends the process at once, and the terminal stays in the mode that `Lines` has set. Here Ctrl-C
    // only ends this function, so `Lines` is dropped and restores the terminal's usual mode.
    let waited = tokio::select! {
        waited = waiting => waited,
        () = signals::stopped()? => return Err(Stop::Failed(anyhow::anyhow!("interrupted"))),
    };
    let Ok((arrived, page)) = waited else {
        served.close().await;
        return Err(nobody_came(desk, patience, args.no_browser).into());
    };
    let outcome = match arrived {
        AuthorizationResponse::Code(code) => finish(desk, &attempt, &redirect_uri, &scope, &code).await,
        AuthorizationResponse::Refused(refusal) => {
            Err(explain::refused(&refusal, &desk.subject(LoginMethod::Code)))
        }
    };
    if let Some(page) = page {
        // `send` fails if the browser was closed. This error is ignored, because the terminal also shows the result.
        let _left = page.send(told(&outcome));
    }
    served.close().await;
    Ok(outcome?)
}

fn attempt() -> Result<AuthorizationRequest, Stop> {
    let mut random = [0; RANDOM_BYTES];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|_| Stop::Failed(anyhow::anyhow!("the system's random number generator failed")))?;
    Ok(AuthorizationRequest::new(&random))
}

async fn bind(port: Option<u16>) -> Result<Listener, Stop> {
    match (Listener::bind(port).await, port) {
        (Err(error), Some(port)) if error.kind() == ErrorKind::AddrInUse => Err(Stop::Usage(format!(
            "port {port} is in use by another program: choose another port, or leave out --port (Entra ignores the port of http://localhost)"
        ))),
        (bound, _) => bound.context("cannot listen on this machine's loopback address").map_err(Stop::Failed),
    }
}

/// Prints the address. Opens the browser or, with `--no-browser`, returns the lines that the user pastes.
fn begin(desk: &LoginSession, args: &LoginArgs, url: &str, secret_variables: &[&str]) -> Option<Lines> {
    let name = &desk.grant().name;
    if args.no_browser {
        desk.voice
            .say("open", &format!("To sign in for {name}, open this address in any browser:\n\n{url}\n"));
        desk.voice.say(
            "paste",
            "After the sign-in, your browser shows an address that starts with http://localhost. An error page (\"can't connect\") is normal. Paste the full address here and press Enter:",
        );
        return Some(Lines::of_stdin());
    }
    desk.voice.say(
        "open",
        &format!("Opening the browser to sign in for {name}. If nothing opens, go to:\n\n{url}\n"),
    );
    browser::open(url, secret_variables, desk.voice);
    None
}

/// Returns the first answer to this sign-in, from the browser or from a pasted line. For an answer from the browser,
/// also returns the channel to the browser's last page.
async fn wait(
    desk: &LoginSession,
    attempt: &AuthorizationRequest,
    served: &mut Served,
    mut lines: Option<Lines>,
) -> (AuthorizationResponse, Option<oneshot::Sender<ResultPage>>) {
    loop {
        let odd = tokio::select! {
            event = served.events.recv() => match event {
                Some(ListenerEvent::Arrived(arrived, page)) => return (arrived, Some(page)),
                Some(ListenerEvent::Odd(summary)) => summary,
                // This case does not occur: the channel stays open, because the listener runs as long as `served`
                // exists.
                None => std::future::pending().await,
            },
            line = next(&mut lines) => {
                if line.expose_secret().trim().is_empty() {
                    continue;
                }
                match redirect::read_pasted(attempt, line.expose_secret()) {
                    Ok(arrived) => return (arrived, None),
                    Err(summary) => summary,
                }
            }
        };
        desk.voice.say("not_ours", &format!("Not accepted: {}.", odd.as_str()));
    }
}

/// Returns the next line. If stdin has ended, this function never returns, because the answer may still come from the
/// browser.
async fn next(lines: &mut Option<Lines>) -> SecretString {
    if let Some(open) = lines {
        if let Some(line) = open.next().await {
            return line;
        }
        *lines = None;
    }
    std::future::pending().await
}

async fn finish(
    desk: &LoginSession,
    attempt: &AuthorizationRequest,
    redirect_uri: &str,
    scope: &str,
    code: &SecretString,
) -> Result<StoredLogin, StepFailure> {
    let proof = desk.proof().await?;
    let exchange = CodeExchange {
        tenant: &desk.grant().tenant_id,
        client_id: desk.client_id(),
        proof: &proof,
        scope,
        redirect_uri,
        code,
        verifier: attempt.verifier(),
        id: desk.id,
    };
    let answer = desk.rotator.issuer.exchange_code(&exchange).await;
    let answer = answer.map_err(|error| desk.explain(&error, LoginMethod::Code))?;
    desk.keep(answer, Some(attempt.nonce())).await
}

fn told(outcome: &Result<StoredLogin, StepFailure>) -> ResultPage {
    match outcome {
        Ok(kept) => ResultPage {
            status: StatusCode::OK,
            title: "Signed in",
            text: format!("The refresh token of {} is stored. You can close this window.", kept.name),
        },
        Err(refused) => ResultPage {
            status: StatusCode::OK,
            title: "Not stored",
            text: format!("{refused}\nYou can close this window."),
        },
    }
}

/// Returns the error for a sign-in that timed out. If the app or the redirect URI is wrong, only Entra's page shows the
/// cause, and this program gets no answer (docs/azure-facts.md F133).
fn nobody_came(desk: &LoginSession, patience: Duration, pasted: bool) -> StepFailure {
    let (name, app) = (&desk.grant().name, desk.client_id());
    let elsewhere = if pasted {
        "paste the full address that the browser shows at the end of the sign-in".to_owned()
    } else {
        format!("if the browser is on another machine, use `perennial login {name} --no-browser`")
    };
    StepFailure::new(
        Remedy::Retry,
        format!("the sign-in timed out after {}", humantime::format_duration(patience)),
        format!(
            "if the page showed AADSTS50011, register the redirect URI http://localhost for app {app} (Authentication, platform Web); if the page showed another AADSTS code, look up this code in docs/codes.md; {elsewhere}"
        ),
    )
}
