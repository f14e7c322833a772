//! Tests of Microsoft Graph's rules for client secrets, and of how new secrets reach Entra's front ends.

use super::credentials::code_of;
use super::*;
use crate::ports::directory::{Caller, Directory as _, DirectoryError};

const GRAPH: &str = "https://graph.microsoft.com";

impl Scene {
    fn app(&self) -> &str {
        &self.partner.client_id
    }

    fn object_id(&self) -> Uuid {
        let apps = self.world.apps();
        apps.iter().find(|app| app.client_id == self.app()).expect("the app").object_id
    }

    /// Issues a token of a managed identity in the partner's tenant. The identity has the given roles.
    fn identity(&self, name: &str, roles: &[GraphRole]) -> String {
        let principal = self.world.add_managed_identity(&self.partner.tenant_id, name);
        self.world.set_graph_roles(&principal, roles);
        self.token_of(name, GRAPH)
    }

    fn token_of(&self, name: &str, resource: &str) -> String {
        let answer = self.world.managed_identity_token("host", Some(name), resource).expect("a token");
        answer.access_token.expose().to_owned()
    }

    fn add(&self, token: &str, request: &PasswordRequest) -> Result<AppSecret, GraphRefusal> {
        refused(self.world.add_secret("one", token, self.object_id(), request))
    }

    fn remove(&self, token: &str, key_id: Uuid) -> Result<(), GraphRefusal> {
        refused(self.world.remove_secret("one", token, self.object_id(), key_id))
    }

    fn list(&self, token: &str) -> Result<Vec<Uuid>, GraphRefusal> {
        let app = refused(self.world.registration("one", token, self.app()));
        app.map(|app| app.secrets.iter().map(|secret| secret.key_id).collect())
    }

    fn sign_in_code(&self, secret: &str) -> Option<u32> {
        code_of(&self.world.identity_token(
            "one",
            &IdentityRequest {
                tenant: &self.partner.tenant_id,
                client_id: self.app(),
                proof: AppProof::Secret(secret),
                scope: "https://graph.microsoft.com/.default",
                correlation_id: None,
            },
        ))
    }

    /// Returns how many of 64 sign-ins with this secret are accepted.
    fn accepted(&self, secret: &str) -> usize {
        (0..64).filter(|_| self.sign_in_code(secret).is_none()).count()
    }
}

fn refused<T>(answer: Result<T, Trouble<GraphRefusal>>) -> Result<T, GraphRefusal> {
    answer.map_err(|trouble| match trouble {
        Trouble::Refused(refusal) => refusal,
        Trouble::Fault(what) => panic!("{what:?}"),
    })
}

fn code<T>(answer: Result<T, GraphRefusal>) -> Option<(u16, &'static str)> {
    answer.err().map(|refusal| (refusal.status, refusal.code))
}

const DENIED: Option<(u16, &str)> = Some((403, "Authorization_RequestDenied"));
const ABSENT: Option<(u16, &str)> = Some((404, "Request_ResourceNotFound"));
const NO_TOKEN: Option<(u16, &str)> = Some((401, "InvalidAuthenticationToken"));

