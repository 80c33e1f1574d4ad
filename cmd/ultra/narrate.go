package main

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ultrasockets/mesh"
)

const lostRest = time.Second // what is given up within so long is one sentence for each name and reason

// tale is what the pipe says on standard error of the mesh: sentences, or with --json objects.
type tale struct {
	Event  string   `json:"event"` // "here", "problem", or a mesh.EventKind
	Name   string   `json:"name,omitempty"`
	Mesh   string   `json:"mesh,omitempty"`
	Relay  string   `json:"relay,omitempty"`
	Addr   string   `json:"addr,omitempty"`
	Nodes  []string `json:"nodes,omitempty"`
	Self   bool     `json:"self,omitempty"`
	Count  int      `json:"count,omitempty"`
	Reason string   `json:"reason,omitempty"`
	Path   string   `json:"path,omitempty"`
	Bytes  int64    `json:"bytes,omitempty"`

	Tags   map[string]string `json:"tags,omitempty"`
	Groups []string          `json:"groups,omitempty"`
}

const (
	taleHere    = "here"
	taleProblem = "problem"
	talePut     = "put" // a node has put a file into what is shared here …
	taleGot     = "got" // … or got one from there
)

// withPeer adds what a node says of itself.
func (t tale) withPeer(node *mesh.Node) tale {
	for _, p := range node.Peers() {
		if p.Name == t.Name {
			t.Addr, t.Tags, t.Groups = p.Addr, p.Tags, p.Groups
		}
	}
	return t
}

// sentence is the tale for people; "" if they need not hear of it.
func (t tale) sentence() string {
	switch t.Event {
	case taleHere:
		nodes := fmt.Sprintf("%d nodes", len(t.Nodes))
		if len(t.Nodes) == 1 {
			nodes = "1 node"
		}
		where := "" // for who is to name it as a seed, or to dial it
		if _, port, err := net.SplitHostPort(t.Addr); err == nil {
			where = " on port " + port
		}
		return fmt.Sprintf("%s is in mesh %q%s (relay %s, %s).", t.Name, t.Mesh, where, t.Relay, nodes)
	case taleProblem:
		return "note: " + t.Reason
	case talePut, taleGot:
		return fmt.Sprintf("%s %s %s (%s)", t.Name, t.Event, printable(t.Path), bytesText(float64(t.Bytes)))
	}
	switch mesh.EventKind(t.Event) {
	case mesh.EventLinked:
		if t.Self {
			return "this node is the relay now"
		}
		return t.Name + " is the relay now"
	case mesh.EventUnlinked:
		return fmt.Sprintf("the relay %s has gone, looking for another", t.Name)
	case mesh.EventJoined:
		return t.Name + " joined"
	case mesh.EventLeft:
		return fmt.Sprintf("%s left (%s)", t.Name, t.Reason)
	case mesh.EventPaused:
		return t.Name + " paused"
	case mesh.EventResumed:
		return t.Name + " resumed"
	case mesh.EventChanged:
		return fmt.Sprintf("%s changed: tags %s, groups %s", t.Name, tagsText(t.Tags), textOr(strings.Join(t.Groups, " ")))
	case mesh.EventUndelivered:
		return fmt.Sprintf("%d messages to %s were given up: %s", t.Count, t.Name, t.Reason)
	case mesh.EventGap:
		return fmt.Sprintf("%s gave up %d frames that were on their way to here", t.Name, t.Count)
	case mesh.EventLagged:
		return fmt.Sprintf("%d events were not seen", t.Count)
	}
	return ""
}

// narrator tells what happens to the mesh. What is not delivered it tells always, the rest only if the user wants it.
type narrator struct {
	node   *mesh.Node
	w      io.Writer
	events bool
	json   bool
	prompt bool // a person is to type

	leaving atomic.Bool

	known  map[string]bool // nodes that need not be announced: they were here before. Owned by run.
	failed bool            // something was not delivered. Owned by run.

	mu   sync.Mutex
	lost []mesh.UndeliveredError // to be told. Guarded by mu.
}

// run tells of all events, until the node has ended.
func (n *narrator) run(events iter.Seq[mesh.Event]) {
	for e := range events {
		n.event(e)
	}
	n.tellLost()
}

// here says where the node is, before run.
func (n *narrator) here() {
	var t tale
	t, n.known = taleOfHere(n.node)
	n.tell(t)
}

// taleOfHere says where a node is, and which nodes need not be announced, for they were here before.
func taleOfHere(node *mesh.Node) (t tale, known map[string]bool) {
	t = tale{Event: taleHere, Name: node.Name(), Mesh: node.Mesh(), Relay: node.Relay()}
	known = make(map[string]bool)
	for _, p := range node.Peers() {
		t.Nodes = append(t.Nodes, p.Name)
		known[p.Name] = true
	}
	if a := node.Addr(); a != nil {
		t.Addr = a.String()
	}
	return t, known
}

func taleOf(e mesh.Event) tale {
	return tale{Event: string(e.Kind), Name: e.Name, Self: e.Self, Count: e.Count, Reason: e.Reason}
}

func (n *narrator) event(e mesh.Event) {
	switch e.Kind {
	case mesh.EventUndelivered:
		n.failed = true
		var lost *mesh.UndeliveredError
		if errors.As(e.Err, &lost) {
			n.lose(*lost)
		}
		return
	case mesh.EventJoined:
		if n.known[e.Name] {
			delete(n.known, e.Name)
			return
		}
	case mesh.EventLeft:
		delete(n.known, e.Name)
	case mesh.EventUnlinked:
		if n.leaving.Load() {
			return // that is what leaving means
		}
	}
	t := taleOf(e)
	if e.Kind == mesh.EventChanged {
		t = t.withPeer(n.node)
	}
	n.tell(t)
}

// lose notes what was not delivered, to be told soon: messages grow old one by one.
func (n *narrator) lose(e mesh.UndeliveredError) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, known := range n.lost {
		if known.To == e.To && errors.Is(known.Reason, e.Reason) {
			n.lost[i].Count += e.Count
			n.lost[i].Unsent += e.Unsent
			return
		}
	}
	if len(n.lost) == 0 {
		time.AfterFunc(lostRest, n.tellLost)
	}
	n.lost = append(n.lost, e)
}

func (n *narrator) tellLost() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range n.lost {
		fmt.Fprintf(n.w, "ultra: %s\n", undelivered(&e))
	}
	n.lost = nil
}

func (n *narrator) tell(t tale) {
	switch {
	case !n.events:
	case n.json:
		fmt.Fprintf(n.w, "%s\n", jsonLine(t))
	default:
		s := t.sentence()
		if n.prompt && t.Event == taleHere {
			s += " Type: NAME message"
		}
		if s != "" {
			fmt.Fprintln(n.w, s)
		}
	}
}

// problem tells what discovery cannot do here. People hear of it in any case.
func (n *narrator) problem(text string) {
	if n.events && n.json {
		n.tell(tale{Event: taleProblem, Reason: text})
		return
	}
	fmt.Fprintln(n.w, tale{Event: taleProblem, Reason: text}.sentence())
}

// syncWriter lets several goroutines write whole lines.
type syncWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *syncWriter) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(b)
}
