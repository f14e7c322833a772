//! The rules that are checked after each call and at the end of each schedule.

use super::*;

/// The maximum number of redemptions of one process, regardless of the actions of the other participants.
const REDEMPTIONS_A_LIFE: usize = 5;

impl Run<'_> {
    /// Checks that an instance writes only successors that the issuer has returned, and that it never disables the
    /// newest version.
    pub(super) fn judge_writes(&mut self) {
        let newest = self.world.newest_version(&self.partner.refresh_token).expect("never deleted here");
        assert!(newest.enabled, "the newest version was disabled: {:?}", self.taken);
        let new = self.world.writes_from(self.writes);
        self.writes += new.len();
        for write in new.iter().filter(|write| write.writer != "human") {
            let grant = self.world.grant(write.value.expose());
            let proven = grant.is_some_and(|grant| grant.parent.is_some());
            assert!(proven, "no successor was written: {:?}\n{}", self.taken, self.history());
        }
    }

    fn history(&self) -> String {
        history(&self.world, &self.partner)
    }

    /// Returns the number of redemptions. Checks that this number is within the limit for the number of started
    /// processes.
    pub(super) fn redemptions(&self) -> usize {
        let redemptions = self.world.count_calls(Peer::Entra, Some(Operation::Redeem), Timestamp::MIN_UTC);
        let lives: usize = self.processes.iter().map(|process| process.lives + 1).sum();
        assert!(
            redemptions <= 1 + lives * REDEMPTIONS_A_LIFE,
            "{redemptions} redemptions in {lives} lives: {:?}",
            self.taken
        );
        redemptions
    }

    /// Checks the rules at the end of a schedule.
    pub(super) fn judge_end(&self) {
        if self.cast.strict {
            self.judge_strict_end();
        } else {
            // After a lost request or answer, a process waits before its next attempt. So the process possibly has not
            // finished its work.
            check(&self.world, &self.partner, &self.taken, self.lost == 0);
        }
    }

    /// Checks that a `strict` token works, or that Perennial requests a sign-in. The token may stop working only after
    /// a crash, a lost request or a lost answer.
    fn judge_strict_end(&self) {
        let mut told = None;
        for _ in 0..2 {
            self.world.advance(TimeDelta::days(1));
            let clock = Clock::running(self.world.now(), 1.0);
            let rotator = rotator(&self.world, clock, &self.grant, "next", 9);
            told = self.runtime.block_on(prove_and_save(rotator));
        }
        let newest = self.world.newest_value(&self.partner.refresh_token).expect("never deleted here");
        let context = || format!("{:?}\n{}", self.taken, self.history());
        let follows = |value: &RefreshToken, sign_in: &RefreshToken| {
            value == sign_in || self.world.descends_from(value.expose(), sign_in.expose())
        };
        let last = last_sign_ins(&self.world, &self.partner);
        if !last.iter().any(|sign_in| follows(&newest, sign_in)) {
            // The newest version may belong to another sign-in only if no stored token of the last sign-in works. This
            // happens after a fault, if the last successor is lost.
            let versions = self.world.versions_of(&self.partner.refresh_token);
            let values = versions
                .iter()
                .map(|version| RefreshToken::new(secrecy::ExposeSecret::expose_secret(&version.value)));
            let works = |value: &RefreshToken| {
                let spent = self.world.grant(value.expose()).is_none_or(|grant| grant.spent);
                !spent && self.world.is_alive(value.expose())
            };
            let left = values.filter(works).any(|value| last.iter().any(|sign_in| follows(&value, sign_in)));
            assert!(!left && self.crashes + self.lost > 0, "a sign-in stays buried: {}", context());
        }
        if self.world.is_alive(newest.expose()) {
            return;
        }
        assert!(self.crashes + self.lost > 0, "lost without a fault: {}", context());
        let told = told.unwrap_or_else(|| panic!("lost, and nobody is told: {}", context()));
        assert_eq!(told.remedy, Remedy::Login, "{told:?}: {}", context());
    }
}

async fn prove_and_save(mut rotator: Rotator<Actor, Actor, Actor>) -> Option<Failure> {
    let mut state = rotator.prove(State::unknown(rotator.clock.now()), false).await.state;
    for _ in 0..8 {
        if matches!(state.phase, Phase::Unsaved(_)) {
            state = rotator.save(state).await.state;
        }
    }
    state.failure().cloned()
}
