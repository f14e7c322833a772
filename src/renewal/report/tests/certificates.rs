//! Tests of what the report tells people about the renewal of a certificate.

use super::*;
use crate::renewal::certificate::samples::{look as seen, registered, version as certificate};
use crate::renewal::certificate::state::CertificateTrial;
use crate::token::version::VersionId;

fn knowing(look: CertificateLook) -> CertificateState {
    CertificateState { look: Some(look), ..CertificateState::default() }
}

fn report(state: &CertificateState, now: Timestamp) -> RenewalReport {
    RenewalReport::of_certificate(state, &target(), now)
}

/// Returns a look at two versions. Version 2 is the newest, but it has no tag `accepted-at`. So version 1 is in use.
fn unaccepted_version(day: i64) -> CertificateLook {
    let versions = vec![certificate(2, 50, None), certificate(1, 0, Some(1))];
    seen(day, versions, vec![registered(1), registered(2)])
}

#[test]
fn a_renewal_of_a_certificate_is_in_one_stage() {
    let replaced = || {
        let versions = vec![certificate(2, 50, Some(51)), certificate(1, 0, Some(1))];
        seen(58, versions, vec![registered(1), registered(2)])
    };
    let one = |day| seen(day, vec![certificate(1, 0, Some(1))], vec![registered(1)]);
    for (look, expected) in [
        (one(0), RenewalStage::Waiting),
        (one(320), RenewalStage::Due),
        (unaccepted_version(50), RenewalStage::Trying),
        (replaced(), RenewalStage::Removing),
    ] {
        assert_eq!(report(&knowing(look), at(0)).stage, expected);
    }
    assert_eq!(report(&CertificateState::default(), at(0)).stage, RenewalStage::Starting);
    let accepted = Some(Accepted { first: TimeDelta::zero(), last: TimeDelta::minutes(15), count: 16 });
    for (nth, expected) in [(2, RenewalStage::Saving), (1, RenewalStage::Trying)] {
        let trial = CertificateTrial {
            version: VersionId(format!("v{nth}").into()),
            since: TimeDelta::zero(),
            probes: Trial { accepted, probed: None },
        };
        let state = CertificateState { trial: Some(trial), ..knowing(unaccepted_version(50)) };
        assert_eq!(report(&state, at(50)).stage, expected);
    }
}

#[test]
fn the_report_is_about_the_version_in_use() {
    let told = report(&knowing(unaccepted_version(50)), at(50));

    assert_eq!(told.key_id, Some(key(1)));
    assert_eq!(told.ends, Some(at(365)));
    assert_eq!(told.renews_at, Some(at(365 - 45)));
}

#[test]
fn a_new_version_that_is_not_in_use_after_two_hours_is_reported() {
    let state = knowing(unaccepted_version(50));
    let hours = |count| at(50) + TimeDelta::hours(count);

    assert_eq!(report(&state, hours(2) - TimeDelta::seconds(1)).unaccepted, None);
    let found = report(&state, hours(2)).unaccepted.expect("it is late");
    assert_eq!((&*found.newest.0, &*found.used.0, found.since), ("v2", "v1", hours(2)));
    let only = seen(50, vec![certificate(1, 0, None)], vec![]);
    assert_eq!(report(&knowing(only), hours(9)).unaccepted, None, "the newest version is in use");
}

#[test]
fn an_unknown_certificate_is_reported_until_it_is_known() {
    let mut look = unaccepted_version(50);
    look.listed.insert(key(9), registered(9));
    let state = CertificateState { first_seen: Some([key(1), key(2)].into()), ..knowing(look) };

    let strangers = report(&state, at(50)).strangers;

    assert_eq!(strangers.iter().map(|one| one.key_id).collect::<Vec<_>>(), [key(9)]);
}

#[test]
fn each_certificate_has_one_standing() {
    let versions = vec![certificate(3, 60, None), certificate(2, 50, Some(51)), certificate(1, 0, Some(1))];
    let look = seen(60, versions, (1..=5).map(registered).collect());
    let strangers = [key(4)].into();
    for (nth, expected) in [
        (1, Standing::Superseded),
        (2, Standing::Held),
        (3, Standing::Trying),
        (4, Standing::Unknown),
        (5, Standing::Other),
    ] {
        assert_eq!(Standing::of_key(&registered(nth), &look, &strangers), expected, "{nth}");
        let id =
            |nth: u8| look.version(&VersionId(format!("v{nth}").into())).and_then(|one| look.key_of(one));
        assert_eq!(id(nth), (nth <= 3).then(|| key(nth)));
    }
}
