-- +goose Up
-- Labels of carriers for the way back. A parcel, and its booking, is a shipment's or a
-- return's.

ALTER TABLE parcels
  ALTER COLUMN shipment_id DROP NOT NULL,
  ADD COLUMN return_id text,
  ADD CONSTRAINT parcels_return FOREIGN KEY (tenant, return_id) REFERENCES returns NOT VALID,
  ADD CONSTRAINT a_parcel_goes_one_way CHECK (num_nonnulls(shipment_id, return_id) = 1) NOT VALID;
CREATE UNIQUE INDEX parcels_of_return ON parcels (tenant, return_id, position) WHERE unpacked_at IS NULL AND return_id IS NOT NULL;

ALTER TABLE bookings
  ALTER COLUMN shipment_id DROP NOT NULL,
  ADD COLUMN return_id text,
  ADD CONSTRAINT bookings_return FOREIGN KEY (tenant, return_id) REFERENCES returns NOT VALID,
  ADD CONSTRAINT a_booking_is_for_one_way CHECK (num_nonnulls(shipment_id, return_id) = 1) NOT VALID;
CREATE INDEX bookings_of_return ON bookings (tenant, return_id) WHERE return_id IS NOT NULL;

ALTER TABLE returns
  -- A label is wanted since then, by whom, and of which carrier: '' is whoever suits best.
  ADD COLUMN label_wanted_at     timestamptz,
  ADD COLUMN label_wanted_by     text NOT NULL DEFAULT '',
  ADD COLUMN label_asked_carrier text NOT NULL DEFAULT '' CHECK (label_asked_carrier IN ('','chilexpress','starken','correos','bluexpress')),
  ADD COLUMN label_asked_service text NOT NULL DEFAULT '',
  -- Nobody could book it: when to try again, and why not, in words.
  ADD COLUMN label_round_at      timestamptz,
  ADD COLUMN label_not_booked    text NOT NULL DEFAULT '',
  -- The label that the buyer has, and what it costs the shop, where that is known.
  ADD COLUMN label_carrier       text NOT NULL DEFAULT '' CHECK (label_carrier IN ('','chilexpress','starken','correos','bluexpress')),
  ADD COLUMN label_price         bigint CHECK (label_price >= 0),
  ADD COLUMN labelled_at         timestamptz,
  -- Names the page at which the buyer prints it.
  ADD COLUMN label_key           uuid,
  -- what the buyer pays for it, in minor units: it is kept of the money that goes back
  ADD COLUMN label_fee           bigint NOT NULL DEFAULT 0 CHECK (label_fee >= 0),
  -- whether the carrier has had the parcel was asked once the goods were there
  ADD COLUMN label_checked_at    timestamptz,
  -- the carrier says that it has brought it
  ADD COLUMN arrived_at          timestamptz,
  ADD CONSTRAINT a_return_label_is_wanted_by_somebody CHECK ((label_wanted_at IS NULL) = (label_wanted_by = '')),
  ADD CONSTRAINT who_has_a_label_has_a_carrier CHECK ((labelled_at IS NULL) = (label_carrier = '') AND (status <> 'label_issued' OR labelled_at IS NOT NULL)),
  ADD CONSTRAINT a_buyer_pays_for_a_label_only CHECK (label_fee = 0 OR freight_by = 'buyer' AND labelled_at IS NOT NULL);
CREATE UNIQUE INDEX returns_label_key ON returns (label_key) WHERE label_key IS NOT NULL;

-- A carrier has lost it with our label on: the buyer has the money, and the unit is no more.
ALTER TABLE return_units DROP CONSTRAINT return_units_came_check,
  ADD CONSTRAINT return_units_came_check CHECK (came IN ('','arrived','wrong_item','missing','lost')) NOT VALID;

-- A label that is not wanted any more leaves the return approved.
INSERT INTO status_moves (machine, from_status, to_status) VALUES ('return', 'label_issued', 'approved') ON CONFLICT DO NOTHING;

ALTER TABLE notices DROP CONSTRAINT notices_kind_check,
  ADD CONSTRAINT notices_kind_check CHECK (kind IN ('order_paid','shipped','out_for_delivery','delivered','delivery_failed','ready_for_pickup','returned_to_sender','delayed','back_ordered','partially_refunded','refunded','order_cancelled',
    'return_requested','return_approved','return_label','return_rejected','return_reminder','return_received','return_expired','return_closed')) NOT VALID;

-- +goose Down
DELETE FROM notices WHERE kind = 'return_label';
ALTER TABLE notices DROP CONSTRAINT notices_kind_check,
  ADD CONSTRAINT notices_kind_check CHECK (kind IN ('order_paid','shipped','out_for_delivery','delivered','delivery_failed','ready_for_pickup','returned_to_sender','delayed','back_ordered','partially_refunded','refunded','order_cancelled',
    'return_requested','return_approved','return_rejected','return_reminder','return_received','return_expired','return_closed')) NOT VALID;
DELETE FROM status_moves WHERE machine = 'return' AND from_status = 'label_issued' AND to_status = 'approved';
UPDATE return_units SET came = 'missing' WHERE came = 'lost';
ALTER TABLE return_units DROP CONSTRAINT return_units_came_check, ADD CONSTRAINT return_units_came_check CHECK (came IN ('','arrived','wrong_item','missing')) NOT VALID;
UPDATE returns SET status = 'approved' WHERE status = 'label_issued';
DELETE FROM carrier_labels l USING bookings b WHERE b.tenant = l.tenant AND b.id = l.booking_id AND b.return_id IS NOT NULL;
UPDATE carrier_days d SET parcels = d.parcels - n.parcels FROM (SELECT tenant, carrier, day, count(*) AS parcels FROM bookings WHERE return_id IS NOT NULL AND status NOT IN ('refused','failed','voided') GROUP BY 1, 2, 3) n
  WHERE d.tenant = n.tenant AND d.carrier = n.carrier AND d.day = n.day;
DELETE FROM bookings WHERE return_id IS NOT NULL;
DELETE FROM tracking_events e USING parcels p WHERE p.tenant = e.tenant AND p.id = e.parcel_id AND p.return_id IS NOT NULL;
DELETE FROM parcels WHERE return_id IS NOT NULL;
ALTER TABLE returns DROP CONSTRAINT a_return_label_is_wanted_by_somebody, DROP CONSTRAINT who_has_a_label_has_a_carrier, DROP CONSTRAINT a_buyer_pays_for_a_label_only,
  DROP COLUMN label_wanted_at, DROP COLUMN label_wanted_by, DROP COLUMN label_asked_carrier, DROP COLUMN label_asked_service, DROP COLUMN label_round_at, DROP COLUMN label_not_booked,
  DROP COLUMN label_carrier, DROP COLUMN label_price, DROP COLUMN labelled_at, DROP COLUMN label_key, DROP COLUMN label_fee, DROP COLUMN label_checked_at, DROP COLUMN arrived_at;
ALTER TABLE bookings DROP CONSTRAINT a_booking_is_for_one_way, DROP CONSTRAINT bookings_return, DROP COLUMN return_id, ALTER COLUMN shipment_id SET NOT NULL;
ALTER TABLE parcels DROP CONSTRAINT a_parcel_goes_one_way, DROP CONSTRAINT parcels_return, DROP COLUMN return_id, ALTER COLUMN shipment_id SET NOT NULL;
