package mesh

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"ultrasockets/testdata/alone"
)

// Attacks on how nodes find each other. What strangers do to a relay is tried in package relay.

// forger is a host on the link that answers questions nobody asked it.
type forger struct {
	hash string         // of the mesh it pretends to know
	trap netip.AddrPort // takes connections and says nothing
	n    int
}

const srvName = "_ultrasockets._tcp.local."

// answer is the next forged answer: of five, two could be true and lead to nobody, one leads to the trap, one has addresses
// that cannot be meant, and one is another service, another mesh, or of an absurd size.
func (f *forger) answer() []byte {
	f.n++
	var (
		instance = fmt.Sprintf("%016x", rand.Uint64()|1)
		hash     = f.hash
		service  = srvName
		port     = uint16(1 + rand.IntN(65535))
		addrs    = []netip.Addr{silent(), silent()}
		filler   int
	)
	switch kind := f.n % 5; {
	case kind == 2:
		addrs, port = []netip.Addr{f.trap.Addr()}, f.trap.Port()
	case kind == 3:
		addrs = nil
		for _, a := range []string{"127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.251", "8.8.8.8", "10.78.0.1"} {
			addrs = append(addrs, netip.MustParseAddr(a))
		}
	case kind == 4 && f.n%3 == 0:
		service = "_printer._tcp.local."
	case kind == 4 && f.n%3 == 1:
		hash = "0123456789abcdef"
	case kind == 4:
		filler = 180
	}
	name, host := instance+"."+service, instance+".local."
	head := func(name string, rrtype uint16) dns.RR_Header {
		return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: 1<<31 - 1}
	}
	msg := &dns.Msg{Answer: []dns.RR{
		&dns.PTR{Hdr: head(service, dns.TypePTR), Ptr: name},
		&dns.SRV{Hdr: head(name, dns.TypeSRV), Port: port, Target: host},
		&dns.TXT{Hdr: head(name, dns.TypeTXT), Txt: []string{"v=1", "mesh=" + hash, "relay=1", "term=4294967295"}},
	}}
	for _, a := range addrs {
		msg.Answer = append(msg.Answer, &dns.A{Hdr: head(host, dns.TypeA), A: a.AsSlice()})
	}
	for range filler {
		msg.Answer = append(msg.Answer, &dns.A{Hdr: head(host, dns.TypeA), A: silent().AsSlice()})
		more := fmt.Sprintf("%016x.", rand.Uint64()|1) + srvName
		msg.Answer = append(msg.Answer, &dns.SRV{Hdr: head(more, dns.TypeSRV), Port: port, Target: host})
	}
	msg.Response, msg.Authoritative, msg.Compress = true, true, true
	b, err := msg.Pack()
	if err != nil {
		panic(err) // all of the above can be packed
	}
	return b
}

// silent is an address on the link that nobody has.
func silent() netip.Addr { return netip.AddrFrom4([4]byte{10, 77, 1, byte(100 + rand.IntN(100))}) }

// goodbye takes a true node away, as if it said so itself.
func goodbye(instance uint64) []byte {
	name := fmt.Sprintf("%016x.", instance) + srvName
	msg := &dns.Msg{Answer: []dns.RR{
		&dns.PTR{Hdr: dns.RR_Header{Name: srvName, Rrtype: dns.TypePTR, Class: dns.ClassINET}, Ptr: name},
		&dns.TXT{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{"v=1", "mesh=" + forgedMeshHash}},
	}}
	msg.Response = true
	b, err := msg.Pack()
	if err != nil {
		panic(err) // it can be packed
	}
	return b
}

const forgedMesh = "true"

var forgedMeshHash = func() string { sum := sha256.Sum256([]byte(forgedMesh)); return hex.EncodeToString(sum[:8]) }()

