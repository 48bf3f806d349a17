-- +goose Up
-- A refund of a payment that is not settled yet is taken and waits for it: it
-- has its bookings, and no parts before it is known what there is to give back.
ALTER TABLE refund_requests
  ADD COLUMN payment_id text, -- the payment it was asked for, when one was named
  ADD COLUMN waits boolean NOT NULL DEFAULT false,
  ADD COLUMN due_at timestamptz,
  ADD CONSTRAINT waiting_refund_has_due CHECK (NOT waits OR (due_at IS NOT NULL AND payment_id IS NOT NULL));
CREATE INDEX refund_requests_due ON refund_requests (due_at) WHERE due_at IS NOT NULL;
-- The part that a part takes the place of, because it failed after it had
-- succeeded: a provider's idempotency key is good for one refund.
ALTER TABLE refunds ADD COLUMN revives text;
CREATE UNIQUE INDEX refunds_revived_once ON refunds (tenant, revives) WHERE revives IS NOT NULL;

-- +goose Down
DROP INDEX refunds_revived_once;
ALTER TABLE refunds DROP COLUMN revives;
ALTER TABLE refund_requests DROP COLUMN payment_id, DROP COLUMN waits, DROP COLUMN due_at;
