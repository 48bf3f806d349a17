-- +goose Up
-- What the buyer is told at each step of an order. A row has no address: it is read
-- from the order's customer when the notice is sent.
CREATE TABLE notices (
  tenant     text NOT NULL REFERENCES tenants,
  id         text NOT NULL CHECK (length(id) = 26),
  -- the order, or the checkout whose money went back
  subject    text NOT NULL,
  kind       text NOT NULL CHECK (kind IN ('order_paid','shipped','out_for_delivery','delivered','delivery_failed','ready_for_pickup','returned_to_sender','delayed','back_ordered','partially_refunded','refunded','order_cancelled')),
  channel    text NOT NULL CHECK (channel IN ('email','sms','whatsapp')),
  -- names the step: the shipment, the refund, the order
  dedupe     text NOT NULL CHECK (dedupe <> ''),
  data       jsonb NOT NULL DEFAULT '{}',
  status     text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued','sending','sent','failed','suppressed')),
  -- since it was queued, by the program or by a person
  attempts   int NOT NULL DEFAULT 0,
  queued_at  timestamptz NOT NULL DEFAULT now(),
  -- the next turn, or the end of the sender's lease
  next_at    timestamptz DEFAULT now(),
  lease      text NOT NULL DEFAULT '',
  -- the provider's name for it, and why it did not go: never anything of the buyer
  message_id text NOT NULL DEFAULT '',
  error      text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  sent_at    timestamptz,
  PRIMARY KEY (tenant, id),
  CONSTRAINT a_step_tells_the_buyer_once UNIQUE (tenant, subject, kind, channel, dedupe),
  CONSTRAINT what_waits_has_its_turn CHECK ((status IN ('queued','sending')) = (next_at IS NOT NULL)),
  CONSTRAINT a_sender_has_its_lease CHECK ((status = 'sending') = (lease <> '')),
  CONSTRAINT sent_says_when CHECK (status <> 'sent' OR sent_at IS NOT NULL),
  CONSTRAINT not_sent_says_why CHECK (status NOT IN ('failed','suppressed') OR error <> '')
);
CREATE INDEX notices_due ON notices (next_at) WHERE status IN ('queued','sending');
CREATE INDEX notices_status ON notices (tenant, status, id);
ALTER TABLE notices ENABLE ROW LEVEL SECURITY;
ALTER TABLE notices FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON notices USING (tenant = (SELECT jl.tenant())) WITH CHECK (tenant = (SELECT jl.tenant()));
CREATE POLICY system ON notices TO jl_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON notices TO jl_app;
GRANT SELECT ON notices TO jl_system;
GRANT UPDATE (status, attempts, queued_at, next_at, lease, message_id, error, updated_at, sent_at) ON notices TO jl_app, jl_system;

-- +goose Down
DROP TABLE notices;
