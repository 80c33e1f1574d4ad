package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ultrasockets/mesh/doctor"
)

const doctorHelp = `Find out why nodes do not see each other. Examined are

  - the network interfaces and their addresses, VPNs and containers among them, and the route for multicast;
  - UDP port 5353: whether it can be shared, and which programs have it open;
  - multicast DNS on each interface: whether a question can be sent, whether it is heard on this machine, who answers;
  - every node that is heard, given with --seed, named by another, or listed by the relay: whether a link comes about, whether
    version, mesh and secret agree, and whether its gossip answers by UDP and by TCP;
  - whether there is one relay, and whether the nodes agree on it;
  - whether the time of day jumps. Nodes need not agree on the time, and nothing tells that of another.

What is wrong is told in one sentence each, with the mend; the exit code is then 1. When all is well there is a short list
of what was found, and the exit code is 0. An answer has passed both ways, so what answers is seen from both sides; where
nobody answers, run ultra doctor on the other machine, too.

Say what the nodes are told: --mesh, --bind, --secret-file. With --hostname only the link to that address is examined. The
examination is a visit: nobody lists it, it takes no part in gossip, and whoever is in the mesh does not notice it. It makes no
difference whether a node runs on this machine; if all of them do, and others are not expected, say --bind 127.0.0.1.

The codes, one before each sentence:

  no-interface, no-lan, bind            this machine has no network, no local one, or not that address
  no-multicast, multicast-route         an interface, or the routes, do not take multicast
  mdns-port, mdns-send, mdns-deaf       UDP port 5353 is held, or blocked going out, or coming in
  overlap, route                        a VPN or containers take the LAN's addresses, or packets the wrong way
  isolation, unreachable, tcp, udp      what passes to a node: nothing, nothing, only UDP, only TCP
  secret, mesh-name, version            the nodes were told different things, or are of different releases
  stranger, silent, not-admitted        something else answers; nothing does; the mesh's own rule refused
  gossip, no-relay, two-relays          links work and gossip does not; nobody relays; the mesh is in parts
  loopback-node                         a node of this machine was bound to loopback
  seed                                  a seed or hostname has no address
  nobody                                no node answers, and nothing here explains it
  clock, unfinished                     the time of day jumps; the examination needs more time

With --json: {"findings":[{"code","sentence","mend"}],"facts":{…}}; the codes and the facts are those of the package
ultrasockets/mesh/doctor. --timeout bounds the examination; it takes about two seconds when all is well.`

const doctorExamples = `  ultra doctor
  ultra doctor --mesh lab --secret-file lab.key
  ultra doctor --seed 192.168.1.5:7000        also examine that node
  ultra doctor --hostname 192.168.1.5:7000    only the link to that one
  ultra doctor --bind 127.0.0.1               all nodes are on this machine
  ultra doctor --json | jq -r '.findings[].code'`

const doctorTime = 10 * time.Second

func newDoctor() *cobra.Command {
	f := &meshFlags{}
	cmd := &cobra.Command{
		Use:     "doctor",
		Short:   "Find out why nodes do not see each other",
		Long:    doctorHelp,
		Example: doctorExamples,
		Args:    atMost(0, ""),
	}
	cmd.Flags().SortFlags = false
	f.addTo(cmd)
	timeout := cmd.Flags().Lookup("timeout")
	timeout.DefValue, timeout.Usage = doctorTime.String(), "bound of the examination, at least 2s"
	f.timeout = doctorTime
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		report, err := f.examine(cmd.Context())
		if err != nil {
			return err
		}
		if err := f.printReport(cmd.OutOrStdout(), report); err != nil {
			return err
		}
		if len(report.Findings) > 0 {
			return errTold
		}
		return nil
	}
	return cmd
}

