-- +goose Up
-- From the packing bin to the door. A shipment is packed into parcels, each with a
-- reference of ours that a carrier may print and be asked about. Weights are grams,
-- lengths millimetres.

ALTER TABLE shipments
  ADD COLUMN version       bigint NOT NULL DEFAULT 1,
  ADD COLUMN carrier       text NOT NULL DEFAULT '' CHECK (carrier IN ('','chilexpress','starken','correos','bluexpress','manual')),
  ADD COLUMN packed_at     timestamptz,
  ADD COLUMN labelled_at   timestamptz,
  ADD COLUMN handed_over_at timestamptz,
  ADD COLUMN ended_at      timestamptz;

CREATE TABLE parcels (
  tenant         text NOT NULL,
  id             text NOT NULL CHECK (length(id) = 26),
  shipment_id    text NOT NULL,
  position       int NOT NULL CHECK (position > 0),
  reference      text NOT NULL CHECK (reference ~ '^[A-Z0-9]{16}$'),
  -- by the scale, and what the catalogue makes of the shipment's units
  weight_grams   int NOT NULL CHECK (weight_grams > 0),
  length_mm      int NOT NULL DEFAULT 0 CHECK (length_mm >= 0),
  width_mm       int NOT NULL DEFAULT 0 CHECK (width_mm >= 0),
  height_mm      int NOT NULL DEFAULT 0 CHECK (height_mm >= 0),
  tracking       text NOT NULL DEFAULT '',
  packed_by      text NOT NULL CHECK (packed_by <> ''),
  created_at     timestamptz NOT NULL DEFAULT now(),
  -- unpacked: the parcel is no more
  unpacked_at    timestamptz,
  PRIMARY KEY (tenant, id),
  UNIQUE (tenant, reference),
  FOREIGN KEY (tenant, shipment_id) REFERENCES shipments
);
CREATE UNIQUE INDEX parcels_shipment ON parcels (tenant, shipment_id, position) WHERE unpacked_at IS NULL;
CREATE INDEX parcels_tracking ON parcels (tenant, tracking) WHERE tracking <> '';

-- What carriers, or the tenant's own table, would take for a way: a checkout may name
-- one until it expires.
CREATE TABLE rates (
  tenant       text NOT NULL REFERENCES tenants,
  id           text NOT NULL CHECK (length(id) = 26),
  carrier      text NOT NULL CHECK (carrier IN ('','chilexpress','starken','correos','bluexpress','manual')),
  service      text NOT NULL,
  name         text NOT NULL,
  method       text NOT NULL CHECK (method IN ('home','pickup_point','pickup_in_shop')),
  price        bigint NOT NULL CHECK (price >= 0),
  days         int CHECK (days > 0),
  comuna       text NOT NULL,
  region       text NOT NULL,
  point_id     text NOT NULL DEFAULT '',
  weight_grams int NOT NULL CHECK (weight_grams > 0),
  created_at   timestamptz NOT NULL DEFAULT now(),
  expires_at   timestamptz NOT NULL,
  PRIMARY KEY (tenant, id)
);
CREATE INDEX rates_expired ON rates (tenant, expires_at);
ALTER TABLE rates ENABLE ROW LEVEL SECURITY;
ALTER TABLE rates FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON rates USING (tenant = (SELECT jl.tenant())) WITH CHECK (tenant = (SELECT jl.tenant()));
CREATE POLICY system ON rates TO jl_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, DELETE ON rates TO jl_app;
GRANT SELECT ON rates TO jl_system;

ALTER TABLE parcels ENABLE ROW LEVEL SECURITY;
ALTER TABLE parcels FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON parcels USING (tenant = (SELECT jl.tenant())) WITH CHECK (tenant = (SELECT jl.tenant()));
CREATE POLICY system ON parcels TO jl_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON parcels TO jl_app, jl_system;
GRANT UPDATE (tracking, unpacked_at) ON parcels TO jl_app, jl_system;

-- What we decide about a shipment, as constraints. Shipments of before have none of
-- the moments.
ALTER TABLE shipments
  ADD CONSTRAINT what_left_was_packed_and_labelled CHECK (handed_over_at IS NULL OR packed_at IS NOT NULL AND labelled_at IS NOT NULL AND carrier <> ''),
  ADD CONSTRAINT status_tells_what_left CHECK ((status IN ('handed_over','in_transit','out_for_delivery','delivered','delivery_failed','returned_to_sender','lost')) = (handed_over_at IS NOT NULL)),
  ADD CONSTRAINT status_tells_what_ended CHECK ((status IN ('delivered','returned_to_sender','lost')) = (ended_at IS NOT NULL)),
  ADD CONSTRAINT a_shipment_under_way_is_due CHECK (status NOT IN ('handed_over','in_transit','out_for_delivery','delivery_failed') OR due_at IS NOT NULL);
CREATE INDEX shipments_status ON shipments (tenant, status, id);

-- The build that serves meanwhile moves shipments too: the moves are allowed from the
-- moment that others are refused. The table is written again after the migrations.
INSERT INTO status_moves (machine, from_status, to_status)
  SELECT 'shipment', f, t FROM (VALUES
    ('pending', 'picking cancelled'),
    ('picking', 'pending packed cancelled'),
    ('packed', 'picking labelled cancelled'),
    ('labelled', 'packed handed_over cancelled'),
    ('cancelled', 'pending'),
    ('handed_over', 'in_transit out_for_delivery delivered delivery_failed returned_to_sender lost'),
    ('in_transit', 'out_for_delivery delivered delivery_failed returned_to_sender lost'),
    ('out_for_delivery', 'in_transit delivered delivery_failed returned_to_sender lost'),
    ('delivery_failed', 'in_transit out_for_delivery delivered returned_to_sender lost'),
    ('lost', 'in_transit out_for_delivery delivered returned_to_sender')
  ) AS m (f, ts), regexp_split_to_table(ts, ' ') t ON CONFLICT DO NOTHING;
CREATE TRIGGER check_move BEFORE UPDATE OF status ON shipments FOR EACH ROW EXECUTE FUNCTION jl.check_move('shipment');

-- Whoever packs, labels and hands over.
ALTER TABLE operators DROP CONSTRAINT operators_may_check, ADD CONSTRAINT operators_may_check CHECK (may <@ ARRAY['receive','put_away','move','pick','pack','count','transfer','supervise']);

-- +goose Down
UPDATE operators SET may = array_remove(may, 'pack');
ALTER TABLE operators DROP CONSTRAINT operators_may_check, ADD CONSTRAINT operators_may_check CHECK (may <@ ARRAY['receive','put_away','move','pick','count','transfer','supervise']);
DROP TRIGGER check_move ON shipments;
DELETE FROM status_moves WHERE machine = 'shipment';
DROP INDEX shipments_status;
ALTER TABLE shipments DROP CONSTRAINT what_left_was_packed_and_labelled, DROP CONSTRAINT status_tells_what_left, DROP CONSTRAINT status_tells_what_ended, DROP CONSTRAINT a_shipment_under_way_is_due;
DROP TABLE parcels, rates;
ALTER TABLE shipments DROP COLUMN version, DROP COLUMN carrier, DROP COLUMN packed_at, DROP COLUMN labelled_at, DROP COLUMN handed_over_at, DROP COLUMN ended_at;
