package page

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"ultrasockets/mesh"
)

const (
	defaultInterval = time.Second
	minInterval     = 10 * time.Millisecond
	maxConns        = 256
	headerTimeout   = 5 * time.Second
	idleTimeout     = time.Minute
	answerTimeout   = 10 * time.Second // for one answer, and for one server-sent event
	closeTimeout    = time.Second      // answers under way at Close may take so long
	maxHeader       = 16 << 10
)

// Options change how a page is served. The zero value is good.
type Options struct {
	// Token that every request must show. Empty: none on a loopback address, on any other a random one, which URL has.
	// 16 characters or more.
	Token string
	// Hosts are names under which a browser may ask for the page, beside IP addresses, "localhost", the host's own name
	// and the host of the address listened on.
	Hosts []string
	// Interval between two samples. Default 1 s, at least 10 ms.
	Interval time.Duration
	// Logger gets what an operator should know. nil discards.
	Logger *slog.Logger
}

// Page serves what a node knows. It is safe for concurrent use.
type Page struct {
	// static
	node    *mesh.Node
	opt     Options
	hosts   map[string]bool
	cookie  string // name of the cookie that holds the token
	url     string
	server  *http.Server
	book    *book
	watch   *audience
	sending chan struct{} // cap: messages under way
	soon    chan struct{} // cap 1: something changed, take a sample
	looked  chan struct{} // cap 1: somebody came to look, measure round trips
	ctx     context.Context
	cancel  context.CancelFunc
	done    chan struct{}  // closed when everything has ended
	tasks   sync.WaitGroup // the goroutines of the page

	// guarded by mu
	mu      sync.Mutex
	ending  bool
	answers sync.WaitGroup // requests under way; added to under mu
}

// Listen shows node at the address "host:port"; port 0 is a free one, and no host is 127.0.0.1: to be reached from elsewhere
// is to be asked for, by "0.0.0.0:8017" or one address. It serves until Close, or until the node has ended.
func Listen(node *mesh.Node, addr string, opt Options) (*Page, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("page: %w: %q is not \"host:port\", such as 127.0.0.1:8017: %w", mesh.ErrBadConfig, addr, err)
	}
	if opt.Token != "" && len(opt.Token) < minToken {
		return nil, fmt.Errorf("page: %w: the token has %d characters; it needs %d or more", mesh.ErrBadConfig, len(opt.Token), minToken)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	bound := l.Addr().(*net.TCPAddr)
	if opt.Token == "" && !bound.IP.IsLoopback() {
		opt.Token = rand.Text()
	}
	if opt.Interval <= 0 {
		opt.Interval = defaultInterval
	}
	opt.Interval = max(opt.Interval, minInterval)
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Page{
		node: node, opt: opt, cookie: fmt.Sprintf("ultra-%d", bound.Port), url: urlOf(host, bound, opt.Token),
		book: newBook(opt.Interval / 2), watch: newAudience(), sending: make(chan struct{}, maxSending), soon: make(chan struct{}, 1),
		looked: make(chan struct{}, 1), done: make(chan struct{}), hosts: hostsOf(host, opt.Hosts),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.server = &http.Server{
		Handler: p.guard(p.routes()), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return p.ctx },
		ErrorLog:    slog.NewLogLogger(opt.Logger.Handler(), slog.LevelDebug),
	}
	p.start(netutil.LimitListener(l, maxConns))
	return p, nil
}

// start starts the goroutines of the page; run ends them, and Close waits for run.
func (p *Page) start(l net.Listener) {
	events := p.node.Events(p.ctx) // before the first sample, so that nothing is missed
	p.book.begin(p.node, p.now())
	p.sample(false)
	p.tasks.Go(func() {
		for e := range events {
			p.event(e)
		}
	})
	p.tasks.Go(p.samples)
	p.tasks.Go(p.pings)
	p.tasks.Go(func() {
		if err := p.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			p.opt.Logger.Error("the page is served no more", "node", p.node.Name(), "err", err)
		}
	})
	go p.run() // closes done, for which Close waits
}

// run waits for the end of the node or for Close, and ends everything.
func (p *Page) run() {
	select {
	case <-p.node.Done():
	case <-p.ctx.Done():
	}
	p.mu.Lock()
	p.ending = true
	p.mu.Unlock()
	p.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if p.server.Shutdown(ctx) != nil {
		p.server.Close() // what did not end in time
	}
	p.answers.Wait()
	p.tasks.Wait()
	close(p.done)
}

// URL is where a browser finds the page, the token included if one is needed.
func (p *Page) URL() string { return p.url }

// Close ends the page, and waits until everything it started has ended. Closing again does nothing.
func (p *Page) Close() error {
	p.cancel()
	<-p.done
	return nil
}

// answer counts a request that is under way; false: the page is ending.
func (p *Page) answer() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ending {
		return false
	}
	p.answers.Add(1)
	return true
}

// notify leaves word in a channel of capacity 1.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (p *Page) now() time.Time { return time.Now() }

// urlOf is the page's address for a browser on this machine or, if everybody is served, for one elsewhere.
func urlOf(host string, bound *net.TCPAddr, token string) string {
	if bound.IP.IsUnspecified() {
		host = outwardAddr(bound.IP.To4() == nil)
	}
	u := url.URL{Scheme: "http", Host: net.JoinHostPort(host, fmt.Sprint(bound.Port)), Path: "/"}
	if token != "" {
		u.RawQuery = url.Values{"token": {token}}.Encode()
	}
	return u.String()
}

// outwardAddr is an address of this machine that others reach, if it has one.
func outwardAddr(v6 bool) string {
	addrs, _ := net.InterfaceAddrs() // none: loopback remains
	for _, a := range addrs {
		ip, ok := a.(*net.IPNet)
		if ok && !ip.IP.IsLoopback() && !ip.IP.IsLinkLocalUnicast() && (v6 || ip.IP.To4() != nil) {
			return ip.IP.String()
		}
	}
	return "127.0.0.1"
}

// hostsOf are the names by which this machine may be asked for.
func hostsOf(host string, more []string) map[string]bool {
	hosts := map[string]bool{"localhost": true, canonicalHost(host): true}
	if own, err := os.Hostname(); err == nil {
		hosts[canonicalHost(own)], hosts[canonicalHost(own)+".local"] = true, true
	}
	for _, h := range more {
		hosts[canonicalHost(h)] = true
	}
	return hosts
}
