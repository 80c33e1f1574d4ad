package load

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/pprof"
	"sync"
	"time"
)

// endTime is how long a process may take to end when its input has; then it is killed.
const endTime = 5 * time.Second

// PeerConfig is what the process in between is told first.
type PeerConfig struct {
	Secret  []byte `json:"secret,omitempty"`
	Profile string `json:"profile,omitempty"` // file for its CPU profile
}

// Peer is the process in between, as who has started it sees it. It hears nobody else, and ends with its input, so with
// this process however that ends. Safe for concurrent use.
type Peer struct {
	Addr string // where it listens
	pipe pipe
}

type peerStarted struct {
	Addr  string `json:"addr"`
	Error string `json:"error,omitempty"`
}

type usageRequest struct {
	Settled bool `json:"settled"`
}

// StartPeer starts a process that calls BePeer.
func StartPeer(cmd *exec.Cmd, config PeerConfig) (*Peer, error) {
	p := &Peer{}
	if err := p.pipe.start(cmd); err != nil {
		return nil, err
	}
	var started peerStarted
	err := p.pipe.call(config, &started)
	if err == nil && started.Error != "" {
		err = errors.New(started.Error)
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	p.Addr = started.Addr
	return p, nil
}

// Usage asks the process what it has used.
func (p *Peer) Usage(settled bool) (u Usage, err error) {
	err = p.pipe.call(usageRequest{settled}, &u)
	return u, err
}

// Close ends the process and waits for that.
func (p *Peer) Close() { p.pipe.close() }

// BePeer is the other side of StartPeer: it starts what listens, tells its address on out, and what this process uses as often
// as it is asked on in. It returns when in ends.
func BePeer(in io.Reader, out io.Writer, start func(PeerConfig) (addr string, stop func(), err error)) (err error) {
	d, e := json.NewDecoder(in), json.NewEncoder(out)
	var config PeerConfig
	if err := d.Decode(&config); err != nil {
		return fmt.Errorf("this is for ultra bench to start: %w", err)
	}
	addr, stop, err := start(config)
	if err == nil && config.Profile != "" {
		var end func() error
		if end, err = Profile(config.Profile); err == nil {
			defer func() { err = errors.Join(err, end()) }()
		}
	}
	if err != nil {
		return errors.Join(e.Encode(peerStarted{Error: err.Error()}), err)
	}
	defer stop()
	if err := e.Encode(peerStarted{Addr: addr}); err != nil {
		return err
	}
	for {
		var request usageRequest
		if err := d.Decode(&request); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		if err := e.Encode(Used(request.Settled)); err != nil {
			return err
		}
	}
}

// Profile writes this process's CPU profile to a file until the function is called that it returns.
func Profile(file string) (end func() error, err error) {
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

// pipe is a process that answers each JSON value on its standard input with one on its standard output.
type pipe struct {
	mu  sync.Mutex // held through a call
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

func (p *pipe) start(cmd *exec.Cmd) (err error) {
	p.cmd = cmd
	cmd.Stderr = os.Stderr
	if p.in, err = cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	p.out = json.NewDecoder(bufio.NewReader(out))
	return cmd.Start()
}

func (p *pipe) call(request, answer any) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	text, err := json.Marshal(request)
	if err != nil {
		return err
	}
	if _, err := p.in.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("%s does not listen: %w", p.cmd.Path, err)
	}
	if err := p.out.Decode(answer); err != nil {
		return fmt.Errorf("%s does not answer: %w", p.cmd.Path, err)
	}
	return nil
}

func (p *pipe) close() {
	_ = p.in.Close() // it may have gone already
	kill := time.AfterFunc(endTime, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	_ = p.cmd.Wait() // whatever was wrong has been said by a call, or on standard error
}
