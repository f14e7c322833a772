// Runs each operation of Microsoft's Go client on secrets once. VAULT_URL names the vault, and AZURE_* the client identity.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

const name = "from-go"

var (
	ctx     = context.Background()
	expires = time.Date(2031, 6, 7, 8, 9, 10, 0, time.UTC)
	vault   *azsecrets.Client
	// The two versions that the program writes, and the backup of both.
	first, second string
	backup        []byte
)

var operations = []struct {
	name string
	run  func() error
}{
	{"set", set},
	{"get", func() error { return value("", "two") }},
	{"get a version", func() error { return value(first, "one") }},
	{"update properties", update},
	{"list properties", listed},
	{"list versions", versions},
	{"back up", backUp},
	{"delete", deleted},
	{"get deleted", getDeleted},
	{"list deleted", listDeleted},
	{"recover", recovered},
	{"purge", purged},
	{"restore", restored},
}

func main() {
	connect()
	passed := 0
	for _, operation := range operations {
		if err := operation.run(); err != nil {
			fmt.Printf("%s: %v\n", operation.name, err)
			continue
		}
		passed++
	}
	fmt.Printf("%d of %d operations\n", passed, len(operations))
	if passed < len(operations) {
		os.Exit(1)
	}
}

func connect() {
	entra := azcore.ClientOptions{Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: os.Getenv("AZURE_AUTHORITY_HOST")}}
	credential, err := azidentity.NewClientSecretCredential(
		os.Getenv("AZURE_TENANT_ID"), os.Getenv("AZURE_CLIENT_ID"), os.Getenv("AZURE_CLIENT_SECRET"),
		&azidentity.ClientSecretCredentialOptions{ClientOptions: entra, DisableInstanceDiscovery: true},
	)
	if err == nil {
		// The sandbox's host name is not below Key Vault's domain.
		options := &azsecrets.ClientOptions{DisableChallengeResourceVerification: true}
		vault, err = azsecrets.NewClient(os.Getenv("VAULT_URL"), credential, options)
	}
	if err != nil {
		panic(err)
	}
}

func set() error {
	for _, written := range []struct {
		value   string
		version *string
	}{{"one", &first}, {"two", &second}} {
		answer, err := vault.SetSecret(ctx, name, azsecrets.SetSecretParameters{
			Value:            to.Ptr(written.value),
			ContentType:      to.Ptr("text/plain"),
			Tags:             map[string]*string{"of": to.Ptr(written.value)},
			SecretAttributes: &azsecrets.SecretAttributes{Expires: &expires},
		}, nil)
		if err != nil {
			return err
		}
		*written.version = answer.ID.Version()
	}
	return nil
}

func value(version, wanted string) error {
	answer, err := vault.GetSecret(ctx, name, version, nil)
	if err != nil {
		return err
	}
	return equal(*answer.Value+" "+*answer.Tags["of"]+" "+*answer.ContentType, wanted+" "+wanted+" text/plain")
}

func update() error {
	change := azsecrets.UpdateSecretPropertiesParameters{ContentType: to.Ptr("text/html")}
	if _, err := vault.UpdateSecretProperties(ctx, name, first, change, nil); err != nil {
		return err
	}
	answer, err := vault.GetSecret(ctx, name, first, nil)
	if err != nil {
		return err
	}
	return equal(*answer.ContentType+" "+answer.Attributes.Expires.UTC().String(), "text/html "+expires.String())
}

func listed() error {
	found := 0
	for pager := vault.NewListSecretPropertiesPager(nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, item := range page.Value {
			if item.ID.Name() == name {
				found++
			}
		}
	}
	return equal(found, 1)
}

func versions() error {
	found := map[string]bool{}
	for pager := vault.NewListSecretPropertiesVersionsPager(name, nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, item := range page.Value {
			found[item.ID.Version()] = true
		}
	}
	return equal(fmt.Sprint(found), fmt.Sprint(map[string]bool{first: true, second: true}))
}

func backUp() error {
	answer, err := vault.BackupSecret(ctx, name, nil)
	backup = answer.Value
	return err
}

func deleted() error {
	answer, err := vault.DeleteSecret(ctx, name, nil)
	if err != nil {
		return err
	}
	if err := equal(answer.ScheduledPurgeDate.Sub(*answer.DeletedDate), 90*24*time.Hour); err != nil {
		return err
	}
	return refused(value("", "two"), http.StatusNotFound, "SecretNotFound")
}

func getDeleted() error {
	answer, err := vault.GetDeletedSecret(ctx, name, nil)
	if err != nil {
		return err
	}
	return equal(answer.ID.Version(), second)
}

func listDeleted() error {
	found := 0
	for pager := vault.NewListDeletedSecretPropertiesPager(nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, item := range page.Value {
			if item.ID.Name() == name && item.DeletedDate != nil {
				found++
			}
		}
	}
	return equal(found, 1)
}

func recovered() error {
	if _, err := vault.RecoverDeletedSecret(ctx, name, nil); err != nil {
		return err
	}
	return value("", "two")
}

func purged() error {
	_, err := vault.RestoreSecret(ctx, azsecrets.RestoreSecretParameters{SecretBackup: backup}, nil)
	if err := refused(err, http.StatusConflict, "Conflict"); err != nil {
		return err
	}
	if err := deleted(); err != nil {
		return err
	}
	if _, err := vault.PurgeDeletedSecret(ctx, name, nil); err != nil {
		return err
	}
	_, err = vault.GetDeletedSecret(ctx, name, nil)
	return refused(err, http.StatusNotFound, "SecretNotFound")
}

func restored() error {
	answer, err := vault.RestoreSecret(ctx, azsecrets.RestoreSecretParameters{SecretBackup: backup}, nil)
	if err != nil {
		return err
	}
	if err := equal(answer.ID.Version(), second); err != nil {
		return err
	}
	if err := versions(); err != nil {
		return err
	}
	return value("", "two")
}

func equal[T comparable](got, wanted T) error {
	if got != wanted {
		return fmt.Errorf("got %v, not %v", got, wanted)
	}
	return nil
}

func refused(err error, status int, code string) error {
	var answer *azcore.ResponseError
	if !errors.As(err, &answer) || answer.StatusCode != status || answer.ErrorCode != code {
		return fmt.Errorf("not refused with %d %s: %w", status, code, err)
	}
	return nil
}
