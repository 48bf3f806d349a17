-- +goose Up
-- Names that a refund may have at its provider by news that anybody may have
-- sent, the newest last. One becomes the refund's reference when the provider,
-- asked for it, says that it is this refund.
ALTER TABLE refunds ADD COLUMN hints text[] NOT NULL DEFAULT '{}';
-- Lists by status: a request has the status of its parts, or waits and has none.
CREATE INDEX refunds_alone ON refunds (tenant, id) WHERE request_id IS NULL;
CREATE INDEX refund_requests_waiting ON refund_requests (tenant, id) WHERE waits;

-- +goose Down
DROP INDEX refund_requests_waiting, refunds_alone;
ALTER TABLE refunds DROP COLUMN hints;
