package mesh_test

import (
	"context"
	"fmt"
	"log"
	"sync"
	"time"

	"ultrasockets/mesh"
)

// Reading is what a board measures.
type Reading struct {
	Celsius float64 `cbor:"celsius"`
}

// board is the program of every board: it measures, and does what it is told, until the lights go out.
func board(ctx context.Context, node *mesh.Node) {
	node.HandleKind("heat", mesh.HandlerOf(func(_ context.Context, from string, to float64) (string, error) {
		if to > 30 {
			return "", fmt.Errorf("%v degrees are too warm", to)
		}
		return fmt.Sprintf("heating to %v degrees for %s", to, from), nil
	}))
	measuring, stop := context.WithCancel(ctx)
	var telemetry sync.WaitGroup
	telemetry.Go(func() {
		for ; measuring.Err() == nil; time.Sleep(10 * time.Millisecond) { // one reading may be lost: there is a next one
			node.Send(ctx, mesh.ToGroup("desks"), Reading{21.5}, mesh.BestEffort())
		}
	})
	for m := range node.Messages(ctx) {
		if m.To == mesh.ToGroup("boards") && m.Text() == "lights out" {
			break
		}
	}
	stop()
	telemetry.Wait()
	node.Shutdown(ctx)
}

// A fleet of boards in a lab, and a desk that watches and commands them: groups, tags, best effort, typed requests.
func Example_fleet() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cfg := quiet("desk") // loopback only, for this is a test
	cfg.Groups = []string{"desks"}
	desk, err := mesh.Join(ctx, cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer desk.Close()
	var boards sync.WaitGroup
	for name, room := range map[string]string{"board1": "cellar", "board2": "roof"} {
		cfg := quiet(name, desk.Addr().String())
		cfg.Groups, cfg.Tags = []string{"boards"}, map[string]string{"room": room}
		node, err := mesh.Join(ctx, cfg)
		if err != nil {
			log.Fatal(err)
		}
		boards.Go(func() { board(ctx, node) })
	}

	desk.WaitFor(ctx, "board1", "board2")
	latest := make(map[string]Reading)
	for len(latest) < 2 {
		r, m, err := mesh.ReceiveAs[Reading](ctx, desk)
		if err != nil {
			log.Fatal(err)
		}
		latest[m.From] = r
	}
	for _, p := range desk.Peers() {
		if !p.Self {
			fmt.Println(p.Name, "in the", p.Tags["room"], "has", latest[p.Name].Celsius)
		}
	}
	for _, celsius := range []float64{25, 90} {
		if answer, _, err := mesh.RequestAs[string](ctx, desk, "board2", mesh.OfKind("heat", celsius)); err == nil {
			fmt.Println("board2 is", answer)
		} else {
			fmt.Println(err)
		}
	}
	err = desk.Deliver(ctx, mesh.ToGroup("boards"), "lights out")
	fmt.Println("all boards have it:", err == nil)
	boards.Wait()
	// Output:
	// board1 in the cellar has 21.5
	// board2 in the roof has 21.5
	// board2 is heating to 25 degrees for desk
	// request to "board2": board2: 90 degrees are too warm
	// all boards have it: true
}
