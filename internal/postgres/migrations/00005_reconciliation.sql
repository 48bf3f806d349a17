-- +goose Up
-- One comparison of a gateway's books with ours, for one day by the tenant's
-- clock. A day that is run again keeps its row.
CREATE TABLE reconciliations (
  tenant      text NOT NULL REFERENCES tenants,
  id          text NOT NULL CHECK (length(id) = 26),
  gateway     text NOT NULL,
  day         date NOT NULL,
  -- the day's span by the tenant's clock: from_at <= t < to_at
  from_at     timestamptz NOT NULL,
  to_at       timestamptz NOT NULL,
  status      text NOT NULL CHECK (status IN ('running','done','failed')),
  -- where the provider's side came from: its list, our questions about each
  -- payment, or a settlement file; '' before the first comparison
  source      text NOT NULL DEFAULT '' CHECK (source IN ('','api','questions','file')),
  -- asked for again while it ran: what came meanwhile may have been missed
  again       boolean NOT NULL DEFAULT false,
  totals      jsonb NOT NULL DEFAULT '[]',
  requested_by text NOT NULL DEFAULT '',
  started_at  timestamptz NOT NULL DEFAULT now(),
  compared_at timestamptz,
  finished_at timestamptz,
  failure     text NOT NULL DEFAULT '',
  created_at  timestamptz NOT NULL DEFAULT now(),
  updated_at  timestamptz NOT NULL DEFAULT now(),
  due_at      timestamptz,
  PRIMARY KEY (tenant, id),
  UNIQUE (tenant, gateway, day),
  CHECK (from_at < to_at),
  CONSTRAINT running_has_due CHECK (status <> 'running' OR due_at IS NOT NULL)
);
CREATE INDEX reconciliations_day ON reconciliations (tenant, day);
CREATE INDEX reconciliations_due ON reconciliations (due_at) WHERE due_at IS NOT NULL;

-- What providers say happened. key is the provider's name of the transaction
-- (or ours, where it has none), so that the same line read again is the same row.
CREATE TABLE provider_transactions (
  tenant           text NOT NULL REFERENCES tenants,
  gateway          text NOT NULL,
  source           text NOT NULL CHECK (source IN ('api','questions','file')),
  kind             text NOT NULL CHECK (kind IN ('charge','refund')),
  key              text NOT NULL CHECK (key <> ''),
  payment_id       text NOT NULL DEFAULT '',
  refund_id        text NOT NULL DEFAULT '',
  reference        text NOT NULL DEFAULT '',
  capture_ref      text NOT NULL DEFAULT '',
  refund_reference text NOT NULL DEFAULT '',
  amount           bigint NOT NULL CHECK (amount >= 0),
  fee              bigint NOT NULL DEFAULT 0,
  currency         text NOT NULL,
  outcome          text NOT NULL CHECK (outcome IN ('approved','declined','pending','unknown')),
  captured         boolean NOT NULL DEFAULT false,
  -- how a chargeback of the payment stands, where the provider tells
  dispute          text NOT NULL DEFAULT '' CHECK (dispute IN ('','open','won','lost')),
  at               timestamptz NOT NULL,
  seen_at          timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, gateway, source, kind, key)
);
CREATE INDEX provider_transactions_at ON provider_transactions (tenant, gateway, at);
CREATE INDEX provider_transactions_payment ON provider_transactions (tenant, payment_id) WHERE payment_id <> '';

