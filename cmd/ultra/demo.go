package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const demoHelp = `Watch a mesh at work, on this machine only: four "ultra join" processes find each other, agree on a
relay, send each other values of several types, lose the relay to kill -9, and go on with another. What they
print is checked: every message exactly once and in order, else the exit code is 1. It takes some seconds, at most 20.

They find each other by multicast DNS; where that does not work on loopback the demo says so, and tells
them an address. --break drops one message on purpose, to show that the check notices.`

const (
	demoTime     = 18 * time.Second     // for all of it; with the cleaning up it stays below 20
	meetTime     = 5 * time.Second      // mDNS gets so long
	quietTime    = 4 * time.Second      // what has not come after so long a silence is lost
	talkPause    = 4 * time.Millisecond // between two messages of each pair while the relay is killed
	talkBefore   = 50                   // messages of each pair before the kill
	talkAfter    = 50                   // and after all have a new relay
	demoLongText = 100_000              // bytes
)

type demo struct {
	*stage
	out      io.Writer
	noMDNS   bool
	breakOne bool
	byMDNS   bool // how they found each other
	began    time.Time
}

// errWrong ends the acts; the verdict says what is wrong.
var errWrong = errors.New("something is wrong with the messages")

func newDemo() *cobra.Command {
	d := &demo{}
	cmd := &cobra.Command{
		Use:     "demo",
		Short:   "Watch a mesh at work, on this machine only",
		Long:    demoHelp,
		Example: "  ultra demo\n  ultra demo --no-mdns\n  ultra demo --break; echo $?",
		Args:    atMost(0, ""),
	}
	cmd.Flags().BoolVar(&d.noMDNS, "no-mdns", false, "use no multicast: tell the nodes an address")
	cmd.Flags().BoolVar(&d.breakOne, "break", false, "drop one message on purpose: the exit code must be 1")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		d.out = cmd.OutOrStdout()
		return d.run(cmd.Context())
	}
	return cmd
}

func (d *demo) run(ctx context.Context) (err error) {
	d.began = time.Now()
	if d.stage, err = newStage("demo-" + strings.ToLower(rand.Text()[:8])); err != nil {
		return err
	}
	defer d.clear()
	bounded, cancel := context.WithTimeout(ctx, demoTime)
	defer cancel()
	defer context.AfterFunc(bounded, d.strike)() // else writing to a process that hangs would never end
	err = d.play(bounded)
	switch {
	case ctx.Err() != nil:
		return errInterrupted
	case err != nil && errors.Is(err, context.DeadlineExceeded):
		return d.verdict(fmt.Errorf("the demo was not done within %v, %w", demoTime, err))
	}
	return d.verdict(err)
}

func (d *demo) play(ctx context.Context) error {
	relay, err := d.actMeet(ctx)
	if err != nil {
		return err
	}
	if err := d.actTalk(ctx); err != nil {
		return err
	}
	if err := d.actKill(ctx, relay); err != nil {
		return err
	}
	if err := d.actReturn(ctx, relay.name); err != nil {
		return err
	}
	return d.bow(ctx)
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

var castNames = []string{"pc1", "pc2", "pc3", "pc4"}

// actMeet starts all and waits until they have found each other and a relay.
func (d *demo) actMeet(ctx context.Context) (*actor, error) {
	d.say("Four programs start on this machine, each is \"ultra join\", all in mesh %q.", d.mesh)
	began := time.Now()
	why := "--no-mdns: mDNS is left out"
	if !d.noMDNS {
		relay, err := d.meetByMDNS(ctx)
		if err != nil {
			return nil, err
		}
		if relay != nil {
			d.byMDNS = true
			d.present()
			d.say("Nobody was told an address: they found each other by mDNS and agreed on %s as the relay, in %s.", relay.name, since(began))
			return relay, nil
		}
		why = "mDNS found nobody within " + meetTime.String()
		if problem := d.problem(); problem != "" {
			why = problem
		}
		d.clear()
	}
	d.say("(%s; so pc2 to pc4 are given the address of pc1 as a seed.)", why)
	began = time.Now()
	relay, err := d.meetBySeed(ctx)
	if err != nil {
		return nil, err
	}
	d.present()
	d.say("They met by that one address and agreed on %s as the relay, in %s.", relay.name, since(began))
	return relay, nil
}

// present shows who is on stage.
func (d *demo) present() {
	for _, a := range d.actors {
		d.say("    %s  PID %d", a.name, a.pid())
	}
}

// meetByMDNS gives no relay if mDNS does not work here.
func (d *demo) meetByMDNS(ctx context.Context) (*actor, error) {
	for _, name := range castNames {
		if _, err := d.start(name); err != nil {
			return nil, err
		}
	}
	fails := false
	err := d.await(ctx, "waiting for all to start", func() bool {
		ready := 0
		for _, a := range d.actors {
			fails = fails || len(a.problems) > 0
			if a.ready {
				ready++
			}
		}
		return fails || ready == len(d.actors)
	})
	if err != nil || fails {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, meetTime)
	defer cancel()
	relay, err := d.meeting(bounded)
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return nil, nil
	}
	return relay, err
}

