-- +goose Up
-- Goods that come in: what was ordered of suppliers, what was scanned at the
-- door, and what differs.

CREATE TABLE purchase_orders (
  tenant      text NOT NULL,
  id          text NOT NULL CHECK (length(id) = 26),
  -- the shop's own number for it
  number      text NOT NULL CHECK (number ~ '^[!-~]( ?[!-~]){0,63}$'),
  supplier    text NOT NULL CHECK (supplier <> ''),
  warehouse   text NOT NULL,
  status      text NOT NULL DEFAULT 'open' CHECK (status IN ('open','partially_received','received','cancelled')),
  expected_at timestamptz,
  -- when a person is asked where the goods are
  due_at      timestamptz,
  waits_for   text NOT NULL DEFAULT '',
  version     bigint NOT NULL DEFAULT 1,
  person      text NOT NULL CHECK (person <> ''),
  created_at  timestamptz NOT NULL DEFAULT now(),
  updated_at  timestamptz NOT NULL DEFAULT now(),
  ended_at    timestamptz,
  ended_by    text,
  -- why it ended with goods missing
  end_reason  text NOT NULL DEFAULT '',
  PRIMARY KEY (tenant, id),
  FOREIGN KEY (tenant, warehouse) REFERENCES warehouses,
  CONSTRAINT a_number_names_one_purchase_order UNIQUE (tenant, number),
  CONSTRAINT an_expected_purchase_order_is_due CHECK ((due_at IS NOT NULL) = (expected_at IS NOT NULL AND status IN ('open','partially_received'))),
  CONSTRAINT an_ended_purchase_order_has_an_end CHECK ((ended_at IS NOT NULL) = (status IN ('received','cancelled')) AND (ended_at IS NULL) = (ended_by IS NULL))
);
CREATE INDEX purchase_orders_status ON purchase_orders (tenant, status, id);
CREATE INDEX purchase_orders_due ON purchase_orders (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE purchase_order_lines (
  tenant            text NOT NULL,
  purchase_order_id text NOT NULL,
  line              int NOT NULL CHECK (line > 0),
  sku               text NOT NULL,
  -- empty takes any lot
  lot               text NOT NULL DEFAULT '',
  expires_on        date,
  ordered           int NOT NULL CHECK (ordered > 0),
  -- all that came, damaged ones among them
  received          int NOT NULL DEFAULT 0,
  damaged           int NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant, purchase_order_id, line),
  FOREIGN KEY (tenant, purchase_order_id) REFERENCES purchase_orders,
  FOREIGN KEY (tenant, sku) REFERENCES products,
  CONSTRAINT a_lot_is_ordered_on_one_line UNIQUE (tenant, purchase_order_id, sku, lot),
  CONSTRAINT no_less_than_nothing_came CHECK (0 <= damaged AND damaged <= received)
);

CREATE TABLE receipts (
  tenant            text NOT NULL,
  id                text NOT NULL CHECK (length(id) = 26),
  warehouse         text NOT NULL,
  purchase_order_id text,
  -- where the goods are put down
  bin               text NOT NULL,
  -- the supplier's delivery note
  document          text NOT NULL DEFAULT '',
  status            text NOT NULL DEFAULT 'open' CHECK (status IN ('open','closed','cancelled')),
  due_at            timestamptz,
  waits_for         text NOT NULL DEFAULT '',
  version           bigint NOT NULL DEFAULT 1,
  person            text NOT NULL CHECK (person <> ''),
  created_at        timestamptz NOT NULL DEFAULT now(),
  updated_at        timestamptz NOT NULL DEFAULT now(),
  ended_at          timestamptz,
  ended_by          text,
  -- what differed when it was closed, and what the person accepted
  discrepancies     jsonb,
  accepted          text[] NOT NULL DEFAULT '{}',
  PRIMARY KEY (tenant, id),
  FOREIGN KEY (tenant, warehouse, bin) REFERENCES bins,
  FOREIGN KEY (tenant, purchase_order_id) REFERENCES purchase_orders,
  CONSTRAINT an_open_receipt_is_due CHECK ((due_at IS NOT NULL) = (status = 'open')),
  CONSTRAINT an_ended_receipt_has_an_end CHECK ((ended_at IS NOT NULL) = (status <> 'open') AND (ended_at IS NULL) = (ended_by IS NULL)),
  CONSTRAINT a_closed_receipt_says_what_differed CHECK ((discrepancies IS NOT NULL) = (status = 'closed'))
);
CREATE INDEX receipts_order ON receipts (tenant, purchase_order_id) WHERE purchase_order_id IS NOT NULL;
CREATE INDEX receipts_status ON receipts (tenant, status, id);
CREATE INDEX receipts_due ON receipts (due_at) WHERE due_at IS NOT NULL;

