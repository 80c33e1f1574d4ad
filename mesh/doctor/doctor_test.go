package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"ultrasockets/codec"
	"ultrasockets/mesh"
	"ultrasockets/mesh/internal/ports"
)

// join starts a node on loopback, without multicast.
func join(t *testing.T, cfg mesh.Config) *mesh.Node {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cfg.Bind, cfg.NoMDNS = "127.0.0.1", true
	n, err := mesh.Join(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// examine examines loopback, without multicast.
func examine(t *testing.T, cfg Config) *Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cfg.Bind, cfg.NoMDNS = "127.0.0.1", true
	r, err := Examine(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A mesh of two with a secret is examined from a seed and from a hostname; it does not notice.
func TestVisitLeavesNoTrace(t *testing.T) {
	t.Parallel()
	secret := mesh.NewSecret()
	a := join(t, mesh.Config{Name: "a", Secret: secret})
	b := join(t, mesh.Config{Name: "b", Secret: secret, Seeds: []string{a.Addr().String()}})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := a.WaitFor(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	var listening sync.WaitGroup
	listen, stop := context.WithCancel(ctx)
	for _, n := range []*mesh.Node{a, b} {
		events := n.Events(listen)
		listening.Go(func() {
			for e := range events {
				t.Errorf("%s noticed %+v", n.Name(), e)
			}
		})
	}
	for _, cfg := range []Config{
		{Secret: secret, Seeds: []string{b.Addr().String()}},
		{Secret: secret, Hostname: "tcp://" + b.Addr().String()},
		{Secret: secret, Hostname: a.Addr().String(), Mesh: mesh.DefaultMesh},
	} {
		r := examine(t, cfg)
		wants(t, r)
		if r.Facts.Relay != "a" || r.Facts.Mesh != mesh.DefaultMesh || strings.Join(r.Facts.Listed, " ") != "a b" {
			t.Errorf("%+v", r.Facts)
		}
		for _, n := range r.Facts.Nodes {
			gossips := n.GossipTCP.State == ProbeOK && n.GossipUDP.State == ProbeOK
			if !n.Link.State.proven() || gossips != (cfg.Hostname == "") {
				t.Errorf("%+v", n)
			}
		}
		if cfg.Hostname != a.Addr().String() && len(r.Facts.Nodes) != 2 {
			t.Errorf("the way to the relay was not followed: %+v", r.Facts.Nodes)
		}
	}
	for _, n := range []*mesh.Node{a, b} {
		if peers := n.Peers(); len(peers) != 2 {
			t.Errorf("%s lists %+v", n.Name(), peers)
		}
	}
	stop()
	listening.Wait()
}

// Each way in which a link does not come about has its own finding.
func TestLinks(t *testing.T) {
	t.Parallel()
	secret := mesh.NewSecret()
	open := join(t, mesh.Config{Name: "open"}).Addr().String()
	closed := join(t, mesh.Config{Name: "closed", Secret: secret}).Addr().String()
	strict := join(t, mesh.Config{Name: "strict", Admit: func(codec.Hello) error { return errors.New("not on the list") }}).Addr().String()
	ssh := serve(t, func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.2\r\n"); _, _ = io.Copy(io.Discard, c) })
	mute := serve(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	future := serve(t, func(c net.Conn) {
		_, _ = c.Write((&codec.Answer{Version: 2, Status: codec.StatusVersion}).Append(nil))
		_, _ = io.Copy(io.Discard, c)
	})
	nowhere := ports.Free(t)
	for name, c := range map[string]struct {
		addr   string
		cfg    Config
		code   string // "": nothing is wrong
		phrase string
	}{
		"open":           {addr: open},
		"closed":         {addr: closed, cfg: Config{Secret: secret}},
		"secret needed":  {closed, Config{}, CodeSecret, "none was given"},
		"secret given":   {open, Config{Secret: secret}, CodeSecret, "there is none"},
		"another secret": {closed, Config{Secret: mesh.NewSecret()}, CodeSecret, "Another secret"},
		"another mesh":   {open, Config{Mesh: "lab"}, CodeMeshName, `"default"`},
		"not admitted":   {strict, Config{}, CodeNotAdmitted, "not on the list"},
		"a stranger":     {ssh, Config{}, CodeStranger, "not UltraSockets"},
		"mute":           {mute, Config{}, CodeSilent, "not answered"},
		"another wire":   {future, Config{}, CodeVersion, "version"},
		"nobody there":   {nowhere, Config{}, CodeUnreachable, "refused"},
		"no such host":   {"nowhere.invalid:7000", Config{}, CodeSeed, "nowhere.invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, way := range []string{"hostname", "seed"} {
				cfg := c.cfg
				cfg.Within = 5 * time.Second
				if way == "hostname" {
					cfg.Hostname = c.addr
				} else {
					cfg.Seeds = []string{c.addr}
				}
				r := examine(t, cfg)
				if c.code == "" {
					wants(t, r)
					continue
				}
				if f := wants(t, r, c.code)[0]; !strings.Contains(f.Sentence, c.phrase) {
					t.Errorf("%q is not in %q", c.phrase, f.Sentence)
				}
			}
		})
	}
}

// serve answers connections on loopback until the test ends.
func serve(t *testing.T, answer func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				answer(c)
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		running.Wait()
	})
	return l.Addr().String()
}

// A node that may not be the relay, and finds none, is said to look for one.
func TestNoRelay(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	addr := ports.Free(t)
	var joining sync.WaitGroup
	joining.Go(func() {
		_, err := mesh.Join(ctx, mesh.Config{Name: "p", Role: mesh.RolePeer, Bind: "127.0.0.1", Listen: addr, NoMDNS: true})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a peer alone joined, or could not look for others: %v", err)
		}
	})
	defer joining.Wait()
	defer cancel()
	for deadline := time.Now().Add(patience); ; { // until it listens
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	wants(t, examine(t, Config{Seeds: []string{addr}}), CodeNoRelay)
}

func TestBadConfig(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"mesh":     {Mesh: "no such name"},
		"bind":     {Bind: "eth0"},
		"any":      {Bind: "0.0.0.0"},
		"seed":     {Seeds: []string{"192.168.1.5"}},
		"hostname": {Hostname: ":7000"},
		"within":   {Within: time.Millisecond},
		"secret":   {Secret: []byte{1}},
		"seeds":    {Seeds: strings.Split(strings.Repeat("a:1 ", 65), " ")[:65]},
	} {
		if _, err := Examine(t.Context(), cfg); !errors.Is(err, mesh.ErrBadConfig) && !errors.Is(err, mesh.ErrBadName) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Examine(ctx, Config{Bind: "127.0.0.1", NoMDNS: true}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A report is one JSON object without null, as its lists promise.
func TestReportJSON(t *testing.T) {
	t.Parallel()
	a := join(t, mesh.Config{Name: "a"})
	for _, cfg := range []Config{{}, {Seeds: []string{a.Addr().String()}}, {Hostname: a.Addr().String()}} {
		text, err := json.Marshal(examine(t, cfg))
		if err != nil || strings.Contains(string(text), "null") {
			t.Errorf("%v: %s", err, text)
		}
	}
}

// Within bounds the examination, and what was not examined is said to be so.
func TestUnfinished(t *testing.T) {
	t.Parallel()
	f := healthyFacts()
	f.Unfinished = 3
	found := diagnose(f)
	if len(found) != 1 || found[0].Code != CodeUnfinished || !strings.Contains(found[0].Sentence, fmt.Sprint(3)) {
		t.Errorf("%+v", found)
	}
}
