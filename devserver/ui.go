package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	uiserver "github.com/temporalio/ui-server/v2/server"
	uiconfig "github.com/temporalio/ui-server/v2/server/config"
	uioptions "github.com/temporalio/ui-server/v2/server/server_options"
)

// startUI serves the web UI. Its files are embedded and it asks nobody but the
// frontend; the codec server is called by the browser, never from here.
func startUI(opts options, p ports) *uiserver.Server {
	host := opts.IP
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	ui := uiserver.NewServer(uioptions.WithConfigProvider(&uiconfig.Config{
		Host:                host,
		Port:                p.ui,
		TemporalGRPCAddress: p.frontendAddress(),
		DefaultNamespace:    opts.Namespace,
		EnableUI:            true,
		HideLogs:            true,
		DisableNewsFetch:    true,
		Codec:               uiconfig.Codec{Endpoint: opts.CodecEndpoint},
		// The UI is served without TLS, so its cookie can't ask for it.
		CORS: uiconfig.CORS{CookieInsecure: true},
	}))
	go func() {
		// Start ends the process when it can't listen, after logging why; any
		// other end is our own Stop.
		_ = ui.Start()
	}()
	return ui
}

func awaitUI(ctx context.Context, p ports) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	httpClient := &http.Client{Timeout: 5 * time.Second}
	defer httpClient.CloseIdleConnections()
	err := untilDone(ctx, func() error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.uiURL()+"/healthz", nil)
		if err != nil {
			return err
		}
		response, err := httpClient.Do(request)
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("answers %s", response.Status)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("web UI at %s: %w", p.uiURL(), err)
	}
	return nil
}
