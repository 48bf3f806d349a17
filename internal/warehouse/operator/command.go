package operator

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"justlogistics/internal/id"
	"justlogistics/internal/postgres"
	"justlogistics/internal/problem"
	"justlogistics/internal/stock"
)

// Command is one thing that an operator did, as the scanner wrote it down.
type Command struct {
	// ID is the scanner's own, new for each thing done: under it the command takes
	// effect once.
	ID string
	// Seq counts the commands of a device; they are applied in its order.
	Seq  int64
	Kind string
	// Task is what it belongs to, as kind:id; empty for work without one.
	Task string
	// ExpectedVersion is the version of the task that the operator saw.
	ExpectedVersion *int64
	// Person overrides the request's operator: devices are shared over a shift.
	Person string
	// At is the scanner's clock when it happened.
	At time.Time
	// Scanned is what was scanned and typed, as a JSON object; its form is the
	// kind's.
	Scanned json.RawMessage
}

// Action carries out the commands of a kind.
type Action struct {
	// Ability is what the operator must be allowed.
	Ability string
	// Physical: goods were moved, so that a command which can't be applied leaves
	// an exception behind.
	Physical bool
	// Do applies it in tx and returns the state afterwards. A problem.Error refuses
	// it; the member "current" of one is the state that is in the way.
	Do func(ctx context.Context, tx pgx.Tx, tenant string, c Command, by stock.By) (Effect, error)
}

// Effect is what an applied command did.
type Effect struct {
	Current any
	// Then is called once the command is committed: to tell runs, say. It may be nil.
	Then func()
}

// Statuses of an answer.
const (
	Applied   = "applied"
	Duplicate = "duplicate"
	Conflict  = "conflict"
)

// Answer is what became of a command. Of a duplicate it is the first answer.
type Answer struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	// First is what the first of a duplicate was answered: applied or conflict.
	First   string          `json:"first,omitempty"`
	Code    string          `json:"code,omitempty"`
	Detail  string          `json:"detail,omitempty"`
	Fields  []problem.Field `json:"errors,omitempty"`
	Current json.RawMessage `json:"current,omitempty"`
	// ExceptionID names the task for a person that a conflict has left.
	ExceptionID string `json:"exception_id,omitempty"`
}

// Desk takes commands.
type Desk struct {
	DB      *postgres.DB
	Actions map[string]Action
}

// together is how many commands share a transaction: enough that the disk is not
// what limits a scanner, few enough that two devices seldom wait for each other.
const together = 25

// exceptionHours is how long an exception may wait for a person before it is
// late.
const exceptionHours = 24

// Apply takes the commands of one device in the order of their numbers, and
// answers each in the order given. A command that was taken before is a duplicate
// and changes nothing, from whatever device it comes. One that the state forbids
// is a conflict, and when goods were moved an exception is opened for it, so that
// it is never lost. An error means that some may not have been taken; the device
// sends all of them again.
func (d Desk) Apply(ctx context.Context, tenant, device string, by stock.By, commands []Command) ([]Answer, error) {
	order := make([]int, len(commands))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case commands[a].Seq < commands[b].Seq:
			return -1
		case commands[a].Seq > commands[b].Seq:
			return 1
		}
		return 0
	})
	answers := make([]Answer, len(commands))
	for chunk := range slices.Chunk(order, together) {
		list := make([]taking, len(chunk))
		for i, at := range chunk {
			list[i] = taking{Command: commands[at], by: by, hash: commands[at].hash()}
			list[i].by.Device = device
			if commands[at].Person != "" {
				list[i].by.Person = commands[at].Person
			}
		}
		var took []Answer
		var then []func()
		err := d.DB.InTenant(ctx, tenant, func(tx pgx.Tx) (err error) {
			took, then, err = d.take(ctx, tx, tenant, list)
			return err
		})
		if err != nil {
			return nil, err
		}
		for i, at := range chunk {
			answers[at] = took[i]
		}
		for _, do := range then {
			do()
		}
	}
	return answers, nil
}

// taking is a command with who sends it.
type taking struct {
	Command
	by   stock.By
	hash []byte
}

// take answers commands one after the other, each in a savepoint of its own, and
// returns what is to be called once they are committed. What they all need to know
// is read before the first and what they leave is written after the last, since
// for a short command the round trips are most of its time.
func (d Desk) take(ctx context.Context, tx pgx.Tx, tenant string, list []taking) ([]Answer, []func(), error) {
	known, err := before(ctx, tx, tenant, list)
	if err != nil {
		return nil, nil, err
	}
	fresh := slices.DeleteFunc(slices.Clone(list), func(t taking) bool { return known[t.ID] != nil })
	var staff roster
	if len(fresh) > 0 {
		if staff, err = rosterOf(ctx, tx, tenant, fresh); err != nil {
			return nil, nil, err
		}
	}
	answers := make([]Answer, len(list))
	var kept []keeping
	var then []func()
	for i, t := range list {
		if first := known[t.ID]; first != nil {
			if answers[i], err = first.again(t); err != nil {
				return nil, nil, err
			}
			continue
		}
		a, effect, err := d.one(ctx, tx, tenant, t, staff, len(kept) == 0)
		if err != nil {
			return nil, nil, err
		}
		k, err := t.keeping(a)
		if err != nil {
			return nil, nil, err
		}
		answers[i], kept, known[t.ID] = a, append(kept, k), &earlier{hash: t.hash, answer: k.json}
		if effect.Then != nil {
			then = append(then, effect.Then)
		}
	}
	return answers, then, keep(ctx, tx, tenant, kept)
}

