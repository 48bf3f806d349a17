-- +goose Up
-- What lies where inside a warehouse: bins, lots, serials, and the promise of
-- units in a bin to an order (allocation).
--
-- A warehouse's on_hand is what can be sold: units with status available,
-- wherever they lie. Those in a bin are placed; the rest of on_hand is in the
-- warehouse and in no bin (the bin ''). Held, expired and damaged units lie in
-- bins and are not on hand.

ALTER TABLE products
  -- none, lot (each unit belongs to a lot), serial (each unit has a number, and perhaps a lot)
  ADD COLUMN tracking text NOT NULL DEFAULT 'none' CHECK (tracking IN ('none','lot','serial')),
  -- which units leave first: those that expire first, or those that came first
  ADD COLUMN removal text NOT NULL DEFAULT 'fefo' CHECK (removal IN ('fefo','fifo')),
  -- days that a lot must have left when it comes in, and when it is picked
  ADD COLUMN receive_days_left int NOT NULL DEFAULT 0 CHECK (receive_days_left BETWEEN 0 AND 10000),
  ADD COLUMN pick_days_left int NOT NULL DEFAULT 0 CHECK (pick_days_left BETWEEN 0 AND 10000);

-- A scanned code names a product.
CREATE INDEX products_barcodes ON products USING gin (barcodes);

-- The floor plan, as its owner described it; null where there is none yet.
ALTER TABLE warehouses ADD COLUMN plan jsonb;

CREATE TABLE bins (
  tenant           text NOT NULL,
  warehouse        text NOT NULL,
  code             text NOT NULL CHECK (code ~ '^[A-Za-z0-9._-]{1,32}$'),
  zone             text NOT NULL DEFAULT '',
  kind             text NOT NULL CHECK (kind IN ('pick','reserve','receiving','packing','quarantine','damaged','in_transit')),
  aisle            text NOT NULL DEFAULT '',
  rack             text NOT NULL DEFAULT '',
  level            text NOT NULL DEFAULT '',
  x_mm             bigint NOT NULL DEFAULT 0,
  y_mm             bigint NOT NULL DEFAULT 0,
  z_mm             bigint NOT NULL DEFAULT 0,
  -- where one walks to: an aisle and a place on its centre line, or a node of the graph
  stop_aisle       int,
  stop_y_mm        bigint,
  stop_node        text,
  -- zero: no limit
  max_units        int NOT NULL DEFAULT 0 CHECK (max_units >= 0),
  max_weight_grams bigint NOT NULL DEFAULT 0 CHECK (max_weight_grams >= 0),
  max_volume_mm3   bigint NOT NULL DEFAULT 0 CHECK (max_volume_mm3 >= 0),
  lot_rule         text NOT NULL DEFAULT 'mixed' CHECK (lot_rule IN ('mixed','one_lot','one_sku')),
  active           boolean NOT NULL DEFAULT true,
  picks            bigint NOT NULL DEFAULT 0,
  counted_at       timestamptz,
  created_at       timestamptz NOT NULL DEFAULT now(),
  updated_at       timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, warehouse, code),
  FOREIGN KEY (tenant, warehouse) REFERENCES warehouses,
  CHECK ((stop_aisle IS NULL) = (stop_y_mm IS NULL))
);

CREATE TABLE lots (
  tenant      text NOT NULL,
  sku         text NOT NULL,
  lot         text NOT NULL CHECK (lot ~ '^[!-~]{1,40}$'),
  expires_on  date,
  -- of a lot that is held nothing may be picked, wherever it lies
  status      text NOT NULL DEFAULT 'available' CHECK (status IN ('available','held','expired')),
  reason      text NOT NULL DEFAULT '',
  received_at timestamptz NOT NULL DEFAULT now(),
  updated_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, sku, lot),
  FOREIGN KEY (tenant, sku) REFERENCES products
);
CREATE INDEX lots_by_name ON lots (tenant, lot);
CREATE INDEX lots_expiry ON lots (expires_on) WHERE expires_on IS NOT NULL AND status <> 'expired';