// TestForgedAnswers: a host on the link floods the mDNS group with answers that name relays which are not there, wrong services,
// impossible addresses and absurd sizes, and with goodbyes of those who are there. A mesh forms all the same, newcomers find
// it, and what is remembered of the forged is bounded.
func TestForgedAnswers(t *testing.T) {
	if !full() {
		t.Parallel()
	}
	if !alone.Run(t, alone.OneLink+" && ip addr add 10.77.1.66/24 dev us0", "-long="+fmt.Sprint(full())) {
		return
	}
	trap, err := net.Listen("tcp", "10.77.1.66:0")
	if err != nil {
		t.Fatal(err)
	}
	defer trap.Close() // what waits to be accepted waits for ever
	conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 77, 1, 66)}, &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	f := &forger{hash: forgedMeshHash, trap: trap.Addr().(*net.TCPAddr).AddrPort()}
	before := inUse()

	var (
		flood, joins sync.WaitGroup
		victim       atomic.Uint64
		started      = make(chan struct{})
		stop         = make(chan struct{})
		sent, bytes  int
	)
	flood.Go(func() {
		const pause = 10 * time.Millisecond
		tick := time.NewTicker(pause)
		defer tick.Stop()
		total, long := measure(2000, 10000), 5*time.Second
		for stopped := false; sent < total || !stopped; sent++ {
			if sent%(total*int(pause)/int(long)) == 0 {
				select {
				case <-tick.C:
				case <-stop:
					stopped = true
				}
			}
			if sent == total/20 {
				close(started)
			}
			b := f.answer()
			if v := victim.Load(); v != 0 && sent%20 == 0 {
				b = goodbye(v)
			}
			if _, err := conn.Write(b); err != nil {
				t.Error(err)
			}
			bytes += len(b)
		}
	})
	join := func(name string, role Role) (*Node, time.Time) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		n, err := Join(ctx, Config{Name: name, Mesh: forgedMesh, Bind: "10.77.1.1", Role: role})
		if err != nil {
			t.Error(err)
			return nil, time.Time{}
		}
		t.Cleanup(func() { n.Close() })
		if name != "founder" {
			if err := n.Deliver(ctx, "founder", "hello"); err != nil {
				t.Error(err)
			}
		}
		return n, time.Now()
	}
	<-started
	var early *Node
	var earlyAt time.Time
	joins.Go(func() { early, earlyAt = join("early", RolePeer) }) // hears of no relay but forged ones at first
	begun := time.Now()
	founder, founded := join("founder", RoleAuto)
	if founder == nil {
		t.FailNow()
	}
	victim.Store(founder.instance)
	again := time.Now()
	late, lateAt := join("late", RoleAuto)
	joins.Wait()
	close(stop)
	flood.Wait()
	end := time.Now()
	after, afterAt := join("after", RoleAuto)
	if t.Failed() {
		return
	}
	t.Logf("%d forged answers, %d KiB. Founded after %v; who waited for that was in %v later; joined in the flood after %v, after it after %v",
		sent, bytes>>10, founded.Sub(begun), earlyAt.Sub(founded), lateAt.Sub(again), afterAt.Sub(end))
	for _, n := range []*Node{founder, early, late, after} {
		nodes, addrs := n.disc.Nodes(), 0
		for _, o := range nodes {
			addrs = max(addrs, len(o.Addrs))
		}
		t.Logf("%s remembers %d nodes, each with up to %d addresses", n.Name(), len(nodes), addrs)
		if n == early && len(nodes) < 100 {
			t.Error("the forged answers were not heard")
		}
		if len(nodes) > 1024+8 || addrs > 8 {
			t.Error("too many")
		}
		if n.Relay() != "founder" {
			t.Errorf("the relay is %q", n.Relay())
		}
	}
	grown := inUse() - before
	t.Logf("%d KiB more memory, for four nodes", grown>>10)
	for _, took := range []time.Duration{founded.Sub(begun), earlyAt.Sub(founded), lateAt.Sub(again), afterAt.Sub(end)} {
		if took > measure(20*time.Second, 5*time.Second) { // with every test the machine is busy
			t.Errorf("%v is too late", took)
		}
	}
	if grown > 32<<20 {
		t.Error("too much memory")
	}
}

// inUse is the memory in use after a collection.
func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
