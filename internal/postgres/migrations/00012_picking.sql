-- +goose Up
-- What pickers walk for: waves, pick lists and their lines. The work itself, units
-- at bins, is in allocations (list_id, line); a list's route is the order of its
-- stops. Lengths are millimetres.

-- unallocated_at: when a wave last found none of its units in any bin; such a one
-- waits behind the others, so that it doesn't take their place in every wave.
ALTER TABLE shipments ADD COLUMN picked_at timestamptz, ADD COLUMN unallocated_at timestamptz;
CREATE INDEX shipments_to_pick ON shipments (tenant, warehouse, unallocated_at, created_at, id) WHERE status = 'pending';

-- Why units were taken that should not have left first.
ALTER TABLE allocations ADD COLUMN override_reason text NOT NULL DEFAULT '';

CREATE TABLE waves (
  tenant      text NOT NULL REFERENCES tenants,
  id          text NOT NULL CHECK (length(id) = 26),
  warehouse   text NOT NULL,
  kind        text NOT NULL CHECK (kind IN ('order','batch','zone')),
  person      text NOT NULL CHECK (person <> ''),
  -- shipments that were asked for and not taken, with the reason of each, orders
  -- that no trolley carries, and units for which there was no bin
  skipped     jsonb NOT NULL DEFAULT '[]',
  too_large   jsonb NOT NULL DEFAULT '[]',
  unallocated jsonb NOT NULL DEFAULT '[]',
  created_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, id),
  FOREIGN KEY (tenant, warehouse) REFERENCES warehouses
);

CREATE TABLE pick_lists (
  tenant       text NOT NULL,
  id           text NOT NULL CHECK (length(id) = 26),
  number       text NOT NULL,
  warehouse    text NOT NULL,
  kind         text NOT NULL CHECK (kind IN ('order','batch','zone')),
  zone         text NOT NULL DEFAULT '',
  wave_id      text NOT NULL,
  status       text NOT NULL CHECK (status IN ('open','in_progress','picked','completed','cancelled')),
  assigned_to  text NOT NULL DEFAULT '',
  version      bigint NOT NULL DEFAULT 1,
  -- the way as it was planned, null where there is no floor plan; S-shape and what
  -- is saved against it only for plans by aisles
  length_mm    bigint CHECK (length_mm >= 0),
  sshape_mm    bigint CHECK (sshape_mm >= 0),
  saved_mm     bigint,
  -- the way through what was left when it was last planned
  left_mm      bigint CHECK (left_mm >= 0),
  path         jsonb NOT NULL DEFAULT '[]',
  stops        jsonb NOT NULL DEFAULT '[]',
  seed         bigint NOT NULL DEFAULT 0,
  rounds       int NOT NULL DEFAULT 0,
  due_at       timestamptz,
  created_at   timestamptz NOT NULL DEFAULT now(),
  updated_at   timestamptz NOT NULL DEFAULT now(),
  started_at   timestamptz,
  completed_at timestamptz,
  PRIMARY KEY (tenant, id),
  UNIQUE (tenant, number),
  FOREIGN KEY (tenant, warehouse) REFERENCES warehouses,
  FOREIGN KEY (tenant, wave_id) REFERENCES waves,
  CONSTRAINT an_open_list_has_due CHECK ((status IN ('open','in_progress','picked')) = (due_at IS NOT NULL)),
  CONSTRAINT a_list_in_work_has_a_picker CHECK (status <> 'in_progress' OR assigned_to <> ''),
  CONSTRAINT saved_is_the_difference CHECK (saved_mm IS NULL OR saved_mm = sshape_mm - length_mm)
);
CREATE INDEX pick_lists_due ON pick_lists (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX pick_lists_open ON pick_lists (tenant, warehouse, id) WHERE due_at IS NOT NULL;
CREATE INDEX pick_lists_wave ON pick_lists (tenant, wave_id);

CREATE TABLE pick_lines (
  tenant       text NOT NULL,
  list_id      text NOT NULL,
  -- in walking order as it was planned; it names the line from then on
  line         int NOT NULL CHECK (line > 0),
  hold_id      text NOT NULL,
  order_id     text NOT NULL,
  shipment_id  text NOT NULL,
  sku          text NOT NULL,
  warehouse    text NOT NULL,
  quantity     int NOT NULL CHECK (quantity > 0),
  -- what allocations of the line were picked, written with them
  picked       int NOT NULL DEFAULT 0 CHECK (picked >= 0),
  shorted      int NOT NULL DEFAULT 0 CHECK (shorted >= 0),
  short_reason text NOT NULL DEFAULT '',
  -- of a batch: where on the trolley the order's units go
  box          text NOT NULL DEFAULT '',
  -- taken off the list
  cancelled_at timestamptz,
  PRIMARY KEY (tenant, list_id, line),
  FOREIGN KEY (tenant, list_id) REFERENCES pick_lists,
  FOREIGN KEY (tenant, shipment_id) REFERENCES shipments,
  FOREIGN KEY (tenant, hold_id, sku, warehouse) REFERENCES hold_lines,
  CONSTRAINT no_more_picked_than_listed CHECK (picked + shorted <= quantity)
);
CREATE INDEX pick_lines_shipment ON pick_lines (tenant, shipment_id);

-- Bins that somebody wants counted: a picker found less than the books say. Until
-- that is done nothing of the SKU is allocated from there.
CREATE TABLE count_requests (
  tenant     text NOT NULL,
  id         text NOT NULL CHECK (length(id) = 26),
  warehouse  text NOT NULL,
  bin        text NOT NULL,
  sku        text NOT NULL,
  reason     text NOT NULL CHECK (reason <> ''),
  document   text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, warehouse, bin, sku, document),
  FOREIGN KEY (tenant, warehouse, bin) REFERENCES bins,
  FOREIGN KEY (tenant, sku) REFERENCES products
);

