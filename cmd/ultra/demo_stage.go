package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"ultrasockets/mesh"
)

// actor is one "ultra join" process, and what it has printed of itself.
type actor struct {
	// static
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended chan struct{} // closed when the process has gone and all it printed has been read

	// guarded by stage.mu
	ready    bool // it said where it is
	addr     string
	relay    string // "" while it has none
	sees     map[string]bool
	problems []string
	last     string // what else it printed on standard error, the last line
	expected bool   // to end
	err      error  // of the process, once ended
}

func (a *actor) pid() int { return a.cmd.Process.Pid }

// stage is where the actors of a demo play: it starts them, hears all they print, and sees that none remains. They hear
// nobody but the stage: their input ends with this process, however it ends, and so do they.
type stage struct {
	// static
	exe     string
	mesh    string
	readers sync.WaitGroup // of every actor; stop waits for them

	mu      sync.Mutex
	actors  []*actor // those on stage. Guarded by mu, like all below.
	ledger  *ledger
	changed chan struct{} // closed at the next change
	moved   time.Time     // of the last arrival
}

func newStage(meshName string) (*stage, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return &stage{exe: exe, mesh: meshName, ledger: newLedger(), changed: make(chan struct{})}, nil
}

// start puts an actor on stage.
func (s *stage) start(name string, args ...string) (*actor, error) {
	args = append([]string{"join", "--name", name, "--mesh", s.mesh, "--bind", "127.0.0.1", "--json", "--events"}, args...)
	a := &actor{name: name, cmd: exec.Command(s.exe, args...), ended: make(chan struct{}), sees: make(map[string]bool)}
	a.cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, envPrefix) })
	var err error
	if a.stdin, err = a.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := a.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := a.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	s.update(func() { s.actors = append(s.actors, a) })
	var printed sync.WaitGroup
	printed.Go(func() { s.hear(stdout, func(text []byte) { s.arrived(a, text) }) })
	printed.Go(func() { s.hear(stderr, func(text []byte) { s.told(a, text) }) })
	s.readers.Go(func() {
		printed.Wait()
		err := a.cmd.Wait()
		s.update(func() { a.err = err })
		close(a.ended)
	})
	return a, nil
}

// hear calls f for every line, under the lock.
func (s *stage) hear(r io.Reader, f func(text []byte)) {
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		text, err := in.ReadBytes('\n')
		if len(text) > 0 && err == nil {
			s.update(func() { f(text) })
		}
		if err != nil {
			return
		}
	}
}

// update changes what is guarded by mu, and wakes who waits for it.
func (s *stage) update(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

// arrived takes a line of an actor's standard output: a message.
func (s *stage) arrived(a *actor, text []byte) {
	var m arrival
	if err := json.Unmarshal(text, &m); err != nil {
		a.last = shorten(strings.TrimSpace(string(text)), 200)
		return
	}
	s.moved = time.Now()
	s.ledger.arrives(pair{m.From, a.name}, m.content())
}

// content is what was sent, as text to compare.
func (a arrival) content() string {
	if a.Bytes != nil {
		return "bytes " + base64.StdEncoding.EncodeToString(*a.Bytes)
	}
	return string(a.Value)
}

// told takes a line of an actor's standard error.
func (s *stage) told(a *actor, text []byte) {
	var t tale
	if err := json.Unmarshal(text, &t); err != nil {
		a.last = strings.TrimSpace(string(text))
		return
	}
	switch t.Event {
	case taleHere:
		a.ready, a.addr, a.relay = true, t.Addr, t.Relay
		for _, name := range t.Nodes {
			a.sees[name] = true
		}
	case taleProblem:
		a.problems = append(a.problems, t.Reason)
	case string(mesh.EventLinked):
		a.relay = t.Name
	case string(mesh.EventUnlinked):
		a.relay = ""
	case string(mesh.EventJoined):
		a.sees[t.Name] = true
	case string(mesh.EventLeft):
		delete(a.sees, t.Name)
	}
}

// send has one actor send a value to another, and notes it.
func (s *stage) send(from *actor, to string, value any) error {
	a := arrival{To: to}
	if b, ok := value.([]byte); ok {
		a.Bytes = &b
	} else {
		a.Value = jsonLine(value)
	}
	s.note(from, to, a)
	text := jsonLine(struct {
		To    string          `json:"to"`
		Value json.RawMessage `json:"value,omitempty"`
		Bytes *[]byte         `json:"bytes,omitempty"`
	}{to, a.Value, a.Bytes})
	if _, err := from.stdin.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("%s does not listen any more: %w", from.name, err)
	}
	return nil
}

