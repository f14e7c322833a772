#!/usr/bin/env bash
# Deploys Perennial on Azure Container Apps with the Azure CLI. It creates the same resources as main.bicep. You can run it
# again to change the deployment. The script does not change a vault that exists already. Such a vault must use roles. Needs
# az (signed in), jq and bash, as in Azure's Cloud Shell, and the right to assign roles. Needs az 2.91 or later: from 27
# February 2027, Key Vault rejects requests of older versions (docs/azure-facts.md F221).
#
# Tested: shellcheck, and every command and option with the Azure CLI's own parser (tests/acceptance/azure.sh). The script
# has not been run against Azure.
set -euo pipefail
here=$(dirname "$0")

usage="Reads from the environment:
  RESOURCE_GROUP   created if missing
  LOCATION         westeurope, for example
  VAULT            the key vault, created if missing
  IMAGE            the image of Perennial, from a public registry
  CONFIGURATION    path to perennial.toml; [vault] is set here and may be left out
  ALERT_EMAIL      the mail address for the alarm that a secret expires soon
and optionally:
  NAME             the name of the resources (perennial)
  SECRETS          the vault secrets to look after (partner-refresh-token)
  READ_SECRETS     those that are only read: app secrets, and app ids in the vault (partner-app-secret)
  ALERT_URL        the address of an alert sink, for { file = \"/etc/perennial/alert-url\" }"

for variable in RESOURCE_GROUP LOCATION VAULT IMAGE CONFIGURATION ALERT_EMAIL; do
    if [ -z "${!variable:-}" ]; then
        printf '%s is missing.\n\n%s\n' "$variable" "$usage" >&2
        exit 2
    fi
done
name=${NAME:-perennial}
read -ra secrets <<< "${SECRETS:-partner-refresh-token}"
read -ra read_secrets <<< "${READ_SECRETS:-partner-app-secret}"

# New resources are not visible everywhere at once.
patiently() {
    for _ in $(seq 18); do
        "$@" && return
        sleep 10
    done
    echo "failed after three minutes: $*" >&2
    exit 1
}
on=(--resource-group "$RESOURCE_GROUP")

group=$(az group create --name "$RESOURCE_GROUP" --location "$LOCATION" --query id --output tsv)

echo "The identity"
made=$(az identity create --name "$name" "${on[@]}" --location "$LOCATION" --output tsv \
    --query '[id, clientId, principalId]')
{ read -r identity && read -r client && read -r principal; } <<< "$made"

echo "The vault, with roles in place of access policies; deleted secrets cannot be purged for 90 days"
told=(--output tsv --query '[id, properties.vaultUri, location, properties.enableRbacAuthorization]')
if ! made=$(az keyvault show --name "$VAULT" "${told[@]}" 2> /dev/null); then
    made=$(az keyvault create --name "$VAULT" "${on[@]}" --location "$LOCATION" --enable-rbac-authorization true \
        --enable-purge-protection true --retention-days 90 --public-network-access Enabled "${told[@]}")
fi
{ read -r vault_id && read -r vault_uri && read -r vault_location && read -r by_roles; } <<< "$made"
if [ "${by_roles,,}" != true ]; then
    echo "$VAULT uses access policies, so a role has no effect in this vault" >&2
    exit 1
fi

echo "The role, in this resource group and in the resource group of the vault"
role="$(jq --raw-output .Name "$here/role.json") ($RESOURCE_GROUP)"
definition=$(jq --arg name "$role" --arg group "$group" --arg vault "${vault_id%/providers/*}" \
    '.Name = $name | .AssignableScopes = ([$group, $vault] | unique_by(ascii_downcase))' \
    "$here/role.json")
verb=create
if [ -n "$(az role definition list --name "$role" --scope "$group" --custom-role-only --query '[].id' --output tsv)" ]; then
    verb=update
fi
az role definition "$verb" --role-definition "$definition" --output none
give() {
    local role=$1 scope=$vault_id/secrets/$2 given
    given=$(az role assignment list --scope "$scope" --fill-principal-name false --output tsv \
        --query "[?principalId=='$principal' && roleDefinitionName=='$role'].id")
    if [ -z "$given" ]; then
        patiently az role assignment create --role "$role" --assignee-object-id "$principal" \
            --assignee-principal-type ServicePrincipal --scope "$scope" --output none
    fi
}
for secret in "${secrets[@]}"; do
    give "$role" "$secret"
done
for secret in "${read_secrets[@]}"; do
    give "Key Vault Secrets User" "$secret"
done

echo "The audit log"
workspace=$(az monitor log-analytics workspace create --workspace-name "$name" "${on[@]}" --location "$LOCATION" \
    --retention-time 90 --query id --output tsv)
az monitor diagnostic-settings create --name audit --resource "$vault_id" --workspace "$workspace" \
    --export-to-resource-specific true --logs '[{"category": "AuditEvent", "enabled": true}]' --output none

echo "The alarm that works even if Perennial has stopped: a mail before a secret expires"
people=$(az monitor action-group create --name "$name" "${on[@]}" --short-name perennial \
    --action email owner "$ALERT_EMAIL" usecommonalertschema --query id --output tsv)
az eventgrid system-topic create --name "$name-vault" "${on[@]}" --location "$vault_location" \
    --source "$vault_id" --topic-type Microsoft.KeyVault.vaults --output none
# The CLI's command for event subscriptions does not support alerts as a destination, but the service does.
az rest --method put --output none \
    --url "$group/providers/Microsoft.EventGrid/systemTopics/$name-vault/eventSubscriptions/near-expiry?api-version=2025-02-15" \
    --body "$(jq --null-input --arg people "$people" '{properties: {
        eventDeliverySchema: "CloudEventSchemaV1_0",
        filter: {includedEventTypes: ["Microsoft.KeyVault.SecretNearExpiry", "Microsoft.KeyVault.SecretExpired"]},
        destination: {endpointType: "MonitorAlert", properties: {
            severity: "Sev1",
            description: "A refresh token that Perennial should have rotated, or an app secret, expires soon.",
            actionGroups: [$people]}}}}')"

