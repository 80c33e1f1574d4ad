package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"

	"ultrasockets/codec"
)

// handshakeTime is the most that a handshake may take after connecting.
const handshakeTime = 5 * time.Second

// Bounds of the wait that a busy relay can ask for.
const (
	minWait = 50 * time.Millisecond
	maxWait = 5 * time.Second
)

// DialConfig is what a dialler brings.
type DialConfig struct {
	// Hello says who dials and what it takes.
	Hello codec.Hello
	// Secret is nil for an open mesh, else 32 bytes.
	Secret []byte
	// OldSecrets are tried one after the other, each on a new connection, when
	// the relay has another secret than Secret: at most MaxOldSecrets. So a mesh
	// can change keys without stopping, in three rounds over its nodes, each of
	// which ends before the next begins: give all Secret old and OldSecrets
	// {new}; then all Secret new and OldSecrets {old}; then all Secret new alone.
	// Until the third round is over, who has the old secret still gets in.
	OldSecrets [][]byte
	// OutboxBytes is what Write takes before it returns false: at least 64 KiB
	// and at most 1 GiB; 0: 1 MiB. Control frames have 64 KiB more.
	OutboxBytes int
	// Dial makes the connection; nil: net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Logger gets what an operator should know; nil: nothing is logged.
	Logger *slog.Logger
	// Clock tells the time since a fixed moment, sleep of the machine included;
	// nil: the system's. For tests.
	Clock func() time.Duration
}

// Dial makes a link to the relay at addr ("host:port"). While the relay is
// busy it waits and tries again, until ctx ends. A candidate that is not the
// relay may take 3 s to answer. After connecting, the handshake takes at most 5 s.
//
// Errors: *codec.Refusal (errors.As); ErrVersion, ErrSecretNeeded,
// ErrNoSecret, ErrWrongSecret, ErrBadSecret, ErrNotARelay, ErrProtocol
// (errors.Is); an error that wraps codec.ErrBody if the Hello cannot be sent;
// ctx's error; else the network's.
func Dial(ctx context.Context, addr string, cfg DialConfig) (*Link, error) {
	l, err := dial(ctx, addr, &cfg)
	if err != nil {
		return nil, fmt.Errorf("relay: dial %s: %w", addr, err)
	}
	return l, nil
}

