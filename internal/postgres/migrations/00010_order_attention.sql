-- +goose Up
-- Why a person is needed for an order: all the reasons at once, so that the end
-- of one does not hide another. orders.attention shows the first of them.
CREATE TABLE order_attention (
  tenant   text NOT NULL REFERENCES tenants,
  order_id text NOT NULL,
  reason   text NOT NULL CHECK (reason <> ''),
  since    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, order_id, reason),
  FOREIGN KEY (tenant, order_id) REFERENCES orders
);
INSERT INTO order_attention (tenant, order_id, reason, since)
  SELECT tenant, id, attention, updated_at FROM orders WHERE attention IS NOT NULL
  UNION SELECT o.tenant, o.id, p.reason, min(p.since) FROM parked p JOIN orders o ON o.tenant = p.tenant AND o.id = p.subject
   WHERE p.resolved_at IS NULL AND p.reason IS DISTINCT FROM o.attention GROUP BY o.tenant, o.id, p.reason
  UNION SELECT o.tenant, o.id, 'disputed', min(d.opened_at) FROM disputes d JOIN payments p ON p.tenant = d.tenant AND p.id = d.payment_id JOIN orders o ON o.tenant = p.tenant AND o.id = p.order_id
   WHERE d.status = 'open' AND p.applied AND o.attention IS DISTINCT FROM 'disputed' GROUP BY o.tenant, o.id;

-- What concerns an order's money comes first, then what has waited longest.
-- +goose StatementBegin
CREATE FUNCTION jl.show_attention() RETURNS trigger LANGUAGE plpgsql AS
$$
DECLARE changed record;
BEGIN
  IF TG_OP = 'DELETE' THEN changed := OLD; ELSE changed := NEW; END IF;
  -- Two reasons at the same moment: the second sees the first.
  PERFORM FROM orders WHERE tenant = changed.tenant AND id = changed.order_id FOR UPDATE;
  UPDATE orders SET updated_at = now(), attention = (
    SELECT reason FROM order_attention WHERE tenant = changed.tenant AND order_id = changed.order_id
     ORDER BY coalesce(array_position(ARRAY['charged_back','disputed','authorization_lapsed','authorization_voided'], reason), 9), since, reason LIMIT 1)
   WHERE tenant = changed.tenant AND id = changed.order_id;
  RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER show_attention AFTER INSERT OR DELETE ON order_attention FOR EACH ROW EXECUTE FUNCTION jl.show_attention();

ALTER TABLE order_attention ENABLE ROW LEVEL SECURITY;
ALTER TABLE order_attention FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON order_attention USING (tenant = (SELECT jl.tenant())) WITH CHECK (tenant = (SELECT jl.tenant()));
CREATE POLICY system ON order_attention TO jl_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, DELETE ON order_attention TO jl_app, jl_system;

-- +goose Down
DROP TABLE order_attention;
DROP FUNCTION jl.show_attention();
