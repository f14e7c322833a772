//! Checks promises 4, 9 and 10: what each process's surfaces show about each token, compared with the token's true
//! state.

use chrono::TimeDelta;
use perennial::ports::failure::{Kind, Remedy};
use perennial::process::clock::Timestamp;
use perennial::rotation::state::{VAULT_CALLS_A_STEP, further_pages};
use perennial::status::condition::{Condition, Severity};
use perennial::status::document::TokenStatus;
use perennial::status::snapshot::TokenState;

use super::super::setup::Token;
use super::super::surfaces::Surfaces;
use super::super::truth::Truth;
use super::super::{Running, Simulation};
use super::VAULT_CALLS_A_DAY;

/// How long tokens of one user and app may wait for their turn: with forty tokens, up to 15 minutes.
const TURN: TimeDelta = TimeDelta::minutes(15);
/// The longest time until a second redemption confirms a rejection that is not definite. The second redemption follows
/// a minute after the first, and each redemption takes some time.
const CONFIRMED: TimeDelta = TimeDelta::minutes(7);

/// What one process shows about one token, and the token's true state.
struct Shown<'a> {
    token: &'a TokenStatus,
    told: Vec<&'a Condition>,
    truth: Truth,
    now: Timestamp,
    /// The time since the true state changed, the process started, or an event affected the token. The latest of
    /// the three counts.
    steady: TimeDelta,
    /// How long the token has been unusable. `None` if the token is usable.
    bad: Option<TimeDelta>,
    prove_every: TimeDelta,
    up: TimeDelta,
    /// Whether proofs and lists of the versions need more vault calls than the daily limit allows.
    is_crowded: bool,
}

impl Simulation {
    pub(super) fn shown(&mut self, now: Timestamp) -> Result<(), String> {
        let checked = self.running().try_for_each(|(instance, running)| {
            let surfaces = Surfaces::of(running.daemon.board());
            surfaces.agree().map_err(|why| (None, format!("{now} {}: {why}", instance.name)))?;
            (0..self.tokens.len()).try_for_each(|nth| {
                let shown = self.what_is_shown(nth, running, &surfaces, now);
                let name = &self.tokens[nth].name;
                let checked = shown
                    .is_green_only_when_usable()
                    .and_then(|()| shown.is_told_in_time())
                    .and_then(|()| shown.raises_no_false_alarm());
                checked
                    .map_err(|why| (Some(name.clone()), format!("{now} {} of {name}: {why}", instance.name)))
            })
        });
        checked.map_err(|(suspect, why)| {
            self.checks.suspect = suspect;
            why
        })
    }

    /// Whether the token may need more vault calls in a day than the limit allows. The estimate adds one rotation and
    /// one sign-in to the day's proofs. Each of these two adds a version, and each instance then lists the versions.
    fn is_crowded(&self, token: &Token) -> bool {
        let pages = 1 + further_pages(self.world.versions_of(token.secret()).len());
        let proofs = usize::try_from(TimeDelta::days(1).num_minutes() / token.prove_every().num_minutes());
        let of_proofs = proofs.unwrap_or_default() * 3;
        of_proofs + VAULT_CALLS_A_STEP + 2 * pages * self.instances.len() > VAULT_CALLS_A_DAY
    }

    fn what_is_shown<'a>(
        &self,
        nth: usize,
        running: &Running,
        surfaces: &'a Surfaces,
        now: Timestamp,
    ) -> Shown<'a> {
        let (token, of) = (&self.tokens[nth], &self.checks.of[nth]);
        let shown = surfaces.status.tokens.iter().find(|shown| shown.name == token.name);
        let steady = of.truth_since.max(running.started_at).max(self.nature.calm_since(nth));
        Shown {
            token: shown.expect("each token is in the document"),
            told: surfaces.status.touching(Some(&token.name)).collect(),
            truth: of.truth,
            now,
            steady: now - steady,
            bad: of.bad_since.map(|since| now - since),
            prove_every: token.prove_every(),
            up: now - running.started_at,
            is_crowded: self.is_crowded(token),
        }
    }
}

