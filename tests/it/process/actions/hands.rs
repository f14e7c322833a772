//! Simulates a person who follows an action literally. The person types the action's commands and opens the pages that
//! the action names.
//!
//! This module defines how each Azure CLI command and each instruction changes the world. Ids, names and dates come
//! only from the action. If the person cannot follow the action, the test fails.

use std::fmt::Write as _;

use chrono::TimeDelta;
use perennial::sandbox::world::{
    Action, CertificatePolicy, GraphRole, PartnerCenterRules, Peer, Rules, UpdateRequest,
};
use perennial::token::secret::SecretAddress;
use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::super::Stage;
use super::super::login::page_of;
use super::words::{Flags, between, clauses, midnight, time, words};

/// Parts of an action that the person can skip.
const REMARKS: [&str; 13] = [
    "find out who made the secret: Entra admin center, Audit logs",
    "Perennial uses the older version until Entra accepts the newest version",
    "until then, other programs that read the newest version fail",
    "a new certificate can take 15 minutes to take effect",
    "the command replaces this identity's earlier permissions",
    "Perennial uses the new token ",
    "keep this process running until the new token is saved",
    "Perennial keeps the stored token until then",
    "the user must have MFA registered",
    "compare tenant_id, client_id and user_oid of one with the tenant, app and user of the token in ",
    "compare tenant_id of one (",
    "details: Entra admin center, Sign-in logs, ",
    "this can take ten minutes to take effect)",
];

/// The program's object id in Key Vault's answers.
const PROGRAM: &str = "00000000-0000-0000-0000-000000000009";

pub(super) type Told<T> = Result<T, String>;

pub(super) struct Person<'a> {
    pub(super) stage: &'a Stage,
    /// The first words of each alternative that the person follows, if the action has alternatives.
    pub(super) applies: &'a [&'a str],
    /// The output of the last command.
    printed: String,
    /// Whether the person has changed a file that a running process does not read at once.
    pub(super) must_restart: bool,
}

