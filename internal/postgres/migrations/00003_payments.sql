-- +goose Up
-- How the buyer of an attempt wants to pay, where the storefront says so. id is
-- the payment's, or the checkout's for its first attempt (whose payment has no
-- id yet). The token is single-use and is forgotten once its attempt has begun.
CREATE TABLE payment_choices (
  tenant       text NOT NULL REFERENCES tenants,
  id           text NOT NULL CHECK (length(id) = 26),
  checkout_id  text NOT NULL,
  gateway      text NOT NULL,
  method       text NOT NULL DEFAULT '',
  installments int NOT NULL DEFAULT 0 CHECK (installments >= 0),
  token        text,
  created_at   timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, id),
  FOREIGN KEY (tenant, checkout_id) REFERENCES checkouts
);

ALTER TABLE payments
  -- Begin was given a token, so it may have moved the buyer's money
  ADD COLUMN by_token boolean NOT NULL DEFAULT false,
  -- given back by the provider without our asking (its panel, its own rules):
  -- recorded whatever it is, and counted against what we may still give back
  ADD COLUMN refunded_elsewhere bigint NOT NULL DEFAULT 0 CHECK (refunded_elsewhere >= 0),
  ADD COLUMN fee_amount bigint NOT NULL DEFAULT 0,
  ADD COLUMN risk text NOT NULL DEFAULT '',
  -- until when an authorization can be captured
  ADD COLUMN capture_until timestamptz,
  ADD COLUMN capture_tried_at timestamptz,
  ADD COLUMN void_tried_at timestamptz;

-- Refunds: one request of somebody, booked on units, freight and goodwill, and
-- paid back in parts, one for each capture it takes from. A row of refunds is a
-- part; a part that nobody asked for (a duplicate payment) is its own request.
CREATE TABLE refund_requests (
  tenant       text NOT NULL REFERENCES tenants,
  id           text NOT NULL CHECK (length(id) = 26),
  order_id     text NOT NULL,
  reason       text NOT NULL,
  amount       bigint NOT NULL CHECK (amount > 0),
  currency     text NOT NULL,
  method       text NOT NULL DEFAULT 'original' CHECK (method IN ('original','bank_transfer')),
  -- where a bank transfer goes, encrypted with the credentials' key
  bank_account bytea,
  requested_by text NOT NULL DEFAULT '',
  created_at   timestamptz NOT NULL DEFAULT now(),
  updated_at   timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, id),
  FOREIGN KEY (tenant, order_id) REFERENCES orders
);
CREATE INDEX refund_requests_order ON refund_requests (tenant, order_id);

ALTER TABLE refunds
  ADD COLUMN request_id text,
  ADD COLUMN method text NOT NULL DEFAULT 'original' CHECK (method IN ('original','bank_transfer','void')),
  ADD COLUMN captured_at timestamptz,
  ADD FOREIGN KEY (tenant, request_id) REFERENCES refund_requests;
CREATE INDEX refunds_request ON refunds (tenant, request_id) WHERE request_id IS NOT NULL;
-- A refund made at the provider is recorded once, by the provider's name for it.
CREATE UNIQUE INDEX refunds_elsewhere_once ON refunds (tenant, payment_id, reference) WHERE origin = 'provider';

-- What each unit, and the freight, of an order cost and how much of that went
-- back. Rows appear with an order's first refund.
CREATE TABLE refundable (
  tenant   text NOT NULL,
  order_id text NOT NULL,
  -- a unit of a line, or the freight ('' and 0)
  line_id  text NOT NULL,
  unit     int NOT NULL CHECK (unit >= 0),
  paid     bigint NOT NULL CHECK (paid >= 0),
  refunded bigint NOT NULL DEFAULT 0 CHECK (refunded >= 0),
  PRIMARY KEY (tenant, order_id, line_id, unit),
  FOREIGN KEY (tenant, order_id) REFERENCES orders,
  CONSTRAINT no_more_back_than_paid_for_it CHECK (refunded <= paid)
);
CREATE TABLE refund_bookings (
  tenant     text NOT NULL,
  request_id text NOT NULL,
  order_id   text NOT NULL,
  kind       text NOT NULL CHECK (kind IN ('unit','freight','goodwill')),
  line_id    text NOT NULL DEFAULT '',
  unit       int NOT NULL DEFAULT 0,
  amount     bigint NOT NULL CHECK (amount >= 0),
  -- of a refund that was given up: counts no more
  released   boolean NOT NULL DEFAULT false,
  PRIMARY KEY (tenant, request_id, kind, line_id, unit),
  FOREIGN KEY (tenant, request_id) REFERENCES refund_requests,
  CHECK ((kind = 'unit') = (line_id <> ''))
);
CREATE INDEX refund_bookings_order ON refund_bookings (tenant, order_id);
-- +goose StatementBegin
CREATE FUNCTION jl.count_booking() RETURNS trigger LANGUAGE plpgsql AS
$$
DECLARE d bigint := 0;
BEGIN
  IF NEW.kind = 'goodwill' THEN RETURN NULL; END IF;
  IF TG_OP = 'UPDATE' AND NOT OLD.released THEN d := d - OLD.amount; END IF;
  IF NOT NEW.released THEN d := d + NEW.amount; END IF;
  IF d <> 0 THEN
    UPDATE refundable SET refunded = refunded + d WHERE tenant = NEW.tenant AND order_id = NEW.order_id AND line_id = NEW.line_id AND unit = NEW.unit;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'order % has no unit % of line %', NEW.order_id, NEW.unit, NEW.line_id USING ERRCODE = 'foreign_key_violation';
    END IF;
  END IF;
  RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER count_booking AFTER INSERT OR UPDATE ON refund_bookings FOR EACH ROW EXECUTE FUNCTION jl.count_booking();

