-- +goose Up
-- Goods that go from one warehouse of a tenant to another: what was asked for,
-- what left, and what became of each unit on the way. Units in transit are
-- nobody's on_hand: they left the sender's books with a movement and come into
-- the receiver's with another, both with the transfer as their document.
CREATE TABLE transfers (
  tenant         text NOT NULL,
  id             text NOT NULL CHECK (length(id) = 26),
  from_warehouse text NOT NULL,
  to_warehouse   text NOT NULL,
  status         text NOT NULL CONSTRAINT transfers_status_check CHECK (status IN ('requested','in_transit','partially_received','received','received_short','cancelled')),
  reference      text NOT NULL DEFAULT '',
  expected_at    timestamptz,
  requested_by   text NOT NULL CHECK (requested_by <> ''),
  dispatched_at  timestamptz,
  closed_at      timestamptz,
  -- grows with every change, for scanners that were away
  version        bigint NOT NULL DEFAULT 1,
  created_at     timestamptz NOT NULL DEFAULT now(),
  updated_at     timestamptz NOT NULL DEFAULT now(),
  due_at         timestamptz,
  PRIMARY KEY (tenant, id),
  FOREIGN KEY (tenant, from_warehouse) REFERENCES warehouses,
  FOREIGN KEY (tenant, to_warehouse) REFERENCES warehouses,
  CONSTRAINT goes_somewhere_else CHECK (from_warehouse <> to_warehouse),
  CONSTRAINT open_transfer_has_due CHECK ((status IN ('requested','in_transit','partially_received')) = (due_at IS NOT NULL)),
  CONSTRAINT over_transfer_says_when CHECK ((status IN ('received','received_short','cancelled')) = (closed_at IS NOT NULL)),
  CONSTRAINT on_the_way_says_since_when CHECK (status IN ('requested','cancelled') OR dispatched_at IS NOT NULL)
);
CREATE INDEX transfers_newest_of_status ON transfers (tenant, status, id DESC);
CREATE INDEX transfers_due ON transfers (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX transfers_on_the_way ON transfers (tenant, to_warehouse) WHERE status IN ('in_transit','partially_received');

CREATE TABLE transfer_lines (
  tenant      text NOT NULL,
  transfer_id text NOT NULL,
  line        int NOT NULL CHECK (line > 0),
  sku         text NOT NULL,
  -- a lot that was asked for; '' takes any
  lot         text NOT NULL DEFAULT '',
  quantity    int NOT NULL CHECK (quantity > 0),
  PRIMARY KEY (tenant, transfer_id, line),
  UNIQUE (tenant, transfer_id, sku, lot),
  FOREIGN KEY (tenant, transfer_id) REFERENCES transfers,
  FOREIGN KEY (tenant, sku) REFERENCES products
);

-- What left, and what became of it. A unit with a serial has a row of its own.
-- over is what arrived and had not been sent: it is in stock, and the sender's
-- shelf is to be counted.
CREATE TABLE transfer_units (
  tenant      text NOT NULL,
  transfer_id text NOT NULL,
  sku         text NOT NULL,
  lot         text NOT NULL DEFAULT '',
  serial      text NOT NULL DEFAULT '',
  sent        int NOT NULL DEFAULT 0 CHECK (sent >= 0),
  received    int NOT NULL DEFAULT 0 CHECK (received >= 0),
  damaged     int NOT NULL DEFAULT 0 CHECK (damaged >= 0),
  lost        int NOT NULL DEFAULT 0 CHECK (lost >= 0),
  recalled    int NOT NULL DEFAULT 0 CHECK (recalled >= 0),
  over        int NOT NULL DEFAULT 0 CHECK (over >= 0),
  PRIMARY KEY (tenant, transfer_id, sku, lot, serial),
  FOREIGN KEY (tenant, transfer_id) REFERENCES transfers,
  FOREIGN KEY (tenant, sku) REFERENCES products,
  CONSTRAINT no_more_arrives_than_left CHECK (received + damaged + lost + recalled <= sent),
  CONSTRAINT a_serial_travels_alone CHECK (serial = '' OR sent <= 1 AND over = 0)
);
CREATE INDEX transfer_units_on_the_way ON transfer_units (tenant, sku, transfer_id) WHERE received + damaged + lost + recalled < sent;

-- What people did, append-only. An operation that a scanner named is done once.
CREATE TABLE transfer_operations (
  tenant       text NOT NULL,
  transfer_id  text NOT NULL,
  operation_id text NOT NULL CHECK (operation_id ~ '^[!-~]{1,64}$'),
  -- of what was asked, so that another request under the same name is noticed
  digest       bytea NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, transfer_id, operation_id),
  FOREIGN KEY (tenant, transfer_id) REFERENCES transfers
);
CREATE TABLE transfer_entries (
  tenant       text NOT NULL,
  id           bigint GENERATED ALWAYS AS IDENTITY,
  transfer_id  text NOT NULL,
  kind         text NOT NULL CHECK (kind IN ('sent','received','damaged','lost','recalled','over')),
  sku          text NOT NULL,
  lot          text NOT NULL DEFAULT '',
  serial       text NOT NULL DEFAULT '',
  quantity     int NOT NULL CHECK (quantity > 0),
  bin          text NOT NULL DEFAULT '',
  reason       text NOT NULL DEFAULT '',
  person       text NOT NULL CHECK (person <> ''),
  device       text NOT NULL DEFAULT '',
  key_id       text NOT NULL DEFAULT '',
  created_at   timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, id),
  FOREIGN KEY (tenant, transfer_id, sku, lot, serial) REFERENCES transfer_units,
  CONSTRAINT lost_says_why CHECK (kind <> 'lost' OR reason <> '')
);
CREATE INDEX transfer_entries_of ON transfer_entries (tenant, transfer_id, id);

CREATE TRIGGER check_move BEFORE UPDATE OF status ON transfers FOR EACH ROW EXECUTE FUNCTION jl.check_move('transfer');

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['transfers','transfer_lines','transfer_units','transfer_operations','transfer_entries'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY own_tenant ON %I USING (tenant = (SELECT jl.tenant())) WITH CHECK (tenant = (SELECT jl.tenant()))', t);
    EXECUTE format('CREATE POLICY system ON %I TO jl_system USING (true) WITH CHECK (true)', t);
    EXECUTE format('GRANT SELECT, INSERT ON %I TO jl_app', t);
    EXECUTE format('GRANT SELECT ON %I TO jl_system', t);
  END LOOP;
END $$;
-- +goose StatementEnd
GRANT UPDATE ON transfers, transfer_units TO jl_app;

-- +goose Down
DROP TABLE transfer_entries, transfer_operations, transfer_units, transfer_lines, transfers;