echo "Perennial"
environment=$(az containerapp env create --name "$name" "${on[@]}" --location "$LOCATION" \
    --logs-destination azure-monitor --query id --output tsv)
az monitor diagnostic-settings create --name logs --resource "$environment" --workspace "$workspace" \
    --export-to-resource-specific true --output none \
    --logs '[{"category": "ContainerAppConsoleLogs", "enabled": true}, {"category": "ContainerAppSystemLogs", "enabled": true}]'

# One request creates the app, since the CLI's command for apps supports neither probes nor files. Secrets go through pipes
# and the environment, never through arguments.
export ALERT_URL=${ALERT_URL:-}
# If only a secret changes, no new revision starts. So the template contains a hash of the secrets' content.
hash=$(printf '%s\0%s' "$(cat "$CONFIGURATION")" "$ALERT_URL" | sha256sum | cut -c 1-13)
wanted=$(jq --null-input --rawfile text "$CONFIGURATION" --arg location "$LOCATION" --arg image "$IMAGE" --arg identity "$identity" \
    --arg client "$client" --arg name "$name" --arg vault_uri "$vault_uri" --arg environment "$environment" --arg hash "$hash" '{
    location: $location,
    identity: {type: "UserAssigned", userAssignedIdentities: {($identity): {}}},
    properties: {
        environmentId: $environment,
        configuration: {
            activeRevisionsMode: "Single",
            secrets: [
                {name: "configuration", value: ($text | rtrimstr("\n"))},
                (env.ALERT_URL | select(. != "") | {name: "alert-url", value: .})]},
        template: {
            terminationGracePeriodSeconds: 40,
            containers: [{
                name: "perennial",
                image: $image,
                resources: {cpu: 0.25, memory: "0.5Gi"},
                env: [
                    {name: "PERENNIAL__VAULT__URL", value: $vault_uri},
                    {name: "PERENNIAL__VAULT__CREDENTIAL", value: "managed_identity"},
                    {name: "PERENNIAL__VAULT__CLIENT_ID", value: $client},
                    {name: "PERENNIAL__HTTP__LISTEN", value: "0.0.0.0:9464"},
                    {name: "PERENNIAL__ALERTS__INSTANCE", value: $name},
                    {name: "CONFIGURATION_HASH", value: $hash}],
                probes: [
                    {type: "Liveness", httpGet: {path: "/livez", port: 9464},
                     periodSeconds: 30, timeoutSeconds: 5, failureThreshold: 4},
                    {type: "Readiness", httpGet: {path: "/readyz", port: 9464},
                     periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 30}],
                volumeMounts: [{volumeName: "files", mountPath: "/etc/perennial"}]}],
            volumes: [{
                name: "files",
                storageType: "Secret",
                secrets: [
                    {secretRef: "configuration", path: "perennial.toml"},
                    (env.ALERT_URL | select(. != "") | {secretRef: "alert-url", path: "alert-url"})]}],
            scale: {minReplicas: 1, maxReplicas: 1}}}}')
printf %s "$wanted" | az rest --method put --output none --body @- \
    --url "$group/providers/Microsoft.App/containerApps/$name?api-version=2024-03-01"
az resource wait --created --ids "$group/providers/Microsoft.App/containerApps/$name"

echo "Done. A role can take ten minutes to take effect; docs/deploy-azure.md has the next steps."
