-- +goose Up
-- +goose StatementBegin
DO $$
BEGIN
  -- Roles belong to the whole cluster: another database's migration may have
  -- made them, or be making them now (no lock of ours reaches across databases).
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'jl_app') THEN
    BEGIN
      CREATE ROLE jl_app NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOINHERIT NOLOGIN;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
    END;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'jl_system') THEN
    BEGIN
      CREATE ROLE jl_system NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOLOGIN;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
    END;
  END IF;
  -- The program becomes jl_system by SET ROLE for the work that is nobody's
  -- alone (sweeper, inbox loop, audit); it never inherits its rights.
  IF NOT EXISTS (SELECT FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles u ON u.oid = m.member
                 WHERE r.rolname = 'jl_system' AND u.rolname = 'jl_app') THEN
    BEGIN
      GRANT jl_system TO jl_app;
    EXCEPTION WHEN unique_violation THEN NULL;
    END;
  END IF;
END $$;
-- +goose StatementEnd

CREATE SCHEMA IF NOT EXISTS jl;
GRANT USAGE ON SCHEMA public, jl TO jl_app, jl_system;

-- The tenant of the running transaction; no tenant set means no rows.
CREATE FUNCTION jl.tenant() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
  AS $$ SELECT nullif(current_setting('app.tenant', true), '') $$;

CREATE TABLE tenants (
  tenant     text PRIMARY KEY CHECK (tenant ~ '^[a-z0-9][a-z0-9-]{0,31}$'),
  name       text NOT NULL CHECK (name <> ''),
  settings   jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE tenant_counters (
  tenant text NOT NULL REFERENCES tenants,
  kind   text NOT NULL,
  value  bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant, kind)
);

CREATE TABLE api_keys (
  tenant     text NOT NULL REFERENCES tenants,
  id         text NOT NULL CHECK (length(id) = 26),
  hash       bytea NOT NULL CHECK (length(hash) = 32),
  name       text NOT NULL,
  scopes     text[] NOT NULL CHECK (scopes <@ ARRAY['storefront','warehouse','support','admin'] AND cardinality(scopes) > 0),
  -- An operator's key may act for more tenants than its own.
  also_for   text[] NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL DEFAULT now(),
  revoked_at timestamptz,
  PRIMARY KEY (tenant, id)
);
CREATE UNIQUE INDEX api_keys_hash ON api_keys (hash);

CREATE TABLE provider_credentials (
  tenant     text NOT NULL REFERENCES tenants,
  provider   text NOT NULL,
  key_id     text NOT NULL,
  box        bytea NOT NULL,
  version    bigint NOT NULL DEFAULT 1,
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, provider)
);

CREATE TABLE idempotency_keys (
  tenant       text NOT NULL REFERENCES tenants,
  key          text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
  method       text NOT NULL,
  path         text NOT NULL,
  body_hash    bytea NOT NULL,
  -- Who works on it, and until when others must believe so.
  lease        text,
  lease_until  timestamptz,
  resource_id  text,
  status       int,
  location     text,
  body         bytea,
  created_at   timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, key),
  CHECK (status IS NULL OR (status BETWEEN 200 AND 499 AND body IS NOT NULL))
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- Catalogue -----------------------------------------------------------------

CREATE TABLE products (
  tenant        text NOT NULL REFERENCES tenants,
  sku           text NOT NULL CHECK (sku ~ '^[A-Za-z0-9._-]{1,64}$'),
  name          text NOT NULL CHECK (name <> ''),
  product       text NOT NULL,
  options       jsonb NOT NULL DEFAULT '{}',
  weight_grams  int NOT NULL DEFAULT 0 CHECK (weight_grams >= 0),
  length_mm     int NOT NULL DEFAULT 0 CHECK (length_mm >= 0),
  width_mm      int NOT NULL DEFAULT 0 CHECK (width_mm >= 0),
  height_mm     int NOT NULL DEFAULT 0 CHECK (height_mm >= 0),
  barcodes      text[] NOT NULL DEFAULT '{}',
  images        text[] NOT NULL DEFAULT '{}',
  tax           text NOT NULL DEFAULT 'iva' CHECK (tax IN ('iva','exempt')),
  active        boolean NOT NULL DEFAULT true,
  max_per_order int CHECK (max_per_order > 0),
  created_at    timestamptz NOT NULL DEFAULT now(),
  updated_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, sku)
);

