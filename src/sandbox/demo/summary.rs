//! Prints the summary: the number of events of each kind, and the result for each promise.

use super::promise::Promise;
use super::voice::Tone;
use super::{Demo, Stuck};
use crate::process::clock::rfc3339;

/// The speed in days per second while the demo keeps running after the story. This value is one hour per second.
const KEPT_AT: f64 = 1.0 / 24.0;

impl Demo {
    /// Prints the summary. Returns whether the story succeeded and all promises were kept.
    pub(super) fn summary(&mut self, told: &Result<(), Stuck>) -> bool {
        if let Err(stuck) = told {
            let text = format!("The demo stopped: {stuck}.");
            self.tell(Tone::Bad, "BROKEN", &text);
        }
        self.watch.finish(&self.stage, &self.daemon, &mut self.voice);
        self.voice.line("");
        self.numbers();
        for promise in Promise::ALL {
            self.promise(promise);
        }
        self.voice.line("");
        let well = told.is_ok() && self.watch.promises.all_held();
        let (tone, word) = if well { (Tone::Good, "All nine held") } else { (Tone::Bad, "NOT all held") };
        let took = self.started.elapsed().as_secs_f64();
        let word = self.voice.coloured(tone, word);
        self.voice.line(&format!("  {word}, in {took:.0} seconds."));
        well
    }

    fn numbers(&mut self) {
        let days = (self.now() - self.stage.since).num_days();
        let counts = &self.watch.counts;
        let good = counts.redemptions - counts.refused_redemptions;
        let lines = [
            (counts.sign_ins, "sign-ins by a person"),
            (counts.rotations, "rotations, each of which saved a successor that is good for 90 days"),
            (good, "redemptions that worked, for a rotation or as a proof"),
            (counts.refused_redemptions, "redemptions that Entra rejected or throttled"),
            (counts.questions, "checks of the access token by Partner Center"),
            (counts.vault_calls, "calls to the vault"),
            (self.watch.told.incidents(), "problems reported"),
        ];
        self.voice.line(&format!("  What happened in {days} days"));
        self.voice.line("");
        for (number, what) in lines {
            self.voice.line(&format!("  {number:>7}  {what}"));
        }
        self.voice.line("");
        self.voice.line("  The promises, and how often each was checked");
        self.voice.line("");
    }

    fn promise(&mut self, promise: Promise) {
        let (checks, failures) = self.watch.promises.tally(promise);
        let (name, what) = promise.text();
        let (tone, word) = match (checks, failures) {
            (0, _) => (Tone::Bad, "UNSEEN"),
            (_, 0) => (Tone::Good, "held"),
            _ => (Tone::Bad, "BROKEN"),
        };
        let word = self.voice.coloured(tone, &format!("{word:<6}"));
        let line = format!("  {}  {name:<15}  {word}  {checks:>6}  {what}", promise.number());
        self.voice.line(&line);
    }

    /// Keeps the daemon running until the process is stopped.
    pub(super) async fn go_on(&mut self) {
        self.watch.promises.close();
        self.voice.line("");
        let config = self.stage.files.path().join("perennial.toml");
        let ca = self.stage.files.path().join("ca.pem");
        let (config, ca, origin) = (config.display(), ca.display(), self.stage.sandbox.origin.clone());
        let now = rfc3339(self.now());
        self.voice.paragraph(&format!(
            "The daemon runs until you press Ctrl-C. The simulated time is now {now}, and one hour passes \
             in each second. Try:"
        ));
        for line in [
            format!("curl {}status", self.stage.page),
            format!("PERENNIAL_CONFIG={config} perennial rotate --dry-run"),
            format!("curl --cacert {ca} {origin}/_sandbox/state"),
            format!("curl --cacert {ca} {origin}/_sandbox/revoke -d '{{}}'"),
            format!("curl --cacert {ca} {origin}/_sandbox/sign-in -d '{{}}'"),
        ] {
            self.voice.line(&format!("    {line}"));
        }
        self.voice.line("");
        self.stage.run_at(KEPT_AT.min(self.options.speed));
        loop {
            self.beat().await;
        }
    }
}