CREATE TABLE bin_stock (
  tenant    text NOT NULL,
  warehouse text NOT NULL,
  bin       text NOT NULL,
  sku       text NOT NULL,
  lot       text NOT NULL DEFAULT '',
  status    text NOT NULL CHECK (status IN ('available','held','expired','damaged')),
  quantity  int NOT NULL DEFAULT 0,
  allocated int NOT NULL DEFAULT 0,
  -- when the oldest of these units came into the warehouse, as far as is known
  since     timestamptz NOT NULL DEFAULT now(),
  version   bigint NOT NULL DEFAULT 1,
  PRIMARY KEY (tenant, warehouse, bin, sku, lot, status),
  FOREIGN KEY (tenant, warehouse, bin) REFERENCES bins,
  FOREIGN KEY (tenant, sku, warehouse) REFERENCES stock_levels,
  CONSTRAINT no_unit_allocated_twice CHECK (0 <= allocated AND allocated <= quantity),
  CONSTRAINT only_available_is_allocated CHECK (allocated = 0 OR status = 'available')
) WITH (fillfactor = 70);
CREATE INDEX bin_stock_sku ON bin_stock (tenant, sku, warehouse) WHERE quantity > 0;
CREATE INDEX bin_stock_lot ON bin_stock (tenant, sku, lot) WHERE quantity > 0;

-- One row a serial: it is in one place.
CREATE TABLE serials (
  tenant     text NOT NULL,
  sku        text NOT NULL,
  serial     text NOT NULL CHECK (serial ~ '^[!-~]{1,40}$'),
  lot        text NOT NULL DEFAULT '',
  state      text NOT NULL CHECK (state IN ('in_stock','left')),
  warehouse  text NOT NULL,
  bin        text,
  status     text,
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, sku, serial),
  FOREIGN KEY (tenant, sku) REFERENCES products,
  CHECK ((state = 'in_stock') = (bin IS NOT NULL AND status IS NOT NULL))
);
CREATE INDEX serials_place ON serials (tenant, warehouse, bin, sku) WHERE state = 'in_stock';
CREATE INDEX serials_by_name ON serials (tenant, serial);

-- The ledger of bins: append-only. A null bin is outside the warehouse, '' is
-- inside it and in no bin.
CREATE TABLE bin_movements (
  tenant      text NOT NULL,
  id          bigint GENERATED ALWAYS AS IDENTITY,
  warehouse   text NOT NULL,
  sku         text NOT NULL,
  lot         text NOT NULL DEFAULT '',
  serial      text,
  quantity    int NOT NULL CHECK (quantity > 0),
  from_bin    text,
  from_status text,
  to_bin      text,
  to_status   text,
  reason      text NOT NULL CHECK (reason IN ('receipt','put_away','move','pick','unpick','handed_over','sold_at_counter','count','adjustment','damage','loss',
                                              'hold','release','expiry','transfer_out','transfer_in','return','unplaced')),
  -- what it was done for, as kind:id, and who did it with what
  document    text NOT NULL DEFAULT '',
  person      text NOT NULL CHECK (person <> ''),
  device      text NOT NULL DEFAULT '',
  key_id      text NOT NULL DEFAULT '',
  note        text NOT NULL DEFAULT '',
  created_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, id),
  FOREIGN KEY (tenant, sku, warehouse) REFERENCES stock_levels,
  CONSTRAINT a_serial_is_one_unit CHECK (serial IS NULL OR quantity = 1),
  CONSTRAINT a_place_has_a_status CHECK ((from_bin IS NULL) = (from_status IS NULL) AND (to_bin IS NULL) = (to_status IS NULL)),
  CONSTRAINT something_moves CHECK ((from_bin, from_status) IS DISTINCT FROM (to_bin, to_status)),
  CONSTRAINT in_no_bin_is_available CHECK (coalesce(from_bin, 'x') <> '' OR from_status = 'available'),
  CONSTRAINT to_no_bin_is_available CHECK (coalesce(to_bin, 'x') <> '' OR to_status = 'available')
);
CREATE INDEX bin_movements_bin_from ON bin_movements (tenant, warehouse, from_bin, id) WHERE from_bin <> '';
CREATE INDEX bin_movements_bin_to ON bin_movements (tenant, warehouse, to_bin, id) WHERE to_bin <> '';
CREATE INDEX bin_movements_lot ON bin_movements (tenant, sku, lot, id) WHERE lot <> '';
CREATE INDEX bin_movements_serial ON bin_movements (tenant, serial, id) WHERE serial IS NOT NULL;
CREATE INDEX bin_movements_document ON bin_movements (tenant, document, id) WHERE document <> '';