#[tokio::test(start_paused = true)]
async fn each_role_allows_its_own_calls() {
    let scene = Scene::new();
    let (read, all) = (GraphRole::Read, GraphRole::ReadWrite);
    let owned = GraphRole::ReadWriteOwned;
    let usual = PasswordRequest::default();
    for (name, roles, owns, listed, changed) in [
        ("none", &[][..], false, DENIED, DENIED),
        ("owner-without-role", &[], true, DENIED, DENIED),
        ("reader", &[read], true, None, DENIED),
        ("stranger", &[owned], false, None, DENIED),
        ("owner", &[owned], true, None, None),
        ("writer", &[all], false, None, None),
    ] {
        let token = scene.identity(name, roles);
        if owns {
            scene.world.add_app_owner(scene.app(), name);
        }

        assert_eq!(code(scene.list(&token)), listed, "{name}");
        let added = scene.add(&token, &usual);
        assert_eq!(code(added.clone()), changed, "{name}");
        let key_id = added.map_or_else(|_| scene.world.app_secrets(scene.app())[0].key_id, |new| new.key_id);
        assert_eq!(code(scene.remove(&token, key_id)), changed, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_owner_can_be_named_by_its_client_id_or_its_principal_id() {
    let scene = Scene::new();
    let principal = scene.world.add_managed_identity(&scene.partner.tenant_id, "Identity");
    scene.world.set_graph_roles("IDENTITY", &[GraphRole::ReadWriteOwned]);
    let token = scene.token_of("identity", GRAPH);

    assert_eq!(code(scene.add(&token, &PasswordRequest::default())), DENIED);
    scene.world.add_app_owner(scene.app(), &principal.to_uppercase());
    assert_eq!(code(scene.add(&token, &PasswordRequest::default())), None);
}

#[tokio::test(start_paused = true)]
async fn a_token_must_be_valid_and_for_graph() {
    let scene = Scene::new();
    let good = scene.identity("one", &[GraphRole::ReadWrite]);
    let for_vault = scene.token_of("one", "https://vault.azure.net");

    assert_eq!(code(scene.list("")), NO_TOKEN);
    assert_eq!(code(scene.list("unknown")), NO_TOKEN);
    assert_eq!(code(scene.list(&for_vault)), NO_TOKEN);
    assert_eq!(code(scene.list(&good)), None);
    scene.world.advance(TimeDelta::hours(24));
    assert_eq!(code(scene.list(&good)), NO_TOKEN);
}

#[tokio::test(start_paused = true)]
async fn a_users_token_carries_no_app_role() {
    let scene = Scene::new();
    scene.world.set_graph_roles(scene.app(), &[GraphRole::ReadWrite]);
    let (stored, secret) = (scene.token(), scene.app_secret());
    let request = RedeemRequest {
        tenant: &scene.partner.tenant_id,
        client_id: scene.app(),
        proof: AppProof::Secret(secret.expose_secret()),
        scope: "https://graph.microsoft.com/.default",
        token: stored.expose(),
        correlation_id: None,
    };
    let answer = scene.world.redeem("one", &request).expect("a token");

    assert_eq!(code(scene.list(answer.access_token.expose())), DENIED);
}

#[tokio::test(start_paused = true)]
async fn only_the_home_tenant_has_the_registration() {
    let scene = Scene::new();
    let (world, app) = (&scene.world, scene.app());
    world.add_customer(&scene.partner.tenant_id, "customer", "fabrikam.example", &[app]);
    world.add_managed_identity("customer", "elsewhere");
    world.set_graph_roles("elsewhere", &[GraphRole::ReadWrite]);
    let elsewhere = scene.token_of("elsewhere", GRAPH);
    let here = scene.identity("here", &[GraphRole::ReadWrite]);

    assert_eq!(code(scene.list(&elsewhere)), ABSENT);
    assert_eq!(code(scene.add(&elsewhere, &PasswordRequest::default())), ABSENT);
    assert_eq!(code(refused(world.registration("one", &here, "unknown"))), ABSENT);
    let unknown = world.remove_secret("one", &here, Uuid::nil(), Uuid::nil());
    assert_eq!(code(refused(unknown)), ABSENT);
}

#[tokio::test(start_paused = true)]
async fn a_new_secret_looks_like_entras() {
    let scene = Scene::new();
    let token = scene.identity("one", &[GraphRole::ReadWrite]);
    let now = scene.world.now();
    let asked = PasswordRequest { name: Some("rotator".to_owned()), ..PasswordRequest::default() };

    let new = scene.add(&token, &asked).expect("a secret");

    let value = new.value.expose_secret();
    assert_eq!((value.len(), &value[3..6], new.hint()), (40, "8Q~", value[..3].to_owned()));
    assert_eq!((new.starts, new.expires), (now, now.checked_add_months(chrono::Months::new(24))));
    assert_eq!((new.name.as_deref(), &*new.added_by), (Some("rotator"), "one"));
    assert_eq!(scene.sign_in_code(value), None);
    let known: Vec<_> = scene.world.app_secrets(scene.app());
    assert_eq!((known.len(), known[1].key_id, &*known[0].added_by), (2, new.key_id, HUMAN));
    assert_ne!(known[0].key_id, known[1].key_id);
    assert!(scene.world.secret_texts().iter().any(|text| text.expose_secret() == value));
    assert_eq!(scene.world.count_calls(Peer::Graph, None, now), 1);
}

#[tokio::test(start_paused = true)]
async fn a_policy_forbids_secrets_or_limits_their_lifetime() {
    let scene = Scene::new();
    let (world, token) = (&scene.world, scene.identity("one", &[GraphRole::ReadWrite]));
    let ends = |days| {
        let ends = Some(scene.world.now() + TimeDelta::days(days));
        scene.add(&token, &PasswordRequest { ends, ..PasswordRequest::default() })
    };
    let longest_secret = Some(TimeDelta::days(90));
    world.set_credential_policy(
        scene.app(),
        CredentialPolicy { longest_secret, ..CredentialPolicy::default() },
    );
    let too_long = Some((400, "CredentialInvalidLifetimeAsPerAppPolicy"));
    assert_eq!(code(ends(91)), too_long);
    assert_eq!(code(scene.add(&token, &PasswordRequest::default())), too_long, "two years by default");
    assert_eq!(ends(90).expect("a secret").expires, Some(world.now() + TimeDelta::days(90)));
    assert_eq!(code(ends(0)), Some((400, "Request_BadRequest")));

    world.set_credential_policy(
        scene.app(),
        CredentialPolicy { longest_secret, forbids_secrets: true, ..CredentialPolicy::default() },
    );
    assert_eq!(code(ends(1)), Some((400, "CredentialTypeNotAllowedAsPerAppPolicy")));
    assert_eq!(scene.sign_in_code(scene.app_secret().expose_secret()), None, "old secrets still work");
}

#[tokio::test(start_paused = true)]
async fn front_ends_accept_a_removed_secret_for_some_time() {
    let scene = Scene::new();
    let (world, token) = (&scene.world, scene.identity("one", &[GraphRole::ReadWrite]));
    let old = scene.app_secret();
    let key_id = world.app_secrets(scene.app())[0].key_id;
    world.set_propagation(TimeDelta::minutes(4));
    let new = scene.add(&token, &PasswordRequest::default()).expect("a secret");
    world.advance(TimeDelta::minutes(5));

    scene.remove(&token, key_id).expect("removed");

    assert_eq!(scene.list(&token).expect("a list"), [new.key_id]);
    assert!(!world.app_secrets(scene.app())[0].is_listed());
    assert_eq!(code(scene.remove(&token, key_id)), Some((400, "Request_BadRequest")), "only once");
    let mut counts = Vec::new();
    for _ in 0..5 {
        counts.push(scene.accepted(old.expose_secret()));
        assert_eq!(scene.accepted(new.value.expose_secret()), 64);
        world.advance(TimeDelta::minutes(1));
    }
    assert_eq!((counts[0], counts[4]), (64, 0), "{counts:?}");
    assert!(counts.iter().any(|count| (1..64).contains(count)), "{counts:?}");
    assert_eq!(scene.sign_in_code(old.expose_secret()), Some(7_000_215));
}

#[tokio::test(start_paused = true)]
async fn no_front_end_accepts_a_removed_secret_that_has_expired() {
    let scene = Scene::new();
    let (world, token) = (&scene.world, scene.identity("one", &[GraphRole::ReadWrite]));
    let key_id = world.app_secrets(scene.app())[0].key_id;
    world.set_propagation(TimeDelta::minutes(4));
    scene.remove(&token, key_id).expect("removed");

    world.expire_app_secret(scene.app());

    assert_eq!(scene.accepted(scene.app_secret().expose_secret()), 0);
    assert_eq!(scene.sign_in_code(scene.app_secret().expose_secret()), Some(7_000_222));
}

#[tokio::test(start_paused = true)]
async fn without_propagation_a_removal_takes_effect_at_once() {
    let scene = Scene::new();
    let token = scene.identity("one", &[GraphRole::ReadWrite]);
    let new = scene.add(&token, &PasswordRequest::default()).expect("a secret");

    scene.remove(&token, new.key_id).expect("removed");

    assert_eq!(scene.sign_in_code(new.value.expose_secret()), Some(7_000_215));
}

#[tokio::test(start_paused = true)]
async fn a_flapping_front_end_forgets_only_new_secrets_and_only_for_a_time() {
    let scene = Scene::new();
    let (world, token) = (&scene.world, scene.identity("one", &[GraphRole::ReadWrite]));
    let old = scene.app_secret();
    world.set_flapping(0.2, TimeDelta::minutes(30));
    let new = scene.add(&token, &PasswordRequest::default()).expect("a secret");
    world.advance(TimeDelta::minutes(29));

    let accepted = scene.accepted(new.value.expose_secret());

    assert!((32..64).contains(&accepted), "{accepted}");
    assert_eq!(scene.accepted(old.expose_secret()), 64);
    world.advance(TimeDelta::minutes(2));
    assert_eq!(scene.accepted(new.value.expose_secret()), 64);
}

#[tokio::test(start_paused = true)]
async fn the_port_lists_adds_and_removes() {
    let scene = Scene::new();
    let (world, actor) = (&scene.world, scene.world.as_actor("one"));
    world.set_graph_identity(&scene.partner.tenant_id, "vault-identity");
    world.set_graph_roles("vault-identity", &[GraphRole::ReadWriteOwned]);
    world.add_app_owner(scene.app(), "vault-identity");
    let ends = world.now() + TimeDelta::days(90);
    let by = Caller::VaultIdentity;
    let key_id = world.add_named_secret(scene.app(), Some("by hand"), "abcdef", Some(ends)).expect("an app");

    let before = actor.registration(&by, scene.app(), Uuid::nil()).await.expect("a list");
    let new = actor.add_secret(&by, before.object_id, "rotator", ends, Uuid::nil()).await.expect("a secret");
    actor.remove_secret(&by, before.object_id, key_id, Uuid::nil()).await.expect("removed");
    actor.remove_secret(&by, before.object_id, key_id, Uuid::nil()).await.expect("already gone");
    let after = actor.registration(&by, scene.app(), Uuid::nil()).await.expect("a list");

    assert_eq!(before.secrets[1].key_id, key_id);
    assert_eq!(before.secrets[1].name.as_deref(), Some("by hand"));
    assert_eq!(before.secrets[1].hint.as_deref(), Some("abc"));
    let listed: Vec<_> = after.secrets.iter().map(|secret| (secret.key_id, secret.ends)).collect();
    assert_eq!(listed, [(before.secrets[0].key_id, None), (new.key_id, Some(ends))]);
    assert_eq!((after.object_id, new.ends), (before.object_id, ends));
    assert_eq!(scene.sign_in_code(new.value.expose_secret()), None);
}

#[tokio::test(start_paused = true)]
async fn an_app_calls_graph_with_its_own_credential() {
    let scene = Scene::new();
    let (world, actor) = (&scene.world, scene.world.as_actor("one"));
    let (good, bad) = (ClientProof::Secret(scene.app_secret()), ClientProof::Secret("wrong".into()));
    let by = |proof| Caller::App { tenant: &scene.partner.tenant_id, client_id: scene.app(), proof };
    let list = async |proof| actor.registration(&by(proof), scene.app(), Uuid::nil()).await;
    let denied = DirectoryError::Refused { status: 403, code: "Authorization_RequestDenied".to_owned() };

    assert_eq!(list(&good).await, Err(denied.clone()));
    world.set_graph_roles(scene.app(), &[GraphRole::ReadWriteOwned]);
    let object_id = list(&good).await.expect("a list").object_id;
    let ends = world.now() + TimeDelta::days(90);
    let add = async || actor.add_secret(&by(&good), object_id, "x", ends, Uuid::nil()).await.map(|_| ());
    assert_eq!(add().await, Err(denied), "not its own owner");
    world.add_app_owner(scene.app(), scene.app());
    assert_eq!(add().await, Ok(()));
    let Err(DirectoryError::NoToken(failure)) = list(&bad).await else { panic!("no token") };
    assert_eq!(failure.kind, crate::ports::failure::Kind::AppCredentialRefused);
    assert_eq!(world.app_secrets(scene.app())[1].added_by, "one");
}

#[tokio::test(start_paused = true)]
async fn faults_become_the_ports_errors() {
    let scene = Scene::new();
    let (world, actor) = (&scene.world, scene.world.as_actor("one"));
    let wait = Some(Duration::from_secs(30));
    let coded = |status| FaultEffect::Coded {
        status,
        code: "TooManyRequests".to_owned(),
        inner: None,
        retry_after: wait,
    };
    let list = async || actor.registration(&Caller::VaultIdentity, scene.app(), Uuid::nil()).await.err();
    for (what, expected) in [
        (FaultEffect::Transport(NoResponse::Cut), DirectoryError::Unreachable(NoResponse::Cut)),
        (coded(429), DirectoryError::Unavailable { status: 429, retry_after: wait }),
        (coded(400), DirectoryError::Refused { status: 400, code: "TooManyRequests".to_owned() }),
        (
            FaultEffect::Status { status: 503, retry_after: wait },
            DirectoryError::Unavailable { status: 503, retry_after: wait },
        ),
        (FaultEffect::Garbage, DirectoryError::NotUnderstood("not an answer of Microsoft Graph")),
    ] {
        world.inject(Fault::of(Peer::Graph, what).about(scene.app()).times(1));
        assert_eq!(list().await, Some(expected));
    }
    let cut = FaultEffect::Transport(NoResponse::Cut);
    world.inject(Fault::of(Peer::Entra, cut).on(Operation::Identity).times(1));
    assert!(matches!(list().await, Some(DirectoryError::NoToken(_))));
    // By default, the vault's identity has no Graph role.
    let denied = DirectoryError::Refused { status: 403, code: "Authorization_RequestDenied".to_owned() };
    assert_eq!(list().await, Some(denied));
}

#[tokio::test(start_paused = true)]
async fn a_secret_exists_although_its_answer_was_lost() {
    let scene = Scene::new();
    let (world, actor) = (&scene.world, scene.world.as_actor("one"));
    world.set_graph_identity(&scene.partner.tenant_id, "vault-identity");
    world.set_graph_roles("vault-identity", &[GraphRole::ReadWrite]);
    let cut = FaultEffect::Transport(NoResponse::Cut);
    world.inject(Fault::of(Peer::Graph, cut).on(Operation::AddPassword).after_effect().times(1));
    let (by, ends) = (Caller::VaultIdentity, world.now() + TimeDelta::days(90));

    let lost = actor.add_secret(&by, scene.object_id(), "rotator", ends, Uuid::nil()).await;

    assert_eq!(lost.err(), Some(DirectoryError::Unreachable(NoResponse::Cut)));
    let listed = actor.registration(&by, scene.app(), Uuid::nil()).await.expect("a list").secrets;
    assert_eq!(listed[1].name.as_deref(), Some("rotator"));
    assert_eq!(world.calls_since(ends - TimeDelta::days(91)).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_to_graph_yields_once_and_then_takes_effect() {
    let scene = Scene::new();
    let actor = scene.world.as_actor("one");
    let proof = ClientProof::Secret(scene.app_secret());
    let by = Caller::App { tenant: &scene.partner.tenant_id, client_id: scene.app(), proof: &proof };
    let mut call = pin!(actor.registration(&by, scene.app(), Uuid::nil()));
    let mut context = Context::from_waker(Waker::noop());
    let since = scene.world.now();

    assert!(call.as_mut().poll(&mut context).is_pending());
    assert!(scene.world.calls_since(since).is_empty());
    assert!(matches!(call.as_mut().poll(&mut context), Poll::Ready(Err(_))));
    let peers: Vec<_> = scene.world.calls_since(since).iter().map(|call| call.peer).collect();
    assert_eq!(peers, [Peer::Entra, Peer::Graph]);
}
