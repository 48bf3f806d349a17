package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/config"
	"justlogistics/internal/postgres"
	"justlogistics/internal/refund"
	"justlogistics/internal/secretbox"
	"justlogistics/internal/tenant"
	"justlogistics/internal/webhook"
)

type tenantCommand struct {
	Create      tenantCreateCommand `cmd:"" help:"Create a tenant, or change its name and rules."`
	Show        tenantShowCommand   `cmd:"" help:"Print a tenant's rules, to edit and give to create."`
	Key         tenantKeyCommand    `cmd:"" help:"Issue, revoke and list API keys."`
	Credentials struct {
		Set      tenantCredentialsSetCommand      `cmd:"" help:"Set a provider's credentials, read as JSON from standard input or a file."`
		Withdraw tenantCredentialsWithdrawCommand `cmd:"" help:"Delete a provider's credentials."`
		Rotate   tenantCredentialsRotateCommand   `cmd:"" help:"Encrypt all tenants' credentials, the bank accounts of refunds and the secrets of event endpoints, anew with the first key of JL_CREDENTIAL_KEYS."`
	} `cmd:"" help:"Set, withdraw or re-encrypt providers' credentials."`
}

type tenantKeyCommand struct {
	Issue  tenantKeyIssueCommand  `cmd:"" help:"Issue a key. It is shown this once."`
	Revoke tenantKeyRevokeCommand `cmd:"" help:"Revoke a key, at once."`
	List   tenantKeyListCommand   `cmd:"" help:"List a tenant's keys."`
}

// inTenant runs fn in a transaction of the tenant on the configured database.
func inTenant(ctx context.Context, id string, fn func(cfg *config.Config, tx pgx.Tx) error, needs ...config.Need) error {
	cfg, err := config.Load(ctx, append(needs, config.Database)...)
	if err != nil {
		return err
	}
	db, err := postgres.Open(ctx, cfg.DatabaseURL, postgres.Options{MaxConns: 1, MaxSystemConns: 1})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.InTenant(ctx, id, func(tx pgx.Tx) error { return fn(cfg, tx) })
}

type tenantCreateCommand struct {
	ID       string `arg:"" name:"tenant" help:"Its name in URLs: lower-case letters, digits and -, at most 32."`
	Name     string `help:"Its name for people."`
	Settings string `type:"existingfile" placeholder:"FILE" help:"Its rules, as show prints them; what is left out keeps its default."`
}

// Run is called by kong.
func (c tenantCreateCommand) Run(ctx context.Context) error {
	return inTenant(ctx, c.ID, func(_ *config.Config, tx pgx.Tx) error {
		t, err := tenant.Get(ctx, tx, c.ID)
		created := errors.Is(err, tenant.ErrUnknown)
		switch {
		case created:
			t = tenant.Tenant{ID: c.ID, Name: c.ID, Settings: tenant.Defaults(c.ID)}
		case err != nil:
			return err
		}
		if c.Name != "" {
			t.Name = c.Name
		}
		if c.Settings != "" {
			text, err := os.ReadFile(c.Settings)
			if err != nil {
				return fmt.Errorf("settings: %w", err)
			}
			strict := json.NewDecoder(bytes.NewReader(text))
			strict.DisallowUnknownFields()
			if err := strict.Decode(&t.Settings); err != nil {
				return fmt.Errorf("settings in %s: %w", c.Settings, err)
			}
		}
		if err := tenant.Put(ctx, tx, t); err != nil {
			return err
		}
		if created {
			fmt.Printf("tenant %s created; next: justlogistics tenant key issue %s --scope storefront\n", c.ID, c.ID)
		} else {
			fmt.Printf("tenant %s changed\n", c.ID)
		}
		return nil
	})
}

type tenantShowCommand struct {
	ID string `arg:"" name:"tenant" help:"The tenant."`
}

// Run is called by kong.
func (c tenantShowCommand) Run(ctx context.Context) error {
	return inTenant(ctx, c.ID, func(_ *config.Config, tx pgx.Tx) error {
		t, err := tenant.Get(ctx, tx, c.ID)
		if err != nil {
			return err
		}
		text, err := json.MarshalIndent(t.Settings, "", "  ")
		if err != nil {
			return fmt.Errorf("settings of tenant %s: %w", c.ID, err)
		}
		fmt.Println(string(text))
		return nil
	})
}

type tenantKeyIssueCommand struct {
	ID    string   `arg:"" name:"tenant" help:"The tenant."`
	Name  string   `default:"shell" help:"What the key is for."`
	Scope []string `required:"" enum:"storefront,warehouse,support,admin" help:"What it may do: ${enum}. Repeatable."`
	Also  []string `help:"Further tenants that an operator's key may act for. Repeatable."`
}