-- What was picked of a line is what its allocations say, whoever writes them.
-- +goose StatementBegin
CREATE FUNCTION jl.count_picked_lines() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, jl AS
$$
BEGIN
  IF TG_OP = 'INSERT' THEN
    UPDATE pick_lines l SET picked = l.picked + c.units
      FROM (SELECT tenant, list_id, line, sum(quantity)::int AS units FROM new_rows WHERE list_id IS NOT NULL AND state IN ('picked','shipped') GROUP BY 1, 2, 3) c
     WHERE c.units <> 0 AND l.tenant = c.tenant AND l.list_id = c.list_id AND l.line = c.line;
  ELSE
    UPDATE pick_lines l SET picked = l.picked + c.units
      FROM (SELECT tenant, list_id, line, sum(units)::int AS units FROM (
              SELECT tenant, list_id, line, quantity AS units FROM new_rows WHERE list_id IS NOT NULL AND state IN ('picked','shipped')
              UNION ALL SELECT tenant, list_id, line, -quantity FROM old_rows WHERE list_id IS NOT NULL AND state IN ('picked','shipped')) u GROUP BY 1, 2, 3) c
     WHERE c.units <> 0 AND l.tenant = c.tenant AND l.list_id = c.list_id AND l.line = c.line;
  END IF;
  RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER count_newly_picked AFTER INSERT ON allocations REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION jl.count_picked_lines();
CREATE TRIGGER count_changed_picked AFTER UPDATE ON allocations REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION jl.count_picked_lines();

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['waves','pick_lists','pick_lines','count_requests'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY own_tenant ON %I USING (tenant = (SELECT jl.tenant())) WITH CHECK (tenant = (SELECT jl.tenant()))', t);
    EXECUTE format('CREATE POLICY system ON %I TO jl_system USING (true) WITH CHECK (true)', t);
    EXECUTE format('GRANT SELECT ON %I TO jl_app, jl_system', t);
    EXECUTE format('GRANT INSERT ON %I TO jl_app', t);
  END LOOP;
END $$;
-- +goose StatementEnd
GRANT UPDATE ON pick_lists TO jl_app;
GRANT UPDATE (shorted, short_reason, cancelled_at) ON pick_lines TO jl_app;
GRANT UPDATE (picked) ON pick_lines TO jl_system;
GRANT DELETE ON count_requests TO jl_app;
ALTER FUNCTION jl.count_picked_lines() OWNER TO jl_system;
GRANT EXECUTE ON FUNCTION jl.count_picked_lines() TO jl_app, jl_system;

-- +goose Down
DROP TRIGGER count_newly_picked ON allocations;
DROP TRIGGER count_changed_picked ON allocations;
DROP FUNCTION jl.count_picked_lines();
DROP TABLE count_requests, pick_lines, pick_lists, waves;
ALTER TABLE allocations DROP COLUMN override_reason;
DROP INDEX shipments_to_pick;
ALTER TABLE shipments DROP COLUMN picked_at, DROP COLUMN unallocated_at;