CREATE TABLE prices (
  tenant   text NOT NULL,
  sku      text NOT NULL,
  currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  amount   bigint NOT NULL CHECK (amount >= 0),
  PRIMARY KEY (tenant, sku, currency),
  FOREIGN KEY (tenant, sku) REFERENCES products
);

CREATE TABLE discount_codes (
  tenant     text NOT NULL REFERENCES tenants,
  code       text NOT NULL CHECK (code = upper(code) AND length(code) BETWEEN 1 AND 40),
  kind       text NOT NULL CHECK (kind IN ('percent','amount')),
  -- percent in hundredths of a percent (1050 = 10.5 %), amount in minor units
  value      bigint NOT NULL CHECK (value > 0 AND (kind <> 'percent' OR value <= 10000)),
  currency   text,
  starts_at  timestamptz,
  ends_at    timestamptz,
  max_uses   int CHECK (max_uses > 0),
  used       int NOT NULL DEFAULT 0,
  active     boolean NOT NULL DEFAULT true,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, code),
  CHECK (used >= 0 AND (max_uses IS NULL OR used <= max_uses)),
  CHECK (kind <> 'amount' OR currency IS NOT NULL)
);

-- Stock ---------------------------------------------------------------------

CREATE TABLE warehouses (
  tenant     text NOT NULL REFERENCES tenants,
  code       text NOT NULL CHECK (code ~ '^[A-Za-z0-9._-]{1,32}$'),
  name       text NOT NULL,
  region     text NOT NULL,
  comuna     text NOT NULL DEFAULT '',
  position   int NOT NULL DEFAULT 0,
  active     boolean NOT NULL DEFAULT true,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, code)
);

CREATE TABLE stock_levels (
  tenant     text NOT NULL,
  sku        text NOT NULL,
  warehouse  text NOT NULL,
  on_hand    int NOT NULL DEFAULT 0,
  reserved   int NOT NULL DEFAULT 0,
  -- channel -> units kept for it and not yet held by it
  set_aside  jsonb NOT NULL DEFAULT '{}',
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, sku, warehouse),
  FOREIGN KEY (tenant, sku) REFERENCES products,
  FOREIGN KEY (tenant, warehouse) REFERENCES warehouses,
  CONSTRAINT no_unit_promised_twice CHECK (0 <= reserved AND reserved <= on_hand)
) WITH (fillfactor = 70);

CREATE TABLE stock_movements (
  tenant     text NOT NULL,
  id         bigint GENERATED ALWAYS AS IDENTITY,
  sku        text NOT NULL,
  warehouse  text NOT NULL,
  delta      int NOT NULL CHECK (delta <> 0),
  reason     text NOT NULL CHECK (reason IN ('count','receipt','adjustment','damage','loss','transfer_out','transfer_in','handed_over','sold_at_counter','return')),
  note       text NOT NULL DEFAULT '',
  reference  text NOT NULL DEFAULT '',
  actor      text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, id),
  FOREIGN KEY (tenant, sku, warehouse) REFERENCES stock_levels
);
CREATE INDEX stock_movements_sku ON stock_movements (tenant, sku, warehouse, id);

-- on_hand moves only with a movement, so the two cannot drift apart: the
-- program has no right to update the column.
-- +goose StatementBegin
CREATE FUNCTION jl.apply_movement() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, jl AS
$$
BEGIN
  UPDATE stock_levels SET on_hand = on_hand + NEW.delta, updated_at = now()
   WHERE tenant = NEW.tenant AND sku = NEW.sku AND warehouse = NEW.warehouse;
  RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER apply_movement AFTER INSERT ON stock_movements FOR EACH ROW EXECUTE FUNCTION jl.apply_movement();

