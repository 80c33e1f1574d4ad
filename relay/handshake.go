package relay

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"ultrasockets/codec"
)

// shake is the relay's side of one handshake, run by its own goroutine off the
// accept loop.
//
//	first byte -> preamble -> a place -> [Noise] -> Hello -> admitted: the link's reader
//	    |            |           |                    |  ^-> refused
//	 foreign   junk, version,   wait                 held (a vote), then judged again
//	           secret
type shake struct {
	// static
	hub     *Hub
	raw     net.Conn
	addr    addrKey
	counted bool // by addr

	// owned by the handshake
	conn  net.Conn // raw, or the secure channel over it
	in    inbuf    // over conn
	hello codec.Hello
	old   bool // it came with one of HubConfig.OldSecrets

	// guarded by Hub.mu
	placed  bool
	since   time.Duration // in the lobby, or at its place
	evicted bool          // from the votes, by a newer Hello of the same instance
	voted   bool          // it has been a vote
	held    time.Duration // since when
}

// errAnswered ends a handshake whose dialler has been told why.
var errAnswered = errors.New("answered")

func (s *shake) run() {
	defer s.hub.wg.Done()
	_ = s.raw.SetDeadline(time.Now().Add(helloTime))
	p, err := s.greet()
	s.hub.release(s)
	switch {
	case p != nil:
		go p.run() // on a fresh, small stack
	case errors.Is(err, errForeign):
	case errors.Is(err, errAnswered):
		s.hub.dismiss(s.conn)
	default:
		if errors.Is(err, os.ErrDeadlineExceeded) {
			s.hub.count.turnAway(awayTimeout)
		} else if !errors.Is(err, ErrWrongSecret) {
			s.hub.count.turnAway(awayBroken)
		}
		s.hub.logf(slog.LevelDebug, "a handshake failed", "addr", addrString(s.raw), "err", err)
		s.hub.dismiss(s.raw)
	}
}

// greet runs the handshake up to a link or an error.
func (s *shake) greet() (*peer, error) {
	preamble, err := s.preamble()
	if err != nil {
		return nil, err
	}
	if err := s.answer(preamble); err != nil {
		return nil, err
	}
	if err := s.readHello(); err != nil {
		return nil, err
	}
	return s.ask()
}

// preamble reads the dialler's first 8 bytes, and deals with those who send something else.
func (s *shake) preamble() (codec.Preamble, error) {
	if err := s.need(1); err != nil {
		return codec.Preamble{}, err
	}
	if s.in.data()[0] != 'U' && s.hub.cfg.Foreign != nil {
		_ = s.raw.SetDeadline(time.Time{})
		if s.hub.cfg.Foreign(&replayConn{Conn: s.raw, head: s.in.data()}) {
			s.hub.count.turnAway(awayForeign)
			return codec.Preamble{}, errForeign
		}
		_ = s.raw.SetDeadline(time.Now().Add(helloTime))
	}
	for len(s.in.data()) < codec.PreambleSize && strings.HasPrefix("ULTR", string(s.in.data()[:min(4, len(s.in.data()))])) {
		if err := s.need(len(s.in.data()) + 1); err != nil {
			return codec.Preamble{}, err
		}
	}
	data := s.in.data()
	p, err := codec.ParsePreamble(data[:min(len(data), codec.PreambleSize)])
	if err != nil {
		return p, s.junk(data)
	}
	return p, nil
}

// need reads until n bytes are there.
func (s *shake) need(n int) error {
	for len(s.in.data()) < n {
		if m, err := s.in.fill(s.conn); m == 0 {
			return readError(err)
		}
	}
	return nil
}

