//! Tests how Perennial checks the identity in an issuer's answer if the claims do not have Entra's form. A claim can
//! have another type, be in another token, occur twice, or be missing. A value that cannot be compared must never be
//! accepted as equal.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use perennial::azure::entra;
use perennial::cli::azure_clients::AzureRotator;
use perennial::ports::failure::Kind;
use perennial::ports::{RefreshResponse, answer};
use perennial::rotation::schedule::Next;
use perennial::rotation::state::State;
use perennial::sandbox::world::{Distortion, Fault, FaultEffect, Operation, Peer};
use perennial::status::condition::{Condition, Severity, conditions};
use perennial::status::snapshot::{Periods, Snapshot, TokenState};
use perennial::token::managed::{ManagedToken, Policy};
use perennial::token::version::tag;
use serde_json::{Value, json};

use crate::support::harness;
use crate::support::lab;

const TENANT: &str = "11111111-1111-4111-8111-111111111111";
const APP: &str = "22222222-2222-4222-8222-222222222222";
const USER: &str = "33333333-3333-4333-8333-333333333333";
const ANOTHER: &str = "99999999-9999-4999-8999-999999999999";

/// The expected result of an answer for the right tenant, app and user.
const RIGHT: &str = "right";
/// The expected result of an answer for another tenant, app or user. The same result is expected if an answer has such
/// a claim, but only in a form that cannot be compared. Nothing may be stored.
const WRONG: &str = "wrong";
/// The expected result of an answer without readable claims. The token is stored, and the unverified identity is
/// reported.
const NOTHING: &str = "tenant and app and user";

fn jwt(payload: impl AsRef<[u8]>) -> String {
    format!("h.{}.s", URL_SAFE_NO_PAD.encode(payload))
}

fn answered(access_token: &str, id_token: &Value) -> RefreshResponse {
    let body = json!({
        "access_token": access_token, "refresh_token": "0.AXsuccessor", "expires_in": 3600, "id_token": id_token,
    });
    entra::redeemed(body.to_string().as_bytes(), &[]).expect("a token answer")
}

fn pinned() -> ManagedToken {
    let (_, partner) = harness::still_world();
    ManagedToken {
        tenant_id: TENANT.into(),
        user_oid: Some(USER.into()),
        ..harness::grant("one", &partner, &Policy::default())
    }
}

fn right() -> Value {
    json!({"tid": TENANT, "appid": APP, "oid": USER, "amr": ["pwd", "mfa"], "scp": "user_impersonation"})
}

/// Returns an access token whose claims have these changes. Null removes a claim.
fn access(changes: &Value) -> String {
    jwt(with(right(), changes).to_string())
}

/// Returns an ID token whose claims have these changes.
fn id(changes: &Value) -> Value {
    let claims = json!({"tid": TENANT, "aud": APP, "oid": USER, "ver": "2.0"});
    json!(jwt(with(claims, changes).to_string()))
}

fn with(mut claims: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    claims
}

/// Returns JSON that is nested deeper than the parser allows.
fn deep() -> String {
    [right().to_string().trim_end_matches('}'), ",\"x\":", &"[".repeat(5000), &"]".repeat(5000), "}"].concat()
}

