#!/usr/bin/env python3
"""Adds bugs to the code on purpose, one at a time, and shows that the tests notice each of them.

Each bug is a change to a copy of the source. The tests that are named with the bug must fail on that copy. If no test
notices a bug, the script prints the bug and exits with 1: then a check is missing.

    tests/deliberate_bugs.py            all bugs
    tests/deliberate_bugs.py 3 7        these bugs
    tests/deliberate_bugs.py --units    the bugs that unit tests notice, about half of them
    tests/deliberate_bugs.py --short    every tenth of those; for all others, checks only that their edit still fits the
                                        code
    tests/deliberate_bugs.py --list     list the bugs
"""

import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SIMULATION = ["simulation"]
ORDERS = ["interleavings"]
# For these tests, the script builds only the modules' own unit tests.
UNITS = {"renewal::look", "renewal::schedule", "save::", "strict::tests", "end_of_grant", "schedule", "state::", "asleep", "mailbox", "clock::", "credential", "serve::http", "alert::rules", "pace",
         "told", "status::condition", "mail::tests", "net::address", "alert::forms", "serve::metrics", "login::redirect", "check::report", "net::classify", "token::certificate", "key_vault::certificates", "certificate::look", "certificate::schedule", "graph::tests::keys", "sink_health", "entra::tests", "ports::diagnosis::tests", "partner_center::tests", "vault_answers::tests",
         "polling::tests"}
# Both unit tests and integration tests have a module of this name.
BOTH = {"daemon"}

