-- +goose Up
-- Counting bins: documents with a task a bin, what each counter saw, reasons for
-- differences, plans that make the day's tasks, and alerts of low stock.

-- Why stock is corrected: those the program knows, and the tenant's own over them.
CREATE TABLE adjustment_reasons (
  tenant     text NOT NULL,
  code       text NOT NULL CHECK (code ~ '^[a-z][a-z0-9_]{0,31}$'),
  name_es    text NOT NULL CHECK (name_es <> ''),
  name_en    text NOT NULL CHECK (name_en <> ''),
  active     boolean NOT NULL DEFAULT true,
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, code),
  FOREIGN KEY (tenant) REFERENCES tenants
);

CREATE TABLE counts (
  tenant            text NOT NULL,
  id                text NOT NULL CHECK (length(id) = 26),
  warehouse         text NOT NULL,
  -- who made it: a person, a plan's day, or what a picker did not find
  origin            text NOT NULL CHECK (origin IN ('person','plan','request')),
  plan              text NOT NULL DEFAULT '',
  reason            text NOT NULL,
  -- null: no limit of this kind was given; with neither, every difference is approved
  tolerance_units   int CHECK (tolerance_units >= 0),
  tolerance_percent int CHECK (tolerance_percent BETWEEN 0 AND 100),
  recount           boolean NOT NULL DEFAULT true,
  status            text NOT NULL DEFAULT 'open' CHECK (status IN ('open','done','cancelled')),
  created_by        text NOT NULL CHECK (created_by <> ''),
  -- by when it should be finished, and until when nobody is asked about approvals
  complete_by       timestamptz NOT NULL,
  approvals_rest    timestamptz,
  -- a run has taken it up
  watched           boolean NOT NULL DEFAULT false,
  due_at            timestamptz,
  created_at        timestamptz NOT NULL DEFAULT now(),
  ended_at          timestamptz,
  PRIMARY KEY (tenant, id),
  FOREIGN KEY (tenant, warehouse) REFERENCES warehouses,
  CONSTRAINT an_open_count_is_looked_after CHECK ((status = 'open') = (due_at IS NOT NULL) AND (status = 'open') = (ended_at IS NULL))
);
CREATE INDEX counts_due ON counts (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX counts_unwatched ON counts (created_at) WHERE status = 'open' AND NOT watched;
CREATE INDEX counts_open ON counts (tenant, warehouse, origin) WHERE status = 'open';

CREATE TABLE count_tasks (
  tenant         text NOT NULL,
  count_id       text NOT NULL,
  bin            text NOT NULL,
  -- what the address of the task has: made of the count's and the bin's
  id             text NOT NULL CHECK (length(id) = 26),
  warehouse      text NOT NULL,
  zone           text NOT NULL DEFAULT '',
  -- by picks of the last 90 days; '' where nobody has asked
  class          text NOT NULL DEFAULT '' CHECK (class IN ('','A','B','C')),
  status         text NOT NULL DEFAULT 'open' CHECK (status IN ('open','counting','recount','awaiting_approval','done','cancelled')),
  -- right: as the books said; adjusted: the books were corrected
  outcome        text NOT NULL DEFAULT '' CHECK (outcome IN ('','right','adjusted')),
  -- counts so far, and those of them that a rejection has set aside
  attempts       int NOT NULL DEFAULT 0,
  rejected       int NOT NULL DEFAULT 0,
  -- who counts now, and since when
  person         text NOT NULL DEFAULT '',
  began_at       timestamptz,
  -- a movement of the ledger before the count began: those since are behind it
  began_after    bigint NOT NULL DEFAULT 0,
  waits_since    timestamptz,
  decided_by     text NOT NULL DEFAULT '',
  expected_units int NOT NULL DEFAULT 0,
  units_over     int NOT NULL DEFAULT 0,
  units_under    int NOT NULL DEFAULT 0,
  version        bigint NOT NULL DEFAULT 1,
  created_at     timestamptz NOT NULL DEFAULT now(),
  updated_at     timestamptz NOT NULL DEFAULT now(),
  ended_at       timestamptz,
  PRIMARY KEY (tenant, count_id, bin),
  UNIQUE (tenant, id),
  FOREIGN KEY (tenant, count_id) REFERENCES counts,
  FOREIGN KEY (tenant, warehouse, bin) REFERENCES bins,
  CONSTRAINT a_count_has_a_counter CHECK (status <> 'counting' OR person <> '' AND began_at IS NOT NULL),
  CONSTRAINT what_waits_says_since_when CHECK ((status = 'awaiting_approval') = (waits_since IS NOT NULL)),
  CONSTRAINT a_counted_bin_has_an_outcome CHECK ((status = 'done') = (outcome <> '') AND (status IN ('done','cancelled')) = (ended_at IS NOT NULL))
);
-- Nobody is sent to a bin that somebody else is to count.
CREATE UNIQUE INDEX a_bin_is_counted_once_at_a_time ON count_tasks (tenant, warehouse, bin) WHERE status NOT IN ('done','cancelled');
CREATE INDEX count_tasks_left ON count_tasks (tenant, count_id, status) WHERE status NOT IN ('done','cancelled');
CREATE INDEX count_tasks_live ON count_tasks (tenant, id) WHERE status NOT IN ('done','cancelled');
CREATE INDEX count_tasks_ended ON count_tasks (tenant, warehouse, ended_at) WHERE status = 'done';

-- Who counted when, and what came of it.
CREATE TABLE count_attempts (
  tenant    text NOT NULL,
  count_id  text NOT NULL,
  bin       text NOT NULL,
  attempt   int NOT NULL CHECK (attempt > 0),
  person    text NOT NULL CHECK (person <> ''),
  device    text NOT NULL DEFAULT '',
  began_at  timestamptz NOT NULL,
  -- units moved while it was counted
  moved     boolean NOT NULL,
  -- what was sent, and what it differed in
  digest    text NOT NULL,
  variance  text NOT NULL,
  -- things without a product, and lots that were new to us: only a person lets them pass
  strange   text[] NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, count_id, bin, attempt),
  FOREIGN KEY (tenant, count_id, bin) REFERENCES count_tasks
);