CREATE TABLE holds (
  tenant       text NOT NULL REFERENCES tenants,
  id           text NOT NULL CHECK (length(id) = 26),
  checkout_id  text,
  channel      text NOT NULL,
  status       text NOT NULL CHECK (status IN ('held','confirmed','released','expired','short')),
  started_at   timestamptz NOT NULL DEFAULT now(),
  expires_at   timestamptz NOT NULL,
  held_until   timestamptz NOT NULL,
  confirmed_at timestamptz,
  ended_at     timestamptz,
  order_id     text,
  buyer        text NOT NULL DEFAULT '',
  details      jsonb NOT NULL DEFAULT '{}',
  created_at   timestamptz NOT NULL DEFAULT now(),
  updated_at   timestamptz NOT NULL DEFAULT now(),
  due_at       timestamptz,
  PRIMARY KEY (tenant, id),
  CONSTRAINT authority_never_before_promise CHECK (held_until >= expires_at),
  CONSTRAINT confirmed_has_time CHECK (status <> 'confirmed' OR confirmed_at IS NOT NULL),
  CONSTRAINT live_has_due CHECK (status IN ('confirmed','released','expired') OR due_at IS NOT NULL)
);
CREATE INDEX holds_checkout ON holds (tenant, checkout_id);
CREATE INDEX holds_live ON holds (held_until) WHERE status IN ('held','short') AND confirmed_at IS NULL;
CREATE INDEX holds_due ON holds (due_at) WHERE due_at IS NOT NULL;
-- One live promise per checkout: a checkout that holds again has let go first.
CREATE UNIQUE INDEX holds_one_live_per_checkout ON holds (tenant, checkout_id)
  WHERE checkout_id IS NOT NULL AND status IN ('held','confirmed','short');

CREATE TABLE hold_lines (
  tenant         text NOT NULL,
  hold_id        text NOT NULL,
  sku            text NOT NULL,
  warehouse      text NOT NULL,
  -- zero when a count took all of it and other shelves stood in
  quantity       int NOT NULL CHECK (quantity >= 0),
  shorted        int NOT NULL DEFAULT 0 CHECK (shorted >= 0),
  left_stock     int NOT NULL DEFAULT 0 CHECK (left_stock >= 0),
  from_set_aside int NOT NULL DEFAULT 0 CHECK (from_set_aside >= 0),
  PRIMARY KEY (tenant, hold_id, sku, warehouse),
  FOREIGN KEY (tenant, hold_id) REFERENCES holds,
  FOREIGN KEY (tenant, sku, warehouse) REFERENCES stock_levels,
  CHECK (shorted + left_stock <= quantity)
);
CREATE INDEX hold_lines_stock ON hold_lines (tenant, sku, warehouse);

-- Checkouts, payments, orders -------------------------------------------------

