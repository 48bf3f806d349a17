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

-- +goose Down
ALTER TABLE order_lines DROP COLUMN not_shipped;
ALTER TABLE holds DROP COLUMN short_asked, DROP COLUMN short_until;
