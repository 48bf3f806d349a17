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
	// Together carries out several commands that follow each other, as Do would one
	// after the other, in fewer round trips. Where it refuses one, nothing of them
	// stands and Do does them. It may be nil.
	Together func(ctx context.Context, tx pgx.Tx, tenant string, list []Issued) ([]Effect, error)
}

// Issued is a command with who gave it.
type Issued struct {
	Command
	By stock.By
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

// together is how many commands share a transaction: enough that neither the disk
// nor the round trips are what limits a scanner, few enough that two devices seldom
// wait for each other.
const together = 50

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
			list[i] = taking{Issued: Issued{commands[at], by}, hash: commands[at].hash()}
			list[i].By.Device = device
			if commands[at].Person != "" {
				list[i].By.Person = commands[at].Person
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

// taking is a command that is being taken.
type taking struct {
	Issued
	hash []byte
}

// take answers commands one after the other and returns what is to be called once
// they are committed. What they all need to know is read before the first and what
// they leave is written after the last, since for a short command the round trips
// are most of its time; and what follows each other of one kind is done together.
func (d Desk) take(ctx context.Context, tx pgx.Tx, tenant string, list []taking) ([]Answer, []func(), error) {
	known, err := before(ctx, tx, tenant, list)
	if err != nil {
		return nil, nil, err
	}
	var fresh []taking
	for _, t := range list {
		if known[t.ID] == nil && !slices.ContainsFunc(fresh, func(f taking) bool { return f.ID == t.ID }) {
			fresh = append(fresh, t)
		}
	}
	var staff roster
	if len(fresh) > 0 {
		if staff, err = rosterOf(ctx, tx, tenant, fresh); err != nil {
			return nil, nil, err
		}
	}
	s := sitting{Desk: d, tx: tx, tenant: tenant, staff: staff}
	for len(fresh) > 0 {
		n := d.alike(fresh, staff)
		if err := s.applyAll(ctx, fresh[:n]); err != nil {
			return nil, nil, err
		}
		fresh = fresh[n:]
	}
	answers := make([]Answer, len(list))
	taken := s.kept
	for i, t := range list {
		if len(taken) > 0 && taken[0].ID == t.ID && known[t.ID] == nil {
			answers[i], known[t.ID] = taken[0].answer, &earlier{hash: t.hash, answer: taken[0].json}
			taken = taken[1:]
			continue
		}
		if answers[i], err = known[t.ID].again(t); err != nil {
			return nil, nil, err
		}
	}
	return answers, s.then, keep(ctx, tx, tenant, s.kept)
}

// alike is how many of the commands, from the first on, may be done together.
func (d Desk) alike(list []taking, staff roster) int {
	first := list[0]
	action := d.Actions[first.Kind]
	if action.Together == nil {
		return 1
	}
	n := 0
	for n < len(list) && list[n].Kind == first.Kind && list[n].Task == first.Task && list[n].By.Person == first.By.Person && staff.may(list[n], action) == nil {
		n++
	}
	return max(1, n)
}

// sitting is the commands of one transaction.
type sitting struct {
	Desk
	tx     pgx.Tx
	tenant string
	staff  roster
	saved  bool
	kept   []keeping
	then   []func()
}

// save sets the savepoint to which a command that is refused goes back. It is one
// for all of the transaction, moved on with each, which is one round trip where two
// would be.
func (s *sitting) save(ctx context.Context) error {
	step := `SAVEPOINT command`
	if s.saved {
		step = `RELEASE SAVEPOINT command; SAVEPOINT command`
	}
	s.saved = true
	if _, err := s.tx.Exec(ctx, step); err != nil {
		return fmt.Errorf("savepoint of a command: %w", err)
	}
	return nil
}

func (s *sitting) undo(ctx context.Context) error {
	if _, err := s.tx.Exec(ctx, `ROLLBACK TO SAVEPOINT command`); err != nil {
		return fmt.Errorf("undo a command: %w", err)
	}
	return nil
}

// applyAll applies commands that are new and may be done together: together if
// none is refused, else each by itself.
func (s *sitting) applyAll(ctx context.Context, list []taking) error {
	if len(list) > 1 {
		done, err := s.together(ctx, list)
		if done || err != nil {
			return err
		}
	}
	for _, t := range list {
		if err := s.one(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

func (s *sitting) together(ctx context.Context, list []taking) (bool, error) {
	if err := s.save(ctx); err != nil {
		return false, err
	}
	issued := make([]Issued, len(list))
	for i, t := range list {
		issued[i] = t.Issued
	}
	effects, err := s.Actions[list[0].Kind].Together(ctx, s.tx, s.tenant, issued)
	if _, refused := problem.As(err); refused {
		return false, s.undo(ctx)
	}
	if err != nil {
		return false, fmt.Errorf("commands %s to %s: %w", list[0].ID, list[len(list)-1].ID, err)
	}
	for i, t := range list {
		if err := s.keep(t, Answer{ID: t.ID, Status: Applied}, effects[i].Current, effects[i].Then); err != nil {
			return false, err
		}
	}
	return true, nil
}

// one applies a command that is new.
func (s *sitting) one(ctx context.Context, t taking) error {
	if err := s.save(ctx); err != nil {
		return err
	}
	effect, err := s.do(ctx, s.tx, s.tenant, t, s.staff)
	if err == nil {
		return s.keep(t, Answer{ID: t.ID, Status: Applied}, effect.Current, effect.Then)
	}
	refused, isRefusal := problem.As(err)
	if !isRefusal {
		return fmt.Errorf("command %s: %w", t.ID, err)
	}
	if err := s.undo(ctx); err != nil {
		return err
	}
	a := Answer{ID: t.ID, Status: Conflict, Code: refused.Code, Detail: refused.Detail, Fields: refused.Fields}
	if s.Actions[t.Kind].Physical {
		a.ExceptionID = id.New()
	}
	return s.keep(t, a, refused.More["current"], nil)
}

// keep notes a command's answer.
func (s *sitting) keep(t taking, a Answer, current any, then func()) error {
	var err error
	if current != nil {
		if a.Current, err = json.Marshal(current); err != nil {
			return fmt.Errorf("answer to command %s: %w", t.ID, err)
		}
	}
	k := keeping{taking: t, answer: a}
	if k.json, err = json.Marshal(a); err != nil {
		return fmt.Errorf("answer to command %s: %w", t.ID, err)
	}
	s.kept = append(s.kept, k)
	if then != nil {
		s.then = append(s.then, then)
	}
	return nil
}

func (d Desk) do(ctx context.Context, tx pgx.Tx, tenant string, t taking, staff roster) (Effect, error) {
	action, known := d.Actions[t.Kind]
	if !known {
		return Effect{}, problem.New(problem.Refused, "unknown_kind", "There is no command of this kind.")
	}
	if err := staff.may(t, action); err != nil {
		return Effect{}, err
	}
	return action.Do(ctx, tx, tenant, t.Command, t.By)
}

// may refuses a command whose person may not do such things, or whose task is in
// another's hands.
func (r roster) may(t taking, action Action) error {
	if err := r.allow(t.By.Person, action.Ability); err != nil {
		return err
	}
	return r.inOthersHands(t.Task, t.By.Person)
}

// rosterOf reads what concerns the commands.
func rosterOf(ctx context.Context, tx pgx.Tx, tenant string, list []taking) (roster, error) {
	var persons, tasks []string
	for _, t := range list {
		persons = append(persons, t.By.Person)
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
	answer Answer
	json   json.RawMessage
}

// keep writes commands with their answers, and the exceptions that they leave.
func keep(ctx context.Context, tx pgx.Tx, tenant string, list []keeping) error {
	if len(list) == 0 {
		return nil
	}
	var ids, devices, kinds, tasks, persons, keys, scanned, outcomes, answers []string
	var seqs []int64
	var hashes [][]byte
	var moments []time.Time
	b := &pgx.Batch{}
	for _, k := range list {
		ids, devices, seqs, kinds, tasks = append(ids, k.ID), append(devices, k.By.Device), append(seqs, k.Seq), append(kinds, k.Kind), append(tasks, k.Task)
		persons, keys, hashes, scanned = append(persons, k.By.Person), append(keys, k.By.KeyID), append(hashes, k.hash), append(scanned, string(k.Scanned))
		moments, outcomes, answers = append(moments, k.At), append(outcomes, k.answer.Status), append(answers, string(k.json))
	}
	b.Queue(`INSERT INTO operator_commands (tenant, id, device, seq, kind, task, person, key_id, hash, scanned, scanned_at, outcome, answer)
	  SELECT $1, id, device, seq, kind, task, person, key_id, hash, scanned::jsonb, scanned_at, outcome, answer::jsonb
	    FROM unnest($2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bytea[], $10::text[], $11::timestamptz[], $12::text[], $13::text[])
	      AS c (id, device, seq, kind, task, person, key_id, hash, scanned, scanned_at, outcome, answer)`,
		tenant, ids, devices, seqs, kinds, tasks, persons, keys, hashes, scanned, moments, outcomes, answers)
	for _, k := range list {
		if k.answer.ExceptionID != "" {
			b.Queue(`INSERT INTO exception_tasks (tenant, id, command_id, kind, task, code, message, due_at) VALUES ($1,$2,$3,$4,$5,$6,$7, now() + make_interval(hours => $8))`,
				tenant, k.answer.ExceptionID, k.ID, k.Kind, k.Task, k.answer.Code, k.answer.Detail, exceptionHours)
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
