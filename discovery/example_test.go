package discovery_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"ultrasockets/discovery"
)

// A node that finds others and is found. Its listener gives gossip streams to discovery and keeps the rest.
func ExampleStart() {
	tcp, udp, err := discovery.ListenPair(context.Background(), new(net.ListenConfig), ":0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer tcp.Close()
	d, err := discovery.Start(discovery.Config{
		Mesh:     "lab",
		Instance: rand.Uint64(),
		Meta:     discovery.Meta{Name: "thermometer"},
		Port:     tcp.Addr().(*net.TCPAddr).Port,
		Packets:  udp,
		Beacon:   true,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close(time.Second)
	for _, problem := range d.Problems() {
		fmt.Println(problem.Text)
	}
	for range d.Changed() {
		for _, n := range d.Nodes() {
			fmt.Println(n.Meta.Name, n.State, n.Addrs)
		}
	}
}