func (d *demo) meetBySeed(ctx context.Context) (*actor, error) {
	first, err := d.start(castNames[0], "--no-mdns")
	if err != nil {
		return nil, err
	}
	if err := d.await(ctx, "waiting for pc1 to start", func() bool { return first.ready }); err != nil {
		return nil, err
	}
	for _, name := range castNames[1:] {
		if _, err := d.start(name, "--no-mdns", "--seed", first.addr); err != nil {
			return nil, err
		}
	}
	return d.meeting(ctx)
}

// samples are values of all the types that JSON and bytes have, no two the same.
func samples(from, to string) []any {
	return []any{
		"good morning, " + to,
		"Grüße,\n\tmehrzeilig 👋 \\ von " + from,
		-42,
		uint64(1<<64 - 1),
		21.5,
		true,
		nil,
		[]any{1, "two", 3.5, nil, []any{false}},
		map[string]any{"from": from, "readings": []any{1, 2, 3}, "nested": map[string]any{"deep": true}},
		[]byte{0, 1, 2, 0xfe, 0xff},
		strings.Repeat("long ", demoLongText/5),
		"",
	}
}

// actTalk has everybody send everything to everybody else.
func (d *demo) actTalk(ctx context.Context) error {
	d.say("\nEverybody sends everybody else text, numbers, true, null, a list, a map, bytes and %d kB at once.", demoLongText/1000)
	began := time.Now()
	for _, from := range d.actors {
		for _, to := range d.actors {
			if from == to {
				continue
			}
			for i, value := range samples(from.name, to.name) {
				if d.breakOne && i == 0 && from.name == "pc2" && to.name == "pc4" {
					d.say("    (--break: the first message from pc2 to pc4 is dropped on purpose)")
					d.note(from, to.name, arrival{jsonContent: jsonContent{Value: jsonLine(value)}})
					continue
				}
				if err := d.send(from, to.name, value); err != nil {
					return err
				}
			}
		}
	}
	if err := d.awaitArrivals(ctx, quietTime); err != nil {
		return err
	}
	if err := d.tally("between all pairs", began); err != nil {
		return err
	}
	for _, m := range d.got(pair{"pc1", "pc2"}, 4) {
		d.say("        pc2 printed, from pc1: %s", shorten(m, 70))
	}
	return nil
}

// got is a part of what one actor received from another.
func (d *demo) got(p pair, n int) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := d.ledger.got[p]
	var list []string
	for i := 0; i < len(all) && len(list) < n; i += 3 {
		list = append(list, all[i])
	}
	return list
}

// tally says how much of what was sent has arrived. Anything wrong with it ends the demo.
func (d *demo) tally(where string, began time.Time) error {
	d.mu.Lock()
	sent, got := d.ledger.counts()
	wrong := len(d.ledger.complaints()) > 0
	d.mu.Unlock()
	if wrong {
		d.say("    %d of %d messages arrived %s, in %s, and something is wrong with them.", got, sent, where, since(began))
		return errWrong
	}
	d.say("    %d of %d messages arrived %s, each once and in order, in %s.", got, sent, where, since(began))
	return nil
}