/// Returns an access token that names two users.
fn twice(one: &str, other: &str) -> String {
    jwt(format!(r#"{{"oid":"{one}","tid":"{TENANT}","appid":"{APP}","oid":"{other}"}}"#))
}

/// The configuration sets the token's user (`user_oid`).
#[test]
fn claims_that_cannot_be_compared_are_not_equal() {
    let none = json!({});
    let opaque = "EwBopaque".to_owned();
    check(vec![
        ("all as it should be", access(&none), id(&none), RIGHT),
        ("no ID token", access(&none), Value::Null, RIGHT),
        ("an opaque access token", opaque.clone(), id(&none), RIGHT),
        ("an access token of another tenant", access(&json!({"tid": ANOTHER})), Value::Null, WRONG),
        ("an ID token of another tenant", access(&none), id(&json!({"tid": ANOTHER})), WRONG),
        ("an ID token of another tenant alone", opaque.clone(), id(&json!({"tid": ANOTHER})), WRONG),
        ("an ID token for another app", access(&none), id(&json!({"aud": ANOTHER})), WRONG),
        ("an ID token of another user", access(&none), id(&json!({"oid": ANOTHER})), WRONG),
        ("an access token of another tenant beside it", access(&json!({"tid": ANOTHER})), id(&none), WRONG),
        ("an access token for another app beside it", access(&json!({"appid": ANOTHER})), id(&none), WRONG),
        ("an access token of another user beside it", access(&json!({"oid": ANOTHER})), id(&none), WRONG),
        ("azp in place of appid", access(&json!({"appid": null, "azp": APP})), Value::Null, RIGHT),
        ("azp and appid, equal", access(&json!({"azp": APP})), Value::Null, RIGHT),
        ("azp and appid of another tenant", access(&json!({"azp": APP, "tid": ANOTHER})), Value::Null, WRONG),
        ("azp and appid of another user", access(&json!({"azp": APP, "oid": ANOTHER})), Value::Null, WRONG),
        ("azp is another app", access(&json!({"azp": ANOTHER})), Value::Null, WRONG),
        (
            "appid is another app beside azp",
            access(&json!({"azp": APP, "appid": ANOTHER})),
            Value::Null,
            WRONG,
        ),
        ("scp is a number", access(&json!({"scp": 7})), Value::Null, RIGHT),
        (
            "scp is a number, of another tenant",
            access(&json!({"scp": 7, "tid": ANOTHER})),
            Value::Null,
            WRONG,
        ),
        ("scp is a list, for another app", access(&json!({"scp": [], "appid": ANOTHER})), Value::Null, WRONG),
        (
            "amr is a text, of another user",
            access(&json!({"amr": "mfa", "oid": ANOTHER})),
            Value::Null,
            WRONG,
        ),
        ("amr is a list of numbers", access(&json!({"amr": [1]})), Value::Null, RIGHT),
        (
            "amr is a list of numbers, another user",
            access(&json!({"amr": [1], "oid": ANOTHER})),
            Value::Null,
            WRONG,
        ),
        ("tid is a number", access(&json!({"tid": 7})), Value::Null, WRONG),
        ("tid is a list that holds the right one", access(&json!({"tid": [TENANT]})), Value::Null, WRONG),
        ("tid is a number where the ID token is right", access(&json!({"tid": 7})), id(&none), RIGHT),
        ("tid is a number in the ID token alone", opaque.clone(), id(&json!({"tid": 7})), WRONG),
        ("appid is true", access(&json!({"appid": true})), Value::Null, WRONG),
        ("oid is an object", access(&json!({"oid": {"id": USER}})), Value::Null, WRONG),
        ("oid is empty", access(&json!({"oid": ""})), Value::Null, WRONG),
        ("aud is a list of one", opaque.clone(), id(&json!({"aud": [APP]})), RIGHT),
        ("aud is a list of others", opaque.clone(), id(&json!({"aud": [ANOTHER]})), WRONG),
        ("aud is a number", opaque.clone(), id(&json!({"aud": 7})), WRONG),
        (
            "the resource's aud is not the app's",
            access(&json!({"aud": "https://api.example"})),
            Value::Null,
            RIGHT,
        ),
        ("capitals", access(&json!({"tid": TENANT.to_uppercase()})), id(&none), RIGHT),
        ("twice, the last one right", twice(ANOTHER, USER), Value::Null, RIGHT),
        ("twice, the last one another", twice(USER, ANOTHER), Value::Null, WRONG),
    ]);
}

/// In each row, Perennial can compare all, some or none of the tenant, the app and the user.
#[test]
fn a_fact_in_neither_token_is_unverified() {
    let none = json!({});
    let opaque = "EwBopaque".to_owned();
    check(vec![
        ("nested deep", jwt(deep()), Value::Null, NOTHING),
        ("nested deep beside an ID token", jwt(deep()), id(&none), RIGHT),
        ("nothing that can be read", opaque.clone(), Value::Null, NOTHING),
        ("an ID token that is a number", opaque.clone(), json!(7), NOTHING),
        ("an ID token that is no JWT", opaque.clone(), json!("opaque"), NOTHING),
        ("an ID token that is not base64", opaque.clone(), json!("h.!!!!.s"), NOTHING),
        ("an ID token that is not JSON", opaque.clone(), json!(jwt("{")), NOTHING),
        ("an ID token that is a list", opaque.clone(), json!(jwt("[]")), NOTHING),
        ("an ID token that is a number beside an access token", access(&none), json!(7), RIGHT),
        ("an access token that is not base64", "h.!!!!.s".to_owned(), Value::Null, NOTHING),
        ("no claim that is looked at", jwt(r#"{"sub":"x"}"#), Value::Null, NOTHING),
        ("an ID token without a profile", opaque.clone(), id(&json!({"oid": null})), "user"),
        ("no tenant anywhere", access(&json!({"tid": null})), id(&json!({"tid": null})), "tenant"),
        ("no app anywhere", access(&json!({"appid": null})), id(&json!({"aud": null})), "app"),
        (
            "an ID token as another issuer has it",
            opaque,
            json!(jwt(json!({"aud": APP}).to_string())),
            "tenant and user",
        ),
    ]);
}

/// A row's name, the access token, the ID token, and the expected result.
type Row = (&'static str, String, Value, &'static str);

fn check(table: Vec<Row>) {
    let mut wrong = Vec::new();
    for (name, access_token, id_token, means) in table {
        let redeemed = answered(&access_token, &id_token);
        let found = match answer::check(&pinned(), APP, &redeemed) {
            Ok(whose) if whose.unverified.is_any() => whose.unverified.to_string(),
            Ok(whose) => {
                assert_eq!(whose.user_oid.as_deref(), Some(USER), "{name}");
                RIGHT.to_owned()
            }
            Err(failure) if failure.kind == Kind::WrongIdentity => WRONG.to_owned(),
            Err(failure) => panic!("{name}: {failure:?}"),
        };
        if found != means {
            wrong.push(format!("{name}: {found}, not {means}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// If `user_oid` is not set and the tenant is given as a domain, only the app is compared with the configuration.
#[test]
fn an_unconfigured_fact_is_compared_only_between_the_tokens() {
    let open = ManagedToken { tenant_id: "contoso.onmicrosoft.com".into(), user_oid: None, ..pinned() };
    let whose = |access_token: &str, id_token: &Value| {
        let whose = answer::check(&open, APP, &answered(access_token, id_token)).expect("for this app");
        (whose.user_oid, whose.unverified.to_string())
    };
    let user = |oid: &str| Some(oid.to_owned());
    let none = json!({});

    assert_eq!(whose(&access(&none), &Value::Null), (user(USER), String::new()));
    assert_eq!(whose("opaque", &id(&json!({"oid": null}))), (None, String::new()));
    assert_eq!(whose(&access(&json!({"oid": [USER]})), &id(&none)), (user(USER), String::new()));
    assert_eq!(whose(&access(&json!({"oid": "jo@contoso.com"})), &Value::Null), (None, String::new()));
    assert_eq!(whose(&access(&json!({"oid": ANOTHER})), &id(&none)), (None, "user".to_owned()));
    assert_eq!(whose(&access(&json!({"tid": ANOTHER})), &id(&none)), (user(USER), "tenant".to_owned()));
}

/// Returns the condition that reports an unverified identity, and the token's state.
fn told(rotator: &AzureRotator, state: &State) -> (Option<Condition>, TokenState) {
    let now = rotator.clock.now();
    let snapshot =
        Snapshot::of(&rotator.grant, Periods::of(&rotator.timing), state, Some(&Next::Wait(now)), now);
    let standing = snapshot.standing(now);
    let all = conditions(&[snapshot], TimeDelta::zero(), now);
    (all.into_iter().find(|condition| condition.kind == Kind::IdentityUnverified), standing)
}

/// The calls use HTTPS and the shipped adapters. No token may be lost, and no missing value may count as the right
/// value. The condition about the unverified identity must stay open until an answer names the identity.
#[tokio::test]
async fn a_token_without_identity_is_kept_alive_and_reported() {
    let lab = lab::Lab::start().await;
    let partner = lab.sandbox.add_partner("one", TimeDelta::days(2));
    let grant = ManagedToken { user_oid: Some(partner.user_oid.clone()), ..lab::grant("one", &partner) };
    let mut rotator = lab.rotator(&grant);
    let newest = || lab.world().newest_version(&partner.refresh_token).expect("stored");
    let user = || newest().tags.get(tag::USER_OID).map(str::to_owned);
    let now = lab.clock.now();

    let state = Box::pin(rotator.prove(State::unknown(now), true)).await.state;
    let state = lab::settle(&mut rotator, state).await;
    assert_eq!(told(&rotator, &state), (None, TokenState::Current));
    assert_eq!(user().as_ref(), Some(&partner.user_oid));
    let first = newest();

    let bent = Fault::of(Peer::Entra, FaultEffect::Distort(Distortion::NoIdentity)).on(Operation::Redeem);
    lab.world().inject(bent);
    let state = Box::pin(rotator.prove(state, true)).await.state;
    let state = lab::settle(&mut rotator, state).await;
    let (condition, standing) = told(&rotator, &state);
    let condition = condition.expect("it is told");
    assert_eq!((condition.severity, standing), (Severity::Warning, TokenState::Current));
    assert!(condition.summary.contains("tenant and app and user"), "{}", condition.summary);
    assert!(condition.action.contains("perennial verify one"), "{}", condition.action);
    assert_ne!(newest().id, first.id, "it is rotated");
    assert_eq!(user().as_ref(), Some(&partner.user_oid), "whose the chain is stays noted");
    let since = condition.since;

    lab.clock.observe(lab.clock.now() + TimeDelta::hours(7));
    let state = Box::pin(rotator.prove(state, false)).await.state;
    let (condition, _) = told(&rotator, &state);
    assert_eq!(condition.map(|condition| condition.since), Some(since), "one incident");

    lab.world().clear_faults(None);
    let state = Box::pin(rotator.prove(state, false)).await.state;
    assert_eq!(told(&rotator, &state).0, None);
}
