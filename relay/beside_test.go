package relay

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ultrasockets/codec"
)

// What an honest pair notices of an attack, measured as it happens: the relay, the attackers and the pair are processes of
// their own. (In one process they would share a scheduler, and the figures would be about that.)

// partEnv makes the test binary one of these processes: its command line is in it.
const partEnv = "ULTRA_TEST_PART"

func TestMain(m *testing.M) {
	if part := os.Getenv(partEnv); part != "" {
		if err := runPart(strings.Fields(part)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func runPart(args []string) error {
	var secret []byte
	if args[1] == "secret" {
		secret = secretOf(7)
	}
	if args[0] == "relay" {
		return runRelay(secret)
	}
	n, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	return runAttack(args[0], args[2], secret, n)
}

// relayReport is what the relay says at the end.
type relayReport struct {
	Stats Stats
	CPU   time.Duration
}

// runRelay is a relay until its input ends.
func runRelay(secret []byte) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if file := os.Getenv("ULTRA_TEST_PROFILE"); file != "" {
		f, err := os.Create(fmt.Sprint(file, ".", os.Getpid()))
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	h := NewHub(HubConfig{Mesh: "lab", Own: hello("relay"), Secret: secret, Heartbeat: time.Minute})
	var running sync.WaitGroup
	running.Go(func() { _ = h.Serve(l) }) // ends with the hub
	own := h.Reign(Reign{})
	running.Go(func() { _ = own.Run(ignore{}) })
	fmt.Println(l.Addr())
	say := json.NewEncoder(os.Stdout)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() { // each line asks for a report
		if err := say.Encode(relayReport{h.Stats(), cpuTime()}); err != nil {
			return err
		}
	}
	err = h.Close()
	running.Wait()
	return err
}

// runAttack attacks until its input ends, or n times if that is not 0.
func runAttack(kind, addr string, secret []byte, n int) error {
	stop := make(chan struct{})
	go func() { // ends with the process, at the latest
		io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	var done atomic.Int64
	crowd := func(workers, perSecond int, f func(i int) error) error {
		var all sync.WaitGroup
		var failed atomic.Pointer[error]
		turns := make(chan int)
		for range workers {
			all.Go(func() {
				for i := range turns {
					if err := f(i); err != nil {
						failed.Store(&err)
					}
					done.Add(1)
				}
			})
		}
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for i := 0; i < n && !isClosed(stop); i++ {
			if perSecond > 0 && i%(perSecond/100) == 0 {
				<-tick.C
			}
			turns <- i
		}
		close(turns)
		all.Wait()
		if err := failed.Load(); err != nil {
			return *err
		}
		return nil
	}
	name, pace, _ := strings.Cut(kind, "@")
	perSecond, _ := strconv.Atoi(pace) // none: as fast as possible
	var err error
	switch name {
	case "secrets":
		err = crowd(8, perSecond, func(i int) error {
			guess := secretOf(byte(i))
			guess[31]++
			ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
			defer cancel()
			if _, err := Dial(ctx, addr, DialConfig{Hello: hello("guest"), Secret: guess}); !errors.Is(err, ErrWrongSecret) {
				return fmt.Errorf("a guess: %w", err)
			}
			return nil
		})
	case "rubbish":
		err = crowd(8, perSecond, func(i int) error {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				return err
			}
			defer c.Close()
			_, _ = c.Write(rubbish(i, rand.New(rand.NewPCG(uint64(i), 1)))) // it may have been thrown out
			return nil
		})
	default:
		err = runFlood(name, addr, stop)
	}
	fmt.Println(done.Load())
	return err
}

// runFlood sends as fast as it can, and reads what it is to read.
func runFlood(kind, addr string, stop <-chan struct{}) error {
	var readers sync.WaitGroup
	link := func(name string, reads bool) (net.Conn, error) {
		hi := hello(name)
		hi.WantsRoster = false
		l, err := Dial(context.Background(), addr, DialConfig{Hello: hi})
		if err != nil {
			return nil, err
		}
		if reads {
			readers.Go(func() { io.Copy(io.Discard, l.conn) })
		}
		return l.conn, nil
	}
	flood, err := link("flood", true)
	if err != nil {
		return err
	}
	size := 128
	if strings.HasSuffix(kind, "large") {
		size = codec.MaxPayload
	}
	other, err := link("other", !strings.Contains(kind, "deaf"))
	if err != nil {
		return err
	}
	to := "other"
	if strings.Contains(kind, "nobody") {
		to = "nobody"
	}
	unit := data("flood", to, 1, 1, string(make([]byte, size)))
	var block []byte
	for len(block) < 60<<10 {
		block = append(block, unit...)
	}
	var stopper sync.WaitGroup
	stopper.Go(func() {
		<-stop
		flood.SetWriteDeadline(time.Unix(1, 0))
	})
	for err == nil {
		_, err = flood.Write(block)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	flood.Close()
	other.Close()
	stopper.Wait()
	readers.Wait()
	return err
}

// part is a process of this test binary.
type part struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// The attackers, the relay and the pair have machines of their own in life. On this one, where its scheduler can be told so, the
// attackers get the time that nobody else wants (hasIdle), and the others a core as soon as they want one (asIfAlone).

// hasIdle tells whether there is a way to run a program in the time that nobody else wants.
var hasIdle = sync.OnceValue(func() bool { return exec.Command("chrt", "--idle", "0", os.Args[0], "-test.list=^$").Run() == nil })

// asIfAlone lets this process, and those it starts, have a core before all others, until the test ends. It takes root.
func asIfAlone(t *testing.T) {
	me := strconv.Itoa(os.Getpid())
	if out, err := exec.Command("chrt", "--all-tasks", "--rr", "--pid", "1", me).CombinedOutput(); err != nil {
		t.Logf("the times are those of the machine's scheduler too: %v %s", err, bytes.TrimSpace(out))
	}
	t.Cleanup(func() { _ = exec.Command("chrt", "--all-tasks", "--other", "--pid", "0", me).Run() })
}

// command is the test binary's.
func command(part string) *exec.Cmd {
	if part != "relay" && hasIdle() {
		return exec.Command("chrt", "--idle", "0", os.Args[0])
	}
	return exec.Command(os.Args[0])
}

func startPart(t *testing.T, args ...string) *part {
	t.Helper()
	p := &part{cmd: command(args[0])}
	p.cmd.Env = append(os.Environ(), partEnv+"="+strings.Join(args, " "))
	p.cmd.Stderr = os.Stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.end() })
	return p
}

// end ends the process's input, waits for it, and returns its last line.
func (p *part) end() (string, error) {
	p.in.Close()
	rest, _ := io.ReadAll(p.out) // why it fails, Wait says
	return strings.TrimSpace(string(rest)), p.cmd.Wait()
}

func (p *part) report(t *testing.T) (r relayReport) {
	t.Helper()
	fmt.Fprintln(p.in)
	line, err := p.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// startRelay starts a relay process.
func startRelay(t *testing.T, mode string) (p *part, addr string) {
	t.Helper()
	p = startPart(t, "relay", mode)
	addr, err := p.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return p, strings.TrimSpace(addr)
}

// TestPairBesideAttack prints what a pair of honest nodes that talk at a pace notices of each attack, and what that costs the
// relay. The same attack on another relay of the same machine shows how much of it is the machine's. It asserts nothing about
// times, which say as much about the machine. -long only.
func TestPairBesideAttack(t *testing.T) {
	if !*long {
		t.Skip("it measures times; -long does it")
	}
	asIfAlone(t)
	for _, c := range []struct {
		attack string
		secret bool
		n      int
	}{
		{attack: "flood"}, {attack: "flood-large"}, {attack: "flood-deaf"}, {attack: "flood-nobody"},
		{"secrets@1000", true, 10_000}, {"secrets", true, 10_000},
		{"rubbish@1000", false, 10_000}, {"rubbish", false, 10_000}, {"rubbish", true, 10_000},
	} {
		mode := "open"
		var secret []byte
		if c.secret {
			mode, secret = "secret", secretOf(7)
		}
		t.Run(c.attack+" "+mode, func(t *testing.T) {
			relay, addr := startRelay(t, mode)
			other, otherAddr := startRelay(t, mode)
			p := newPair(t, addr, secret)
			quiet := p.talkFor(3 * time.Second)
			elsewhere, _ := p.talkBeside(t, other, c.attack, mode, otherAddr, c.n)
			here, cost := p.talkBeside(t, relay, c.attack, mode, addr, c.n)
			p.close()
			t.Logf("the pair's round trips, p50, p99 and share of the pace: quiet %v; while another relay is attacked %v; while its own is %v", quiet, elsewhere, here)
			t.Log(cost)
		})
	}
}

// noticed is what a pair noticed.
type noticed struct {
	p50, p99 time.Duration
	pace     float64 // share of the questions that it wanted to ask
}

func (k noticed) String() string { return fmt.Sprintf("%v %v %.0f %%", k.p50, k.p99, 100*k.pace) }

func (p *pair) talkUntil(done <-chan struct{}) noticed {
	begun := time.Now()
	took := p.talk(done)
	return noticed{at(took, 50), at(took, 99), float64(len(took)) * float64(pace) / float64(time.Since(begun))}
}

func (p *pair) talkFor(d time.Duration) noticed {
	done := make(chan struct{})
	time.AfterFunc(d, func() { close(done) })
	return p.talkUntil(done)
}

// talkBeside talks while a relay is attacked, and returns also what that cost the relay.
func (p *pair) talkBeside(t *testing.T, relay *part, attack, mode, addr string, n int) (noticed, string) {
	t.Helper()
	before := relay.report(t)
	a := startPart(t, attack, mode, addr, fmt.Sprint(n))
	done := make(chan struct{})
	said := "0"
	var ending sync.WaitGroup
	ending.Go(func() {
		defer close(done)
		if n == 0 {
			time.Sleep(5 * time.Second)
			return
		}
		if line, err := a.out.ReadString('\n'); err == nil { // it is over
			said = strings.TrimSpace(line)
		}
	})
	k := p.talkUntil(done)
	ending.Wait()
	if _, err := a.end(); err != nil {
		t.Error(err)
	}
	after := relay.report(t)
	cpu := after.CPU - before.CPU
	cost := fmt.Sprintf("the relay used %v of processor time, with %.2f million frames in, %.2f million out", cpu.Round(time.Millisecond),
		float64(after.Stats.FramesIn-before.Stats.FramesIn)/1e6, float64(after.Stats.FramesOut-before.Stats.FramesOut)/1e6)
	if did, err := strconv.Atoi(said); err == nil && did > 0 {
		cost += fmt.Sprintf(", %v for each of %d connections", cpu/time.Duration(did), did)
	}
	return k, cost
}
