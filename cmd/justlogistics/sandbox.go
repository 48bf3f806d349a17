package main

import (
	"context"
	"os"
	"strings"

	"justlogistics/internal/sandbox"
	"justlogistics/internal/telemetry"
)

type sandboxCommand struct {
	Listen   string `default:"127.0.0.1:8090" help:"Address to listen on."`
	StateDir string `name:"state-dir" required:"" help:"Folder for the sandbox's state."`
	URL      string `name:"url" help:"The sandbox's own address as a browser sees it."`
	Mail     string `help:"Address on which mail is caught by SMTP, host:port; none is caught without it."`
	Webhooks string `help:"Address of the API that is sent the providers' notifications; none are sent without it."`
	LogLevel string `name:"log-level" env:"JL_LOG_LEVEL" default:"info" help:"debug, info, warn or error."`
}

// Run is called by kong.
func (c sandboxCommand) Run(ctx context.Context) error {
	opts := sandbox.Options{
		Dir:       c.StateDir,
		PublicURL: c.URL,
		MailAddr:  c.Mail,
		Logger:    telemetry.Logger(os.Stdout, c.LogLevel),
	}
	if c.Webhooks != "" {
		opts.StripeWebhookURL = strings.TrimRight(c.Webhooks, "/") + "/webhooks/{tenant}/stripe"
	}
	return sandbox.Run(ctx, c.Listen, opts)
}