CREATE TABLE checkouts (
  tenant              text NOT NULL REFERENCES tenants,
  id                  text NOT NULL CHECK (length(id) = 26),
  number              text NOT NULL,
  status              text NOT NULL CHECK (status IN ('reserving','awaiting_payment','paid','expired','cancelled','payment_failed')),
  channel             text NOT NULL,
  currency            text NOT NULL,
  email               text NOT NULL,
  rut                 text NOT NULL DEFAULT '',
  client_ip           text NOT NULL DEFAULT '',
  customer_ref        text NOT NULL DEFAULT '',
  customer            jsonb NOT NULL,
  shipping            jsonb NOT NULL,
  gateway             text NOT NULL,
  payment_options     jsonb NOT NULL DEFAULT '{}',
  return_url          text NOT NULL,
  metadata            jsonb NOT NULL DEFAULT '{}',
  hold_seconds        int NOT NULL CHECK (hold_seconds > 0),
  exempt_from_limits  boolean NOT NULL DEFAULT false,
  replaces            text,
  discount_code       text,
  items_total         bigint NOT NULL CHECK (items_total >= 0),
  discount_total      bigint NOT NULL CHECK (discount_total >= 0),
  shipping_total      bigint NOT NULL CHECK (shipping_total >= 0),
  tax_total           bigint NOT NULL CHECK (tax_total >= 0),
  total               bigint NOT NULL CHECK (total > 0),
  hold_id             text,
  expires_at          timestamptz,
  caller_waits_until  timestamptz NOT NULL,
  cancel_requested_at timestamptz,
  cancel_reason       text,
  failure_code        text,
  failure_message     text,
  failure_lines       jsonb,
  order_id            text,
  -- when no attempt could be approved any more and the run ended
  closed_at           timestamptz,
  created_at          timestamptz NOT NULL DEFAULT now(),
  updated_at          timestamptz NOT NULL DEFAULT now(),
  due_at              timestamptz,
  PRIMARY KEY (tenant, id),
  UNIQUE (tenant, number),
  CONSTRAINT totals_add_up CHECK (total = items_total - discount_total + shipping_total),
  CONSTRAINT paid_is_an_order CHECK ((status = 'paid') = (order_id IS NOT NULL)),
  CONSTRAINT order_has_its_checkouts_id CHECK (order_id IS NULL OR order_id = id),
  CONSTRAINT open_has_due CHECK (status NOT IN ('reserving','awaiting_payment') OR due_at IS NOT NULL)
);
CREATE INDEX checkouts_due ON checkouts (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX checkouts_open_email ON checkouts (tenant, email) WHERE status IN ('reserving','awaiting_payment');
CREATE INDEX checkouts_open_rut ON checkouts (tenant, rut) WHERE rut <> '' AND status IN ('reserving','awaiting_payment');
CREATE INDEX checkouts_open_ip ON checkouts (tenant, client_ip) WHERE client_ip <> '' AND status IN ('reserving','awaiting_payment');
CREATE INDEX checkouts_unpaid_email ON checkouts (tenant, email, created_at) WHERE status IN ('expired','payment_failed','cancelled');

CREATE TABLE checkout_lines (
  tenant      text NOT NULL,
  checkout_id text NOT NULL,
  position    int NOT NULL,
  sku         text NOT NULL,
  name        text NOT NULL,
  quantity    int NOT NULL CHECK (quantity > 0),
  unit_price  bigint NOT NULL CHECK (unit_price >= 0),
  tax         text NOT NULL,
  total       bigint NOT NULL,
  PRIMARY KEY (tenant, checkout_id, position),
  UNIQUE (tenant, checkout_id, sku),
  FOREIGN KEY (tenant, checkout_id) REFERENCES checkouts,
  FOREIGN KEY (tenant, sku) REFERENCES products,
  CHECK (total = unit_price * quantity)
);

CREATE TABLE discount_uses (
  tenant      text NOT NULL,
  code        text NOT NULL,
  checkout_id text NOT NULL,
  given_back  boolean NOT NULL DEFAULT false,
  PRIMARY KEY (tenant, code, checkout_id),
  FOREIGN KEY (tenant, code) REFERENCES discount_codes,
  FOREIGN KEY (tenant, checkout_id) REFERENCES checkouts
);
-- The counter follows the uses, whoever writes them.
-- +goose StatementBegin
CREATE FUNCTION jl.count_discount_use() RETURNS trigger LANGUAGE plpgsql AS
$$
DECLARE d int := 0;
BEGIN
  IF TG_OP = 'INSERT' AND NOT NEW.given_back THEN d := 1;
  ELSIF TG_OP = 'UPDATE' THEN d := OLD.given_back::int - NEW.given_back::int;
  END IF;
  IF d <> 0 THEN
    UPDATE discount_codes SET used = used + d, updated_at = now() WHERE tenant = NEW.tenant AND code = NEW.code;
  END IF;
  RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER count_discount_use AFTER INSERT OR UPDATE ON discount_uses FOR EACH ROW EXECUTE FUNCTION jl.count_discount_use();

CREATE TABLE orders (
  tenant         text NOT NULL REFERENCES tenants,
  id             text NOT NULL CHECK (length(id) = 26),
  number         text NOT NULL,
  status         text NOT NULL CHECK (status IN ('paid','in_fulfillment','shipped','delivered','completed','cancelled')),
  attention      text,
  channel        text NOT NULL,
  currency       text NOT NULL,
  email          text NOT NULL DEFAULT '',
  customer       jsonb NOT NULL DEFAULT '{}',
  shipping       jsonb NOT NULL DEFAULT '{}',
  hold_id        text NOT NULL,
  items_total    bigint NOT NULL,
  discount_total bigint NOT NULL,
  shipping_total bigint NOT NULL,
  tax_total      bigint NOT NULL,
  total          bigint NOT NULL CHECK (total >= 0),
  metadata       jsonb NOT NULL DEFAULT '{}',
  paid_at        timestamptz NOT NULL DEFAULT now(),
  created_at     timestamptz NOT NULL DEFAULT now(),
  updated_at     timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, id),
  UNIQUE (tenant, number),
  CONSTRAINT order_totals_add_up CHECK (total = items_total - discount_total + shipping_total)
);
CREATE INDEX orders_newest ON orders (tenant, id DESC);
CREATE INDEX orders_status ON orders (tenant, status, id DESC);