// note notes a message without sending it.
func (s *stage) note(from *actor, to string, a arrival) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ledger.sends(pair{from.name, to}, a.content())
}

// await waits until ok, which runs under the lock. It is an error if ctx ends first or an actor ends unbidden.
func (s *stage) await(ctx context.Context, what string, ok func() bool) error {
	for {
		s.mu.Lock()
		done, changed := ok(), s.changed
		var gone *actor
		for _, a := range s.actors {
			if a.err != nil && !a.expected {
				gone = a
			}
		}
		s.mu.Unlock()
		switch {
		case done:
			return nil
		case gone != nil:
			return fmt.Errorf("%s ended by itself (%w): %s", gone.name, gone.err, gone.last)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		}
	}
}

// awaitArrivals waits until everything that was sent has arrived, or nothing more comes for patience: the ledger says then
// what is missing.
func (s *stage) awaitArrivals(ctx context.Context, patience time.Duration) error {
	s.update(func() { s.moved = time.Now() })
	for {
		s.mu.Lock()
		rest := time.Until(s.moved.Add(patience))
		s.mu.Unlock()
		if rest <= 0 {
			return nil
		}
		quiet, cancel := context.WithTimeout(ctx, rest)
		err := s.await(quiet, "waiting for messages", func() bool {
			sent, got := s.ledger.counts()
			return got >= sent
		})
		cancel()
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
}

// meeting waits until all on stage see each other and agree on the relay, and gives that.
func (s *stage) meeting(ctx context.Context) (*actor, error) {
	var relay *actor
	err := s.await(ctx, "waiting for all to meet", func() bool {
		relay = nil
		for _, a := range s.actors {
			for _, b := range s.actors {
				if !a.sees[b.name] || a.relay == "" || a.relay != b.relay {
					return false
				}
			}
			if a.name == a.relay {
				relay = a
			}
		}
		return relay != nil
	})
	return relay, err
}

// kill ends an actor as kill -9 does, and takes it off the stage.
func (s *stage) kill(a *actor) {
	s.update(func() {
		a.expected = true
		s.actors = slices.DeleteFunc(s.actors, func(b *actor) bool { return a == b })
		for _, b := range s.actors {
			if b.relay == a.name {
				b.relay = ""
			}
			delete(b.sees, a.name)
		}
	})
	_ = a.cmd.Process.Kill() // it may have ended already
	<-a.ended
}

// bow ends the input of one after another, the relay last, and waits until each has left in good order. Together would be
// quicker, and a relay that goes first may take the last acknowledgements with it.
func (s *stage) bow(ctx context.Context) error {
	s.mu.Lock()
	actors := slices.Clone(s.actors)
	for _, a := range actors {
		a.expected = true
	}
	slices.SortStableFunc(actors, func(a, b *actor) int { return rankOf(a) - rankOf(b) })
	s.mu.Unlock()
	for _, a := range actors {
		_ = a.stdin.Close() // its end shows below
		select {
		case <-a.ended:
		case <-ctx.Done():
			return fmt.Errorf("%s does not leave: %w", a.name, ctx.Err())
		}
		if a.err != nil {
			return fmt.Errorf("%s did not leave in good order (%w): %s", a.name, a.err, a.last)
		}
	}
	return nil
}

// rankOf is when an actor leaves: the relay last.
func rankOf(a *actor) int {
	if a.name == a.relay {
		return 1
	}
	return 0
}

// strike kills all who are on stage, without waiting.
func (s *stage) strike() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.actors {
		a.expected = true
		_ = a.cmd.Process.Kill() // it may have ended already
	}
}

// problem is what discovery says it cannot do here; "" nothing.
func (s *stage) problem() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.actors {
		if len(a.problems) > 0 {
			return a.problems[0]
		}
	}
	return ""
}

// clear kills all who are on stage.
func (s *stage) clear() {
	s.mu.Lock()
	actors := slices.Clone(s.actors)
	s.mu.Unlock()
	for _, a := range actors {
		s.kill(a)
	}
	s.readers.Wait()
}
