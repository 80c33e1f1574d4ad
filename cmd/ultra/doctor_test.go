package main

import (
	"encoding/json"
	"strings"
	"testing"

	"ultrasockets/mesh/doctor"
)

func TestDoctor(t *testing.T) {
	b := newBench(t)
	_, addr := b.first("join", "--name", "a")
	b.joins("b", addr)
	for _, args := range [][]string{{"--seed", addr}, {"--hostname", addr}} {
		out := b.must("", append([]string{"doctor"}, args...)...)
		for _, want := range []string{"all is well: mesh ", "relay a, 2 nodes", "a " + addr + ": the relay, link in "} {
			if !strings.Contains(out, want) {
				t.Errorf("%q: %q is not in\n%s", args, want, out)
			}
		}
		if gossip := strings.Contains(out, "gossip by UDP and TCP"); gossip != (args[0] == "--seed") {
			t.Errorf("%q:\n%s", args, out)
		}
	}
	var report doctor.Report
	if err := json.Unmarshal([]byte(b.must("", "doctor", "--json", "--seed", addr)), &report); err != nil || len(report.Findings) != 0 ||
		report.Facts.Relay != "a" || len(report.Facts.Nodes) != 2 || report.Facts.Bind != "127.0.0.1" {
		t.Errorf("%v: %+v", err, report)
	}
	if out := b.must("", "nodes", "--seed", addr); !strings.Contains(out, "2 nodes") {
		t.Errorf("the examination left something behind:\n%s", out)
	}
}

func TestDoctorFinds(t *testing.T) {
	b := newBench(t)
	_, addr := b.first("join", "--name", "a")
	stdout, stderr, code := b.run("", "doctor", "--seed", addr, "--mesh", "lab")
	if code != exitFailed || stderr != "" || strings.Count(stdout, "\n") != 2 || !strings.HasPrefix(stdout, "mesh-name: Another mesh is what ") {
		t.Errorf("%d %q %q", code, stdout, stderr)
	}
	stdout, stderr, code = b.run("", "doctor", "--json", "--hostname", addr, "--mesh", "lab")
	var report doctor.Report
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != exitFailed || stderr != "" || len(report.Findings) != 1 ||
		report.Findings[0].Code != doctor.CodeMeshName {
		t.Errorf("%v %d %q %q", err, code, stdout, stderr)
	}
	// Nobody is there, and nobody was to be asked by multicast.
	if stdout, _, code = b.run("", "doctor"); code != exitFailed || !strings.HasPrefix(stdout, "nobody: ") {
		t.Errorf("%d %q", code, stdout)
	}
}

func TestDoctorUsage(t *testing.T) {
	b := newBench(t)
	b.fails(exitUsage, "", []string{"doctor", "a"}, "takes no arguments")
	b.fails(exitUsage, "", []string{"doctor", "--timeout", "1s"}, "at least 2s")
	b.fails(exitUsage, "", []string{"doctor", "--hostname", "nowhere"}, "nowhere", "host:port")
	b.fails(exitUsage, "", []string{"doctor", "--mesh", "no name"}, "--mesh")
	b.fails(exitUsage, "", []string{"doctor", "--hostname", "127.0.0.1:7000", "--seed", "127.0.0.1:7001"}, "--seed")
}
