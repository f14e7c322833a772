//! Tests every possible answer over HTTPS and through the shipped adapters: how Perennial classifies it, who must act,
//! and what the vault contains afterwards.
//!
//! There is one row for each answer. A table reports all its failing rows together.

mod codes;
mod issuer;
mod partner_center;
mod rules;
mod saving;
mod vault;

use std::time::Duration;

use chrono::TimeDelta;
use perennial::ports::failure::{Kind, Remedy};
use perennial::process::clock::Timestamp;
use perennial::rotation::state::State;
use perennial::sandbox::world::{Action, Fault, Partner, World};
use perennial::token::managed::ManagedToken;
use perennial::token::version::tag;
use secrecy::ExposeSecret as _;

use crate::support::lab::{Lab, grant, settle};

type Arrange = Box<dyn Fn(&World, &Partner, &mut ManagedToken)>;

/// The maximum number of requests of a row. A row makes a proof, the steps that follow the proof, and perhaps an update
/// of tags.
const MOST_REQUESTS: usize = 12;

/// One answer and its expected result.
struct Row {
    name: String,
    arrange: Arrange,
    /// The expected kind of failure and who must act. `None` if the proof succeeds.
    means: Option<(Kind, Remedy)>,
    /// The wait that the service requests.
    retry_after: Option<Duration>,
    /// A text that the failure's summary must contain.
    saying: Option<String>,
    /// Whether the version is marked as rejected by the issuer.
    marked: bool,
    /// Whether the process has just started, and has not authenticated to the vault yet.
    cold: bool,
}

impl Row {
    /// Creates a row. Before the proof, `arrange` changes the world or the token's configuration. The expected result
    /// is a success unless `means` is set.
    fn new(name: &str, arrange: impl Fn(&World, &Partner, &mut ManagedToken) + 'static) -> Self {
        let name = name.to_owned();
        let arrange = Box::new(arrange);
        Self { name, arrange, means: None, retry_after: None, saying: None, marked: false, cold: false }
    }

    /// Creates a row that injects this fault for the partner's user only.
    fn faulty(name: &str, fault: Fault) -> Self {
        Self::new(name, move |world, partner, _| world.inject(fault.clone().about(&partner.user_oid)))
    }

    fn asking(self, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..self }
    }

    fn means(self, kind: Kind, remedy: Remedy) -> Self {
        const MARKED: [Kind; 6] = [
            Kind::AppMisconfigured,
            Kind::LoginRequired,
            Kind::MfaRequired,
            Kind::PolicyBlocked,
            Kind::AccountDisabled,
            Kind::WrongIdentity,
        ];
        let marked = MARKED.contains(&kind) && !matches!(remedy, Remedy::Retry);
        Self { means: Some((kind, remedy)), marked, ..self }
    }

    fn saying(self, text: &str) -> Self {
        Self { saying: Some(text.to_owned()), ..self }
    }

    /// Expects no mark on the version, because the rejection is not definite. Perennial marks the version and alerts
    /// only after Entra also rejects a second redemption.
    fn unconfirmed(self) -> Self {
        Self { marked: false, ..self }
    }

    fn cold(self) -> Self {
        Self { cold: true, ..self }
    }

    /// Runs the row with its own partner, and returns the differences from the expected result.
    async fn run(&self, lab: &Lab, nth: usize) -> Vec<String> {
        let mut scene = Scene::set(lab, nth);
        (self.arrange)(lab.world(), &scene.partner, &mut scene.grant);
        let mut rotator = lab.rotator(&scene.grant);
        if self.cold {
            rotator.vault = lab.cold_vault();
        }
        let before = scene.versions(lab);
        let all_calls = || lab.world().count_calls_where(Timestamp::MIN_UTC, |_| true);
        let calls_before = all_calls();
        let state = State::unknown(lab.clock.now());

        let state = rotator.prove(state, false).await.state;
        let state = if self.means.is_some() { settle(&mut rotator, state).await } else { state };

        let mut wrong = Vec::new();
        let found = state.failure().map(|failure| (failure.kind, failure.remedy));
        if found != self.means {
            let summary = state.failure().map(|failure| &failure.summary);
            wrong.push(format!("means {:?}, not {found:?}: {summary:?}", self.means));
        }
        if found.is_none() && state.proved_at().is_none() {
            wrong.push("nothing was proved".to_owned());
        }
        wrong.extend(self.misjudged(&state, lab));
        if scene.versions(lab) != before {
            wrong.push("the vault no longer holds what it held".to_owned());
        }
        wrong.extend(self.mismarked(&scene, lab));
        let requests = all_calls() - calls_before;
        if requests > MOST_REQUESTS {
            wrong.push(format!("took {requests} requests"));
        }
        self.show(found, requests, lab, &scene);
        restore(lab);
        wrong.iter().map(|what| format!("{}: {what}", self.name)).collect()
    }

    /// Prints a line of the table, which `--nocapture` shows.
    fn show(&self, found: Option<(Kind, Remedy)>, requests: usize, lab: &Lab, scene: &Scene) {
        let (kind, remedy) = match found {
            Some((kind, remedy)) => (kind.as_str(), remedy.as_str()),
            None => ("proved", "-"),
        };
        let newest = lab.world().newest_version(&scene.partner.refresh_token);
        let marked = newest.is_some_and(|version| version.is_refused());
        let vault = if marked { "kept, marked" } else { "kept" };
        eprintln!("{:60} {kind:24} {remedy:9} {vault:13} {requests:3} requests", self.name);
    }

    fn misjudged(&self, state: &State, lab: &Lab) -> Option<String> {
        let failure = state.failure()?;
        let next_at = state.outage.as_ref().map(|outage| outage.retry_at);
        let next_at = next_at.or(state.blocked.as_ref().map(|blocked| blocked.next_check_at))?;
        let wait = next_at - lab.clock.now();
        if wait > TimeDelta::hours(1) {
            return Some(format!("waits {wait}, longer than an hour"));
        }
        let asked = failure.retry_after;
        if asked != self.retry_after {
            return Some(format!("is asked to wait {asked:?}, not {:?}", self.retry_after));
        }
        let summary = &failure.summary;
        let unsaid = self.saying.as_ref().filter(|text| !summary.contains(text.as_str()))?;
        Some(format!("says {summary:?}, not {unsaid:?}"))
    }

    fn mismarked(&self, scene: &Scene, lab: &Lab) -> Option<String> {
        let newest = lab.world().newest_version(&scene.partner.refresh_token)?;
        let mark = newest.tags.get(tag::REFUSED_KIND);
        let wanted = self.means.filter(|_| self.marked).map(|(kind, _)| kind.as_str());
        (mark != wanted).then(|| format!("is marked {mark:?}, not {wanted:?}"))
    }
}