// one applies a command that is new. The savepoint is one for all commands of the
// transaction, moved on with each, which is one round trip where two would be.
func (d Desk) one(ctx context.Context, tx pgx.Tx, tenant string, t taking, staff roster, first bool) (Answer, Effect, error) {
	step := `RELEASE SAVEPOINT command; SAVEPOINT command`
	if first {
		step = `SAVEPOINT command`
	}
	if _, err := tx.Exec(ctx, step); err != nil {
		return Answer{}, Effect{}, fmt.Errorf("command %s: %w", t.ID, err)
	}
	effect, err := d.do(ctx, tx, tenant, t, staff)
	refused, isRefusal := problem.As(err)
	if err != nil && !isRefusal {
		return Answer{}, Effect{}, fmt.Errorf("command %s: %w", t.ID, err)
	}
	a := Answer{ID: t.ID, Status: Applied}
	current := effect.Current
	if isRefusal {
		if _, err := tx.Exec(ctx, `ROLLBACK TO SAVEPOINT command`); err != nil {
			return Answer{}, Effect{}, fmt.Errorf("command %s: %w", t.ID, err)
		}
		effect.Then = nil
		a.Status, a.Code, a.Detail, a.Fields = Conflict, refused.Code, refused.Detail, refused.Fields
		current = refused.More["current"]
		if d.Actions[t.Kind].Physical {
			a.ExceptionID = id.New()
		}
	}
	if current != nil {
		if a.Current, err = json.Marshal(current); err != nil {
			return Answer{}, Effect{}, err
		}
	}
	return a, effect, nil
}

func (d Desk) do(ctx context.Context, tx pgx.Tx, tenant string, t taking, staff roster) (Effect, error) {
	action, known := d.Actions[t.Kind]
	if !known {
		return Effect{}, problem.New(problem.Refused, "unknown_kind", "There is no command of this kind.")
	}
	if err := staff.allow(t.by.Person, action.Ability); err != nil {
		return Effect{}, err
	}
	if err := staff.inOthersHands(t.Task, t.by.Person); err != nil {
		return Effect{}, err
	}
	return action.Do(ctx, tx, tenant, t.Command, t.by)
}

// rosterOf reads what concerns the commands.
func rosterOf(ctx context.Context, tx pgx.Tx, tenant string, list []taking) (roster, error) {
	var persons, tasks []string
	for _, t := range list {
		persons = append(persons, t.by.Person)
		if t.Task != "" {
			tasks = append(tasks, t.Task)
		}
	}
	slices.Sort(persons)
	slices.Sort(tasks)
	return readRoster(ctx, tx, tenant, slices.Compact(persons), slices.Compact(tasks))
}

// hash is of what the command says, not of when or from where it was sent.
func (c Command) hash() []byte {
	var compact bytes.Buffer
	if err := json.Compact(&compact, c.Scanned); err != nil {
		compact.Write(c.Scanned)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s", c.Kind, c.Task, compact.Bytes()))
	return sum[:]
}

// earlier is a command that was taken before, as it is kept.
type earlier struct{ hash, answer []byte }

// again is the answer to a command under the id of one that was taken.
func (k earlier) again(t taking) (Answer, error) {
	if !bytes.Equal(k.hash, t.hash) {
		return Answer{ID: t.ID, Status: Conflict, Code: "command_id_reused", Detail: "This id was used for another command."}, nil
	}
	var a Answer
	if err := json.Unmarshal(k.answer, &a); err != nil {
		return a, fmt.Errorf("command %s: %w", t.ID, err)
	}
	a.First, a.Status = a.Status, Duplicate
	return a, nil
}

// before finds which of the commands were taken before, by their ids.
func before(ctx context.Context, tx pgx.Tx, tenant string, list []taking) (map[string]*earlier, error) {
	ids := make([]string, len(list))
	for i, t := range list {
		ids[i] = t.ID
	}
	slices.Sort(ids)
	b := &pgx.Batch{}
	// Two devices that send one command at the same moment take turns, in one order
	// however each sends them.
	b.Queue(`SELECT pg_advisory_xact_lock(n) FROM (SELECT DISTINCT hashtextextended($1 || ' ' || c, 7) AS n FROM unnest($2::text[]) c ORDER BY n) sorted`, tenant, ids)
	known := map[string]*earlier{}
	// A statement of its own, since it must see what the locks have waited for.
	b.Queue(`SELECT id, hash, answer FROM operator_commands WHERE tenant = $1 AND id = ANY($2)`, tenant, ids).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var commandID string
			k := &earlier{}
			if err := rows.Scan(&commandID, &k.hash, &k.answer); err != nil {
				return err
			}
			known[commandID] = k
		}
		return rows.Err()
	})
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return nil, fmt.Errorf("commands taken before: %w", err)
	}
	return known, nil
}