# (what, file, before, after, tests that must notice)
BUGS = [
    ("there is no wait between attempts", "src/rotation/schedule.rs",
     "heed(wait, retry_after, LONGEST)", "heed(wait.min(Duration::from_millis(1)), retry_after, Duration::ZERO)", SIMULATION),
    ("the waits between attempts grow without limit", "src/rotation/schedule.rs",
     ".clamp(SHORTEST, LONGEST)", ".mul_f64(4000.0)", ["schedule"]),
    ("a new token is dropped while the vault is down", "src/rotation/rotate/saving.rs",
     "        let done = self.try_save(&mut state, &mut attempt).await;\n",
     "        let done = self.try_save(&mut state, &mut attempt).await;\n        if done.is_err() {\n            state.phase = Phase::Current;\n        }\n",
     ["wire_answers"]),
    ("an outage counts as a dead token", "src/ports/issuer_error.rs",
     "Self::Unreachable(why) => retry(Kind::EntraUnreachable, Advice::Network(*why)),",
     "Self::Unreachable(why) => Failure { remedy: Remedy::Login, ..retry(Kind::LoginRequired, Advice::Network(*why)) },",
     SIMULATION),
    ("a save overwrites a newer sign-in", "src/rotation/save.rs",
     "        AfterRead::Theirs\n    }", "        AfterRead::Write\n    }", ["save::"]),
    ("the versions are not listed after a write", "src/rotation/save.rs",
     "match buried_under(ours, versions, &known, Ties::Since(pending.read_at)) {",
     "match buried_under(ours, &[], &known, Ties::Since(pending.read_at)) {", ORDERS),
    ("the history is not searched at start-up", "src/rotation/rotate/history.rs",
     "while let Some(buried) = save::buried_under(newest, &versions, &seen, Ties::Refused(&state.refused)) {",
     "while let Some(buried) = save::buried_under(newest, &[], &seen, Ties::Refused(&state.refused)) {", ORDERS),
    ("versions of the same age as the redeemed one are disabled", "src/rotation/save.rs",
     "version.created < from.created)", "version.created <= from.created)", ORDERS),
    ("the newest version is disabled", "src/rotation/save.rs",
     "version.enabled && version.id != ours.id && version.created < from.created", "version.enabled", ORDERS),
    ("after a loop of redemptions, a user is asked to sign in", "src/ports/diagnosis/table.rs",
     'retry(&[50196], K::EntraThrottled, A::Throttled, "same', 'login(&[50196], A::SignIn, "same', ["codes"]),
    ("an expired app secret counts as a dead token", "src/ports/diagnosis/end_of_grant.rs",
     'self.error == "invalid_grant"\n            && !self.is_changed\n            && self.trace.code.is_some_and(ends_a_grant)',
     "true", ["end_of_grant"]),
    ("an unknown error code counts as a dead token", "src/ports/diagnosis/end_of_grant.rs",
     "self.trace.code.is_some_and(ends_a_grant)", "self.trace.code.is_none_or(|code| ends_a_grant(code) || row_of(code, &self.error).is_none())", SIMULATION),
    ("a rejection that is not final counts as a dead token", "src/rotation/schedule/refused.rs",
     "final_code && its_kind && version.time(tag::REFUSED_AT).is_some_and(|at| at >= version.created)", "version.is_refused()",
     ["save::"]),
    ("a rescue overwrites a sign-in that may work again with an older token", "src/rotation/rotate/history.rs",
     "Tried::MayComeBack => may_come_back = Some(sign_in),", "Tried::MayComeBack => {}", ["refused_sign_ins"]),
    ("a stop redeems a rejected sign-in again and again", "src/rotation/rotate/redeeming.rs",
     "schedule::standing(state, &theirs.version, self.clock.now())",
     "schedule::standing(state, &theirs.version, self.clock.now()).filter(|_| false)", ["refused_sign_ins"]),
    ("a stop drops an unsaved new token", "src/rotation/daemon.rs",
     "while !stop.is_cancelled() || state.is_unsaved() {", "while !stop.is_cancelled() {", ["daemon"]),
    ("an outage clears a permanent failure", "src/rotation/schedule.rs",
     "state.blocked.take_if(is_of_another);",
     "state.blocked = None;", ["schedule"]),
    ("rotation starts only when it is too late", "src/rotation/schedule.rs",
     "version.issued_at() + self.rotate_after", "version.issued_at() + self.rotate_after * 9", SIMULATION),
    ("there is no daily limit of redemptions", "src/rotation/state/limits.rs",
     "const POLITE: Self = Self { redemptions: 24,", "const POLITE: Self = Self { redemptions: 2_400,", SIMULATION),
    ("a dead token is never checked again", "src/rotation/rotate/checking.rs",
     "        if changed {\n", "        if changed && about == FailureSubject::AppCredential {\n", SIMULATION),
    ("the rejection of an old token is reported for its replacement", "src/rotation/schedule.rs",
     "known.failure.about == FailureSubject::Grant && known.version != newest", "known.version.is_none()", ["schedule"]),
    ("a copy of our tags from the same second counts as our version", "src/rotation/save.rs",
     "Ordering::Equal if one.id == *self.of => self.first,",
     "Ordering::Equal if one.id == *self.of => !self.first,", ["save::"]),
    ("the limits ignore fractions of a second", "src/rotation/state/recent.rs",
     " + i64::from(now.timestamp_subsec_nanos() > 0)", "", ["state::"]),
    ("the pages of a list do not count as calls", "src/rotation/state.rs",
     "1 + further_pages(self.listed)", "1", ["long_list"]),
    ("a managed identity is requested through the proxy", "src/azure/credential.rs",
     "Http::new(Roots::System, false)", "Http::new(Roots::System, true)", ["managed_identity"]),
    ("all tokens are proved at the same time", "src/rotation/pace.rs",
     "const STEPS: usize = 64;", "const STEPS: usize = 10_000;", ["rotation::pacing"]),
    ("the issuer's name for a user is written into a tag unchecked", "src/ports/answer.rs",
     "claimed.and_then(text::guid)", "claimed.map(str::to_owned)",
     ["hostile_input"]),
    ("a claim that cannot be compared counts as missing", "src/ports/answer.rs",
     "None => Said::Odd,", "None => Said::Nothing,", ["odd_claims"]),
    ("a user without a name counts as the previous user", "src/login/judge.rs",
     "None => \"Entra's answer does not say which user signed in, so Perennial cannot compare this user with the user of the token in the vault\"\n            .to_owned(),",
     "None => return Ok(()),", ["refusals"]),
    ("a problem that may pass by itself is reported at once", "src/alert/rules.rs",
     "let passes = condition.remedy == Remedy::Retry && since + HELD_FOR > now;", "let passes = since > now;", ["alert_days"]),
    ("each token that joins an incident is reported separately", "src/alert/rules.rs",
     "now + JOIN_WAIT * 2_i32.pow(changes.min(JOIN_WAIT_DOUBLES));", "now;", ["alert_days"]),
    ("an alert that was not delivered counts as delivered", "src/alert/notifier.rs",
     "                failed = Some(missed);\n",
     "                message.iter().for_each(|change| ledger.note(change, now));\n                failed = Some(missed);\n",
     ["alert_days"]),
    ("a rejected message blocks the other messages", "src/alert/notifier.rs",
     "is_some_and(|missed| !missed.message_rejected)", "is_some()", ["alert_days"]),
    ("a dead token is noticed late", "src/rotation/schedule.rs",
     "policy.prove_every.mul_f64(1.0 - PROCESS_JITTER * process_sample)", "policy.prove_every.mul_f64(4.0)",
     ["alert_days"]),
    ("the end of a host's suspension is noticed late", "src/rotation/daemon.rs",
     "() = rotator.clock.sleep_until(at, LOOK_EVERY) => is_news",
     "() = rotator.clock.sleep_until(at, LOOK_EVERY * 10_000) => is_news", ["asleep"]),
    ("one missing mailbox stops the mail to the others", "src/alert/notifier/mail.rs",
     "if !missed.permanent || post.to.len() == 1 {", "if missed.permanent || post.to.len() > 0 {", ["mailbox"]),
    ("a lack of file descriptors causes a panic", "src/cli/mod.rs",
     "have_descriptors()\n        .and_then(|()| build())", "build()", ["file_descriptors"]),
    ("a wrong clock delays the tokens that share it", "src/rotation/daemon.rs",
     "            rotator.timing.correct(&mut state, now);\n", "", ["wrong_time"]),
    ("a change of the host's clock moves the time that the vault reported", "src/process/clock.rs",
     "        anchor.now(reading)\n    }\n\n    /// The host's", "        reading.wall\n    }\n\n    /// The host's",
     ["clock::"]),
    ("a token that was never tried is not reported", "src/status/board.rs",
     "        holding.extend(condition::untried(&snapshots, self.clock.uptime() - self.since, now));\n", "",
     ["wrong_time"]),
    ("a denied list counts as fixed once the newest version can be read", "src/rotation/rotate.rs",
     "state.clear_failures_about(FailureSubject::Token);",
     "state.clear_failures_about(FailureSubject::Token);\n            state.clear_failures_about(FailureSubject::History);", ["unlisted"]),
    ("a stop waits for calls that hang", "src/rotation/daemon.rs",
     "() = hold.may_end(&stop) => return None,", "() = std::future::pending() => return None,", ["stops"]),
    ("a pass succeeds although Partner Center rejects the token", "src/cli/known.rs",
     "told.severity == Severity::Critical || Some(told.kind) == failed", "Some(told.kind) == failed", ["process::usable"]),
    ("Partner Center's verdict is not recorded for the next process", "src/rotation/schedule/tags.rs",
     "    verdict::put(&mut tags, verdict);\n", "", ["process::usable"]),
    ("a token past its expiry is not shown as expired", "src/status/snapshot.rs",
     "_ if self.expired_at(now).is_some() => TokenState::Expired,",
     "_ if self.expired_at(now).is_some() => TokenState::Unknown,", ["process::usable"]),
    ("a pass that is stopped drops an unsaved new token", "src/cli/rotate.rs",
     "() = hold.may_end(stop) => None,", "() = stop.cancelled() => None,", ["a_pass_that_is_stopped"]),
    ("the loop rule is ignored", "src/rotation/pace.rs",
     "Self::Redemptions(_) => (LOOP, LOOP_SPAN),", "Self::Redemptions(_) => (usize::MAX, LOOP_SPAN),", ["rotation::pacing"]),
    ("the mark of a running redemption is ignored", "src/rotation/strict.rs",
     "if mark.stands(*since, now) { Err", "if false && mark.stands(*since, now) { Err", ["strict::tests"]),
    ("the mark of a redemption expires while the vault is down", "src/rotation/strict.rs",
     "age < STANDS || (now - seen_since < SEEN_FOR && age < STANDS_AT_MOST)", "age < STANDS || now < seen_since", ["strict::tests"]),
    ("a mark is taken over before its owner can object", "src/rotation/strict.rs",
     "return if contested { Err", "return if false && contested { Err", ["rotation::strict"]),
    ("a mark that was written too late allows a redemption", "src/rotation/rotate/claiming.rs",
     "            state.claim = None;\n            return Err(strict::too_slow());", "            state.claim = Some(attempt.id);\n            return Err(strict::too_slow());",
     ["rotation::strict"]),
    ("a used token is tried below a value that is not a token", "src/rotation/rotate/history.rs",
     "let is_spent = self.grant.strict && Mark::on(version).is_some();", "let is_spent = !self.grant.strict && Mark::on(version).is_some();", ["rotation::strict"]),
    ("a claim is not read again before the redemption", "src/rotation/rotate/claiming.rs",
     "Some(other) => Err(strict::elsewhere(&other)),", "Some(_) => Ok(before),", ["rotation::strict"]),
    ("the new token of a strict token is dropped if the user is wrong", "src/rotation/rotate/redeeming.rs",
     "Err(failure) if self.grant.strict && !state.is_unsaved() => {",
     "Err(failure) if self.grant.strict && state.is_unsaved() => {", ["rotation::strict"]),
    ("a rejected version is tried again only after ten days", "src/rotation/schedule.rs",
     "pub const AGAIN_AFTER: TimeDelta = DAY;", "pub const AGAIN_AFTER: TimeDelta = TimeDelta::days(10);", ["schedule"]),
    ("the vault challenge's resource is not verified", "src/azure/key_vault.rs",
     "verify_challenge_resource: Some(!loopback),", "verify_challenge_resource: Some(false),", ["credential"]),
    ("/livez answers 200 although a task is stalled", "src/serve/http.rs",
     "    if board.pulses().all_turn() {", "    if board.pulses().all_turn() || true {", ["serve::http"]),
    ("at start-up, an open incident is reported as resolved", "src/alert/rules.rs",
     "let before = before.into_iter().filter(|told| !holds.contains(&told.id));",
     "let before = before.into_iter();",
     ["alert::rules"]),
    ("each change of a flapping condition is reported", "src/alert/rules/flapping.rs",
     "Some(flaps) if flaps.ends.len() >= ENDS => Some(EventKind::Flapping),",
     "Some(flaps) if flaps.ends.len() >= usize::MAX => Some(EventKind::Flapping),", ["alert::rules"]),
    ("there is no limit of new versions in a vault", "src/rotation/pace.rs",
     "Self::NewVersions(_) => (NEW_VERSIONS, VAULT_SPAN),", "Self::NewVersions(_) => (usize::MAX, VAULT_SPAN),", ["pace"]),
    ("there is no limit of concurrent requests", "src/rotation/pace.rs",
     "Self::Steps => (STEPS - kept_free, Duration::ZERO),", "Self::Steps => (usize::MAX, Duration::ZERO),", ["pace"]),
    ("no capacity is reserved for an unsaved new token", "src/rotation/pace.rs",
     "let kept_free = if urgent { 0 } else { KEPT_FREE };", "let kept_free = if urgent { KEPT_FREE } else { 0 };", ["pace"]),
    ("the vault asks for a pause, and calls continue", "src/rotation/pace.rs",
     "if !urgent && paused_until > now {", "if urgent && paused_until > now {", ["pace"]),
    ("a token that waits for its turn counts as late", "src/status/condition.rs",
     "    if of.in_line {\n        return None;", "    if of.in_line && of.proved_at.is_none() {\n        return None;", ["pacing"]),
    ("the daily limit of redemptions is used up at the start of an outage", "src/rotation/schedule.rs",
     "if !state.is_unsaved() && !is_looked_for {", "if state.is_unsaved() && !is_looked_for {", ["schedule"]),
    ("a sink that is limited to some tokens sees other tokens", "src/alert/rules.rs",
     "let mut seen = if self.sink.tokens.is_empty() {", "let mut seen = if holding.len() < usize::MAX {", ["alert::rules"]),
    ("two deployments share the incidents of an app", "src/status/condition/cause.rs",
     "deployment: Some(deployment.first_secret.clone())", "deployment: None", ["status::condition"]),
    ("the incidents of all tokens in a vault share an id", "src/status/condition/cause.rs",
     "Self { name: format!(\"token:{secret}\"), deployment: None }", "Self { name: format!(\"token:{}\", secret.vault), deployment: None }", ["status::condition"]),
    ("the records of another instance are erased", "src/rotation/told.rs",
     "let mut noted = Marks::on(tags);", "let mut noted = Marks::default();", ["told"]),
    ("a monitor shows an unknown token as healthy", "src/cli/status.rs",
     "_ if status.unknown() + status.unread() > 0 => Monitored::CannotTell,",
     "_ if status.unread() > 0 => Monitored::CannotTell,", ["commands", "monitor", "usable"]),
    ("an answer from another program counts as the daemon's", "src/status/verdict.rs",
     "self.tokens.len() == tokens.len() && ours == theirs.collect()", "self.tokens.len() == tokens.len() || ours == theirs.collect()",
     ["asked_first"]),
    ("an incident about the host's clock stays open after a restart", "src/status/condition/cause.rs",
     "Kind::ClockSkew => vec![Cause::host(&of.grant.deployment)],", "Kind::ClockSkew => Vec::new(),", ["restarts"]),
    ("the same refresh token counts as a rotation", "src/rotation/rotate.rs",
     "let is_same = successor.token == successor.redeemed_value;", "let is_same = successor.token == successor.redeemed_value && false;",
     ["surfaces::stories"]),
    ("a deleted secret is reported as a missing sign-in", "src/rotation/rotate/checking.rs",
     "known.failure.about == FailureSubject::Grant && failure.about == FailureSubject::Token;",
     "known.failure.about == FailureSubject::Token && failure.about == FailureSubject::Grant;", ["unlisted", "refused_sign_ins", "stories"]),
    ("a requested sign-in counts as a foreign write", "src/rotation/state/foreign.rs",
     "let is_asked = is_asked || self.newest.as_ref().is_some_and(Version::is_refused);\n", "", ["stories", "refused_sign_ins", "foreign"]),
    ("a mail has no MIME version", "src/alert/notifier/mail.rs", "        .header(header::MIME_VERSION_1_0)\n", "", ["mail::tests"]),
    ("the user and the password in an alert's address are dropped", "src/net/address.rs",
     "|| url.password().is_some() {\n            return Err(TargetUrlError::UserInfo);", "&& url.password().is_some() {\n            return Err(TargetUrlError::UserInfo);",
     ["net::address"]),
    ("a test message looks like a warning", "src/alert/forms.rs",
     "(EventKind::Test, _) => return TEST_TITLE.to_owned(),", "(EventKind::Test, _) => \"Warning\",", ["alert::forms", "alert::rules"]),
    ("a message does not name its instance", "src/alert/forms.rs",
     "    facts.push((\"Instance\", here.instance.clone()));\n", "", ["alert::forms", "alert::rules"]),
    ("a condition that opens again has the id of the old event", "src/alert/rules.rs",
     "let since = since.timestamp();", "let since = since.timestamp() * 0;", ["alert::rules"]),
    ("the heartbeat is not tested", "src/cli/check.rs",
     "config.heartbeat.as_ref().filter(|_| args.alerts)", "config.heartbeat.as_ref().filter(|_| args.alerts && args.json)", ["leaks::sinks", "process::check", "process::alarm"]),
    ("metrics beyond loopback name tokens", "src/serve/metrics.rs",
     "let named = drawn.snapshots.iter().filter(|_| drawn.scrape.names);", "let named = drawn.snapshots.iter();", ["serve::metrics"]),
    ("a truncated address counts as one of another sign-in", "src/login/redirect.rs",
     "if is_begun && is_cut => Err(NotOurs::Cut),", "if is_begun && is_cut && line.is_empty() => Err(NotOurs::Cut),", ["login::redirect"]),
    ("a placeholder is accepted as an id", "src/config/rules.rs",
     "if id == Uuid::nil().to_string() {", "if id.is_empty() {", ["config::values", "repository::example"]),
    ("a proxy that cannot be used is ignored", "src/config/environment.rs",
     "Some((name, rules::proxy(value).err()?))", "Some((name, rules::proxy(value.trim_matches('\"')).err()?))", ["config::values"]),
    ("the name of a private endpoint is accepted as a vault", "src/config/rules.rs",
     'if url.host().contains(".vaultcore.") {', 'if url.host().contains("..") {', ["config::values"]),
    ("the browser inherits the secrets in the environment", "src/cli/login/browser.rs",
     "        command.env_remove(name);\n", "        let _kept = name;\n", ["leaks::shown"]),
    ("a terminal cuts a long address", "src/cli/login/pasted.rs",
     "mode.local_modes.remove(LocalModes::ICANON);", "mode.local_modes.remove(LocalModes::TOSTOP);", ["process::login"]),
    ("a report names people", "src/cli/check/report.rs",
     "if text::sign_in_name(piece).is_some() {", "if piece.is_empty() {", ["check::report"]),
    ("a policy's claims are forgotten", "src/cli/login/session.rs",
     "Err(IssuerError::Refused(refusal)) => refusal.claims,", "Err(IssuerError::Refused(refusal)) => refusal.claims.filter(String::is_empty),", ["login::claims"]),
    ("a second sandbox replaces the files of the first", "src/sandbox/server/files.rs",
     "Err(Errno::WOULDBLOCK) => Err(SandboxError::InUse(dir.to_owned())),", "Err(Errno::WOULDBLOCK) => Ok(file),", ["wrong_config"]),
    ("a certificate authority's own certificate is not reported as such", "src/net/classify.rs",
     'contains("CaUsedAsEndEntity")', 'contains("NoSuchError")', ["net::classify"]),
    ("an invalid signing key is accepted", "src/alert/forms/signing.rs",
     "STANDARD.decode(rest).ok().filter(fits).ok_or(FORM)?", "STANDARD.decode(rest).ok().filter(fits).unwrap_or_default()", ["alert::alerts"]),
    ("the character set of an event is in capital letters", "src/alert/notifier.rs",
     "application/cloudevents+json; charset=utf-8", "application/cloudevents+json; charset=UTF-8", ["alert::alerts"]),
    ("a sink on loopback is reached through the proxy", "src/net/http.rs",
     "let client = if leads_to_this_machine(request.url()) {", "let client = if leads_to_this_machine(request.url()) && request.body().is_none() {",
     ["process::network"]),
    ("an assertion is for another tenant than the one that is asked", "src/rotation/rotate/credential.rs",
     "let audience = self.issuer.assertion_audience(tenant);",
     "let audience = self.issuer.assertion_audience(&format!(\"{tenant}.example\"));", ["rotation::credentials"]),
    ("assertions share an id", "src/rotation/rotate/credential.rs", "id: Uuid::new_v4()", "id: Uuid::nil()",
     ["rotation::credentials"]),
    ("the newest version of a credential is used although Entra rejects it", "src/rotation/rotate/accepted.rs",
     "if std::mem::replace(&mut attempt.fell_back, true) {", "if !std::mem::replace(&mut attempt.fell_back, true) {",
     ["rotation::credentials"]),
    ("an assertion names its certificate by SHA-1", "src/token/certificate.rs", '"x5t#S256":', '"x5t":', ["token::certificate"]),
    ("an assertion names another algorithm than the one that signed it", "src/token/certificate.rs",
     '"alg": "PS256"', '"alg": "RS256"', ["token::certificate"]),
    ("an expired certificate is used", "src/token/certificate.rs", "self.begins <= now && now < self.ends", "self.begins <= now",
     ["token::certificate"]),
    ("the first certificate of a chain is used, not the one of the key", "src/token/certificate.rs",
     "parsed.iter().find(|certificate| certificate.key == key.public_key().as_ref())", "parsed.first()", ["token::certificate"]),
    ("an assertion lives for a day", "src/token/certificate.rs", "TimeDelta::minutes(5)", "TimeDelta::days(1)", ["token::certificate"]),
    ("a rejected newest version is not reported while an older one works", "src/status/condition/credential.rs",
     "older.created + SETTLES <= older.tried_at", "older.created > older.tried_at", ["status::condition"]),
    ("a registration at Entra is not noticed", "src/rotation/rotate/checking.rs",
     "!matches!(self.grant.app.credential, CredentialSource::Secret(_))", "false", ["rotation::credentials"]),
    ("a new federated credential gets no time to reach Entra", "src/rotation/rotate/redeeming.rs",
     "first_read_at.filter(|_| federated)", "first_read_at.filter(|_| false)", ["rotation::credentials"]),
    ("a token for vaults goes to a server outside their domain", "src/azure/key_vault/certificates.rs",
     "server.is_loopback() || host", "server.is_loopback() || !host.is_empty() || host", ["key_vault::certificates"]),
    ("a credential that expires is not reported if it is a certificate", "src/rotation/rotate/accepted.rs",
     "state.app_secret_expires = credential.expires.or(self.grant.app_secret_expires);",
     "state.app_secret_expires = self.grant.app_secret_expires;", ["rotation::credentials"]),
    ("the expiry of the identity for Key Vault is not reported", "src/status/condition.rs",
     "found.extend(credential::identity_expiring(of, now));", "let _ = credential::identity_expiring(of, now);",
     ["status::condition"]),
    ("a hand-made secret of an app is removed", "src/renewal/look.rs",
     ".filter(|one| begins_with(one, &prefix) || self.carries(one.key_id));", ".filter(|_| true);", ["renewal::look"]),
    ("the secret in use is removed", "src/renewal/look.rs",
     "ours.filter(|one| !self.is_in_doubt(one, held))", "ours", ["renewal::look"]),
    ("another deployment's secrets count as this one's", "src/renewal/look.rs",
     "name.starts_with(prefix)", 'name.starts_with(&prefix[..10])', ["renewal::look"]),
    ("an old secret is removed without a grace period", "src/renewal/look.rs",
     "since + GRACE <= self.at", "since <= self.at", ["renewal::look"]),
    ("a secret that another instance is trying is removed as an orphan", "src/renewal/look.rs",
     "starts + ORPHAN_AGE <= self.at", "starts <= self.at", ["renewal::look"]),
    ("orphaned secrets stay", "src/renewal/look.rs",
     "let orphan = ours().find(is_orphaned)", "let orphan = ours().find(|one| is_orphaned(one) && false)", ["renewal::look"]),
    ("a secret that Entra does not list is not renewed", "src/renewal/look.rs",
     "HeldEnd::NotListed => true,", "HeldEnd::NotListed => false,", ["renewal::look"]),
    ("the latest end of all secrets counts as the end of the one in use", "src/renewal/look.rs",
     ".chain(self.newest.expires).min())", ".chain(self.newest.expires).max())", ["renewal::look"]),
    ("an attacker's secret with the name of another deployment is not reported", "src/renewal/look.rs",
     "!(begins_with(one, &prefix)\n", "!(one.name.as_deref().is_some_and(|name| name.starts_with(\"perennial \"))\n", ["renewal::look"]),
    ("a new secret is saved as soon as Entra accepts it once", "src/renewal/state.rs",
     "all.count >= SETTLED_PROBES && all.last - all.first >= SETTLED_AFTER", "all.count >= 1 || all.last - all.first >= SETTLED_AFTER * SETTLED_PROBES as i32",
     ["renewal::schedule"]),
    ("a rejection of a new secret is forgotten", "src/renewal/state.rs",
     "CredentialVerdict::Rejected => self.accepted = None,", "CredentialVerdict::Rejected => {}", ["renewal::schedule"]),
    ("a secret that never settles is tried for ever", "src/renewal/schedule.rs",
     "if age >= GIVE_UP_AFTER {", "if age >= GIVE_UP_AFTER * 1000 {", ["renewal::schedule"]),
    ("a new secret is saved without another look", "src/renewal/schedule.rs",
     "self.next_of_new(new, state.look.as_ref().filter(|_| !state.must_look), up)",
     "self.next_of_new(new, state.look.as_ref(), up)", ["renewal::schedule"]),
    ("a secret is saved after another instance may have removed it", "src/renewal/schedule.rs",
     "if look.at - new.since >= SAVED_WITHIN {", "if look.at - new.since >= SAVED_WITHIN * 10 {", ["renewal::schedule"]),
    ("two instances both save their secrets", "src/renewal/schedule.rs",
     "        if self.is_due(look, look.at) {\n            RenewalStep::Save", "        if true {\n            RenewalStep::Save", ["renewal::schedule"]),
    ("secrets are created without a limit", "src/renewal/look.rs",
     "self.attempts_today(at).max(by_this_process) >= ATTEMPTS_A_DAY", "self.attempts_today(at).max(by_this_process) >= usize::MAX",
     ["renewal::schedule"]),
    ("the old secret is removed although Entra rejects the new one", "src/renewal/schedule.rs",
     "(_, Reason::Superseded, Some(false)) => {}", "(true, Reason::Superseded, Some(false)) => return RenewalStep::Remove(key_id, reason),\n                (_, Reason::Superseded, Some(false)) => {}",
     ["renewal::schedule"]),
    ("a secret is removed while its lost save may still arrive", "src/renewal/schedule.rs",
     "(target.is_due(&look, look.at) && !is_late).then_some(RenewalAttempt::New(new))", "Some(RenewalAttempt::New(new))", ["renewal::schedule"]),
    ("a secret whose creation got no answer stays at Entra", "src/renewal/schedule.rs",
     "Some(RenewalAttempt::Unwanted { key_id: found.key_id, reason: Reason::AnswerLost })", "{ let _ = found; None }", ["renewal::schedule"]),
    ("a stopped daemon leaves its new secret at Entra", "src/renewal/daemon.rs",
     "Some(RenewalAttempt::New(new)) if !new.was_sent => {\n                RenewalStep::Remove", "Some(RenewalAttempt::New(new)) if new.was_sent => {\n                RenewalStep::Remove", ["process::renewal"]),
    ("a secret that came back into use after the look is removed", "src/renewal/renewer.rs",
     "if !reason.is_of_attempt() && held", "if false && held", ["renewal::orders"]),
    ("Microsoft Graph is asked about apps without renew", "src/cli/azure_clients.rs",
     "(app.renew.clone()?, app.credential.in_vault()?.clone())", "(app.renew.clone().unwrap_or_default(), app.credential.in_vault()?.clone())",
     ["process::renewal"]),
    ("a certificate that a person registered is removed", "src/renewal/certificate/look.rs",
     "was_used.is_some_and(|was_used| *was_used || is_ours(one))", "was_used.is_some()", ["certificate::look"]),
    ("the mark of the version before counts for a new version", "src/token/version.rs",
     "self.tags.get(tag::ACCEPTED_AT).and_then(parsed).filter(|at| *at >= self.created)",
     "self.tags.get(tag::ACCEPTED_AT).and_then(parsed)", ["certificate::look"]),
    ("the certificate of a version that came back is removed", "src/renewal/certificate/look.rs",
     "} else if !kept.contains(&one.thumbprint) {", "} else {", ["certificate::look"]),
    ("an old certificate is removed without its grace period", "src/renewal/certificate/look.rs",
     "if replaced_at + GRACE > self.at {", "if replaced_at > self.at {", ["certificate::look"]),
    ("an old certificate is removed although Entra rejects the newest", "src/renewal/certificate/schedule.rs",
     "            Some(false) => {}", "            Some(false) => return CertificateStep::Remove(key_id),", ["certificate::schedule"]),
    ("a version gets the mark before Entra has accepted it for long enough", "src/renewal/certificate/schedule.rs",
     "    if probes.is_settled() {", "    if probes.accepted.is_some() {", ["certificate::schedule"]),
    ("probes of the version before count for a new version", "src/renewal/certificate/state.rs",
     "self.trial.as_ref().filter(|trial| trial.version == *version)", "self.trial.as_ref()", ["certificate::schedule"]),
    ("a version is created again while the vault still creates it", "src/renewal/certificate/schedule.rs",
     "filter(|at| **at + SETTLED_AFTER > up)", "filter(|at| **at > up)", ["certificate::schedule"]),
    ("a token uses a version that Entra may not know", "src/rotation/rotate/credential.rs",
     "let accepted = listed.iter().filter(|version| version.is_accepted(now));", "let accepted = listed.iter().filter(|_| true);",
     ["process::renewal_certificates"]),
    ("a proof names the app instead of its registration", "src/token/certificate.rs",
     '"iss": self.object_id.to_string(),', '"iss": Uuid::nil().to_string(),', ["process::renewal_certificates"]),
    ("a replaced list loses the certificates of others", "src/azure/graph/answers.rs",
     "    Ok(keys)\n}\n\nfn is_guid", "    keys.clear();\n    Ok(keys)\n}\n\nfn is_guid", ["graph::tests::keys"]),
    ("a list of certificates that cannot be read is replaced", "src/azure/graph/answers.rs",
     'let mut keys = body.key_credentials.ok_or(wrong("it has no list of certificates"))?;',
     "let mut keys = body.key_credentials.unwrap_or_default();", ["graph::tests::keys"]),
    ("a rejected proof ends the registration", "src/renewal/certificate/failures.rs",
     "matches!(error.problem(), Some(GraphProblem::Token | GraphProblem::UnknownCode))", "false && error.problem().is_some()",
     ["process::renewal_certificates"]),
    ("a failure that may pass ends the report of a rejected alert", "src/status/sink_health.rs",
     "attempts >= TOLD_AFTER_ATTEMPTS || before.is_some();", "attempts >= TOLD_AFTER_ATTEMPTS;", ["sink_health"]),
    ("a clock that was ahead blocks the search for an older credential", "src/rotation/schedule/correct.rs",
     "        if let Some((_, tried_at)) = older_tried.as_deref_mut() {\n            *tried_at = (*tried_at).min(now);",
     "        if let Some((_, tried_at)) = older_tried.as_deref_mut() {\n            *tried_at = (*tried_at).max(now);", ["schedule"]),
    ("an error that a gateway has changed condemns a token", "src/ports/diagnosis/end_of_grant.rs",
     'self.error == "invalid_grant"\n            && !self.is_changed\n', 'self.error == "invalid_grant"\n', ["entra::tests"]),
    ("a longer number ends a grant like its first five digits", "src/ports/diagnosis.rs",
     'Diagnosis { meaning: "", ends_grant: false, ..row.diagnosis }', 'Diagnosis { meaning: "", ..row.diagnosis }', ["ports::diagnosis::tests"]),
    ("a page of a gateway is a verdict of Partner Center", "src/azure/partner_center.rs",
     "401 | 403 if !is_page(body) => {", "401 | 403 => {", ["partner_center::tests"]),
    ("a page in place of Key Vault denies access", "src/azure/vault_answers.rs",
     "return if status >= 300 {", "return if status == 403 {\n            VaultError::Forbidden(Forbidden::Connection)\n        } else if status >= 300 {",
     ["vault_answers::tests"]),
    ("an early end of a certificate at Entra is not noticed", "src/renewal/certificate/look.rs",
     "at_entra.into_iter().chain(one.version.expires).min()", "one.version.expires.or(at_entra)", ["certificate::look"]),
    ("a certificate is registered by the list without its end", "src/azure/graph.rs",
     '                entry["endDateTime"] = json!(dated(key.ends));\n', "", ["graph::tests::keys"]),
    ("a failed read of the list counts as a registration", "src/ports/directory.rs",
     "Self::NoToken(_) | Self::Refused { .. } | Self::Unchanged(_) => false,",
     "Self::Unchanged(_) => true,\n            Self::NoToken(_) | Self::Refused { .. } => false,", ["graph::tests::keys"]),
    ("an outage during a sign-in by device code is told as an expired code", "src/login/polling.rs",
     "} else if is_pending(answer) {", "} else if is_pending(answer) || true {", ["polling::tests"]),
]


