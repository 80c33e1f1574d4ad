package discovery

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"testing"
)

func nif(index int, name string, flags net.Flags, prefixes ...string) netInterface {
	i := netInterface{index: index, name: name, flags: flags}
	for _, p := range prefixes {
		i.prefixes = append(i.prefixes, netip.MustParsePrefix(p))
	}
	return i
}

const up = net.FlagUp | net.FlagMulticast

var (
	ifLo     = nif(1, "lo", net.FlagUp|net.FlagLoopback, "127.0.0.1/8", "::1/128")
	ifDocker = nif(2, "docker0", up, "172.17.0.1/16", "fe80::2/64")
	ifVeth   = nif(3, "veth12ab", up, "fe80::3/64")
	ifTunnel = nif(4, "wg0", net.FlagUp|net.FlagPointToPoint, "10.8.0.2/24")
	ifWiFi   = nif(5, "wlan0", up, "fe80::5/64", "fd00::5/64", "192.168.1.5/24")
	ifCable  = nif(6, "eth0", up, "fe80::6/64")
	ifDown   = nif(7, "eth1", net.FlagMulticast, "192.168.7.7/24")
	ifBare   = nif(8, "eth2", up)
)

func TestChooseInterfaces(t *testing.T) {
	all := []netInterface{ifLo, ifDocker, ifVeth, ifTunnel, ifWiFi, ifCable, ifDown, ifBare}
	for name, c := range map[string]struct {
		all       []netInterface
		bind      string
		names     []string
		own       []string
		advertise string
	}{
		"a laptop": {
			all: all, names: []string{"wlan0", "wg0", "docker0", "eth0", "lo"},
			own:       []string{"192.168.1.5", "fd00::5", "10.8.0.2", "172.17.0.1", "fe80::6%eth0"},
			advertise: "192.168.1.5",
		},
		"only loopback":       {all: []netInterface{ifLo, ifDown}, names: []string{"lo"}, own: []string{"127.0.0.1", "::1"}, advertise: "127.0.0.1"},
		"only Docker":         {all: []netInterface{ifLo, ifDocker}, names: []string{"docker0", "lo"}, own: []string{"172.17.0.1"}, advertise: "172.17.0.1"},
		"only link-local":     {all: []netInterface{ifLo, ifCable}, names: []string{"eth0", "lo"}, own: []string{"fe80::6%eth0"}, advertise: "127.0.0.1"},
		"nothing":             {},
		"bound to loopback":   {all: all, bind: "127.0.0.1", names: []string{"lo"}, own: []string{"127.0.0.1"}, advertise: "127.0.0.1"},
		"bound to 127.0.0.9":  {all: all, bind: "127.0.0.9", names: []string{"lo"}, own: []string{"127.0.0.9"}, advertise: "127.0.0.9"},
		"bound to one of two": {all: all, bind: "fd00::5", names: []string{"wlan0"}, own: []string{"fd00::5"}, advertise: "fd00::5"},
		"bound to a zone":     {all: all, bind: "fe80::6%eth0", names: []string{"eth0"}, own: []string{"fe80::6%eth0"}, advertise: "fe80::6"},
		"bound to a stranger": {all: all, bind: "192.0.2.1", own: []string{"192.0.2.1"}, advertise: "192.0.2.1"},
		"bound, but down":     {all: all, bind: "192.168.7.7", own: []string{"192.168.7.7"}, advertise: "192.168.7.7"},
	} {
		t.Run(name, func(t *testing.T) {
			var bind netip.Addr
			if c.bind != "" {
				bind = netip.MustParseAddr(c.bind)
			}
			chosen := choose(c.all, bind)
			var names, own []string
			for _, i := range chosen {
				names = append(names, i.name)
			}
			for _, a := range ownAddrs(chosen, bind) {
				own = append(own, a.String())
			}
			if !slices.Equal(names, c.names) {
				t.Errorf("interfaces %v, want %v", names, c.names)
			}
			if !slices.Equal(own, c.own) {
				t.Errorf("addresses %v, want %v", own, c.own)
			}
			addr, ok := advertised(chosen, bind, netip.Addr{})
			if ok != (c.advertise != "") || ok && addr.String() != c.advertise {
				t.Errorf("advertised %v, %v, want %q", addr, ok, c.advertise)
			}
		})
	}
}

