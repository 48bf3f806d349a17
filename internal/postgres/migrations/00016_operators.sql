-- +goose Up
-- Who works in the warehouses, which tasks they have taken, and every command
-- that a scanner has ever sent: it may be offline for a day and send again.

CREATE TABLE operators (
  tenant     text NOT NULL REFERENCES tenants,
  name       text NOT NULL CHECK (name ~ '^[!-~]( ?[!-~]){0,63}$'),
  -- what this person may do
  may        text[] NOT NULL CHECK (may <@ ARRAY['receive','put_away','move','pick','count','transfer','supervise']),
  active     boolean NOT NULL DEFAULT true,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, name)
);

-- A task belongs to one person until a moment; then whoever comes may take it.
CREATE TABLE task_leases (
  tenant text NOT NULL REFERENCES tenants,
  task   text NOT NULL CHECK (task ~ '^[a-z-]+:[A-Za-z0-9._-]{1,80}$'),
  person text NOT NULL,
  device text NOT NULL DEFAULT '',
  until  timestamptz NOT NULL,
  PRIMARY KEY (tenant, task)
);
CREATE INDEX task_leases_person ON task_leases (tenant, person);

CREATE TABLE operator_commands (
  tenant      text NOT NULL REFERENCES tenants,
  id          text NOT NULL CHECK (length(id) BETWEEN 1 AND 64),
  device      text NOT NULL CHECK (length(device) BETWEEN 1 AND 64),
  seq         bigint NOT NULL,
  kind        text NOT NULL,
  task        text NOT NULL DEFAULT '',
  person      text NOT NULL,
  key_id      text NOT NULL DEFAULT '',
  hash        bytea NOT NULL CHECK (length(hash) = 32),
  scanned     jsonb NOT NULL,
  scanned_at  timestamptz NOT NULL,
  received_at timestamptz NOT NULL DEFAULT now(),
  outcome     text NOT NULL CHECK (outcome IN ('applied','conflict')),
  answer      jsonb NOT NULL,
  PRIMARY KEY (tenant, id)
);
CREATE INDEX operator_commands_device ON operator_commands (tenant, device, seq);
CREATE INDEX operator_commands_task ON operator_commands (tenant, task) WHERE task <> '';

-- A scan that could not be applied was made all the same: somebody stood there
-- with goods in hand. A person looks.
CREATE TABLE exception_tasks (
  tenant      text NOT NULL REFERENCES tenants,
  id          text NOT NULL CHECK (length(id) = 26),
  command_id  text NOT NULL,
  kind        text NOT NULL,
  task        text NOT NULL DEFAULT '',
  code        text NOT NULL,
  message     text NOT NULL,
  status      text NOT NULL DEFAULT 'open' CHECK (status IN ('open','resolved')),
  resolution  text,
  resolved_by text,
  created_at  timestamptz NOT NULL DEFAULT now(),
  updated_at  timestamptz NOT NULL DEFAULT now(),
  due_at      timestamptz,
  PRIMARY KEY (tenant, id),
  FOREIGN KEY (tenant, command_id) REFERENCES operator_commands,
  CONSTRAINT an_open_exception_has_due CHECK ((status = 'open') = (due_at IS NOT NULL)),
  CONSTRAINT a_resolution_has_its_person CHECK ((status = 'resolved') = (resolution IS NOT NULL AND resolved_by IS NOT NULL))
);
CREATE UNIQUE INDEX exception_tasks_command ON exception_tasks (tenant, command_id);
CREATE INDEX exception_tasks_open ON exception_tasks (tenant, id) WHERE status = 'open';

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['operators','task_leases','operator_commands','exception_tasks'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY own_tenant ON %I USING (tenant = (SELECT jl.tenant())) WITH CHECK (tenant = (SELECT jl.tenant()))', t);
    EXECUTE format('CREATE POLICY system ON %I TO jl_system USING (true) WITH CHECK (true)', t);
    EXECUTE format('GRANT SELECT, INSERT ON %I TO jl_app, jl_system', t);
  END LOOP;
END $$;
-- +goose StatementEnd
GRANT UPDATE ON operators, task_leases, exception_tasks TO jl_app, jl_system;
GRANT DELETE ON task_leases TO jl_app;

-- +goose Down
DROP TABLE exception_tasks, operator_commands, task_leases, operators;
