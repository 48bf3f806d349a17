-- +goose Up
-- When the buyer was told to have a shipment, and since when that may not hold.
-- Shipments of before have no promise, and the build that serves meanwhile makes none.
ALTER TABLE shipments
  ADD COLUMN promised_at   timestamptz,
  -- From then on the shipment, where it is, may miss it; null: it cannot any more.
  ADD COLUMN risk_at       timestamptz,
  -- A person knows, and is not asked again.
  ADD COLUMN risk_known_at timestamptz,
  -- The promise was broken, and the buyer told of it.
  ADD COLUMN delayed_at    timestamptz,
  ADD CONSTRAINT only_a_promise_can_be_missed CHECK (promised_at IS NOT NULL OR risk_at IS NULL AND delayed_at IS NULL);

-- The day that a carrier promises, where it names one instead of a number of days.
ALTER TABLE rates ADD COLUMN deliver_by date;

-- The run has a timer for what it knows. It is told when a promise comes nearer than
-- that, when what was asked of a person is over, and when a parcel may leave again; not of
-- what it does itself (jl.own_run is then the shipment's id).
CREATE TRIGGER wake_promise AFTER UPDATE ON shipments FOR EACH ROW
  WHEN ((NEW.promised_at IS DISTINCT FROM OLD.promised_at
        OR NEW.risk_at IS DISTINCT FROM OLD.risk_at AND (OLD.risk_at IS NULL OR OLD.risk_at <= now() OR NEW.risk_at < OLD.risk_at)
        OR NEW.frozen_reason IS DISTINCT FROM OLD.frozen_reason AND NEW.promised_at IS NOT NULL AND NEW.status IN ('pending','picking'))
        AND current_setting('jl.own_run', true) IS DISTINCT FROM NEW.id)
  EXECUTE FUNCTION jl.wake_fulfillment();

-- +goose Down
DROP TRIGGER wake_promise ON shipments;
ALTER TABLE rates DROP COLUMN deliver_by;
ALTER TABLE shipments DROP CONSTRAINT only_a_promise_can_be_missed, DROP COLUMN promised_at, DROP COLUMN risk_at, DROP COLUMN risk_known_at, DROP COLUMN delayed_at;
