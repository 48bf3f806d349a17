-- +goose Up
-- An approval that a provider has under the reference of another payment (a page
-- that was paid twice): nobody began it, and under_payment is the attempt whose
-- reference it bears.
ALTER TABLE payments ADD COLUMN under_payment text, ADD CONSTRAINT payments_under FOREIGN KEY (tenant, under_payment) REFERENCES payments (tenant, id);
CREATE UNIQUE INDEX payments_under_once ON payments (tenant, gateway, capture_ref) WHERE under_payment IS NOT NULL;

-- +goose Down
DROP INDEX payments_under_once;
ALTER TABLE payments DROP COLUMN under_payment;