func dial(ctx context.Context, addr string, cfg *DialConfig) (*Link, error) {
	keys, err := linkKeys(cfg.Secret, cfg.OldSecrets)
	if err != nil {
		return nil, err
	}
	if err := cfg.Hello.Check(); err != nil {
		return nil, err
	}
	connect := cfg.Dial
	if connect == nil {
		connect = new(net.Dialer).DialContext
	}
	for {
		conn, err := connect(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		g := greeting{cfg: cfg, raw: conn, conn: conn}
		if len(keys) > 0 {
			g.psk = keys[0]
		}
		welcome, err := g.within(ctx)
		if err == nil {
			return newLink(g.conn, g.in, welcome, cfg), nil
		}
		conn.Close()
		if errors.Is(err, ErrWrongSecret) && len(keys) > 1 {
			keys = keys[1:]
			continue
		}
		var busy *busyError
		if !errors.As(err, &busy) {
			return nil, err
		}
		if err := pause(ctx, busy.wait); err != nil {
			return nil, err
		}
	}
}

// busyError is a relay's word to come again.
type busyError struct{ wait time.Duration }

func (e *busyError) Error() string { return "the relay is busy" }

// pause waits about d, more or less, so that not all come back at once.
func pause(ctx context.Context, d time.Duration) error {
	d = min(max(d, minWait), maxWait)
	timer := time.NewTimer(d + rand.N(d/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// greeting is the dialler's side of one handshake.
type greeting struct {
	cfg  *DialConfig
	psk  []byte
	raw  net.Conn
	conn net.Conn // raw, or the secure channel over it
	in   inbuf    // over conn
}

// within runs the handshake under its deadline and ctx.
func (g *greeting) within(ctx context.Context) (codec.Welcome, error) {
	_ = g.raw.SetDeadline(time.Now().Add(handshakeTime))
	cut := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = g.raw.SetDeadline(time.Unix(1, 0))
		close(cut)
	})
	welcome, err := g.run()
	if !stop() {
		<-cut
		if err == nil || errors.Is(err, errTimeout) {
			err = context.Cause(ctx)
		}
	}
	if err != nil {
		return welcome, err
	}
	return welcome, g.raw.SetDeadline(time.Time{})
}

func (g *greeting) run() (codec.Welcome, error) {
	mode := codec.ModeOpen
	if g.psk != nil {
		mode = codec.ModeSecret
	}
	preamble := codec.Preamble{Version: codec.Version, Mode: mode}
	out := preamble.Append(nil)
	hello := codec.Frame{Kind: codec.KindHello, Payload: g.cfg.Hello.Append(nil)}
	if mode == codec.ModeOpen {
		out = hello.Append(out) // one round trip less
	}
	if _, err := g.raw.Write(out); err != nil {
		return codec.Welcome{}, err
	}
	answer, err := g.answer()
	if err != nil {
		return codec.Welcome{}, err
	}
	if mode == codec.ModeSecret {
		sec, err := secureClient(g.raw, g.in, g.psk, append(out, answer...))
		if err != nil {
			return codec.Welcome{}, err
		}
		g.conn, g.in = sec, inbuf{}
		if _, err := sec.Write(hello.Append(nil)); err != nil {
			return codec.Welcome{}, err
		}
	}
	return g.verdict()
}

// answer reads the other side's 8 bytes, and makes an error of all but "go on".
func (g *greeting) answer() ([]byte, error) {
	for len(g.in.data()) < codec.PreambleSize {
		if n, err := g.in.fill(g.raw); n == 0 {
			if len(g.in.data()) > 0 && !errors.Is(err, errTimeout) {
				return nil, ErrNotARelay
			}
			return nil, readError(err)
		}
	}
	raw := append([]byte(nil), g.in.data()[:codec.PreambleSize]...)
	g.in.consume(codec.PreambleSize)
	a, err := codec.ParseAnswer(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotARelay, err)
	}
	switch a.Status {
	case codec.StatusGoOn:
		if a.Version != codec.Version {
			return nil, ErrVersion
		}
		return raw, nil
	case codec.StatusWait:
		return nil, &busyError{a.Wait}
	case codec.StatusVersion:
		return nil, fmt.Errorf("%w: it speaks %d, this is %d", ErrVersion, a.Version, codec.Version)
	case codec.StatusNoSecret:
		return nil, ErrNoSecret
	case codec.StatusSecret:
		return nil, ErrSecretNeeded
	}
	return nil, fmt.Errorf("%w: status %v", ErrNotARelay, a.Status)
}

// verdict reads Welcome or Refusal.
func (g *greeting) verdict() (codec.Welcome, error) {
	for {
		f, _, err := codec.Next(g.in.data())
		if err != nil {
			return codec.Welcome{}, fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		if f == nil {
			g.in.reserve(wholeFrame(g.in.data()))
			if n, err := g.in.fill(g.conn); n == 0 {
				return codec.Welcome{}, readError(err)
			}
			continue
		}
		g.in.consume(len(f))
		if !f.Valid() {
			return codec.Welcome{}, fmt.Errorf("%w: a bad checksum", ErrProtocol)
		}
		switch f.Kind() {
		case codec.KindWelcome:
			w, err := codec.ParseWelcome(f.Payload())
			if err != nil {
				return w, fmt.Errorf("%w: %w", ErrProtocol, err)
			}
			return w, nil
		case codec.KindRefusal:
			r, err := codec.ParseRefusal(f.Payload())
			if err != nil {
				return codec.Welcome{}, fmt.Errorf("%w: %w", ErrProtocol, err)
			}
			return codec.Welcome{}, &r
		}
		return codec.Welcome{}, fmt.Errorf("%w: %v instead of Welcome", ErrProtocol, f.Kind())
	}
}