-- Units of a bin for the line of a paid order's hold: open until they are
-- picked, then they lie in a packing bin until they are
-- shipped. Closed: nothing is left of it, it was picked or given up.
CREATE TABLE allocations (
  tenant     text NOT NULL,
  id         text NOT NULL CHECK (length(id) = 26),
  hold_id    text NOT NULL,
  sku        text NOT NULL,
  warehouse  text NOT NULL,
  bin        text NOT NULL,
  lot        text NOT NULL DEFAULT '',
  serial     text,
  quantity   int NOT NULL CHECK (quantity >= 0),
  state      text NOT NULL CHECK (state IN ('open','picked','shipped','closed')),
  -- the pick list and its line, where there is one
  list_id    text,
  line       int,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, id),
  FOREIGN KEY (tenant, hold_id, sku, warehouse) REFERENCES hold_lines,
  CONSTRAINT a_serial_is_allocated_alone CHECK (serial IS NULL OR quantity <= 1),
  CONSTRAINT picked_lies_in_a_bin CHECK (state <> 'picked' OR bin <> '')
);
CREATE INDEX allocations_hold ON allocations (tenant, hold_id, sku, warehouse) WHERE state IN ('open','picked');
CREATE INDEX allocations_bin ON allocations (tenant, warehouse, bin, sku, lot) WHERE state IN ('open','picked');
CREATE INDEX allocations_list ON allocations (tenant, list_id) WHERE list_id IS NOT NULL;

ALTER TABLE stock_levels ADD COLUMN placed int NOT NULL DEFAULT 0,
  ADD CONSTRAINT placed_units_are_on_hand CHECK (0 <= placed AND placed <= on_hand);
ALTER TABLE hold_lines ADD COLUMN allocated int NOT NULL DEFAULT 0, ADD COLUMN picked int NOT NULL DEFAULT 0,
  ADD CONSTRAINT no_more_allocated_than_promised CHECK (0 <= picked AND picked <= allocated AND shorted + left_stock + allocated <= quantity);

ALTER TABLE stock_movements DROP CONSTRAINT stock_movements_reason_check;
ALTER TABLE stock_movements ADD CONSTRAINT stock_movements_reason_check CHECK (reason IN ('count','receipt','adjustment','damage','loss','transfer_out','transfer_in',
  'handed_over','sold_at_counter','return','hold','release','expiry'));

-- Quantities in bins move only with a movement, and what can be sold moves with
-- them: the program has no right to write either.
-- +goose StatementBegin
CREATE FUNCTION jl.apply_bin_movement() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, jl AS
$$
DECLARE
  leaves int := 0; comes int := 0; unplaced int := 0; placed_here int := 0; came timestamptz := now(); tracked text;