/// The partner of one row.
struct Scene {
    partner: Partner,
    grant: ManagedToken,
}

impl Scene {
    fn set(lab: &Lab, nth: usize) -> Self {
        // The app's secret and the token are two days old. At this age, the app's secret does not count as new, and
        // the token needs no rotation yet. But a rotation is due, because a person stored the token.
        let partner = lab.sandbox.add_partner(&format!("row-{nth}"), TimeDelta::days(2));
        Self { grant: grant(&format!("row-{nth}"), &partner), partner }
    }

    /// Returns the values of all versions, and whether each is enabled, oldest first.
    fn versions(&self, lab: &Lab) -> Vec<(String, bool)> {
        let all = lab.world().versions_of(&self.partner.refresh_token);
        all.iter().map(|v| (v.value.expose_secret().to_owned(), v.attributes.enabled)).collect()
    }
}

/// Reverts a row's changes to shared state.
fn restore(lab: &Lab) {
    lab.world().clear_faults(None);
    lab.world().change_vault(&lab.sandbox.origin, |vault| {
        vault.allowed = Action::ALL.into();
        vault.firewall_refuses = None;
    });
}

async fn check(rows: Vec<Row>, at_least: usize) {
    let lab = Lab::start().await;
    assert!(rows.len() >= at_least, "only {} rows", rows.len());
    let mut wrong = Vec::new();
    for (nth, row) in rows.iter().enumerate() {
        wrong.extend(Box::pin(row.run(&lab, nth)).await);
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[tokio::test]
async fn every_code_of_the_issuer_has_its_remedy() {
    check(codes::rows(), 190).await;
}

#[tokio::test]
async fn invalid_answers_pass_and_answers_for_others_are_rejected() {
    check(issuer::rows(), 35).await;
}

#[tokio::test]
async fn each_change_in_the_directory_is_reported_with_its_cause() {
    check(rules::rows(), 20).await;
}

#[tokio::test]
async fn every_answer_of_the_vault_has_its_remedy() {
    check(vault::rows(), 50).await;
}

#[tokio::test]
async fn a_failed_authentication_to_the_vault_is_a_condition_of_its_own() {
    check(vault::identity_rows(), 8).await;
}

#[tokio::test]
async fn after_any_answer_to_a_save_the_successor_arrives_once() {
    Box::pin(saving::check_all()).await;
}

#[tokio::test]
async fn the_token_is_rotated_after_any_answer_of_partner_center() {
    partner_center::check_all().await;
}
