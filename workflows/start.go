package workflows

import (
	"context"
	"errors"
	"fmt"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"justlogistics/internal/temporalclient"
)

// StartOptions are those of a run that looks after a subject. Runs of one
// tenant share a fairness key, so that no tenant's backlog holds up another's.
func StartOptions(kind, tenant, subject string) client.StartWorkflowOptions {
	return client.StartWorkflowOptions{
		ID:                    ID(kind, tenant, subject),
		TaskQueue:             TaskQueue,
		Priority:              temporal.Priority{FairnessKey: tenant},
		TypedSearchAttributes: temporal.NewSearchAttributes(temporalclient.TenantID.ValueSet(tenant), temporalclient.Attention.ValueSet(false)),
	}
}

// Restart begins a new run for a subject whose run is gone; the run goes on
// from the rows. With replace a run that is wedged is terminated first. A run
// that is at work is left alone.
func Restart(ctx context.Context, c client.Client, kind, tenant, subject string, replace bool) error {
	opts := StartOptions(kind, tenant, subject)
	opts.StaticSummary = "restarted from its rows"
	opts.WorkflowIDReusePolicy = enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
	opts.WorkflowIDConflictPolicy = enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
	if replace {
		opts.WorkflowIDConflictPolicy = enumspb.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
	}
	var name string
	var in any
	switch kind {
	case KindCheckout:
		name, in = CheckoutName, CheckoutInput{Tenant: tenant, CheckoutID: subject}
	case KindReservation:
		name, in = ReservationName, ReservationInput{Tenant: tenant, ReservationID: subject}
	case KindRefund:
		name, in = RefundName, RefundInput{Tenant: tenant, RefundID: subject}
	case KindShortage:
		name, in = ShortageName, ShortageInput{Tenant: tenant, OrderID: subject}
	case KindCapture:
		name, in = CaptureName, CaptureInput{Tenant: tenant, PaymentID: subject}
	case KindCount:
		name, in = CountName, CountInput{Tenant: tenant, CountID: subject}
	case KindReconciliation:
		name, in = ReconciliationName, ReconciliationInput{Tenant: tenant, ReconciliationID: subject}
	case KindTransfer:
		name, in = TransferName, WatchInput{Tenant: tenant, ID: subject}
	case KindReceipt:
		name, in = ReceiptName, WatchInput{Tenant: tenant, ID: subject}
	case KindReturn:
		name, in = ReturnName, ReturnInput{Tenant: tenant, ReturnID: subject}
	case KindFulfillment:
		name, in = FulfillmentName, FulfillmentInput{Tenant: tenant, ShipmentID: subject}
	default:
		return fmt.Errorf("no run of kind %q can be begun from its rows", kind)
	}
	if _, err := c.ExecuteWorkflow(ctx, opts, name, in); err != nil {
		return fmt.Errorf("restart %s: %w", opts.ID, err)
	}
	return nil
}

// Wake tells a shipment's run that its row has changed, and begins the run if there is
// none.
func Wake(ctx context.Context, c client.Client, tenant, shipmentID string) error {
	opts := StartOptions(KindFulfillment, tenant, shipmentID)
	opts.StaticSummary = "shipment " + shipmentID + ", from the paid order to the door"
	opts.WorkflowIDReusePolicy = enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
	if _, err := c.SignalWithStartWorkflow(ctx, opts.ID, SignalChanged, nil, opts, FulfillmentName, FulfillmentInput{Tenant: tenant, ShipmentID: shipmentID}); err != nil {
		return fmt.Errorf("wake %s: %w", opts.ID, err)
	}
	return nil
}

// WakeReturn tells a return's run that its row has changed, and begins the run if there is
// none.
func WakeReturn(ctx context.Context, c client.Client, tenant, returnID string) error {
	opts := StartOptions(KindReturn, tenant, returnID)
	opts.StaticSummary = "return " + returnID + ", from the request to the money"
	opts.WorkflowIDReusePolicy = enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
	if _, err := c.SignalWithStartWorkflow(ctx, opts.ID, SignalChanged, nil, opts, ReturnName, ReturnInput{Tenant: tenant, ReturnID: returnID}); err != nil {
		return fmt.Errorf("wake %s: %w", opts.ID, err)
	}
	return nil
}

// WakeRefund tells a refund's run that there is news of it, and begins the run if there is
// none. To a run that has just been begun nothing is said: it asks anyway.
func WakeRefund(ctx context.Context, c client.Client, tenant, subject string) error {
	err := c.SignalWorkflow(ctx, ID(KindRefund, tenant, subject), "", SignalNews, News{})
	var gone *serviceerror.NotFound
	if errors.As(err, &gone) {
		return Restart(ctx, c, KindRefund, tenant, subject, false)
	}
	if err != nil {
		return fmt.Errorf("wake %s: %w", ID(KindRefund, tenant, subject), err)
	}
	return nil
}

// WakeShortage tells the run of a paid order with missing units that stock has come in,
// and begins the run if there is none.
func WakeShortage(ctx context.Context, c client.Client, tenant, orderID string) error {
	opts := StartOptions(KindShortage, tenant, orderID)
	opts.StaticSummary = "units missing for a paid order"
	opts.WorkflowIDReusePolicy = enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
	if _, err := c.SignalWithStartWorkflow(ctx, opts.ID, SignalChanged, nil, opts, ShortageName, ShortageInput{Tenant: tenant, OrderID: orderID}); err != nil {
		return fmt.Errorf("wake %s: %w", opts.ID, err)
	}
	return nil
}

// StartLatePayment begins, or finds, the run that looks after a payment of a
// checkout whose own run has ended.
func StartLatePayment(ctx context.Context, c client.Client, in CheckoutInput) error {
	opts := StartOptions(KindLatePayment, in.Tenant, in.PaymentID)
	opts.StaticSummary = "news of payment " + in.PaymentID + " after its checkout had ended"
	opts.WorkflowIDReusePolicy = enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
	opts.WorkflowIDConflictPolicy = enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
	if _, err := c.ExecuteWorkflow(ctx, opts, LatePaymentName, in); err != nil {
		return fmt.Errorf("start %s: %w", opts.ID, err)
	}
	return nil
}
