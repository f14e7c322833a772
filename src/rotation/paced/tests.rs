//! Tests that the limits of a vault count each request, and that the requests reach the vault.

use std::time::Duration;

use super::*;
use crate::process::clock::Clock;
use crate::rotation::rotate::samples::{Peers, start, stored};
use crate::rotation::samples::address;
use crate::token::tags::Tags;

fn turns() -> Turns {
    Turns::new(Clock::running(start(), 1.0))
}

/// Returns the number of requests that the vault's limit still counts.
async fn counted(turns: &Turns) -> usize {
    let calls = Limited::Calls(hash(&address("x").vault));
    let mut free = Vec::new();
    for _ in 0..2_666 {
        free.extend(turns.take_within(Duration::from_millis(1), calls).await.ok());
    }
    2_666 - free.len()
}

#[tokio::test(start_paused = true)]
async fn each_request_reaches_the_vault_and_counts() {
    let (peers, turns, id) = (Peers::new(), turns(), Uuid::nil());
    peers.all().certificates = vec![VaultCertificate {
        version: stored("c1", "", 0).version,
        der: vec![1],
        is_exportable: None,
        read_at: None,
    }];
    let vault = Paced { vault: &&peers, turns: &turns, urgent: false };
    let (at, v0, c1) = (address("token"), VersionId("v0".into()), VersionId("c1".into()));

    assert_eq!(vault.newest(&at, id).await.map(|stored| stored.version.id), Ok(v0.clone()));
    assert_eq!(vault.read(&at, &v0, id).await.map(|stored| stored.version.id), Ok(v0.clone()));
    assert_eq!(vault.versions(&at, id).await.map(|all| all.len()), Ok(1));
    assert_eq!(vault.certificate(&at, None, id).await.map(|found| found.der), Ok(vec![1]));
    assert_eq!(vault.certificate_versions(&at, id).await.map(|all| all.len()), Ok(1));
    assert_eq!(vault.sign(&at, &c1, &[0; 32], id).await, Ok(b"c1".to_vec()));
    let tags = Tags::from([("a", "b")]);
    let change = SecretUpdate { enabled: None, tags: Some(tags.clone()) };
    assert_eq!(vault.update(&at, &v0, &change, id).await, Ok(()));
    assert_eq!(peers.tags("v0"), tags);
    assert!(vault.identity_expiry().is_none());

    assert_eq!((peers.calls().len(), counted(&turns).await), (7, 7));
}

#[tokio::test(start_paused = true)]
async fn each_further_page_of_a_list_counts() {
    for (versions, calls) in [(24, 1), (25, 2), (60, 3)] {
        let (peers, turns) = (Peers::new(), turns());
        (1..versions).for_each(|nth| peers.store(&format!("v{nth}"), "x", nth));
        let vault = Paced { vault: &&peers, turns: &turns, urgent: false };

        vault.versions(&address("token"), Uuid::nil()).await.expect("they can be listed");

        assert_eq!(counted(&turns).await, calls, "{versions}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_the_vault_asks_for_delays_all_steps_in_it() {
    for (asked, waits) in [(None, 0), (Some(30), 30), (Some(7_200), 3_600)] {
        let (peers, turns) = (Peers::new(), turns());
        let retry_after = asked.map(Duration::from_secs);
        peers.fail("newest", VaultError::Unavailable { status: 429, retry_after });
        let vault = Paced { vault: &&peers, turns: &turns, urgent: false };
        vault.newest(&address("token"), Uuid::nil()).await.expect_err("it is throttled");

        let began = tokio::time::Instant::now();
        turns.take(Limited::Vault(hash(&address("x").vault)), false).await;

        assert_eq!(began.elapsed().as_secs(), waits, "{asked:?}");
    }
}