-- What came of comparing: each transaction of either side is in one item.
CREATE TABLE reconciliation_items (
  tenant            text NOT NULL,
  id                text NOT NULL CHECK (length(id) = 26),
  reconciliation_id text NOT NULL,
  gateway           text NOT NULL,
  day               date NOT NULL,
  kind              text NOT NULL CHECK (kind IN ('charge','refund')),
  result            text NOT NULL CHECK (result IN ('matched','missing_here','missing_there','different_amount','different_state','fee')),
  payment_id        text NOT NULL DEFAULT '',
  refund_id         text NOT NULL DEFAULT '',
  key               text NOT NULL DEFAULT '',
  ours              jsonb,
  theirs            jsonb,
  -- what differs, so that a difference that a person has dealt with is known again
  difference        text NOT NULL DEFAULT '',
  currency          text NOT NULL,
  fee               bigint NOT NULL DEFAULT 0,
  resolution        text NOT NULL DEFAULT 'none' CHECK (resolution IN ('none','repaired','raised','explained','resolved')),
  note              text NOT NULL DEFAULT '',
  actor             text NOT NULL DEFAULT '',
  repaired_at       timestamptz,
  resolved_at       timestamptz,
  created_at        timestamptz NOT NULL DEFAULT now(),
  updated_at        timestamptz NOT NULL DEFAULT now(),
  due_at            timestamptz,
  PRIMARY KEY (tenant, id),
  FOREIGN KEY (tenant, reconciliation_id) REFERENCES reconciliations,
  CONSTRAINT difference_has_an_end CHECK (result = 'matched' OR resolution <> 'none'),
  CONSTRAINT raised_has_due CHECK ((resolution = 'raised') = (due_at IS NOT NULL)),
  CONSTRAINT resolved_says_who CHECK (resolution <> 'resolved' OR actor <> '' AND note <> '' AND resolved_at IS NOT NULL)
);
CREATE INDEX reconciliation_items_of ON reconciliation_items (tenant, reconciliation_id);
CREATE INDEX reconciliation_items_raised ON reconciliation_items (tenant, created_at) WHERE resolution = 'raised';

-- When a refund's money went back, for the books of a day: rows are touched for
-- other reasons too.
ALTER TABLE refunds ADD COLUMN settled_at timestamptz;
-- +goose StatementBegin
CREATE FUNCTION jl.date_refund() RETURNS trigger LANGUAGE plpgsql AS
$$
BEGIN
  IF NEW.status <> 'succeeded' THEN
    NEW.settled_at := NULL;
  ELSIF NEW.settled_at IS NULL THEN
    NEW.settled_at := now();
  END IF;
  RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER date_refund BEFORE INSERT OR UPDATE ON refunds FOR EACH ROW EXECUTE FUNCTION jl.date_refund();
-- An owner who is no superuser sees no row while row-level security is forced.
ALTER TABLE refunds NO FORCE ROW LEVEL SECURITY;
ALTER TABLE refunds DISABLE TRIGGER USER;
UPDATE refunds SET settled_at = updated_at WHERE status = 'succeeded';
ALTER TABLE refunds ENABLE TRIGGER USER;
ALTER TABLE refunds FORCE ROW LEVEL SECURITY;

-- Transactions are listed newest first, the books of a day by when money moved.
CREATE INDEX payments_newest ON payments (tenant, created_at DESC, id DESC);
CREATE INDEX payments_newest_of_gateway ON payments (tenant, gateway, created_at DESC, id DESC);
CREATE INDEX payments_newest_of_status ON payments (tenant, status, created_at DESC, id DESC);
CREATE INDEX payments_order ON payments (tenant, order_id) WHERE order_id IS NOT NULL;
CREATE INDEX payments_begun ON payments (tenant, gateway, begun_at) WHERE begun_at IS NOT NULL;
CREATE INDEX refunds_newest ON refunds (tenant, created_at DESC, id DESC);
CREATE INDEX refunds_newest_of_status ON refunds (tenant, status, created_at DESC, id DESC);
CREATE INDEX refunds_settled ON refunds (tenant, settled_at) WHERE settled_at IS NOT NULL;
CREATE INDEX captures_at ON captures (tenant, captured_at);

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['reconciliations','provider_transactions','reconciliation_items']
  LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY own_tenant ON %I USING (tenant = (SELECT jl.tenant())) WITH CHECK (tenant = (SELECT jl.tenant()))', t);
    EXECUTE format('CREATE POLICY system ON %I TO jl_system USING (true) WITH CHECK (true)', t);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON %I TO jl_app, jl_system', t);
  END LOOP;
END $$;
-- +goose StatementEnd
-- A corrected settlement file takes the place of the first one, and a difference
-- that has gone leaves no item. What people decided stays in support_actions.
GRANT DELETE ON provider_transactions, reconciliation_items TO jl_app, jl_system;

-- +goose Down
DROP INDEX payments_newest, payments_newest_of_gateway, payments_newest_of_status, payments_order, payments_begun, refunds_newest, refunds_newest_of_status, captures_at;
DROP TRIGGER date_refund ON refunds;
DROP FUNCTION jl.date_refund();
ALTER TABLE refunds DROP COLUMN settled_at;
DROP TABLE reconciliation_items, provider_transactions, reconciliations;