CREATE TABLE order_lines (
  tenant     text NOT NULL,
  order_id   text NOT NULL,
  line_id    text NOT NULL CHECK (length(line_id) = 26),
  position   int NOT NULL,
  sku        text NOT NULL,
  name       text NOT NULL,
  quantity   int NOT NULL CHECK (quantity > 0),
  unit_price bigint NOT NULL,
  discount   bigint NOT NULL CHECK (discount >= 0),
  total      bigint NOT NULL CHECK (total >= 0),
  tax        bigint NOT NULL CHECK (tax >= 0),
  PRIMARY KEY (tenant, line_id),
  UNIQUE (tenant, order_id, position),
  FOREIGN KEY (tenant, order_id) REFERENCES orders,
  CHECK (total = unit_price * quantity - discount)
);

-- What must leave the shelf for an order, one per warehouse.
CREATE TABLE shipments (
  tenant     text NOT NULL,
  id         text NOT NULL CHECK (length(id) = 26),
  order_id   text NOT NULL,
  warehouse  text NOT NULL,
  status     text NOT NULL CHECK (status IN ('pending','picking','packed','labelled','handed_over','in_transit','out_for_delivery','delivered','delivery_failed','returned_to_sender','lost','cancelled')),
  lines      jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  due_at     timestamptz,
  PRIMARY KEY (tenant, id),
  UNIQUE (tenant, order_id, warehouse),
  FOREIGN KEY (tenant, order_id) REFERENCES orders
);
CREATE INDEX shipments_due ON shipments (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE payments (
  tenant             text NOT NULL REFERENCES tenants,
  id                 text NOT NULL CHECK (length(id) = 26),
  checkout_id        text,
  order_id           text,
  attempt            int NOT NULL CHECK (attempt > 0),
  gateway            text NOT NULL,
  method             text NOT NULL DEFAULT '',
  amount             bigint NOT NULL CHECK (amount >= 0),
  currency           text NOT NULL,
  status             text NOT NULL CHECK (status IN ('pending','processing','authorized','captured','declined','cancelled','expired','unknown','partially_refunded','refunded','disputed','charged_back')),
  return_url         text NOT NULL DEFAULT '',
  -- where the money must arrive, by the credentials it was begun with
  account            text NOT NULL DEFAULT '',
  live_mode          boolean NOT NULL DEFAULT false,
  reference          text NOT NULL DEFAULT '',
  capture_ref        text NOT NULL DEFAULT '',
  redirect           jsonb,
  expires_at         timestamptz,
  payable_until      timestamptz,
  closed             boolean NOT NULL DEFAULT false,
  -- intents: written before the call that they announce
  begin_tried_at     timestamptz,
  settle_tried_at    timestamptz,
  close_tried_at     timestamptz,
  begun_at           timestamptz,
  authorization_code text NOT NULL DEFAULT '',
  card_last4         text NOT NULL DEFAULT '',
  installments       int NOT NULL DEFAULT 0,
  code               text NOT NULL DEFAULT '',
  message            text NOT NULL DEFAULT '',
  review             boolean NOT NULL DEFAULT false,
  captured_amount    bigint NOT NULL DEFAULT 0 CHECK (captured_amount >= 0),
  -- ours that are pending, succeeded or unknown
  refunded_amount    bigint NOT NULL DEFAULT 0 CHECK (refunded_amount >= 0),
  applied            boolean NOT NULL DEFAULT false,
  applied_at         timestamptz,
  not_applied_reason text,
  created_at         timestamptz NOT NULL DEFAULT now(),
  updated_at         timestamptz NOT NULL DEFAULT now(),
  due_at             timestamptz,
  PRIMARY KEY (tenant, id),
  UNIQUE (tenant, checkout_id, attempt),
  FOREIGN KEY (tenant, checkout_id) REFERENCES checkouts,
  CONSTRAINT no_more_back_than_taken CHECK (refunded_amount <= captured_amount),
  CONSTRAINT only_money_is_applied CHECK (NOT applied OR (applied_at IS NOT NULL AND status IN ('authorized','captured','partially_refunded','refunded','disputed','charged_back'))),
  CONSTRAINT unsettled_has_due CHECK (status NOT IN ('pending','processing','unknown') OR due_at IS NOT NULL)
);
CREATE UNIQUE INDEX payments_one_applied ON payments (tenant, coalesce(order_id, checkout_id)) WHERE applied;
CREATE INDEX payments_due ON payments (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX payments_reference ON payments (tenant, gateway, reference) WHERE reference <> '';

CREATE TABLE captures (
  tenant      text NOT NULL,
  id          text NOT NULL CHECK (length(id) = 26),
  payment_id  text NOT NULL,
  amount      bigint NOT NULL CHECK (amount > 0),
  currency    text NOT NULL,
  reference   text NOT NULL,
  captured_at timestamptz NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, id),
  UNIQUE (tenant, payment_id, reference),
  FOREIGN KEY (tenant, payment_id) REFERENCES payments
);

CREATE TABLE refunds (
  tenant          text NOT NULL,
  id              text NOT NULL CHECK (length(id) = 26),
  payment_id      text NOT NULL,
  order_id        text,
  amount          bigint NOT NULL CHECK (amount > 0),
  currency        text NOT NULL,
  reason          text NOT NULL,
  status          text NOT NULL CHECK (status IN ('pending','unknown','succeeded','failed','needs_attention')),
  origin          text NOT NULL DEFAULT 'ours' CHECK (origin IN ('ours','provider')),
  reference       text NOT NULL DEFAULT '',
  refunded_before bigint NOT NULL DEFAULT 0,
  tried_at        timestamptz,
  code            text NOT NULL DEFAULT '',
  message         text NOT NULL DEFAULT '',
  created_at      timestamptz NOT NULL DEFAULT now(),
  updated_at      timestamptz NOT NULL DEFAULT now(),
  due_at          timestamptz,
  PRIMARY KEY (tenant, id),
  FOREIGN KEY (tenant, payment_id) REFERENCES payments,
  CONSTRAINT open_refund_has_due CHECK (status NOT IN ('pending','unknown') OR due_at IS NOT NULL)
);
CREATE INDEX refunds_due ON refunds (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX refunds_payment ON refunds (tenant, payment_id);
-- A payment that may not be kept is given back whole once, however often the
-- news of it comes.
CREATE UNIQUE INDEX refunds_once_per_stray ON refunds (tenant, payment_id)
  WHERE reason IN ('duplicate_payment','late_payment','cancelled_checkout') AND origin = 'ours' AND status <> 'failed';

-- +goose StatementBegin
CREATE FUNCTION jl.count_refund() RETURNS trigger LANGUAGE plpgsql AS
$$
DECLARE d bigint := 0;
BEGIN
  -- A failed refund counts as not made, also when it fails days later.
  IF TG_OP = 'UPDATE' AND OLD.origin = 'ours' AND OLD.status <> 'failed' THEN d := d - OLD.amount; END IF;
  IF NEW.origin = 'ours' AND NEW.status <> 'failed' THEN d := d + NEW.amount; END IF;
  IF d <> 0 THEN
    UPDATE payments SET refunded_amount = refunded_amount + d, updated_at = now() WHERE tenant = NEW.tenant AND id = NEW.payment_id;
  END IF;
  RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER count_refund AFTER INSERT OR UPDATE ON refunds FOR EACH ROW EXECUTE FUNCTION jl.count_refund();

-- News, timeline, support -----------------------------------------------------

CREATE TABLE inbox (
  tenant          text NOT NULL REFERENCES tenants,
  id              text NOT NULL CHECK (length(id) = 26),
  gateway         text NOT NULL,
  kind            text NOT NULL CHECK (kind IN ('webhook','return')),
  event_id        text NOT NULL DEFAULT '',
  event_type      text NOT NULL DEFAULT '',
  payment_id      text NOT NULL DEFAULT '',
  reference       text NOT NULL DEFAULT '',
  signed          boolean NOT NULL,
  claim           text NOT NULL DEFAULT 'unknown',
  detail          jsonb NOT NULL DEFAULT '{}',
  received_at     timestamptz NOT NULL DEFAULT now(),
  status          text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending','applied','ignored')),
  reason          text NOT NULL DEFAULT '',
  attempts        int NOT NULL DEFAULT 0,
  next_attempt_at timestamptz NOT NULL DEFAULT now(),
  settled_at      timestamptz,
  due_at          timestamptz DEFAULT now() + interval '2 minutes',
  PRIMARY KEY (tenant, id),
  CONSTRAINT ignored_says_why CHECK (status <> 'ignored' OR reason <> ''),
  CONSTRAINT pending_has_due CHECK (status <> 'pending' OR due_at IS NOT NULL)
);
CREATE UNIQUE INDEX inbox_event ON inbox (tenant, gateway, event_id) WHERE event_id <> '';
CREATE UNIQUE INDEX inbox_hint ON inbox (tenant, gateway, kind, payment_id, reference, event_type) WHERE event_id = '' AND status = 'pending';
CREATE INDEX inbox_pending ON inbox (next_attempt_at) WHERE status = 'pending';
CREATE INDEX inbox_payment ON inbox (tenant, payment_id) WHERE status = 'pending';

CREATE TABLE events (
  tenant     text NOT NULL REFERENCES tenants,
  seq        bigint GENERATED ALWAYS AS IDENTITY,
  subject    text NOT NULL,
  kind       text NOT NULL,
  actor      text NOT NULL DEFAULT 'system',
  data       jsonb NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, seq)
);
CREATE INDEX events_subject ON events (tenant, subject, seq);

CREATE TABLE parked (
  tenant      text NOT NULL REFERENCES tenants,
  workflow_id text NOT NULL,
  step        text NOT NULL,
  subject     text NOT NULL,
  reason      text NOT NULL,
  message     text NOT NULL,
  tried       text NOT NULL DEFAULT '',
  verbs       text[] NOT NULL,
  since       timestamptz NOT NULL DEFAULT now(),
  due_at      timestamptz NOT NULL,
  resolved_at timestamptz,
  resolution  text,
  PRIMARY KEY (tenant, workflow_id, step)
);
CREATE INDEX parked_open ON parked (tenant, since) WHERE resolved_at IS NULL;

CREATE TABLE run_problems (
  tenant      text NOT NULL REFERENCES tenants,
  workflow_id text NOT NULL,
  subject     text NOT NULL,
  problem     text NOT NULL CHECK (problem IN ('missing','terminated','failed','wedged','timed_out','cancelled')),
  detail      text NOT NULL DEFAULT '',
  since       timestamptz NOT NULL DEFAULT now(),
  checked_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, workflow_id)
);

