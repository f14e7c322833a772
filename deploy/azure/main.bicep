// Deploys Perennial on Azure Container Apps: an identity, a vault, a role on Perennial's secrets only, the vault's audit
// log, and an expiry alarm that also works if Perennial has stopped. deploy.sh does the same with the Azure CLI.
// docs/deploy-azure.md shows the whole deployment.
//
// Tested: this file parses, and every name in it is declared (tests/acceptance/azure.sh, with a third-party parser). Not
// tested: this file was not compiled and not deployed, since neither the Bicep compiler nor Azure was available. Run `az
// bicep build` and `az deployment group what-if` before you rely on it.
targetScope = 'resourceGroup'

@description('The name of most resources. Other resources get names that begin with this name.')
@minLength(3)
@maxLength(20)
param name string = 'perennial'

@description('The location of the resources.')
param location string = resourceGroup().location

@description('The vault to create; its name must be globally unique.')
@minLength(3)
@maxLength(24)
param vaultName string

@description('The vault secrets that Perennial may read and write: the secret of each refresh token.')
param secrets array = [
  'partner-refresh-token'
]

@description('The vault secrets that Perennial may only read: each app secret, and each app id that is kept in the vault.')
param readSecrets array = [
  'partner-app-secret'
]

@description('The image, by tag or digest, from a public registry.')
param image string

@description('The text of perennial.toml. This deployment sets the keys of [vault], so you may leave this section out.')
@secure()
param configuration string

@description('The address of an alert sink, for { file = "/etc/perennial/alert-url" }. Empty if you do not use this file.')
@secure()
param alertUrl string = ''

@description('The mail address that gets an alarm before a secret expires.')
param alertEmail string

var group = resourceGroup()
var rotator = loadJsonContent('role.json')
var values = concat(
  [{ name: 'configuration', value: configuration }],
  empty(alertUrl) ? [] : [{ name: 'alert-url', value: alertUrl }]
)
var files = concat(
  [{ secretRef: 'configuration', path: 'perennial.toml' }],
  empty(alertUrl) ? [] : [{ secretRef: 'alert-url', path: 'alert-url' }]
)

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: name
  location: location
}

resource vault 'Microsoft.KeyVault/vaults@2026-02-01' = {
  name: vaultName
  location: location
  properties: {
    tenantId: subscription().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    // This cannot be undone: a deleted vault or secret cannot be purged before its 90 days are over.
    enablePurgeProtection: true
    // Container Apps without a virtual network have no fixed address for a firewall rule.
    publicNetworkAccess: 'Enabled'
  }
}

// A role's name must be unique in the tenant, so it contains the name of the resource group.
resource role 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(group.id, rotator.Name)
  properties: {
    roleName: '${rotator.Name} (${group.name})'
    description: rotator.Description
    permissions: [
      {
        actions: rotator.Actions
        notActions: rotator.NotActions
        dataActions: rotator.DataActions
        notDataActions: rotator.NotDataActions
      }
    ]
    assignableScopes: [
      group.id
    ]
  }
}

// The role assignment names the secret. The secret does not have to exist yet.
resource secret 'Microsoft.KeyVault/vaults/secrets@2026-02-01' existing = [for secretName in secrets: {
  parent: vault
  name: secretName
}]

resource mayRotate 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (secretName, place) in secrets: {
  name: guid(vault.id, secretName, identity.id, role.id)
  scope: secret[place]
  properties: {
    roleDefinitionId: role.id
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
  }
}]

resource readSecret 'Microsoft.KeyVault/vaults/secrets@2026-02-01' existing = [for secretName in readSecrets: {
  parent: vault
  name: secretName
}]

// Key Vault Secrets User, a built-in role of Azure.
resource mayRead 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (secretName, place) in readSecrets: {
  name: guid(vault.id, secretName, identity.id, 'read')
  scope: readSecret[place]
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4633458b-17de-408a-b874-0445c86b69e6')
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
  }
}]

resource workspace 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: name
  location: location
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: 90
  }
}

// The table AZKVAuditLogs shows who read and wrote which secret. audit.kql queries this table.
resource audit 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'audit'
  scope: vault
  properties: {
    workspaceId: workspace.id
    logAnalyticsDestinationType: 'Dedicated'
    logs: [
      {
        category: 'AuditEvent'
        enabled: true
      }
    ]
  }
}

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: name
  location: 'Global'
  properties: {
    groupShortName: 'perennial'
    enabled: true
    emailReceivers: [
      {
        name: 'owner'
        emailAddress: alertEmail
        useCommonAlertSchema: true
      }
    ]
  }
}