def stale(bug, root):
    _, file, before, _, _ = bug
    path = root / file
    count = path.read_text().count(before) if path.exists() else 0
    return None if count == 1 else f"{file} holds the line {count} times"


def run(bug, copy, target):
    what, file, before, after, tests = bug
    if why := stale(bug, copy):
        return "stale", why
    path = copy / file
    text = path.read_text()
    path.write_text(text.replace(before, after))
    try:
        return verdict(copy, target, tests)
    finally:
        path.write_text(text)


def verdict(copy, target, tests):
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target), "SIM_SEEDS": os.environ.get("SIM_SEEDS", "24")}
    what = [] if BOTH & set(tests) else ["--lib"] if UNITS.issuperset(tests) else ["--test", "it"]
    build = ["cargo", "test", "--quiet", "--locked", "--no-run"] + what
    if subprocess.run(build, cwd=copy, env=environment, capture_output=True).returncode:
        return "stale", "does not compile"
    command = ["cargo", "test", "--quiet", "--locked", "--no-fail-fast"] + what + ["--"] + tests
    try:
        ended = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=400)
    except subprocess.TimeoutExpired:
        return "caught", "the tests do not end"
    if ended.returncode == 0:
        return "missed", ""
    failed = [line for line in ended.stdout.splitlines() if line.startswith("    ") and "::" in line]
    return "caught", ", ".join(sorted({line.strip() for line in failed}))


