//! Tests the vault's answers during the save of a successor. Perennial must hold the successor until it is saved, and
//! save it exactly once.

use perennial::net::no_response::NoResponse;
use perennial::ports::failure::{Kind, Remedy};
use perennial::rotation::state::State;
use perennial::sandbox::world::{Fault, FaultEffect, Operation, Peer};

use super::vault::{coded, page};
use super::{Lab, Scene, restore};

/// An answer to one step of a save.
struct Answer {
    name: &'static str,
    fault: Fault,
    /// The expected kind of failure and who must act. `None` if the save succeeds.
    means: Option<(Kind, Remedy)>,
    /// Whether the vault already contains the successor, although the step failed.
    there: bool,
}

impl Answer {
    fn new(name: &'static str, operation: Operation, what: FaultEffect, means: (Kind, Remedy)) -> Self {
        let fault = Fault::of(Peer::KeyVault, what).on(operation);
        // A save lists the versions after the write. So if the list fails, the vault already contains the successor.
        Self { name, fault, means: Some(means), there: operation == Operation::List }
    }

    /// Creates a row in which the write has its effect, but its answer is lost or damaged.
    fn lost(name: &'static str, what: FaultEffect) -> Self {
        let fault = Fault::of(Peer::KeyVault, what).on(Operation::Set).after_effect();
        Self { name, fault, means: Some(UNREACHABLE), there: true }
    }

    async fn run(&self, lab: &Lab, nth: usize) -> Vec<String> {
        let mut wrong = Vec::new();
        let scene = Scene::set(lab, nth);
        let mut rotator = lab.rotator(&scene.grant);
        let secret = &scene.partner.refresh_token;
        let redeemed = lab.world().newest_value(secret).expect("stored");
        let stored = || lab.world().newest_value(secret).expect("stored");
        let is_there =
            || stored() != redeemed && lab.world().descends_from(stored().expose(), redeemed.expose());
        let state = rotator.prove(State::unknown(lab.clock.now()), true).await.state;
        if !state.is_unsaved() {
            wrong.push("a proof that is to be saved leads to a save".to_owned());
        }

        lab.world().inject(self.fault.clone().about(secret.name.as_str()));
        let state = rotator.save(state).await.state;

        let found = state.failure().map(|failure| (failure.kind, failure.remedy));
        if found != self.means {
            wrong.push(format!("means {:?}, not {found:?}", self.means));
        }
        if state.is_unsaved() != self.means.is_some() {
            wrong.push(format!("unsaved is {}", state.is_unsaved()));
        }
        if is_there() != (self.there || self.means.is_none()) {
            wrong.push(format!("the vault shows the successor: {}", is_there()));
        }
        restore(lab);
        let state = rotator.save(state).await.state;
        if state.is_unsaved() || state.failure().is_some() || !is_there() {
            wrong.push(format!("it was not saved in the end: {:?}", state.failure()));
        }
        let versions = scene.versions(lab);
        if versions.len() != 2 || versions.iter().any(|(_, enabled)| !enabled) {
            wrong.push(format!("{} versions, or one of them is disabled", versions.len()));
        }
        wrong.iter().map(|what| format!("{}: {what}", self.name)).collect()
    }
}

const OPERATOR: (Kind, Remedy) = (Kind::VaultRefused, Remedy::Operator);
const UNREACHABLE: (Kind, Remedy) = (Kind::VaultUnreachable, Remedy::Retry);
const IDENTITY: (Kind, Remedy) = (Kind::VaultIdentity, Remedy::Operator);

fn answers() -> Vec<Answer> {
    let mut all = Vec::new();
    for operation in [Operation::Get, Operation::Set, Operation::List] {
        let inner = |inner| coded(403, "Forbidden", Some(inner));
        let conflict = |inner| coded(409, "Conflict", Some(inner));
        let answer = |name, what, means| Answer::new(name, operation, what, means);
        all.extend([
            answer("400", coded(400, "BadParameter", None), OPERATOR),
            answer("401", coded(401, "Unauthorized", None), IDENTITY),
            answer("403 role", inner("ForbiddenByRbac"), OPERATOR),
            answer("403 access policy", inner("ForbiddenByPolicy"), OPERATOR),
            answer("403 firewall", inner("ForbiddenByFirewall"), OPERATOR),
            answer("403 private endpoint", inner("ForbiddenByConnection"), OPERATOR),
            answer("404", coded(404, "SecretNotFound", None), (Kind::SecretDeleted, Remedy::Operator)),
            answer("409 deleted", conflict("ObjectIsDeletedButRecoverable"), OPERATOR),
            answer("409 being deleted", conflict("ObjectIsBeingDeleted"), UNREACHABLE),
            answer("409 being recovered", conflict("ObjectIsBeingRecovered"), UNREACHABLE),
            answer("429", coded(429, "Throttled", None), UNREACHABLE),
            answer("429 as text", page(429, None, "Too Many Requests"), UNREACHABLE),
            answer("500", coded(500, "InternalServerError", None), UNREACHABLE),
            answer("502 as HTML", page(502, None, "<html>502 Bad Gateway</html>"), UNREACHABLE),
            answer("200 of a guest network", FaultEffect::Garbage, UNREACHABLE),
            answer("200 that ends half-way", page(200, None, r#"{"value":"half a"#), UNREACHABLE),
            answer("cut", FaultEffect::Transport(NoResponse::Cut), UNREACHABLE),
        ]);
    }
    all.push(Answer {
        means: Some((Kind::TurnedOff, Remedy::Operator)),
        ..Answer::new("403 off", Operation::Get, coded(403, "Forbidden", Some("SecretDisabled")), OPERATOR)
    });
    all.extend([
        Answer::lost("written, and cut", FaultEffect::Transport(NoResponse::Cut)),
        Answer::lost("written, and 502", page(502, None, "<html>")),
        Answer::lost("written, and half an answer", page(200, None, r#"{"value":"half a"#)),
        Answer::lost("written, and a guest network", FaultEffect::Garbage),
    ]);
    all
}

pub(super) async fn check_all() {
    let lab = Lab::start().await;
    let mut wrong = Vec::new();
    for (nth, answer) in answers().iter().enumerate() {
        let failed = Box::pin(answer.run(&lab, nth)).await;
        wrong.extend(failed.iter().map(|what| format!("{:?} {what}", answer.fault.operation)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
