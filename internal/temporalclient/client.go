// Package temporalclient connects to Temporal in the one way the product does:
// settings from TEMPORAL_*, payloads and failures encrypted, the search
// attributes that operations staff filter by.
package temporalclient

import (
	"context"
	"fmt"
	"log/slog"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"

	"justlogistics/internal/codec"
	"justlogistics/internal/secretbox"
)

// The typed search attributes. They are stored in clear: ids and states only.
var (
	TenantID        = temporal.NewSearchAttributeKeyKeyword("TenantId")
	OrderState      = temporal.NewSearchAttributeKeyKeyword("OrderState")
	Channel         = temporal.NewSearchAttributeKeyKeyword("Channel")
	Number          = temporal.NewSearchAttributeKeyKeyword("OrderNumber")
	Attention       = temporal.NewSearchAttributeKeyBool("Attention")
	AttentionReason = temporal.NewSearchAttributeKeyKeyword("AttentionReason")
)

// SearchAttributes maps each attribute's name to its type, as the server's
// registration wants it.
func SearchAttributes() map[string]string {
	return map[string]string{
		TenantID.GetName(): "Keyword", OrderState.GetName(): "Keyword", Channel.GetName(): "Keyword", Number.GetName(): "Keyword",
		AttentionReason.GetName(): "Keyword", Attention.GetName(): "Bool",
	}
}

// Options of Dial.
type Options struct {
	Keyring      *secretbox.Keyring
	Logger       *slog.Logger
	Metrics      client.MetricsHandler
	Interceptors []interceptor.ClientInterceptor
	// Address and Namespace override TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE.
	Address, Namespace string
}

// ClientOptions builds the SDK's options without connecting.
func ClientOptions(o Options) (client.Options, error) {
	opts, err := envconfig.LoadDefaultClientOptions()
	if err != nil {
		return client.Options{}, fmt.Errorf("TEMPORAL_* settings: %w", err)
	}
	if o.Address != "" {
		opts.HostPort = o.Address
	}
	if o.Namespace != "" {
		opts.Namespace = o.Namespace
	}
	if o.Logger != nil {
		opts.Logger = log.NewStructuredLogger(o.Logger)
	}
	opts.DataConverter = codec.DataConverter(o.Keyring)
	opts.FailureConverter = codec.FailureConverter(opts.DataConverter)
	opts.MetricsHandler = o.Metrics
	// What is encrypted does not get smaller, and it is most of what is sent: a worker spent
	// a twentieth of its time on packing it.
	opts.ConnectionOptions.GrpcCompression = &client.GrpcCompressionNone{}
	opts.Interceptors = o.Interceptors
	return opts, nil
}

// Dial returns a client that connects when it is first used, so that a process
// can start, and keep storing news, while Temporal is away.
func Dial(_ context.Context, o Options) (client.Client, error) {
	opts, err := ClientOptions(o)
	if err != nil {
		return nil, err
	}
	c, err := client.NewLazyClient(opts)
	if err != nil {
		return nil, fmt.Errorf("temporal client: %w", err)
	}
	return c, nil
}