def main():
    if "--list" in sys.argv:
        for number, bug in enumerate(BUGS, 1):
            print(f"{number:3} {bug[0]}")
        return 0
    every = range(1, len(BUGS) + 1)
    units = [number for number in every if UNITS.issuperset(BUGS[number - 1][4])]
    if "--short" in sys.argv:
        chosen = units[::10]
    elif "--units" in sys.argv:
        chosen = units
    else:
        chosen = [int(word) for word in sys.argv[1:]] or every
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    # Always the same directory, so that cargo compiles only the differences.
    copy = target / "deliberate-bugs"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("target", ".git"))
    caught = 0
    for number in chosen:
        end, by = run(BUGS[number - 1], copy, target)
        caught += end == "caught"
        print(f"{number:3} {end:7} {BUGS[number - 1][0]}" + (f"  <- {by}" if by else ""), flush=True)
    print(f"{caught} caught of {len(chosen)}")
    others = set(every) - set(chosen) if "--short" in sys.argv else set()
    unfit = [number for number in sorted(others) if stale(BUGS[number - 1], ROOT)]
    for number in unfit:
        print(f"{number:3} stale   {BUGS[number - 1][0]}: {stale(BUGS[number - 1], ROOT)}")
    return 0 if caught == len(chosen) and not unfit else 1


sys.exit(main())
