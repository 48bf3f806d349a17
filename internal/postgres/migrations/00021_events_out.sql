-- +goose Up
-- What storefronts are told. A timeline's row that may be public waits as outbound
-- until one writer per tenant has given it its position; a build that does not say
-- whether it is lets the writer look. What happened before stays untold.
ALTER TABLE events ADD COLUMN outbound boolean NOT NULL DEFAULT false;
ALTER TABLE events ALTER COLUMN outbound SET DEFAULT true;
CREATE INDEX events_outbound ON events (tenant, seq) WHERE outbound;
GRANT UPDATE (outbound) ON events TO jl_system;

-- The last position that was given. Its row is locked while more are given, so that
-- whoever sees a position sees all before it.
CREATE TABLE feeds (
  tenant   text NOT NULL PRIMARY KEY REFERENCES tenants,
  position bigint NOT NULL DEFAULT 0 CHECK (position >= 0)
);

CREATE TABLE public_events (
  tenant       text NOT NULL,
  position     bigint NOT NULL CHECK (position > 0),
  id           text NOT NULL CHECK (length(id) = 26),
  seq          bigint NOT NULL,
  type         text NOT NULL,
  subject      text NOT NULL,
  data         jsonb NOT NULL,
  -- when it happened
  created_at   timestamptz NOT NULL,
  published_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, position),
  CONSTRAINT an_event_is_told_under_one_id UNIQUE (tenant, seq),
  CONSTRAINT an_id_is_of_one_event UNIQUE (tenant, id),
  FOREIGN KEY (tenant, seq) REFERENCES events
);
CREATE INDEX public_events_subject ON public_events (tenant, subject, position);

CREATE TABLE event_endpoints (
  tenant          text NOT NULL REFERENCES tenants,
  id              text NOT NULL CHECK (length(id) = 26),
  url             text NOT NULL CHECK (url ~ '^https?://'),
  -- none means all
  types           text[] NOT NULL DEFAULT '{}',
  description     text NOT NULL DEFAULT '',
  status          text NOT NULL DEFAULT 'active' CHECK (status IN ('active','failing','disabled')),
  failing_since   timestamptz,
  disabled_reason text,
  key_id          text NOT NULL,
  box             bytea NOT NULL,
  -- the secret before this one, which signs too until old_until
  old_key_id      text,
  old_box         bytea,
  old_until       timestamptz,
  -- failures since the last success, and until when it asked to be left alone
  streak          int NOT NULL DEFAULT 0 CHECK (streak >= 0),
  resting_until   timestamptz,
  claimed_at      timestamptz,
  last_success_at timestamptz,
  created_at      timestamptz NOT NULL DEFAULT now(),
  updated_at      timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, id),
  CONSTRAINT failing_says_since_when CHECK ((status = 'failing') = (failing_since IS NOT NULL)),
  CONSTRAINT disabled_says_why CHECK ((status = 'disabled') = (disabled_reason IS NOT NULL)),
  CONSTRAINT an_old_secret_has_its_end CHECK ((old_box IS NULL) = (old_until IS NULL) AND (old_box IS NULL) = (old_key_id IS NULL))
);

CREATE TABLE event_deliveries (
  tenant       text NOT NULL,
  endpoint_id  text NOT NULL,
  event_id     text NOT NULL CHECK (length(event_id) = 26),
  -- none for a test, which is no event
  position     bigint,
  status       text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending','delivered','given_up','cancelled')),
  -- failures of the present round of tries, and claims ever
  tries        int NOT NULL DEFAULT 0 CHECK (tries >= 0),
  claims       int NOT NULL DEFAULT 0,
  next_try_at  timestamptz DEFAULT now(),
  leased_until timestamptz,
  attempts     jsonb NOT NULL DEFAULT '[]',
  created_at   timestamptz NOT NULL DEFAULT now(),
  ended_at     timestamptz,
  PRIMARY KEY (tenant, endpoint_id, event_id),
  FOREIGN KEY (tenant, endpoint_id) REFERENCES event_endpoints ON DELETE CASCADE,
  FOREIGN KEY (tenant, position) REFERENCES public_events,
  CONSTRAINT what_is_pending_has_its_next_try CHECK ((status = 'pending') = (next_try_at IS NOT NULL)),
  CONSTRAINT what_has_ended_says_when CHECK ((status = 'pending') = (ended_at IS NULL))
);
CREATE INDEX event_deliveries_due ON event_deliveries (tenant, endpoint_id, next_try_at) WHERE status = 'pending';
CREATE INDEX event_deliveries_ended ON event_deliveries (ended_at) WHERE ended_at IS NOT NULL;

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['feeds','public_events','event_endpoints','event_deliveries']
  LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY own_tenant ON %I USING (tenant = (SELECT jl.tenant())) WITH CHECK (tenant = (SELECT jl.tenant()))', t);
    EXECUTE format('CREATE POLICY system ON %I TO jl_system USING (true) WITH CHECK (true)', t);
    EXECUTE format('GRANT SELECT ON %I TO jl_app, jl_system', t);
  END LOOP;
END $$;
-- +goose StatementEnd
GRANT INSERT, UPDATE ON feeds TO jl_system;
GRANT INSERT ON public_events TO jl_system;
GRANT INSERT, UPDATE, DELETE ON event_endpoints TO jl_app;
GRANT UPDATE ON event_endpoints TO jl_system;
GRANT INSERT, UPDATE ON event_deliveries TO jl_app, jl_system;
GRANT DELETE ON event_deliveries TO jl_system;

-- +goose Down
DROP TABLE event_deliveries, event_endpoints, public_events, feeds;
DROP INDEX events_outbound;
ALTER TABLE events DROP COLUMN outbound;
