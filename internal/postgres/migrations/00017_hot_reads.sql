-- +goose Up
-- Traces ask who got a lot or a unit, long after it was shipped: the other indexes
-- on allocations are of what has not left yet.
CREATE INDEX allocations_shipped_lot ON allocations (tenant, sku, lot) WHERE state = 'shipped' AND lot <> '';
CREATE INDEX allocations_serial ON allocations (tenant, sku, serial) WHERE serial IS NOT NULL;
-- A page of lists is mostly of those in one status, and most lists are completed.
CREATE INDEX pick_lists_status ON pick_lists (tenant, status, id);
-- Every pick asks of each line of its list what is open for it.
CREATE INDEX allocations_line ON allocations (tenant, list_id, line) WHERE list_id IS NOT NULL;
DROP INDEX allocations_list;

-- +goose Down
CREATE INDEX allocations_list ON allocations (tenant, list_id) WHERE list_id IS NOT NULL;
DROP INDEX allocations_shipped_lot, allocations_serial, allocations_line, pick_lists_status;
