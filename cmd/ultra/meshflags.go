package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ultrasockets/mesh"
)

// meshFlags are what every verb takes that meets a mesh.
type meshFlags struct {
	mesh       string
	bind       string
	seeds      []string
	hostname   string
	secretFile string
	timeout    time.Duration
	noMDNS     bool
	json       bool
	verbose    bool
	logLevel   string // of verbs that run for long; "" is off
	logFormat  string // likewise

	sources sources
	notices *notices // what discovery says it cannot do
}

const meshFlagsHelp = `
Each of --mesh --bind --seed --hostname --secret-file --timeout --no-mdns --json --verbose may also be
given in the environment, as ULTRA_MESH and so on (ULTRA_SEED with commas); the command line wins.`

const longFlagsHelp = `
Each flag may also be given in the environment, as ULTRA_NAME, ULTRA_NO_MDNS and so on (lists with commas), and in a
TOML file named by --config (or ULTRA_CONFIG), whose keys are the flags without dashes. One for ultra join:
  name = "lab-pi"
  secret-file = "lab.secret"                   # relative to the folder of the file
  seed = ["192.168.1.5:7000", "192.168.1.6:7000"]
  tag = { room = "1", kind = "sensor" }
  stay = true
  retention = "2m"
The command line beats the environment, that beats the file, that beats the default; lists are not joined.`

// addTo adds the flags to a verb, and reads the environment when it begins.
func (f *meshFlags) addTo(cmd *cobra.Command) {
	own := f.add(cmd, 5*time.Second)
	cmd.Long += "\n" + meshFlagsHelp
	var shared []string
	own.VisitAll(func(flag *pflag.Flag) { shared = append(shared, flag.Name) })
	cmd.PreRunE = func(*cobra.Command, []string) error { return f.sources.fill(cmd, shared) }
}

// addToLong adds the flags to a verb that runs for long: what all its flags say may come from the environment and a file.
func (f *meshFlags) addToLong(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.String("config", "", "TOML file with these flags as keys")
	flags.StringVar(&f.logLevel, "log-level", "off", "what to log to standard error: off, debug, info, warn or error")
	flags.StringVar(&f.logFormat, "log-format", "text", "text or json, an object a line, of the log and of what else is told there")
	f.add(cmd, 10*time.Second) // a new relay keeps a name 5 s for who had it before
	cmd.Long += "\n" + longFlagsHelp
	cmd.PreRunE = func(*cobra.Command, []string) error { return f.sources.fill(cmd, nil) }
}

// add adds the flags of all verbs, and gives them; timeout is how long the verb tries unless told.
func (f *meshFlags) add(cmd *cobra.Command, timeout time.Duration) *pflag.FlagSet {
	own := pflag.NewFlagSet("mesh", pflag.ContinueOnError)
	own.StringVar(&f.mesh, "mesh", "", "name of the mesh (default \"default\"; with an address: whatever answers there)")
	own.StringVar(&f.bind, "bind", "", "IP address to stay on, such as 127.0.0.1 (default all networks)")
	own.StringSliceVar(&f.seeds, "seed", nil, "HOST:PORT of any other node, where multicast does not work (repeatable)")
	own.StringVar(&f.hostname, "hostname", "", "HOST:PORT of a relay to dial, instead of discovery")
	own.StringVar(&f.secretFile, "secret-file", "", "file with the secret of the mesh, as ultra keygen makes it")
	own.DurationVar(&f.timeout, "timeout", timeout, "how long to try; 0 without end")
	own.BoolVar(&f.noMDNS, "no-mdns", false, "use no multicast: only seeds lead to others")
	own.BoolVar(&f.json, "json", false, "read and write JSON, one object a line")
	own.BoolVar(&f.verbose, "verbose", false, "log everything to standard error")
	cmd.Flags().AddFlagSet(own)
	f.completeFlags(cmd)
	return own
}

