import com.azure.core.exception.HttpResponseException;
import com.azure.core.util.polling.SyncPoller;
import com.azure.identity.ClientSecretCredentialBuilder;
import com.azure.security.keyvault.secrets.SecretClient;
import com.azure.security.keyvault.secrets.SecretClientBuilder;
import com.azure.security.keyvault.secrets.models.DeletedSecret;
import com.azure.security.keyvault.secrets.models.KeyVaultSecret;
import com.azure.security.keyvault.secrets.models.SecretProperties;
import java.time.Duration;
import java.time.OffsetDateTime;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.stream.Collectors;

/** Runs each operation of Microsoft's Java client on secrets once. VAULT_URL names the vault, AZURE_* the client. */
public final class Operations {
    private static final String NAME = "from-java";
    private static final OffsetDateTime EXPIRES = OffsetDateTime.parse("2031-06-07T08:09:10Z");

    private final SecretClient vault = connect();
    // The two versions that the program writes, and the backup of both.
    private String first;
    private String second;
    private byte[] backup;

    public static void main(String[] arguments) {
        Operations all = new Operations();
        Map<String, Runnable> operations = new LinkedHashMap<>();
        operations.put("set", all::set);
        operations.put("get", all::get);
        operations.put("get a version", all::getVersion);
        operations.put("update properties", all::update);
        operations.put("list properties", all::list);
        operations.put("list versions", all::listVersions);
        operations.put("back up", () -> all.backup = all.vault.backupSecret(NAME));
        operations.put("delete", all::delete);
        operations.put("get deleted", all::getDeleted);
        operations.put("list deleted", all::listDeleted);
        operations.put("recover", all::recover);
        operations.put("purge", all::purge);
        operations.put("restore", all::restore);
        int passed = 0;
        for (Map.Entry<String, Runnable> operation : operations.entrySet()) {
            try {
                operation.getValue().run();
                passed++;
            } catch (RuntimeException error) {
                System.out.println(operation.getKey() + ": " + error);
            }
        }
        System.out.println(passed + " of " + operations.size() + " operations");
        System.exit(passed == operations.size() ? 0 : 1);
    }

    private static SecretClient connect() {
        return new SecretClientBuilder()
            .vaultUrl(System.getenv("VAULT_URL"))
            .credential(new ClientSecretCredentialBuilder()
                .authorityHost(System.getenv("AZURE_AUTHORITY_HOST"))
                .tenantId(System.getenv("AZURE_TENANT_ID"))
                .clientId(System.getenv("AZURE_CLIENT_ID"))
                .clientSecret(System.getenv("AZURE_CLIENT_SECRET"))
                .disableInstanceDiscovery()
                .build())
            // The sandbox's host name is not below Key Vault's domain.
            .disableChallengeResourceVerification()
            .buildClient();
    }

    private void set() {
        first = write("one");
        second = write("two");
    }

    private String write(String value) {
        SecretProperties properties = new SecretProperties()
            .setContentType("text/plain")
            .setTags(Map.of("of", value))
            .setExpiresOn(EXPIRES);
        return vault.setSecret(new KeyVaultSecret(NAME, value).setProperties(properties)).getProperties().getVersion();
    }

    private void get() {
        KeyVaultSecret secret = vault.getSecret(NAME);
        equal(secret.getValue(), "two");
        equal(secret.getProperties().getContentType(), "text/plain");
        equal(secret.getProperties().getExpiresOn(), EXPIRES);
    }

    private void getVersion() {
        KeyVaultSecret secret = vault.getSecret(NAME, first);
        equal(secret.getValue(), "one");
        equal(secret.getProperties().getTags(), Map.of("of", "one"));
    }

    private void update() {
        vault.updateSecretProperties(vault.getSecret(NAME, first).getProperties().setContentType("text/html"));
        SecretProperties properties = vault.getSecret(NAME, first).getProperties();
        equal(properties.getContentType(), "text/html");
        equal(properties.getExpiresOn(), EXPIRES);
    }

    private void list() {
        List<String> found = vault.listPropertiesOfSecrets().stream().map(SecretProperties::getName).toList();
        equal(found.stream().filter(NAME::equals).count(), 1L);
    }

    private void listVersions() {
        Set<String> found = vault.listPropertiesOfSecretVersions(NAME).stream()
            .map(SecretProperties::getVersion)
            .collect(Collectors.toSet());
        equal(found, Set.of(first, second));
    }

    private void delete() {
        DeletedSecret deleted = done(vault.beginDeleteSecret(NAME));
        equal(Duration.between(deleted.getDeletedOn(), deleted.getScheduledPurgeDate()), Duration.ofDays(90));
        refused(() -> vault.getSecret(NAME), 404, "SecretNotFound");
    }

    private void getDeleted() {
        DeletedSecret deleted = vault.getDeletedSecret(NAME);
        equal(deleted.getProperties().getVersion(), second);
        equal(deleted.getRecoveryId(), System.getenv("VAULT_URL") + "/deletedsecrets/" + NAME);
    }

    private void listDeleted() {
        List<String> found = vault.listDeletedSecrets().stream().map(KeyVaultSecret::getName).toList();
        equal(found.stream().filter(NAME::equals).count(), 1L);
    }

    private void recover() {
        done(vault.beginRecoverDeletedSecret(NAME));
        equal(vault.getSecret(NAME).getValue(), "two");
    }

    private void purge() {
        refused(() -> vault.restoreSecretBackup(backup), 409, "Conflict");
        done(vault.beginDeleteSecret(NAME));
        vault.purgeDeletedSecret(NAME);
        refused(() -> vault.getDeletedSecret(NAME), 404, "SecretNotFound");
    }

    private void restore() {
        equal(vault.restoreSecretBackup(backup).getProperties().getVersion(), second);
        listVersions();
        equal(vault.getSecret(NAME).getValue(), "two");
    }

    private static <T> T done(SyncPoller<T, Void> poller) {
        return poller.setPollInterval(Duration.ofMillis(50)).waitForCompletion().getValue();
    }

    private static void equal(Object got, Object wanted) {
        if (!Objects.equals(got, wanted)) {
            throw new IllegalStateException("got " + got + ", not " + wanted);
        }
    }

    private static void refused(Runnable call, int status, String code) {
        try {
            call.run();
        } catch (HttpResponseException error) {
            equal(error.getResponse().getStatusCode(), status);
            equal(String.valueOf(error.getValue()).contains(code) || error.getMessage().contains(code), true);
            return;
        }
        throw new IllegalStateException("not refused with " + status + " " + code);
    }
}
