package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"ultrasockets/mesh"
)

// quiet keeps the examples on loopback and off multicast; a program on a LAN leaves all of this out.
func quiet(name string, seeds ...string) mesh.Config {
	return mesh.Config{Name: name, Mesh: "examples", Bind: "127.0.0.1", NoMDNS: true, Seeds: seeds}
}

func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	a, err := mesh.Join(ctx, quiet("pc1")) // on a LAN: mesh.Config{Name: "pc1"}
	if err != nil {
		log.Fatal(err)
	}
	defer a.Close()
	b, err := mesh.Join(ctx, quiet("pc2", a.Addr().String())) // on a LAN: mesh.Config{Name: "pc2"}
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()

	a.Send(ctx, "pc2", "hello")
	a.Send(ctx, "pc2", map[string]any{"temperature": 21.5})
	a.Flush(ctx) // pc2 has both

	for m := range b.Messages(ctx) {
		fmt.Println(m.From, m.Serial, m.Value())
		if m.Serial == 2 {
			break
		}
	}
	// Output:
	// pc1 1 hello
	// pc1 2 map[temperature:21.5]
}

// A static star, as the Python package UltraSockets had it: a server that others dial by its address.
func ExampleListen() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	server, err := mesh.Listen(ctx, "tcp://127.0.0.1:0", mesh.Config{Name: "server", Connections: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	client, err := mesh.Dial(ctx, "tcp://"+server.Addr().String(), mesh.Config{Name: "client"})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	server.Ready(ctx) // all Connections are linked
	client.Deliver(ctx, "server", 1)
	client.Deliver(ctx, "server", 2)
	for _, m := range server.Get(mesh.All) { // newest first
		fmt.Println(m.From, m.Value())
	}

	_, err = mesh.Dial(ctx, server.Addr().String(), mesh.Config{Name: "one-too-many"})
	fmt.Println(errors.Is(err, mesh.ErrMeshFull))
	// Output:
	// client 2
	// client 1
	// true
}

func ExampleNode_Request() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	lamp, err := mesh.Join(ctx, quiet("lamp"))
	if err != nil {
		log.Fatal(err)
	}
	defer lamp.Close()
	lamp.Handle(func(_ context.Context, m mesh.Message) (any, error) {
		if m.Text() != "on" && m.Text() != "off" {
			return nil, fmt.Errorf("no such state %q", m.Text())
		}
		return "the lamp is " + m.Text(), nil
	})
	panel, err := mesh.Join(ctx, quiet("panel", lamp.Addr().String()))
	if err != nil {
		log.Fatal(err)
	}
	defer panel.Close()

	reply, err := panel.Request(ctx, "lamp", "on")
	fmt.Println(reply.Text(), err)
	_, err = panel.Request(ctx, "lamp", "purple")
	fmt.Println(err)
	// Output:
	// the lamp is on <nil>
	// request to "lamp": lamp: no such state "purple"
}

// Undelivered messages are never silent: whoever is not here within Retention is named.
func ExampleUndeliveredError() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cfg := quiet("pc1")
	cfg.Retention = 50 * time.Millisecond
	n, err := mesh.Join(ctx, cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer n.Close()
	n.Send(ctx, "nobody", "are you there?")
	var lost *mesh.UndeliveredError
	if errors.As(n.Flush(ctx), &lost) {
		fmt.Println(lost.To, lost.Count, errors.Is(lost, mesh.ErrExpired))
	}
	// Output: nobody 1 true
}

// For who takes millions a second: a batch is lent until the loop asks for the next one.
func ExampleNode_Batches() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	server, err := mesh.Listen(ctx, "tcp://127.0.0.1:0", mesh.Config{Name: "server"})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	sensor, err := mesh.Dial(ctx, "tcp://"+server.Addr().String(), mesh.Config{Name: "sensor"})
	if err != nil {
		log.Fatal(err)
	}
	defer sensor.Close()

	queued, err := sensor.SendBatch(ctx, "server", [][]byte{{1, 2}, {3}, {4, 5, 6}})
	if err != nil {
		log.Fatal(err)
	}
	count, sum := 0, 0
	var last mesh.Message
	for batch := range server.Batches(ctx) {
		for _, m := range batch {
			for _, b := range m.Bytes() {
				sum += int(b)
			}
			last = m.Clone() // kept beyond the loop
		}
		if count += len(batch); count == queued {
			break
		}
	}
	fmt.Println(count, sum, last.Bytes())
	// Output: 3 21 [4 5 6]
}