CREATE TABLE count_lines (
  tenant   text NOT NULL,
  count_id text NOT NULL,
  bin      text NOT NULL,
  attempt  int NOT NULL,
  sku      text NOT NULL,
  lot      text NOT NULL DEFAULT '',
  status   text NOT NULL CHECK (status IN ('available','held','expired','damaged')),
  -- what the bin had when the count began, and what was counted
  expected int NOT NULL,
  counted  int NOT NULL CHECK (counted >= 0),
  -- numbers that were counted, those of them that were not expected, and those that were not found
  serials  text[] NOT NULL DEFAULT '{}',
  found    text[] NOT NULL DEFAULT '{}',
  missing  text[] NOT NULL DEFAULT '{}',
  expires_on date,
  PRIMARY KEY (tenant, count_id, bin, attempt, sku, lot, status),
  FOREIGN KEY (tenant, count_id, bin, attempt) REFERENCES count_attempts,
  FOREIGN KEY (tenant, sku) REFERENCES products
);

CREATE TABLE count_plans (
  tenant       text NOT NULL,
  name         text NOT NULL CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
  warehouse    text NOT NULL,
  zone         text NOT NULL DEFAULT '',
  class        text NOT NULL DEFAULT '' CHECK (class IN ('','A','B','C')),
  every_days   int NOT NULL CHECK (every_days BETWEEN 1 AND 3650),
  bins_per_day int NOT NULL CHECK (bins_per_day BETWEEN 1 AND 10000),
  active       boolean NOT NULL DEFAULT true,
  created_at   timestamptz NOT NULL DEFAULT now(),
  updated_at   timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, name),
  FOREIGN KEY (tenant, warehouse) REFERENCES warehouses
);
-- A plan's day is made once; a day on which nothing was due has no count.
CREATE TABLE count_plan_days (
  tenant   text NOT NULL,
  plan     text NOT NULL,
  day      date NOT NULL,
  count_id text,
  PRIMARY KEY (tenant, plan, day),
  FOREIGN KEY (tenant, plan) REFERENCES count_plans
);

ALTER TABLE count_requests ADD COLUMN count_id text;

-- A request is a task at once: in a count of the warehouse's requests, or the
-- task that the bin has already.
-- +goose StatementBegin
CREATE FUNCTION jl.take_count_request() RETURNS trigger LANGUAGE plpgsql SET search_path = public, jl AS
$$
DECLARE
  target text;
BEGIN
  IF NEW.count_id IS NOT NULL THEN RETURN NEW; END IF;
  FOR try IN 1..3 LOOP
    SELECT count_id INTO NEW.count_id FROM count_tasks
     WHERE tenant = NEW.tenant AND warehouse = NEW.warehouse AND bin = NEW.bin AND status NOT IN ('done','cancelled');
    IF FOUND THEN RETURN NEW; END IF;
    SELECT id INTO target FROM counts c WHERE c.tenant = NEW.tenant AND c.warehouse = NEW.warehouse AND c.origin = 'request' AND c.status = 'open'
       AND NOT EXISTS (SELECT FROM count_tasks t WHERE t.tenant = c.tenant AND t.count_id = c.id AND t.bin = NEW.bin)
     ORDER BY id DESC LIMIT 1 FOR SHARE;
    IF NOT FOUND THEN
      target := NEW.id;
      INSERT INTO counts (tenant, id, warehouse, origin, reason, created_by, complete_by, due_at)
      VALUES (NEW.tenant, target, NEW.warehouse, 'request', 'miscount', 'system', now() + interval '1 day', now() + interval '5 minutes') ON CONFLICT DO NOTHING;
    END IF;
    INSERT INTO count_tasks (tenant, count_id, bin, id, warehouse, zone)
    SELECT b.tenant, target, b.code, substr(target, 1, 10) || upper(substr(md5(target || ' ' || b.code), 1, 16)), b.warehouse, b.zone
      FROM bins b WHERE b.tenant = NEW.tenant AND b.warehouse = NEW.warehouse AND b.code = NEW.bin
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
      NEW.count_id := target;
      RETURN NEW;
    END IF;
  END LOOP;
  RETURN NEW; -- no such bin: nothing to count
