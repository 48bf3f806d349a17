-- +goose Up
-- How each tenant's gateways fare, as all processes together have seen it.
CREATE TABLE gateway_circuits (
  tenant            text NOT NULL REFERENCES tenants,
  gateway           text NOT NULL,
  state             text NOT NULL DEFAULT 'closed' CHECK (state IN ('closed','open','half_open')),
  changed_at        timestamptz NOT NULL DEFAULT now(),
  -- while it is not closed: since when, and from when one call may try
  opened_at         timestamptz,
  probe_after       timestamptz,
  -- the one call of all processes that tries, and until when others must
  -- believe that it is under way
  probe             text,
  probe_until       timestamptz,
  times_opened      bigint NOT NULL DEFAULT 0,
  times_half_opened bigint NOT NULL DEFAULT 0,
  times_closed      bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant, gateway),
  CONSTRAINT not_closed_has_times CHECK ((state = 'closed') = (opened_at IS NULL) AND (state = 'closed') = (probe_after IS NULL)),
  CONSTRAINT probe_is_a_lease CHECK ((probe IS NULL) = (probe_until IS NULL) AND (probe IS NULL OR state = 'half_open'))
);
CREATE INDEX gateway_circuits_not_closed ON gateway_circuits (tenant) WHERE state <> 'closed';

-- The calls of the last moments, by the second in which they were told.
CREATE TABLE gateway_calls (
  tenant   text NOT NULL,
  gateway  text NOT NULL,
  second   timestamptz NOT NULL,
  calls    int NOT NULL CHECK (calls > 0),
  failures int NOT NULL CHECK (failures BETWEEN 0 AND calls),
  PRIMARY KEY (tenant, gateway, second),
  FOREIGN KEY (tenant, gateway) REFERENCES gateway_circuits
);

-- When an unsigned notification last made us ask a gateway about a payment:
-- anybody can send one, so it may do that once a minute.
CREATE TABLE payment_hints (
  tenant     text NOT NULL,
  payment_id text NOT NULL,
  asked_at   timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, payment_id),
  FOREIGN KEY (tenant, payment_id) REFERENCES payments
);

-- Of news about a refund of ours: which, so that its run is told too.
ALTER TABLE inbox ADD COLUMN refund_id text NOT NULL DEFAULT '';
CREATE INDEX refunds_reference ON refunds (tenant, reference) WHERE reference <> '';

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['gateway_circuits','gateway_calls','payment_hints']
  LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY own_tenant ON %I USING (tenant = (SELECT jl.tenant())) WITH CHECK (tenant = (SELECT jl.tenant()))', t);
    EXECUTE format('CREATE POLICY system ON %I TO jl_system USING (true) WITH CHECK (true)', t);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON %I TO jl_app, jl_system', t);
  END LOOP;
END $$;
-- +goose StatementEnd
GRANT DELETE ON gateway_calls, payment_hints TO jl_app, jl_system;
-- Credentials can be withdrawn, and then nothing of them stays.
GRANT DELETE ON provider_credentials TO jl_app;

-- +goose Down
REVOKE DELETE ON provider_credentials FROM jl_app;
DROP INDEX refunds_reference;
ALTER TABLE inbox DROP COLUMN refund_id;
DROP TABLE payment_hints, gateway_calls, gateway_circuits;
