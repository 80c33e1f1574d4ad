package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ultrasockets/codec"
	"ultrasockets/mesh"
)

// pipeFlags are what join, serve and dial have in common.
type pipeFlags struct {
	meshFlags
	page      pageFlags
	name      string
	tags      []string
	groups    []string
	stay      bool
	events    bool
	retention time.Duration
	share     shareFlags
}

const pipeHelp = `
Input, one message a line:
  NAME message      to the node NAME, which may come later and may be this one
  @GROUP message    to all others in GROUP; "@ message" to all others
The message is everything after the first space, and may be empty; the space may not. Empty lines mean
nothing. A bad line is named on standard error and the others are sent; the exit code is then 1.
With --json a line is an object {"to":"b","value":…}: any JSON value, integers as integers; or
{"to":"b","bytes":"…"} with base64 for bytes.

Output, one message a line: FROM<tab>SERIAL<tab>message. In text a tab is \t, a line feed \n, a carriage
return \r, a backslash \\ and another control character \u00XX; what is not text is JSON, bytes a JSON
string of base64. With --json: {"from","serial","time","to","value"}, or "bytes" (base64) for "value".

The end of the input leaves the mesh once all that was sent is acknowledged, or after --retention was
given up and said so (exit code 1); messages for this node that come later are not waited for. With
--stay the node remains. SIGINT and SIGTERM leave in good order, within --timeout; a second one at once (130).`

func (f *pipeFlags) addTo(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.name, "name", "", "name of this node in the mesh (default the host's name)")
	flags.StringArrayVar(&f.tags, "tag", nil, "KEY=VALUE to show to all others (repeatable)")
	flags.StringArrayVar(&f.groups, "group", nil, "a group to be in (repeatable)")
	flags.BoolVar(&f.stay, "stay", false, "remain after the end of the input")
	flags.BoolVar(&f.events, "events", false, "say on standard error who comes and goes (on a terminal always)")
	flags.DurationVar(&f.retention, "retention", mesh.DefaultRetention, "how long a message waits for a name that is not here, at most 5m")
	f.page.addTo(flags)
	f.share.addTo(cmd)
	cmd.Long += "\n" + pipeHelp + "\n" + shareHelp + "\n" + pageHelp
	f.meshFlags.addToLong(cmd)
}

// config is the node that the flags describe.
func (f *pipeFlags) config() (mesh.Config, error) {
	if f.name == "" {
		f.name = hostName()
	}
	cfg, err := f.meshFlags.config(f.name)
	if err == nil {
		err = f.page.check()
	}
	if err != nil {
		return cfg, err
	}
	cfg.Groups, cfg.Retention = f.groups, f.retention
	for _, tag := range f.tags {
		key, value, ok := strings.Cut(tag, "=")
		if !ok || key == "" {
			return cfg, usageError{fmt.Errorf("--tag is %q; it must be KEY=VALUE", tag)}
		}
		if cfg.Tags == nil {
			cfg.Tags = make(map[string]string)
		}
		cfg.Tags[key] = value
	}
	return cfg, nil
}

// run meets the mesh and pipes lines until the end.
func (f *pipeFlags) run(ctx context.Context, meet func(context.Context, mesh.Config) (*mesh.Node, error)) error {
	cfg, err := f.config()
	if err != nil {
		return err
	}
	p := &pipe{
		in: os.Stdin, out: os.Stdout, errs: f.tellTo(os.Stderr),
		json: f.json, stay: f.stay, grace: f.timeout, notices: f.notices,
		terminal: term.IsTerminal(int(os.Stdin.Fd())),
	}
	p.events = f.events || term.IsTerminal(int(os.Stderr.Fd()))
	shared, err := f.share.open((&narrator{w: p.errs, events: p.events, json: p.json}).tell)
	if err != nil {
		return err
	}
	if shared != nil {
		defer shared.Close() // after the node
	}
	within, cancel := f.within(ctx)
	defer cancel()
	if p.node, err = meet(within, cfg); err != nil {
		return err
	}
	share(p.node, shared)
	endPage, err := f.page.serve(p.node, p.tellPage)
	if err != nil {
		_ = p.node.Shutdown(within) // others have seen it come: it says goodbye
		return err
	}
	defer endPage()
	tellManager("READY=1")
	defer context.AfterFunc(ctx, func() { tellManager("STOPPING=1") })()
	return p.run(ctx)
}

// hostName is the host's name, made legal as the name of a node.
func hostName() string {
	name, _ := os.Hostname() // "" is made legal too
	return legalName(name)
}

func legalName(name string) string {
	legal := strings.Map(func(r rune) rune {
		if codec.CheckName("x"+string(r)) != nil {
			return '-'
		}
		return r
	}, strings.ToValidUTF8(name, "-"))
	for len(legal) > codec.MaxName {
		runes := []rune(legal)
		legal = string(runes[:len(runes)-1])
	}
	legal = strings.Trim(legal, "-")
	if codec.CheckName(legal) != nil {
		return "node"
	}
	return legal
}
