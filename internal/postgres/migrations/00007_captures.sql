-- +goose Up
ALTER TABLE payments
  -- What somebody wants captured of an authorization, or why it is to be given
  -- back: written before the run that does it is started. Never both.
  ADD COLUMN capture_amount bigint CHECK (capture_amount > 0),
  ADD COLUMN void_reason text,
  ADD CONSTRAINT captured_or_voided CHECK (capture_amount IS NULL OR void_reason IS NULL);

-- +goose Down
ALTER TABLE payments DROP COLUMN capture_amount, DROP COLUMN void_reason;