// Run is called by kong. The key goes to standard output alone, so that a script
// can keep it without seeing it.
func (c tenantKeyIssueCommand) Run(ctx context.Context) error {
	scopes := make([]tenant.Scope, len(c.Scope))
	for i, s := range c.Scope {
		scopes[i] = tenant.Scope(s)
	}
	var key, keyID string
	err := inTenant(ctx, c.ID, func(_ *config.Config, tx pgx.Tx) error {
		if _, err := tenant.Get(ctx, tx, c.ID); err != nil {
			return err
		}
		var err error
		key, keyID, err = tenant.IssueKey(ctx, tx, c.ID, c.Name, scopes, c.Also)
		return err
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "key %s of tenant %s; it is shown only now:\n", keyID, c.ID)
	fmt.Println(key)
	return nil
}

type tenantKeyRevokeCommand struct {
	ID  string `arg:"" name:"tenant" help:"The tenant."`
	Key string `arg:"" name:"key-id" help:"The key's id, as list shows it."`
}

// Run is called by kong.
func (c tenantKeyRevokeCommand) Run(ctx context.Context) error {
	err := inTenant(ctx, c.ID, func(_ *config.Config, tx pgx.Tx) error { return tenant.RevokeKey(ctx, tx, c.ID, c.Key) })
	if err != nil {
		return err
	}
	fmt.Printf("key %s of tenant %s is revoked\n", c.Key, c.ID)
	return nil
}

type tenantKeyListCommand struct {
	ID string `arg:"" name:"tenant" help:"The tenant."`
}

// Run is called by kong.
func (c tenantKeyListCommand) Run(ctx context.Context) error {
	return inTenant(ctx, c.ID, func(_ *config.Config, tx pgx.Tx) error {
		keys, err := tenant.ListKeys(ctx, tx, c.ID)
		if err != nil {
			return err
		}
		table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "ID\tNAME\tSCOPES\tCREATED\tREVOKED")
		for _, k := range keys {
			revoked := "-"
			if k.RevokedAt != nil {
				revoked = k.RevokedAt.UTC().Format(time.RFC3339)
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", k.ID, k.Name, strings.Join(k.Scopes, ","), k.CreatedAt.UTC().Format(time.RFC3339), revoked)
		}
		return table.Flush()
	})
}

type tenantCredentialsSetCommand struct {
	ID       string `arg:"" name:"tenant" help:"The tenant."`
	Provider string `arg:"" help:"The provider, for example transbank or stripe."`
	File     string `default:"-" help:"JSON file; - is standard input. Never an argument: other users see those."`
}

// Run is called by kong.
func (c tenantCredentialsSetCommand) Run(ctx context.Context) error {
	text, err := c.read()
	if err != nil {
		return fmt.Errorf("credentials: %w", err)
	}
	err = inTenant(ctx, c.ID, func(cfg *config.Config, tx pgx.Tx) error {
		if _, err := tenant.Get(ctx, tx, c.ID); err != nil {
			return err
		}
		return tenant.SetCredentials(ctx, tx, cfg.CredentialKeys, c.ID, c.Provider, text)
	}, config.Keys)
	if err != nil {
		return err
	}
	fmt.Printf("credentials of %s for tenant %s are set\n", c.Provider, c.ID)
	return nil
}

func (c tenantCredentialsSetCommand) read() ([]byte, error) {
	if c.File == "-" {
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(c.File)
}

type tenantCredentialsWithdrawCommand struct {
	ID       string `arg:"" name:"tenant" help:"The tenant."`
	Provider string `arg:"" help:"The provider."`
}

// Run is called by kong.
func (c tenantCredentialsWithdrawCommand) Run(ctx context.Context) error {
	err := inTenant(ctx, c.ID, func(_ *config.Config, tx pgx.Tx) error {
		return tenant.WithdrawCredentials(ctx, tx, c.ID, c.Provider)
	})
	if err != nil {
		return err
	}
	fmt.Printf("credentials of %s for tenant %s are withdrawn\n", c.Provider, c.ID)
	return nil
}

type tenantCredentialsRotateCommand struct{}

// Run is called by kong. A tenant at a time, each in a transaction of its own:
// when it fails in the middle, running it again does the rest.
func (tenantCredentialsRotateCommand) Run(ctx context.Context) error {
	cfg, err := config.Load(ctx, config.Database, config.Keys)
	if err != nil {
		return err
	}
	db, err := postgres.Open(ctx, cfg.DatabaseURL, postgres.Options{MaxConns: 1, MaxSystemConns: 1})
	if err != nil {
		return err
	}
	defer db.Close()
	var ids []string
	err = db.AsSystem(ctx, func(tx pgx.Tx) error {
		ids, err = tenant.IDs(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := rotate(ctx, db, cfg.CredentialKeys, id); err != nil {
			return fmt.Errorf("tenant %s: %w", id, err)
		}
	}
	return nil
}

// rotateBatch is how many bank accounts one transaction encrypts anew.
const rotateBatch = 200

func rotate(ctx context.Context, db *postgres.DB, ring *secretbox.Keyring, id string) error {
	var credentials tenant.Rotated
	err := db.InTenant(ctx, id, func(tx pgx.Tx) (err error) {
		credentials, err = tenant.RotateCredentials(ctx, tx, ring, id)
		return err
	})
	if err != nil {
		return err
	}
	accounts := 0
	for n := rotateBatch; n == rotateBatch; accounts += n {
		err := db.InTenant(ctx, id, func(tx pgx.Tx) (err error) {
			n, err = refund.RotateAccounts(ctx, tx, ring, id, rotateBatch)
			return err
		})
		if err != nil {
			return err
		}
	}
	endpoints := 0
	err = db.InTenant(ctx, id, func(tx pgx.Tx) (err error) {
		endpoints, err = webhook.Reseal(ctx, tx, ring, id)
		return err
	})
	if err != nil {
		return err
	}
	fmt.Printf("tenant %s: credentials of %d providers, %d bank accounts and secrets of %d event endpoints encrypted anew, %d had key %s already\n", id, credentials.Done, accounts, endpoints, credentials.Kept, ring.EncryptionKeyID())
	return nil
}
