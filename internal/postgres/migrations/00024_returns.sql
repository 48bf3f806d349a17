-- +goose Up
-- Taking it back: what a buyer may return, and what became of each unit.

-- A shop's rules, as data. Each change is a version: a return keeps that with which it
-- began.
CREATE TABLE return_policies (
  tenant     text NOT NULL REFERENCES tenants,
  version    int NOT NULL CHECK (version > 0),
  policy     jsonb NOT NULL,
  person     text NOT NULL CHECK (person <> ''),
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, version)
);

CREATE TABLE returns (
  tenant         text NOT NULL REFERENCES tenants,
  id             text NOT NULL CHECK (length(id) = 26),
  order_id       text NOT NULL,
  number         text NOT NULL,
  status         text NOT NULL CHECK (status IN ('requested','approved','label_issued','in_transit','received','inspected','refunded','closed','rejected','expired','cancelled')),
  version        bigint NOT NULL DEFAULT 1,
  policy         jsonb NOT NULL,
  policy_version int NOT NULL CHECK (policy_version >= 0), -- 0: the rules that apply without any
  -- where the goods go back to
  warehouse      text NOT NULL,
  method         text NOT NULL CHECK (method IN ('original','bank_transfer')),
  -- where a bank transfer goes, encrypted with the credentials' key
  bank_account   bytea,
  -- when the money goes: with the approval, when the goods are there, or when they were
  -- looked at
  money          text NOT NULL CHECK (money IN ('on_approval','on_receipt','on_inspection')),
  freight_by     text NOT NULL CHECK (freight_by IN ('shop','buyer')),
  requested_by   text NOT NULL CHECK (requested_by <> ''),
  -- why a person let it in, although the rules do not
  exception      text NOT NULL DEFAULT '',
  -- why a person must decide about it
  review         text NOT NULL DEFAULT '',
  decided_by     text NOT NULL DEFAULT '',
  decided_why    text NOT NULL DEFAULT '',
  -- how it is sent, where somebody has said so
  carrier        text NOT NULL DEFAULT '',
  tracking       text NOT NULL DEFAULT '',
  -- until when it must have been sent, null once it has, or is over
  expires_at     timestamptz,
  -- how often the buyer was reminded of that
  reminded       int NOT NULL DEFAULT 0 CHECK (reminded >= 0),
  -- by when it must have moved from where it is
  due_at         timestamptz,
  -- why its money can't go, in words; '' when it can
  refused        text NOT NULL DEFAULT '',
  -- how a person has settled goods that are others than were sold or never came, and money
  -- that does not go by itself; '' while there is no need
  settled        text NOT NULL DEFAULT '',
  money_settled  text NOT NULL DEFAULT '',
  approved_at    timestamptz,
  sent_at        timestamptz,
  received_at    timestamptz,
  inspected_at   timestamptz,
  ended_at       timestamptz,
  created_at     timestamptz NOT NULL DEFAULT now(),
  updated_at     timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, id),
  UNIQUE (tenant, number),
  FOREIGN KEY (tenant, order_id) REFERENCES orders,
  FOREIGN KEY (tenant, warehouse) REFERENCES warehouses,
  CONSTRAINT what_is_over_has_ended CHECK ((status IN ('closed','rejected','cancelled')) = (ended_at IS NOT NULL)),
  CONSTRAINT what_is_open_is_due CHECK (status IN ('closed','rejected','expired','cancelled') OR due_at IS NOT NULL),
  CONSTRAINT what_was_rejected_says_why CHECK (status <> 'rejected' OR decided_why <> '')
);
CREATE INDEX returns_order ON returns (tenant, order_id);
CREATE INDEX returns_status ON returns (tenant, status, id DESC);
CREATE INDEX returns_due ON returns (due_at) WHERE due_at IS NOT NULL;

