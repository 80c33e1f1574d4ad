package page

import (
	"context"
	"sync"
	"time"

	"ultrasockets/mesh"
)

const (
	sampleRest   = 50 * time.Millisecond // between samples, however much happens
	pingEvery    = 5 * time.Second
	pingTimeout  = 4 * time.Second
	pingRest     = 500 * time.Millisecond // between two rounds, however many come to look
	pingMost     = 64                     // nodes in each round
	pingTogether = 8                      // at a time
	wantedFor    = 30 * time.Second       // after somebody looked, round trips are still measured
)

// samples takes a sample every interval, and soon after something has happened.
func (p *Page) samples() {
	tick := time.NewTicker(p.opt.Interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.sample(true)
		case <-p.soon:
			p.sample(false)
			if !p.rest(sampleRest) {
				return
			}
		case <-p.ctx.Done():
			return
		}
	}
}

// rest waits; false: the page is ending.
func (p *Page) rest(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-p.ctx.Done():
		return false
	}
}

// sample reads the node once, and tells everybody what changed.
func (p *Page) sample(rate bool) {
	of := p.node.Status()
	s := readStatus(p.node, of)
	nodes, ready, paused := readNodes(p.node.Peers())
	s.Nodes.Ready, s.Nodes.Paused = ready, paused
	s.Listeners = p.watch.count()
	streams := readStreams(of)
	p.watch.tell(func() []change { return p.book.sample(p.now(), s, nodes, streams, rate) })
}

// event notes what happened, tells everybody, and asks for a sample.
func (p *Page) event(e mesh.Event) {
	p.watch.tell(func() []change { return p.book.event(e) })
	notify(p.soon)
}

// pings measures the round trips to the others, while somebody looks.
func (p *Page) pings() {
	next := 0 // the node that the next round begins with
	tick := time.NewTicker(min(pingEvery, 5*p.opt.Interval))
	defer tick.Stop()
	for p.rest(min(pingRest, p.opt.Interval)) {
		select {
		case <-tick.C:
		case <-p.looked:
		case <-p.ctx.Done():
			return
		}
		if !p.watch.wanted(p.now()) {
			continue
		}
		var names []string
		for _, peer := range p.node.Peers() {
			if !peer.Self && !peer.Relay {
				names = append(names, peer.Name)
			}
		}
		if next >= len(names) {
			next = 0
		}
		round := names[next:min(len(names), next+pingMost)]
		next += len(round)
		p.pingAll(round)
	}
}

func (p *Page) pingAll(names []string) {
	var all sync.WaitGroup
	defer all.Wait()
	places := make(chan struct{}, pingTogether)
	for _, name := range names {
		select {
		case places <- struct{}{}:
		case <-p.ctx.Done():
			return
		}
		all.Go(func() {
			defer func() { <-places }()
			ctx, cancel := context.WithTimeout(p.ctx, pingTimeout)
			defer cancel()
			_, _ = p.node.Ping(ctx, name) // one that does not answer keeps the round trip it had
		})
	}
}
