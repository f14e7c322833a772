//! Tests of Key Vault's rules.

use super::*;

#[tokio::test(start_paused = true)]
async fn versions_start_blank_and_are_listed_in_no_order() {
    let scene = Scene::new();
    let (vault, at) = (scene.world.as_actor("one"), &scene.partner.refresh_token);
    let tags = Tags::from([("env", "prod")]);
    scene.world.human_writes(at, "0.AXtagged", tags);
    for n in 0..30 {
        scene.world.human_writes(at, &format!("0.AX{n}"), Tags::new());
    }
    let since = scene.world.now();

    let newest = vault.newest(at, Uuid::nil()).await.expect("readable");
    let listed = vault.versions(at, Uuid::nil()).await.expect("listed");

    assert_eq!(newest.value.expose_secret(), "0.AX29");
    assert!(newest.version.tags.is_empty() && newest.version.enabled);
    assert_eq!(newest.version.created.timestamp_subsec_millis(), 0);
    assert_eq!(listed.len(), 32);
    assert_ne!(listed.last().map(|version| &version.id), Some(&newest.version.id));
    assert_eq!(scene.world.count_calls(Peer::KeyVault, Some(Operation::List), since), 2, "25 a page");
}

#[tokio::test(start_paused = true)]
async fn a_disabled_version_cannot_be_read_and_can_be_switched_on_again() {
    let scene = Scene::new();
    let (vault, at) = (scene.world.as_actor("one"), &scene.partner.refresh_token);
    let version = scene.world.newest_version(at).expect("a version").id;
    let off = SecretUpdate { enabled: Some(false), tags: None };
    vault.update(at, &version, &off, Uuid::nil()).await.expect("updated");

    assert_eq!(vault.newest(at, Uuid::nil()).await.err(), Some(VaultError::Disabled));
    assert_eq!(vault.read(at, &version, Uuid::nil()).await.err(), Some(VaultError::Disabled));

    scene.world.switch_version(at, None, true);
    assert!(vault.newest(at, Uuid::nil()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_deleted_name_cannot_be_written_until_it_is_recovered_or_purged() {
    let scene = Scene::new();
    let (vault, at) = (scene.world.as_actor("one"), &scene.partner.refresh_token);
    let new = scene.new_version("0.AXnew");
    scene.world.human_deletes(at);

    assert_eq!(vault.newest(at, Uuid::nil()).await.err(), Some(VaultError::NotFound));
    assert_eq!(vault.write(at, &new, Uuid::nil()).await.err(), Some(VaultError::Deleted));
    scene.world.human_recovers(at);
    assert!(vault.newest(at, Uuid::nil()).await.is_ok());

    scene.world.human_deletes(at);
    scene.world.human_purges(at);
    assert!(vault.write(at, &new, Uuid::nil()).await.is_ok());
    assert_eq!(vault.versions(at, Uuid::nil()).await.expect("listed").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_in_progress_is_a_transition() {
    let scene = Scene::new();
    let at = &scene.partner.refresh_token;
    scene.world.change_vault(VAULT, |vault| vault.transition = TimeDelta::seconds(20));
    scene.world.delete_secret("human", at).expect("deleted");
    let vault = scene.world.as_actor("one");

    let busy = vault.write(at, &scene.new_version("x"), Uuid::nil()).await;

    assert_eq!(busy, Err(VaultError::InTransition));
    assert!(scene.world.recover_secret("human", at).is_err());
    scene.world.advance(TimeDelta::seconds(20));
    scene.world.recover_secret("human", at).expect("recovered");
    assert_eq!(vault.newest(at, Uuid::nil()).await.err(), Some(VaultError::InTransition));
    scene.world.advance(TimeDelta::seconds(20));
    assert!(vault.newest(at, Uuid::nil()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn missing_roles_and_the_firewall_are_named() {
    let scene = Scene::new();
    let (vault, at) = (scene.world.as_actor("one"), &scene.partner.refresh_token);
    scene.world.change_vault(VAULT, |vault| {
        vault.allowed.remove(&Action::SetSecret);
    });

    let refused = vault.write(at, &scene.new_version("x"), Uuid::nil()).await;

    let action = Some("Microsoft.KeyVault/vaults/secrets/setSecret/action".to_owned());
    assert_eq!(refused, Err(VaultError::Forbidden(Forbidden::Rbac { action, caller: None })));
    scene.world.change_vault(VAULT, |vault| vault.firewall_refuses = Some("203.0.113.9".into()));
    let address = Some("203.0.113.9".to_owned());
    let refused = vault.newest(at, Uuid::nil()).await.err();
    assert_eq!(refused, Some(VaultError::Forbidden(Forbidden::Firewall { address })));
    scene.world.remove_vault(VAULT);
    let gone = vault.newest(at, Uuid::nil()).await.err();
    assert_eq!(gone, Some(VaultError::Unreachable(NoResponse::NameUnknown)));
}

#[tokio::test(start_paused = true)]
async fn limits_on_values_and_tags_match_key_vault() {
    let scene = Scene::new();
    let (vault, at) = (scene.world.as_actor("one"), &scene.partner.refresh_token);
    let many: Tags = (0..16).map(|n| (format!("t{n}"), String::new())).collect();

    let large = vault.write(at, &scene.new_version(&"x".repeat(25 * 1024 + 1)), Uuid::nil()).await;
    let tagged = vault.write(at, &NewVersion { tags: many, ..scene.new_version("x") }, Uuid::nil()).await;

    let bad = VaultError::Rejected { status: 400, code: "BadParameter".into(), is_about_name: false };
    assert_eq!(large, Err(bad.clone()));
    assert_eq!(tagged, Err(bad));
}

#[tokio::test(start_paused = true)]
async fn every_write_has_a_writer() {
    let scene = Scene::new();
    let at = &scene.partner.refresh_token;
    let before = scene.world.writes().len();
    let first = scene.world.human_writes(at, "pasted", Tags::new()).expect("written");
    let by_one = scene.world.as_actor("one").write(at, &scene.new_version("x"), Uuid::nil()).await;

    let writes = scene.world.writes_from(before);

    assert_eq!(writes.iter().map(|write| write.writer.as_str()).collect::<Vec<_>>(), [HUMAN, "one"]);
    assert_eq!(writes[0].version, first);
    assert_eq!(scene.world.writer_of(&by_one.expect("written").id).as_deref(), Some("one"));
    assert_eq!(scene.world.writer_of(&VersionId("none".into())), None);
}