impl Shown<'_> {
    fn tells(&self, kinds: &[Kind]) -> bool {
        self.told.iter().any(|condition| kinds.contains(&condition.kind))
    }

    /// Checks promise 9: a token that has been unusable for long, or has no recent proof, is not shown as `current`.
    /// This check has no exceptions.
    fn is_green_only_when_usable(&self) -> Result<(), String> {
        let most = self.prove_every * 2 + TimeDelta::minutes(10);
        let green = self.token.state == TokenState::Current;
        if green && self.bad.is_some_and(|bad| bad > most) {
            return Err(format!("it is shown as current, and {:?} for {} h", self.truth, hours(self.bad)));
        }
        let stale = self.token.proved_at.is_none_or(|at| at + most < self.now);
        if green && stale {
            return Err(format!("it is shown as current, and was proved at {:?}", self.token.proved_at));
        }
        Ok(())
    }

    /// Checks promises 4 and 10: the surfaces name the cause and who must act. If Entra or Partner Center rejects the
    /// token or its app, the surfaces also show a runway of zero.
    fn is_told_in_time(&self) -> Result<(), String> {
        let due = self.prove_every + TimeDelta::minutes(5) + CONFIRMED + TURN;
        if self.truth == Truth::Good || self.steady <= due {
            return Ok(());
        }
        // Earlier redemptions or vault calls may have used up the day's limit (promise 6). In that case, the next step
        // is postponed, and the delay is reported when the step is overdue.
        let put_off = self.token.next_step_at.zip(self.token.proved_at);
        let put_off = put_off.is_some_and(|(next, proved)| next > proved + self.prove_every + TURN);
        let exhausted = self.tells(&[Kind::Overdue]) || put_off;
        if exhausted && self.steady < TimeDelta::hours(25) + due {
            return Ok(());
        }
        // After a rejection, Perennial waits a day before it redeems the token again (promise 6). Until then, the
        // surfaces still report this rejection, even if the cause has changed.
        let by_entra =
            matches!(self.truth, Truth::App(_) | Truth::Refused(_) | Truth::NoFactor | Truth::Stranger);
        let refused = self.told.iter().any(|condition| condition.remedy != Remedy::Retry);
        if by_entra && refused && self.steady < TimeDelta::hours(25) + due {
            return Ok(());
        }
        // While a token is rejected, Perennial reads the app's secret only for a redemption. The next redemption
        // follows a day after the rejection. Until then, the surfaces do not show that the app's secret is unreadable.
        let of_token = |told: &Condition| told.remedy != Remedy::Retry && told.cause.starts_with("token:");
        let by_redeeming = self.truth == Truth::NoAppSecret && self.told.iter().any(|told| of_token(told));
        if by_redeeming && self.steady < TimeDelta::hours(25) + due {
            return Ok(());
        }
        // The surfaces may report a rejected or unreadable app credential first. In that case, they report a problem
        // with the token later.
        let of_app = [Kind::AppCredentialRefused, Kind::VaultRefused];
        let waits_for_app = !by_entra || self.truth == Truth::Refused(9_002_313);
        let is_of_app = |told: &&&Condition| of_app.contains(&told.kind) && !told.cause.starts_with("token:");
        if waits_for_app && self.told.iter().any(|told| is_of_app(&told)) {
            return Ok(());
        }
        let kinds = self.truth.kinds();
        let Some(named) = self.told.iter().find(|condition| kinds.contains(&condition.kind)) else {
            let told: Vec<Kind> = self.told.iter().map(|condition| condition.kind).collect();
            return Err(format!("{:?} for {} h, and {told:?} is told", self.truth, self.steady.num_hours()));
        };
        if matches!(self.token.state, TokenState::Current | TokenState::Unknown) {
            return Err(format!("{:?} is told, and it is shown as {:?}", named.kind, self.token.state));
        }
        if named.remedy == Remedy::Retry {
            return Err(format!("{:?} for {} h, and nobody is asked", named.kind, self.steady.num_hours()));
        }
        let unusable = matches!(self.truth, Truth::App(_) | Truth::Refused(_) | Truth::NoFactor);
        if unusable && self.token.runway_seconds != Some(0) {
            let left = self.token.runway_seconds;
            return Err(format!("{:?}, and time is left: {left:?}", named.kind));
        }
        Ok(())
    }

    /// Checks the other direction of promises 4 and 9: a working token is shown as `current`, without a critical
    /// condition.
    fn raises_no_false_alarm(&self) -> Result<(), String> {
        // A rejected token is redeemed again after a day, or three hours after an attempt without an answer. If
        // `prove_every` is long, the next proof may come even later.
        let most = TimeDelta::hours(28).max(self.prove_every * 2) + TURN;
        if self.truth != Truth::Good || self.steady <= most {
            return Ok(());
        }
        // A list of hundreds of versions needs many vault calls, so the daily limit does not allow all proofs. Then
        // Perennial reports that proofs are overdue (promise 6).
        if self.is_crowded && self.token.state == TokenState::Unknown && self.tells(&[Kind::Overdue]) {
            return Ok(());
        }
        // A rotation may be in progress at this moment. If its successor stays unsaved, Perennial soon reports this.
        let is_saving = self.token.state == TokenState::Unsaved && !self.tells(&[Kind::Unsaved]);
        if self.token.state != TokenState::Current && !is_saving {
            return Err(format!(
                "all is well for {} h, and it is {:?}",
                self.steady.num_hours(),
                self.token.state
            ));
        }
        let stale = |condition: &&&Condition| {
            condition.severity == Severity::Critical && condition.kind != Kind::AppSecretExpiring
        };
        if let Some(wrong) = self.told.iter().find(stale) {
            return Err(format!(
                "all is well for {} h, and {:?} is told",
                self.steady.num_hours(),
                wrong.kind
            ));
        }
        // Some past events are reported for a day after they last happened.
        let lasting = [Kind::AppSecretExpiring, Kind::AppSecretExpiryUnknown, Kind::ClockSkew];
        let day = TimeDelta::hours(28) + self.prove_every * 2;
        let wrong = self.told.iter().find(|condition| !lasting.contains(&condition.kind));
        if let Some(wrong) = wrong.filter(|_| self.steady > day + TimeDelta::hours(24)) {
            return Err(format!(
                "all is well for {} h, and {:?} is told",
                self.steady.num_hours(),
                wrong.kind
            ));
        }
        if self.token.runway_seconds.is_none_or(|left| left == 0) && self.up > most {
            return Err(format!("all is well, and {:?} s are left", self.token.runway_seconds));
        }
        Ok(())
    }
}

fn hours(span: Option<TimeDelta>) -> i64 {
    span.unwrap_or_default().num_hours()
}