-- What we decide to give back and what was given back without us never exceed,
-- together, what was taken, at the moment we decide. What we are told is
-- recorded all the same.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION jl.count_refund() RETURNS trigger LANGUAGE plpgsql AS
$$
DECLARE ours bigint := 0; theirs bigint := 0;
BEGIN
  -- A failed refund counts as not made, also when it fails days later.
  IF TG_OP = 'UPDATE' AND OLD.status <> 'failed' AND OLD.method <> 'void' THEN
    IF OLD.origin = 'ours' THEN ours := ours - OLD.amount; ELSE theirs := theirs - OLD.amount; END IF;
  END IF;
  IF NEW.status <> 'failed' AND NEW.method <> 'void' THEN
    IF NEW.origin = 'ours' THEN ours := ours + NEW.amount; ELSE theirs := theirs + NEW.amount; END IF;
  END IF;
  IF ours <> 0 OR theirs <> 0 THEN
    UPDATE payments SET refunded_amount = refunded_amount + ours, refunded_elsewhere = refunded_elsewhere + theirs, updated_at = now() WHERE tenant = NEW.tenant AND id = NEW.payment_id;
  END IF;
  IF ours > 0 AND EXISTS (SELECT FROM payments WHERE tenant = NEW.tenant AND id = NEW.payment_id AND refunded_amount + refunded_elsewhere > captured_amount) THEN
    RAISE EXCEPTION 'payment % has less left than %', NEW.payment_id, ours USING ERRCODE = 'check_violation', CONSTRAINT = 'no_more_back_than_taken';
  END IF;
  RETURN NULL;
END
$$;
-- +goose StatementEnd

-- Chargebacks, as their providers tell them.
CREATE TABLE disputes (
  tenant     text NOT NULL,
  id         text NOT NULL CHECK (length(id) = 26),
  payment_id text NOT NULL,
  reference  text NOT NULL,
  status     text NOT NULL CHECK (status IN ('open','won','lost')),
  amount     bigint NOT NULL CHECK (amount >= 0),
  currency   text NOT NULL,
  reason     text NOT NULL DEFAULT '',
  answer_by  timestamptz,
  opened_at  timestamptz NOT NULL DEFAULT now(),
  ended_at   timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  -- while it is open: when a person must have answered it
  due_at     timestamptz,
  PRIMARY KEY (tenant, id),
  UNIQUE (tenant, payment_id, reference),
  FOREIGN KEY (tenant, payment_id) REFERENCES payments,
  CONSTRAINT open_dispute_has_due CHECK (status <> 'open' OR due_at IS NOT NULL)
);
CREATE INDEX disputes_due ON disputes (due_at) WHERE due_at IS NOT NULL;
-- Why a parcel must not leave, e.g. disputed; null when it may.
ALTER TABLE shipments ADD COLUMN frozen_reason text;

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['payment_choices','refund_requests','refundable','refund_bookings','disputes']
  LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY own_tenant ON %I USING (tenant = (SELECT jl.tenant())) WITH CHECK (tenant = (SELECT jl.tenant()))', t);
    EXECUTE format('CREATE POLICY system ON %I TO jl_system USING (true) WITH CHECK (true)', t);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON %I TO jl_app, jl_system', t);
  END LOOP;
END $$;
-- +goose StatementEnd

-- +goose Down
ALTER TABLE shipments DROP COLUMN frozen_reason;
DROP TABLE disputes;
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION jl.count_refund() RETURNS trigger LANGUAGE plpgsql AS
$$
DECLARE d bigint := 0;
BEGIN
  IF TG_OP = 'UPDATE' AND OLD.origin = 'ours' AND OLD.status <> 'failed' THEN d := d - OLD.amount; END IF;
  IF NEW.origin = 'ours' AND NEW.status <> 'failed' THEN d := d + NEW.amount; END IF;
  IF d <> 0 THEN
    UPDATE payments SET refunded_amount = refunded_amount + d, updated_at = now() WHERE tenant = NEW.tenant AND id = NEW.payment_id;
  END IF;
  RETURN NULL;
END
$$;
-- +goose StatementEnd
DROP INDEX refunds_elsewhere_once, refunds_request;
ALTER TABLE refunds DROP COLUMN request_id, DROP COLUMN method, DROP COLUMN captured_at;
DROP TABLE refund_bookings, refundable, refund_requests;
DROP FUNCTION jl.count_booking();
ALTER TABLE payments DROP COLUMN by_token, DROP COLUMN refunded_elsewhere, DROP COLUMN fee_amount, DROP COLUMN risk, DROP COLUMN capture_until,
  DROP COLUMN capture_tried_at, DROP COLUMN void_tried_at;
DROP TABLE payment_choices;
