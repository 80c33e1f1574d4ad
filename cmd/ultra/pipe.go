package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"ultrasockets/mesh"
)

// pipe is a node between standard input and standard output: lines in are messages out, and the other way round.
//
// run owns it. Beside it three goroutines run: one prints arrivals and one tells events until the node has ended, and
// run waits for both; one reads lines, and ends with the process, for nothing can wake it from a terminal.
type pipe struct {
	node     *mesh.Node
	in       io.Reader
	out      io.Writer
	errs     io.Writer // whole lines from any goroutine
	json     bool
	stay     bool
	events   bool          // tell what happens to the mesh
	terminal bool          // a person types
	grace    time.Duration // how long an interrupt waits for what is not acknowledged
	notices  *notices

	lines int
	bad   bool // a line was bad
}

func (p *pipe) run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	n := &narrator{node: p.node, w: p.errs, events: p.events, json: p.json, prompt: p.terminal && !p.json}
	p.notices.listen(n.problem)
	events := p.node.Events(context.Background()) // before anything is sent, so that nothing is missed
	n.here()
	told := make(chan struct{})
	go func() {
		defer close(told)
		n.run(events)
	}()
	printed := make(chan error, 1)
	go func() {
		err := p.print()
		stop(err)
		printed <- err
	}()
	err := p.send(ctx)
	if err == nil && p.lines == 0 && !p.stay && ctx.Err() == nil && !p.terminal {
		fmt.Fprintf(p.errs, "note: the input was empty, so %s leaves; --stay remains\n", p.node.Name())
	}
	if p.stay && err == nil {
		select {
		case <-ctx.Done():
		case <-p.node.Done():
		}
	}
	n.leaving.Store(true)
	left := p.leave(ctx)
	printErr := <-printed
	<-told
	switch {
	case err != nil:
		return err
	case printErr != nil:
		return printErr
	case left != nil:
		return left
	case p.bad || n.failed:
		return errTold
	}
	return nil
}

// send sends line after line until the input, the node or ctx ends.
func (p *pipe) send(ctx context.Context) error {
	lines := make(chan line, 64)
	read := make(chan error, 1)
	go func() {
		defer close(lines)
		read <- readLines(p.in, maxLine, func(l line) bool {
			select {
			case lines <- l:
				return true
			case <-ctx.Done():
				return false
			}
		})
	}()
	for {
		select {
		case l, ok := <-lines:
			if !ok {
				if err := <-read; err != nil {
					return fmt.Errorf("standard input: %w", err)
				}
				return nil
			}
			if err := p.sendLine(ctx, l); err != nil && ctx.Err() == nil {
				p.bad = true
				fmt.Fprintf(p.errs, "ultra: line %d: %s\n", l.number, oneLine(err))
			}
		case <-ctx.Done():
			return nil
		case <-p.node.Done():
			return nil
		}
	}
}

func (p *pipe) sendLine(ctx context.Context, l line) error {
	p.lines++
	if l.err != nil {
		return l.err
	}
	if strings.TrimSpace(l.text) == "" {
		return nil
	}
	parse := parseText
	if p.json {
		parse = parseJSON
	}
	o, err := parse(l.text)
	if err != nil {
		return err
	}
	if group, ok := strings.CutPrefix(o.to, mesh.ToAll); ok && len(membersOf(p.node, group)) == 0 {
		return nobodyIn(group, p.node)
	}
	return p.node.Send(ctx, o.to, o.value)
}

// membersOf are the names of the other nodes in a group; "" is all.
func membersOf(node *mesh.Node, group string) []string {
	var names []string
	for _, peer := range node.Peers() {
		if !peer.Self && (group == "" || slices.Contains(peer.Groups, group)) {
			names = append(names, peer.Name)
		}
	}
	return names
}

func nobodyIn(group string, node *mesh.Node) error {
	if group == "" {
		return fmt.Errorf("nobody else is in mesh %q", node.Mesh())
	}
	return fmt.Errorf("nobody else is in group %q of mesh %q; here: %s", group, node.Mesh(), here(node))
}

// here lists who is here, for people.
func here(node *mesh.Node) string {
	var names []string
	for _, peer := range node.Peers() {
		names = append(names, peer.Name)
	}
	if len(names) == 0 {
		return "nobody"
	}
	return strings.Join(names, ", ")
}

// print writes arrivals until the node has ended and nothing is left. Output leaves when nothing more waits.
func (p *pipe) print() error {
	out := bufio.NewWriterSize(p.out, 64<<10)
	appendArrival := appendArrivalText
	if p.json {
		appendArrival = appendArrivalJSON
	}
	waiting := context.Background()
	polling, cancel := context.WithCancel(waiting)
	cancel()
	for {
		m, err := p.node.Receive(polling)
		if errors.Is(err, context.Canceled) {
			if err := out.Flush(); err != nil {
				return fmt.Errorf("standard output: %w", err)
			}
			m, err = p.node.Receive(waiting)
		}
		if err != nil {
			if err := out.Flush(); err != nil {
				return fmt.Errorf("standard output: %w", err)
			}
			return nil
		}
		if _, err := out.Write(appendArrival(nil, m)); err != nil {
			return fmt.Errorf("standard output: %w", err)
		}
	}
}

// leave leaves the mesh in good order: once all is acknowledged or given up; after an interrupt within grace. What is not
// delivered the narrator tells, so what Shutdown says of it is not said again.
func (p *pipe) leave(ctx context.Context) error {
	if err := p.node.Err(); err != nil && !errors.Is(err, mesh.ErrClosed) {
		return err
	}
	bounded, cancel := context.WithCancel(context.Background())
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		if p.grace == 0 {
			return // without end
		}
		timer := time.AfterFunc(p.grace, cancel)
		context.AfterFunc(bounded, func() { timer.Stop() })
	})
	defer stop()
	note := time.AfterFunc(time.Second, func() {
		sooner := "an interrupt leaves sooner"
		if ctx.Err() != nil {
			sooner = "another interrupt leaves at once"
			if p.grace > 0 {
				sooner = fmt.Sprintf("at most %v (--timeout); %s", p.grace, sooner)
			}
		}
		fmt.Fprintf(p.errs, "note: waiting until what was sent has arrived or is given up; %s\n", sooner)
	})
	defer note.Stop()
	_ = p.node.Shutdown(bounded)
	return nil
}
