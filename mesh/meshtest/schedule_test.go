package meshtest_test

import (
	"fmt"
	"time"

	"ultrasockets/mesh/meshtest"
)

// size is of how many nodes a mesh is: mostly few, seldom many.
func (w *world) size() int {
	switch w.rng.IntN(20) {
	case 0:
		return 20 + w.rng.IntN(31)
	case 1, 2, 3:
		return 9 + w.rng.IntN(10)
	}
	return 3 + w.rng.IntN(6)
}

// between is a random time.
func (w *world) between(least, most time.Duration) time.Duration {
	return least + time.Duration(w.rng.Int64N(int64(most-least)))
}

// open starts the mesh, and waits until it is well.
func (w *world) open(late int) {
	for _, p := range w.programs[:len(w.programs)-late] {
		w.start(p)
		if w.rng.IntN(3) == 0 {
			time.Sleep(w.between(0, 500*time.Millisecond))
		}
	}
	w.converge(0)
}

// over ends all faults.
func (w *world) over() {
	w.m.Heal()
	for _, p := range w.programs {
		w.m.Continue(p.name)
	}
	w.say("the faults are over")
	w.mu.Lock()
	w.calm = time.Now()
	w.mu.Unlock()
}

// anything makes all faults there are, at random.
func anything(w *world) {
	w.populate(w.size())
	w.open(w.rng.IntN(1 + len(w.programs)/3))
	until := time.Now().Add(w.between(5*time.Second, 90*time.Second))
	hurry := pick(w.rng, 200*time.Millisecond, time.Second, 3*time.Second, 10*time.Second)
	for time.Now().Before(until) && !w.t.Failed() {
		time.Sleep(w.between(0, hurry))
		w.anyFault()
	}
	for i, p := range w.programs { // some stay dead, but not those whom light nodes dial
		if i < 2 && p.impostor != nil {
			w.say("the impostor of %s goes", p.name)
			p.impostor.kill()
			p.impostor = nil
		}
		if !w.runs(p) && (i < 2 || w.rng.IntN(2) == 0) {
			w.say("start %s", p.name)
			w.start(p)
		}
	}
	w.over()
}

// anyFault makes one fault, or ends one.
func (w *world) anyFault() {
	p := w.programs[w.rng.IntN(len(w.programs))]
	switch k := w.rng.IntN(20); {
	case k < 3:
		w.part()
	case k < 6:
		w.say("heal")
		w.m.Heal()
	case k < 9:
		w.badCable(p.name)
	case k < 10:
		c := meshtest.Cable{Latency: w.between(0, 100*time.Millisecond), Jitter: w.between(0, 100*time.Millisecond), Loss: pick(w.rng, 0, 0, 0.05)}
		w.say("all cables: %s", cableString(c))
		w.m.Cable(c)
	case k < 11:
		w.say("reset %s", p.name)
		w.m.Reset(p.name)
	case k < 12:
		w.say("suspend %s", p.name)
		w.m.Suspend(p.name)
	case k < 14:
		w.say("continue %s", p.name)
		w.m.Continue(p.name)
	case k < 17:
		w.toggle(p)
	case k < 18:
		switch {
		case p.impostor != nil:
			w.say("the impostor of %s goes", p.name)
			p.impostor.kill()
			p.impostor = nil
		case w.runs(p):
			w.say("an impostor of %s", p.name)
			p.impostor = w.begin(p, true)
		}
	default:
		time.Sleep(w.between(0, 10*time.Second))
	}
}

// toggle starts what does not run, and kills or stops what does.
func (w *world) toggle(p *program) {
	switch {
	case !w.runs(p):
		w.say("start %s", p.name)
		w.start(p)
	case w.rng.IntN(3) == 0:
		w.say("stop %s", p.name)
		w.m.Continue(p.name)
		p.life.stop()
		p.life = w.leave(p)
	default:
		w.say("kill %s", p.name)
		p.life.kill()
		p.life = w.leave(p)
		w.m.Continue(p.name)
		if w.rng.IntN(2) == 0 {
			w.say("start %s", p.name)
			w.start(p)
		}
	}
}