-- Its money: one refund as a rule, another for what a correction or a second try adds.
CREATE TABLE return_refunds (
  tenant    text NOT NULL,
  return_id text NOT NULL,
  refund_id text NOT NULL,
  -- it came to nothing, and a person has had the money go again
  retried   boolean NOT NULL DEFAULT false,
  PRIMARY KEY (tenant, refund_id),
  FOREIGN KEY (tenant, return_id) REFERENCES returns,
  FOREIGN KEY (tenant, refund_id) REFERENCES refund_requests
);
CREATE INDEX return_refunds_return ON return_refunds (tenant, return_id);

-- The units that a return is about, and what became of each.
CREATE TABLE return_units (
  tenant      text NOT NULL,
  return_id   text NOT NULL,
  order_id    text NOT NULL,
  line_id     text NOT NULL CHECK (line_id <> ''),
  unit        int NOT NULL CHECK (unit >= 0),
  sku         text NOT NULL,
  reason      text NOT NULL CHECK (reason <> ''),
  -- this return has the unit: no other may
  live        boolean NOT NULL DEFAULT true,
  -- what came of it: '' is nothing yet
  came        text NOT NULL DEFAULT '' CHECK (came IN ('','arrived','wrong_item','missing')),
  lot         text NOT NULL DEFAULT '',
  serial      text NOT NULL DEFAULT '',
  grade       text NOT NULL DEFAULT '' CHECK (grade IN ('','A','B','C','D')),
  disposition text NOT NULL DEFAULT '' CHECK (disposition IN ('','restock','refurbish','quarantine','supplier','scrap')),
  -- where it was put: '' is in no bin, or nowhere
  bin         text NOT NULL DEFAULT '',
  -- what does not go back of its money, in minor units, and why
  deducted    bigint NOT NULL DEFAULT 0 CHECK (deducted >= 0),
  deduction   text NOT NULL DEFAULT '',
  note        text NOT NULL DEFAULT '',
  inspected_by text NOT NULL DEFAULT '',
  PRIMARY KEY (tenant, return_id, line_id, unit),
  FOREIGN KEY (tenant, return_id) REFERENCES returns,
  FOREIGN KEY (tenant, order_id, line_id, unit) REFERENCES refundable,
  CONSTRAINT only_what_came_is_inspected CHECK (disposition = '' OR came = 'arrived'),
  CONSTRAINT a_grade_comes_with_a_place CHECK ((grade = '') = (disposition = '')),
  CONSTRAINT a_deduction_has_its_reason CHECK ((deducted > 0) = (deduction <> ''))
);
-- A unit comes back once, whatever is asked at the same moment.
CREATE UNIQUE INDEX a_unit_comes_back_once ON return_units (tenant, order_id, line_id, unit) WHERE live;

-- What was in the parcel and nobody had asked for.
CREATE TABLE return_extras (
  tenant    text NOT NULL,
  return_id text NOT NULL,
  n         int NOT NULL CHECK (n > 0),
  what      text NOT NULL CHECK (what <> ''),
  quantity  int NOT NULL CHECK (quantity > 0),
  person    text NOT NULL CHECK (person <> ''),
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, return_id, n),
  FOREIGN KEY (tenant, return_id) REFERENCES returns
);

-- What it looked like. The bytes are a picture of the type, which was read from them.
CREATE TABLE return_photos (
  tenant     text NOT NULL,
  return_id  text NOT NULL,
  n          int NOT NULL CHECK (n BETWEEN 1 AND 30),
  line_id    text NOT NULL DEFAULT '',
  type       text NOT NULL CHECK (type IN ('image/jpeg','image/png','image/webp')),
  digest     bytea NOT NULL,
  data       bytea NOT NULL CHECK (length(data) BETWEEN 1 AND 5242880),
  person     text NOT NULL CHECK (person <> ''),
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, return_id, n),
  FOREIGN KEY (tenant, return_id) REFERENCES returns,
  CONSTRAINT a_picture_is_kept_once UNIQUE (tenant, return_id, digest)
);
ALTER TABLE return_photos ALTER COLUMN data SET STORAGE EXTERNAL; -- pictures are compressed already

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['return_policies','returns','return_refunds','return_units','return_extras','return_photos']
  LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY own_tenant ON %I USING (tenant = (SELECT jl.tenant())) WITH CHECK (tenant = (SELECT jl.tenant()))', t);
    EXECUTE format('CREATE POLICY system ON %I TO jl_system USING (true) WITH CHECK (true)', t);
    EXECUTE format('GRANT SELECT, INSERT ON %I TO jl_app, jl_system', t);
  END LOOP;