CREATE TABLE support_actions (
  tenant      text NOT NULL REFERENCES tenants,
  id          text NOT NULL CHECK (length(id) = 26),
  workflow_id text NOT NULL,
  step        text NOT NULL DEFAULT '',
  verb        text NOT NULL,
  actor       text NOT NULL,
  api_key_id  text NOT NULL,
  reason      text NOT NULL,
  detail      jsonb NOT NULL DEFAULT '{}',
  outcome     text NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, id)
);
CREATE INDEX support_actions_workflow ON support_actions (tenant, workflow_id, created_at);

-- Status moves ------------------------------------------------------------------

-- The moves that are allowed, the same as the table in the program (a test
-- compares them); anything else is refused whoever tries it.
CREATE TABLE status_moves (
  machine     text NOT NULL,
  from_status text NOT NULL,
  to_status   text NOT NULL,
  PRIMARY KEY (machine, from_status, to_status)
);
-- +goose StatementBegin
CREATE FUNCTION jl.check_move() RETURNS trigger LANGUAGE plpgsql AS
$$
BEGIN
  IF NEW.status <> OLD.status AND NOT EXISTS (
      SELECT FROM status_moves WHERE machine = TG_ARGV[0] AND from_status = OLD.status AND to_status = NEW.status) THEN
    RAISE EXCEPTION '% % may not go from % to %', TG_ARGV[0], OLD.id, OLD.status, NEW.status USING ERRCODE = 'check_violation', CONSTRAINT = 'status_moves';
  END IF;
  RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER check_move BEFORE UPDATE OF status ON checkouts FOR EACH ROW EXECUTE FUNCTION jl.check_move('checkout');