BEGIN
  IF NEW.from_bin IS NOT NULL AND NEW.from_status = 'available' THEN leaves := NEW.quantity; END IF;
  IF NEW.to_bin IS NOT NULL AND NEW.to_status = 'available' THEN comes := NEW.quantity; END IF;
  IF NEW.from_bin <> '' AND NEW.from_status = 'available' THEN unplaced := NEW.quantity; END IF;
  IF NEW.to_bin <> '' AND NEW.to_status = 'available' THEN placed_here := NEW.quantity; END IF;
  IF comes <> leaves AND NEW.reason IN ('put_away','move','pick','unpick','unplaced') THEN
    RAISE EXCEPTION 'a % changes what can be sold', NEW.reason USING ERRCODE = 'check_violation', CONSTRAINT = 'moving_changes_no_stock';
  END IF;

  IF NEW.from_bin <> '' THEN
    UPDATE bin_stock SET quantity = quantity - NEW.quantity, version = version + 1
     WHERE tenant = NEW.tenant AND warehouse = NEW.warehouse AND bin = NEW.from_bin AND sku = NEW.sku AND lot = NEW.lot AND status = NEW.from_status
     RETURNING since INTO came;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'no % of % in bin %', NEW.sku, NEW.lot, NEW.from_bin USING ERRCODE = 'check_violation', CONSTRAINT = 'no_unit_allocated_twice';
    END IF;
  ELSIF NEW.lot <> '' THEN
    SELECT received_at INTO came FROM lots WHERE tenant = NEW.tenant AND sku = NEW.sku AND lot = NEW.lot;
  END IF;
  IF NEW.to_bin <> '' THEN
    INSERT INTO bin_stock AS s (tenant, warehouse, bin, sku, lot, status, quantity, since)
    VALUES (NEW.tenant, NEW.warehouse, NEW.to_bin, NEW.sku, NEW.lot, NEW.to_status, NEW.quantity, coalesce(came, now()))
    ON CONFLICT (tenant, warehouse, bin, sku, lot, status) DO UPDATE SET quantity = s.quantity + excluded.quantity, version = s.version + 1,
      since = CASE WHEN s.quantity = 0 THEN excluded.since ELSE least(s.since, excluded.since) END;
  END IF;

  SELECT tracking INTO tracked FROM products WHERE tenant = NEW.tenant AND sku = NEW.sku;
  IF tracked = 'serial' AND NEW.serial IS NULL AND (NEW.from_bin <> '' OR NEW.to_bin <> '') THEN
    RAISE EXCEPTION 'units of % have serial numbers', NEW.sku USING ERRCODE = 'check_violation', CONSTRAINT = 'tracked_by_serial';
  END IF;
  IF tracked = 'lot' AND NEW.lot = '' AND NEW.to_bin <> '' THEN
    RAISE EXCEPTION 'units of % belong to lots', NEW.sku USING ERRCODE = 'check_violation', CONSTRAINT = 'tracked_by_lot';
  END IF;
  IF NEW.serial IS NOT NULL THEN
    IF NEW.from_bin <> '' THEN
      UPDATE serials SET state = CASE WHEN NEW.to_bin <> '' THEN 'in_stock' ELSE 'left' END, bin = nullif(NEW.to_bin, ''), status = CASE WHEN NEW.to_bin <> '' THEN NEW.to_status END, updated_at = now()
       WHERE tenant = NEW.tenant AND sku = NEW.sku AND serial = NEW.serial AND state = 'in_stock' AND warehouse = NEW.warehouse AND bin = NEW.from_bin AND status = NEW.from_status AND lot = NEW.lot;
      IF NOT FOUND THEN
        RAISE EXCEPTION 'serial % of % is not in bin %', NEW.serial, NEW.sku, NEW.from_bin USING ERRCODE = 'check_violation', CONSTRAINT = 'a_serial_is_where_it_is';
      END IF;
    ELSE
      INSERT INTO serials AS s (tenant, sku, serial, lot, state, warehouse, bin, status)
      VALUES (NEW.tenant, NEW.sku, NEW.serial, NEW.lot, 'in_stock', NEW.warehouse, NEW.to_bin, NEW.to_status)
      ON CONFLICT (tenant, sku, serial) DO UPDATE SET lot = excluded.lot, state = 'in_stock', warehouse = excluded.warehouse, bin = excluded.bin, status = excluded.status, updated_at = now()
        WHERE s.state = 'left';
      IF NOT FOUND THEN
        RAISE EXCEPTION 'serial % of % is in stock already', NEW.serial, NEW.sku USING ERRCODE = 'check_violation', CONSTRAINT = 'a_serial_is_in_one_place';
      END IF;
    END IF;
  END IF;

  IF placed_here < unplaced THEN
    UPDATE stock_levels SET placed = placed + placed_here - unplaced WHERE tenant = NEW.tenant AND sku = NEW.sku AND warehouse = NEW.warehouse;
  END IF;
  IF comes <> leaves THEN
    INSERT INTO stock_movements (tenant, sku, warehouse, delta, reason, note, reference, actor)
    VALUES (NEW.tenant, NEW.sku, NEW.warehouse, comes - leaves, NEW.reason, NEW.note, NEW.document, NEW.person);
  END IF;
  IF placed_here > unplaced THEN
    UPDATE stock_levels SET placed = placed + placed_here - unplaced WHERE tenant = NEW.tenant AND sku = NEW.sku AND warehouse = NEW.warehouse;
  END IF;
  IF NEW.reason = 'pick' THEN
    UPDATE bins SET picks = picks + 1 WHERE tenant = NEW.tenant AND warehouse = NEW.warehouse AND code = NEW.from_bin;
  END IF;
  RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER apply_bin_movement AFTER INSERT ON bin_movements FOR EACH ROW EXECUTE FUNCTION jl.apply_bin_movement();

-- What is allocated counts on the bin and on the promise, whoever writes it: a
-- statement at a time, since a wave allocates thousands of lines.
-- +goose StatementBegin
CREATE FUNCTION jl.count_new_allocations() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, jl AS
$$
BEGIN
  UPDATE bin_stock s SET allocated = s.allocated + c.units, version = version + 1
    FROM (SELECT tenant, warehouse, bin, sku, lot, sum(quantity)::int AS units FROM new_rows WHERE state IN ('open','picked') AND bin <> '' GROUP BY 1, 2, 3, 4, 5) c
   WHERE c.units <> 0 AND s.tenant = c.tenant AND s.warehouse = c.warehouse AND s.bin = c.bin AND s.sku = c.sku AND s.lot = c.lot AND s.status = 'available';
  UPDATE hold_lines l SET allocated = l.allocated + c.units, picked = l.picked + c.picked
    FROM (SELECT tenant, hold_id, sku, warehouse, sum(quantity)::int AS units, coalesce(sum(quantity) FILTER (WHERE state = 'picked'), 0)::int AS picked
            FROM new_rows WHERE state IN ('open','picked') GROUP BY 1, 2, 3, 4) c
   WHERE c.units <> 0 AND l.tenant = c.tenant AND l.hold_id = c.hold_id AND l.sku = c.sku AND l.warehouse = c.warehouse;
  RETURN NULL;