// leave waits until a program has ended.
func (w *world) leave(p *program) *life {
	<-p.life.ended
	return nil
}

// part parts the nodes into two or three groups.
func (w *world) part() {
	groups := make([][]string, 2+w.rng.IntN(2))
	for _, p := range w.programs {
		i := w.rng.IntN(len(groups))
		groups[i] = append(groups[i], p.name)
	}
	w.say("partition %v", groups)
	w.m.Partition(groups...)
}

// badCable gives a node a bad cable of any kind.
func (w *world) badCable(name string) {
	c := meshtest.Cable{Only: pick(w.rng, meshtest.Everything, meshtest.Links, meshtest.Links, meshtest.Gossip)}
	switch w.rng.IntN(5) {
	case 0, 1:
		c.Cut = pick(w.rng, meshtest.Both, meshtest.In, meshtest.Out)
	case 2:
		c.Latency, c.Jitter = w.between(0, time.Second), w.between(0, time.Second)
	case 3:
		c.Loss = w.rng.Float64() / 2
	case 4:
		c.Rate = 500 + w.rng.IntN(50_000)
	}
	w.say("cable of %s: %s", name, cableString(c))
	w.m.Cable(c, name)
}

func cableString(c meshtest.Cable) string {
	only := map[meshtest.Traffic]string{meshtest.Everything: "everything", meshtest.Links: "links", meshtest.Gossip: "gossip"}
	cut := map[meshtest.Direction]string{meshtest.Both: "both", meshtest.In: "in", meshtest.Out: "out"}
	return fmt.Sprintf("{%s cut:%s latency:%v+%v loss:%.2f rate:%d}", only[c.Only], cut[c.Cut], c.Latency, c.Jitter, c.Loss, c.Rate)
}

// badCable makes one node's cable bad, in many ways, and nothing else.
func badCable(w *world) {
	w.populate(w.size())
	w.open(0)
	relay, _ := w.settled()
	victim := w.programs[w.rng.IntN(len(w.programs))]
	for victim.name == relay {
		victim = w.programs[w.rng.IntN(len(w.programs))]
	}
	w.mu.Lock()
	w.relay, w.but = relay, map[string]bool{victim.name: true}
	w.mu.Unlock()
	until := time.Now().Add(w.between(5*time.Second, 90*time.Second))
	for time.Now().Before(until) && !w.t.Failed() {
		w.badCable(victim.name)
		time.Sleep(w.between(0, pick(w.rng, time.Second, 5*time.Second, 20*time.Second)))
		if w.rng.IntN(3) == 0 {
			w.say("reset %s", victim.name)
			w.m.Reset(victim.name)
		}
		if w.rng.IntN(3) == 0 {
			w.say("heal")
			w.m.Heal()
			time.Sleep(w.between(0, 10*time.Second))
		}
	}
	w.over()
}

// newcomers start in a partition of their own, at most half as many as the others.
func newcomers(w *world) {
	w.populate(4 + w.size())
	for _, p := range w.programs { // a server would be better than any other relay
		if p.kind == "server" {
			p.kind = "auto"
		}
	}
	last := len(w.programs) - 1
	w.programs[0], w.programs[last] = w.programs[last], w.programs[0] // who may be the relay on either side
	late := w.programs[last-w.rng.IntN(len(w.programs)/3):]
	w.open(len(late))
	relay, _ := w.settled()
	w.mu.Lock()
	w.relay, w.but = relay, map[string]bool{}
	w.mu.Unlock()
	var names []string
	for _, p := range late {
		names = append(names, p.name)
		w.but[p.name] = true
	}
	w.say("partition %v", names)
	w.m.Partition(names)
	for _, p := range late {
		w.start(p)
	}
	time.Sleep(w.between(time.Second, 20*time.Second))
	w.over()
}