CREATE TRIGGER check_move BEFORE UPDATE OF status ON payments  FOR EACH ROW EXECUTE FUNCTION jl.check_move('payment');
CREATE TRIGGER check_move BEFORE UPDATE OF status ON orders    FOR EACH ROW EXECUTE FUNCTION jl.check_move('order');
CREATE TRIGGER check_move BEFORE UPDATE OF status ON refunds   FOR EACH ROW EXECUTE FUNCTION jl.check_move('refund');
CREATE TRIGGER check_move BEFORE UPDATE OF status ON holds     FOR EACH ROW EXECUTE FUNCTION jl.check_move('reservation');

-- Who may see what --------------------------------------------------------------

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['tenants','tenant_counters','api_keys','provider_credentials','idempotency_keys','products','prices','discount_codes',
    'warehouses','stock_levels','stock_movements','holds','hold_lines','checkouts','checkout_lines','discount_uses','orders','order_lines','shipments',
    'payments','captures','refunds','inbox','events','parked','run_problems','support_actions']
  LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY own_tenant ON %I USING (tenant = (SELECT jl.tenant())) WITH CHECK (tenant = (SELECT jl.tenant()))', t);
    EXECUTE format('CREATE POLICY system ON %I TO jl_system USING (true) WITH CHECK (true)', t);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON %I TO jl_app, jl_system', t);
  END LOOP;
