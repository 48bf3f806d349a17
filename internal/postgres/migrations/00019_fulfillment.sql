-- +goose Up
-- A run looks after each shipment: it books carriers, follows parcels and asks people.

-- Where a warehouse's parcels come from.
ALTER TABLE warehouses
  ADD COLUMN street text NOT NULL DEFAULT '',
  ADD COLUMN number text NOT NULL DEFAULT '';

ALTER TABLE shipments
  -- A label is wanted since then, by whom, and of which carrier: '' is whoever suits best.
  ADD COLUMN wanted_at      timestamptz,
  ADD COLUMN wanted_by      text NOT NULL DEFAULT '',
  ADD COLUMN wanted_carrier text NOT NULL DEFAULT '' CHECK (wanted_carrier IN ('','chilexpress','starken','correos','bluexpress')),
  ADD COLUMN wanted_service text NOT NULL DEFAULT '',
  -- Nobody could book it: when to try again, and why not, in words.
  ADD COLUMN book_at        timestamptz,
  ADD COLUMN not_booked     text NOT NULL DEFAULT '',
  -- working days that the carrier promised
  ADD COLUMN promised_days  int CHECK (promised_days > 0),
  -- What a person has decided about a parcel that is lost or came back.
  ADD COLUMN settled        text NOT NULL DEFAULT '' CHECK (settled IN ('','refunded','closed')),
  -- Names the public page that tells where it is. Shipments of before have none.
  ADD COLUMN tracking_key   uuid,
  ADD CONSTRAINT a_label_is_wanted_by_somebody CHECK ((wanted_at IS NULL) = (wanted_by = ''));
ALTER TABLE shipments ALTER COLUMN tracking_key SET DEFAULT gen_random_uuid();
CREATE UNIQUE INDEX shipments_tracking_key ON shipments (tracking_key);

-- A parcel that a carrier was asked to carry. The row is written before the call, so
-- that a call whose answer was lost is looked up and not made again.
CREATE TABLE bookings (
  tenant      text NOT NULL,
  id          text NOT NULL CHECK (length(id) = 26),
  shipment_id text NOT NULL,
  parcel_id   text NOT NULL,
  carrier     text NOT NULL CHECK (carrier IN ('chilexpress','starken','correos','bluexpress')),
  service     text NOT NULL,
  reference   text NOT NULL CHECK (reference ~ '^[A-Z0-9]{16}$'),
  -- the day of the carrier's capacity that it counts for, at the warehouse
  day         date NOT NULL,
  status      text NOT NULL DEFAULT 'intended' CHECK (status IN ('intended','unknown','pending','booked','refused','failed','voided','lapsed')),
  tracking    text NOT NULL DEFAULT '',
  carrier_id  text NOT NULL DEFAULT '',
  price       bigint CHECK (price >= 0), -- pesos, where the carrier says
  code        text NOT NULL DEFAULT '',
  message     text NOT NULL DEFAULT '',
  tries       int NOT NULL DEFAULT 0 CHECK (tries >= 0),
  -- since then the carrier may know of it
  tried_at    timestamptz,
  -- when the next question, or try, is due; null: nothing is to be done
  next_at     timestamptz DEFAULT now(),
  -- it is not wanted any more
  void_at     timestamptz,
  booked_at   timestamptz,
  -- a person has found it in the carrier's panel, and printed its label there
  by_hand     boolean NOT NULL DEFAULT false,
  created_at  timestamptz NOT NULL DEFAULT now(),
  updated_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, id),
  UNIQUE (tenant, reference),
  FOREIGN KEY (tenant, shipment_id) REFERENCES shipments,
  FOREIGN KEY (tenant, parcel_id) REFERENCES parcels,
  CONSTRAINT what_is_booked_has_a_number CHECK ((status = 'booked') <= (tracking <> '' AND booked_at IS NOT NULL)),
  CONSTRAINT what_was_never_tried_has_no_answer CHECK (tried_at IS NOT NULL OR status IN ('intended','failed'))
);
-- No parcel has two labels: one booking at a time that counts or may count.
CREATE UNIQUE INDEX bookings_one_at_a_time ON bookings (tenant, parcel_id) WHERE status IN ('intended','unknown','pending','booked') AND void_at IS NULL;
CREATE UNIQUE INDEX bookings_tracking ON bookings (tenant, carrier, tracking) WHERE tracking <> '';
CREATE INDEX bookings_shipment ON bookings (tenant, shipment_id);

-- A carrier's label as it came. It names the buyer, and goes when the shipment is over.
CREATE TABLE carrier_labels (
  tenant     text NOT NULL,
  booking_id text NOT NULL,
  format     text NOT NULL CHECK (format IN ('pdf','zpl','epl','jpeg','png')),
  data       bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, booking_id),
  FOREIGN KEY (tenant, booking_id) REFERENCES bookings
);