END $$;

CREATE FUNCTION jl.wake_return() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  INSERT INTO wakes (tenant, kind, subject) VALUES (NEW.tenant, 'return', NEW.id);
  RETURN NULL;
END $$;

-- Its money has moved, or does not.
CREATE FUNCTION jl.wake_return_of_refund() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  INSERT INTO wakes (tenant, kind, subject) SELECT tenant, 'return', return_id FROM return_refunds WHERE tenant = NEW.tenant AND refund_id = NEW.request_id;
  RETURN NULL;
END $$;
-- +goose StatementEnd
GRANT UPDATE ON returns, return_refunds, return_units TO jl_app, jl_system;

INSERT INTO status_moves (machine, from_status, to_status)
  SELECT 'return', f, t FROM (VALUES
    ('requested', 'approved rejected cancelled'),
    ('approved', 'label_issued in_transit received expired cancelled'),
    ('label_issued', 'in_transit received expired cancelled'),
    ('in_transit', 'received cancelled'),
    ('expired', 'received'),
    ('received', 'inspected'),
    ('inspected', 'refunded closed'),
    ('refunded', 'closed')
  ) AS m (f, ts), regexp_split_to_table(ts, ' ') t ON CONFLICT DO NOTHING;
CREATE TRIGGER check_move BEFORE UPDATE OF status ON returns FOR EACH ROW EXECUTE FUNCTION jl.check_move('return');

-- Its run begins with the request and is told of what others change; not of what it does
-- itself (jl.own_run is then the return's id).
CREATE TRIGGER wake_new AFTER INSERT ON returns FOR EACH ROW EXECUTE FUNCTION jl.wake_return();
CREATE TRIGGER wake_changed AFTER UPDATE ON returns FOR EACH ROW
  WHEN (NEW.version <> OLD.version AND current_setting('jl.own_run', true) IS DISTINCT FROM NEW.id)
  EXECUTE FUNCTION jl.wake_return();
CREATE TRIGGER wake_return AFTER UPDATE OF status ON refunds FOR EACH ROW
  WHEN (NEW.status <> OLD.status AND NEW.request_id IS NOT NULL AND NEW.status IN ('succeeded','failed','needs_attention'))
  EXECUTE FUNCTION jl.wake_return_of_refund();

-- Buyers are told of it. What stands there was allowed before.
ALTER TABLE notices DROP CONSTRAINT notices_kind_check,
  ADD CONSTRAINT notices_kind_check CHECK (kind IN ('order_paid','shipped','out_for_delivery','delivered','delivery_failed','ready_for_pickup','returned_to_sender','delayed','back_ordered','partially_refunded','refunded','order_cancelled',
    'return_requested','return_approved','return_rejected','return_reminder','return_received','return_expired','return_closed')) NOT VALID;

-- +goose Down
DELETE FROM notices WHERE kind LIKE 'return\_%';
ALTER TABLE notices DROP CONSTRAINT notices_kind_check, ADD CONSTRAINT notices_kind_check CHECK (kind IN ('order_paid','shipped','out_for_delivery','delivered','delivery_failed','ready_for_pickup','returned_to_sender','delayed','back_ordered','partially_refunded','refunded','order_cancelled'));
DROP TRIGGER wake_return ON refunds;
DROP TABLE return_photos, return_extras, return_units, return_refunds, returns, return_policies;
DROP FUNCTION jl.wake_return();
DROP FUNCTION jl.wake_return_of_refund();
DELETE FROM status_moves WHERE machine = 'return';