END $$;
-- +goose StatementEnd
ALTER TABLE status_moves ENABLE ROW LEVEL SECURITY;
ALTER TABLE status_moves FORCE ROW LEVEL SECURITY;
CREATE POLICY everybody_reads ON status_moves FOR SELECT USING (true);
CREATE POLICY owner_writes ON status_moves TO CURRENT_USER USING (true) WITH CHECK (true);
GRANT SELECT ON status_moves TO jl_app, jl_system;
-- which migrations ran holds nothing of a tenant; readiness reads it
GRANT USAGE ON SCHEMA jl_migrations TO jl_app, jl_system;
GRANT SELECT ON jl_migrations.done TO jl_app, jl_system;

-- Counters that only triggers and conditional statements may move.
REVOKE UPDATE ON stock_levels FROM jl_app, jl_system;
GRANT UPDATE (reserved, set_aside, updated_at) ON stock_levels TO jl_app, jl_system;
REVOKE UPDATE ON stock_movements, events, captures, support_actions FROM jl_app, jl_system;
GRANT DELETE ON idempotency_keys, run_problems TO jl_app, jl_system;
GRANT DELETE ON prices TO jl_app;
ALTER FUNCTION jl.apply_movement() OWNER TO jl_system;
GRANT UPDATE (on_hand) ON stock_levels TO jl_system;

-- An API key names its tenant, so it is looked up before one is known.
CREATE FUNCTION jl.find_api_key(key_hash bytea)
  RETURNS TABLE (tenant text, id text, scopes text[], also_for text[]) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, jl AS
$$ SELECT k.tenant, k.id, k.scopes, k.also_for FROM api_keys k WHERE k.hash = key_hash AND k.revoked_at IS NULL $$;
ALTER FUNCTION jl.find_api_key(bytea) OWNER TO jl_system;
CREATE FUNCTION jl.tenant_exists(slug text) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, jl AS
$$ SELECT EXISTS (SELECT FROM tenants t WHERE t.tenant = slug) $$;
ALTER FUNCTION jl.tenant_exists(text) OWNER TO jl_system;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA jl TO jl_app, jl_system;

-- +goose Down
DROP SCHEMA jl CASCADE;
DROP TABLE status_moves, support_actions, run_problems, parked, events, inbox, refunds, captures, payments, shipments, order_lines, orders,
  discount_uses, checkout_lines, checkouts, hold_lines, holds, stock_movements, stock_levels, warehouses, discount_codes, prices, products,
  idempotency_keys, provider_credentials, api_keys, tenant_counters, tenants CASCADE;