impl<'a> Person<'a> {
    pub(super) fn new(stage: &'a Stage, applies: &'a [&'a str]) -> Self {
        Self { stage, applies, printed: String::new(), must_restart: false }
    }

    pub(super) async fn follow(&mut self, action: &str) -> Told<()> {
        for (at, clause) in clauses(action).into_iter().enumerate() {
            let is_alternative =
                at > 0 && ["where ", "or ", "if "].iter().any(|word| clause.starts_with(word));
            if is_alternative && !self.applies.iter().any(|applies| clause.starts_with(applies)) {
                continue;
            }
            let mut followed = self.by_hand(&clause, action)?;
            for command in clause.split('`').skip(1).step_by(2) {
                self.types(command).await?;
                followed = true;
            }
            if let Some(path) = clause.strip_prefix("store it in the file ") {
                std::fs::write(path, &self.printed).map_err(|error| format!("{path}: {error}"))?;
                // A restart is needed, because a running process caches the credential for Key Vault for a minute.
                (self.must_restart, followed) = (true, true);
            }
            if !followed && !REMARKS.iter().any(|remark| clause.contains(remark)) {
                return Err(format!("{clause:?} cannot be followed"));
            }
        }
        Ok(())
    }

    /// Carries out a step in a portal or in a file. Returns false if the clause does not ask for such a step.
    fn by_hand(&mut self, clause: &str, action: &str) -> Told<bool> {
        let Stage { sandbox, partner, .. } = self.stage;
        let (world, app, tenant) = (self.stage.world(), &*partner.client_id, &*partner.tenant_id);
        let consent = format!(
            "have an administrator give consent for the app: {}/{tenant}/adminconsent?client_id={app}",
            sandbox.origin
        );
        let assign = format!("Enterprise applications, {app}, Users and groups, tenant {tenant}");
        let grant = |rights: &str, at: &SecretAddress| {
            let (vault, name) = (at.vault_name(), at.name.as_str());
            format!(
                "give this identity the role {rights:?} on secret {name}: Azure portal, Key vaults, {vault}, Secrets, {name}, Access control (IAM)"
            )
        };
        let vault = partner.refresh_token.vault_name();
        let policy = format!(
            "the secret permissions get, list and set by an access policy: Azure portal, Key vaults, {vault}, Access policies"
        );
        let says = |text: &str| clause.contains(text);
        if says("with a second factor") || says("register MFA for the user and require it") {
            world.set_user_mfa(&partner.user_oid, true);
        } else if says("change the conditional access policy that the log names") && says(tenant) {
            world.set_rules(tenant, Rules::default());
        } else if says(&consent)
            || (says("assign the user to the app") && says(&assign))
            || (says("remove the block") && says(tenant))
            || (says("dismiss or remediate it: Entra admin center, Risky users") && says(tenant))
            || says(&format!("grant consent to offline_access for app {app}"))
        {
            world.clear_faults(Some(Peer::Entra));
        } else if says(&grant("Key Vault Secrets User", &partner.app_secret)) || says(&policy) {
            world.clear_faults(Some(Peer::KeyVault));
        } else if says(&format!("enable the user's account: Entra admin center, Users, tenant {tenant}")) {
            world.disable_user(&partner.user_oid, false);
        } else if says("restore the app (Entra admin center, App registrations, Deleted applications)")
            && action.contains(&format!("tenant_id of one ({tenant})"))
        {
            world.consent(tenant, app);
        } else if says(&format!("restore write access to {}", partner.refresh_token)) {
            world.change_vault(&sandbox.origin, |vault| vault.allowed.extend([Action::SetSecret]));
        } else if says("give the user of one the Partner Center role Admin agent") && says(tenant) {
            world.set_partner_center(PartnerCenterRules::default());
        } else if says("set client_secret_expires of [vault] to the new expiry date") {
            let text = std::fs::read_to_string(&self.stage.config).expect("written");
            let end =
                (world.now() + TimeDelta::days(365)).format("client_secret_expires = %Y-%m-%d").to_string();
            let changed =
                text.lines().map(|line| if line.starts_with("client_secret_expires") { &end } else { line });
            std::fs::write(&self.stage.config, changed.collect::<Vec<_>>().join("\n")).expect("our own file");
            self.must_restart = true;
        } else if says("correct the scope of one (") {
            let scope =
                between(clause, "belong to one resource, such as ", " ").ok_or("no scope is named")?;
            let text = std::fs::read_to_string(&self.stage.config).expect("written");
            let wrong = between(clause, "scope of one (", ")").ok_or("no scope is named")?;
            std::fs::write(&self.stage.config, text.replace(wrong, scope)).expect("our own file");
            self.must_restart = true;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    async fn types(&mut self, line: &str) -> Told<()> {
        if !line.starts_with("perennial ") {
            self.printed = self.shell(line)?;
            return Ok(());
        }
        let words = words(line)?;
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["perennial", "login", "one", ref args @ ..] => self.signs_in(args).await,
            ["perennial", "rotate", "one"] => {
                let ended = self.stage.run_to_end(&["rotate", "one"]).await;
                let told = || format!("rotate: {}{}", ended.stdout, ended.stderr);
                if ended.code == Some(0) { Ok(()) } else { Err(told()) }
            }
            _ => Err(format!("{line:?} is not known")),
        }
    }

    /// Signs in as the token's user, or as another member of the tenant if that user no longer exists.
    async fn signs_in(&self, args: &[&str]) -> Told<()> {
        let users = self.stage.world().users();
        let ours = |user: &&perennial::sandbox::world::User| {
            user.tenant == self.stage.partner.tenant_id && !user.deleted
        };
        let is_partner = |user: &&perennial::sandbox::world::User| user.oid == self.stage.partner.user_oid;
        let user = users.iter().filter(ours).max_by_key(is_partner).ok_or("there is nobody to sign in")?;
        let login = self.stage.login(args);
        let browser = self.stage.browser();
        let back = browser.sign_in(&page_of(&login).await, &user.oid).await;
        browser.go_back(back).await;
        let ended = login.ended("signed in").await;
        if ended.code == Some(0) { Ok(()) } else { Err(format!("login: {}{}", ended.stdout, ended.stderr)) }
    }

    /// Runs a command line and returns its output.
    fn shell(&self, line: &str) -> Told<String> {
        // The second command reads the output of the first command, if the first command succeeds.
        if let Some((first, second)) = line.split_once(") && printf %s \"$s\" | ") {
            let first = first.strip_prefix("s=$(").ok_or("what is s?")?;
            return self.command(&words(second)?, self.shell(first)?.trim_end_matches('\n'));
        }
        if let Some((value, rest)) = line.strip_prefix("p=").and_then(|line| line.split_once(" && ")) {
            let value = self.shell(
                value.strip_prefix("$(").and_then(|inner| inner.strip_suffix(')')).ok_or("what is p?")?,
            )?;
            let mut printed = String::new();
            for command in rest.replace("$p", value.trim_end()).split(" && ") {
                printed = self.shell(command)?;
            }
            return Ok(printed);
        }
        let mut line = line.to_owned();
        while let Some(begin) = line.find("$(") {
            let mut depth = 0;
            let end = line[begin..].char_indices().find_map(|(at, letter)| {
                depth += i32::from(letter == '(') - i32::from(letter == ')');
                (letter == ')' && depth == 0).then_some(begin + at)
            });
            let end = end.ok_or("a parenthesis is open")?;
            let inner = self.shell(&line[begin + 2..end])?;
            line.replace_range(begin..=end, inner.trim_end());
        }
        let mut text = String::new();
        for command in line.split(" | ") {
            text = self.command(&words(command)?, &text)?;
        }
        Ok(text)
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each command")]
    fn command(&self, words: &[String], typed: &str) -> Told<String> {
        let Stage { partner, .. } = self.stage;
        let world = self.stage.world();
        let mut flags = Flags::of(words);
        let command = words.iter().take_while(|word| !word.starts_with("--"));
        let command = command.map(String::as_str).collect::<Vec<_>>().join(" ");
        let mut printed = String::new();
        match &*command {
            "cut -c1-19" => printed.extend(typed.chars().take(19)),
            "az ad app credential reset" => {
                let app = self.app(&mut flags)?;
                flags.expect(&[("append", "")])?;
                if let Ok(name) = flags.take("cert") {
                    return self.registers(&app, &name, flags);
                }
                flags.expect(&[("display-name", "perennial"), ("query", "password"), ("output", "tsv")])?;
                let now = world.now();
                let expires = match flags.take("end-date") {
                    Ok(day) => midnight(&day)?,
                    Err(_) => now + TimeDelta::days(365 * flags.take("years")?.parse::<i64>().unwrap_or(0)),
                };
                if expires <= now || expires > now + TimeDelta::days(731) {
                    return Err(format!("a secret until {expires}"));
                }
                let value = format!("new~{}", world.fresh_id().simple());
                world.add_app_secret(&app, &value, Some(expires));
                writeln!(printed, "{value}").expect("a string takes it");
            }
            "az ad app credential list" => {
                let app = self.app(&mut flags)?;
                flags.expect(&[("query", "max([].endDateTime)"), ("output", "tsv")])?;
                let apps = world.apps();
                let secrets = apps.iter().filter(|known| known.client_id == app).flat_map(|app| &app.secrets);
                let end = secrets.filter_map(|secret| secret.expires).max().ok_or("no secret ends")?;
                writeln!(printed, "{}", end.format("%Y-%m-%dT%H:%M:%S.1234567Z")).expect("a string takes it");
            }
            "az keyvault secret set" => {
                let at = self.secret(&mut flags)?;
                flags.expect(&[("file", "/dev/stdin"), ("output", "none")])?;
                let expires = flags.take("expires").ok().map(|at| time(&at)).transpose()?;
                // Without a pipe, the person pastes the value of the app's secret.
                let apps = world.apps();
                let app = apps.iter().find(|app| app.client_id == partner.client_id).expect("ours");
                let known = app.secrets[0].value.expose_secret();
                world.store_app_secret(&at, if typed.is_empty() { known } else { typed }, expires);
            }
            "az keyvault secret set-attributes" => {
                let at = self.secret(&mut flags)?;
                let expires = flags.take("expires").ok().map(|at| time(&at)).transpose()?;
                let enabled = flags.take("enabled").ok().map(|on| on == "true");
                let change = UpdateRequest { enabled, expires, ..UpdateRequest::default() };
                world.update_secret("person", &at, None, change).map_err(|error| format!("{error:?}"))?;
            }
            "az keyvault certificate show" | "az keyvault certificate create" => {
                return self.certificate(flags);
            }
            "az keyvault secret recover" => world.human_recovers(&self.secret(&mut flags)?),
            "az keyvault show" => {
                self.vault(&mut flags, "name")?;
                flags.expect(&[("query", "id"), ("output", "tsv")])?;
                printed.push_str("/vaults/ours\n");
            }
            "az keyvault network-rule add" => {
                let vault = self.vault(&mut flags, "name")?;
                let address = flags.take("ip-address")?;
                world.change_vault(&vault, |vault| {
                    vault.firewall_refuses.take_if(|refused| *refused == address);
                });
            }
            "az keyvault set-policy" => {
                self.vault(&mut flags, "name")?;
                flags.expect(&[("object-id", PROGRAM), ("secret-permissions", "get list set")])?;
                world.clear_faults(Some(Peer::KeyVault));
            }
            "az role assignment create" if flags.is("role", "Perennial Key Signer") => {
                return self.lets_sign(flags);
            }
            "az role assignment create" => {
                let scope = format!("/vaults/ours/secrets/{}", partner.refresh_token.name.as_str());
                let role = [("role", "Perennial Secret Rotator"), ("assignee", PROGRAM), ("scope", &scope)];
                flags.expect(&role)?;
                let rights = [Action::GetSecret, Action::ReadMetadata, Action::SetSecret, Action::Update];
                world.change_vault(&self.stage.sandbox.origin, |vault| vault.allowed.extend(rights));
            }
            "az ad user update" => {
                let user = flags.take("id")?;
                flags.expect(&[("account-enabled", "true")])?;
                world.user(&user).ok_or("there is no such user")?;
                world.disable_user(&user, false);
            }
            "az ad sp update" => {
                let app = self.app(&mut flags)?;
                flags.expect(&[("set", "accountEnabled=true")])?;
                world.disable_app(&app, false);
            }
            "az ad sp create" => {
                self.app(&mut flags)?;
                world.clear_faults(Some(Peer::Entra));
            }
            "az ad sp show" => {
                flags.expect(&[("query", "id"), ("output", "tsv")])?;
                printed = flags.take("id")?;
            }
            "az ad app owner add" => {
                let app = self.app(&mut flags)?;
                world.add_app_owner(&app, &flags.take("owner-object-id")?);
            }
            "az rest" => self.assigns_a_role(&mut flags)?,
            "az ad app credential delete" => {
                let app = self.app(&mut flags)?;
                let key_id = flags.take("key-id")?;
                world
                    .change_app(&app, |app| app.secrets.retain(|secret| secret.key_id.to_string() != key_id));
            }
            "az ad app show" => printed = self.app(&mut flags)?,
            other => return Err(format!("{other:?} is not known")),
        }
        flags.nothing_left().map(|()| printed)
    }

    fn registers(&self, app: &str, name: &str, mut flags: Flags) -> Told<String> {
        self.vault(&mut flags, "keyvault")?;
        let found = self.stage.world().get_certificate("person", &self.stage.in_vault(name), None);
        let found = found.map_err(|error| format!("{error:?}"))?;
        self.stage.world().add_certificate(app, &found.certificate.der).ok_or("not a certificate")?;
        flags.nothing_left().map(|()| String::new())
    }

    /// Runs a command that shows a certificate's policy or creates a version with that policy.
    fn certificate(&self, mut flags: Flags) -> Told<String> {
        self.vault(&mut flags, "vault-name")?;
        let name = flags.take("name")?;
        if let Ok(policy) = flags.take("policy") {
            self.stage.makes_a_certificate(&name, CertificatePolicy::default());
            return if policy == "a-policy" {
                Ok(String::new())
            } else {
                Err(format!("the policy {policy}"))
            };
        }
        flags.expect(&[("query", "policy")])?;
        Ok("a-policy".to_owned())
    }

    fn lets_sign(&self, mut flags: Flags) -> Told<String> {
        flags.take("role")?;
        flags.expect(&[("assignee", PROGRAM), ("scope", "/vaults/ours")])?;
        let rights = [Action::ReadCertificate, Action::SignWithKey];
        self.stage.world().change_vault(&self.stage.sandbox.origin, |vault| vault.allowed.extend(rights));
        flags.nothing_left().map(|()| String::new())
    }

    /// Returns the client id of the app that a command names.
    fn app(&self, flags: &mut Flags) -> Told<String> {
        let named = flags.take("id")?;
        let apps = self.stage.world().apps();
        let known = apps.iter().any(|app| app.client_id == named);
        if known { Ok(named) } else { Err(format!("there is no app {named}")) }
    }

    /// Assigns the app role `Application.ReadWrite.OwnedBy` of Microsoft Graph. Here, `az ad sp show` prints the client
    /// id that it gets, so `body` and `url` contain client ids.
    fn assigns_a_role(&self, flags: &mut Flags) -> Told<()> {
        flags.expect(&[("method", "post")])?;
        let body: Value = serde_json::from_str(&flags.take("body")?).map_err(|error| error.to_string())?;
        let principal = body["principalId"].as_str().ok_or("no principal")?;
        let url =
            format!("{}/v1.0/servicePrincipals/{principal}/appRoleAssignments", self.stage.sandbox.origin);
        flags.expect(&[("url", &url)])?;
        let wanted = ["00000003-0000-0000-c000-000000000000", "18a4783c-866b-4cc7-a460-3d5e5662c884"];
        if [&body["resourceId"], &body["appRoleId"]] != wanted {
            return Err(format!("another role: {body}"));
        }
        self.stage.world().set_graph_roles(principal, &[GraphRole::ReadWriteOwned]);
        Ok(())
    }

    fn vault(&self, flags: &mut Flags, flag: &str) -> Told<String> {
        let named = flags.take(flag)?;
        let at = &self.stage.partner.refresh_token;
        if named == at.vault_name() { Ok(at.vault.to_string()) } else { Err(format!("no vault {named}")) }
    }

    fn secret(&self, flags: &mut Flags) -> Told<SecretAddress> {
        self.vault(flags, "vault-name")?;
        let named = flags.take("name")?;
        let ours = [&self.stage.partner.refresh_token, &self.stage.partner.app_secret];
        let secret = ours.into_iter().find(|at| at.name.as_str() == named);
        secret.cloned().ok_or_else(|| format!("there is no secret {named}"))
    }
}