resource events 'Microsoft.EventGrid/systemTopics@2025-02-15' = {
  name: '${name}-vault'
  location: location
  properties: {
    source: vault.id
    topicType: 'Microsoft.KeyVault.vaults'
  }
}

// Key Vault sends this event 30 days before a secret expires, even if Perennial does not run. A token that Perennial rotates
// never gets so old. The event exists only for versions that are written after this subscription (docs/azure-facts.md F219).
resource nearExpiry 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = {
  parent: events
  name: 'near-expiry'
  properties: {
    eventDeliverySchema: 'CloudEventSchemaV1_0'
    filter: {
      includedEventTypes: [
        'Microsoft.KeyVault.SecretNearExpiry'
        'Microsoft.KeyVault.SecretExpired'
      ]
    }
    destination: {
      endpointType: 'MonitorAlert'
      properties: {
        severity: 'Sev1'
        description: 'A refresh token that Perennial should have rotated, or an app secret, expires soon.'
        actionGroups: [
          people.id
        ]
      }
    }
  }
}

resource environment 'Microsoft.App/managedEnvironments@2024-03-01' = {
  name: name
  location: location
  properties: {
    appLogsConfiguration: {
      destination: 'azure-monitor'
    }
    workloadProfiles: [
      {
        name: 'Consumption'
        workloadProfileType: 'Consumption'
      }
    ]
  }
}

resource logs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'logs'
  scope: environment
  properties: {
    workspaceId: workspace.id
    logAnalyticsDestinationType: 'Dedicated'
    logs: [
      {
        category: 'ContainerAppConsoleLogs'
        enabled: true
      }
      {
        category: 'ContainerAppSystemLogs'
        enabled: true
      }
    ]
  }
}

resource app 'Microsoft.App/containerApps@2024-03-01' = {
  name: name
  location: location
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identity.id}': {}
    }
  }
  properties: {
    environmentId: environment.id
    configuration: {
      // No ingress: no client outside the environment can reach the app.
      activeRevisionsMode: 'Single'
      secrets: values
    }
    template: {
      // When it stops, Perennial tries for 25 seconds to save a new token that is not in the vault yet.
      terminationGracePeriodSeconds: 40
      containers: [
        {
          name: 'perennial'
          image: image
          resources: {
            cpu: json('0.25')
            memory: '0.5Gi'
          }
          env: [
            {
              name: 'PERENNIAL__VAULT__URL'
              value: vault.properties.vaultUri
            }
            {
              name: 'PERENNIAL__VAULT__CREDENTIAL'
              value: 'managed_identity'
            }
            {
              name: 'PERENNIAL__VAULT__CLIENT_ID'
              value: identity.properties.clientId
            }
            {
              name: 'PERENNIAL__HTTP__LISTEN'
              value: '0.0.0.0:9464'
            }
            // The name of this deployment in alerts. The host name of a replica changes.
            {
              name: 'PERENNIAL__ALERTS__INSTANCE'
              value: name
            }
            // If only a secret changes, no new revision starts. So the template contains a hash of the secrets' content.
            {
              name: 'CONFIGURATION_HASH'
              value: uniqueString(configuration, alertUrl)
            }
          ]
          // If a token is dead, Perennial sends an alert. The probes still succeed, since a restart cannot fix the token.
          probes: [
            {
              type: 'Liveness'
              httpGet: {
                path: '/livez'
                port: 9464
              }
              periodSeconds: 30
              timeoutSeconds: 5
              failureThreshold: 4
            }
            {
              type: 'Readiness'
              httpGet: {
                path: '/readyz'
                port: 9464
              }
              periodSeconds: 10
              timeoutSeconds: 5
              failureThreshold: 30
            }
          ]
          volumeMounts: [
            {
              volumeName: 'files'
              mountPath: '/etc/perennial'
            }
          ]
        }
      ]
      volumes: [
        {
          name: 'files'
          storageType: 'Secret'
          secrets: files
        }
      ]
      // One replica: a second replica would redeem and save the same tokens. While a new revision replaces the old one, two
      // replicas run for a moment. That does no harm.
      scale: {
        minReplicas: 1
        maxReplicas: 1
      }
    }
  }
}

output vaultUri string = vault.properties.vaultUri
output identityObjectId string = identity.properties.principalId