func TestAdvertisedStays(t *testing.T) {
	wifi, docker := netip.MustParseAddr("192.168.1.5"), netip.MustParseAddr("172.17.0.1")
	for name, c := range map[string]struct {
		chosen    []netInterface
		was, want netip.Addr
	}{
		"something better comes":  {[]netInterface{ifWiFi, ifDocker, ifLo}, docker, docker},
		"it goes":                 {[]netInterface{ifDocker, ifLo}, wifi, docker},
		"loopback gives way":      {[]netInterface{ifWiFi, ifLo}, netip.MustParseAddr("127.0.0.1"), wifi},
		"loopback, nothing comes": {[]netInterface{ifLo}, netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.1")},
	} {
		if got, _ := advertised(c.chosen, netip.Addr{}, c.was); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestInterfaceSource(t *testing.T) {
	for _, c := range []struct {
		iface netInterface
		v6    bool
		want  string
	}{
		{ifLo, false, "127.0.0.1"}, {ifLo, true, "::1"},
		{ifWiFi, false, "192.168.1.5"}, {ifWiFi, true, "fe80::5%wlan0"},
		{ifTunnel, false, "10.8.0.2"}, {ifTunnel, true, ""}, {ifCable, false, ""},
		{nif(9, "x", up, "fd00::9/64"), true, "fd00::9"},
	} {
		got, ok := c.iface.source(c.v6)
		if ok != (c.want != "") || ok && got.String() != c.want {
			t.Errorf("%s, IPv6 %v: %v, want %q", c.iface.name, c.v6, got, c.want)
		}
	}
}

func TestInterfacesAreBounded(t *testing.T) {
	var many []netInterface
	for n := range 100 {
		many = append(many, nif(n+1, "eth"+strconv.Itoa(n), up, "10.0."+strconv.Itoa(n)+".1/24"))
	}
	chosen := choose(many, netip.Addr{})
	if len(chosen) != maxInterfaces || len(ownAddrs(chosen, netip.Addr{})) != maxAddrs {
		t.Errorf("%d interfaces, %d addresses", len(chosen), len(ownAddrs(chosen, netip.Addr{})))
	}
}

func TestReadInterfaces(t *testing.T) {
	all, err := readInterfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		for _, p := range i.prefixes {
			if !p.IsValid() || p.Addr().Is4In6() {
				t.Errorf("%s: %v", i.name, p)
			}
		}
	}
}

func TestPacketsOfOtherLinks(t *testing.T) {
	onLAN := socket{iface: ifWiFi}
	onLo := socket{iface: ifLo}
	for _, c := range []struct {
		socket socket
		src    string
		via    int
		want   bool
	}{
		{onLAN, "192.168.1.77", 5, true},
		{onLAN, "192.168.1.77", 6, false}, // came by another interface
		{onLAN, "10.9.9.9", 5, false},     // came through a router
		{onLAN, "192.168.1.77", 0, true},  // the system does not tell the interface
		{onLAN, "10.9.9.9", 0, false},
		{onLAN, "fe80::77%wlan0", 5, true},
		{onLAN, "fe80::77%eth0", 0, false},
		{onLo, "127.0.0.1", 1, true},
		{onLo, "192.168.1.5", 1, true}, // own address, sent by way of loopback
		{onLo, "192.168.1.5", 0, false},
	} {
		if got := c.socket.local(netip.MustParseAddr(c.src), c.via); got != c.want {
			t.Errorf("%s by %d on %s: %v", c.src, c.via, c.socket.iface.name, got)
		}
	}
}
