package discovery

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"ultrasockets/testdata/alone"
)

// A survey hears the nodes of all meshes, and none of them hears of it.
func TestLook(t *testing.T) {
	t.Parallel()
	if !alone.Run(t, alone.OneLink) {
		return
	}
	a := startPeer(t, 1, Config{Beacon: true, Bind: "every", Meta: Meta{Name: "a", Relay: true, Term: 7}}, nil)
	b := startPeer(t, 2, Config{Beacon: true, Bind: "127.0.0.1", Mesh: "another"}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	s, err := Look(ctx, netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Heard) != 2 || s.Heard[0].Instance != a.instance || s.Heard[1].Instance != b.instance {
		t.Fatalf("heard %+v", s.Heard)
	}
	for i, want := range []Heard{
		{Instance: a.instance, Version: Version, MeshHash: MeshHash(meshHash(t.Name()) + label(process)), Relay: true, Term: 7, Interfaces: []string{"lo", "us0"}},
		{Instance: b.instance, Version: Version, MeshHash: MeshHash("another"), Interfaces: []string{"lo"}},
	} {
		got := s.Heard[i]
		if got.Version != want.Version || got.MeshHash != want.MeshHash || got.Relay != want.Relay || got.Term != want.Term ||
			slices.ContainsFunc(want.Interfaces, func(i string) bool { return !slices.Contains(got.Interfaces, i) }) || len(got.Addrs) == 0 {
			t.Errorf("heard %+v, want %+v", got, want)
		}
	}
	for _, c := range s.Channels {
		if (c.Interface == "us0" || !c.IPv6) && (!c.Echo || c.SendErr != nil || c.PortErr != nil) {
			t.Errorf("%+v", c)
		}
	}
	for _, p := range []*peer{a, b} {
		if len(p.Nodes()) != 0 {
			t.Errorf("%x knows %+v", p.instance, p.Nodes())
		}
	}
}

// A probe is answered by who has the mesh and the key, by UDP and by TCP; whoever is asked learns of no member.
func TestProbe(t *testing.T) {
	t.Parallel()
	key, other := slices.Repeat([]byte{1}, 32), slices.Repeat([]byte{2}, 32)
	mesh := meshHash(t.Name()) + label(process)
	open := startPeer(t, 1, Config{NoMDNS: true}, nil)
	closed := startPeer(t, 2, Config{NoMDNS: true, Key: key}, nil)
	for name, c := range map[string]struct {
		at    *peer
		probe Probe
		ok    bool
	}{
		"open":            {open, Probe{Mesh: mesh}, true},
		"closed":          {closed, Probe{Mesh: mesh, Key: key}, true},
		"another mesh":    {open, Probe{Mesh: "another"}, false},
		"another key":     {closed, Probe{Mesh: mesh, Key: other}, false},
		"no key":          {closed, Probe{Mesh: mesh}, false},
		"a key too many":  {open, Probe{Mesh: mesh, Key: key}, false},
		"bound elsewhere": {open, Probe{Mesh: mesh, Bind: netip.MustParseAddr("127.0.0.9")}, true},
	} {
		t.Run(name, func(t *testing.T) {
			wait := within
			if !c.ok {
				wait = 300 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			defer cancel()
			if rtt, err := c.probe.Packets(ctx, c.at.addr); (err == nil) != c.ok || c.ok && rtt <= 0 {
				t.Errorf("by UDP: %v, %v", rtt, err)
			}
			conn, err := net.Dial("tcp", c.at.addr.String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			ctx, cancel = context.WithTimeout(t.Context(), within)
			defer cancel()
			if err := c.probe.Stream(ctx, conn); (err == nil) != c.ok || !c.ok && !errors.Is(err, ErrNoGossip) {
				t.Errorf("by TCP: %v", err)
			}
		})
	}
	for _, p := range []*peer{open, closed} {
		if len(p.Nodes()) != 0 {
			t.Errorf("%x knows %+v", p.instance, p.Nodes())
		}
	}
}

// Nobody answers, or something else does: the probe says so in time.
func TestProbeInVain(t *testing.T) {
	t.Parallel()
	mute, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := (Probe{Mesh: "m"}).Packets(ctx, mute.LocalAddr().(*net.UDPAddr).AddrPort()); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	if err := (Probe{Mesh: "m"}).Stream(ctx, near); err == nil {
		t.Error("nobody answered")
	}
	for name, answer := range map[string][]byte{"junk": []byte("hello"), "the label alone": (Probe{Mesh: "m"}).header(), "nothing": nil} {
		for _, p := range []Probe{{Mesh: "m"}, {Mesh: "m", Key: make([]byte, 32)}} {
			if p.isAck(answer) {
				t.Errorf("%s is no answer", name)
			}
		}
	}
}

func TestInterfaceKinds(t *testing.T) {
	for _, c := range []struct {
		iface netInterface
		kind  InterfaceKind
	}{
		{ifLo, InterfaceLoopback}, {ifDocker, InterfaceContainer}, {ifVeth, InterfaceContainer}, {ifTunnel, InterfaceVPN},
		{ifWiFi, InterfaceLAN}, {ifCable, InterfaceLAN}, {nif(9, "utun3", up), InterfaceVPN}, {nif(9, "tailscale0", up), InterfaceVPN},
	} {
		if got := c.iface.kind(); got != c.kind {
			t.Errorf("%s is %s, want %s", c.iface.name, got, c.kind)
		}
	}
	all, err := Interfaces(netip.MustParseAddr("127.0.0.1"))
	if err != nil || len(all) == 0 {
		t.Fatal(all, err)
	}
	for i, f := range all {
		if f.Used != (i == 0 && f.Kind == InterfaceLoopback) {
			t.Errorf("%+v", f)
		}
	}
}
