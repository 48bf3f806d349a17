-- +goose Up
-- What callers of the reservation endpoints asked for. A workflow's messages
-- carry only the id; the activity reads the rest here.
CREATE TABLE reservation_requests (
  tenant         text NOT NULL REFERENCES tenants,
  id             text NOT NULL CHECK (length(id) = 26),
  reservation_id text NOT NULL CHECK (length(reservation_id) = 26),
  kind           text NOT NULL CHECK (kind IN ('create','confirm')),
  payload        jsonb NOT NULL,
  -- open until it is carried out, refused, or given up by its caller: what is
  -- not open must not be carried out any more
  status         text NOT NULL DEFAULT 'open' CHECK (status IN ('open','done','refused','abandoned')),
  failure_code   text,
  failure_lines  jsonb,
  created_at     timestamptz NOT NULL DEFAULT now(),
  updated_at     timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, id)
);
CREATE INDEX reservation_requests_of ON reservation_requests (tenant, reservation_id);
ALTER TABLE reservation_requests ENABLE ROW LEVEL SECURITY;
ALTER TABLE reservation_requests FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON reservation_requests USING (tenant = (SELECT jl.tenant())) WITH CHECK (tenant = (SELECT jl.tenant()));
CREATE POLICY system ON reservation_requests TO jl_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON reservation_requests TO jl_app, jl_system;

ALTER TABLE warehouses ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now();
-- The run that looks after the checkout, for links to Temporal's web UI.
ALTER TABLE checkouts ADD COLUMN run_id text NOT NULL DEFAULT '';
-- An action is recorded before it is carried out and its outcome added after.
GRANT UPDATE (outcome, detail) ON support_actions TO jl_app, jl_system;
-- Events name a payment by either of the provider's ids.
CREATE INDEX payments_capture_ref ON payments (tenant, gateway, capture_ref) WHERE capture_ref <> '';
CREATE INDEX inbox_of_payment ON inbox (tenant, payment_id, kind) WHERE payment_id <> '';
CREATE INDEX orders_attention ON orders (tenant, updated_at) WHERE attention IS NOT NULL;

-- +goose Down
DROP INDEX orders_attention;
DROP INDEX inbox_of_payment;
DROP INDEX payments_capture_ref;
REVOKE UPDATE (outcome, detail) ON support_actions FROM jl_app, jl_system;
ALTER TABLE checkouts DROP COLUMN run_id;
ALTER TABLE warehouses DROP COLUMN updated_at;
DROP TABLE reservation_requests;
