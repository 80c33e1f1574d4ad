package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ultrasockets/mesh"
)

const nodesHelp = `List who is in the mesh: name, role, state, address, round trip, tags and groups; the relay is marked with
a star. --watch goes on and lists again when something changes, until interrupted. With --json:
{"mesh","relay","nodes":[{"name","role","state","addr","rtt_ms","tags","groups"}]}; rtt_ms is null of a node
that does not answer a ping.`

const (
	pingTime  = time.Second            // a round trip is not waited for longer
	watchRest = 200 * time.Millisecond // changes that come together are shown together
	clear     = "\x1b[H\x1b[2J"        // a terminal's screen
)

func newNodes() *cobra.Command {
	f := &meshFlags{}
	var watch bool
	cmd := &cobra.Command{
		Use:     "nodes",
		Short:   "List who is in the mesh",
		Long:    nodesHelp,
		Example: "  ultra nodes\n  ultra nodes --json | jq -r .relay\n  ultra nodes --watch",
		Args:    atMost(0, ""),
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolVar(&watch, "watch", false, "list again at every change")
	f.addTo(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		within, cancel := f.within(cmd.Context())
		defer cancel()
		node, err := f.visit(within)
		if err != nil {
			return err
		}
		defer node.Close()
		show := func(ctx context.Context, clear bool) error {
			l := listing(ctx, node)
			if cmd.Context().Err() != nil {
				return nil
			}
			return l.print(cmd.OutOrStdout(), f.json, clear)
		}
		if watch {
			return watchNodes(cmd.Context(), node, func(ctx context.Context) error {
				return show(ctx, !f.json && term.IsTerminal(int(os.Stdout.Fd())))
			})
		}
		if err := show(within, false); err != nil {
			return err
		}
		if cmd.Context().Err() != nil {
			return errInterrupted
		}
		return nil
	}
	return cmd
}

// watchNodes shows again whenever something happens, until ctx or the node ends.
func watchNodes(ctx context.Context, node *mesh.Node, show func(context.Context) error) error {
	happened := make(chan struct{}, 1)
	listening := node.Events(ctx)
	go func() { // ends with ctx or the node
		for range listening {
			select {
			case happened <- struct{}{}:
			default:
			}
		}
	}()
	for {
		if err := show(ctx); err != nil {
			return err
		}
		select {
		case <-happened:
		case <-ctx.Done():
			return nil
		case <-node.Done():
			return fmt.Errorf("the mesh has put this visitor out: %w", node.Err())
		}
		select {
		case <-time.After(watchRest):
		case <-ctx.Done():
			return nil
		}
		select { // what came in the rest is shown by the next listing
		case <-happened:
		default:
		}
	}
}

type nodeList struct {
	Mesh  string      `json:"mesh"`
	Relay string      `json:"relay"`
	Nodes []nodeEntry `json:"nodes"`
}

type nodeEntry struct {
	Name   string            `json:"name"`
	Role   string            `json:"role"`
	State  string            `json:"state"`
	Addr   string            `json:"addr"`
	RTT    *float64          `json:"rtt_ms"`
	Tags   map[string]string `json:"tags"`
	Groups []string          `json:"groups"`
}

// listing lists the mesh, after a ping to everybody.
func listing(ctx context.Context, node *mesh.Node) nodeList {
	l := nodeList{Mesh: node.Mesh(), Relay: node.Relay(), Nodes: []nodeEntry{}}
	peers := node.Peers()
	rtts := pingAll(ctx, node, peers)
	for i, p := range peers {
		e := nodeEntry{Name: p.Name, Role: p.Role.String(), State: p.State.String(), Addr: p.Addr, RTT: rtts[i], Tags: p.Tags, Groups: p.Groups}
		if e.Tags == nil {
			e.Tags = map[string]string{}
		}
		if e.Groups == nil {
			e.Groups = []string{}
		}
		l.Nodes = append(l.Nodes, e)
	}
	return l
}

// pingAll gives the round trip in milliseconds to each peer, nil of those that do not answer.
func pingAll(ctx context.Context, node *mesh.Node, peers []mesh.Peer) []*float64 {
	ctx, cancel := context.WithTimeout(ctx, pingTime)
	defer cancel()
	rtts := make([]*float64, len(peers))
	var pings sync.WaitGroup
	for i, p := range peers {
		pings.Go(func() {
			if rtt, err := node.Ping(ctx, p.Name); err == nil {
				ms := milliseconds(rtt)
				rtts[i] = &ms
			}
		})
	}
	pings.Wait()
	return rtts
}

// milliseconds gives them to the microsecond.
func milliseconds(d time.Duration) float64 { return math.Round(float64(d)/1e3) / 1e3 }

func (l nodeList) print(out io.Writer, json, clearScreen bool) error {
	if json {
		_, err := fmt.Fprintf(out, "%s\n", jsonLine(l))
		return err
	}
	var b strings.Builder
	if clearScreen {
		b.WriteString(clear)
	}
	nodes := fmt.Sprintf("%d nodes", len(l.Nodes))
	if len(l.Nodes) == 1 {
		nodes = "1 node"
	}
	relay := l.Relay
	if relay == "" {
		relay = "none at the moment"
	}
	fmt.Fprintf(&b, "mesh %q, relay %s, %s\n", l.Mesh, relay, nodes)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  NAME\tROLE\tSTATE\tADDRESS\tROUND TRIP\tTAGS\tGROUPS")
	for _, e := range l.Nodes {
		mark, rtt := " ", "-"
		if e.Name == l.Relay {
			mark = "*"
		}
		if e.RTT != nil {
			rtt = fmt.Sprintf("%.2f ms", *e.RTT)
		}
		fmt.Fprintf(w, "%s %s\t%s\t%s\t%s\t%s\t%s\t%s\n", mark, e.Name, e.Role, e.State, e.Addr, rtt, tagsText(e.Tags), textOr(strings.Join(e.Groups, " ")))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(out, b.String())
	if err != nil {
		return errors.Join(errors.New("standard output"), err)
	}
	return nil
}

func tagsText(tags map[string]string) string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		all = append(all, key+"="+tags[key])
	}
	return textOr(string(appendEscaped(nil, strings.Join(all, " "))))
}

func textOr(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
