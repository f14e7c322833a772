//! Tests conditions that are not failures: another program that keeps writing, and an unknown expiry.

use chrono::TimeDelta;
use serde_json::Value;

use super::{Stage, is};
use crate::support::child::{eventually, get};

/// Returns the condition of this kind from the daemon's status document.
fn condition(address: &str, kind: &str) -> Option<Value> {
    let answer = get(address, "/status");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status: Value = serde_json::from_str(body).expect("JSON");
    let conditions = status["conditions"].as_array().expect("a list").clone();
    conditions.into_iter().find(|condition| condition["kind"] == kind)
}

#[tokio::test]
async fn a_foreign_writer_is_reported_and_rotated_the_next_day() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    let (daemon, place) = stage.daemon().await;
    let address = daemon.address().await;
    assert_eq!(
        condition(&address, "foreign_writer"),
        None,
        "the first sign-in is taken over: {}",
        daemon.told()
    );

    let theirs = stage.world().human_signs_in(&stage.partner).expect("may sign in");
    daemon.signal("HUP");
    let place = daemon.logs(place, "theirs is proved", |event| is(event, "proved", "one")).await;
    let told = eventually("told", || condition(&address, "foreign_writer")).await;
    assert_eq!((&told["severity"], &told["tokens"]), (&"warning".into(), &serde_json::json!(["one"])));
    assert!(
        told["action"].as_str().is_some_and(|action| action.contains("without the tag managed-by")),
        "{told}"
    );
    assert_eq!((stage.versions(), stage.stored()), (3, theirs.clone()), "nobody is raced");

    stage.world().advance(TimeDelta::days(1));
    daemon.signal("HUP");
    daemon.logs(place, "theirs is taken over", |event| is(event, "rotated", "one")).await;
    assert!(stage.world().descends_from(stage.stored().expose(), theirs.expose()));
    eventually("no longer told", || condition(&address, "foreign_writer").is_none().then_some(())).await;
}

#[tokio::test]
async fn an_app_secret_without_an_expiry_is_reported_until_it_has_one() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    let world = stage.world();
    let value = world.newest_value(&stage.partner.app_secret).expect("stored");
    world.store_app_secret(&stage.partner.app_secret, value.expose(), None);
    let (daemon, _) = stage.daemon().await;
    let address = daemon.address().await;

    let told = eventually("told", || condition(&address, "app_secret_expiry_unknown")).await;
    assert_eq!((&told["severity"], &told["tokens"]), (&"warning".into(), &serde_json::json!(["one"])));
    assert!(
        told["action"].as_str().is_some_and(|action| action.contains("app_secret_expires of one")),
        "{told}"
    );

    let ends = Some(world.now() + TimeDelta::days(180));
    world.store_app_secret(&stage.partner.app_secret, value.expose(), ends);
    daemon.signal("HUP");
    let known = || condition(&address, "app_secret_expiry_unknown").is_none().then_some(());
    eventually("no longer told", known).await;
}