// config is what the flags say of a node of that name.
func (f *meshFlags) config(name string) (mesh.Config, error) {
	cfg := mesh.Config{Name: name, Mesh: f.mesh, Bind: f.bind, Seeds: f.seeds, NoMDNS: f.noMDNS}
	if f.timeout < 0 {
		return cfg, usageError{fmt.Errorf("--timeout is %v; it must not be negative", f.timeout)}
	}
	if f.secretFile != "" {
		var err error
		if cfg.Secret, err = readSecret(f.secretFile); err != nil {
			return cfg, err
		}
	}
	if f.notices == nil {
		f.notices = &notices{}
	}
	log, err := f.logTo(os.Stderr)
	if err != nil {
		return cfg, err
	}
	cfg.Logger = slog.New(logHandler{log: log, notices: f.notices})
	return cfg, nil
}

// within bounds ctx by --timeout.
func (f *meshFlags) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if f.timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, f.timeout)
}

// unused refuses flags of the command line that would do nothing; those of the environment may be meant for other verbs.
func (f *meshFlags) unused(why string, names ...string) error {
	for _, name := range names {
		if f.sources.given[name] {
			return usageError{fmt.Errorf("%s; leave out --%s", why, name)}
		}
	}
	return nil
}

// meet puts a node into the mesh, by discovery or by --hostname.
func (f *meshFlags) meet(ctx context.Context, cfg mesh.Config) (*mesh.Node, error) {
	if f.hostname != "" {
		if err := f.unused("with --hostname this node looks nowhere else", "bind", "no-mdns"); err != nil {
			return nil, err
		}
		return f.dial(ctx, f.hostname, cfg)
	}
	node, err := mesh.Join(ctx, cfg)
	if err != nil {
		return nil, f.explain(err)
	}
	waitRoster(ctx, node)
	return node, nil
}

func (f *meshFlags) dial(ctx context.Context, hostname string, cfg mesh.Config) (*mesh.Node, error) {
	node, err := mesh.Dial(ctx, hostname, cfg)
	switch {
	case err == nil:
		waitRoster(ctx, node)
		return node, nil
	case errors.Is(err, context.Canceled):
		return nil, errInterrupted
	case errors.Is(err, mesh.ErrWrongSecret):
		return nil, f.wrongSecret("the mesh at " + hostname)
	case errors.Is(err, mesh.ErrNoRelay):
		return nil, fmt.Errorf("no mesh answers at %s within %v%s; start \"ultra serve\" or \"ultra join --listen\" there, or mend the address", hostname, f.timeout, systemReason(err))
	}
	return nil, classify(err)
}

// waitRoster waits until it is known who is here. The relay always is.
func waitRoster(ctx context.Context, node *mesh.Node) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if relay := node.Relay(); relay != "" {
		_ = node.WaitFor(ctx, relay) // a relay that is lost meanwhile, or an interrupt, shows later
	}
}

// explain makes a sentence for people of why there is no mesh.
func (f *meshFlags) explain(err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return errInterrupted
	case errors.Is(err, mesh.ErrWrongSecret):
		return f.wrongSecret(fmt.Sprintf("mesh %q", f.meshName()))
	case errors.Is(err, mesh.ErrNoRelay):
		why := systemReason(err)
		if texts := f.notices.all(); len(texts) > 0 && len(f.seeds) == 0 {
			why = " (" + strings.Join(texts, "; ") + ")"
		}
		return fmt.Errorf("no mesh %q found within %v%s; start a node with \"ultra join --name a%s\", or give the address of one with --seed or --hostname; \"ultra doctor\" finds out why", f.meshName(), f.timeout, why, f.likewise())
	}
	return classify(err)
}

// likewise are the flags that another node needs to be in the same mesh, for a command line.
func (f *meshFlags) likewise() (flags string) {
	if f.mesh != "" {
		flags += " --mesh " + f.mesh
	}
	if f.secretFile != "" {
		flags += " --secret-file " + f.secretFile
	}
	return flags
}

// wrongSecret says how the secret of this node and that of the mesh differ.
func (f *meshFlags) wrongSecret(who string) error {
	if f.secretFile == "" {
		return fmt.Errorf("%s has a secret; give it with --secret-file", who)
	}
	return fmt.Errorf("%s has another secret than %s holds, or none; all nodes need the same", who, f.secretFile)
}

func (f *meshFlags) meshName() string {
	if f.mesh == "" {
		return mesh.DefaultMesh
	}
	return f.mesh
}

// systemReason is what the system said, in brackets.
func systemReason(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return fmt.Sprintf(" (%v)", op.Err)
	}
	return ""
}