END
$$;
-- +goose StatementEnd
CREATE TRIGGER take_count_request BEFORE INSERT ON count_requests FOR EACH ROW EXECUTE FUNCTION jl.take_count_request();

-- A bin that was counted is trusted again, and so is one of which a person has
-- said that it need not be.
-- +goose StatementBegin
CREATE FUNCTION jl.end_count_requests() RETURNS trigger LANGUAGE plpgsql SET search_path = public, jl AS
$$
BEGIN
  DELETE FROM count_requests WHERE tenant = NEW.tenant AND warehouse = NEW.warehouse AND bin = NEW.bin;
  RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER end_count_requests AFTER UPDATE OF status ON count_tasks FOR EACH ROW
  WHEN (NEW.status IN ('done','cancelled') AND OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION jl.end_count_requests();

-- Stock that falls below what its owner wants to have. The limit stands in the
-- level itself: a hold that crosses nothing pays for one comparison.
ALTER TABLE stock_levels ADD COLUMN alert_below int CHECK (alert_below > 0);
CREATE TABLE stock_alerts (
  tenant    text NOT NULL,
  id        bigint GENERATED ALWAYS AS IDENTITY,
  sku       text NOT NULL,
  warehouse text NOT NULL,
  threshold int NOT NULL,
  -- what could be sold when it fell below
  available int NOT NULL,
  opened_at timestamptz NOT NULL DEFAULT now(),
  closed_at timestamptz,
  PRIMARY KEY (tenant, id),
  FOREIGN KEY (tenant, sku, warehouse) REFERENCES stock_levels
);
CREATE UNIQUE INDEX one_alert_a_crossing ON stock_alerts (tenant, sku, warehouse) WHERE closed_at IS NULL;
-- +goose StatementBegin
CREATE FUNCTION jl.mark_crossing() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, jl AS
$$
BEGIN
  IF NEW.on_hand - NEW.reserved < NEW.alert_below THEN
    INSERT INTO stock_alerts (tenant, sku, warehouse, threshold, available) VALUES (NEW.tenant, NEW.sku, NEW.warehouse, NEW.alert_below, NEW.on_hand - NEW.reserved);
  ELSE
    UPDATE stock_alerts SET closed_at = now() WHERE tenant = NEW.tenant AND sku = NEW.sku AND warehouse = NEW.warehouse AND closed_at IS NULL;
  END IF;
  RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER mark_crossing AFTER UPDATE ON stock_levels FOR EACH ROW
  WHEN ((OLD.on_hand - OLD.reserved < OLD.alert_below) IS DISTINCT FROM (NEW.on_hand - NEW.reserved < NEW.alert_below)) EXECUTE FUNCTION jl.mark_crossing();

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['adjustment_reasons','counts','count_tasks','count_attempts','count_lines','count_plans','count_plan_days','stock_alerts'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY own_tenant ON %I USING (tenant = (SELECT jl.tenant())) WITH CHECK (tenant = (SELECT jl.tenant()))', t);
    EXECUTE format('CREATE POLICY system ON %I TO jl_system USING (true) WITH CHECK (true)', t);
    EXECUTE format('GRANT SELECT, INSERT ON %I TO jl_system', t);
    EXECUTE format('GRANT SELECT ON %I TO jl_app', t);
  END LOOP;
END $$;
-- +goose StatementEnd
GRANT INSERT ON count_attempts, count_lines, count_plan_days TO jl_app;
GRANT INSERT, UPDATE ON adjustment_reasons, counts, count_tasks, count_plans TO jl_app;
GRANT UPDATE (count_id) ON count_plan_days TO jl_app;
GRANT UPDATE (alert_below) ON stock_levels TO jl_app;
-- The trigger writes alerts as jl_system; nobody else does.
GRANT UPDATE (closed_at) ON stock_alerts TO jl_system;
ALTER FUNCTION jl.mark_crossing() OWNER TO jl_system;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA jl TO jl_app, jl_system;

-- +goose Down
DROP TRIGGER mark_crossing ON stock_levels;
DROP TRIGGER take_count_request ON count_requests;
ALTER TABLE count_requests DROP COLUMN count_id;
DROP TABLE stock_alerts, count_plan_days, count_plans, count_lines, count_attempts, count_tasks, counts, adjustment_reasons;
DROP FUNCTION jl.mark_crossing(), jl.take_count_request(), jl.end_count_requests();
ALTER TABLE stock_levels DROP COLUMN alert_below;