// readError makes an end of the stream in the midst of something unexpected.
func readError(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

const httpAnswer = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"

// junk answers something that is no preamble.
func (s *shake) junk(data []byte) error {
	for _, method := range []string{"GET ", "HEAD", "POST", "PUT ", "DELE", "OPTI", "PATC", "CONN", "TRAC", "PRI "} {
		if len(data) >= len("GET") && strings.HasPrefix(string(data), method[:min(len(method), len(data))]) {
			s.hub.count.turnAway(awayHTTP)
			text := "This is the relay of an UltraSockets mesh, not a web server.\n"
			_, err := fmt.Fprintf(s.raw, httpAnswer, len(text), text)
			return errors.Join(errAnswered, err)
		}
	}
	return s.turnAway(codec.StatusJunk, awayJunk)
}

// turnAway answers the preamble with a status that ends the handshake.
func (s *shake) turnAway(status codec.Status, why awayReason) error {
	s.hub.count.turnAway(why)
	a := codec.Answer{Version: codec.Version, Status: status, Wait: waitTime}
	_, err := s.raw.Write(a.Append(nil))
	s.hub.logf(slog.LevelDebug, "turned a connection away", "addr", addrString(s.raw), "status", status.String())
	return errors.Join(errAnswered, err)
}

// answer answers the preamble, and starts the secure channel if there is one.
func (s *shake) answer(p codec.Preamble) error {
	secret := len(s.hub.psks) > 0
	switch {
	case p.Version != codec.Version || p.Mode > codec.ModeSecret:
		return s.turnAway(codec.StatusVersion, awayVersion)
	case p.Mode == codec.ModeSecret && !secret:
		return s.turnAway(codec.StatusNoSecret, awaySecret)
	case p.Mode == codec.ModeOpen && secret:
		return s.turnAway(codec.StatusSecret, awaySecret)
	}
	if !s.hub.seat(s) {
		a := codec.Answer{Version: codec.Version, Status: codec.StatusWait, Wait: waitTime}
		_, err := s.raw.Write(a.Append(nil))
		return errors.Join(errAnswered, err)
	}
	// The prologue is what travelled, reserved bytes and all.
	prologue := append([]byte(nil), s.in.data()[:codec.PreambleSize]...)
	s.in.consume(codec.PreambleSize)
	a := codec.Answer{Version: codec.Version, Status: codec.StatusGoOn}
	prologue = a.Append(prologue)
	if _, err := s.raw.Write(prologue[codec.PreambleSize:]); err != nil {
		return err
	}
	if !secret {
		return nil
	}
	sec, used, err := secureServer(s.raw, s.in, s.hub.psks, prologue)
	if err != nil {
		if errors.Is(err, ErrWrongSecret) {
			s.hub.count.turnAway(awayBadSecret) // before the other side knows, as all that is counted
		}
		_, _ = s.raw.Write(emptyRecord)
		return err
	}
	s.conn, s.in, s.old = sec, inbuf{}, used > 0
	return nil
}

// readHello reads the first frame, which must be a Hello. Nothing longer than a Hello is made room for.
func (s *shake) readHello() error {
	for {
		f, rest, err := codec.Next(s.in.data())
		if err != nil {
			return err
		}
		if size := wholeFrame(s.in.data()); size > codec.HeaderSize+codec.MaxHello {
			return s.refuse(&codec.Refusal{Code: codec.RefuseBadHello, Text: fmt.Sprintf("a first frame of %d bytes", size)})
		} else if f == nil {
			s.in.reserve(size)
			if n, err := s.in.fill(s.conn); n == 0 {
				return readError(err)
			}
			continue
		}
		switch {
		case f.Kind() != codec.KindHello || len(f.To()) > 0 || len(f.From()) > 0:
			return s.refuse(&codec.Refusal{Code: codec.RefuseBadHello, Text: "the first frame is no Hello"})
		case !f.Valid():
			return s.refuse(&codec.Refusal{Code: codec.RefuseBadHello, Text: "the checksum of the Hello is wrong"})
		}
		s.hello, err = codec.ParseHello(f.Payload())
		if errors.Is(err, codec.ErrBadName) {
			return s.refuse(&codec.Refusal{Code: codec.RefuseBadName, Text: err.Error()})
		} else if err != nil {
			return s.refuse(&codec.Refusal{Code: codec.RefuseBadHello, Text: err.Error()})
		}
		s.in.consume(len(s.in.data()) - len(rest))
		return nil
	}
}

// refuse answers a Hello with a Refusal.
func (s *shake) refuse(r *codec.Refusal) error {
	s.hub.refused(&s.hello, r)
	_ = s.raw.SetWriteDeadline(time.Now().Add(helloTime))
	f := codec.Frame{Kind: codec.KindRefusal, Payload: r.Append(nil)}
	_, err := s.conn.Write(f.Append(nil))
	return errors.Join(errAnswered, err)
}

// ask has the Hello judged, again after each time it was held.
func (s *shake) ask() (*peer, error) {
	for {
		// Cleared before the link can be found by others, who may set it to stop the reader.
		_ = s.raw.SetDeadline(time.Time{})
		p, refusal, hold := s.hub.admit(s)
		switch {
		case p != nil:
			return p, nil
		case refusal != nil:
			return nil, s.refuse(refusal)
		case hold:
			if err := s.hold(); err != nil {
				return nil, err
			}
		}
	}
}

// hold waits until a vote is to be judged again, or its dialler has gone.
func (s *shake) hold() error {
	for {
		n, err := s.in.fill(s.conn)
		if len(s.in.data()) > codec.MaxHello {
			return fmt.Errorf("%w: frames before Welcome", ErrProtocol)
		}
		if n > 0 {
			continue
		}
		s.hub.mu.Lock()
		s.hub.unvote(s)
		s.hub.mu.Unlock()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return readError(err)
		}
		return nil
	}
}

// wakeUp ends hold. Hub.mu is held, and s is a vote.
func (s *shake) wakeUp() { _ = s.raw.SetReadDeadline(time.Unix(1, 0)) }

var errForeign = errors.New("handed over")

// replayConn gives what was read once more.
type replayConn struct {
	net.Conn
	head []byte
}

// Read implements net.Conn.
func (c *replayConn) Read(b []byte) (int, error) {
	if len(c.head) > 0 {
		n := copy(b, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}