// keeping is a command with the answer that it was given.
type keeping struct {
	taking
	Answer
	json json.RawMessage
}

func (t taking) keeping(a Answer) (keeping, error) {
	answer, err := json.Marshal(a)
	return keeping{taking: t, Answer: a, json: answer}, err
}

// keep writes commands with their answers, and the exceptions that they leave.
func keep(ctx context.Context, tx pgx.Tx, tenant string, list []keeping) error {
	if len(list) == 0 {
		return nil
	}
	b := &pgx.Batch{}
	for _, k := range list {
		b.Queue(`INSERT INTO operator_commands (tenant, id, device, seq, kind, task, person, key_id, hash, scanned, scanned_at, outcome, answer) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13)`,
			tenant, k.taking.ID, k.by.Device, k.Seq, k.Kind, k.Task, k.by.Person, k.by.KeyID, k.hash, k.Scanned, k.At, k.Status, k.json)
		if k.ExceptionID != "" {
			b.Queue(`INSERT INTO exception_tasks (tenant, id, command_id, kind, task, code, message, due_at) VALUES ($1,$2,$3,$4,$5,$6,$7, now() + make_interval(hours => $8))`,
				tenant, k.ExceptionID, k.taking.ID, k.Kind, k.Task, k.Code, k.Detail, exceptionHours)
		}
	}
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("keep commands: %w", err)
	}
	return nil
}

// Exception is a scan that could not be applied and waits for a person.
type Exception struct {
	ID         string          `json:"id"`
	CommandID  string          `json:"command_id"`
	Kind       string          `json:"kind"`
	Task       string          `json:"task"`
	Code       string          `json:"code"`
	Message    string          `json:"message"`
	Status     string          `json:"status"`
	Device     string          `json:"device"`
	Person     string          `json:"person"`
	Scanned    json.RawMessage `json:"scanned"`
	ScannedAt  time.Time       `json:"scanned_at"`
	Resolution *string         `json:"resolution"`
	ResolvedBy *string         `json:"resolved_by"`
	CreatedAt  time.Time       `json:"created_at"`
	UpdatedAt  time.Time       `json:"updated_at"`
	DueAt      *time.Time      `json:"due_at"`
}

const exceptions = `SELECT e.id, e.command_id, e.kind, e.task, e.code, e.message, e.status, c.device, c.person, c.scanned, c.scanned_at, e.resolution, e.resolved_by, e.created_at, e.updated_at, e.due_at
  FROM exception_tasks e JOIN operator_commands c ON c.tenant = e.tenant AND c.id = e.command_id WHERE e.tenant = $1 AND `

// Exceptions lists them, newest first; those before the id given, all when it is
// empty. status is open, resolved or empty for both.
func Exceptions(ctx context.Context, tx pgx.Tx, tenant, status, before string, limit int) ([]Exception, error) {
	rows, err := tx.Query(ctx, exceptions+`($2 = '' OR e.status = $2) AND ($3 = '' OR e.id < $3) ORDER BY e.id DESC LIMIT $4`, tenant, status, before, limit)
	if err != nil {
		return nil, fmt.Errorf("exceptions: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Exception])
	if err != nil {
		return nil, fmt.Errorf("exceptions: %w", err)
	}
	return list, nil
}

// Resolve closes an exception with what was found and done. 404 for another
// tenant's, 409 for one that is resolved.
func Resolve(ctx context.Context, tx pgx.Tx, tenant, exceptionID, resolution, person string) (Exception, error) {
	var f problem.Fields
	if resolution == "" || len(resolution) > 1000 {
		f.Add("resolution", "required", "say in 1 to 1000 characters what was found and done")
	}
	if err := f.Err(); err != nil {
		return Exception{}, err
	}
	tag, err := tx.Exec(ctx, `UPDATE exception_tasks SET status = 'resolved', resolution = $3, resolved_by = $4, due_at = NULL, updated_at = now() WHERE tenant = $1 AND id = $2 AND status = 'open'`, tenant, exceptionID, resolution, person)
	if err != nil {
		return Exception{}, fmt.Errorf("exception %s: %w", exceptionID, err)
	}
	rows, err := tx.Query(ctx, exceptions+`e.id = $2`, tenant, exceptionID)
	if err != nil {
		return Exception{}, fmt.Errorf("exception %s: %w", exceptionID, err)
	}
	e, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Exception])
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return e, problem.Missing("exception")
	case err != nil:
		return e, fmt.Errorf("exception %s: %w", exceptionID, err)
	case tag.RowsAffected() == 0:
		return e, problem.New(problem.Conflict, "exception_resolved", "This exception is resolved already.").With("current", e)
	}
	return e, nil
}