-- How many parcels a carrier was given on a day, over all workers. The most is the
-- tenant's setting.
CREATE TABLE carrier_days (
  tenant  text NOT NULL REFERENCES tenants,
  carrier text NOT NULL,
  day     date NOT NULL,
  parcels int NOT NULL CHECK (parcels >= 0),
  PRIMARY KEY (tenant, carrier, day)
);

-- Where a carrier says that a parcel is.
ALTER TABLE parcels
  ADD COLUMN state      text NOT NULL DEFAULT '',
  ADD COLUMN told_at    timestamptz,
  -- when the carrier is asked again; null: it isn't
  ADD COLUMN track_at   timestamptz,
  -- somebody unsigned last said that there is news
  ADD COLUMN hinted_at  timestamptz,
  ADD COLUMN quiet      int NOT NULL DEFAULT 0 CHECK (quiet >= 0);
CREATE INDEX parcels_track ON parcels (track_at) WHERE track_at IS NOT NULL;
GRANT UPDATE (state, told_at, track_at, hinted_at, quiet) ON parcels TO jl_app, jl_system;

CREATE TABLE tracking_events (
  tenant     text NOT NULL,
  parcel_id  text NOT NULL,
  -- of what the carrier said: told twice is kept once
  digest     text NOT NULL,
  seq        bigint GENERATED ALWAYS AS IDENTITY,
  at         timestamptz, -- null: the carrier's date could not be read
  state      text NOT NULL, -- '': a word that we don't know moves nothing
  code       text NOT NULL,
  words      text NOT NULL,
  place      text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, parcel_id, digest),
  FOREIGN KEY (tenant, parcel_id) REFERENCES parcels
);

-- A run that is to be told that its row has changed. It is written with the change, so
-- that no word is lost, and appended to, so that nobody waits for anybody.
CREATE TABLE wakes (
  id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant  text NOT NULL,
  kind    text NOT NULL,
  subject text NOT NULL,
  at      timestamptz NOT NULL DEFAULT now()
);

-- +goose StatementBegin
CREATE FUNCTION jl.wake_fulfillment() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  INSERT INTO wakes (tenant, kind, subject) VALUES (NEW.tenant, 'fulfillment', NEW.id);
  RETURN NULL;
END $$;

DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['bookings','carrier_labels','carrier_days','tracking_events','wakes']
  LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY own_tenant ON %I USING (tenant = (SELECT jl.tenant())) WITH CHECK (tenant = (SELECT jl.tenant()))', t);
    EXECUTE format('CREATE POLICY system ON %I TO jl_system USING (true) WITH CHECK (true)', t);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON %I TO jl_app, jl_system', t);
  END LOOP;
END $$;
-- +goose StatementEnd
GRANT DELETE ON carrier_labels, wakes TO jl_app, jl_system;

-- The run is begun with the shipment, and told of what it must act on. What happens in
-- the warehouse and on the way between goes on without it.
CREATE TRIGGER wake_new AFTER INSERT ON shipments FOR EACH ROW EXECUTE FUNCTION jl.wake_fulfillment();
CREATE TRIGGER wake_changed AFTER UPDATE ON shipments FOR EACH ROW
  WHEN (NEW.status <> OLD.status AND (NEW.status IN ('packed','handed_over','delivered','delivery_failed','returned_to_sender','lost','cancelled')
          OR OLD.status IN ('cancelled','labelled','delivery_failed','lost'))
        OR NEW.wanted_at IS DISTINCT FROM OLD.wanted_at AND NEW.wanted_at IS NOT NULL
        OR NEW.frozen_reason IS DISTINCT FROM OLD.frozen_reason AND NEW.status IN ('packed','labelled'))
  EXECUTE FUNCTION jl.wake_fulfillment();

-- +goose Down
DROP TRIGGER wake_new ON shipments;
DROP TRIGGER wake_changed ON shipments;
DROP FUNCTION jl.wake_fulfillment();
DROP TABLE wakes, tracking_events, carrier_days, carrier_labels, bookings;
ALTER TABLE parcels DROP COLUMN state, DROP COLUMN told_at, DROP COLUMN track_at, DROP COLUMN hinted_at, DROP COLUMN quiet;
ALTER TABLE shipments DROP CONSTRAINT a_label_is_wanted_by_somebody, DROP COLUMN wanted_at, DROP COLUMN wanted_by, DROP COLUMN wanted_carrier, DROP COLUMN wanted_service, DROP COLUMN book_at, DROP COLUMN not_booked, DROP COLUMN settled, DROP COLUMN promised_days, DROP COLUMN tracking_key;
ALTER TABLE warehouses DROP COLUMN street, DROP COLUMN number;