// actKill kills the relay while the others talk.
func (d *demo) actKill(ctx context.Context, relay *actor) error {
	d.say("\nThe others talk on. Now the relay is killed: kill -9 %d, that was %s.", relay.pid(), relay.name)
	began := time.Now()
	others := slices.DeleteFunc(slices.Clone(d.actors), func(a *actor) bool { return a == relay })
	talk, hush := context.WithCancel(ctx)
	defer hush()
	talked := make(chan error, 1)
	go func() { talked <- d.chatter(talk, others) }() // waited for below
	more, killed := d.ahead(others, talkBefore), time.Time{}
	err := d.await(ctx, "waiting for the talk to begin", more)
	var next *actor
	if err == nil {
		killed = time.Now()
		d.kill(relay)
		next, err = d.meeting(ctx)
	}
	if err == nil {
		d.say("    %s is the relay now, %s later.", next.name, since(killed))
		err = d.await(ctx, "waiting for the talk to go on", d.ahead(others, talkAfter))
	}
	hush()
	if err := errors.Join(err, <-talked); err != nil {
		return err
	}
	if err := d.awaitArrivals(ctx, quietTime); err != nil {
		return err
	}
	return d.tally("so far", began)
}

// chatter sends numbers between all pairs until ctx ends.
func (d *demo) chatter(ctx context.Context, others []*actor) error {
	tick := time.NewTicker(talkPause)
	defer tick.Stop()
	for number := 1; ; number++ {
		for _, from := range others {
			for _, to := range others {
				if from == to {
					continue
				}
				if err := d.send(from, to.name, map[string]int{"number": number}); err != nil {
					return err
				}
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// ahead gives a condition: every pair has had so many messages more than now. Not under the lock; the condition is.
func (d *demo) ahead(others []*actor, n int) func() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	goal := make(map[pair]int)
	for _, from := range others {
		for _, to := range others {
			if from != to {
				p := pair{from.name, to.name}
				goal[p] = len(d.ledger.got[p]) + n
			}
		}
	}
	return func() bool {
		for p, n := range goal {
			if len(d.ledger.got[p]) < n {
				return false
			}
		}
		return true
	}
}

// actReturn sends to the one who was killed, and starts it again.
func (d *demo) actReturn(ctx context.Context, name string) error {
	began := time.Now()
	for _, from := range d.actors {
		if err := d.send(from, name, "while you were away, by "+from.name); err != nil {
			return err
		}
	}
	args := []string{}
	if !d.byMDNS {
		args = append(args, "--no-mdns", "--seed", d.actors[0].addr)
	}
	a, err := d.start(name, args...)
	if err != nil {
		return err
	}
	d.say("\nThe others write to %s, which is not there, and it is started again: PID %d.", name, a.pid())
	if _, err := d.meeting(ctx); err != nil {
		return err
	}
	if err := d.awaitArrivals(ctx, quietTime); err != nil {
		return err
	}
	return d.tally("by now", began)
}

// verdict says how it ended.
func (d *demo) verdict(err error) error {
	d.mu.Lock()
	complaints := d.ledger.complaints()
	sent, _ := d.ledger.counts()
	d.mu.Unlock()
	if len(complaints) > 0 {
		d.say("\nWrong:")
		for _, c := range complaints[:min(len(complaints), 10)] {
			d.say("    %s", c)
		}
		if err == errWrong {
			err = nil
		}
		return errors.Join(fmt.Errorf("what was sent and what arrived differ: %s", complaints[0]), err)
	}
	if err != nil {
		return err
	}
	d.say("\nAll %d messages arrived exactly once and in order, over two relays. All left in good order, after %s.", sent, since(d.began))
	d.invite()
	return nil
}

// invite says how to go on by oneself.
func (d *demo) invite() {
	ultra, built := os.Args[0], ""
	if exe, err := os.Executable(); err == nil && strings.Contains(exe, "go-build") { // go run
		ultra = "." + string(filepath.Separator) + "ultra"
		built = " (after: go build -o ultra ./cmd/ultra)"
	}
	d.say("\nNow you: in two terminals%s", built)
	first, second := "", ""
	if !d.byMDNS {
		first, second = " --bind 127.0.0.1 --listen 127.0.0.1:7001", " --bind 127.0.0.1 --seed 127.0.0.1:7001"
	}
	d.say("    %s join --name a%s", ultra, first)
	d.say("    %s join --name b%s", ultra, second)
	d.say("and type in the first one:")
	d.say("    b hello")
}

// since is the time from t to now, as people say it.
func since(t time.Time) string {
	d := time.Since(t)
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