func (f *meshFlags) examine(ctx context.Context) (*doctor.Report, error) {
	cfg, err := f.config(visitorName())
	if err != nil {
		return nil, err
	}
	if f.hostname != "" {
		if err := f.unused("with --hostname only the link to it is examined", "seed", "no-mdns"); err != nil {
			return nil, err
		}
	}
	if f.timeout < doctor.MinWithin {
		return nil, usageError{fmt.Errorf("--timeout is %v; an examination needs at least %v", f.timeout, doctor.MinWithin)}
	}
	report, err := doctor.Examine(ctx, doctor.Config{
		Mesh: cfg.Mesh, Bind: cfg.Bind, Seeds: cfg.Seeds, Hostname: f.hostname, Secret: cfg.Secret, NoMDNS: cfg.NoMDNS,
		Within: f.timeout, Logger: cfg.Logger,
	})
	if errors.Is(err, context.Canceled) {
		return nil, errInterrupted
	}
	return report, classify(err)
}

func (f *meshFlags) printReport(w io.Writer, r *doctor.Report) error {
	var err error
	switch {
	case f.json:
		_, err = fmt.Fprintf(w, "%s\n", jsonLine(r))
	case len(r.Findings) > 0:
		_, err = io.WriteString(w, findingsText(r))
	default:
		_, err = io.WriteString(w, wellText(&r.Facts))
	}
	if err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	return nil
}

// findingsText tells what is wrong.
func findingsText(r *doctor.Report) string {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s: %s\n    %s\n", f.Code, printable(f.Sentence), printable(f.Mend))
	}
	return b.String()
}

// printable keeps what strangers said from doing anything to a terminal.
func printable(text string) string { return string(appendEscaped(nil, text)) }

const mostLines = 20 // of nodes

// wellText lists what was found when nothing is wrong.
func wellText(f *doctor.Facts) string {
	var b strings.Builder
	fmt.Fprintf(&b, "all is well: mesh %q, relay %s, %s\n", f.Mesh, textOr(f.Relay), count(f.ListedAll, "node"))
	for _, i := range f.Interfaces {
		if i.Used && f.Hostname == "" {
			fmt.Fprintf(&b, "  %s\t%s: %s\n", i.Name, strings.Join(i.Addrs, " "), interfaceText(f, i))
		}
	}
	others := 0
	for i, n := range f.Nodes {
		switch {
		case !n.Ours:
			others++
		case i < mostLines:
			fmt.Fprintf(&b, "  %s\n", nodeText(n))
		case i == mostLines:
			b.WriteString("  …; --json shows more\n")
		}
	}
	if others > 0 {
		fmt.Fprintf(&b, "  %s of other meshes beside it\n", count(others, "node"))
	}
	return b.String()
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// interfaceText says how mDNS is on an interface.
func interfaceText(f *doctor.Facts, i doctor.Interface) string {
	kind := map[string]string{"vpn": "VPN, ", "container": "containers, "}[i.Kind]
	if f.NoMDNS {
		return kind + "not asked by multicast"
	}
	sent, heard := false, false
	for _, c := range f.MDNS {
		if c.Interface == i.Name {
			sent = sent || c.SendError == ""
			heard = heard || c.Echo
		}
	}
	switch {
	case sent && heard:
		return kind + "multicast DNS sent and heard"
	case sent:
		return kind + "multicast DNS sent, not heard"
	}
	return kind + "no multicast"
}

// nodeText says how a node was found.
func nodeText(n doctor.Node) string {
	name := n.Name
	if name == "" {
		name = "node"
	}
	parts := []string{string(n.Link.State)}
	switch n.Link.State {
	case doctor.LinkWelcome:
		parts[0] = fmt.Sprintf("the relay, link in %.1f ms", n.Link.MS)
	case doctor.LinkReferred:
		parts[0] = "follows " + textOr(n.Link.Relay)
	case doctor.LinkSeeking:
		parts[0] = "looks for a relay"
	}
	var gossip []string
	if n.GossipUDP.State == doctor.ProbeOK {
		gossip = append(gossip, "UDP")
	}
	if n.GossipTCP.State == doctor.ProbeOK {
		gossip = append(gossip, "TCP")
	}
	if len(gossip) > 0 {
		parts = append(parts, "gossip by "+strings.Join(gossip, " and "))
	}
	if n.Here {
		parts = append(parts, "on this machine")
	}
	return printable(fmt.Sprintf("%s %s: %s", name, n.Link.Addr, strings.Join(parts, ", ")))
}
