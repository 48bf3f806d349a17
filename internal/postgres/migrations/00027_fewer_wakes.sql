-- +goose Up
-- A run that waits for the carrier to take its parcels has nothing to do when the carrier
-- has: it is told no more, unless the parcels are then late sooner than it would look, or
-- somebody was asked about what is late or at risk, which is over. A build of before is
-- told less and looks at the row when its timer ends.
CREATE OR REPLACE TRIGGER wake_changed AFTER UPDATE ON shipments FOR EACH ROW
  WHEN (NEW.status <> OLD.status AND (NEW.status IN ('packed','delivered','delivery_failed','returned_to_sender','lost','cancelled')
          OR NEW.status = 'handed_over' AND (OLD.status <> 'labelled' OR OLD.due_at IS NULL OR OLD.due_at <= now() OR NEW.due_at < OLD.due_at OR OLD.risk_at <= now())
          OR OLD.status IN ('cancelled','delivery_failed','lost') OR OLD.status = 'labelled' AND NEW.status <> 'handed_over')
        OR NEW.wanted_at IS DISTINCT FROM OLD.wanted_at AND NEW.wanted_at IS NOT NULL
        OR NEW.frozen_reason IS DISTINCT FROM OLD.frozen_reason AND NEW.status IN ('packed','labelled'))
  EXECUTE FUNCTION jl.wake_fulfillment();

-- +goose Down
CREATE OR REPLACE TRIGGER wake_changed AFTER UPDATE ON shipments FOR EACH ROW
  WHEN (NEW.status <> OLD.status AND (NEW.status IN ('packed','handed_over','delivered','delivery_failed','returned_to_sender','lost','cancelled')
          OR OLD.status IN ('cancelled','labelled','delivery_failed','lost'))
        OR NEW.wanted_at IS DISTINCT FROM OLD.wanted_at AND NEW.wanted_at IS NOT NULL
        OR NEW.frozen_reason IS DISTINCT FROM OLD.frozen_reason AND NEW.status IN ('packed','labelled'))
  EXECUTE FUNCTION jl.wake_fulfillment();
