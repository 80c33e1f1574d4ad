package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"ultrasockets/mesh"
)

const watchHelp = `Print what happens to the mesh as it happens, until interrupted: who joins and leaves, and why, who pauses and
resumes, whose tags and groups change, which node becomes the relay and when it is lost. It watches as a visitor, whom
nobody lists. What a node could not deliver that node itself tells (ultra join --events).

With --json one object a line: {"time","event","name",…}. The first is "here", with "mesh", "relay" and "nodes", the
names of those that are here already. Then "joined" and "changed" (with "addr", "tags" and "groups"), "left" (with
"reason": bye, lost or replaced), "paused", "resumed", "linked" (name is the relay now), "unlinked" (it is lost), "gap",
"undelivered", "lagged" (count events were missed: this reader is too slow) and "problem" (with "reason": what
discovery cannot do on this machine).`

const watchExamples = `  ultra watch
  ultra watch --json | jq -r 'select(.event == "left") | .name + " " + .reason'
  ultra watch | tee -a mesh.log`

func newWatch() *cobra.Command {
	f := &meshFlags{}
	cmd := &cobra.Command{
		Use:     "watch",
		Short:   "Print what happens to the mesh",
		Long:    watchHelp,
		Example: watchExamples,
		Args:    atMost(0, ""),
	}
	cmd.Flags().SortFlags = false
	f.addToLong(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		within, cancel := f.within(cmd.Context())
		defer cancel()
		node, err := f.visit(within)
		if err != nil {
			return err
		}
		defer node.Close()
		w := &watcher{node: node, out: &syncWriter{w: cmd.OutOrStdout()}, json: f.json}
		return w.run(cmd.Context(), f.notices)
	}
	return cmd
}

// watcher prints events as they come.
type watcher struct {
	node *mesh.Node
	out  io.Writer // whole lines from any goroutine
	json bool
}

// run prints until ctx or the node ends, or nobody reads any more.
func (w *watcher) run(ctx context.Context, problems *notices) error {
	events := w.node.Events(ctx)
	here, known := taleOfHere(w.node)
	if err := w.print(time.Now(), here); err != nil {
		return err
	}
	problems.listen(func(text string) {
		_ = w.print(time.Now(), tale{Event: taleProblem, Reason: text}) // the next event finds out, too
	})
	if err := w.follow(events, known); err != nil || ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("the mesh has put this visitor out: %w", w.node.Err())
}

func (w *watcher) follow(events iter.Seq[mesh.Event], known map[string]bool) error {
	for e := range events {
		if e.Kind == mesh.EventJoined && known[e.Name] {
			delete(known, e.Name)
			continue
		}
		delete(known, e.Name)
		t := taleOf(e)
		if e.Kind == mesh.EventJoined || e.Kind == mesh.EventChanged {
			t = t.withPeer(w.node)
		}
		if err := w.print(e.Time, t); err != nil {
			return err
		}
	}
	return nil
}

func (w *watcher) print(at time.Time, t tale) error {
	if w.json {
		_, err := fmt.Fprintf(w.out, "%s\n", jsonLine(struct {
			Time time.Time `json:"time"`
			tale
		}{at, t}))
		return outputError(err)
	}
	text := t.sentence()
	if text == "" {
		return nil
	}
	_, err := fmt.Fprintf(w.out, "%s  %s\n", at.Format(time.DateTime), text)
	return outputError(err)
}

func outputError(err error) error {
	if err == nil {
		return nil
	}
	return errors.Join(errors.New("standard output"), err)
}
