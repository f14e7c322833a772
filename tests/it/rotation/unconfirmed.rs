//! Tests answers of Entra that are not definite. No alert may be sent before a second answer confirms the first.

use std::time::Duration;

use chrono::TimeDelta;
use perennial::ports::failure::{Kind, Remedy};
use perennial::sandbox::world::{Fault, FaultEffect, Operation, Peer};

use crate::support::host::on_a_host;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn an_uncertain_rejection_is_reported_after_a_second_one() {
    for (code, times, told) in [
        (70000, 1, vec![]),
        (70000, 2, vec![(Kind::LoginRequired, Remedy::Login)]),
        (999_999, 1, vec![]),
        (999_999, 2, vec![(Kind::LoginRequired, Remedy::Login)]),
    ] {
        on_a_host(TimeDelta::zero(), 1, &async |host| {
            tokio::time::sleep(MINUTE * 60).await;
            let (status, error) = (400, "invalid_grant".to_owned());
            let what = FaultEffect::OAuth { status, error, code: Some(code), suberror: None };
            host.world.inject(Fault::of(Peer::Entra, what).on(Operation::Redeem).times(times));
            host.reload();

            tokio::time::sleep(MINUTE / 2).await;
            assert_eq!(host.told(), [], "{code}, {times} times: refused once");
            tokio::time::sleep(MINUTE).await;

            assert_eq!(host.told(), told, "{code}, {times} times");
        });
    }
}

#[test]
fn a_new_wrong_app_secret_is_reported_after_its_settling_time() {
    on_a_host(TimeDelta::zero(), 1, &async |host| {
        tokio::time::sleep(MINUTE * 60).await;
        host.world.change_app(&host.partners[0].client_id, |app| app.secrets.clear());
        host.world.store_app_secret(&host.partners[0].app_secret, "not~the~secret", None);
        host.reload();

        let mut told = Vec::new();
        for _ in 0..60 {
            tokio::time::sleep(MINUTE).await;
            told.push(host.told().into_iter().find(|(kind, _)| *kind != Kind::AppSecretExpiryUnknown));
        }

        let quiet = told.iter().take_while(|told| told.is_none()).count();
        assert!((14..=18).contains(&quiet), "{quiet} minutes");
        let refused = Some((Kind::AppCredentialRefused, Remedy::Operator));
        assert!(told[quiet..].iter().all(|told| *told == refused), "{told:?}");
    });
}
