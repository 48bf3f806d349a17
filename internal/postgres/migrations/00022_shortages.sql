-- +goose Up
-- How a paid order whose hold is short goes on: it waits for stock until then, and
-- nothing of it leaves meanwhile; or only a person decides. Read while the hold is
-- short, and set back when it becomes short again.
ALTER TABLE holds
  ADD COLUMN short_until timestamptz,
  ADD COLUMN short_asked boolean NOT NULL DEFAULT false;

-- Units of a line that were nowhere and do not leave any more. Their money went back.
ALTER TABLE order_lines
  ADD COLUMN not_shipped int NOT NULL DEFAULT 0 CONSTRAINT no_more_missing_than_sold CHECK (0 <= not_shipped AND not_shipped <= quantity);

-- Stock that comes in is looked at by the orders that wait for it, at once and not with
-- their next look. What a person has settled waits for nothing.
CREATE INDEX hold_lines_lost ON hold_lines (tenant, sku) WHERE shorted > 0;
-- +goose StatementBegin
CREATE FUNCTION jl.wake_shortages() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  INSERT INTO wakes (tenant, kind, subject)
    SELECT DISTINCT h.tenant, 'shortage', h.order_id FROM hold_lines l JOIN holds h ON h.tenant = l.tenant AND h.id = l.hold_id
     WHERE l.tenant = NEW.tenant AND l.sku = NEW.sku AND l.shorted > 0 AND h.status = 'short' AND h.confirmed_at IS NOT NULL AND h.order_id IS NOT NULL AND NOT h.short_asked;
  RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER wake_shortages AFTER INSERT ON stock_movements FOR EACH ROW WHEN (NEW.delta > 0) EXECUTE FUNCTION jl.wake_shortages();

-- +goose Down
DROP TRIGGER wake_shortages ON stock_movements;
DROP FUNCTION jl.wake_shortages();
DROP INDEX hold_lines_lost;
ALTER TABLE order_lines DROP COLUMN not_shipped;
ALTER TABLE holds DROP COLUMN short_asked, DROP COLUMN short_until;