-- What was scanned, and what of it was taken back: append-only. Each has its
-- movement, but for a code that no product has: there nothing is booked.
CREATE TABLE receipt_entries (
  tenant      text NOT NULL,
  id          bigint GENERATED ALWAYS AS IDENTITY,
  receipt_id  text NOT NULL,
  -- the request that wrote it, and which of its scans
  batch       text NOT NULL CHECK (length(batch) = 26),
  position    int NOT NULL DEFAULT 0,
  kind        text NOT NULL CHECK (kind IN ('scan','unknown','correction')),
  -- of a correction: what it takes back
  corrects    bigint,
  scanned     text NOT NULL DEFAULT '',
  sku         text,
  lot         text NOT NULL DEFAULT '',
  serial      text,
  quantity    int NOT NULL CHECK (quantity > 0),
  condition   text NOT NULL CHECK (condition IN ('good','damaged')),
  bin         text,
  status      text CHECK (status IN ('available','held','expired','damaged')),
  -- the line of the purchase order that it counts for
  line        int,
  -- what is wrong with it
  faults      text[] NOT NULL DEFAULT '{}',
  reason      text NOT NULL DEFAULT '',
  person      text NOT NULL CHECK (person <> ''),
  device      text NOT NULL DEFAULT '',
  key_id      text NOT NULL DEFAULT '',
  created_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, id),
  FOREIGN KEY (tenant, receipt_id) REFERENCES receipts,
  FOREIGN KEY (tenant, sku) REFERENCES products,
  CONSTRAINT what_is_unknown_is_not_booked CHECK ((kind = 'unknown') = (sku IS NULL) AND (sku IS NULL) = (bin IS NULL) AND (bin IS NULL) = (status IS NULL)),
  CONSTRAINT a_correction_takes_something_back CHECK ((kind = 'correction') = (corrects IS NOT NULL)),
  CONSTRAINT a_scanned_serial_is_one_unit CHECK (serial IS NULL OR quantity = 1)
);
CREATE INDEX receipt_entries_receipt ON receipt_entries (tenant, receipt_id, id);
CREATE INDEX receipt_entries_batch ON receipt_entries (tenant, batch);
CREATE INDEX receipt_entries_corrects ON receipt_entries (tenant, corrects) WHERE corrects IS NOT NULL;

-- Which SKUs are picked often.
CREATE INDEX bin_movements_picks ON bin_movements (tenant, warehouse, created_at) WHERE reason = 'pick';

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['purchase_orders','purchase_order_lines','receipts','receipt_entries'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY own_tenant ON %I USING (tenant = (SELECT jl.tenant())) WITH CHECK (tenant = (SELECT jl.tenant()))', t);
    EXECUTE format('CREATE POLICY system ON %I TO jl_system USING (true) WITH CHECK (true)', t);
    EXECUTE format('GRANT SELECT ON %I TO jl_system', t);
    EXECUTE format('GRANT SELECT, INSERT ON %I TO jl_app', t);
  END LOOP;
END $$;
-- +goose StatementEnd
GRANT UPDATE (status, due_at, waits_for, version, updated_at, ended_at, ended_by, end_reason) ON purchase_orders TO jl_app;
GRANT UPDATE (received, damaged) ON purchase_order_lines TO jl_app;
GRANT UPDATE (status, due_at, waits_for, version, updated_at, ended_at, ended_by, discrepancies, accepted) ON receipts TO jl_app;

-- +goose Down
DROP TABLE receipt_entries, receipts, purchase_order_lines, purchase_orders;
DROP INDEX bin_movements_picks;