END
$$;
CREATE FUNCTION jl.count_changed_allocations() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, jl AS
$$
BEGIN
  UPDATE bin_stock s SET allocated = s.allocated + c.units, version = version + 1
    FROM (SELECT tenant, warehouse, bin, sku, lot, sum(units)::int AS units FROM (
            SELECT tenant, warehouse, bin, sku, lot, quantity AS units FROM new_rows WHERE state IN ('open','picked') AND bin <> ''
            UNION ALL SELECT tenant, warehouse, bin, sku, lot, -quantity FROM old_rows WHERE state IN ('open','picked') AND bin <> '') u GROUP BY 1, 2, 3, 4, 5) c
   WHERE c.units <> 0 AND s.tenant = c.tenant AND s.warehouse = c.warehouse AND s.bin = c.bin AND s.sku = c.sku AND s.lot = c.lot AND s.status = 'available';
  UPDATE hold_lines l SET allocated = l.allocated + c.units, picked = l.picked + c.picked
    FROM (SELECT tenant, hold_id, sku, warehouse, sum(units)::int AS units, sum(picked)::int AS picked FROM (
            SELECT tenant, hold_id, sku, warehouse, quantity AS units, CASE WHEN state = 'picked' THEN quantity ELSE 0 END AS picked FROM new_rows WHERE state IN ('open','picked')
            UNION ALL SELECT tenant, hold_id, sku, warehouse, -quantity, CASE WHEN state = 'picked' THEN -quantity ELSE 0 END FROM old_rows WHERE state IN ('open','picked')) u GROUP BY 1, 2, 3, 4) c
   WHERE (c.units <> 0 OR c.picked <> 0) AND l.tenant = c.tenant AND l.hold_id = c.hold_id AND l.sku = c.sku AND l.warehouse = c.warehouse;
  RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER count_new_allocations AFTER INSERT ON allocations REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION jl.count_new_allocations();
CREATE TRIGGER count_changed_allocations AFTER UPDATE ON allocations REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION jl.count_changed_allocations();

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['bins','lots','bin_stock','serials','bin_movements','allocations'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY own_tenant ON %I USING (tenant = (SELECT jl.tenant())) WITH CHECK (tenant = (SELECT jl.tenant()))', t);
    EXECUTE format('CREATE POLICY system ON %I TO jl_system USING (true) WITH CHECK (true)', t);
    EXECUTE format('GRANT SELECT, INSERT ON %I TO jl_system', t);
    EXECUTE format('GRANT SELECT ON %I TO jl_app', t);
  END LOOP;
END $$;
-- +goose StatementEnd
GRANT INSERT, UPDATE ON bins, lots, allocations TO jl_app, jl_system;
GRANT INSERT ON bin_movements TO jl_app;
-- The triggers write as jl_system; the program becomes it only for work that is
-- nobody's alone, and none of that writes here.
GRANT UPDATE ON bin_stock, serials TO jl_system;
GRANT UPDATE (placed) ON stock_levels TO jl_system;
ALTER FUNCTION jl.apply_bin_movement() OWNER TO jl_system;
ALTER FUNCTION jl.count_new_allocations() OWNER TO jl_system;
ALTER FUNCTION jl.count_changed_allocations() OWNER TO jl_system;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA jl TO jl_app, jl_system;

-- Where a warehouse has orders to pick, what a shipment waits for.
ALTER TABLE shipments ADD COLUMN pick_list text;

-- +goose Down
ALTER TABLE shipments DROP COLUMN pick_list;
DROP TABLE allocations, bin_movements, serials, bin_stock, lots, bins;
DROP FUNCTION jl.apply_bin_movement(), jl.count_new_allocations(), jl.count_changed_allocations();
ALTER TABLE hold_lines DROP COLUMN allocated, DROP COLUMN picked;
ALTER TABLE stock_levels DROP COLUMN placed;
ALTER TABLE warehouses DROP COLUMN plan;
DROP INDEX products_barcodes;
ALTER TABLE products DROP COLUMN tracking, DROP COLUMN removal, DROP COLUMN receive_days_left, DROP COLUMN pick_days_left;
ALTER TABLE stock_movements DROP CONSTRAINT stock_movements_reason_check;
ALTER TABLE stock_movements ADD CONSTRAINT stock_movements_reason_check CHECK (reason IN ('count','receipt','adjustment','damage','loss','transfer_out','transfer_in',
  'handed_over','sold_at_counter','return')) NOT VALID;
