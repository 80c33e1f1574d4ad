package discovery

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// When a station speaks to the group (RFC 6762, sections 6 and 8.3).
const (
	announcements   = 2                      // in a row, at start and at every change
	announcePause   = time.Second            // between them
	answerPause     = time.Second            // nothing is said to the group twice within it
	answerDelayMin  = 20 * time.Millisecond  // many nodes answer the same question, so each waits a little
	answerDelaySpan = 100 * time.Millisecond // and not the same
)

// station is mDNS on one interface in one IP family: it hears the group, answers, announces, and asks. Its methods
// are for one goroutine, the multicast's; stop ends its own.
//
// The library's server is not used for this: it answers every question by unicast to the asker's port, which
// on port 5353 is shared with every other mDNS program of that machine, it neither announces nor says goodbye, and
// listens for IPv6 even where there is none. Its client joins the groups on the machine's default interface,
// whatever interface it is told, and fails where there is no route to them.
type station struct {
	// Set at the start, never changed.
	iface netInterface
	v6    bool
	zone  *zone      // nil: only hears and asks
	hear  func(hint) // called by both readers
	hash  string     // of our mesh
	log   *slog.Logger
	group *socket       // on port 5353; nil if that could not be had
	ask   *socket       // on a port of its own; nil if that could not be had
	done  chan struct{} // closed by stop

	asked   chan dns.Question // capacity 1: somebody in the group asks
	changed chan struct{}     // capacity 1: the TXT record is not what it was

	readers, speaker sync.WaitGroup // waited for by stop
}

// startStation opens what can be opened. An error together with a station says what is missing.
func startStation(iface netInterface, source netip.Addr, z *zone, hash string, hear func(hint), log *slog.Logger) (*station, error) {
	s := &station{
		iface: iface, v6: source.Is6(), zone: z, hear: hear, hash: hash,
		log:     log.With("interface", iface.name, "ipv6", source.Is6()),
		done:    make(chan struct{}),
		asked:   make(chan dns.Question, 1),
		changed: make(chan struct{}, 1),
	}
	var groupErr, askErr error
	s.group, groupErr = openGroup(iface, source)
	s.ask, askErr = openAsk(iface, source)
	if s.ask != nil {
		// The first question shows whether the group can be spoken to here at all.
		if askErr = s.query(); askErr != nil {
			_ = s.ask.close()
			s.ask = nil
		}
	}
	if s.ask == nil && s.group != nil {
		_ = s.group.close()
		s.group = nil
	}
	if s.ask == nil {
		return nil, errors.Join(groupErr, askErr)
	}
	s.readers.Go(func() { s.read(s.ask) })
	if s.group != nil {
		s.readers.Go(func() { s.read(s.group) })
		if s.zone != nil {
			s.speaker.Go(s.speak)
		}
	}
	return s, groupErr
}

// stop says goodbye and waits for all that the station started.
func (s *station) stop() {
	close(s.done)
	s.speaker.Wait() // its goodbye is the last word
	_ = s.ask.close()
	if s.group != nil {
		_ = s.group.close()
	}
	s.readers.Wait()
}

// query asks the group who is there. The answers come to read.
func (s *station) query() error {
	msg := &dns.Msg{Question: []dns.Question{{Name: srvName, Qtype: dns.TypePTR, Qclass: dns.ClassINET}}}
	b, err := msg.Pack()
	if err != nil {
		return err
	}
	return s.ask.multicast(b)
}

// publish announces the TXT record anew.
func (s *station) publish() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// read takes every packet that a socket hears, until it is closed.
func (s *station) read(from *socket) {
	buf := make([]byte, maxMDNSPacket)
	for {
		n, src, err := from.read(buf)
		if err != nil {
			select {
			case <-s.done:
				return
			case <-time.After(readErrorPause):
			}
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		var msg dns.Msg
		if msg.Unpack(buf[:n]) != nil || msg.Opcode != dns.OpcodeQuery || msg.Rcode != dns.RcodeSuccess {
			continue // RFC 6762, section 18: silently ignored
		}
		switch {
		case msg.Response:
			for _, h := range hintsIn(&msg, s.hash, s.iface, src.Addr()) {
				s.hear(h)
			}
		case s.zone != nil && from == s.group:
			s.answer(&msg, src)
		}
	}
}

// answer answers a query as its sender wants it: plain DNS to a port of its own, alone on request, else to all.
func (s *station) answer(query *dns.Msg, src netip.AddrPort) {
	records := s.zone.answers(query)
	select {
	case <-s.done: // the goodbye is the last word
		return
	default:
	}
	if len(records) == 0 {
		return
	}
	var (
		b   []byte
		err error
	)
	switch {
	case src.Port() != mdnsPort:
		b, err = legacyResponse(query, records)
	case wantsUnicast(query):
		b, err = response(records)
	default:
		select {
		case s.asked <- query.Question[0]:
		default: // the answer that is due says everything
		}
		return
	}
	if err == nil {
		err = s.group.write(b, src)
	}
	if err != nil {
		s.log.Debug("mDNS query not answered", "from", src, "err", err)
	}
}

func wantsUnicast(query *dns.Msg) bool {
	for _, q := range query.Question {
		if q.Qclass&askUnicast == 0 {
			return false
		}
	}
	return true
}

// speak announces, and answers to the group, until the station stops.
func (s *station) speak() {
	var (
		left  = announcements // still to be made
		last  time.Time       // when something was said to the group
		extra []dns.RR        // beyond what is always said
	)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.done:
			if b, err := goodbye(s.zone.all()); err == nil {
				_ = s.group.multicast(b) // whoever misses it finds out by the time to live
			}
			return
		case <-s.changed:
			left = announcements
			timer.Reset(0)
		case q := <-s.asked:
			extra = s.zone.Records(q)
			wait := answerDelayMin + rand.N(answerDelaySpan)
			timer.Reset(max(wait, answerPause-time.Since(last)))
		case <-timer.C:
			b, err := response(dns.Dedup(append(s.zone.all(), extra...), nil))
			if err == nil {
				err = s.group.multicast(b)
			}
			if err != nil {
				s.log.Debug("mDNS announcement not sent", "err", err)
			}
			last, extra = time.Now(), nil
			if left = max(0, left-1); left > 0 {
				timer.Reset(announcePause)
			}
		}
	}
}
